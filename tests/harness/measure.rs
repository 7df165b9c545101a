//! Measurements for benchmarks: medians, ratios and spreads over alternating rounds. Noise of the
//! machine shows up as spread.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use session_pipeline_host::sessions::SessionsRoot;

/// The values of one measurement, one per round.
#[derive(Clone, Debug, Default)]
pub struct Measurement(Vec<f64>);

impl Measurement {
    /// Adds the value of a round.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The median, or NaN without rounds.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The minimum and the maximum.
    pub fn spread(&self) -> (f64, f64) {
        let low = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    }

    /// The ratio of this measurement to `baseline`, per round.
    #[must_use]
    pub fn ratio_to(&self, baseline: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&baseline.0)
                .map(|(value, baseline)| value / baseline)
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

/// The sessions of a benchmark.
#[derive(Debug)]
pub struct BenchSessions {
    /// The sessions root.
    pub root: SessionsRoot,
    /// The sorted keys of the sessions.
    pub keys: Vec<String>,
    /// The total size, in bytes.
    pub bytes: u64,
}

impl BenchSessions {
    /// Lists the sessions in the folder in the command line arguments. The default is the folder of
    /// example sessions in this repository.
    ///
    /// # Errors
    /// The folder does not exist or cannot be read.
    pub fn from_arguments() -> io::Result<Self> {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sessions");
        let folder = std::env::args()
            .skip(1)
            .find(|argument| !argument.starts_with("--"))
            .map_or(examples, PathBuf::from);
        let root = SessionsRoot::open(&folder)?.ok_or_else(|| {
            io::Error::other(format!("the folder `{}` does not exist", folder.display()))
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

/// The cost of a child process.
#[derive(Clone, Copy, Debug)]
pub struct ChildCost {
    /// The wall time from start to exit.
    pub wall: Duration,
    /// The CPU time of the program and of the programs that it waited for, in steps of 10 ms. Zero
    /// if the system has no `/proc`. No other children may end at the same time.
    pub cpu: Duration,
    /// The peak resident memory, in bytes, or 0 if it was not measured.
    pub peak_memory: u64,
}

/// Runs a program until it exits. Discards its output.
///
/// # Errors
/// The program cannot be started or fails.
pub fn run_child(command: &mut Command) -> io::Result<ChildCost> {
    let before = children_cpu().unwrap_or_default();
    let started = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let wall = started.elapsed();
    let cpu = children_cpu().unwrap_or_default().saturating_sub(before);
    if !status.success() {
        return Err(io::Error::other(format!("{command:?} ended with {status}")));
    }
    Ok(ChildCost {
        wall,
        cpu,
        peak_memory: 0,
    })
}

/// Like [`run_child`], and measures the peak memory. It polls the memory every 5 ms.
///
/// # Errors
/// See [`run_child`].
pub fn run_child_tracking_memory(command: &mut Command) -> io::Result<ChildCost> {
    let before = children_cpu().unwrap_or_default();
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
    let cpu = children_cpu().unwrap_or_default().saturating_sub(before);
    if !status.success() {
        return Err(io::Error::other(format!("{command:?} ended with {status}")));
    }
    Ok(ChildCost {
        wall,
        cpu,
        peak_memory,
    })
}

/// What a program prints for `--version`, or that it did not.
pub fn version_of(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match text {
        Ok(version) if !version.is_empty() => version,
        _ => format!("`{program}` reports no version"),
    }
}

/// The CPU time of all children that have ended.
fn children_cpu() -> Option<Duration> {
    // Linux counts in ticks of 10 ms here, whatever its own clock does.
    const TICK: Duration = Duration::from_millis(10);
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program is in brackets and can contain anything.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(13);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * ticks()?.checked_add(ticks()?)?)
}

fn high_water_mark(status_file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(status_file).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The resource usage of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The number of threads.
    pub threads: u64,
    /// The number of open file descriptors.
    pub descriptors: usize,
    /// The resident memory, in bytes.
    pub resident: u64,
}

impl Footprint {
    /// Measures the current usage.
    ///
    /// # Errors
    /// The system has no `/proc`.
    pub fn now() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
                .ok_or_else(|| io::Error::other(format!("`/proc/self/status` has no `{name}`")))
        };
        Ok(Self {
            threads: number("Threads:")?,
            descriptors: std::fs::read_dir("/proc/self/fd")?.count(),
            resident: number("VmRSS:")? * 1024,
        })
    }
}
