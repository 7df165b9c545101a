//! Measuring for benchmarks: alternating rounds, medians and ratios, so that a noisy machine shows
//! as spread and not as a verdict.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use session_pipeline_host::sessions::SessionsRoot;

/// The figures of one thing over all rounds.
#[derive(Clone, Debug, Default)]
pub struct Measurement(Vec<f64>);

impl Measurement {
    /// Adds a round.
    pub fn add(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The middle figure; NaN where there is none.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The lowest and the highest.
    pub fn spread(&self) -> (f64, f64) {
        let low = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    }

    /// Round by round, this over another.
    #[must_use]
    pub fn over(&self, yardstick: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&yardstick.0)
                .map(|(mine, other)| mine / other)
                .collect(),
        )
    }
}

impl std::fmt::Display for Measurement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (low, high) = self.spread();
        write!(f, "{:.3} ({low:.3} to {high:.3})", self.median())
    }
}

/// The sessions that a benchmark works on.
#[derive(Debug)]
pub struct BenchSessions {
    /// Their root.
    pub root: SessionsRoot,
    /// Their keys, sorted.
    pub keys: Vec<String>,
    /// The bytes of all of them.
    pub bytes: u64,
}

impl BenchSessions {
    /// The sessions of the folder that the program's arguments name, or else the examples that ship.
    ///
    /// # Errors
    /// When there is no such folder, or it can't be read.
    pub fn of_arguments() -> io::Result<Self> {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sessions");
        let folder = std::env::args()
            .skip(1)
            .find(|argument| !argument.starts_with("--"))
            .map_or(examples, PathBuf::from);
        let root = SessionsRoot::open(&folder)?.ok_or_else(|| {
            io::Error::other(format!("there is no folder `{}`", folder.display()))
        })?;
        let (mut keys, mut bytes) = (Vec::new(), 0);
        root.walk(|key, observed| {
            keys.push(key.to_owned());
            bytes += observed.size;
        })?;
        keys.sort();
        Ok(Self { root, keys, bytes })
    }
}

/// What a child process took.
#[derive(Clone, Copy, Debug)]
pub struct ChildCost {
    /// From start to end.
    pub wall: Duration,
    /// The most memory it had resident, in bytes, as far as it was seen.
    pub peak_memory: u64,
}

/// Runs a program to its end with its output thrown away.
///
/// # Errors
/// When it can't be started, or does not succeed.
pub fn child(command: &mut Command) -> io::Result<ChildCost> {
    let started = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let wall = started.elapsed();
    if !status.success() {
        return Err(io::Error::other(format!("{command:?} ended with {status}")));
    }
    Ok(ChildCost {
        wall,
        peak_memory: 0,
    })
}

/// As [`child`], watching the child's memory all the while.
///
/// # Errors
/// As [`child`].
pub fn watched_child(command: &mut Command) -> io::Result<ChildCost> {
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak_memory = 0;
    let status = loop {
        peak_memory = peak_memory.max(high_water_mark(Path::new(&status_file)).unwrap_or(0));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let wall = started.elapsed();
    if !status.success() {
        return Err(io::Error::other(format!("{command:?} ended with {status}")));
    }
    Ok(ChildCost { wall, peak_memory })
}

fn high_water_mark(status_file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(status_file).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// What this process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Its threads.
    pub threads: u64,
    /// Its open descriptors.
    pub descriptors: usize,
    /// Its resident memory, in bytes.
    pub resident: u64,
}

impl Footprint {
    /// That of this moment.
    ///
    /// # Errors
    /// Where the system has no `/proc`.
    pub fn now() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
                .ok_or_else(|| io::Error::other(format!("the system does not tell `{name}`")))
        };
        Ok(Self {
            threads: number("Threads:")?,
            descriptors: std::fs::read_dir("/proc/self/fd")?.count(),
            resident: number("VmRSS:")? * 1024,
        })
    }
}
