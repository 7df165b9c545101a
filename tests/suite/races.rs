//! Races with programs that write transcripts: threads change the files while runs process them.
//!
//! After the writers stop, one more run must produce the same database as a fresh one over the same
//! files. Nothing outside the sessions root is opened, even if a folder is replaced by a link.
//! `between` tests deterministic changes between the scan and the open. `descriptors` tests a
//! process without free file descriptors.

mod between;
mod descriptors;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::inotify;
use session_pipeline_harness::{DataDir, Transcript, cases, seed, tally};
use session_pipeline_host::clock::SystemClock;
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::run::{Pipeline, RunRequest};
use session_pipeline_pipeline::shipped::ShippedProcessor;
use session_pipeline_store::RunStats;

use crate::database;
use crate::guests::{WELL_BEHAVED, usage, well_behaved};

/// The sessions that the writers change.
const KEYS: [&str; 6] = [
    "ada/a.jsonl",
    "ada/b.jsonl",
    "ada/deep/c.jsonl",
    "bob/a.jsonl",
    "bob/d.jsonl",
    "bob/e.jsonl",
];
/// Runs of each processor per round. The writers stop after the last run.
const RUNS: u32 = 12;

/// The number of rounds. It is small by default, because each round opens a database.
fn rounds() -> u64 {
    u64::from(cases().div_ceil(16))
}

/// Opens a pipeline with the system clock, which also sets the times of files.
fn pipeline(dir: &DataDir) -> Pipeline {
    let shipped =
        [well_behaved(), usage()].map(|(name, component)| ShippedProcessor::new(name, component));
    let pipeline = Pipeline::open(
        dir.config(),
        Arc::new(SystemClock::default()),
        Registry::new(shipped),
    )
    .unwrap();
    // Compile before the race, so that the race does not end before the first run starts.
    for (name, _) in [well_behaved(), usage()] {
        pipeline.processor(name).unwrap();
    }
    pipeline
}

/// Runs both processors repeatedly while the actors run in other threads. Returns the number of
/// actions.
fn run_concurrently(pipeline: &Pipeline, actors: Vec<Box<dyn FnMut() + Send + '_>>) -> u64 {
    let (is_over, acts) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for mut act in actors {
            let (is_over, acts) = (&is_over, &acts);
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    act();
                    acts.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                }
            });
        }
        // If a run panics, stop the actors before the test fails.
        let runs = std::panic::AssertUnwindSafe(|| {
            for _ in 0..RUNS {
                for processor in [WELL_BEHAVED, usage().0] {
                    let stats = run(pipeline, processor);
                    // The file was truncated during the read, or a folder is a link.
                    for error in &stats.errors_detail {
                        assert_eq!(error.fault, "input", "{error:?}");
                    }
                }
            }
        });
        let result = std::panic::catch_unwind(runs);
        is_over.store(true, Ordering::SeqCst);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    acts.into_inner()
}

fn run(pipeline: &Pipeline, processor: &str) -> RunStats {
    pipeline
        .run(processor, &RunRequest::cli(), &())
        .unwrap()
        .stats
}

/// A seeded random number generator.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        // xorshift64* is good enough for a small number of choices.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % bound
    }

    fn key(&mut self) -> &'static str {
        KEYS[self.below(KEYS.len())]
    }

    fn lines(&mut self) -> Vec<u8> {
        let mut session = Transcript::new("s1");
        for _ in 0..=self.below(4) {
            let tokens = self.below(1000) as u64;
            session = session
                .user(&"words ".repeat(self.below(600)))
                .assistant(|m| m.tokens(tokens, 20).tool("Bash"));
        }
        session.bytes().to_vec()
    }
}

/// Makes one random change to one session. Another writer may remove the file first.
fn change(root: &Path, random: &mut Random, number: &str) {
    let path = root.join(random.key());
    let result = match random.below(8) {
        0..3 => OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&random.lines())),
        // Half a line, which the next append turns into an invalid line.
        3 => OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(b"{\"type\":\"us")),
        4 => OpenOptions::new().write(true).open(&path).and_then(|file| {
            let length = file.metadata()?.len();
            file.set_len(length / 2)
        }),
        5 => {
            let temporary = root.join(format!("ada/.{number}"));
            fs::write(&temporary, random.lines()).and_then(|()| fs::rename(&temporary, &path))
        }
        6 => fs::rename(&path, root.join(random.key())),
        _ => fs::remove_file(&path),
    };
    match result {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// Returns all rows of these sessions in all tables of the processors, without the columns that
/// depend on when a session was processed.
fn session_rows(dir: &DataDir, sessions: &BTreeSet<String>) -> Vec<String> {
    let tables = database::rows(
        dir,
        &format!(
            "SELECT '\"' || schema_name || '\".\"' || table_name || '\" WHERE '
                -- Superseded rows depend on when each content was processed.
                || CASE WHEN bool_or(column_name = 'is_superseded') THEN 'NOT is_superseded AND ' ELSE '' END
             FROM duckdb_columns() WHERE schema_name IN ('usage', '{WELL_BEHAVED}')
             -- Exclude views: those that find copies also include deleted sessions.
             AND table_name IN (SELECT table_name FROM duckdb_tables())
             GROUP BY schema_name, table_name HAVING bool_or(column_name = 'session_file') ORDER BY ALL"
        ),
    );
    assert!(tables.len() > 1, "{tables:?}");
    let list: Vec<_> = sessions.iter().map(|key| format!("'{key}'")).collect();
    let list = list.join(", ");
    let mut rows = Vec::new();
    for table in tables {
        let sql = format!(
            "SELECT $${table}$$, COLUMNS(name -> name NOT IN ('session_seq', 'recorded_at', 'first_run'))
             FROM {table} session_file IN ({list}) ORDER BY ALL"
        );
        rows.extend(database::rows(dir, &sql));
    }
    rows
}

fn sessions_of(dir: &DataDir) -> BTreeSet<String> {
    let exists = |key: &&str| dir.session_path(key).is_file();
    KEYS.into_iter().filter(exists).map(str::to_owned).collect()
}

fn race(seed: u64) {
    let dir = DataDir::new();
    for key in KEYS {
        let path = dir.session_path(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, Random(seed + 1).lines()).unwrap();
    }
    let pipeline = pipeline(&dir);
    let root = dir.sessions_root();
    let writers = (1..=2).map(|writer| {
        let (mut random, mut number) = (Random(seed * 2 + writer), 0);
        let root = &root;
        let act = move || {
            number += 1;
            change(root, &mut random, &format!("{writer}-{number}"));
        };
        Box::new(act) as Box<dyn FnMut() + Send>
    });
    let changes = run_concurrently(&pipeline, writers.collect());
    let sessions = sessions_of(&dir);
    for processor in [WELL_BEHAVED, usage().0] {
        let stats = run(&pipeline, processor);
        assert_eq!((stats.errors, stats.quarantined), (0, 0), "seed {seed}");
        // Recently modified files are hashed again, and their content is unchanged.
        assert_eq!(run(&pipeline, processor).processed, 0, "seed {seed}");
    }
    drop(pipeline);
    println!("seed {seed}: {} runs during {changes} changes", 2 * RUNS);

    let fresh = DataDir::new();
    for key in &sessions {
        let path = fresh.session_path(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(dir.session_path(key), path).unwrap();
    }
    let pipeline = self::pipeline(&fresh);
    for processor in [WELL_BEHAVED, usage().0] {
        let processed = run(&pipeline, processor).processed;
        assert_eq!(processed, sessions.len() as u64, "seed {seed}");
    }
    drop(pipeline);
    assert_eq!(
        session_rows(&dir, &sessions),
        session_rows(&fresh, &sessions),
        "seed {seed}"
    );
}

#[test]
fn one_undisturbed_run_repairs_the_effects_of_concurrent_writers() {
    // Limit the seed: it is multiplied below.
    let first = seed().map_or(1, |seed| seed % (1 << 32));
    for number in 0..rounds() {
        race(first + number);
        tally("races", 1);
    }
}

/// An inotify watch for opens and reads of a folder and its files.
struct AccessWatch {
    events: std::os::fd::OwnedFd,
}

impl AccessWatch {
    fn on(folder: &Path) -> Self {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let events = inotify::init(flags).unwrap();
        let kinds = inotify::WatchFlags::OPEN | inotify::WatchFlags::ACCESS;
        inotify::add_watch(&events, folder, kinds).unwrap();
        Self { events }
    }

    /// Returns the number of opens and reads since the last call.
    fn count(&self) -> usize {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        std::iter::from_fn(|| reader.next().ok().map(|_| ())).count()
    }
}

/// Replaces a folder with a link to `outside`, and restores it.
fn swap(folder: &Path, hidden: &Path, outside: &Path) {
    fs::rename(folder, hidden).unwrap();
    symlink(outside, folder).unwrap();
    std::thread::yield_now();
    fs::remove_file(folder).unwrap();
    fs::rename(hidden, folder).unwrap();
}

#[test]
fn a_folder_replaced_by_a_link_during_a_run_never_leads_outside_the_root() {
    const CANARY: &str = "canary-0d1f-of-somebody-else";
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("deep")).unwrap();
    for name in ["a.jsonl", "deep/c.jsonl"] {
        fs::write(outside.path().join(name), format!("{CANARY}\n")).unwrap();
    }
    let watches = [
        AccessWatch::on(outside.path()),
        AccessWatch::on(&outside.path().join("deep")),
    ];
    for round in 1..=rounds() {
        let dir = DataDir::new();
        for key in KEYS {
            let path = dir.session_path(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, Random(round).lines()).unwrap();
        }
        let pipeline = pipeline(&dir);
        let root = dir.sessions_root();
        // One user's folder is flat. The other has a nested folder.
        let swappers = [("bob", ""), ("ada", "deep")].map(|(folder, target)| {
            let (hidden, folder) = (root.join(format!(".{folder}")), root.join(folder));
            let outside = outside.path().join(target);
            Box::new(move || swap(&folder, &hidden, &outside)) as Box<dyn FnMut() + Send>
        });
        let swaps = run_concurrently(&pipeline, swappers.into());
        for processor in [WELL_BEHAVED, usage().0] {
            assert_eq!(run(&pipeline, processor).errors, 0);
        }
        drop(pipeline);
        println!("round {round}: {} runs during {swaps} swaps", 2 * RUNS);
        let rows = session_rows(&dir, &sessions_of(&dir));
        assert_eq!(sessions_of(&dir).len(), KEYS.len());
        assert!(rows.len() > KEYS.len(), "{rows:?}");
        assert!(rows.iter().all(|row| !row.contains(CANARY)), "{rows:?}");
        // The canary is not in any other file that the program writes.
        for entry in fs::read_dir(dir.path().join("state")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let bytes = fs::read(&path).unwrap();
                let found = bytes
                    .windows(CANARY.len())
                    .any(|at| at == CANARY.as_bytes());
                assert!(!found, "the canary is in {}", path.display());
            }
        }
    }
    assert_eq!(
        watches.each_ref().map(AccessWatch::count),
        [0, 0],
        "files outside the root were opened"
    );
    // Verify that the watch reports an access.
    fs::read(outside.path().join("a.jsonl")).unwrap();
    assert!(watches[0].count() > 0);
}
