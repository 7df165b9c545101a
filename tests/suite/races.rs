//! Races with whoever writes transcripts: threads change the files while runs go on over them.
//!
//! Whatever a run saw, after one more run that nobody disturbs the database holds what a fresh one
//! makes of the same files. And whatever is put in the place of a folder, nothing outside the root
//! is opened. What happens between a scan and an open, without chance, stands in `between`; a
//! process without descriptors in `descriptors`.

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

/// The sessions that the writers fight over.
const KEYS: [&str; 6] = [
    "ada/a.jsonl",
    "ada/b.jsonl",
    "ada/deep/c.jsonl",
    "bob/a.jsonl",
    "bob/d.jsonl",
    "bob/e.jsonl",
];
/// Runs of each processor in a round; writers go on until the last is over.
const RUNS: u32 = 12;

/// Rounds of a race: few in a usual run, since each opens a database.
fn rounds() -> u64 {
    u64::from(cases().div_ceil(16))
}

/// A pipeline by the clocks of this machine: those that files are stamped with.
fn pipeline(dir: &DataDir) -> Pipeline {
    let shipped =
        [well_behaved(), usage()].map(|(name, component)| ShippedProcessor::new(name, component));
    let pipeline = Pipeline::open(
        dir.config(),
        Arc::new(SystemClock::default()),
        Registry::new(shipped),
    )
    .unwrap();
    // Compiled before the race: it would be over before the first run begins.
    for (name, _) in [well_behaved(), usage()] {
        pipeline.processor(name).unwrap();
    }
    pipeline
}

/// Runs both processors again and again while the others are at work; gives how often those acted.
fn run_beside(pipeline: &Pipeline, others: Vec<Box<dyn FnMut() + Send + '_>>) -> u64 {
    let (is_over, acts) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for mut act in others {
            let (is_over, acts) = (&is_over, &acts);
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    act();
                    acts.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                }
            });
        }
        // Where a run panics the others end too, and the test with them.
        let runs = std::panic::AssertUnwindSafe(|| {
            for _ in 0..RUNS {
                for processor in [WELL_BEHAVED, usage().0] {
                    let stats = run(pipeline, processor);
                    // A file that became shorter while it was read, or a folder that is a link.
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

/// Chance with a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        // xorshift64*: good enough to choose among a handful.
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

/// Makes one change to some session. That another writer was quicker is no matter.
fn change(root: &Path, chance: &mut Chance, number: &str) {
    let path = root.join(chance.key());
    let result = match chance.below(8) {
        0..3 => OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&chance.lines())),
        // Half a line, which the next append makes a broken one.
        3 => OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(b"{\"type\":\"us")),
        4 => OpenOptions::new().write(true).open(&path).and_then(|file| {
            let length = file.metadata()?.len();
            file.set_len(length / 2)
        }),
        5 => {
            let aside = root.join(format!("ada/.{number}"));
            fs::write(&aside, chance.lines()).and_then(|()| fs::rename(&aside, &path))
        }
        6 => fs::rename(&path, root.join(chance.key())),
        _ => fs::remove_file(&path),
    };
    match result {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// Every row of every table of a processor that belongs to one of these sessions, but for what
/// counts its processing.
fn kept(dir: &DataDir, sessions: &BTreeSet<String>) -> Vec<String> {
    let tables = database::rows(
        dir,
        &format!(
            "SELECT '\"' || schema_name || '\".\"' || table_name || '\" WHERE '
                -- What contents before the last have cost depends on when they were seen.
                || CASE WHEN bool_or(column_name = 'is_superseded') THEN 'NOT is_superseded AND ' ELSE '' END
             FROM duckdb_columns() WHERE schema_name IN ('usage', '{WELL_BEHAVED}')
             -- Views that tell copies from originals see the sessions that are gone, too.
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
    let there = |key: &&str| dir.session_path(key).is_file();
    KEYS.into_iter().filter(there).map(str::to_owned).collect()
}

fn race(seed: u64) {
    let dir = DataDir::new();
    for key in KEYS {
        let path = dir.session_path(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, Chance(seed + 1).lines()).unwrap();
    }
    let pipeline = pipeline(&dir);
    let root = dir.sessions_root();
    let writers = (1..=2).map(|writer| {
        let (mut chance, mut number) = (Chance(seed * 2 + writer), 0);
        let root = &root;
        let act = move || {
            number += 1;
            change(root, &mut chance, &format!("{writer}-{number}"));
        };
        Box::new(act) as Box<dyn FnMut() + Send>
    });
    let changes = run_beside(&pipeline, writers.collect());
    let sessions = sessions_of(&dir);
    for processor in [WELL_BEHAVED, usage().0] {
        let stats = run(&pipeline, processor);
        assert_eq!((stats.errors, stats.quarantined), (0, 0), "seed {seed}");
        // Whatever was too fresh to be trusted is hashed again, and found the same.
        assert_eq!(run(&pipeline, processor).processed, 0, "seed {seed}");
    }
    drop(pipeline);
    println!("seed {seed}: {} runs beside {changes} changes", 2 * RUNS);

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
        kept(&dir, &sessions),
        kept(&fresh, &sessions),
        "seed {seed}"
    );
}

#[test]
fn whatever_writers_did_while_runs_went_on_one_quiet_run_makes_it_good() {
    // Seeds are multiplied in what follows.
    let first = seed().map_or(1, |seed| seed % (1 << 32));
    for number in 0..rounds() {
        race(first + number);
        tally("races", 1);
    }
}

/// What is told of a folder: who opened it or something in it.
struct Watch {
    events: std::os::fd::OwnedFd,
}

impl Watch {
    fn on(folder: &Path) -> Self {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let events = inotify::init(flags).unwrap();
        let kinds = inotify::WatchFlags::OPEN | inotify::WatchFlags::ACCESS;
        inotify::add_watch(&events, folder, kinds).unwrap();
        Self { events }
    }

    /// How many times something was opened or read since the last look.
    fn count(&self) -> usize {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        std::iter::from_fn(|| reader.next().ok().map(|_| ())).count()
    }
}

/// Swaps a folder for a link to another one, and back.
fn swap(folder: &Path, aside: &Path, outside: &Path) {
    fs::rename(folder, aside).unwrap();
    symlink(outside, folder).unwrap();
    std::thread::yield_now();
    fs::remove_file(folder).unwrap();
    fs::rename(aside, folder).unwrap();
}

#[test]
fn a_folder_swapped_for_a_link_never_leads_outside() {
    const CANARY: &str = "canary-0d1f-of-somebody-else";
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("deep")).unwrap();
    for name in ["a.jsonl", "deep/c.jsonl"] {
        fs::write(outside.path().join(name), format!("{CANARY}\n")).unwrap();
    }
    let watches = [
        Watch::on(outside.path()),
        Watch::on(&outside.path().join("deep")),
    ];
    for round in 1..=rounds() {
        let dir = DataDir::new();
        for key in KEYS {
            let path = dir.session_path(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, Chance(round).lines()).unwrap();
        }
        let pipeline = pipeline(&dir);
        let root = dir.sessions_root();
        // A user's folder, and another one that has a folder within.
        let swappers = [("bob", ""), ("ada", "deep")].map(|(folder, target)| {
            let (aside, folder) = (root.join(format!(".{folder}")), root.join(folder));
            let outside = outside.path().join(target);
            Box::new(move || swap(&folder, &aside, &outside)) as Box<dyn FnMut() + Send>
        });
        let swaps = run_beside(&pipeline, swappers.into());
        for processor in [WELL_BEHAVED, usage().0] {
            assert_eq!(run(&pipeline, processor).errors, 0);
        }
        drop(pipeline);
        println!("round {round}: {} runs beside {swaps} swaps", 2 * RUNS);
        let rows = kept(&dir, &sessions_of(&dir));
        assert_eq!(sessions_of(&dir).len(), KEYS.len());
        assert!(rows.len() > KEYS.len(), "{rows:?}");
        assert!(rows.iter().all(|row| !row.contains(CANARY)), "{rows:?}");
        // Nor anywhere else that we write: no log, no state.
        for entry in fs::read_dir(dir.path().join("state")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let bytes = fs::read(&path).unwrap();
                let found = bytes
                    .windows(CANARY.len())
                    .any(|at| at == CANARY.as_bytes());
                assert!(!found, "{}", path.display());
            }
        }
    }
    assert_eq!(
        watches.each_ref().map(Watch::count),
        [0, 0],
        "opens outside"
    );
    // The watch sees what there is to see.
    fs::read(outside.path().join("a.jsonl")).unwrap();
    assert!(watches[0].count() > 0);
}
