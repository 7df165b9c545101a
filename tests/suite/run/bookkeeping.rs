//! Records of each run: its row, its audit entry, costs and errors.

use std::time::Duration;

use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_pipeline::run::RunRequest;
use session_pipeline_store::{Actor, ClientKind, Trigger};

use super::{KEY, MINUTE, dir_with, summary_and_opens};
use crate::database::{cell, rows};
use crate::guests::{PANICS, POISON, WELL_BEHAVED, panics, well_behaved};

#[test]
fn every_run_has_a_row_and_an_audit_entry() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.write("ada/two.jsonl", POISON);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    dir.clock().advance_on_each_read(Duration::from_millis(250));
    pipeline.run(PANICS);
    dir.clock().advance_on_each_read(Duration::ZERO);
    dir.clock().advance(MINUTE);
    dir.delete("ada/two.jsonl");
    pipeline.run_scheduled(PANICS);
    let http = RunRequest {
        is_started_by_person: true,
        ..RunRequest::service(
            pipeline.pipeline().config(),
            Trigger::Http,
            Actor {
                user_id: Some("user-1".to_owned()),
                client_kind: ClientKind::Web,
                client_ip: None,
            },
        )
    };
    pipeline.run_as(PANICS, http);
    drop(pipeline);
    let runs = "SELECT id, processor_name, trigger, started_at, finished_at, result, error FROM runs ORDER BY CAST(id AS INTEGER)";
    insta::assert_snapshot!(rows(&dir, runs).join("\n"), @r"
    1 | faulty-panics | cli | 2100-01-01 00:00:00 | 2100-01-01 00:00:00 | failed | -
    2 | faulty-panics | scheduler | 2100-01-01 00:01:00 | 2100-01-01 00:01:00 | ok | -
    3 | faulty-panics | http | 2100-01-01 00:01:00 | 2100-01-01 00:01:00 | ok | -
    ");
    let audit = "SELECT action, resource, result, client_kind, correlation_id, user_id, params FROM audit_log ORDER BY CAST(id AS INTEGER)";
    insta::assert_snapshot!(rows(&dir, audit).join("\n"), @r#"
    run_session_processor:faulty-panics | job:session-processor:faulty-panics | failed | cli | 1 | - | {"capped":0,"errors":1,"items_extracted":1,"processed":1,"processor":"faulty-panics","scanned":2,"skipped":0}
    run_session_processor:faulty-panics | job:session-processor:faulty-panics | ok | scheduler | 2 | - | {"capped":0,"errors":0,"items_extracted":0,"processed":0,"processor":"faulty-panics","scanned":0,"skipped":0}
    run_session_processor:faulty-panics | job:session-processor:faulty-panics | ok | web | 3 | user-1 | {"capped":0,"errors":0,"items_extracted":0,"processed":0,"processor":"faulty-panics","scanned":0,"skipped":0}
    "#);
    let durations = rows(
        &dir,
        "SELECT duration_ms FROM audit_log ORDER BY CAST(id AS INTEGER)",
    );
    assert_ne!(durations[0], "0");
    assert_eq!(durations[1..], ["0", "0"]);
}

#[test]
fn a_run_without_new_sessions_changes_no_rows_except_its_own() {
    let dir = dir_with(&[KEY, "bob/one.jsonl"]);
    dir.write("ada/poison.jsonl", POISON);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    for _ in 0..5 {
        pipeline.run(PANICS);
    }
    drop(pipeline);
    let everything = |dir: &DataDir| {
        let tables = [
            "session_processor_state",
            "session_failures",
            "session_costs",
            "components",
            "\"faulty-panics\".lines",
        ];
        tables.map(|table| rows(dir, &format!("SELECT * FROM {table} ORDER BY ALL")))
    };
    let before = everything(&dir);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    dir.clock().advance(100 * MINUTE);
    assert_eq!(
        summary_and_opens(&pipeline.run(PANICS)),
        ("quarantined 1".to_owned(), 0)
    );
    drop(pipeline);
    assert_eq!(everything(&dir), before);
}

#[test]
fn open_runs_of_a_dead_process_are_closed_as_interrupted() {
    let dir = DataDir::new();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let store = pipeline.pipeline().store();
    let now = session_pipeline_harness::clock::START;
    store
        .begin_run(WELL_BEHAVED, Trigger::Scheduler, now)
        .unwrap();
    store.begin_run("usage", Trigger::Cli, now).unwrap();
    drop(pipeline);
    dir.clock().advance(MINUTE);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(
        pipeline.pipeline().store().open_report().interrupted_runs,
        2
    );
    pipeline.run(WELL_BEHAVED);
    drop(pipeline);
    let runs = "SELECT id, processor_name, result, finished_at, error FROM runs ORDER BY CAST(id AS INTEGER)";
    insta::assert_snapshot!(rows(&dir, runs).join("\n"), @r"
    1 | faulty-well-behaved | interrupted | 2100-01-01 00:01:00 | the process exited during the run
    2 | usage | interrupted | 2100-01-01 00:01:00 | the process exited during the run
    3 | faulty-well-behaved | ok | 2100-01-01 00:01:00 | -
    ");
    let audit =
        "SELECT result, client_kind, correlation_id FROM audit_log ORDER BY CAST(id AS INTEGER)";
    assert_eq!(
        rows(&dir, audit),
        [
            "interrupted | scheduler | 1",
            "interrupted | cli | 2",
            "ok | cli | 3"
        ]
    );
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(
        pipeline.pipeline().store().open_report().interrupted_runs,
        0,
        "interrupted runs must be closed only once"
    );
}

#[test]
fn fuel_memory_and_bytes_are_recorded_for_every_attempt() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.write("ada/two.jsonl", POISON);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    let stats = pipeline.run(PANICS).stats;
    assert_eq!(stats.bytes, 4 + POISON.len() as u64);
    assert!(stats.fuel > 0);
    drop(pipeline);
    let costs = "SELECT session_file, run_id, bytes, fuel > 0, peak_memory > 0 FROM session_costs ORDER BY ALL";
    assert_eq!(
        rows(&dir, costs),
        [
            "ada/one.jsonl | 1 | 4 | true | true",
            "ada/two.jsonl | 1 | 9 | true | true"
        ]
    );
    assert_eq!(
        cell(&dir, "SELECT sum(fuel) FROM session_costs"),
        stats.fuel.to_string()
    );
}

#[test]
fn errors_beyond_the_first_hundred_are_counted_but_not_listed() {
    let dir = DataDir::new();
    for number in 0..101 {
        dir.write(&format!("ada/{number}.jsonl"), POISON);
    }
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    let stats = pipeline.run(PANICS).stats;
    assert_eq!((stats.errors, stats.errors_detail.len()), (101, 100));
}
