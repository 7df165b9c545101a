//! Shared tables: rows that outlive their session and can be found by later sessions.
//!
//! Only a [serial](crate::Manifest::serial) processor can have them. Declare rows with their key by
//! [`rows!`](crate::rows). [`Session::upsert`](crate::Session::upsert) stores rows.
//! [`Session::lookup`](crate::Session::lookup) finds committed rows and the rows that this session
//! has upserted so far. If the session fails, its upserts are dropped.

use std::marker::PhantomData;

pub use crate::bindings::session_pipeline::processor::records::{Comparison, Filter};

use crate::Timestamp;
use crate::host::{Host, HostRef};
use crate::json::JsonText;
use crate::table::{Cell, Cells, OwnedValue, Row};

/// A row of a shared table. Implemented by [`rows!`](crate::rows).
pub trait SharedRow: Row + Sized {
    /// The column that is the key.
    const KEY: &'static str;

    /// The key of this row.
    fn key(&self) -> &str;

    /// Reads the cells in column order. An error names the column whose value has another type.
    fn read(cells: FoundCells) -> Result<Self, String>;
}

/// A type that a cell of a found row can be converted to.
pub trait FoundCell: Cell + Sized {
    /// Converts the cell, if it has a suitable value.
    fn from_value(value: OwnedValue) -> Option<Self>;
}

/// The cells of a found row, in column order.
pub struct FoundCells {
    table: &'static str,
    cells: std::vec::IntoIter<OwnedValue>,
}

/// A builder for a lookup in a shared table: see [`Session::lookup`](crate::Session::lookup).
#[must_use = "nothing is asked before `rows` or `first`"]
pub struct Lookup<'h, R> {
    host: HostRef<'h>,
    conditions: Vec<(String, Comparison)>,
    /// One entry per condition.
    values: Cells,
    order_by: Option<String>,
    is_descending: bool,
    limit: u32,
    row: PhantomData<fn() -> R>,
}

impl<'h, R: SharedRow> Lookup<'h, R> {
    pub(crate) fn new(host: HostRef<'h>) -> Self {
        Self {
            host,
            conditions: Vec::new(),
            values: Cells::default(),
            order_by: None,
            is_descending: false,
            limit: u32::MAX,
            row: PhantomData,
        }
    }

    /// Only rows whose column compares to the value in this way. Null equals null and differs from
    /// every value. It is neither less nor greater than any value.
    pub fn filter(mut self, column: &str, comparison: Comparison, value: impl Cell) -> Self {
        value.write(&mut self.values);
        self.conditions.push((column.to_owned(), comparison));
        self
    }

    /// Only rows whose column has this value.
    pub fn equal(self, column: &str, value: impl Cell) -> Self {
        self.filter(column, Comparison::Equal, value)
    }

    /// Only rows whose column has another value or none.
    pub fn not_equal(self, column: &str, value: impl Cell) -> Self {
        self.filter(column, Comparison::NotEqual, value)
    }

    /// Ascending order, with nulls last. The columns `created_at` and `updated_at` contain the time
    /// of a row's first and last commit. Without an order, and for equal values, rows are ordered
    /// by key.
    pub fn order_by(mut self, column: &str) -> Self {
        self.order_by = Some(column.to_owned());
        self
    }

    /// Descending order. Nulls still come last.
    pub fn descending(mut self) -> Self {
        self.is_descending = true;
        self
    }

    /// Most recently upserted rows first. Rows of this session come before all others.
    pub fn newest_first(self) -> Self {
        self.order_by("updated_at").descending()
    }

    /// Maximum number of rows. If the result exceeds the host's limit, the session fails. The
    /// result is never truncated silently.
    pub fn limit(mut self, rows: u32) -> Self {
        self.limit = rows;
        self
    }

    /// Runs the lookup and returns the rows in order.
    ///
    /// # Errors
    /// A row has a value that its struct cannot represent. For example, a column that a later
    /// version of the processor added is null in older rows, but its field is not an `Option`.
    pub fn rows(self) -> Result<Vec<R>, String> {
        let values = self.values.values();
        let conditions = self.conditions.iter().zip(values);
        let filters: Vec<Filter<'_>> = conditions
            .map(|((column, comparison), value)| Filter {
                column,
                comparison: *comparison,
                value,
            })
            .collect();
        let order_by = self.order_by.as_deref();
        let (is_descending, limit) = (self.is_descending, self.limit);
        let rows = Host::lookup(
            self.host,
            R::TABLE,
            &filters,
            order_by,
            is_descending,
            limit,
        );
        let row = |cells: Vec<OwnedValue>| {
            R::read(FoundCells {
                table: R::TABLE,
                cells: cells.into_iter(),
            })
        };
        rows.into_iter().map(row).collect()
    }

    /// Runs the lookup and returns the first row.
    ///
    /// # Errors
    /// See [`Lookup::rows`].
    pub fn first(self) -> Result<Option<R>, String> {
        Ok(self.limit(1).rows()?.into_iter().next())
    }
}

impl FoundCells {
    /// The next cell, which belongs to this column.
    ///
    /// # Errors
    /// The cell has a value of another type.
    pub fn next<T: FoundCell>(&mut self, column: &str) -> Result<T, String> {
        let value = self.cells.next().unwrap_or(OwnedValue::Null);
        let is_null = matches!(value, OwnedValue::Null);
        T::from_value(value).ok_or_else(|| {
            let found = if is_null { "null" } else { "another value" };
            format!(
                "a row of `{}` holds {found} in `{column}`, where {:?} is wanted",
                self.table,
                T::KIND
            )
        })
    }
}

impl FoundCell for bool {
    fn from_value(value: OwnedValue) -> Option<Self> {
        match value {
            OwnedValue::Bool(flag) => Some(flag),
            _ => None,
        }
    }
}

impl FoundCell for i64 {
    fn from_value(value: OwnedValue) -> Option<Self> {
        match value {
            OwnedValue::S64(number) => Some(number),
            _ => None,
        }
    }
}

impl FoundCell for u32 {
    fn from_value(value: OwnedValue) -> Option<Self> {
        i64::from_value(value).and_then(|number| number.try_into().ok())
    }
}

impl FoundCell for u64 {
    fn from_value(value: OwnedValue) -> Option<Self> {
        i64::from_value(value).and_then(|number| number.try_into().ok())
    }
}

impl FoundCell for f64 {
    fn from_value(value: OwnedValue) -> Option<Self> {
        match value {
            OwnedValue::F64(number) => Some(number),
            _ => None,
        }
    }
}

impl FoundCell for String {
    fn from_value(value: OwnedValue) -> Option<Self> {
        match value {
            OwnedValue::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl FoundCell for Timestamp {
    fn from_value(value: OwnedValue) -> Option<Self> {
        match value {
            OwnedValue::Timestamp(micros) => Self::from_micros(micros),
            _ => None,
        }
    }
}

impl FoundCell for JsonText {
    fn from_value(value: OwnedValue) -> Option<Self> {
        match value {
            OwnedValue::Json(text) => Self::new(text),
            _ => None,
        }
    }
}

impl<T: FoundCell> FoundCell for Option<T> {
    fn from_value(value: OwnedValue) -> Option<Self> {
        match value {
            OwnedValue::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}
