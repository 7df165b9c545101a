//! Processing all sessions of a data directory without a database produces the rows that a run
//! commits.

use proptest::prelude::*;
use session_pipeline_bundle::{USAGE, faulty};
use session_pipeline_harness::{DataDir, Guest, TestPipeline, cases, counted, strategies};

use crate::database;
use crate::guests::{PANICS, POISON, misbehaving, panics, usage, usage_dir};

proptest! {
    #![proptest_config(counted(cases() / 2))]

    #[test]
    fn invariant_processing_without_a_database_produces_the_rows_of_a_run(folder in strategies::data_dir()) {
        let dir = usage_dir();
        folder.write_to(&dir);
        let executions = Guest::load(USAGE).process_all(&dir);
        prop_assert_eq!(executions.sessions.len(), folder.0.len());
        let pipeline = TestPipeline::open(&dir, &[usage()]);
        prop_assert_eq!(pipeline.run("usage").stats.processed, executions.sessions.len() as u64);
        drop(pipeline);
        for (table, columns) in [("sessions", "session_id prompts"), ("messages", "line model")] {
            let names = columns.replace(' ', ", ");
            let sql = format!("SELECT session_file, {names} FROM usage.{table}");
            let mut committed = database::rows(&dir, &sql);
            let mut produced = executions.rows(table, columns);
            committed.sort();
            produced.sort();
            prop_assert_eq!(produced, committed, "{}", table);
        }
    }
}

#[test]
fn a_failed_session_is_listed_and_produces_no_rows() {
    let dir = DataDir::new();
    dir.write("ada/fails.jsonl", POISON);
    dir.write("ada/fine.jsonl", "one\n");
    let executions = Guest::load(panics().1).process_all(&dir);
    assert_eq!(
        executions.rows("lines", "line text"),
        ["ada/fine.jsonl | 1 | one"]
    );
    let faults = executions.faults();
    assert_eq!((faults.len(), faults[0].0), (1, "ada/fails.jsonl"));
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    pipeline.run(PANICS);
    let failure = pipeline.failure(PANICS, "ada/fails.jsonl").unwrap();
    assert_eq!(failure.fault.kind, faults[0].1.kind);
}

#[test]
fn each_session_finds_the_rows_that_earlier_sessions_upserted() {
    let dir = DataDir::new();
    dir.write(
        "ada/1.jsonl",
        "{\"do\":\"put\",\"word\":\"a\",\"number\":1}\n",
    );
    dir.write("ada/2.jsonl", "{\"do\":\"find\",\"by\":\"word\"}\n");
    let executions = Guest::load(misbehaving("remembers").1).process_all(&dir);
    assert_eq!(executions.rows("found", "words"), ["ada/2.jsonl | a"]);
    assert_eq!(executions.shared.rows("words").count(), 1);
}

#[test]
fn the_log_and_the_cost_of_a_guest_are_recorded() {
    let dir = DataDir::new();
    dir.write("ada/1.jsonl", format!("{POISON}\n"));
    let executions = Guest::load(faulty("floods_log").unwrap()).process_all(&dir);
    assert!(!executions.log().is_empty());
    assert!(
        executions
            .log()
            .iter()
            .all(|line| line.starts_with("ada/1.jsonl | "))
    );
    let cost = executions.cost();
    assert_eq!(cost.bytes, dir.read("ada/1.jsonl").len() as u64);
    assert!(cost.fuel > 0 && cost.peak_memory > 0, "{cost:?}");
}
