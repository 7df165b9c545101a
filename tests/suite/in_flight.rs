//! Slot files: a session that crashes the process is detected, and a session that was only in
//! progress when the process was killed is not blamed.
//!
//! The crashes are real: a child process runs a pipeline and dies while it processes a session.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::{DataDir, TestPipeline, cases, clock, compiled, counted};
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::fault::FaultKind;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::in_flight::{DEATHS_MAX, InFlight, InFlightRecord, Suspicion};
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::run::{Pipeline, RunRequest};
use session_pipeline_pipeline::shipped::ShippedProcessor;

use crate::guests::{PANICS, POISON, panics, prepared_dir};

const KEY: &str = "ada/one.jsonl";
const OTHER: &str = "bob/two.jsonl";
/// The test that acts as the child process if [`CHILD_VARIABLE`] is set. The variable contains the
/// way to die and the data directory.
const CHILD_TEST: &str = "in_flight::a_process_that_dies_leaves_the_session_in_its_slot";
const CHILD_VARIABLE: &str = "IN_FLIGHT_CHILD";

/// Aborts, or waits to be killed, when a worker reads the clock for the second time. That is at the
/// end of a failed attempt, after the guest's call.
#[derive(Debug)]
struct DeadlyClock {
    is_abort: bool,
}

impl Clock for DeadlyClock {
    fn now(&self) -> UtcMicros {
        thread_local! {
            static READS: Cell<u32> = const { Cell::new(0) };
        }
        let thread = std::thread::current();
        let is_worker = thread
            .name()
            .is_some_and(|name| name.starts_with("worker-"));
        if is_worker && READS.replace(READS.get() + 1) == 1 {
            if self.is_abort {
                std::process::abort();
            }
            println!("worker waits");
            loop {
                std::thread::park();
            }
        }
        clock::START
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// The child process: starts one run and dies during it.
fn run_child(instructions: &str) {
    let (how, data_dir) = instructions.split_once(' ').unwrap();
    let config = Config {
        workers: 2,
        compiler: compiled::compiler(),
        ..Config::new(data_dir)
    };
    let (name, component) = panics();
    let clock = Arc::new(DeadlyClock {
        is_abort: how == "abort",
    });
    let registry = Registry::new([ShippedProcessor::new(name, component)]);
    let pipeline = Pipeline::open(config, clock, registry).unwrap();
    let result = pipeline.run(PANICS, &RunRequest::cli(), &());
    panic!("the child did not die: {result:?}");
}

fn spawn(dir: &DataDir, how: &str) -> Child {
    let instructions = format!("{how} {}", dir.path().display());
    Command::new(std::env::current_exe().unwrap())
        .args([CHILD_TEST, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD_VARIABLE, instructions)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Starts a child that aborts while it processes a session.
fn abort_in_session(dir: &DataDir) {
    let status = spawn(dir, "abort").wait_with_output().unwrap().status;
    assert_eq!(status.signal(), Some(6), "{status}");
}

/// Starts a child and kills it while this many of its workers process a session.
fn kill_in_session(dir: &DataDir, workers: usize) {
    let mut child = spawn(dir, "wait");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..workers {
        lines
            .by_ref()
            .find(|line| line.as_ref().unwrap().contains("worker waits"))
            .unwrap()
            .unwrap();
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

fn poisoned() -> DataDir {
    let dir = prepared_dir();
    dir.write(KEY, POISON);
    dir
}

fn open(dir: &DataDir) -> TestPipeline {
    TestPipeline::open(dir, &[panics()])
}

/// Returns the suspects, each with the number of deaths while it was processed alone.
fn suspects(dir: &DataDir) -> Vec<(String, u32)> {
    let records = open(dir).pipeline().in_flight().suspects();
    records
        .into_iter()
        .map(|record| (record.session, record.deaths))
        .collect()
}

fn suspect(key: &str, deaths: u32) -> (String, u32) {
    (key.to_owned(), deaths)
}

fn folder(dir: &DataDir) -> PathBuf {
    dir.path().join("state/in-flight")
}

/// Writes a slot file as a dead process would leave it.
fn write_slot(dir: &DataDir, number: u32, bytes: &[u8]) {
    fs::create_dir_all(folder(dir)).unwrap();
    fs::write(folder(dir).join(number.to_string()), bytes).unwrap();
}

fn record(session: &str) -> InFlightRecord {
    InFlightRecord {
        processor: PANICS.to_owned(),
        session: session.to_owned(),
        component: "c".to_owned(),
        size: 9,
        hash: None,
        is_alone: false,
        deaths: 0,
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the environment tells the test to act as the child process"
)]
fn a_process_that_dies_leaves_the_session_in_its_slot() {
    if let Ok(instructions) = std::env::var(CHILD_VARIABLE) {
        run_child(&instructions);
    }
    let dir = poisoned();
    abort_in_session(&dir);
    assert_eq!(suspects(&dir), [suspect(KEY, 0)]);
    assert_eq!(suspects(&dir), [suspect(KEY, 0)], "before it is tried");
}

#[test]
fn three_deaths_while_processed_alone_quarantine_a_session_as_a_crash() {
    let dir = poisoned();
    dir.write(OTHER, "fine\n");
    // The first death does not count, because the session was not processed alone.
    for deaths in 0..=DEATHS_MAX {
        abort_in_session(&dir);
        assert!(suspects(&dir).contains(&suspect(KEY, deaths)), "{deaths}");
    }
    let pipeline = open(&dir);
    let stats = pipeline.run(PANICS).stats;
    // A run that died could have committed the other session before.
    assert_eq!((stats.errors, stats.processed.max(1)), (1, 1));
    assert_eq!(stats.errors_detail[0].fault, "crash");
    let failure = pipeline.failure(PANICS, KEY).unwrap();
    assert_eq!(failure.fault.kind, FaultKind::Crash);
    assert!(failure.failures.quarantined_at.is_some());
    insta::assert_snapshot!(failure.fault.detail, @"the process died 3 times in a row while it processed only this session; after fixing the cause, or if someone killed the process, run `session-pipeline quarantine release --session 'ada/one.jsonl'`");
    let stats = pipeline.run(PANICS).stats;
    assert_eq!(
        (stats.errors, stats.quarantined),
        (0, 1),
        "a crash is not retried"
    );
    drop(pipeline);
    assert_eq!(suspects(&dir), []);

    // Changed content is tried, and the deaths with the old content do not count.
    dir.write(KEY, "fine by now\n");
    assert_eq!(open(&dir).run(PANICS).stats.processed, 1);
}

#[test]
fn a_release_after_a_crash_resets_the_death_count_and_allows_a_retry() {
    let dir = poisoned();
    for _ in 0..=DEATHS_MAX {
        abort_in_session(&dir);
    }
    let pipeline = open(&dir);
    assert_eq!(pipeline.run(PANICS).stats.errors_detail[0].fault, "crash");
    let (store, now) = (
        pipeline.pipeline().store(),
        pipeline.pipeline().clock().now(),
    );
    let actor = session_pipeline_store::Actor::cli();
    assert_eq!(store.release(&Default::default(), actor, now).unwrap(), 1);
    let stats = pipeline.run(PANICS).stats;
    assert_eq!(
        stats.errors_detail[0].fault, "panic",
        "the session was tried"
    );
}

#[test]
fn one_attempt_that_the_process_survives_clears_the_suspicion() {
    let dir = poisoned();
    for _ in 0..DEATHS_MAX {
        abort_in_session(&dir);
    }
    assert_eq!(suspects(&dir), [suspect(KEY, DEATHS_MAX - 1)]);
    let stats = open(&dir).run(PANICS).stats;
    assert_eq!(stats.errors_detail[0].fault, "panic");
    assert_eq!(suspects(&dir), []);
    abort_in_session(&dir);
    abort_in_session(&dir);
    assert_eq!(
        suspects(&dir),
        [suspect(KEY, 1)],
        "the count restarts after a survived attempt"
    );
}

#[test]
fn changed_content_is_not_blamed_for_earlier_deaths() {
    let dir = poisoned();
    for _ in 0..DEATHS_MAX {
        abort_in_session(&dir);
    }
    assert_eq!(suspects(&dir), [suspect(KEY, 2)]);
    dir.append(KEY, "\nmore\n");
    abort_in_session(&dir);
    assert_eq!(suspects(&dir), [suspect(KEY, 1)]);
}

#[test]
fn a_killed_process_quarantines_no_session() {
    let dir = poisoned();
    dir.write(OTHER, POISON);
    // Kill it in the middle of two sessions, then again before either was tried alone to its end.
    kill_in_session(&dir, 2);
    assert_eq!(suspects(&dir), [suspect(KEY, 0), suspect(OTHER, 0)]);
    kill_in_session(&dir, 1);
    assert_eq!(suspects(&dir), [suspect(KEY, 1), suspect(OTHER, 0)]);
    let pipeline = open(&dir);
    let stats = pipeline.run(PANICS).stats;
    let faults: Vec<&str> = stats
        .errors_detail
        .iter()
        .map(|e| e.fault.as_str())
        .collect();
    assert_eq!((faults, stats.quarantined), (vec!["panic", "panic"], 0));
    drop(pipeline);
    assert_eq!(suspects(&dir), []);
}

#[test]
fn suspects_are_tried_first_in_their_order() {
    let dir = prepared_dir();
    for number in 0..6 {
        dir.write(&format!("ada/{number}.jsonl"), "fine\n");
    }
    write_slot(&dir, 0, &record("ada/4.jsonl").encode());
    write_slot(&dir, 1, &record("ada/2.jsonl").encode());
    // Session numbers are assigned at the commit, so two workers would assign them in any order.
    let config = Config {
        workers: 1,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &[panics()]);
    assert_eq!(pipeline.run(PANICS).stats.processed, 6);
    let number = |key| pipeline.state(PANICS, key).unwrap().session_seq;
    assert_eq!(
        (number("ada/2.jsonl"), number("ada/4.jsonl")),
        (Some(1), Some(2))
    );
}

#[test]
fn a_suspect_beyond_the_cap_remains_a_suspect_and_a_deleted_one_does_not() {
    let dir = prepared_dir();
    dir.write(KEY, "fine\n");
    dir.write(OTHER, "fine\n");
    for (number, key) in (0..).zip([KEY, OTHER, "ada/gone.jsonl"]) {
        write_slot(&dir, number, &record(key).encode());
    }
    let pipeline = open(&dir);
    let one = RunRequest {
        max_sessions: Some(1),
        ..RunRequest::cli()
    };
    assert_eq!(pipeline.run_as(PANICS, one).stats.capped, 1);
    drop(pipeline);
    assert_eq!(suspects(&dir), [suspect(OTHER, 0)]);
}

#[test]
fn a_run_that_completes_leaves_all_slots_empty() {
    let dir = prepared_dir();
    dir.write(KEY, "fine\n");
    dir.write(OTHER, POISON);
    open(&dir).run(PANICS);
    let slots = fs::read_dir(folder(&dir)).unwrap();
    let slots: Vec<Vec<u8>> = slots
        .map(|slot| fs::read(slot.unwrap().path()).unwrap())
        .collect();
    assert!(!slots.is_empty());
    assert!(
        slots
            .iter()
            .all(|slot| InFlightRecord::decode(slot).is_none())
    );
    assert_eq!(suspects(&dir), []);
}

#[test]
fn other_files_in_the_slot_folder_are_ignored_and_left_unchanged() {
    let dir = prepared_dir();
    dir.write(KEY, "fine\n");
    write_slot(&dir, 0, b"");
    fs::create_dir(folder(&dir).join("1")).unwrap();
    let elsewhere = dir.path().join("elsewhere");
    fs::write(&elsewhere, record(KEY).encode()).unwrap();
    symlink(&elsewhere, folder(&dir).join("2")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder(&dir).join("3"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    for name in ["note.txt", "01", "4294967295", "-1"] {
        fs::write(folder(&dir).join(name), record(KEY).encode()).unwrap();
    }
    assert_eq!(suspects(&dir), []);
    assert_eq!(open(&dir).run(PANICS).stats.processed, 1);
    assert_eq!(fs::read(&elsewhere).unwrap(), record(KEY).encode());
    assert_eq!(
        fs::read(folder(&dir).join("note.txt")).unwrap(),
        record(KEY).encode()
    );
}

#[test]
fn sessions_are_processed_even_if_slots_cannot_be_written() {
    let dir = prepared_dir();
    dir.write(KEY, "fine\n");
    fs::write(folder(&dir), "a file where the folder should be").unwrap();
    assert_eq!(open(&dir).run(PANICS).stats.processed, 1);
}

#[test]
fn recording_a_session_takes_one_write() {
    let dir = tempfile::tempdir().unwrap();
    let in_flight = InFlight::open(dir.path());
    let mut seat = in_flight.worker_seat();
    let writes = || {
        let io = fs::read_to_string("/proc/thread-self/io").unwrap();
        let line = io.lines().find(|line| line.starts_with("syscw:")).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    drop(seat.begin(|| record(KEY), false));
    let before = writes();
    for number in 0..1000 {
        drop(seat.begin(|| record(&format!("ada/{number}.jsonl")), false));
    }
    assert_eq!(writes() - before, 1000);
}

#[test]
fn a_suspect_that_waits_goes_before_sessions_that_come_later() {
    let dir = tempfile::tempdir().unwrap();
    let in_flight = &InFlight::open(dir.path());
    let begun = &Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let mut seat = in_flight.worker_seat();
        let first = seat.begin(|| record("first"), false);
        for (key, is_suspect) in [("suspect", true), ("later", false)] {
            let (sender, receiver) = mpsc::channel();
            let thread = scope.spawn(move || {
                sender.send(fs::read_link("/proc/thread-self")).unwrap();
                let note = || {
                    begun.lock().unwrap().push(key);
                    record(key)
                };
                drop(in_flight.worker_seat().begin(note, is_suspect));
            });
            let stat = Path::new("/proc").join(receiver.recv().unwrap().unwrap());
            let sleeps = || {
                let stat = fs::read_to_string(stat.join("stat"));
                stat.is_ok_and(|stat| stat.contains(") S "))
            };
            while !thread.is_finished() && !sleeps() {
                std::thread::yield_now();
            }
        }
        drop(first);
    });
    assert_eq!(*begun.lock().unwrap(), ["suspect", "later"]);
}

/// Processes sessions with this many workers. The first sessions are suspects.
fn process_sessions(path: &Path, workers: usize, suspects: usize) {
    let folder = path.join("in-flight");
    fs::create_dir(&folder).unwrap();
    for number in 0..suspects {
        let record = record(&format!("suspect-{number}"));
        fs::write(folder.join(number.to_string()), record.encode()).unwrap();
    }
    let in_flight = &InFlight::open(path);
    assert_eq!(in_flight.suspects().len(), suspects);
    let (inside, next) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(move || {
                let mut seat = in_flight.worker_seat();
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= suspects + 200 {
                        return;
                    }
                    let is_suspect = number < suspects;
                    let key = format!("suspect-{number}");
                    let mut guard = seat.begin(|| record(&key), is_suspect);
                    let others = inside.fetch_add(1, Ordering::SeqCst);
                    let hash = is_suspect.then_some(ContentHash([1; 16]));
                    let suspicion = guard.suspicion(hash);
                    if is_suspect {
                        assert_eq!((others, suspicion), (0, Suspicion::Alone));
                        assert_eq!(
                            inside.load(Ordering::SeqCst),
                            1,
                            "another session started meanwhile"
                        );
                    } else {
                        assert_eq!(suspicion, Suspicion::None);
                    }
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(in_flight.suspects(), []);
}

proptest! {
    #![proptest_config(counted(cases()))]

    #[test]
    fn invariant_a_suspect_runs_alone_and_no_worker_waits_indefinitely(workers in 1..6_usize, suspects in 0..8_usize) {
        let dir = tempfile::tempdir().unwrap();
        process_sessions(dir.path(), workers, suspects);
    }

    #[test]
    fn invariant_a_slot_record_decodes_to_the_original_or_not_at_all(
        session in any::<String>(),
        processor in any::<String>(),
        deaths in any::<u32>(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
        rest in vec(any::<u8>(), 0..50),
    ) {
        let original = InFlightRecord { session, processor, deaths, ..record("") };
        let bytes = original.encode();
        prop_assert_eq!(InFlightRecord::decode(&bytes), Some(original.clone()));
        let longer = [&bytes[..], &rest[..]].concat();
        prop_assert_eq!(InFlightRecord::decode(&longer), Some(original.clone()), "written over a longer record");
        let torn = &bytes[..place.index(bytes.len())];
        prop_assert_eq!(InFlightRecord::decode(torn), None);
        let mut flipped = bytes.clone();
        flipped[place.index(bytes.len())] ^= 1 << bit;
        let read = InFlightRecord::decode(&flipped);
        prop_assert!(read.is_none() || read == Some(original));
    }

    #[test]
    fn invariant_every_session_is_processed_for_any_slot_contents(
        slots in vec(vec(any::<u8>(), 0..300), 1..4),
        hash in any::<Option<[u8; 16]>>(),
        is_alone: bool,
        deaths in 0..5_u32,
    ) {
        let dir = prepared_dir();
        dir.write(KEY, "fine\n");
        dir.write(OTHER, "fine\n");
        for (number, bytes) in (0..).zip(&slots) {
            write_slot(&dir, number, bytes);
        }
        // A valid record with a content or component that does not exist.
        let valid = InFlightRecord {
            hash: hash.map(|hash| ContentHash(hash).to_string()),
            is_alone,
            deaths,
            ..record(KEY)
        };
        write_slot(&dir, 9, &valid.encode());
        let pipeline = open(&dir);
        prop_assert_eq!(pipeline.run(PANICS).stats.processed, 2);
        prop_assert_eq!(pipeline.pipeline().in_flight().suspects(), []);
    }
}
