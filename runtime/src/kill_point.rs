//! Named points at which a test ends the process as `kill -9` would: before, within and after
//! everything that must be whole or not there at all.
//!
//! Nothing happens at them unless a [`Plan`] was installed, and a packaged program, which is built
//! without debug assertions, has none of them. A plan is the one thing of the process that is not
//! passed in: points lie where nobody else has anything to say.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every point there is.
pub const POINTS: [&str; 15] = [
    "scan done",
    "session processed",
    "transaction begun",
    "rows replaced",
    "rows appended",
    "states written",
    "transaction to be committed",
    "transaction committed",
    "checkpoint to be made",
    "checkpoint made",
    "database to be copied",
    "database copied",
    "migration",
    "cache file to be kept",
    "cache file kept",
];

/// What happens at the points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Each point that is reached is written down, a line each.
    Record(PathBuf),
    /// The process ends at the n-th point that is reached, counted from 1, which is written down.
    Kill(u64, PathBuf),
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("record"), Some(path), None) if !path.is_empty() => {
                Ok(Self::Record(PathBuf::from(path)))
            }
            (Some("kill"), Some(number), Some(path)) if !path.is_empty() => match number.parse() {
                Ok(number) if number > 0 => Ok(Self::Kill(number, PathBuf::from(path))),
                _ => Err(format!(
                    "`{number}` is no number of a point; give 1 or more"
                )),
            },
            _ => Err(format!(
                "`{text}` is no plan; give `record:FILE` or `kill:NUMBER:FILE`"
            )),
        }
    }
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

struct Installed {
    reached: AtomicU64,
    record: File,
    kill_at: Option<u64>,
}

/// Installs a plan, for the rest of the process's life; the first one counts.
///
/// # Errors
/// When the record can't be opened.
pub fn install(plan: &Plan) -> std::io::Result<()> {
    let (path, kill_at) = match plan {
        Plan::Record(path) => (path, None),
        Plan::Kill(number, path) => (path, Some(*number)),
    };
    let record = OpenOptions::new().append(true).create(true).open(path)?;
    INSTALLED.get_or_init(|| Installed {
        reached: AtomicU64::new(0),
        record,
        kill_at,
    });
    Ok(())
}

/// The process is at this point.
#[inline]
pub(crate) fn reached(point: &'static str) {
    if cfg!(debug_assertions)
        && let Some(installed) = INSTALLED.get()
    {
        installed.reached(point);
    }
}

impl Installed {
    #[cold]
    fn reached(&self, point: &'static str) {
        debug_assert!(POINTS.contains(&point), "`{point}` is not listed");
        let number = self.reached.fetch_add(1, Ordering::SeqCst) + 1;
        if self.kill_at.is_none_or(|kill_at| kill_at == number) {
            // A test that misses a line fails by itself.
            let _ = (&self.record).write_all(format!("{point}\n").as_bytes());
        }
        if self.kill_at == Some(number) {
            let own = rustix::process::getpid();
            // No destructor, no buffer and no exit handler has its turn.
            let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }
}
