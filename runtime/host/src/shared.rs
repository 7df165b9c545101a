//! Shared tables as a session sees them: what is committed, with its own pending rows over it.
//!
//! A look-up is checked and answered here. Where the committed rows lie is the affair of whoever
//! implements [`SharedRows`]: a session reaches them without knowing a database.

mod memory;
mod overlay;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;

use crate::fault::Fault;
use crate::manifest::TableSpec;
use crate::rows::Cell;

pub use memory::MemoryRows;
pub(crate) use overlay::{Answer, look_up};

/// Conditions that one look-up may have.
pub const FILTERS_MAX: usize = 32;
/// More rows than these are weighed before they are fetched: a row may have a megabyte.
const UNWEIGHED_ROWS_MAX: usize = 256;
/// Bytes of a key: what the database's own index takes, with room to spare.
pub const KEY_BYTES_MAX: usize = 1024;

/// The committed rows of a processor's shared tables.
///
/// Asked on a worker's thread in the middle of a session, which is confined where the kernel can do
/// it; an implementation holds no transaction between two calls.
pub trait SharedRows: fmt::Debug + Send + Sync {
    /// How many rows a table holds: what a look-up without its key has to read.
    ///
    /// # Errors
    /// A fault of kind `host` when they can't be read.
    fn count(&self, table: &TableSpec) -> Result<u64, Fault>;

    /// The first rows that a query finds, in its order, besides those of the keys that are
    /// replaced. Whoever asks for one key asks for one that is not.
    ///
    /// # Errors
    /// A fault of kind `output-limit` when they are weighed and too heavy, of kind `host`
    /// when they can't be read.
    fn find(&self, query: &Query<'_>, replaced: &[&str]) -> Result<Vec<FoundRow>, Fault>;

    /// When the rows of these keys were made, in microseconds; those that are not there are left
    /// out.
    ///
    /// # Errors
    /// A fault of kind `host` when they can't be read.
    fn created(&self, table: &TableSpec, keys: &[&str]) -> Result<HashMap<String, i64>, Fault>;
}

/// A checked look-up.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// A shared table.
    pub table: &'a TableSpec,
    /// Where its key stands among its columns.
    pub key: usize,
    /// All of them must hold.
    pub filters: &'a [Filter<'a>],
    /// By what the rows are ordered; rows that are equal in it are ordered by their key.
    pub order: OrderBy,
    /// Whether the largest comes first. Nulls come last all the same.
    pub descending: bool,
    /// Rows at most.
    pub rows_max: usize,
    /// Bytes at most of all rows together.
    pub bytes_max: u64,
}

impl Query<'_> {
    /// Whether what it finds is weighed before it is fetched. A few rows are not: what is left of
    /// them under the session's own is weighed by whoever asked.
    pub fn is_weighed(&self) -> bool {
        self.rows_max > UNWEIGHED_ROWS_MAX && self.wanted_key().is_none()
    }

    /// The one key that it asks for, so that an index leads to the row.
    pub fn wanted_key(&self) -> Option<&str> {
        self.filters.iter().find_map(|filter| match &filter.value {
            Cell::Text(key)
                if filter.column == self.key && filter.comparison == Comparison::Equal =>
            {
                Some(key.as_ref())
            }
            _ => None,
        })
    }
}

/// One condition.
#[derive(Clone, Debug)]
pub struct Filter<'a> {
    /// Which column.
    pub column: usize,
    /// How it compares with the value.
    pub comparison: Comparison,
    /// The value, of the column's kind, or null.
    pub value: Cell<'a>,
}

/// How a column compares with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// They are the same, or both null.
    Equal,
    /// They are not the same: a null differs from every value.
    NotEqual,
    /// Never with a null, like all that follow.
    Less,
    /// At most the value.
    LessOrEqual,
    /// Above the value.
    Greater,
    /// At least the value.
    GreaterOrEqual,
}

/// By what rows are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderBy {
    /// One of the table's columns.
    Column(usize),
    /// When the row was first committed.
    CreatedAt,
    /// When it was last committed.
    UpdatedAt,
}

/// A committed row.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundRow {
    /// One entry for each column of the table.
    pub cells: Vec<Cell<'static>>,
    /// What it is ordered by.
    pub ordered_by: Cell<'static>,
}

impl Filter<'_> {
    /// Whether a row fulfils it; the database's own judgement in other words.
    fn holds(&self, cell: &Cell<'_>) -> bool {
        let compared = cell.compare(&self.value);
        let are_same =
            compared == Some(Ordering::Equal) || (*cell == Cell::Null && self.value == Cell::Null);
        match self.comparison {
            Comparison::Equal => are_same,
            Comparison::NotEqual => !are_same,
            Comparison::Less => compared == Some(Ordering::Less),
            Comparison::LessOrEqual => compared.is_some_and(Ordering::is_le),
            Comparison::Greater => compared == Some(Ordering::Greater),
            Comparison::GreaterOrEqual => compared.is_some_and(Ordering::is_ge),
        }
    }
}
