//! Reports: what a row stands for, that rows add up, and the names that others rely on.

pub mod agents;
mod agreement;
mod billing;
mod causes;
mod command;
mod outcomes;
mod prices;
mod projects;
mod quality;
mod rollups;
mod views;

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;
use session_pipeline_harness::session::MONDAY_MORNING;
use session_pipeline_harness::strategies::transcript;
use session_pipeline_harness::{DataDir, TestPipeline, Transcript, cases};
use session_pipeline_pipeline::report::{
    self, DayRange, PriceTable, ReportFilter, ReportGrouping, ReportRow, ToolCalls, ToolGrouping,
    UNKNOWN_MODELS_MAX, UsageGrouping, UsageReport, UsageTotals,
};
use session_pipeline_store::money::Usd;

use crate::documents::names;
use crate::guests::{usage, usage_dir};

/// Processes what is in a data dir, and reports.
fn check(dir: &DataDir, by: ReportGrouping) -> UsageReport {
    let pipeline = TestPipeline::open(dir, &[usage()]);
    pipeline.run("usage");
    reported(&pipeline, by)
}

/// The report on what was processed.
pub fn reported(pipeline: &TestPipeline, by: ReportGrouping) -> UsageReport {
    filtered(pipeline, by, ReportFilter::default())
}

/// The report on some of it.
fn filtered(pipeline: &TestPipeline, by: ReportGrouping, filter: ReportFilter) -> UsageReport {
    let pipeline = pipeline.pipeline();
    let prices = PriceTable::load(pipeline.config()).unwrap();
    let report = report::usage(pipeline.store(), &prices, by, filter, pipeline.clock());
    report.unwrap().unwrap()
}

/// The report with rows by two groupings.
fn split(pipeline: &TestPipeline, grouping: UsageGrouping) -> UsageReport {
    let pipeline = pipeline.pipeline();
    let prices = PriceTable::load(pipeline.config()).unwrap();
    let filter = ReportFilter::default();
    let report = report::usage(
        pipeline.store(),
        &prices,
        grouping,
        filter,
        pipeline.clock(),
    );
    report.unwrap().unwrap()
}

/// The report on calls of tools.
pub fn tools_reported(pipeline: &TestPipeline) -> UsageReport<ToolCalls> {
    let prices = PriceTable::load(pipeline.pipeline().config()).unwrap();
    let store = pipeline.pipeline().store();
    report::tools(
        store,
        &prices,
        ToolGrouping::Tool,
        DayRange::default(),
        pipeline.pipeline().clock(),
    )
    .unwrap()
    .unwrap()
}

/// Its rows in short: key, input, output, messages, sessions.
fn rows(report: &UsageReport) -> Vec<String> {
    let row = |key: &str, totals: &UsageTotals| {
        format!(
            "{key}: {} in, {} out, {} messages, {} sessions",
            totals.input_tokens, totals.output_tokens, totals.messages, totals.sessions
        )
    };
    let rows = report.rows.iter();
    rows.map(|each| row(each.key.as_deref().unwrap_or("-"), &each.totals))
        .chain([row("total", &report.totals)])
        .collect()
}

/// The evening of that day, a minute before midnight.
fn evening(day: u64) -> session_pipeline_host::clock::UtcMicros {
    MONDAY_MORNING.plus(Duration::from_secs(day * 86_400 + 15 * 3_600 - 60))
}

#[test]
fn before_anything_ran_there_is_no_report() {
    let dir = DataDir::new();
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    let prices = PriceTable::load(pipeline.pipeline().config()).unwrap();
    let store = pipeline.pipeline().store();
    assert_eq!(
        report::usage(
            store,
            &prices,
            ReportGrouping::Day,
            DayRange::default(),
            pipeline.pipeline().clock()
        )
        .unwrap(),
        None
    );
    assert_eq!(
        report::tools(
            store,
            &prices,
            ToolGrouping::Tool,
            DayRange::default(),
            pipeline.pipeline().clock()
        )
        .unwrap(),
        None
    );
}

#[test]
fn a_run_over_nothing_reports_zeros() {
    let report = check(&DataDir::new(), ReportGrouping::Day);
    assert_eq!(report.rows, []);
    let totals = UsageTotals {
        cost_usd: Some(Usd::default()),
        ..UsageTotals::default()
    };
    assert_eq!(report.totals, totals, "nothing costs nothing");
}

#[test]
fn a_day_ends_at_midnight_in_utc() {
    let dir = DataDir::new();
    let session = Transcript::new("s1")
        .at(evening(0))
        .assistant(|m| m.tokens(1, 10))
        .wait(Duration::from_secs(59))
        .assistant(|m| m.tokens(2, 20));
    dir.write("ada/one.jsonl", session);
    insta::assert_snapshot!(rows(&check(&dir, ReportGrouping::Day)).join("\n"), @"
    2026-01-05: 1 in, 10 out, 1 messages, 1 sessions
    2026-01-06: 2 in, 20 out, 1 messages, 1 sessions
    total: 3 in, 30 out, 2 messages, 1 sessions
    ");
}

#[test]
fn a_message_belongs_to_the_day_and_session_of_its_first_appearance() {
    let dir = DataDir::new();
    let message = |session: Transcript, output| {
        session.assistant(move |m| {
            m.id("msg_00000000000000000001")
                .request("req_1")
                .tokens(1, output)
        })
    };
    // The file that comes first by its name is the later copy, and the larger one.
    dir.write(
        "ada/a.jsonl",
        message(Transcript::new("resumed").at(evening(3)), 500),
    );
    dir.write(
        "ada/b.jsonl",
        message(Transcript::new("first").at(evening(0)), 2),
    );
    insta::assert_snapshot!(rows(&check(&dir, ReportGrouping::Day)).join("\n"), @"
    2026-01-05: 1 in, 500 out, 1 messages, 1 sessions
    total: 1 in, 500 out, 1 messages, 1 sessions
    ");
}

#[test]
fn a_replay_in_another_file_loses_against_the_original() {
    let dir = DataDir::new();
    let message = |session: Transcript, output| {
        session.assistant(move |m| {
            m.id("msg_00000000000000000001")
                .request("req_1")
                .tokens(1, output)
        })
    };
    dir.write(
        "ada/a.jsonl",
        message(Transcript::new("s1").sidechain("a1"), 500),
    );
    dir.write("ada/b.jsonl", message(Transcript::new("s1"), 2));
    assert_eq!(check(&dir, ReportGrouping::Day).totals.output_tokens, 2);
}

#[test]
fn messages_without_a_request_are_one_within_a_session_and_two_in_two() {
    let dir = DataDir::new();
    let session = |id| Transcript::new(id).assistant(|m| m.id("msg_1").without_request());
    dir.write("ada/a.jsonl", session("s1"));
    dir.write("ada/b.jsonl", session("s1"));
    assert_eq!(check(&dir, ReportGrouping::Day).totals.messages, 1);
    dir.write("ada/c.jsonl", session("s2"));
    assert_eq!(check(&dir, ReportGrouping::Day).totals.messages, 2);
}

#[test]
fn a_message_is_final_if_any_file_says_how_it_ended() {
    let dir = DataDir::new();
    let session = || Transcript::new("s1");
    dir.write(
        "ada/a.jsonl",
        session().assistant(|m| {
            m.id("msg_00000000000000000001")
                .request("req_1")
                .streaming()
        }),
    );
    assert!(
        check(&dir, ReportGrouping::Day)
            .totals
            .output_is_lower_bound
    );
    dir.write(
        "ada/b.jsonl",
        session().assistant(|m| m.id("msg_00000000000000000001").request("req_1")),
    );
    assert!(
        !check(&dir, ReportGrouping::Day)
            .totals
            .output_is_lower_bound
    );
}

#[test]
fn what_bears_no_time_and_no_model_has_a_row_without_a_key_at_the_end() {
    let dir = DataDir::new();
    let untold = json!({ "type": "assistant", "requestId": "r", "message": { "id": "m", "usage": { "input_tokens": 7 } } });
    dir.write("ada/a.jsonl", Transcript::new("s1").assistant(|m| m));
    dir.write("ada/b.jsonl", format!("{untold}\n"));
    for by in [ReportGrouping::Day, ReportGrouping::Model] {
        let report = check(&dir, by);
        let [told, untold] = report.rows.as_slice() else {
            panic!("two rows: {report:?}")
        };
        assert!(told.key.is_some());
        assert_eq!((&untold.key, untold.totals.input_tokens), (&None, 7));
    }
}

#[test]
fn a_model_without_a_price_is_named_and_makes_the_cost_a_lower_bound() {
    let dir = DataDir::new();
    let model = "claude-nimbus-1-preview";
    dir.write(
        "ada/a.jsonl",
        Transcript::new("s1").assistant(|m| m.model(model)),
    );
    let totals = check(&dir, ReportGrouping::Day).totals;
    assert_eq!(totals.unknown_models, [model]);
    assert!(totals.cost_is_lower_bound);
    assert_eq!(totals.cost_usd, None, "no price is not a price of nothing");
}

#[test]
fn models_that_a_transcript_makes_up_do_not_fill_every_report() {
    let dir = DataDir::new();
    let session = (0..150).fold(Transcript::new("s1"), |session, number| {
        let name = format!("made-up-{number:03}");
        session.assistant(|m| m.id(&name).model(&name))
    });
    dir.write("ada/a.jsonl", session);
    let report = check(&dir, ReportGrouping::User);
    assert_eq!(report.rows.len(), 1);
    for totals in [&report.totals, &report.rows[0].totals] {
        assert_eq!(totals.messages, 150);
        assert_eq!(totals.unknown_models.len(), UNKNOWN_MODELS_MAX);
        assert_eq!(totals.unknown_models[99], "made-up-099");
        assert!(totals.cost_is_lower_bound);
    }
    let told = crate::cli::run_cli(&dir, &["report", "usage"]).stderr;
    assert!(
        told.contains("made-up-009, and others (150 messages);"),
        "{told}"
    );
    assert!(!told.contains("made-up-010"), "{told}");
}

#[test]
fn what_a_session_cost_stays_when_it_shrinks_or_vanishes() {
    let dir = DataDir::new();
    let two = Transcript::new("s1").assistant(|m| m).assistant(|m| m);
    dir.write("ada/a.jsonl", two);
    assert_eq!(check(&dir, ReportGrouping::Day).totals.messages, 2);
    dir.write("ada/a.jsonl", Transcript::new("s1").assistant(|m| m));
    assert_eq!(
        check(&dir, ReportGrouping::Day).totals.messages,
        2,
        "what was billed stays billed"
    );
    dir.delete("ada/a.jsonl");
    assert_eq!(
        check(&dir, ReportGrouping::Day).totals.messages,
        2,
        "rows outlive files"
    );
}

/// If you are here because you added a number: others read these names, so they never change, and
/// ARCHITECTURE.md §7 and the HTTP schema name the new one too.
pub const TOTALS: [&str; 16] = [
    "cache_creation_tokens",
    "cache_read_tokens",
    "cost_is_lower_bound",
    "cost_usd",
    "input_tokens",
    "messages",
    "open_messages",
    "output_is_lower_bound",
    "output_tokens",
    "sessions",
    "unknown_models",
    "unpriced_messages",
    "unrecorded_requests",
    "unrecorded_runs",
    "unrecorded_tokens",
    "web_searches",
];

/// The fields of a report.
pub const DOCUMENT: [&str; 8] = [
    "as_of",
    "omitted_rows",
    "outdated_sessions",
    "plans",
    "prompts",
    "rows",
    "totals",
    "unknown_kinds",
];

#[test]
fn the_names_in_a_report_are_those_that_others_rely_on() {
    let dir = DataDir::new();
    dir.write("ada/a.jsonl", Transcript::new("s1").assistant(|m| m));
    let report = serde_json::to_value(check(&dir, ReportGrouping::Day)).unwrap();
    assert_eq!(names(&report), DOCUMENT);
    assert_eq!(names(&report["totals"]), TOTALS);
    let row = names(&report["rows"][0]);
    assert!(TOTALS.iter().all(|name| row.contains(name)), "{row:?}");
}

/// What adds up over rows.
fn sums<'a>(totals: impl IntoIterator<Item = &'a UsageTotals>) -> [i64; 5] {
    let figures = totals.into_iter().map(|totals| {
        [
            totals.input_tokens,
            totals.output_tokens,
            totals.cache_read_tokens,
            totals.cache_creation_tokens,
            totals.messages,
        ]
    });
    figures.fold([0; 5], |sums, figures| {
        std::array::from_fn(|at| sums[at] + figures[at])
    })
}

proptest! {
    // Each case makes a database.
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(4)))]

    #[test]
    fn invariant_rows_add_up_to_the_totals_by_whatever_they_are_told_apart(transcripts in vec(transcript(), 0..5)) {
        let dir = usage_dir();
        for (number, transcript) in transcripts.iter().enumerate() {
            dir.write(&format!("ada/{number}.jsonl"), transcript);
        }
        let pipeline = TestPipeline::open(&dir, &[usage()]);
        pipeline.run("usage");
        let mut totals = Vec::new();
        for by in ReportGrouping::ALL {
            let report = reported(&pipeline, by);
            prop_assert_eq!(sums(report.rows.iter().map(|row| &row.totals)), sums([&report.totals]));
            let bound = report.rows.iter().any(|row| row.totals.output_is_lower_bound);
            prop_assert_eq!(bound, report.totals.output_is_lower_bound);
            let keys: Vec<_> = report.rows.iter().map(|row| (row.key.is_none(), row.key.clone())).collect();
            prop_assert!(keys.is_sorted(), "by their keys, what has none last: {:?}", keys);
            totals.push(report.totals);
        }
        prop_assert!(totals.windows(2).all(|two| two[0] == two[1]), "{:?}", totals);
    }
}
