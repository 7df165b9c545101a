//! Runs from end to end: which sessions are processed, and what is recorded.

mod bookkeeping;
mod changes;
mod cut;
mod failures;
mod gone;
mod resumed;

use std::time::Duration;

use session_pipeline_harness::strategies::valid_transcript;
use session_pipeline_harness::{DataDir, FinishedRun, TestPipeline, cases, pipeline};
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::run::{RunError, RunRequest};
use session_pipeline_store::RunStats;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::database::{cell, execute, rows};
use crate::guests::{PANICS, POISON, WELL_BEHAVED, lines_of, panics, prepared_dir, well_behaved};

const KEY: &str = "ada/one.jsonl";
const MINUTE: Duration = Duration::from_secs(60);

/// Formats the statistics that are not zero.
fn summary(stats: &RunStats) -> String {
    let counts = [
        ("scanned", stats.scanned),
        ("processed", stats.processed),
        ("skipped", stats.skipped),
        ("capped", stats.capped),
        ("errors", stats.errors),
        ("items", stats.items_extracted),
        ("waiting", stats.waiting),
        ("quarantined", stats.quarantined),
    ];
    counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Returns the summary of a run and the number of sessions that it opened.
fn summary_and_opens(run: &FinishedRun) -> (String, u64) {
    (summary(&run.stats), run.opens)
}

/// Returns a data directory with these sessions. Each has one line.
fn dir_with(keys: &[&str]) -> DataDir {
    let dir = DataDir::new();
    for key in keys {
        dir.write(key, format!("{{\"in\":\"{key}\"}}\n"));
    }
    dir
}

fn capped(max_sessions: u64) -> RunRequest {
    RunRequest {
        max_sessions: Some(max_sessions),
        ..RunRequest::cli()
    }
}

#[test]
fn a_run_stores_the_rows_and_the_state_of_every_session() {
    let dir = DataDir::new();
    dir.write(KEY, "one\ntwo\n");
    dir.write("bob/b/subagents/agent-1.jsonl", "three");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(
        summary_and_opens(&pipeline.run(WELL_BEHAVED)),
        ("scanned 2, processed 2, items 3".to_owned(), 2)
    );
    drop(pipeline);
    insta::assert_snapshot!(rows(&dir, &lines_of(WELL_BEHAVED)).join("\n"), @r"
    ada/one.jsonl | 1 | one
    ada/one.jsonl | 2 | two
    bob/b/subagents/agent-1.jsonl | 1 | three
    ");
    let state = "SELECT session_file, username, processed_at, items_extracted, file_hash, file_size, session_seq > 0, due, missing_since
        FROM session_processor_state ORDER BY ALL";
    insta::assert_snapshot!(rows(&dir, state).join("\n"), @r"
    ada/one.jsonl | ada | 2100-01-01 00:00:00 | 2 | 2094b601daac3d68f5aed51d3c20f7cd | 8 | true | - | -
    bob/b/subagents/agent-1.jsonl | bob | 2100-01-01 00:00:00 | 1 | 35d6d33467aae9a2e3dccb4b6b027878 | 5 | true | - | -
    ");
}

#[test]
fn a_second_run_opens_no_file() {
    let dir = dir_with(&[KEY, "bob/one.jsonl"]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).opens, 2);
    assert_eq!(
        summary_and_opens(&pipeline.run(WELL_BEHAVED)),
        (String::new(), 0)
    );
    drop(pipeline);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(
        summary_and_opens(&pipeline.run(WELL_BEHAVED)),
        (String::new(), 0),
        "after a restart"
    );
}

#[test]
fn rows_of_a_legacy_state_are_replaced_by_file_name() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    drop(TestPipeline::open(&dir, &[well_behaved()]).run(WELL_BEHAVED));
    // Simulate rows and a state of another program, which no session number links.
    execute(
        &dir,
        "UPDATE session_processor_state SET session_seq = NULL, component_digest = NULL, file_size = NULL,
             file_mtime_ns = NULL, file_ctime_ns = NULL, processed_at = TIMESTAMP '2026-01-01 00:00:00'",
    );
    dir.write(KEY, "two\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    drop(pipeline);
    assert_eq!(
        rows(&dir, &lines_of(WELL_BEHAVED)),
        ["ada/one.jsonl | 1 | two"]
    );
}

#[test]
fn a_higher_version_reprocesses_every_session_once() {
    let dir = dir_with(&[KEY, "bob/one.jsonl"]);
    drop(TestPipeline::open(&dir, &[well_behaved()]).run(WELL_BEHAVED));
    // Simulate rows of a component with a lower version.
    execute(
        &dir,
        &format!(
            "INSERT INTO components VALUES ('earlier', '{WELL_BEHAVED}', 0, NULL, TIMESTAMP '2026-01-01 00:00:00');
             UPDATE session_processor_state SET component_digest = 'earlier'"
        ),
    );
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 2);
    assert_eq!(
        summary_and_opens(&pipeline.run(WELL_BEHAVED)),
        (String::new(), 0)
    );
    drop(pipeline);
    assert_eq!(
        rows(&dir, &lines_of(WELL_BEHAVED)).len(),
        2,
        "rows must be replaced, not appended"
    );
}

#[test]
fn a_lower_version_than_before_is_rejected() {
    let dir = dir_with(&[KEY]);
    drop(TestPipeline::open(&dir, &[well_behaved()]).run(WELL_BEHAVED));
    execute(
        &dir,
        &format!(
            "INSERT INTO components VALUES ('later', '{WELL_BEHAVED}', 2, NULL, TIMESTAMP '2026-01-01 00:00:00')"
        ),
    );
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let error = pipeline
        .try_run_as(WELL_BEHAVED, RunRequest::cli())
        .unwrap_err();
    insta::assert_snapshot!(error, @"the processor `faulty-well-behaved` is unavailable: component: version 1 is lower than version 2, which ran here before; use the newer component, or set `allow_lower_version = true` in `[processors.faulty-well-behaved]`");
}

#[test]
fn the_error_for_an_unknown_processor_lists_the_known_ones() {
    let dir = DataDir::new();
    let pipeline = TestPipeline::open(&dir, &[well_behaved(), panics()]);
    let error = pipeline
        .try_run_as("nobody", RunRequest::cli())
        .unwrap_err();
    insta::assert_snapshot!(error, @"unknown processor `nobody`; known processors: faulty-panics, faulty-well-behaved");
    drop(pipeline);
    assert_eq!(cell(&dir, "SELECT count(*) FROM runs"), "0");
    assert_eq!(cell(&dir, "SELECT count(*) FROM audit_log"), "0");
}

#[test]
fn two_processors_have_independent_states_and_failures() {
    let dir = dir_with(&[KEY]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved(), panics()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    assert_eq!(pipeline.state(PANICS, KEY), None);
    assert_eq!(pipeline.run(PANICS).stats.processed, 1);
    dir.write(KEY, POISON);
    assert_eq!(summary(&pipeline.run(PANICS).stats), "scanned 1, errors 1");
    assert_eq!(pipeline.failure(WELL_BEHAVED, KEY), None);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
}

#[test]
fn a_processor_has_one_run_at_a_time_and_releases_its_lock() {
    use session_pipeline_pipeline::run::Progress;
    /// Starts the same run while it is in progress.
    struct StartAgain<'a>(&'a TestPipeline, std::sync::Mutex<Option<RunError>>);
    impl Progress for StartAgain<'_> {
        fn planned(&self, _: u64, _: u64) {
            let again = self.0.try_run_as(WELL_BEHAVED, RunRequest::cli());
            *self.1.lock().unwrap() = again.err();
        }
        fn advanced(&self, _: u64) {}
    }
    let dir = dir_with(&[KEY]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let start_again = StartAgain(&pipeline, std::sync::Mutex::default());
    pipeline
        .pipeline()
        .run(WELL_BEHAVED, &RunRequest::cli(), &start_again)
        .unwrap();
    let error = start_again.1.into_inner().unwrap().unwrap();
    insta::assert_snapshot!(error, @"the processor `faulty-well-behaved` is already running; wait for it to end");
    pipeline.run(WELL_BEHAVED);
    drop(pipeline);
    assert_eq!(
        cell(&dir, "SELECT count(*) FROM runs"),
        "2",
        "a rejected run must not leave a row"
    );
}

#[test]
fn scheduled_and_manual_runs_differ_only_in_sessions_in_backoff() {
    let dir = DataDir::new();
    dir.write(KEY, POISON);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    pipeline.run(PANICS);
    pipeline.run(PANICS);
    assert_eq!(
        summary_and_opens(&pipeline.run_scheduled(PANICS)),
        ("waiting 1".to_owned(), 0)
    );
    assert_eq!(
        summary(&pipeline.run_as(PANICS, pipeline::scheduled_request()).stats),
        "waiting 1"
    );
    assert_eq!(summary(&pipeline.run(PANICS).stats), "scanned 1, errors 1");
}

/// Returns everything that a run writes, without numbers that depend on the order.
fn written_rows(dir: &DataDir) -> Vec<Vec<String>> {
    let state = "SELECT session_file, username, processed_at, items_extracted, file_hash, file_size, file_mtime_ns
        FROM session_processor_state ORDER BY ALL";
    let failures = "SELECT session_file, file_hash, attempts, fault, detail FROM session_failures ORDER BY ALL";
    let costs = "SELECT session_file, bytes, fuel, peak_memory FROM session_costs ORDER BY ALL";
    vec![
        rows(dir, &lines_of(PANICS)),
        rows(dir, state),
        rows(dir, failures),
        rows(dir, costs),
    ]
}

proptest! {
    // Each case opens two pipelines.
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(2)))]

    #[test]
    fn invariant_the_result_does_not_depend_on_the_order_of_independent_sessions(
        sessions in vec((valid_transcript(), any::<bool>()), 1..8),
    ) {
        let run = |workers, sessions_max| {
            let dir = prepared_dir();
            for (number, (bytes, is_poison)) in sessions.iter().enumerate() {
                let key = format!("user-{}/{number}.jsonl", number % 3);
                dir.write(&key, bytes);
                if *is_poison {
                    dir.append(&key, POISON);
                }
            }
            let mut config = Config { workers, ..dir.config() };
            config.group.sessions_max = sessions_max;
            let pipeline = TestPipeline::open_with(&dir, config, &[panics()]);
            let stats = pipeline.run(PANICS).stats;
            drop(pipeline);
            (summary(&stats), written_rows(&dir))
        };
        let one_by_one = run(1, 1);
        let concurrent = run(2, 100);
        prop_assert_eq!(one_by_one, concurrent);
    }
}
