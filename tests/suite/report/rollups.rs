//! What reports are read from is kept up to date, and is never anything but what the tables say.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use session_pipeline_harness::strategies::{FILES, Sighting, sightings};
use session_pipeline_harness::{DataDir, Session, TestPipeline, cases};
use session_pipeline_runtime::config::Config;
use session_pipeline_runtime::report::By;

use super::agreement::line;
use super::{reported, tools_reported};
use crate::database;
use crate::guests::{usage, usage_dir};

const DAY: Duration = Duration::from_secs(86_400);

/// What happens to a file before the next run.
#[derive(Clone, Debug)]
enum Step {
    /// It holds these from now on.
    Write(usize, Vec<Sighting>),
    /// It goes, and its rows stay.
    Vanish(usize),
    /// It goes, and after some days its rows are removed.
    Forget(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let file = 0..FILES.len();
    let step = prop_oneof![
        4 => (file.clone(), sightings()).prop_map(|(file, sightings)| Step::Write(file, sightings)),
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
    By::ALL
        .map(|by| json!(reported(pipeline, by)))
        .into_iter()
        .chain([tools])
        .collect()
}

fn take(dir: &DataDir, pipeline: &TestPipeline, step: &Step) {
    let delete = |file: &usize| {
        if dir.has(FILES[*file]) {
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
        dir.write("zed/stays.jsonl", Session::new("s0").assistant(|m| m.tokens(1, 1)));
        let mut pipeline = open(&dir);
        for step in &steps {
            take(&dir, &pipeline, step);
            let kept = every_report(&pipeline);
            drop(pipeline);
            let by_views = database::rows(
                &dir,
                "SELECT sum(input_tokens), sum(output_tokens), sum(cost_usd), sum(messages),
                    (SELECT (sum(calls), sum(errors)) FROM usage.by_tool) FROM usage.daily",
            );
            let by_rollups = database::rows(
                &dir,
                "SELECT sum(input_tokens), sum(output_tokens), sum(cost_usd), sum(message_count),
                    (SELECT (sum(calls), sum(errors)) FROM usage.call_rollups) FROM usage.message_rollups",
            );
            prop_assert_eq!(by_rollups, by_views);
            let anew = DataDir::with_state_of(&dir);
            database::execute(&anew, "DROP TABLE usage.families");
            prop_assert_eq!(kept, every_report(&open(&anew)));
            pipeline = open(&dir);
        }
    }
}

#[test]
fn only_the_families_of_what_changed_are_worked_out_anew() {
    let dir = usage_dir();
    let message = |id: &str| Session::new("s1").assistant(|m| m.id(&long(id)));
    for (key, id) in [("ada/a", "m1"), ("ada/copy", "m1"), ("ada/other", "m2")] {
        dir.write(&format!("{key}.jsonl"), message(id));
    }
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    reported(&pipeline, By::Day);
    drop(pipeline);
    let families = || {
        let sql = "SELECT list(session_file ORDER BY session_file) AS files
            FROM usage.families JOIN session_processor_state USING (session_seq) GROUP BY family ORDER BY 1";
        database::rows(&dir, sql)
    };
    assert_eq!(
        families(),
        ["[ada/a.jsonl, ada/copy.jsonl]", "[ada/other.jsonl]"]
    );
    // A mark on what stays; what is worked out anew has none.
    database::execute(&dir, "UPDATE usage.message_rollups SET username = 'marked'");
    dir.write("ada/third.jsonl", message("m1"));
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    reported(&pipeline, By::Day);
    drop(pipeline);
    assert_eq!(
        families(),
        [
            "[ada/a.jsonl, ada/copy.jsonl, ada/third.jsonl]",
            "[ada/other.jsonl]"
        ]
    );
    let sql = "SELECT session_file, message_rollups.username FROM usage.message_rollups
        JOIN usage.families USING (family) JOIN session_processor_state USING (session_seq) ORDER BY 1";
    assert_eq!(
        database::rows(&dir, sql),
        [
            "ada/a.jsonl | ada",
            "ada/copy.jsonl | ada",
            "ada/other.jsonl | marked",
            "ada/third.jsonl | ada"
        ]
    );
}

#[test]
fn a_new_file_that_shares_messages_with_two_makes_them_one_family() {
    let dir = usage_dir();
    let message = |session: Session, id: &str| session.assistant(|m| m.id(&long(id)));
    dir.write("ada/a.jsonl", message(Session::new("s1"), "m1"));
    dir.write("ada/b.jsonl", message(Session::new("s2"), "m2"));
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    reported(&pipeline, By::Day);
    let both = message(message(Session::new("s3"), "m1"), "m2");
    dir.write("ada/both.jsonl", both);
    pipeline.run("usage");
    let report = reported(&pipeline, By::Day);
    assert_eq!(report.totals.messages, 2);
    drop(pipeline);
    assert_eq!(
        database::rows(&dir, "SELECT DISTINCT family FROM usage.families"),
        ["1"]
    );
}

#[test]
fn a_report_of_what_has_not_changed_writes_nothing() {
    let dir = usage_dir();
    dir.write(
        "ada/a.jsonl",
        Session::new("s1").assistant(|m| m.tokens(1, 1)),
    );
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    reported(&pipeline, By::Day);
    pipeline.pipeline().store().checkpoint().unwrap();
    reported(&pipeline, By::Month);
    let log = dir.database_path().with_extension("duckdb.wal");
    assert!(!log.exists(), "whatever is written stands in the log first");
}
