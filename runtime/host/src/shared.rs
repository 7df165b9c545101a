//! Shared tables as a session sees them: the committed rows, overlaid with its own pending rows.
//!
//! This module validates and runs lookups. Implementations of [`SharedRows`] provide the committed
//! rows, so that a session does not depend on a database.

mod memory;
mod overlay;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;

use crate::fault::Fault;
use crate::manifest::TableSpec;
use crate::rows::Cell;

pub use memory::MemoryRows;
pub(crate) use overlay::{OverlayRows, look_up};

/// Maximum number of filters per lookup.
pub const FILTERS_MAX: usize = 32;
/// If a lookup can return more rows than this, their size is checked before they are fetched,
/// because one row can have a megabyte.
const UNWEIGHED_ROWS_MAX: usize = 256;
/// Maximum length of a key in bytes. Stays well below the limit of the database's index.
pub const KEY_BYTES_MAX: usize = 1024;

/// The committed rows of a processor's shared tables.
///
/// Called on a worker's thread during a session. Where the kernel supports it, that thread is
/// confined. Implementations must not keep a transaction open between two calls.
pub trait SharedRows: fmt::Debug + Send + Sync {
    /// The number of rows in a table. A lookup without a key must read them all.
    ///
    /// # Errors
    /// A fault of kind `host` if the rows cannot be read.
    fn count(&self, table: &TableSpec) -> Result<u64, Fault>;

    /// Returns the first rows that match a query, in its order, except for rows with a key in
    /// `replaced`. If the query selects a single key, that key is not in `replaced`.
    ///
    /// # Errors
    /// A fault of kind `output-limit` if the size is checked and too large. A fault of kind `host`
    /// if the rows cannot be read.
    fn find(&self, query: &LookupQuery<'_>, replaced: &[&str]) -> Result<Vec<FoundRow>, Fault>;

    /// The creation times of the rows with these keys, in microseconds. Missing keys are omitted.
    ///
    /// # Errors
    /// A fault of kind `host` if the rows cannot be read.
    fn creation_times(
        &self,
        table: &TableSpec,
        keys: &[&str],
    ) -> Result<HashMap<String, i64>, Fault>;
}

/// A validated lookup.
#[derive(Clone, Debug)]
pub struct LookupQuery<'a> {
    /// The shared table.
    pub table: &'a TableSpec,
    /// The index of its key column.
    pub key: usize,
    /// The filters. A row must match all of them.
    pub filters: &'a [LookupFilter<'a>],
    /// The sort order. Rows that compare equal are sorted by their key.
    pub order: OrderBy,
    /// Whether the order is descending. Nulls come last in either order.
    pub descending: bool,
    /// Maximum number of rows.
    pub rows_max: usize,
    /// Maximum size of all rows together, in bytes.
    pub bytes_max: u64,
}

impl LookupQuery<'_> {
    /// Whether the size of the result is checked before it is fetched. For a few rows, the caller
    /// checks the size after it has overlaid the session's own rows.
    pub fn checks_size_first(&self) -> bool {
        self.rows_max > UNWEIGHED_ROWS_MAX && self.single_key().is_none()
    }

    /// The key, if the query selects a single key. The database then uses the index.
    pub fn single_key(&self) -> Option<&str> {
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
pub struct LookupFilter<'a> {
    /// The index of the column.
    pub column: usize,
    /// The comparison operator.
    pub comparison: Comparison,
    /// A value of the column's kind, or null.
    pub value: Cell<'a>,
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Both values are the same, or both are null.
    Equal,
    /// The values differ. Null differs from every other value.
    NotEqual,
    /// Less than the value. Never true for nulls, like the following operators.
    Less,
    /// Less than or equal to the value.
    LessOrEqual,
    /// Greater than the value.
    Greater,
    /// Greater than or equal to the value.
    GreaterOrEqual,
}

/// The sort key of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderBy {
    /// The index of a column.
    Column(usize),
    /// The time of the first commit.
    CreatedAt,
    /// The time of the last commit.
    UpdatedAt,
}

/// A committed row.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundRow {
    /// The cells, in column order.
    pub cells: Vec<Cell<'static>>,
    /// The value of the sort key.
    pub ordered_by: Cell<'static>,
}

impl LookupFilter<'_> {
    /// Whether a cell matches this filter. Must agree with the comparison in the database.
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
