//! Every report of one folder agrees with every other, and with a count in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use session_pipeline_harness::session::MONDAY_MORNING;
use session_pipeline_harness::strategies::{FILES, MessageRecord, message_records};
use session_pipeline_harness::{DataDir, TestPipeline, cases};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_pipeline::report::{ReportFilter, ReportGrouping, UsageReport};

use super::reported;
use crate::guests::{usage, usage_dir};

/// Models with what they cost in pico-dollars a token: input, output, cache read, cache write.
const MODELS: [(&str, Option<[i128; 4]>); 4] = [
    (
        "claude-opus-4-5-20251101",
        Some([5_000_000, 25_000_000, 500_000, 6_250_000]),
    ),
    (
        "claude-sonnet-4-5",
        Some([3_000_000, 15_000_000, 300_000, 3_750_000]),
    ),
    ("claude-nimbus-1-preview", None),
    ("<synthetic>", Some([0; 4])),
];
/// What all rates of the second model are multiplied by above its threshold: everything twice, and
/// output by half more.
const LONG: [(i128, i128); 4] = [(2, 1), (3, 2), (2, 1), (2, 1)];

/// Folders, and the name of the project that each belongs to.
const PLACES: [(&str, &str); 4] = [
    ("/home/dev/shop", "shop"),
    ("/home/dev/shop/.claude/worktrees/fix-1", "shop"),
    ("/home/dev/shop-worktrees/fix-2/src", "shop"),
    ("/home/dev/other", "other"),
];

/// Input, cache read and cache write of a message; every third goes beyond the large window.
fn inputs(message: u64) -> [i64; 3] {
    let message = i64::try_from(message).unwrap();
    [message * 3, message % 3 * 90_000 + 50_000, message * 11]
}

fn model(message: u64) -> usize {
    usize::try_from(message).unwrap() % MODELS.len()
}

fn time(sighting: &MessageRecord) -> UtcMicros {
    MONDAY_MORNING.plus(Duration::from_secs(u64::from(sighting.hour) * 3_600))
}

pub(super) fn line(sighting: &MessageRecord) -> String {
    let [input, read, written] = inputs(sighting.message);
    let stop = sighting.is_final.then_some("end_turn");
    let message = json!({
        "id": format!("msg_{:024}", sighting.message), "model": MODELS[model(sighting.message)].0, "stop_reason": stop,
        "content": [{
            "type": "tool_use", "id": format!("toolu_{:024}", sighting.message), "input": {},
            "name": format!("Tool{}", sighting.session % 2),
        }],
        "usage": {
            "input_tokens": input, "output_tokens": sighting.output,
            "cache_read_input_tokens": read, "cache_creation_input_tokens": written,
        },
    });
    let mut said =
        json!({ "type": "assistant", "timestamp": time(sighting).to_string(), "message": message });
    if sighting.has_request {
        said["requestId"] = json!(format!("req_{}", sighting.message));
    }
    let mut line = if sighting.is_progress {
        json!({ "type": "progress", "data": { "type": "agent_progress", "message": said } })
    } else {
        said
    };
    line["timestamp"] = json!(time(sighting).to_string());
    line["sessionId"] = json!(format!("session-{}", sighting.session));
    line["isSidechain"] = Value::Bool(sighting.is_sidechain && !sighting.is_progress);
    line["cwd"] = json!(PLACES[sighting.place].0);
    format!("{line}\n")
}

/// The files, by their places in [`FILES`].
fn files(sightings: &[MessageRecord]) -> [String; FILES.len()] {
    let mut files = [const { String::new() }; FILES.len()];
    for sighting in sightings {
        files[sighting.file].push_str(&line(sighting));
    }
    files
}

/// What is known of a message: where it first appeared, and its best record.
#[derive(Clone)]
struct Known<'a> {
    first: &'a MessageRecord,
    best: &'a MessageRecord,
    is_final: bool,
    /// Whether the file had no other session before.
    is_own: bool,
    /// Where the session began that it first appeared in.
    place: usize,
}

fn better<'a>(one: &'a MessageRecord, other: &'a MessageRecord) -> &'a MessageRecord {
    let rank = |sighting: &MessageRecord| (!sighting.is_sidechain, sighting.output);
    if rank(other) > rank(one) { other } else { one }
}

/// Every message once: first within its file, in the order of lines; then over the files of the user
/// whom a run saw first with it, in the order in which the files began.
fn count<'a>(sightings: &'a [MessageRecord], order: &[usize]) -> Vec<Known<'a>> {
    let of_file = |file: usize| {
        sightings
            .iter()
            .filter(move |sighting| sighting.file == file)
    };
    let user = |file: usize| FILES[file].split('/').next().unwrap();
    let mut messages: BTreeMap<u64, Vec<Known<'_>>> = BTreeMap::new();
    for file in 0..FILES.len() {
        let mut in_file: BTreeMap<u64, Known<'_>> = BTreeMap::new();
        let first_session = of_file(file).next().map(|sighting| sighting.session);
        let place = of_file(file).next().map_or(0, |sighting| sighting.place);
        let mut is_own = true;
        for sighting in of_file(file) {
            is_own &= Some(sighting.session) == first_session;
            let known = in_file.entry(sighting.message).or_insert(Known {
                first: sighting,
                best: sighting,
                is_final: false,
                is_own,
                place,
            });
            known.best = better(known.best, sighting);
            known.is_final |= sighting.is_final;
        }
        for (message, known) in in_file {
            messages.entry(message).or_default().push(known);
        }
    }
    let count_once = |mut copies: Vec<Known<'a>>| {
        let run = |file: usize| order.iter().position(|other| *other == file);
        let owner = copies
            .iter()
            .map(|known| known.first.file)
            .min_by_key(|file| run(*file));
        copies.retain(|known| owner.map(user) == Some(user(known.first.file)));
        copies.sort_by_key(|known| {
            let file = known.first.file;
            let started = of_file(file).next().map(|sighting| sighting.hour);
            let ended = of_file(file).map(|sighting| sighting.hour).max();
            (
                started,
                !known.is_own,
                known.best.is_sidechain,
                ended,
                FILES[file],
            )
        });
        copies.into_iter().reduce(|original, copy| Known {
            best: better(original.best, copy.best),
            is_final: original.is_final || copy.is_final,
            ..original
        })
    };
    messages.into_values().filter_map(count_once).collect()
}

/// Input, output, cache read, cache written, messages; cost where all is known; the bounds.
type Counted = ([i64; 5], Option<i128>, bool, bool);

fn cost(message: u64, output: i64) -> Option<i128> {
    let [input, read, written] = inputs(message);
    let mut rates = MODELS[model(message)].1?;
    if model(message) == 1 && input + read + written > 200_000 {
        rates = std::array::from_fn(|at| rates[at] * LONG[at].0 / LONG[at].1);
    }
    let tokens = [input, output, read, written].map(i128::from);
    Some(
        rates
            .iter()
            .zip(tokens)
            .map(|(rate, tokens)| rate * tokens)
            .sum(),
    )
}

fn add(counted: &mut Counted, known: &Known<'_>) {
    let (sums, total, cost_is_bound, output_is_bound) = counted;
    let [input, read, written] = inputs(known.best.message);
    for (sum, tokens) in sums
        .iter_mut()
        .zip([input, known.best.output, read, written, 1])
    {
        *sum += tokens;
    }
    let cost = cost(known.best.message, known.best.output);
    *total = match (*total, cost) {
        (None, cost) => cost,
        (total, None) => total,
        (Some(total), Some(cost)) => Some(total + cost),
    };
    *cost_is_bound |= cost.is_none() || !known.is_final;
    *output_is_bound |= !known.is_final;
}

const DAY_MICROS: i64 = 86_400_000_000;

/// Days since Monday.
fn weekday(record: &MessageRecord) -> i64 {
    // The epoch was a Thursday.
    (time(record).0.div_euclid(DAY_MICROS) + 3).rem_euclid(7)
}

/// What a report by that ought to say.
fn expected(messages: &[Known<'_>], by: ReportGrouping) -> BTreeMap<String, Counted> {
    let mut rows = BTreeMap::new();
    for known in messages {
        let first = known.first;
        let day = time(first).to_string();
        let key = match by {
            ReportGrouping::Day => day[..10].to_owned(),
            ReportGrouping::Month => day[..7].to_owned(),
            ReportGrouping::Session => format!("session-{}", first.session),
            ReportGrouping::User => FILES[first.file].split('/').next().unwrap().to_owned(),
            ReportGrouping::Model => MODELS[model(first.message)].0.to_owned(),
            ReportGrouping::Project => format!("/home/dev/{}", PLACES[known.place].1),
            ReportGrouping::ProjectName => PLACES[known.place].1.to_owned(),
            ReportGrouping::Week => {
                let monday = time(first).0 - weekday(first) * DAY_MICROS;
                UtcMicros(monday).to_string()[..10].to_owned()
            }
            ReportGrouping::Hour => {
                let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
                let name = names[usize::try_from(weekday(first)).unwrap()];
                format!("{name} {}:00", &day[11..13])
            }
            ReportGrouping::Agent => "claude".to_owned(),
            // These transcripts contain no causes.
            _ => String::new(),
        };
        add(rows.entry(key).or_default(), known);
    }
    rows
}

fn said(report: &UsageReport) -> BTreeMap<String, Counted> {
    let rows = report.rows.iter().map(|row| {
        let totals = &row.totals;
        let sums = super::sums([totals]);
        let cost = totals.cost_usd.map(|cost| cost.pico_dollars);
        let bounds = (totals.cost_is_lower_bound, totals.output_is_lower_bound);
        (
            row.key.clone().unwrap_or_default(),
            (sums, cost, bounds.0, bounds.1),
        )
    });
    rows.collect()
}

fn check_agreement(pipeline: &TestPipeline, messages: &[Known<'_>]) {
    let mut total = Counted::default();
    for known in messages {
        add(&mut total, known);
    }
    if messages.is_empty() {
        total.1 = Some(0);
    }
    for by in ReportGrouping::ALL {
        let report = reported(pipeline, by);
        if matches!(by, ReportGrouping::Source | ReportGrouping::AgentType) {
            let rows: Vec<_> = report.rows.iter().map(|row| &row.totals).collect();
            assert_eq!(super::sums(rows), total.0);
        } else {
            assert_eq!(said(&report), expected(messages, by), "{by:?}");
        }
        let totals = &report.totals;
        assert_eq!(super::sums([totals]), total.0, "{by:?}");
        assert_eq!(
            totals.cost_usd.map(|cost| cost.pico_dollars),
            total.1,
            "{by:?}"
        );
        assert_eq!(totals.cost_is_lower_bound, total.2, "{by:?}");
        assert_eq!(totals.output_is_lower_bound, total.3, "{by:?}");
    }
    // The days and hours of any time zone contain the same messages.
    let in_kathmandu = ReportFilter::default().in_zone("Asia/Kathmandu").unwrap();
    for by in [
        ReportGrouping::Day,
        ReportGrouping::Week,
        ReportGrouping::Hour,
    ] {
        let report = super::filtered(pipeline, by, in_kathmandu.clone());
        let rows: Vec<_> = report.rows.iter().map(|row| &row.totals).collect();
        assert_eq!(super::sums(rows), total.0, "{by:?} in another zone");
        assert_eq!(
            report.totals.cost_usd.map(|cost| cost.pico_dollars),
            total.1
        );
    }
    let tools = super::tools_reported(pipeline);
    assert_eq!(tools.totals, reported(pipeline, ReportGrouping::Day).totals);
}

proptest! {
    // Each case makes a database and runs the processor several times.
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(4)))]

    #[test]
    fn invariant_every_report_agrees_with_a_count_in_memory_in_any_order_of_processing(
        sightings in message_records(),
        order in Just([0, 1, 2, 3]).prop_shuffle(),
        copied in 0..FILES.len(),
    ) {
        let dir = usage_dir();
        let pipeline = TestPipeline::open(&dir, &[usage()]);
        let files = files(&sightings);
        for file in order {
            dir.write(FILES[file], &files[file]);
            prop_assert_eq!(pipeline.run("usage").stats.errors, 0);
        }
        let messages = count(&sightings, &order);
        check_agreement(&pipeline, &messages);
        // What first appeared elsewhere is nobody else's.
        dir.write("zed/copy.jsonl", &files[copied]);
        pipeline.run("usage");
        check_agreement(&pipeline, &messages);
    }
}

#[test]
fn a_fork_that_ties_with_its_original_leaves_the_messages_to_the_file_that_sorts_first() {
    let dir = DataDir::new();
    let said = |session| MessageRecord {
        file: 0,
        message: 1,
        has_request: true,
        session,
        output: 7,
        is_sidechain: false,
        is_progress: false,
        is_final: true,
        hour: 0,
        place: 0,
    };
    dir.write("ada/z.jsonl", line(&said(0)));
    dir.write("ada/b.jsonl", line(&said(1)));
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    let report = reported(&pipeline, ReportGrouping::Session);
    let keys: Vec<_> = report.rows.iter().map(|row| row.key.as_deref()).collect();
    assert_eq!(keys, [Some("session-1")]);
}
