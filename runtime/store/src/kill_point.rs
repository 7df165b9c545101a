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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Every point there is.
pub const POINTS: [&str; 18] = [
    "scan done",
    "slot written",
    "session processed",
    "transaction begun",
    "rows replaced",
    "rows appended",
    "states written",
    "transaction to be committed",
    "transaction committed",
    "blocks to be kept",
    "checkpoint to be made",
    "checkpoint made",
    "database to be copied",
    "database copied",
    "migration",
    "database to be named",
    "cache file to be kept",
    "cache file kept",
];

/// What happens at the points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Each point that is reached is written down, a line each.
    Record(PathBuf),
    /// The process ends at this place; from there on, points are written down.
    Kill(Place, PathBuf),
}

/// Where the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the n-th point that is reached, counted from 1.
    Number(u64),
    /// The first time that it comes to one of [`POINTS`].
    Point(&'static str),
    /// So long after it came to one for the n-th time, counted from 1: within what follows the point.
    After(&'static str, u64, Duration),
}

impl FromStr for Plan {
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
                "`{text}` is no plan; give `record:FILE` or `kill:PLACE:FILE`"
            )),
        }
    }
}

impl FromStr for Place {
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
        let known = POINTS.iter().find(|point| **point == name);
        let point = *known.ok_or_else(|| {
            format!("`{name}` is neither the number nor the name of a point; give `NUMBER`, `NAME` or `NAME#NUMBER+MICROSECONDS`")
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
                format!("what follows `{name}#` is not `NUMBER+MICROSECONDS`, counted from 1")
            })
    }
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

struct Installed {
    reached: AtomicU64,
    /// How often it came to the point after which it ends.
    before_the_end: AtomicU64,
    record: File,
    kill_at: Option<Place>,
    /// Whether the place of the kill was reached.
    is_dying: AtomicBool,
}

/// Installs a plan, for the rest of the process's life; the first one counts.
///
/// # Errors
/// When the record can't be opened.
pub fn install(plan: &Plan) -> std::io::Result<()> {
    let (path, kill_at) = match plan {
        Plan::Record(path) => (path, None),
        Plan::Kill(place, path) => (path, Some(place.clone())),
    };
    let record = OpenOptions::new().append(true).create(true).open(path)?;
    INSTALLED.get_or_init(|| Installed {
        reached: AtomicU64::new(0),
        before_the_end: AtomicU64::new(0),
        record,
        kill_at,
        is_dying: AtomicBool::new(false),
    });
    Ok(())
}

/// The process is at this point.
#[inline]
pub fn reached(point: &'static str) {
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
        let delay = match &self.kill_at {
            None => return self.write_down(point),
            Some(Place::Number(at)) => (*at == number).then_some(Duration::ZERO),
            Some(Place::Point(at)) => (*at == point).then_some(Duration::ZERO),
            Some(Place::After(at, nth, delay)) => (*at == point
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
        // A test that misses a line fails by itself.
        let _ = (&self.record).write_all(format!("{point}\n").as_bytes());
    }
}

/// No destructor, no buffer and no exit handler has its turn.
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

    fn kill(place: Place) -> Result<Plan, String> {
        Ok(Plan::Kill(place, PathBuf::from("a:b")))
    }

    #[test]
    fn a_plan_names_a_place_by_number_by_name_or_by_the_time_after_it() {
        assert_eq!("record:f".parse(), Ok(Plan::Record(PathBuf::from("f"))));
        assert_eq!("kill:3:a:b".parse(), kill(Place::Number(3)));
        assert_eq!(
            "kill:scan done:a:b".parse(),
            kill(Place::Point("scan done"))
        );
        assert_eq!(
            "kill:checkpoint to be made#2+250:a:b".parse(),
            kill(Place::After(
                "checkpoint to be made",
                2,
                Duration::from_micros(250)
            ))
        );
    }

    #[test]
    fn what_is_no_plan_is_refused() {
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
            assert!(text.parse::<Plan>().is_err(), "`{text}` was taken");
        }
    }
}
