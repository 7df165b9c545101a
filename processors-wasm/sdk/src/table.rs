//! Tables, their rows, and writers for rows.

use std::borrow::Cow;
use std::marker::PhantomData;

pub use crate::bindings::session_pipeline::processor::types::{
    Column, Kind as ColumnKind, Ownership, Table, ValueParam as Value, ValueResult as OwnedValue,
};

use crate::Timestamp;
use crate::host::{Host, HostRef};
use crate::json::{Json, JsonText};

/// Maximum number of rows per host call.
const BATCH_ROWS: usize = 256;

/// Approximate maximum size of buffered rows. One more row can add the same amount, and the host
/// accepts 16 times this size per call.
const BATCH_BYTES: usize = 1024 * 1024;

/// A row with its table. Implemented by [`rows!`](crate::rows).
pub trait Row {
    /// The name of the table.
    const TABLE: &'static str;

    /// The declaration of the table for the manifest.
    fn table() -> Table;

    /// Writes the cells in column order.
    fn write(self, cells: &mut Cells);
}

/// A row of a session-owned table, which is inserted and never read. Implemented by
/// [`rows!`](crate::rows).
///
/// ```compile_fail
/// # use session_pipeline_processor::{Session, rows};
/// rows! {
///     struct Word in shared "words" by text {
///         text: String,
///     }
/// }
///
/// fn keep(session: &Session<'_>) {
///     // A shared row is upserted.
///     session.table().insert(Word { text: "a".to_owned() });
/// }
/// ```
pub trait SessionRow: Row {}

/// A type that a cell of a row can have.
pub trait Cell {
    /// The type of the column.
    const KIND: ColumnKind;

    /// Writes the cell.
    fn write(self, cells: &mut Cells);
}

/// A buffer for cells. All texts share one allocation.
#[derive(Default)]
pub struct Cells {
    cells: Vec<Gathered>,
    texts: String,
}

/// A cell, and the end of its text in the buffer. The text begins where the previous one ends.
#[derive(Clone, Copy)]
enum Gathered {
    Null,
    Bool(bool),
    S64(i64),
    F64(f64),
    Text { end: usize },
    Timestamp(i64),
    Json { end: usize },
}

impl Cells {
    fn push(&mut self, cell: Gathered) {
        self.cells.push(cell);
    }

    /// Appends a text. Returns its end.
    fn keep(&mut self, text: &str) -> usize {
        self.texts.push_str(text);
        self.texts.len()
    }

    pub(crate) fn count(&self) -> usize {
        self.cells.len()
    }

    /// The approximate size for the host: the variants and the texts.
    fn bytes(&self) -> usize {
        16 * self.cells.len() + self.texts.len()
    }

    fn clear(&mut self) {
        self.cells.clear();
        self.texts.clear();
    }

    /// Converts the cells for the host.
    pub(crate) fn values(&self) -> Vec<Value<'_>> {
        let mut start = 0;
        let mut text_to = |end: usize| {
            let text = &self.texts[start..end];
            start = end;
            text
        };
        let values = self.cells.iter().map(|cell| match *cell {
            Gathered::Null => Value::Null,
            Gathered::Bool(flag) => Value::Bool(flag),
            Gathered::S64(number) => Value::S64(number),
            Gathered::F64(number) => Value::F64(number),
            Gathered::Text { end } => Value::Text(text_to(end)),
            Gathered::Timestamp(micros) => Value::Timestamp(micros),
            Gathered::Json { end } => Value::Json(text_to(end)),
        });
        values.collect()
    }
}

impl Cell for bool {
    const KIND: ColumnKind = ColumnKind::Bool;
    fn write(self, cells: &mut Cells) {
        cells.push(Gathered::Bool(self));
    }
}

impl Cell for i64 {
    const KIND: ColumnKind = ColumnKind::S64;
    fn write(self, cells: &mut Cells) {
        cells.push(Gathered::S64(self));
    }
}

impl Cell for u32 {
    const KIND: ColumnKind = ColumnKind::S64;
    fn write(self, cells: &mut Cells) {
        cells.push(Gathered::S64(self.into()));
    }
}

/// Counts saturate at the maximum of the column.
impl Cell for u64 {
    const KIND: ColumnKind = ColumnKind::S64;
    fn write(self, cells: &mut Cells) {
        cells.push(Gathered::S64(i64::try_from(self).unwrap_or(i64::MAX)));
    }
}

/// The host rejects values that are not finite, so they become null.
impl Cell for f64 {
    const KIND: ColumnKind = ColumnKind::F64;
    fn write(self, cells: &mut Cells) {
        cells.push(if self.is_finite() {
            Gathered::F64(self)
        } else {
            Gathered::Null
        });
    }
}

impl Cell for String {
    const KIND: ColumnKind = ColumnKind::Text;
    fn write(self, cells: &mut Cells) {
        self.as_str().write(cells);
    }
}

impl Cell for &str {
    const KIND: ColumnKind = ColumnKind::Text;
    fn write(self, cells: &mut Cells) {
        let end = cells.keep(self);
        cells.push(Gathered::Text { end });
    }
}

impl Cell for Cow<'_, str> {
    const KIND: ColumnKind = ColumnKind::Text;
    fn write(self, cells: &mut Cells) {
        self.as_ref().write(cells);
    }
}

impl Cell for Timestamp {
    const KIND: ColumnKind = ColumnKind::Timestamp;
    fn write(self, cells: &mut Cells) {
        cells.push(Gathered::Timestamp(self.micros()));
    }
}

impl Cell for Json<'_> {
    const KIND: ColumnKind = ColumnKind::Json;
    fn write(self, cells: &mut Cells) {
        // The host stores no damaged values.
        let is_whole = Json::parse(self.raw()).is_some();
        let end = cells.keep(if is_whole { self.raw() } else { "null" });
        cells.push(Gathered::Json { end });
    }
}

impl Cell for JsonText {
    const KIND: ColumnKind = ColumnKind::Json;
    fn write(self, cells: &mut Cells) {
        self.json().write(cells);
    }
}

impl<T: Cell> Cell for Option<T> {
    const KIND: ColumnKind = T::KIND;
    fn write(self, cells: &mut Cells) {
        match self {
            Some(cell) => cell.write(cells),
            None => cells.push(Gathered::Null),
        }
    }
}

/// Defines a row and its table.
///
/// The columns are the fields, with their names, types and order. A field can have any type that
/// implements [`Cell`](crate::table::Cell).
///
/// The rows of a session-owned table belong to the session that wrote them. The struct can have one
/// lifetime parameter, so that rows can borrow.
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
///
/// A shared table has a key: a field of type `String`. Its rows outlive sessions and are read
/// again, so they own their data. A field can have any type that implements
/// [`FoundCell`](crate::shared::FoundCell).
///
/// ```
/// use session_pipeline_processor::rows;
/// use session_pipeline_processor::shared::SharedRow;
///
/// rows! {
///     /// A tool, and how often it was seen.
///     pub struct Tool in shared "tools" by name {
///         name: String,
///         calls: u64,
///         last_session: Option<String>,
///     }
/// }
///
/// let tool = Tool { name: "Bash".to_owned(), calls: 1, last_session: None };
/// assert_eq!((Tool::KEY, tool.key()), ("name", "Bash"));
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

        impl $(<$lifetime>)? $crate::table::SessionRow for $row $(<$lifetime>)? {}

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

            fn write(self, cells: &mut $crate::table::Cells) {
                $( $crate::table::Cell::write(self.$field, cells); )+
            }
        }
    };
    (
        $(#[$struct_meta:meta])*
        $visibility:vis struct $row:ident in shared $table:literal by $key:ident {
            $( $(#[$field_meta:meta])* $field:ident: $cell:ty ),+ $(,)?
        }
    ) => {
        $(#[$struct_meta])*
        $visibility struct $row {
            $( $(#[$field_meta])* pub $field: $cell, )+
        }

        impl $crate::table::Row for $row {
            const TABLE: &'static str = $table;

            fn table() -> $crate::table::Table {
                $crate::table::Table {
                    name: ::std::string::String::from($table),
                    ownership: $crate::table::Ownership::Shared(
                        ::std::string::String::from(::std::stringify!($key)),
                    ),
                    columns: ::std::vec![$(
                        $crate::table::Column {
                            name: ::std::string::String::from(::std::stringify!($field)),
                            kind: <$cell as $crate::table::Cell>::KIND,
                        },
                    )+],
                }
            }

            fn write(self, cells: &mut $crate::table::Cells) {
                $( $crate::table::Cell::write(self.$field, cells); )+
            }
        }

        impl $crate::shared::SharedRow for $row {
            const KEY: &'static str = ::std::stringify!($key);

            fn key(&self) -> &str {
                let key: &::std::string::String = &self.$key;
                key
            }

            fn read(
                mut cells: $crate::shared::FoundCells,
            ) -> ::std::result::Result<Self, ::std::string::String> {
                ::std::result::Result::Ok(Self {
                    $( $field: cells.next(::std::stringify!($field))?, )+
                })
            }
        }
    };
}

/// A writer that sends rows to a table in batches.
///
/// It sends the last batch when it is dropped. Rows are stored only if the session is processed
/// without an error.
pub struct Batch<'h, R: SessionRow> {
    host: HostRef<'h>,
    cells: Cells,
    /// The index after the last cell of each row.
    row_ends: Vec<usize>,
    row: PhantomData<fn(R)>,
}

impl<'h, R: SessionRow> Batch<'h, R> {
    pub(crate) fn new(host: HostRef<'h>) -> Self {
        Self {
            host,
            cells: Cells::default(),
            row_ends: Vec::new(),
            row: PhantomData,
        }
    }

    /// Appends a row. The table keeps the order.
    pub fn insert(&mut self, row: R) {
        row.write(&mut self.cells);
        self.row_ends.push(self.cells.cells.len());
        if self.row_ends.len() >= BATCH_ROWS || self.cells.bytes() >= BATCH_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.row_ends.is_empty() {
            return;
        }
        let values = self.cells.values();
        let mut start = 0;
        let row_to = |end: &usize| {
            let row = &values[start..*end];
            start = *end;
            row
        };
        let rows: Vec<&[Value<'_>]> = self.row_ends.iter().map(row_to).collect();
        Host::insert(self.host, R::TABLE, &rows);
        self.cells.clear();
        self.row_ends.clear();
    }
}

impl<R: SessionRow> Drop for Batch<'_, R> {
    fn drop(&mut self) {
        self.flush();
    }
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
        assert!(matches!(&rows[999][..], [OwnedValue::Text(text)] if text == "999"));
    }

    /// The host counts the cells of a row, so every cell must arrive unchanged.
    #[test]
    fn a_cell_that_writes_two_spoils_its_row_and_no_other() {
        struct Pair(bool);
        impl Cell for Pair {
            const KIND: ColumnKind = ColumnKind::S64;
            fn write(self, cells: &mut Cells) {
                (0..1 + u32::from(self.0)).for_each(|number| number.write(cells));
            }
        }
        rows! {
            struct Twin in "twins" {
                pair: Pair,
            }
        }
        let host = MemoryHost::new(b"");
        {
            let mut batch = Batch::new(&host);
            for is_two in [false, true, false] {
                batch.insert(Twin { pair: Pair(is_two) });
            }
        }
        let lengths: Vec<usize> = host.rows("twins").iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 2, 1]);
    }
}
