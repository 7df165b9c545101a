//! Checks all rules of the scan together against a model, over random histories of a folder.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use proptest::prelude::*;
use session_pipeline_harness::strategies::{FILES, FolderAction, actions};
use session_pipeline_harness::{DataDir, TestPipeline, cases, counted, pipeline};
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_pipeline::run::RunRequest;
use session_pipeline_store::retry::{FailedContent, FailureState, RetryDecision};

use super::HOUR;
use crate::database::{cell, execute, rows};
use crate::guests::{PANICS, POISON, WELL_BEHAVED, lines_of, panics, prepared_dir, well_behaved};

/// The possible contents of files. Some have the same length, some end in an incomplete line, and
/// one contains the word at which the guest panics.
const CONTENTS: &[&str] = &[
    "a\n",
    "b\n",
    "",
    "cc",
    "a\nb\n",
    "misbehave\n",
    "misbehavf\n",
    "dd\n\n",
];

/// The expected state of the pipeline.
#[derive(Default)]
struct Model {
    rows: BTreeMap<&'static str, ModelRow>,
    failures: BTreeMap<&'static str, ModelFailure>,
}

struct ModelRow {
    content: Vec<u8>,
    observed: Option<Stat>,
    read_at: UtcMicros,
    is_missing: bool,
}

struct ModelFailure {
    content: Vec<u8>,
    failures: FailureState,
}

/// Size, mtime and ctime.
type Stat = (u64, i64, i64);

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    scanned: u64,
    processed: u64,
    skipped: u64,
    errors: u64,
    waiting: u64,
    quarantined: u64,
}

fn disk(dir: &DataDir) -> BTreeMap<&'static str, (Vec<u8>, Stat)> {
    FILES
        .into_iter()
        .filter(|key| dir.has_session(key))
        .map(|key| {
            let stat = std::fs::metadata(dir.session_path(key)).unwrap();
            let nanos = |seconds: i64, nanos: i64| seconds * 1_000_000_000 + nanos;
            let stat = (
                stat.size(),
                nanos(stat.mtime(), stat.mtime_nsec()),
                nanos(stat.ctime(), stat.ctime_nsec()),
            );
            (key, (dir.read(key), stat))
        })
        .collect()
}

impl Model {
    fn run(
        &mut self,
        disk: &BTreeMap<&'static str, (Vec<u8>, Stat)>,
        now: UtcMicros,
        by_person: bool,
        cadence: Duration,
    ) -> Counts {
        let mut counts = Counts::default();
        for (&key, (content, stat)) in disk {
            if let Some(row) = self.rows.get_mut(key) {
                row.is_missing = false;
                if row.observed == Some(*stat) {
                    continue;
                }
            }
            let (_, mtime, ctime) = *stat;
            let changed = if mtime > now.as_nanos() { ctime } else { mtime };
            let observed = Some(*stat).filter(|_| changed < now.as_nanos() - 50_000_000);
            let past_failures = self
                .failures
                .get(key)
                .filter(|failure| failure.content == *content)
                .map(|failure| failure.failures)
                .unwrap_or_default();
            match past_failures.verdict(now, by_person) {
                RetryDecision::Waiting => {
                    counts.waiting += 1;
                    continue;
                }
                RetryDecision::Quarantined => {
                    counts.quarantined += 1;
                    continue;
                }
                RetryDecision::Try => counts.scanned += 1,
            }
            match self.rows.get_mut(key) {
                Some(row) if row.content == *content => {
                    counts.skipped += 1;
                    row.observed = observed;
                    self.failures.remove(key);
                }
                _ if String::from_utf8_lossy(content).contains(POISON) => {
                    counts.errors += 1;
                    let failure = ModelFailure {
                        content: content.clone(),
                        failures: past_failures.after(
                            &Fault::new(FaultKind::Panic, ""),
                            FailedContent::Same,
                            now,
                            cadence,
                        ),
                    };
                    self.failures.insert(key, failure);
                }
                _ => {
                    counts.processed += 1;
                    let row = ModelRow {
                        content: content.clone(),
                        observed,
                        read_at: now,
                        is_missing: false,
                    };
                    self.rows.insert(key, row);
                    self.failures.remove(key);
                }
            }
        }
        if !disk.is_empty() {
            for (key, row) in &mut self.rows {
                row.is_missing = !disk.contains_key(key);
            }
        }
        counts
    }

    /// Compares the state of the pipeline with the model.
    fn compare(&self, pipeline: &TestPipeline) -> Result<(), TestCaseError> {
        for key in FILES {
            let row = pipeline.state(PANICS, key).map(|row| {
                let observed = row
                    .observed
                    .map(|stat| (stat.size, stat.mtime_ns, stat.ctime_ns));
                (row.hash, observed, row.processed_at, row.is_missing)
            });
            let expected = self.rows.get(key).map(|row| {
                use md5::Digest as _;
                let hash = ContentHash(md5::Md5::digest(&row.content).into());
                (Some(hash), row.observed, Some(row.read_at), row.is_missing)
            });
            prop_assert_eq!(row, expected, "the state row of {}", key);
            let failures = pipeline
                .failure(PANICS, key)
                .map(|failure| failure.failures);
            let expected = self.failures.get(key).map(|failure| failure.failures);
            prop_assert_eq!(failures, expected, "the failure row of {}", key);
        }
        Ok(())
    }

    /// The expected rows of the guest, in the format of [`lines_of`].
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (key, row) in &self.rows {
            for (number, line) in (1..).zip(row.content.split_inclusive(|byte| *byte == b'\n')) {
                let text = line.strip_suffix(b"\n").unwrap_or(line);
                lines.push(format!(
                    "{key} | {number} | {}",
                    String::from_utf8_lossy(text)
                ));
            }
        }
        lines.sort();
        lines
    }
}

fn request(by_person: bool) -> RunRequest {
    if by_person {
        RunRequest::cli()
    } else {
        pipeline::scheduled_request()
    }
}

/// Performs the actions with a restart in the middle, and compares every run with the model.
fn check_history(actions: &[FolderAction]) -> Result<(), TestCaseError> {
    let dir = prepared_dir();
    let mut model = Model::default();
    let mut pipeline = TestPipeline::open(&dir, &[panics()]);
    let manifest = pipeline.pipeline().processor(PANICS).unwrap();
    let cadence = Duration::from_secs(u64::from(manifest.manifest().cadence_seconds));
    drop(manifest);
    // At the end, one more run, and then a run with nothing new.
    let settle = [
        FolderAction::Tick(HOUR),
        FolderAction::Run { by_person: true },
        FolderAction::Run { by_person: false },
    ];
    for (step, action) in actions.iter().chain(&settle).enumerate() {
        let &FolderAction::Run { by_person } = action else {
            action.apply(&dir);
            continue;
        };
        if step == actions.len() / 2 {
            drop(pipeline);
            pipeline = TestPipeline::open(&dir, &[panics()]);
        }
        let expected = model.run(&disk(&dir), dir.clock().now(), by_person, cadence);
        let stats = pipeline.run_as(PANICS, request(by_person)).stats;
        let counts = Counts {
            scanned: stats.scanned,
            processed: stats.processed,
            skipped: stats.skipped,
            errors: stats.errors,
            waiting: stats.waiting,
            quarantined: stats.quarantined,
        };
        prop_assert_eq!(counts, expected, "run at step {} of {:#?}", step, actions);
        prop_assert_eq!(stats.capped, 0);
        model.compare(&pipeline)?;
    }
    drop(pipeline);
    prop_assert_eq!(rows(&dir, &lines_of(PANICS)), model.lines());
    // Replaced rows are deleted, and session numbers are unique.
    let sql = format!(
        "SELECT count(*) FROM (SELECT DISTINCT session_seq FROM \"{PANICS}\".lines)
         WHERE session_seq NOT IN (SELECT session_seq FROM session_processor_state)"
    );
    prop_assert_eq!(cell(&dir, &sql), "0");
    Ok(())
}

proptest! {
    #![proptest_config(counted(cases()))]

    #[test]
    fn invariant_every_run_over_any_history_matches_the_model(actions in actions(CONTENTS)) {
        check_history(&actions)?;
    }

    #[test]
    fn invariant_stable_files_are_not_opened_and_processing_is_idempotent(
        actions in actions(&["a\n", "b\n", "", "cc"]),
    ) {
        let dir = prepared_dir();
        let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
        for action in &actions {
            action.apply(&dir);
        }
        dir.clock().advance(2 * HOUR);
        let files = disk(&dir);
        let first = pipeline.run(WELL_BEHAVED);
        prop_assert_eq!(first.stats.processed, files.len() as u64);
        let second = pipeline.run(WELL_BEHAVED);
        prop_assert_eq!((second.stats.scanned, second.opens), (0, 0));
        drop(pipeline);

        let once = rows(&dir, &lines_of(WELL_BEHAVED));
        execute(&dir, "UPDATE session_processor_state SET due = true");
        let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
        let third = pipeline.run(WELL_BEHAVED);
        prop_assert_eq!(third.stats.processed, files.len() as u64);
        prop_assert_eq!(pipeline.run(WELL_BEHAVED).opens, 0, "a request to reprocess is handled once");
        drop(pipeline);
        prop_assert_eq!(rows(&dir, &lines_of(WELL_BEHAVED)), once);
    }
}
