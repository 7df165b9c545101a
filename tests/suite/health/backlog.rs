//! Tests the backlog checks: every status with its message, and the arithmetic against a model.

use std::fs;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use session_pipeline_harness::{DataDir, TestPipeline, Transcript, cases, clock};
use session_pipeline_host::sandbox::sha256_hex;
use session_pipeline_pipeline::health::{
    CheckFigures, CheckResult, CheckStatus, LagGrace, OverallStatus, PendingSessions,
    ProcessorBacklog, SessionFiles, WaitingSession,
};
use session_pipeline_pipeline::run::RunRequest;

use super::{HealthInputs, ago, check, insert_row, migrated, text};
use crate::database::execute;
use crate::guests::{shipped, usage, verification};

const CADENCE: Duration = Duration::from_secs(900);

/// A processor without sessions that never ran.
fn idle(name: &'static str) -> ProcessorBacklog {
    ProcessorBacklog {
        processor: name.to_owned(),
        shipped: shipped(name, &[]),
        has_run: false,
        grace: LagGrace::of(CADENCE, None),
        now: clock::START,
        files: Ok(SessionFiles::default()),
        last_processed_at: Ok(None),
        pending: Ok(PendingSessions::default()),
        running_since: None,
        tried_nothing: None,
    }
}

fn oldest(seconds: u64) -> Option<WaitingSession> {
    Some(WaitingSession {
        key: "ada/one.jsonl".to_owned(),
        changed_at: ago(seconds),
    })
}

/// A backlog of one file of this age.
fn waiting(name: &'static str, seconds: u64) -> ProcessorBacklog {
    ProcessorBacklog {
        files: Ok(SessionFiles {
            count: 1,
            newest: Some(ago(seconds)),
        }),
        pending: Ok(PendingSessions {
            oldest: oldest(seconds),
            oldest_without_row: oldest(seconds),
            ..PendingSessions::default()
        }),
        ..idle(name)
    }
}

fn result_text(entry: &CheckResult) -> String {
    let CheckFigures::Backlog(figures) = &entry.figures else {
        panic!("{entry:?}")
    };
    let figures = serde_json::to_string(figures).unwrap();
    let detail = entry.detail.as_deref().unwrap_or("-");
    let next = entry.next_action.as_deref().unwrap_or("-");
    format!("{}\n{detail}\n{next}\n{figures}", entry.status.as_str())
}

// Errors of the database.

#[test]
fn the_backlog_is_unknown_if_the_last_processing_cannot_be_read() {
    let backlog = ProcessorBacklog {
        last_processed_at: Err("the database refused".to_owned()),
        ..waiting("verification", 7200)
    };
    insta::assert_snapshot!(result_text(&backlog.judge()), @r#"
    unknown
    the database refused
    -
    {"session_files":1}
    "#);
}

#[test]
fn a_lag_is_reported_even_if_the_pending_sessions_cannot_be_read() {
    let backlog = |newest, processed| ProcessorBacklog {
        files: Ok(SessionFiles {
            count: 3,
            newest: Some(ago(newest)),
        }),
        last_processed_at: Ok(Some(ago(processed))),
        pending: Err("the database refused".to_owned()),
        ..idle("verification")
    };
    assert_eq!(backlog(60, 0).judge().status, CheckStatus::Ok);
    assert_eq!(backlog(7200, 20_000).judge().status, CheckStatus::Warning);
}

// Boundaries, which random values do not reach.

#[test]
fn a_session_that_has_waited_exactly_the_grace_is_not_a_backlog() {
    let status = |waits: u64, processed: Option<u64>| {
        let backlog = ProcessorBacklog {
            last_processed_at: Ok(processed.map(ago)),
            ..waiting("verification", waits)
        };
        backlog.judge().status
    };
    // The grace is half an hour. After two hours, a file without a row counts as skipped.
    assert_eq!(status(1800, None), CheckStatus::Ok);
    assert_eq!(status(1801, None), CheckStatus::Warning);
    assert_eq!(
        status(1801, Some(3601)),
        CheckStatus::Ok,
        "the lag is not more than the grace"
    );
    assert_eq!(status(1801, Some(3602)), CheckStatus::Warning);
    assert_eq!(status(7200, Some(0)), CheckStatus::Ok);
    assert_eq!(status(7201, Some(0)), CheckStatus::Info);
}

// Statuses over data directories.

fn file(dir: &DataDir, key: &str, age_seconds: u64) {
    dir.write(key, "{}\n");
    dir.set_mtime(key, ago(age_seconds));
}

fn entry(dir: &DataDir) -> Value {
    check(HealthInputs::default(), dir, "session_pipeline")
}

#[test]
fn the_backlog_is_unknown_if_the_root_cannot_be_read_completely() {
    let dir = DataDir::without_sessions_root();
    drop(session_pipeline_store::Store::open(
        &dir.config().store_options(),
        clock::START,
    ));
    fs::write(dir.sessions_root(), "a file").unwrap();
    let unreadable = entry(&dir);
    fs::remove_file(dir.sessions_root()).unwrap();
    file(&dir, "ada/one.jsonl", 60);
    fs::create_dir_all(dir.sessions_root().join("d/".repeat(70))).unwrap();
    let incomplete = entry(&dir);
    for entry in [&unreadable, &incomplete] {
        assert_eq!(entry["status"], "unknown", "{entry}");
    }
    let detail = unreadable["detail"].as_str().unwrap();
    assert!(detail.contains("cannot read sessions root"), "{detail}");
    let detail = incomplete["detail"].as_str().unwrap();
    assert!(detail.contains("more than 64 parent folders"), "{detail}");
}

#[test]
fn no_session_files_is_no_backlog() {
    let absent = DataDir::without_sessions_root();
    for dir in [migrated(), absent] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(entry(&dir), @r#"{"audience":"operator","detail":"there are no session files yet","status":"ok"}"#);
        }
    }
}

#[test]
fn an_unprocessed_session_is_a_warning_after_the_grace() {
    let dir = migrated();
    file(&dir, "ada/one.jsonl", 1799);
    insta::assert_snapshot!(text(&entry(&dir)), @r#"
    {
      "audience": "operator",
      "session_files": 1,
      "status": "ok"
    }
    "#);
    file(&dir, "ada/one.jsonl", 7500);
    insta::assert_snapshot!(text(&entry(&dir)), @r#"
    {
      "audience": "operator",
      "detail": "extraction backlog: a session file has waited 2 h 5 min for `verification` (job `session-processor:verification`, formerly `verification-detector`), longer than the allowed 30 min; it has never processed a session",
      "next_action": "session-pipeline run verification",
      "session_files": 1,
      "stage": "extraction",
      "status": "warning"
    }
    "#);
}

#[test]
fn new_sessions_do_not_hide_an_old_unprocessed_one() {
    let dir = migrated();
    file(&dir, "ada/old.jsonl", 86_400);
    file(&dir, "ada/new.jsonl", 1);
    assert_eq!(entry(&dir)["status"], "warning", "never processed");
    insert_row(&dir, 80_000, "ada/gone.jsonl");
    insta::assert_snapshot!(text(&entry(&dir)), @r#"
    {
      "audience": "operator",
      "detail": "extraction backlog: a session file has waited 1 d for `verification` (job `session-processor:verification`, formerly `verification-detector`), longer than the allowed 30 min; it last processed a session at 2099-12-31T01:46:40Z, 22 h 13 min before the newest session changed",
      "lag_seconds": 79999,
      "last_processed": "2099-12-31T01:46:40Z",
      "next_action": "session-pipeline run verification",
      "session_files": 2,
      "stage": "extraction",
      "status": "warning"
    }
    "#);
}

#[test]
fn the_first_session_after_an_idle_weekend_is_not_a_warning() {
    let dir = migrated();
    file(&dir, "ada/friday.jsonl", 3 * 86_400);
    insert_row(&dir, 3 * 86_400 - 60, "ada/friday.jsonl");
    file(&dir, "ada/monday.jsonl", 60);
    insta::assert_snapshot!(text(&entry(&dir)), @r#"
    {
      "audience": "operator",
      "last_processed": "2099-12-29T00:01:00Z",
      "session_files": 2,
      "status": "ok"
    }
    "#);
    file(&dir, "ada/monday.jsonl", 1801);
    assert_eq!(
        entry(&dir)["status"],
        "warning",
        "it has waited longer than the grace"
    );
}

#[test]
fn a_session_that_grew_counts_as_unprocessed() {
    let dir = migrated();
    file(&dir, "ada/one.jsonl", 7200);
    insert_row(&dir, 3 * 86_400, "ada/one.jsonl");
    let entry = entry(&dir);
    assert_eq!(entry["status"], "warning");
    assert_eq!(entry["lag_seconds"], 3 * 86_400 - 7200);
}

#[test]
fn a_legacy_row_with_an_absolute_path_belongs_to_its_file() {
    let dir = migrated();
    file(&dir, "ada/one.jsonl", 86_400);
    file(&dir, "ada/two.jsonl", 60);
    insert_row(
        &dir,
        0,
        &dir.session_path("ada/one.jsonl").display().to_string(),
    );
    insert_row(&dir, 0, "ada/two.jsonl");
    assert_eq!(entry(&dir)["status"], "ok");
}

#[test]
fn a_skipped_session_is_reported_with_the_next_action() {
    let dir = migrated();
    file(&dir, "ada/stuck.jsonl", 7300);
    file(&dir, "ada/fresh.jsonl", 60);
    insert_row(&dir, 0, "ada/fresh.jsonl");
    insta::assert_snapshot!(text(&entry(&dir)), @r#"
    {
      "audience": "operator",
      "detail": "`ada/stuck.jsonl` was never processed by `verification`: it is 2 h 1 min old, more than the allowed 2 h, and newer sessions were processed",
      "last_processed": "2100-01-01T00:00:00Z",
      "next_action": "session-pipeline sessions show ada/stuck.jsonl",
      "session_files": 2,
      "stage": "extraction",
      "status": "info",
      "stuck_file": "ada/stuck.jsonl",
      "stuck_file_age_seconds": 7300
    }
    "#);
}

#[test]
fn a_quarantined_session_is_not_part_of_the_backlog() {
    let dir = migrated();
    file(&dir, "ada/poison.jsonl", 86_400);
    file(&dir, "ada/fresh.jsonl", 60);
    insert_row(&dir, 0, "ada/fresh.jsonl");
    assert_eq!(entry(&dir)["status"], "info");
    // The failure row of a run: with the observed size and times, and the component.
    let metadata = fs::metadata(dir.session_path("ada/poison.jsonl")).unwrap();
    use std::os::unix::fs::MetadataExt;
    let nanos = |seconds: i64, nanos: i64| seconds * 1_000_000_000 + nanos;
    execute(
        &dir,
        &format!(
            "INSERT INTO session_failures (processor_name, session_file, file_size, file_mtime_ns, file_ctime_ns,
                component_digest, attempts, own_attempts, fault, last_attempt_at, quarantined_at)
             VALUES ('verification', 'ada/poison.jsonl', {}, {}, {}, '{}', 5, 5, 'panic', now(), now())",
            metadata.size(),
            nanos(metadata.mtime(), metadata.mtime_nsec()),
            nanos(metadata.ctime(), metadata.ctime_nsec()),
            sha256_hex(verification().1),
        ),
    );
    assert_eq!(entry(&dir)["status"], "ok");
}

#[test]
fn the_grace_depends_on_the_configured_schedule_or_interval() {
    let dir = migrated();
    file(&dir, "ada/one.jsonl", 3000);
    let status = |config: &dyn Fn(&mut session_pipeline_pipeline::config::Config)| {
        let inputs = HealthInputs {
            config,
            ..HealthInputs::default()
        };
        check(inputs, &dir, "session_pipeline")["status"].clone()
    };
    assert_eq!(status(&|_| {}), "warning", "the grace is twice 900 s");
    let interval = |seconds| {
        move |config: &mut session_pipeline_pipeline::config::Config| {
            let own = config.processors.entry("verification".to_owned());
            own.or_default().interval = Some(Duration::from_secs(seconds));
        }
    };
    assert_eq!(status(&interval(1500)), "ok");
    assert_eq!(status(&interval(1499)), "warning");
    let schedule = |text: &'static str| {
        move |config: &mut session_pipeline_pipeline::config::Config| {
            let own = config.processors.entry("verification".to_owned());
            own.or_default().schedule = Some(text.parse().unwrap());
        }
    };
    assert_eq!(status(&schedule("every 25m")), "ok");
    assert_eq!(status(&schedule("every 24m")), "warning");
    assert_eq!(status(&schedule("daily 04:15")), "ok");
    assert_eq!(status(&schedule("every 0m")), "warning");
}

#[test]
fn every_processor_has_an_entry_and_one_that_never_ran_is_not_a_warning() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    dir.set_age("ada/one.jsonl", Duration::from_secs(86_400));
    let entry = || check(HealthInputs::default(), &dir, "session_pipeline:usage");
    insta::assert_snapshot!(text(&entry()), @r#"
    {
      "audience": "operator",
      "detail": "extraction backlog: a session file has waited 1 d for `usage` (job `session-processor:usage`), longer than the allowed 20 min; it has never processed a session",
      "next_action": "session-pipeline run usage",
      "session_files": 1,
      "stage": "extraction",
      "status": "info"
    }
    "#);
    TestPipeline::open(&dir, &[usage()]).run("usage");
    assert_eq!(entry()["status"], "ok");
    // The cadence is ten minutes.
    dir.clock().advance(Duration::from_secs(7200));
    assert_eq!(entry()["status"], "ok", "an idle weekend");
    dir.write("ada/two.jsonl", "{}\n");
    dir.set_age("ada/two.jsonl", Duration::from_secs(1199));
    assert_eq!(entry()["status"], "ok");
    dir.set_age("ada/two.jsonl", Duration::from_secs(1201));
    assert_eq!(entry()["status"], "warning");
}

#[test]
fn a_processor_that_ran_but_processed_nothing_is_a_warning() {
    let mut backlog = waiting("usage", 7200);
    assert_eq!(backlog.judge().status, CheckStatus::Info);
    backlog.has_run = true;
    assert_eq!(backlog.judge().status, CheckStatus::Warning);
}

#[test]
fn health_counts_the_same_sessions_as_a_run() {
    let dir = DataDir::new();
    for key in [
        "ada/one.jsonl",
        "ada/s1/subagents/two.jsonl",
        "bob/three.jsonl",
    ] {
        dir.write(key, "{}\n");
    }
    for other in ["ada/.hidden.jsonl", "ada/notes.txt", "root.jsonl"] {
        fs::write(dir.session_path(other), "{}\n").unwrap();
    }
    std::os::unix::fs::symlink(
        dir.session_path("ada/one.jsonl"),
        dir.session_path("ada/link.jsonl"),
    )
    .unwrap();
    let scanned = TestPipeline::open(&dir, &[usage()])
        .run("usage")
        .stats
        .scanned;
    let entry = entry(&dir);
    assert_eq!((scanned, &entry["session_files"]), (3, &3.into()));
}

#[test]
fn a_session_skipped_by_caps_for_too_long_is_reported_even_if_its_file_is_new() {
    let dir = DataDir::new();
    dir.write("ada/old.jsonl", "{}\n");
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    let one = RunRequest {
        max_sessions: Some(1),
        ..RunRequest::cli()
    };
    // A manual run with a cap skips one session, and no run processes it later.
    dir.clock().advance(Duration::from_secs(60));
    dir.append("ada/old.jsonl", "{}\n");
    dir.write("bob/new.jsonl", "{}\n");
    pipeline.run_as("usage", one.clone());
    let store = pipeline.pipeline().store();
    assert_eq!(store.session_waits("usage").unwrap().len(), 1);
    drop(pipeline);
    // The allowed time is eight times the cadence of ten minutes.
    let entry = |seconds: u64| {
        dir.clock().advance(Duration::from_secs(seconds));
        dir.append("ada/old.jsonl", "{}\n");
        check(HealthInputs::default(), &dir, "session_pipeline:usage")
    };
    assert_eq!(entry(4800)["status"], "ok");
    insta::assert_snapshot!(text(&entry(1)), @r#"
    {
      "audience": "operator",
      "detail": "the caps of `usage` runs have skipped `ada/old.jsonl` for 1 h 20 min, longer than the allowed 1 h 20 min: sessions arrive faster than the runs process them",
      "last_processed": "2100-01-01T00:01:00Z",
      "next_action": "run `session-pipeline run usage`, or raise `run_time_max` and `llm_sessions_max` in `[service]`",
      "session_files": 2,
      "stage": "extraction",
      "status": "info",
      "stuck_file": "ada/old.jsonl",
      "stuck_file_age_seconds": 4801
    }
    "#);
    TestPipeline::open(&dir, &[usage()]).run("usage");
    assert_eq!(entry(1)["status"], "ok");
}

#[test]
fn a_last_run_that_tried_none_of_the_due_sessions_is_a_warning() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}\n");
    let none = RunRequest {
        max_sessions: Some(0),
        ..RunRequest::cli()
    };
    drop(TestPipeline::open(&dir, &[usage()]).run_as("usage", none.clone()));
    let entry = || check(HealthInputs::default(), &dir, "session_pipeline:usage");
    insta::assert_snapshot!(text(&entry()), @r#"
    {
      "audience": "operator",
      "detail": "the last run of `usage` ended at 2100-01-01T00:00:00Z and tried none of the 1 due sessions",
      "next_action": "session-pipeline run usage",
      "session_files": 1,
      "stage": "extraction",
      "status": "warning"
    }
    "#);
    TestPipeline::open(&dir, &[usage()]).run("usage");
    assert_eq!(entry()["status"], "ok");
    drop(TestPipeline::open(&dir, &[usage()]).run_as("usage", none));
    assert_eq!(entry()["status"], "ok", "nothing was due");
}

/// The state of a file in the model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FileState {
    Processed,
    Changed,
    WithoutRow,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() * 16))]

    /// Compares the entry with a model that computes with seconds.
    #[test]
    fn invariant_the_backlog_entry_matches_the_model(
        files in vec(
            (0_i64..20_000, prop::sample::select(vec![FileState::Processed, FileState::Changed, FileState::WithoutRow])),
            0..5,
        ),
        processed in prop::option::of(0_i64..40_000),
        cadence in 1_i64..4000,
        stuck in prop::option::of(1_i64..20_000),
    ) {
        // Every file with a row was processed, so there is a time of last processing.
        let has_row = files.iter().any(|(_, state)| *state != FileState::WithoutRow);
        let processed = processed.or(has_row.then_some(0));
        let at = |age: i64| ago(u64::try_from(age).unwrap());
        let seconds = |count: i64| Duration::from_secs(u64::try_from(count).unwrap());
        let max_age = |matches: &dyn Fn(FileState) -> bool| {
            let ages = files.iter().filter(|(_, state)| matches(*state)).map(|(age, _)| *age);
            ages.max()
        };
        let as_oldest = |age: Option<i64>| age.map(|age| WaitingSession { key: "k".to_owned(), changed_at: at(age) });
        let pending = max_age(&|state| state != FileState::Processed);
        let without_row = max_age(&|state| state == FileState::WithoutRow);
        let newest = files.iter().map(|(age, _)| *age).min();
        let entry = ProcessorBacklog {
            grace: LagGrace::of(seconds(cadence), stuck.map(seconds)),
            files: Ok(SessionFiles {
                count: files.len() as u64,
                newest: newest.map(at),
            }),
            last_processed_at: Ok(processed.map(at)),
            pending: Ok(PendingSessions {
                oldest: as_oldest(pending),
                oldest_without_row: as_oldest(without_row),
                ..PendingSessions::default()
            }),
            ..idle("verification")
        }
        .judge();

        let grace = 2 * cadence;
        let stuck_grace = stuck.unwrap_or(8 * cadence);
        let is_late = pending.is_some_and(|age| age > grace);
        let expected = match (newest, processed) {
            (None, _) => CheckStatus::Ok,
            (Some(_), None) if is_late => CheckStatus::Warning,
            (Some(_), None) => CheckStatus::Ok,
            (Some(newest), Some(processed)) if processed - newest > grace && is_late => CheckStatus::Warning,
            _ if without_row.is_some_and(|age| age > stuck_grace) => CheckStatus::Info,
            _ => CheckStatus::Ok,
        };
        prop_assert_eq!(entry.status, expected);
        prop_assert_ne!(OverallStatus::worst_of([entry.status]), OverallStatus::Unhealthy);
        let CheckFigures::Backlog(figures) = &entry.figures else { panic!("{entry:?}") };
        let lag = newest.zip(processed).map(|(newest, processed)| u64::try_from(processed - newest).unwrap_or(0));
        let is_warning = entry.status == CheckStatus::Warning;
        prop_assert_eq!(figures.lag_seconds, lag.filter(|_| is_warning));
        let age = without_row.map(|age| u64::try_from(age).unwrap());
        prop_assert_eq!(figures.stuck_file_age_seconds, age.filter(|_| entry.status == CheckStatus::Info));
        prop_assert_eq!(entry.next_action.is_some(), entry.status != CheckStatus::Ok);
    }
}
