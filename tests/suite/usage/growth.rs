//! A session while it grows, goes away and comes back: in the end its rows are those of what it
//! holds, as if it had never been read before.

use proptest::prelude::*;
use session_pipeline_harness::strategies::growing_transcript;
use session_pipeline_harness::{DataDir, TestPipeline, Transcript, cases};

use crate::database::rows;
use crate::guests::{self, usage_dir};

const KEY: &str = "ada/one.jsonl";

/// All rows of `usage`, but for the columns that say when and by which run they were written.
fn kept(dir: &DataDir) -> Vec<String> {
    ["messages", "events", "sessions"]
        .iter()
        .flat_map(|table| {
            let sql = format!(
                "SELECT '{table}', COLUMNS(name -> name NOT IN ('session_seq', 'recorded_at', 'first_run'))
                 FROM usage.{table} ORDER BY ALL"
            );
            rows(dir, &sql)
        })
        .collect()
}

/// The rows after the session held each of these contents in turn, with a run at each.
fn kept_after<'a>(contents: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let dir = usage_dir();
    let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
    for content in contents {
        dir.write(KEY, content);
        assert_eq!(pipeline.run("usage").stats.errors, 0);
    }
    drop(pipeline);
    kept(&dir)
}

proptest! {
    // Each case makes two databases.
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(2)))]

    /// Most moments fall within a line, so that half-written tails come and go.
    #[test]
    fn invariant_a_session_that_grew_is_what_its_last_content_alone_would_be(
        moments in growing_transcript(),
    ) {
        let last = moments.last().map(Vec::as_slice);
        prop_assert_eq!(kept_after(moments.iter().map(Vec::as_slice)), kept_after(last));
    }

    #[test]
    fn invariant_a_session_that_vanishes_and_comes_back_counts_once(
        moments in growing_transcript(),
        absences in proptest::collection::vec(any::<bool>(), 5),
    ) {
        let dir = usage_dir();
        // Another session stays: an empty root is taken for one that is not mounted.
        dir.write("bob/two.jsonl", Transcript::new("s2").assistant(|m| m.tool("Bash")));
        let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
        for (moment, is_absent) in moments.iter().zip(absences.iter().cycle()) {
            dir.write(KEY, moment);
            pipeline.run("usage");
            if *is_absent {
                dir.delete(KEY);
                pipeline.run("usage");
                prop_assert!(pipeline.state("usage", KEY).is_some_and(|state| state.is_missing));
                // Back as it was.
                dir.write(KEY, moment);
                pipeline.run("usage");
            }
        }
        prop_assert!(pipeline.state("usage", KEY).is_some_and(|state| !state.is_missing));
        drop(pipeline);
        let last = moments.last().map(Vec::as_slice);
        let of_one = |kept: Vec<String>| -> Vec<String> {
            kept.into_iter().filter(|row| row.contains(KEY)).collect()
        };
        prop_assert_eq!(of_one(kept(&dir)), kept_after(last));
    }
}

fn one_message() -> Transcript {
    Transcript::new("s1")
        .user("go on")
        .assistant(|m| m.tokens(10, 20).tool("Bash"))
}

/// Messages and output tokens of the session.
fn counted(dir: &DataDir) -> Vec<String> {
    rows(
        dir,
        "SELECT count(*), sum(output_tokens)::BIGINT FROM usage.messages WHERE session_file = 'ada/one.jsonl'",
    )
}

/// What is counted after the session vanished and came back with this content.
fn back_with(content: &Transcript) -> Vec<String> {
    let dir = DataDir::new();
    dir.write(KEY, one_message());
    dir.write("bob/two.jsonl", Transcript::new("s2").user("hello"));
    let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
    pipeline.run("usage");
    dir.delete(KEY);
    pipeline.run("usage");
    drop(pipeline);
    assert_eq!(counted(&dir), ["1 | 20"], "what is gone stays counted");
    dir.write(KEY, content);
    let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
    assert_eq!(pipeline.run("usage").stats.errors, 0);
    drop(pipeline);
    counted(&dir)
}

#[test]
fn a_session_that_comes_back_as_it_was_counts_once() {
    assert_eq!(back_with(&one_message()), ["1 | 20"]);
}

#[test]
fn a_session_that_comes_back_changed_counts_once_with_what_it_had() {
    let grown = one_message().assistant(|m| m.tokens(1, 2));
    assert_eq!(back_with(&grown), ["2 | 22"]);
    let other = Transcript::new("s1").assistant(|m| m.id("another").tokens(5, 7));
    assert_eq!(
        back_with(&other),
        ["2 | 27"],
        "what was billed stays billed"
    );
}

#[test]
fn a_session_that_comes_back_under_another_name_is_reported_once() {
    let dir = DataDir::new();
    dir.write(KEY, one_message());
    let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
    pipeline.run("usage");
    dir.rename(KEY, "ada/moved.jsonl");
    pipeline.run("usage");
    let totals = super::totals(&pipeline);
    assert_eq!((totals.messages, totals.output_tokens), (1, 20));
    assert_eq!(totals.sessions, 1);
}
