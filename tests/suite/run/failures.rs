//! Sessions that fail: attempts, back-off, quarantine and recovery.

use std::sync::Arc;
use std::time::Duration;

use session_pipeline_harness::{DataDir, TestPipeline, clock};
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::fault::FaultKind;
use session_pipeline_host::limits::Limits;
use session_pipeline_host::processor::Cost;
use session_pipeline_pipeline::config::{Config, ProcessorConfig};
use session_pipeline_pipeline::run::{Progress, RunRequest};
use session_pipeline_store::{CommitGroup, CompletedSession, ContentChange, SessionOutcome};

use super::{KEY, MINUTE, capped, dir_with, summary, summary_and_opens};
use crate::database::{cell, rows};
use crate::guests::{PANICS, POISON, WELL_BEHAVED, lines_of, misbehaving, panics, well_behaved};

#[test]
fn a_poison_session_fails_once_and_other_sessions_are_processed() {
    let dir = dir_with(&["ada/1.jsonl", "ada/3.jsonl"]);
    dir.write("ada/2.jsonl", format!("fine\n{POISON}\n"));
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    let run = pipeline.run(PANICS);
    assert_eq!(
        summary(&run.stats),
        "scanned 3, processed 2, errors 1, items 2"
    );
    let error = &run.stats.errors_detail[0];
    assert_eq!(
        (error.session.as_str(), error.fault.as_str()),
        ("ada/2.jsonl", "panic")
    );
    assert!(
        error.error.contains("the guest panicked on purpose"),
        "{}",
        error.error
    );

    let failure = pipeline.failure(PANICS, "ada/2.jsonl").unwrap();
    assert_eq!(failure.fault.kind, FaultKind::Panic);
    assert_eq!(failure.failures.attempts, 1);
    assert_eq!(pipeline.state(PANICS, "ada/2.jsonl"), None);
    drop(pipeline);
    assert_eq!(
        rows(
            &dir,
            &format!("SELECT DISTINCT session_file FROM \"{PANICS}\".lines ORDER BY 1")
        ),
        ["ada/1.jsonl", "ada/3.jsonl"],
        "rows of the failed attempt must not be stored"
    );
}

#[test]
fn a_failed_attempt_counts_toward_the_cap_and_the_next_run_tries_other_sessions_first() {
    let dir = DataDir::new();
    dir.write("ada/1.jsonl", POISON);
    dir.write("ada/2.jsonl", "fine\n");
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    let first = pipeline.run_as(PANICS, capped(1));
    assert_eq!(summary(&first.stats), "scanned 2, capped 1, errors 1");
    dir.clock().advance(MINUTE);
    let second = pipeline.run_as(PANICS, capped(1));
    assert_eq!(
        summary(&second.stats),
        "scanned 2, processed 1, capped 1, items 1"
    );
}

#[test]
fn rows_of_earlier_content_are_kept_while_the_current_content_fails() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    pipeline.run(PANICS);
    let before = pipeline.state(PANICS, KEY);
    dir.append(KEY, format!("{POISON}\n"));
    assert_eq!(summary(&pipeline.run(PANICS).stats), "scanned 1, errors 1");
    assert_eq!(pipeline.state(PANICS, KEY), before);
    drop(pipeline);
    assert_eq!(rows(&dir, &lines_of(PANICS)), ["ada/one.jsonl | 1 | one"]);
}

#[test]
fn a_failing_session_backs_off_and_is_finally_quarantined() {
    let dir = DataDir::new();
    dir.write(KEY, POISON);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    let mut history = Vec::new();
    for minutes in [0, 10, 10, 10, 20, 20, 40, 80, 10_000] {
        dir.clock().advance(minutes * MINUTE);
        let run = pipeline.run_scheduled(PANICS);
        history.push(format!(
            "{minutes:>5} minutes later: {}",
            summary(&run.stats)
        ));
    }
    insta::assert_snapshot!(history.join("\n"), @r"
        0 minutes later: scanned 1, errors 1
       10 minutes later: scanned 1, errors 1
       10 minutes later: waiting 1
       10 minutes later: scanned 1, errors 1
       20 minutes later: waiting 1
       20 minutes later: scanned 1, errors 1
       40 minutes later: waiting 1
       80 minutes later: scanned 1, errors 1
    10000 minutes later: quarantined 1
    ");
    let run = pipeline.run(PANICS);
    assert_eq!(
        summary_and_opens(&run),
        ("quarantined 1".to_owned(), 0),
        "a manual run must not try it either"
    );
}

/// Returns a pipeline with one session in quarantine.
fn quarantined() -> (DataDir, TestPipeline) {
    let dir = DataDir::new();
    dir.write(KEY, format!("{POISON}\n"));
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    for attempt in 1..=5 {
        assert_eq!(
            summary(&pipeline.run(PANICS).stats),
            "scanned 1, errors 1",
            "attempt {attempt}"
        );
    }
    (dir, pipeline)
}

#[test]
fn a_touched_session_stays_in_quarantine_and_is_hashed_once() {
    let (dir, pipeline) = quarantined();
    dir.clock().advance(MINUTE);
    dir.touch(KEY);
    assert_eq!(
        summary_and_opens(&pipeline.run(PANICS)),
        ("quarantined 1".to_owned(), 1)
    );
    assert_eq!(
        summary_and_opens(&pipeline.run(PANICS)),
        ("quarantined 1".to_owned(), 0)
    );
    assert_eq!(pipeline.failure(PANICS, KEY).unwrap().failures.attempts, 5);
    drop(pipeline);
    assert_eq!(
        cell(&dir, "SELECT count(*) FROM session_costs"),
        "5",
        "a session that is not tried has no cost"
    );
}

#[test]
fn changed_content_leaves_quarantine_and_a_success_clears_the_failures() {
    let (dir, pipeline) = quarantined();
    // The new content has the same size, so only the hash differs.
    dir.write(KEY, "misbehavf\n");
    assert_eq!(
        summary(&pipeline.run(PANICS).stats),
        "scanned 1, processed 1, items 1"
    );
    assert_eq!(pipeline.failure(PANICS, KEY), None);
    dir.write(KEY, format!("{POISON}\n"));
    assert_eq!(summary(&pipeline.run(PANICS).stats), "scanned 1, errors 1");
    assert_eq!(
        pipeline.failure(PANICS, KEY).unwrap().failures.attempts,
        1,
        "the count must restart"
    );
}

#[test]
fn restored_content_is_skipped_and_clears_the_failure() {
    let dir = DataDir::new();
    dir.write(KEY, "misbehavf\n");
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    pipeline.run(PANICS);
    // Fail twice, so that the session is in back-off.
    dir.write(KEY, format!("{POISON}\n"));
    pipeline.run(PANICS);
    pipeline.run(PANICS);
    dir.write(KEY, "misbehavf\n");
    assert_eq!(
        summary(&pipeline.run_scheduled(PANICS).stats),
        "scanned 1, skipped 1"
    );
    assert_eq!(pipeline.failure(PANICS, KEY), None);
    assert_eq!(summary_and_opens(&pipeline.run(PANICS)), (String::new(), 0));
}

#[test]
fn a_session_that_is_too_large_fails_and_is_never_quarantined() {
    let dir = DataDir::new();
    dir.write(KEY, "0123456789\n");
    dir.write("bob/small.jsonl", "0\n");
    let limits = Limits {
        session_bytes_max: 10,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &[well_behaved()]);
    for _ in 0..7 {
        let stats = pipeline.run(WELL_BEHAVED).stats;
        assert_eq!((stats.errors, stats.quarantined), (1, 0));
        assert_eq!(
            stats.errors_detail[0].error,
            "too-large: the session has 11 bytes; the limit is 10"
        );
    }
    assert!(pipeline.state(WELL_BEHAVED, "bob/small.jsonl").is_some());
}

#[test]
fn the_backoff_follows_the_effective_cadence() {
    let wait = |set: &dyn Fn(&mut ProcessorConfig)| {
        let dir = DataDir::new();
        dir.write(KEY, POISON);
        let mut config = dir.config();
        set(config.processors.entry(PANICS.to_owned()).or_default());
        let pipeline = TestPipeline::open_with(&dir, config, &[panics()]);
        pipeline.run(PANICS);
        pipeline.run(PANICS);
        let failures = pipeline.failure(PANICS, KEY).unwrap().failures;
        let at = failures.next_attempt_at.unwrap();
        Duration::from_micros(u64::try_from(at.0 - clock::START.0).unwrap())
    };
    let schedule = |text: &'static str| {
        move |own: &mut ProcessorConfig| own.schedule = Some(text.parse().unwrap())
    };
    assert_eq!(
        wait(&|_| {}),
        MINUTE * 20,
        "the cadence in the manifest is ten minutes"
    );
    assert_eq!(
        wait(&|own| own.interval = Some(MINUTE)),
        MINUTE * 2,
        "the interval from the environment"
    );
    assert_eq!(wait(&schedule("every 1m")), MINUTE * 2);
    assert_eq!(wait(&schedule("every 3h")), MINUTE * 360);
    assert_eq!(
        wait(&schedule("daily 00:00,06:00,12:00,18:00")),
        MINUTE * 720
    );
    assert_eq!(
        wait(&schedule("every 0m")),
        MINUTE,
        "twice the interval of a tick"
    );
}

/// Commits the state of a session during a run, so that the database rejects the run's own row.
struct CommitConflict<'a>(&'a TestPipeline, &'a str);

impl Progress for CommitConflict<'_> {
    fn planned(&self, _: u64, _: u64) {
        let pipeline = self.0.pipeline();
        let processor = pipeline.processor(WELL_BEHAVED).unwrap();
        let session = CompletedSession {
            key: self.1.to_owned(),
            username: "ada".to_owned(),
            state_row: None,
            failure: None,
            read_at: clock::START,
            observed: None,
            hash: ContentHash([7; 16]),
            items: 0,
            tables: Vec::new(),
            resumed_from: None,
            checkpoint: None,
            cost: Cost::default(),
            change: ContentChange::Unknown,
        };
        let group = CommitGroup {
            manifest: Arc::new(processor.manifest().clone()),
            digest: "another".to_owned(),
            run_id: "0".to_owned(),
            now: clock::START,
            requests: Arc::default(),
            outcomes: vec![SessionOutcome::Completed(Box::new(session))],
        };
        pipeline.store().commit(&Arc::new(group)).unwrap();
    }
    fn advanced(&self, _: u64) {}
}

#[test]
fn a_session_rejected_by_the_database_is_recorded_as_failed_and_others_are_committed() {
    let dir = dir_with(&[KEY, "ada/two.jsonl"]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let conflict = CommitConflict(&pipeline, KEY);
    let request = RunRequest::cli();
    let report = pipeline.pipeline().run(WELL_BEHAVED, &request, &conflict);
    let stats = report.unwrap().stats;
    assert_eq!(summary(&stats), "scanned 2, processed 1, errors 1, items 1");
    let failure = pipeline.failure(WELL_BEHAVED, KEY).unwrap();
    assert_eq!(failure.fault.kind, FaultKind::Host);
    assert_eq!(
        (failure.failures.attempts, failure.failures.quarantined_at),
        (1, None)
    );
    assert!(failure.hash.is_some() && failure.observed.is_some());
    assert_eq!(pipeline.failure(WELL_BEHAVED, "ada/two.jsonl"), None);
    // The next run finds the conflicting row and succeeds.
    assert_eq!(
        summary(&pipeline.run(WELL_BEHAVED).stats),
        "scanned 1, processed 1, items 1"
    );
    assert_eq!(pipeline.failure(WELL_BEHAVED, KEY), None);
}

/// Panics after the first outcome and a delay, while further outcomes are queued.
struct DelayedPanic(Duration);

impl Progress for DelayedPanic {
    fn planned(&self, _: u64, _: u64) {}
    fn advanced(&self, _: u64) {
        std::thread::sleep(self.0);
        panic!("out of the blue");
    }
}

#[test]
fn a_panic_with_queued_outcomes_aborts_the_run_and_releases_the_lock() {
    // More outcomes than fit into the channel, then more bytes than may be queued for the writer.
    for (sessions, line, bytes_max) in [(600, 10, 16 << 20), (6, 600 << 10, 64 << 10)] {
        let dir = DataDir::new();
        for number in 0..sessions {
            dir.write(&format!("ada/{number}.jsonl"), "x".repeat(line));
        }
        let mut config = dir.config();
        config.group.bytes_max = bytes_max;
        config.limits.row_bytes_max = 1 << 20;
        let pipeline = TestPipeline::open_with(&dir, config, &[well_behaved()]);
        let error = pipeline
            .pipeline()
            .run(
                WELL_BEHAVED,
                &RunRequest::cli(),
                &DelayedPanic(Duration::from_millis(1500)),
            )
            .unwrap_err();
        assert!(error.to_string().contains("out of the blue"), "{error}");
        assert!(pipeline.pipeline().running().is_empty());
        assert_eq!(pipeline.run(WELL_BEHAVED).stats.errors, 0);
    }
}

/// Returns the CPU time of this thread.
fn thread_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn the_committing_thread_sleeps_while_a_session_is_processed_for_any_wait() {
    for wait_max in [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_millis(100),
    ] {
        let dir = DataDir::new();
        dir.write(KEY, POISON);
        let mut config = dir.config();
        config.group.wait_max = wait_max;
        config.limits.fuel_base = u64::MAX / 4;
        config.limits.cpu_base = Duration::from_secs(1);
        let (name, component) = misbehaving("loops");
        let pipeline = TestPipeline::open_with(&dir, config, &[(name, component)]);
        pipeline.pipeline().processor(name).unwrap();
        let before = thread_cpu();
        let stats = pipeline.run(name).stats;
        let used = thread_cpu() - before;
        assert_eq!(stats.errors, 1, "{stats:?}");
        assert!(
            used < Duration::from_millis(500),
            "{used:?} with {wait_max:?}"
        );
    }
}
