//! The number of the last commit, stored in the database and in a file next to it, to detect a lost
//! log.
//!
//! If the log is missing or truncated, DuckDB opens the database in an older state and reports no
//! error. Therefore, every commit has a number, which is written to a file after the commit. The
//! file can lag behind the database, but it is never ahead unless commits were lost.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use duckdb::{Connection, params};
use session_pipeline_host::regular;

use crate::counters::{counter, next};
use crate::error::StoreError;

/// The name of the file in `state`.
const FILE: &str = "commits";
/// The counter with the number of the last commit.
const COUNTER: &str = "commit";
/// No database has more commits than this. A file with a larger number is damaged.
pub(crate) const NUMBER_MAX: i64 = 1 << 40;

/// Numbers the commits of the writer.
#[derive(Debug)]
pub(crate) struct Commits {
    /// `None` for a database with an older schema, which is migrated but not written.
    last: Option<Cell<i64>>,
    /// `None` if the file cannot be written. Lost commits are then not detected.
    file: Option<File>,
}

impl Commits {
    /// Creates an instance that does not number commits.
    pub(crate) fn uncounted() -> Self {
        Self {
            last: None,
            file: None,
        }
    }

    /// Continues after the last commit that the database or the file has recorded. Returns the
    /// number of lost commits. The caller must recover from them before it writes anything else.
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
                .map_err(StoreError::database("read the commit number"))?;
        }
        let known = known.unwrap_or(0);
        if !(0..=NUMBER_MAX).contains(&known) {
            return Err(StoreError::Counter {
                name: COUNTER.to_owned(),
                value: known,
            });
        }
        let path = state_dir.join(FILE);
        let (content, file) = match read(&path) {
            Ok((content, file)) => (content, Some(file)),
            Err(error) => {
                tracing::warn!(
                    "cannot use `{}` ({error}), so lost commits will not be detected; check its permissions",
                    path.display()
                );
                (FileContent::Empty, None)
            }
        };
        let lost = match content {
            FileContent::Empty => 0,
            FileContent::Number(number) => number.saturating_sub(known).max(0),
            FileContent::Damaged => {
                tracing::warn!(
                    "`{}` is damaged, so it is unknown whether commits were lost; the file is recreated",
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
            commits.write_file(known);
        }
        Ok((commits, lost.unsigned_abs()))
    }

    /// The number of the next commit. Writes it to the database in the current transaction.
    pub(crate) fn raise(&self, connection: &Connection) -> Result<Option<i64>, StoreError> {
        let Some(last) = &self.last else {
            return Ok(None);
        };
        let next = next(COUNTER, last.get(), 1)?;
        connection
            .prepare_cached("UPDATE main.counters SET value = ? WHERE name = ?")
            .and_then(|mut statement| statement.execute(params![next, COUNTER]))
            .map_err(StoreError::database("record a commit number"))?;
        Ok(Some(next))
    }

    /// Records that the commit with this number succeeded.
    pub(crate) fn record_committed(&self, number: Option<i64>) {
        if let (Some(last), Some(number)) = (&self.last, number) {
            last.set(number);
            self.write_file(number);
        }
    }

    /// Does not sync the file. After a power failure, the file only lags behind.
    fn write_file(&self, number: i64) {
        let Some(file) = &self.file else {
            return;
        };
        if let Err(error) = file.write_all_at(record(number).as_bytes(), 0) {
            tracing::debug!("cannot write the number of a commit to its file: {error}");
        }
    }
}

/// The number of commits that the file in a state folder has recorded. `None` if the file is
/// missing or damaged. Changes nothing.
pub fn recorded_commits(state_dir: &Path) -> Option<u64> {
    let bytes = std::fs::read(state_dir.join(FILE)).ok()?;
    parse(&bytes).and_then(|number| u64::try_from(number).ok())
}

/// The content of the file.
#[derive(Debug, PartialEq, Eq)]
enum FileContent {
    /// The file was just created.
    Empty,
    Number(i64),
    Damaged,
}

/// The number and its complement. A damaged file does not have a matching pair.
fn record(number: i64) -> String {
    format!("{number:020} {:020}\n", i64::MAX - number)
}

/// Reads the file. Truncates a damaged file, so that the next write does not leave old bytes behind
/// it.
fn read(path: &Path) -> io::Result<(FileContent, File)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = regular::open_with(options.mode(0o600), path)?;
    let mut bytes = Vec::new();
    (&mut file).take(64).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok((FileContent::Empty, file));
    }
    let Some(number) = parse(&bytes) else {
        file.set_len(0)?;
        return Ok((FileContent::Damaged, file));
    };
    Ok((FileContent::Number(number), file))
}

fn parse(bytes: &[u8]) -> Option<i64> {
    str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .filter(|number| (0..=NUMBER_MAX).contains(number))
        .filter(|number| record(*number).as_bytes() == bytes)
}
