//! The number of the last commit, in the database and beside it, so that a lost log is noticed.
//!
//! DuckDB opens a database whose log is gone, or ends too early, in the state of before and without
//! a word. So every commit bears a number, which is written into a file after it: the file may lag
//! behind the database, and never leads. Where it leads, commits were lost.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use duckdb::{Connection, params};
use session_pipeline_host::regular;

use crate::counters::{counter, next};
use crate::error::StoreError;

/// The file in `state`.
const FILE: &str = "commits";
/// The number of the last commit.
const COUNTER: &str = "commit";
/// No database is committed to more often: a file that says so is damaged.
pub(crate) const NUMBER_MAX: i64 = 1 << 40;

/// Counts commits, for the one who makes them.
#[derive(Debug)]
pub(crate) struct Commits {
    /// `None` in a database of an older version, which is only migrated and not written.
    last: Option<Cell<i64>>,
    /// `None` where it can't be written: then nothing is noticed.
    file: Option<File>,
}

impl Commits {
    /// Counts nothing.
    pub(crate) fn uncounted() -> Self {
        Self {
            last: None,
            file: None,
        }
    }

    /// Goes on from the last commit that the database or the file beside it knows; gives how many
    /// the database does not know of. They are made good before anything else is done.
    pub(crate) fn resume(
        connection: &Connection,
        state_dir: &Path,
    ) -> Result<(Self, u64), StoreError> {
        let known = counter(connection, COUNTER)?;
        if known.is_none() {
            connection
                .execute(
                    "INSERT INTO main.counters (value, name) VALUES (0, ?)",
                    [COUNTER],
                )
                .map_err(StoreError::database("to count its commits"))?;
        }
        let known = known.unwrap_or(0);
        if !(0..=NUMBER_MAX).contains(&known) {
            return Err(StoreError::Counter {
                name: COUNTER.to_owned(),
                value: known,
            });
        }
        let path = state_dir.join(FILE);
        let (told, file) = match read(&path) {
            Ok((told, file)) => (told, Some(file)),
            Err(error) => {
                tracing::warn!(
                    "`{}` can't be used ({error}), so that a lost log would not be noticed; check its permissions",
                    path.display()
                );
                (Told::Nothing, None)
            }
        };
        let lost = match told {
            Told::Nothing => 0,
            Told::Number(number) => number.saturating_sub(known).max(0),
            Told::Nonsense => {
                tracing::warn!(
                    "`{}` is damaged, so that nobody knows whether commits were lost; it is written anew",
                    path.display()
                );
                0
            }
        };
        let commits = Self {
            last: Some(Cell::new(known.saturating_add(lost))),
            file,
        };
        if lost == 0 {
            commits.write_beside(known);
        }
        Ok((commits, lost.unsigned_abs()))
    }

    /// The number of the commit that is about to be made, written into its transaction.
    pub(crate) fn raise(&self, connection: &Connection) -> Result<Option<i64>, StoreError> {
        let Some(last) = &self.last else {
            return Ok(None);
        };
        let next = next(COUNTER, last.get(), 1)?;
        connection
            .prepare_cached("UPDATE main.counters SET value = ? WHERE name = ?")
            .and_then(|mut statement| statement.execute(params![next, COUNTER]))
            .map_err(StoreError::database("the number of a commit"))?;
        Ok(Some(next))
    }

    /// The commit of that number was made.
    pub(crate) fn made(&self, number: Option<i64>) {
        if let (Some(last), Some(number)) = (&self.last, number) {
            last.set(number);
            self.write_beside(number);
        }
    }

    /// Not synced: what a power cut takes back only makes it lag.
    fn write_beside(&self, number: i64) {
        let Some(file) = &self.file else {
            return;
        };
        if let Err(error) = file.write_all_at(record(number).as_bytes(), 0) {
            tracing::debug!("the number of a commit was not written beside the database: {error}");
        }
    }
}

/// How many commits the file in a state folder tells of; `None` if there is none, or if it is not
/// as this program writes it. Changes nothing.
pub fn recorded_commits(state_dir: &Path) -> Option<u64> {
    let bytes = std::fs::read(state_dir.join(FILE)).ok()?;
    parse(&bytes).and_then(|number| u64::try_from(number).ok())
}

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// It was just made.
    Nothing,
    Number(i64),
    Nonsense,
}

/// The number, and beside it what it lacks to the largest one: so that neither is believed alone.
fn record(number: i64) -> String {
    format!("{number:020} {:020}\n", i64::MAX - number)
}

/// What the file says; what it can't mean is cut off, so that what is written stands alone.
fn read(path: &Path) -> io::Result<(Told, File)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = regular::open_with(options.mode(0o600), path)?;
    let mut bytes = Vec::new();
    (&mut file).take(64).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok((Told::Nothing, file));
    }
    let Some(number) = parse(&bytes) else {
        file.set_len(0)?;
        return Ok((Told::Nonsense, file));
    };
    Ok((Told::Number(number), file))
}

fn parse(bytes: &[u8]) -> Option<i64> {
    str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .filter(|number| (0..=NUMBER_MAX).contains(number))
        .filter(|number| record(*number).as_bytes() == bytes)
}
