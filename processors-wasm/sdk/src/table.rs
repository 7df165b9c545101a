//! Tables, their rows, and how rows reach them.

use std::borrow::Cow;
use std::marker::PhantomData;

pub use crate::bindings::session_pipeline::processor::types::{
    Column, Kind as ColumnKind, Ownership, Table, Value,
};

use crate::Timestamp;
use crate::host::Host;
use crate::json::Json;

/// How many rows go to the host in one call.
const BATCH_ROWS: usize = 256;

/// How many bytes of rows are gathered at most, about; a row is at most as large again, and the
/// host takes sixteen times that in one call.
const BATCH_BYTES: usize = 1024 * 1024;

/// A row and the table that it belongs to. Made by [`rows!`](crate::rows).
pub trait Row {
    /// The table's name.
    const TABLE: &'static str;

    /// The table, as the manifest declares it.
    fn table() -> Table;

    /// The cells in the order of the columns.
    fn into_values(self) -> Vec<Value>;
}

/// What a cell of a row may be.
pub trait Cell {
    /// The type of its column.
    const KIND: ColumnKind;

    /// The cell as the host takes it.
    fn into_value(self) -> Value;
}

impl Cell for bool {
    const KIND: ColumnKind = ColumnKind::Bool;
    fn into_value(self) -> Value {
        Value::Bool(self)
    }
}

impl Cell for i64 {
    const KIND: ColumnKind = ColumnKind::S64;
    fn into_value(self) -> Value {
        Value::S64(self)
    }
}

impl Cell for u32 {
    const KIND: ColumnKind = ColumnKind::S64;
    fn into_value(self) -> Value {
        Value::S64(self.into())
    }
}

/// Counts: above the range of a column they stay at its end.
impl Cell for u64 {
    const KIND: ColumnKind = ColumnKind::S64;
    fn into_value(self) -> Value {
        Value::S64(i64::try_from(self).unwrap_or(i64::MAX))
    }
}

/// The host refuses what is not finite, so that becomes null.
impl Cell for f64 {
    const KIND: ColumnKind = ColumnKind::F64;
    fn into_value(self) -> Value {
        if self.is_finite() {
            Value::F64(self)
        } else {
            Value::Null
        }
    }
}

impl Cell for String {
    const KIND: ColumnKind = ColumnKind::Text;
    fn into_value(self) -> Value {
        Value::Text(self)
    }
}

impl Cell for &str {
    const KIND: ColumnKind = ColumnKind::Text;
    fn into_value(self) -> Value {
        Value::Text(self.to_owned())
    }
}

impl Cell for Cow<'_, str> {
    const KIND: ColumnKind = ColumnKind::Text;
    fn into_value(self) -> Value {
        Value::Text(self.into_owned())
    }
}

impl Cell for Timestamp {
    const KIND: ColumnKind = ColumnKind::Timestamp;
    fn into_value(self) -> Value {
        Value::Timestamp(self.micros())
    }
}

impl Cell for Json<'_> {
    const KIND: ColumnKind = ColumnKind::Json;
    fn into_value(self) -> Value {
        Value::Json(self.raw().to_owned())
    }
}

impl<T: Cell> Cell for Option<T> {
    const KIND: ColumnKind = T::KIND;
    fn into_value(self) -> Value {
        self.map_or(Value::Null, T::into_value)
    }
}

/// Defines a row together with its session-owned table.
///
/// The columns are the fields, by name, type and order; what fits is everything that implements
/// [`Cell`](crate::table::Cell). The struct may have one lifetime, so that rows can borrow.
///
/// ```
/// use session_pipeline_processor::table::{ColumnKind, Row};
/// use session_pipeline_processor::{Timestamp, rows};
///
/// rows! {
///     /// One call of a tool.
///     pub struct Call<'a> in "calls" {
///         /// The line that holds it.
///         line: u64,
///         tool: Option<&'a str>,
///         called_at: Option<Timestamp>,
///     }
/// }
///
/// let table = Call::table();
/// assert_eq!((table.name.as_str(), table.columns.len()), ("calls", 3));
/// assert_eq!(table.columns[2].kind, ColumnKind::Timestamp);
/// ```
#[macro_export]
macro_rules! rows {
    (
        $(#[$struct_meta:meta])*
        $visibility:vis struct $row:ident $(<$lifetime:lifetime>)? in $table:literal {
            $( $(#[$field_meta:meta])* $field:ident: $cell:ty ),+ $(,)?
        }
    ) => {
        $(#[$struct_meta])*
        $visibility struct $row $(<$lifetime>)? {
            $( $(#[$field_meta])* pub $field: $cell, )+
        }

        impl $(<$lifetime>)? $crate::table::Row for $row $(<$lifetime>)? {
            const TABLE: &'static str = $table;

            fn table() -> $crate::table::Table {
                $crate::table::Table {
                    name: ::std::string::String::from($table),
                    ownership: $crate::table::Ownership::Session,
                    columns: ::std::vec![$(
                        $crate::table::Column {
                            name: ::std::string::String::from(::std::stringify!($field)),
                            kind: <$cell as $crate::table::Cell>::KIND,
                        },
                    )+],
                }
            }

            fn into_values(self) -> ::std::vec::Vec<$crate::table::Value> {
                ::std::vec![$( $crate::table::Cell::into_value(self.$field), )+]
            }
        }
    };
}

/// Rows on their way to their table.
///
/// They go to the host in batches, the last of them when this is dropped. Until the session is
/// processed without error, nothing of it is kept.
pub struct Batch<'h, R: Row> {
    host: &'h dyn Host,
    rows: Vec<Vec<Value>>,
    bytes: usize,
    row: PhantomData<fn(R)>,
}

impl<'h, R: Row> Batch<'h, R> {
    pub(crate) fn new(host: &'h dyn Host) -> Self {
        Self {
            host,
            rows: Vec::new(),
            bytes: 0,
            row: PhantomData,
        }
    }

    /// Adds a row; the table keeps the order.
    pub fn insert(&mut self, row: R) {
        let values = row.into_values();
        self.bytes += values.iter().map(bytes_of).sum::<usize>();
        self.rows.push(values);
        if self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.rows.is_empty() {
            self.host.insert(R::TABLE, &self.rows);
            self.rows.clear();
            self.bytes = 0;
        }
    }
}

impl<R: Row> Drop for Batch<'_, R> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// About what a cell weighs on its way: the variant, and its text.
fn bytes_of(value: &Value) -> usize {
    let text = match value {
        Value::Text(text) | Value::Json(text) => text.len(),
        Value::Null | Value::Bool(_) | Value::S64(_) | Value::F64(_) | Value::Timestamp(_) => 0,
    };
    16 + text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::MemoryHost;

    rows! {
        struct Word<'a> in "words" {
            text: &'a str,
        }
    }

    #[test]
    fn rows_arrive_in_order_whatever_the_batches() {
        let host = MemoryHost::new(b"");
        let words: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
        let large = "z".repeat(BATCH_BYTES);
        {
            let mut batch = Batch::new(&host);
            for text in words.iter().chain([&large]) {
                batch.insert(Word { text });
            }
        }
        let rows = host.rows("words");
        assert_eq!(rows.len(), 1_001);
        assert!(matches!(&rows[999][..], [Value::Text(text)] if text == "999"));
    }
}
