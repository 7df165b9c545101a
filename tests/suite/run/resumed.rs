//! Sessions that are continued after a checkpoint when they have grown.

use proptest::prelude::*;
use session_pipeline_harness::strategies::growing_transcript;
use session_pipeline_harness::{DataDir, TestPipeline, cases};
use session_pipeline_host::clock::Clock as _;
use session_pipeline_pipeline::config::Config;

use super::{KEY, MINUTE};
use crate::database::{execute, rows};
use crate::guests::{misbehaving, usage, usage_dir, well_behaved};

const RESUMES: &str = "faulty-resumes";

/// A configuration in which the smallest session has a checkpoint.
fn config(dir: &DataDir) -> Config {
    let mut config = dir.config();
    config.limits.checkpoint_session_bytes_min = 0;
    config
}

fn open(dir: &DataDir) -> TestPipeline {
    TestPipeline::open_with(dir, config(dir), &[misbehaving("resumes")])
}

/// Runs the processor once, and returns the rows of the session.
fn run_once(dir: &DataDir) -> Vec<String> {
    let pipeline = open(dir);
    let run = pipeline.run(RESUMES);
    assert_eq!(run.stats.errors, 0, "{run:?}");
    drop(pipeline);
    recorded(dir)
}

fn recorded(dir: &DataDir) -> Vec<String> {
    let lines = format!("SELECT line, text FROM \"{RESUMES}\".lines ORDER BY ALL");
    let totals = format!("SELECT lines, bytes FROM \"{RESUMES}\".totals");
    let mut all = rows(dir, &lines);
    all.extend(rows(dir, &totals));
    all
}

/// The numbers of settled rows, and the lines that each settled.
fn settled(dir: &DataDir) -> Vec<String> {
    let sql = format!(
        "SELECT count(line), min(line), max(line) FROM session_settled_rows
         LEFT JOIN \"{RESUMES}\".lines USING (session_seq) GROUP BY session_seq ORDER BY session_seq"
    );
    rows(dir, &sql)
}

/// Rows that belong to no session.
fn orphans(dir: &DataDir) -> Vec<String> {
    let present = "SELECT session_seq FROM session_processor_state UNION ALL SELECT session_seq FROM session_settled_rows";
    let sql = format!(
        "SELECT session_seq FROM \"{RESUMES}\".lines WHERE session_seq NOT IN ({present})
         UNION ALL SELECT session_seq FROM \"{RESUMES}\".totals WHERE session_seq NOT IN ({present})"
    );
    rows(dir, &sql)
}

#[test]
fn settled_rows_stay_and_the_tail_is_replaced() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    run_once(&dir);
    assert_eq!(settled(&dir), [""; 0], "most sessions never grow");
    dir.append(KEY, "two\nthr");
    insta::assert_snapshot!(run_once(&dir).join("\n"), @r"
    1 | one
    2 | two
    3 | thr
    3 | 9
    ");
    assert_eq!(settled(&dir), ["2 | 1 | 2"]);
    dir.append(KEY, "ee\nfour\n");
    insta::assert_snapshot!(run_once(&dir).join("\n"), @r"
    1 | one
    2 | two
    3 | three
    4 | four
    4 | 15
    ");
    assert_eq!(settled(&dir), ["2 | 1 | 2", "2 | 3 | 4"]);
    assert_eq!(orphans(&dir), [""; 0]);
    let hash = "SELECT file_hash = md5(content) FROM session_processor_state,
        (SELECT 'one' || chr(10) || 'two' || chr(10) || 'three' || chr(10) || 'four' || chr(10) AS content)";
    assert_eq!(rows(&dir, hash), ["true"]);
}

/// A session of two lines with a checkpoint.
fn with_checkpoint() -> DataDir {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    run_once(&dir);
    dir.append(KEY, "two\n");
    run_once(&dir);
    assert_eq!(settled(&dir), ["2 | 1 | 2"]);
    dir
}

/// Grows a session with a checkpoint by `change`, and checks that the whole session is processed.
fn check_starts_over(change: impl FnOnce(&DataDir), last_line: &str) {
    let dir = with_checkpoint();
    dir.clock().advance(MINUTE);
    change(&dir);
    let found = run_once(&dir);
    assert!(
        found.iter().any(|row| row.ends_with(last_line)),
        "{found:?}"
    );
    assert_eq!(settled(&dir).len(), 1, "{found:?}");
    assert_eq!(orphans(&dir), [""; 0]);
}

#[test]
fn a_session_is_processed_as_a_whole_if_it_cannot_be_continued() {
    // The processor asks for it.
    check_starts_over(|dir| dir.append(KEY, "start over\n"), "start over");
    // `resume` panics, and `process` does not.
    check_starts_over(|dir| dir.append(KEY, "misbehave\n"), "misbehave");
    // A line before the checkpoint changed.
    check_starts_over(|dir| dir.write(KEY, "One\ntwo\nthree\n"), "three");
    // The file is shorter than the checkpoint.
    check_starts_over(|dir| dir.write(KEY, "four\n"), "four");
    // A user asked for it.
    check_starts_over(|dir| open(dir).mark_due(RESUMES), "two");
    // The checkpoint had other inputs, such as other settings.
    check_starts_over(
        |dir| {
            execute(dir, "UPDATE session_resume_points SET inputs = 'other'");
            dir.append(KEY, "five\n");
        },
        "five",
    );
    // The state is damaged.
    check_starts_over(
        |dir| {
            execute(
                dir,
                "UPDATE session_resume_points SET state = '\\x00'::BLOB",
            );
            dir.append(KEY, "six\n");
        },
        "six",
    );
    // The state of MD5 is damaged.
    check_starts_over(
        |dir| {
            execute(
                dir,
                "UPDATE session_resume_points SET prefix_md5_state = '\\x00'::BLOB",
            );
            dir.append(KEY, "seven\n");
        },
        "seven",
    );
}

#[test]
fn a_small_session_has_no_checkpoint() {
    let dir = DataDir::new();
    let pipeline = TestPipeline::open(&dir, &[misbehaving("resumes")]);
    for content in ["one\n", "one\ntwo\n", "one\ntwo\nthree\n"] {
        dir.write(KEY, content);
        pipeline.run(RESUMES);
    }
    drop(pipeline);
    assert_eq!(settled(&dir), [""; 0]);
}

#[test]
fn the_rows_of_deleted_sessions_include_the_settled_ones() {
    let dir = with_checkpoint();
    dir.write("bob/stays.jsonl", "stays\n");
    run_once(&dir);
    dir.delete(KEY);
    let pipeline = open(&dir);
    pipeline.run(RESUMES);
    let manifest = pipeline.pipeline().processor(RESUMES).unwrap();
    let later = dir.clock().now().plus(MINUTE);
    let store = pipeline.pipeline().store();
    let deleted = store.delete_missing_sessions(manifest.manifest(), later);
    assert_eq!(deleted.unwrap(), 1);
    drop(pipeline);
    assert_eq!(recorded(&dir), ["1 | stays", "1 | 5"]);
    assert_eq!(settled(&dir), [""; 0]);
}

#[test]
fn a_processor_of_contract_1_0_is_never_continued() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    let (name, component) = well_behaved();
    let pipeline = TestPipeline::open_with(&dir, config(&dir), &[(name, component)]);
    pipeline.run(name);
    for line in ["two\n", "three\n"] {
        dir.append(KEY, line);
        pipeline.run(name);
    }
    drop(pipeline);
    let count = "SELECT count(*) FROM session_resume_points";
    assert_eq!(rows(&dir, count), ["0"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(4)))]

    /// The versions of a session grow. Some versions are rewritten.
    #[test]
    fn invariant_a_continued_session_has_the_rows_of_its_last_content(
        versions in growing_transcript(),
        rewritten in prop::collection::vec(any::<bool>(), 5),
    ) {
        let dir = DataDir::new();
        let alone = DataDir::new();
        let mut last = Vec::new();
        dir.write(KEY, "first\n");
        run_once(&dir);
        for (version, rewritten) in versions.into_iter().zip(rewritten) {
            last = version;
            if rewritten && let Some(first) = last.first_mut() {
                *first ^= 1;
            }
            dir.write(KEY, &last);
            run_once(&dir);
            dir.clock().advance(MINUTE);
        }
        alone.write(KEY, &last);
        prop_assert_eq!(recorded(&dir), run_once(&alone));
        prop_assert_eq!(orphans(&dir), [""; 0]);
    }

    /// The rows that `usage` keeps of a session that only grows.
    #[test]
    fn invariant_usage_continues_a_session_exactly(versions in growing_transcript()) {
        let rows_after = |versions: &[Vec<u8>]| {
            let dir = usage_dir();
            let pipeline = TestPipeline::open_with(&dir, config(&dir), &[usage()]);
            // The first growth makes a checkpoint, and the second one uses it.
            for version in [&b""[..]].into_iter().chain(versions.iter().map(Vec::as_slice)) {
                dir.write(KEY, version);
                assert_eq!(pipeline.run("usage").stats.errors, 0);
            }
            drop(pipeline);
            ["messages", "events", "sessions", "agent_runs", "agent_totals", "unknown_kinds", "waste"].map(|table| {
                let columns = "COLUMNS(name -> name NOT IN ('session_seq', 'recorded_at', 'first_run'))";
                rows(&dir, &format!("SELECT {columns} FROM usage.{table} ORDER BY ALL"))
            })
        };
        let last = versions.last().map_or(&[][..], std::slice::from_ref);
        prop_assert_eq!(rows_after(&versions), rows_after(last));
    }
}
