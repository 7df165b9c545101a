//! Named points at which a test kills the process, as `kill -9` does: before, during and after
//! everything that must be atomic.
//!
//! Without an installed [`KillPlan`], the points have no effect. Packaged programs are built without
//! debug assertions and contain no points. The plan is the only global state of the process,
//! because the points are in code that has no other use for a parameter.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The points of runs.
pub const POINTS: [&str; 21] = [
    "scan done",
    "slot written",
    "session processed",
    "transaction begun",
    "rows replaced",
    "rows appended",
    "checkpoints written",
    "states written",
    "before commit",
    "after commit",
    "before block backup",
    "before checkpoint",
    "after checkpoint",
    "before database backup",
    "after database backup",
    "migration",
    "before database rename",
    "before cache write",
    "after cache write",
    "before notification",
    "after notification",
];

/// The points of uploads, which only a server reaches.
pub const UPLOAD_POINTS: [&str; 5] = [
    "upload staged",
    "upload renamed",
    "append recorded",
    "append half written",
    "append written",
];

/// All points, of runs and of uploads.
fn all_points() -> impl Iterator<Item = &'static str> {
    POINTS.into_iter().chain(UPLOAD_POINTS)
}

/// What happens at the points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillPlan {
    /// Writes the name of each reached point to this file, one per line.
    Record(PathBuf),
    /// Kills the process at this place. Records the points that are reached from then on.
    Kill(KillPlace, PathBuf),
}

/// The place at which the process is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillPlace {
    /// At the n-th point that is reached, counted from 1.
    Number(u64),
    /// The first time that this point is reached. One of [`POINTS`] or [`UPLOAD_POINTS`].
    Point(&'static str),
    /// This long after the point was reached for the n-th time, counted from 1.
    After(&'static str, u64, Duration),
}

impl FromStr for KillPlan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("record"), Some(path), None) if !path.is_empty() => {
                Ok(Self::Record(PathBuf::from(path)))
            }
            (Some("kill"), Some(place), Some(path)) if !path.is_empty() => {
                Ok(Self::Kill(place.parse()?, PathBuf::from(path)))
            }
            _ => Err(format!(
                "invalid plan `{text}`; expected `record:FILE` or `kill:PLACE:FILE`"
            )),
        }
    }
}

impl FromStr for KillPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return match number {
                0 => Err("points are counted from 1".to_owned()),
                number => Ok(Self::Number(number)),
            };
        }
        let (name, after) = match text.split_once('#') {
            Some((name, after)) => (name, Some(after)),
            None => (text, None),
        };
        let known = all_points().find(|point| *point == name);
        let point = known.ok_or_else(|| {
            format!(
                "invalid place `{name}`; expected `NUMBER`, `NAME` or `NAME#NUMBER+MICROSECONDS`"
            )
        })?;
        let Some(after) = after else {
            return Ok(Self::Point(point));
        };
        after
            .split_once('+')
            .and_then(|(nth, micros)| {
                let nth = nth.parse().ok().filter(|nth| *nth > 0)?;
                Some(Self::After(
                    point,
                    nth,
                    Duration::from_micros(micros.parse().ok()?),
                ))
            })
            .ok_or_else(|| {
                format!("invalid text after `{name}#`; expected `NUMBER+MICROSECONDS`, with a number from 1")
            })
    }
}

static INSTALLED: OnceLock<ActivePlan> = OnceLock::new();

struct ActivePlan {
    reached: AtomicU64,
    /// How often the point of [`KillPlace::After`] was reached.
    before_the_end: AtomicU64,
    record: File,
    kill_at: Option<KillPlace>,
    /// Whether the process is about to be killed.
    is_dying: AtomicBool,
}

/// Installs a plan for the lifetime of the process. If called several times, the first plan is
/// kept.
///
/// # Errors
/// The record file cannot be opened.
pub fn install(plan: &KillPlan) -> std::io::Result<()> {
    let (path, kill_at) = match plan {
        KillPlan::Record(path) => (path, None),
        KillPlan::Kill(place, path) => (path, Some(place.clone())),
    };
    let record = OpenOptions::new().append(true).create(true).open(path)?;
    INSTALLED.get_or_init(|| ActivePlan {
        reached: AtomicU64::new(0),
        before_the_end: AtomicU64::new(0),
        record,
        kill_at,
        is_dying: AtomicBool::new(false),
    });
    Ok(())
}

/// Marks that the process has reached this point.
#[inline]
pub fn kill_point(point: &'static str) {
    if cfg!(debug_assertions)
        && let Some(installed) = INSTALLED.get()
    {
        installed.reached(point);
    }
}

impl ActivePlan {
    #[cold]
    fn reached(&self, point: &'static str) {
        debug_assert!(
            all_points().any(|known| known == point),
            "`{point}` is not a known point"
        );
        let number = self.reached.fetch_add(1, Ordering::SeqCst) + 1;
        let delay = match &self.kill_at {
            None => return self.write_down(point),
            Some(KillPlace::Number(at)) => (*at == number).then_some(Duration::ZERO),
            Some(KillPlace::Point(at)) => (*at == point).then_some(Duration::ZERO),
            Some(KillPlace::After(at, nth, delay)) => (*at == point
                && self.before_the_end.fetch_add(1, Ordering::SeqCst) + 1 == *nth)
                .then_some(*delay),
        };
        let was_dying = match delay {
            Some(_) => self.is_dying.swap(true, Ordering::SeqCst),
            None => self.is_dying.load(Ordering::SeqCst),
        };
        if delay.is_some() || was_dying {
            self.write_down(point);
        }
        match delay {
            Some(Duration::ZERO) => die(),
            Some(delay) => {
                std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    die();
                });
            }
            None => {}
        }
    }

    fn write_down(&self, point: &str) {
        // Ignore errors. A test that misses a line fails.
        let _ = (&self.record).write_all(format!("{point}\n").as_bytes());
    }
}

/// Kills the process without running destructors, flushing buffers or calling exit handlers.
fn die() -> ! {
    let own = rustix::process::getpid();
    let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kill(place: KillPlace) -> Result<KillPlan, String> {
        Ok(KillPlan::Kill(place, PathBuf::from("a:b")))
    }

    #[test]
    fn a_plan_names_a_place_by_number_by_name_or_by_the_time_after_it() {
        assert_eq!("record:f".parse(), Ok(KillPlan::Record(PathBuf::from("f"))));
        assert_eq!("kill:3:a:b".parse(), kill(KillPlace::Number(3)));
        assert_eq!(
            "kill:scan done:a:b".parse(),
            kill(KillPlace::Point("scan done"))
        );
        assert_eq!(
            "kill:before checkpoint#2+250:a:b".parse(),
            kill(KillPlace::After(
                "before checkpoint",
                2,
                Duration::from_micros(250)
            ))
        );
    }

    #[test]
    fn invalid_plans_are_rejected() {
        let wrong = [
            "",
            "record:",
            "record",
            "kill:3",
            "kill:3:",
            "kill:0:f",
            "kill:nowhere:f",
            "kill:scan done+1:f",
            "kill:scan done#1:f",
            "kill:scan done#1+soon:f",
            "kill:scan done#0+1:f",
            "kill:-1:f",
            "go:3:f",
        ];
        for text in wrong {
            assert!(text.parse::<KillPlan>().is_err(), "`{text}` was accepted");
        }
    }
}
