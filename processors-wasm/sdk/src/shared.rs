//! Shared tables: rows that outlive their session, found again by whoever comes later.
//!
//! Only a [serial](crate::Manifest::serial) processor may have them. Rows are declared by
//! [`rows!`](crate::rows) with their key; [`Session::upsert`](crate::Session::upsert) keeps them,
//! [`Session::lookup`](crate::Session::lookup) finds them: what is committed, and what this
//! session has upserted so far. Nothing of it is kept where the session fails.

use std::marker::PhantomData;

pub use crate::bindings::session_pipeline::processor::records::{Comparison, Filter};

use crate::Timestamp;
use crate::host::{Host, HostRef};
use crate::json::JsonText;
use crate::table::{Cell, Cells, OwnedValue, Row};

/// A row of a shared table. Made by [`rows!`](crate::rows).
pub trait SharedRow: Row + Sized {
    /// The column that is the key.
    const KEY: &'static str;

    /// The row's own key.
    fn key(&self) -> &str;

    /// Reads the cells in the order of the columns. An error names the column that holds something
    /// else.
    fn read(cells: FoundCells) -> Result<Self, String>;
}

/// What a cell of a row that was found can become.
pub trait FoundCell: Cell + Sized {
    /// The cell, if it holds such a value.
    fn from_value(value: OwnedValue) -> Option<Self>;
}

/// The cells of a row that was found, one after the other.
pub struct FoundCells {
    table: &'static str,
    cells: std::vec::IntoIter<OwnedValue>,
}

/// A question to a shared table, put together step by step: see
/// [`Session::lookup`](crate::Session::lookup).
#[must_use = "nothing is asked before `rows` or `first`"]
pub struct Lookup<'h, R> {
    host: HostRef<'h>,
    conditions: Vec<(String, Comparison)>,
    /// One for each condition.
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

    /// Only rows whose column compares so with the value. A null is equal to null and differs from
    /// every value; it is neither above nor below anything.
    pub fn filter(mut self, column: &str, comparison: Comparison, value: impl Cell) -> Self {
        value.write(&mut self.values);
        self.conditions.push((column.to_owned(), comparison));
        self
    }

    /// Only rows whose column holds this value.
    pub fn equal(self, column: &str, value: impl Cell) -> Self {
        self.filter(column, Comparison::Equal, value)
    }

    /// Only rows whose column holds another value, or none.
    pub fn not_equal(self, column: &str, value: impl Cell) -> Self {
        self.filter(column, Comparison::NotEqual, value)
    }

    /// The smallest first, rows without a value last. Besides the table's columns there are
    /// `created_at` and `updated_at`, when a row was first and last committed; without any order
    /// rows are ordered by their key, and so are those that are equal.
    pub fn order_by(mut self, column: &str) -> Self {
        self.order_by = Some(column.to_owned());
        self
    }

    /// The largest first; rows without a value come last all the same.
    pub fn descending(mut self) -> Self {
        self.is_descending = true;
        self
    }

    /// Those that were upserted last come first, this session's own before all others.
    pub fn newest_first(self) -> Self {
        self.order_by("updated_at").descending()
    }

    /// So many rows at most. More than the host's own limit is a fault, and not cut silently.
    pub fn limit(mut self, rows: u32) -> Self {
        self.limit = rows;
        self
    }

    /// Asks, and gives the rows in order.
    ///
    /// # Errors
    /// When a row holds something that its struct can't: a null that an earlier version of the
    /// processor left in a column that came later, for instance, where the field is no `Option`.
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

    /// Asks for the first row alone.
    ///
    /// # Errors
    /// As [`Lookup::rows`].
    pub fn first(self) -> Result<Option<R>, String> {
        Ok(self.limit(1).rows()?.into_iter().next())
    }
}

impl FoundCells {
    /// The next cell, which is that of this column.
    ///
    /// # Errors
    /// When it holds something else.
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
