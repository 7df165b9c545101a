//! What reports are read from is kept up to date, and is never anything but what the tables say.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use session_pipeline_harness::strategies::{FILES, MessageRecord, message_records};
use session_pipeline_harness::{DataDir, TestPipeline, Transcript, cases};
use session_pipeline_host::clock::Clock;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::report::{self, DayRange, PriceTable, ReportGrouping};
use session_pipeline_pipeline::token::{self, Randomness};
use session_pipeline_store::{Actor, CancelReason, NewToken, Role, StoreError};

use super::agreement::line;
use super::{reported, tools_reported};
use crate::bulk_sessions::{self, BulkSessions};
use crate::database;
use crate::guests::{usage, usage_dir};

const DAY: Duration = Duration::from_secs(86_400);

/// What happens to a file before the next run.
#[derive(Clone, Debug)]
enum Step {
    /// It holds these from now on.
    Write(usize, Vec<MessageRecord>),
    /// It goes, and its rows stay.
    Vanish(usize),
    /// It goes, and after some days its rows are removed.
    Forget(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let file = 0..FILES.len();
    let step = prop_oneof![
        4 => (file.clone(), message_records()).prop_map(|(file, sightings)| Step::Write(file, sightings)),
        1 => file.clone().prop_map(Step::Vanish),
        1 => file.prop_map(Step::Forget),
    ];
    vec(step, 1..6)
}

/// An id that is unique by itself.
fn long(id: &str) -> String {
    format!("msg_{id:0>24}")
}

fn open(dir: &DataDir) -> TestPipeline {
    let config = Config {
        keep_missing_days: Some(3),
        ..dir.config()
    };
    TestPipeline::open_with(dir, config, &[usage()])
}

fn every_report(pipeline: &TestPipeline) -> Vec<Value> {
    let tools = json!(tools_reported(pipeline));
    ReportGrouping::ALL
        .map(|by| json!(reported(pipeline, by)))
        .into_iter()
        .chain([tools])
        .collect()
}

fn take(dir: &DataDir, pipeline: &TestPipeline, step: &Step) {
    let delete = |file: &usize| {
        if dir.has_session(FILES[*file]) {
            dir.delete(FILES[*file]);
        }
    };
    match step {
        Step::Write(file, sightings) => {
            dir.write(FILES[*file], sightings.iter().map(line).collect::<String>());
        }
        Step::Vanish(file) => delete(file),
        Step::Forget(file) => {
            delete(file);
            pipeline.run("usage");
            dir.clock().advance(4 * DAY);
        }
    }
    assert_eq!(pipeline.run("usage").stats.errors, 0);
}

proptest! {
    // Each case makes several databases and runs the processor many times.
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(8)))]

    #[test]
    fn invariant_a_report_after_any_history_is_one_that_was_worked_out_from_nothing(steps in steps()) {
        let dir = usage_dir();
        // An empty root is no deletion, so one file stays.
        dir.write("zed/stays.jsonl", Transcript::new("s0").assistant(|m| m.tokens(1, 1)));
        let mut pipeline = open(&dir);
        for step in &steps {
            take(&dir, &pipeline, step);
            let kept = every_report(&pipeline);
            drop(pipeline);
            let by_views = database::rows(
                &dir,
                "SELECT sum(input_tokens), sum(output_tokens), sum(cost_usd), sum(messages),
                    (SELECT (sum(calls), coalesce(sum(errors), 0)) FROM usage.by_tool) FROM usage.daily",
            );
            let by_rollups = database::rows(
                &dir,
                "SELECT sum(input_tokens), sum(output_tokens), sum(cost_usd), sum(message_count),
                    (SELECT (sum(calls), coalesce(sum(calls) FILTER (is_error), 0)) FROM usage.call_rollups WHERE tool_name IS NOT NULL) FROM usage.message_rollups",
            );
            prop_assert_eq!(by_rollups, by_views);
            let anew = DataDir::with_state_of(&dir);
            database::execute(&anew, "DROP TABLE usage.rollup_sessions");
            anew.clock().set(dir.clock().now());
            prop_assert_eq!(kept, every_report(&open(&anew)));
            pipeline = open(&dir);
        }
    }
}

/// The files that the rollups of each slot come from.
fn slots(dir: &DataDir) -> Vec<String> {
    let sql = "SELECT DISTINCT list(DISTINCT session_file ORDER BY session_file) AS files
        FROM usage.rollup_items JOIN session_processor_state USING (session_seq)
        WHERE item IN (SELECT hash(message_id) FROM usage.messages) GROUP BY slot ORDER BY files";
    database::rows(dir, sql)
}

/// Marks all rollups; those that are made again have no mark.
fn mark(dir: &DataDir) {
    database::execute(dir, "UPDATE usage.message_rollups SET directory = 'marked'");
}

/// How many rollups have no mark.
fn unmarked(dir: &DataDir) -> usize {
    let sql = "SELECT count(*) FROM usage.message_rollups WHERE directory <> 'marked'";
    database::cell(dir, sql).parse().unwrap()
}

#[test]
fn only_the_slots_of_what_changed_are_worked_out_anew() {
    let dir = usage_dir();
    let message = |id: &str| Transcript::new("s1").assistant(|m| m.id(&long(id)));
    for (key, id) in [("ada/a", "m1"), ("ada/copy", "m1"), ("ada/other", "m2")] {
        dir.write(&format!("{key}.jsonl"), message(id));
    }
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    reported(&pipeline, ReportGrouping::Day);
    drop(pipeline);
    assert_eq!(
        slots(&dir),
        ["[ada/a.jsonl, ada/copy.jsonl]", "[ada/other.jsonl]"]
    );
    mark(&dir);
    dir.write("ada/third.jsonl", message("m1"));
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    reported(&pipeline, ReportGrouping::Day);
    drop(pipeline);
    assert_eq!(
        slots(&dir),
        [
            "[ada/a.jsonl, ada/copy.jsonl, ada/third.jsonl]",
            "[ada/other.jsonl]"
        ]
    );
    assert_eq!(unmarked(&dir), 1, "`ada/other.jsonl` has its mark");
}

#[test]
fn a_file_that_links_all_sessions_slows_no_later_report() {
    let dir = usage_dir();
    let many = BulkSessions {
        sessions: 1..5_001,
        messages: 4,
        copied: 0,
    };
    bulk_sessions::add(&dir, &many);
    bulk_sessions::add_link(&dir, 5_001, &many);
    // A file of its own, one that copies from a linked session, and one that the link copies from.
    let message = |session: &str, number: u64| {
        let id = bulk_sessions::message_id(number);
        Transcript::new(session).assistant(move |m| m.id(&id).request(&id.replace("msg", "req")))
    };
    let files = [
        ("eve/own.jsonl", message("own", 900_000_000)),
        ("eve/copy.jsonl", message("copy", 2_000 * 4)),
        ("eve/linked.jsonl", message("linked", 3_000 * 4 + 3)),
    ];
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    let first = reported(&pipeline, ReportGrouping::Day);
    assert_eq!(first.totals.messages, 20_000);
    drop(pipeline);
    for (key, session) in files {
        mark(&dir);
        dir.write(key, session);
        let pipeline = TestPipeline::open(&dir, &[usage()]);
        pipeline.run("usage");
        let started = Instant::now();
        reported(&pipeline, ReportGrouping::Day);
        let took = started.elapsed();
        drop(pipeline);
        println!("{key}: {took:?}");
        let changed = unmarked(&dir);
        assert!((1..10).contains(&changed), "{key}: {changed} rollups");
    }
    // One that the link copies from grows.
    mark(&dir);
    let grown = message("linked", 3_000 * 4 + 3).assistant(|m| m);
    dir.write("eve/linked.jsonl", grown);
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    assert_eq!(
        reported(&pipeline, ReportGrouping::Day).totals.messages,
        20_002
    );
    drop(pipeline);
    assert!((1..10).contains(&unmarked(&dir)));
    agree(&dir);
}

/// The views say the same.
fn agree(dir: &DataDir) {
    let by_views = database::rows(
        dir,
        "SELECT sum(input_tokens), sum(cost_usd), sum(messages), (SELECT sum(calls) FROM usage.by_tool) FROM usage.daily",
    );
    let by_rollups = database::rows(
        dir,
        "SELECT sum(input_tokens), sum(cost_usd), sum(message_count), (SELECT sum(calls) FROM usage.call_rollups)
         FROM usage.message_rollups",
    );
    assert_eq!(by_rollups, by_views);
}

/// A config under which rollups are made in many slices.
fn sliced(dir: &DataDir) -> Config {
    Config {
        database_memory_bytes: 64 << 20,
        ..dir.config()
    }
}

#[test]
fn a_report_fits_in_the_smallest_memory() {
    let dir = usage_dir();
    // Every message twice, which is what takes memory; and one session of 100,000.
    bulk_sessions::add(
        &dir,
        &BulkSessions {
            sessions: 1..501,
            messages: 100,
            copied: 50,
        },
    );
    bulk_sessions::add(
        &dir,
        &BulkSessions {
            sessions: 501..502,
            messages: 100_000,
            copied: 0,
        },
    );
    let pipeline = TestPipeline::open_with(&dir, sliced(&dir), &[usage()]);
    let report = reported(&pipeline, ReportGrouping::Session);
    assert_eq!(report.totals.messages, 500 * 50 + 50 + 100_000);
    drop(pipeline);
    agree(&dir);
}

#[test]
fn tokens_are_created_while_rollups_are_made() {
    let dir = usage_dir();
    let sessions = 1..1_001;
    let many = BulkSessions {
        sessions,
        messages: 100,
        copied: 0,
    };
    bulk_sessions::add(&dir, &many);
    let pipeline = TestPipeline::open_with(&dir, sliced(&dir), &[usage()]);
    let is_reported = AtomicBool::new(false);
    let (took, waits) = std::thread::scope(|threads| {
        let report = threads.spawn(|| {
            let started = Instant::now();
            let report = reported(&pipeline, ReportGrouping::Day);
            is_reported.store(true, Ordering::SeqCst);
            assert_eq!(report.totals.messages, 100_000);
            started.elapsed()
        });
        let mut waits = Vec::new();
        while !is_reported.load(Ordering::SeqCst) {
            let started = Instant::now();
            create_token(&pipeline, &format!("user{}@example.com", waits.len()));
            waits.push(started.elapsed());
            std::thread::sleep(Duration::from_millis(5));
        }
        (report.join().unwrap(), waits)
    });
    let longest = *waits.iter().max().unwrap();
    assert!(
        longest < took / 3,
        "{longest:?} of {took:?}, {} tokens",
        waits.len()
    );
}

fn create_token(pipeline: &TestPipeline, email: &str) {
    let new = NewToken {
        role: Role::Analyst,
        email: Some(email.to_owned()),
        label: None,
        expires_at: None,
    };
    let pipeline = pipeline.pipeline();
    let (store, now) = (pipeline.store(), pipeline.clock().now());
    token::create(store, &new, &TestRandomness, Actor::cli(), now).unwrap();
}

/// Never the same twice.
struct TestRandomness;

impl Randomness for TestRandomness {
    fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = number[at % number.len()];
        }
        Ok(())
    }
}

#[test]
fn rollups_that_a_stop_interrupts_are_made_to_their_end_by_the_next_report() {
    let dir = usage_dir();
    let many = BulkSessions {
        sessions: 1..1_001,
        messages: 100,
        copied: 10,
    };
    bulk_sessions::add(&dir, &many);
    let pipeline = TestPipeline::open_with(&dir, sliced(&dir), &[usage()]);
    let prices = PriceTable::load(pipeline.pipeline().config()).unwrap();
    let store = pipeline.pipeline().store();
    std::thread::scope(|threads| {
        let report = threads.spawn(|| {
            let clock = pipeline.pipeline().clock();
            report::usage(
                store,
                &prices,
                ReportGrouping::Day,
                DayRange::default(),
                clock,
            )
        });
        // Until it has its turn, and some time of it.
        std::thread::sleep(Duration::from_millis(300));
        let stopped = Instant::now();
        store.stop_rollup_updates();
        let ended = report.join().unwrap();
        assert!(stopped.elapsed() < Duration::from_secs(4));
        assert!(
            matches!(ended, Err(StoreError::Canceled(CancelReason::Stopping))),
            "{ended:?}"
        );
    });
    drop(pipeline);
    let pipeline = TestPipeline::open_with(&dir, sliced(&dir), &[usage()]);
    assert_eq!(
        reported(&pipeline, ReportGrouping::Day).totals.messages,
        1_000 * 90 + 10
    );
    drop(pipeline);
    agree(&dir);
}

#[test]
fn a_report_has_every_session_that_was_committed_before_its_time() {
    const RUNS: usize = 12;
    let dir = usage_dir();
    dir.write("ada/0.jsonl", Transcript::new("s0").assistant(|m| m));
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    let committed = Mutex::new(Vec::new());
    let is_done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !is_done.load(Ordering::SeqCst) {
                    let report = reported(&pipeline, ReportGrouping::Day);
                    let committed = committed.lock().unwrap();
                    let before = committed.iter().filter(|at| **at < report.as_of).count();
                    // One message of a new session, and one more of the session that grows.
                    let least = 1 + 2 * i64::try_from(before).unwrap();
                    assert!(report.totals.messages >= least, "{before}: {report:?}");
                }
            });
        }
        let mut grows = Transcript::new("grows");
        for run in 0..RUNS {
            grows = grows.assistant(|m| m);
            dir.write("ada/grows.jsonl", grows.clone());
            let new = Transcript::new(&format!("n{run}")).assistant(|m| m);
            dir.write(&format!("ada/new{run}.jsonl"), new);
            pipeline.run("usage");
            committed.lock().unwrap().push(dir.clock().now());
            dir.clock().advance(Duration::from_secs(1));
        }
        is_done.store(true, Ordering::SeqCst);
    });
    let all = 1 + 2 * i64::try_from(RUNS).unwrap();
    assert_eq!(
        reported(&pipeline, ReportGrouping::Day).totals.messages,
        all
    );
}

#[test]
fn a_report_of_what_has_not_changed_writes_nothing() {
    let dir = usage_dir();
    dir.write(
        "ada/a.jsonl",
        Transcript::new("s1").assistant(|m| m.tokens(1, 1)),
    );
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    reported(&pipeline, ReportGrouping::Day);
    pipeline.pipeline().store().checkpoint().unwrap();
    reported(&pipeline, ReportGrouping::Month);
    let log = dir.database_path().with_extension("duckdb.wal");
    assert!(!log.exists(), "whatever is written stands in the log first");
}
