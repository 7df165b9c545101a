//! The rows that a session recorded, stored by column. Execution produces them and a commit stores
//! them.
//!
//! A columnar layout fits both sides: the guest's values are dropped once they are checked, and the
//! database appends columns.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::manifest::{ColumnKind, TableSpec};

/// All rows of one session for one table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableRows {
    /// The number of rows.
    pub rows: usize,
    /// The columns, in the order of the table.
    pub columns: Vec<ColumnValues>,
}

impl TableRows {
    /// An empty set of rows for this table.
    pub fn new(table: &TableSpec) -> Self {
        Self {
            rows: 0,
            columns: table
                .columns
                .iter()
                .map(|column| ColumnValues::new(column.kind))
                .collect(),
        }
    }

    /// Appends rows of the same table.
    pub fn append(&mut self, other: &Self) {
        self.rows += other.rows;
        for (column, other) in self.columns.iter_mut().zip(&other.columns) {
            column.append(other);
        }
    }

    /// Maps each key of a shared table to its last row.
    pub fn last_row_by_key(&self, key_column: usize) -> HashMap<&str, usize> {
        match self.columns.get(key_column) {
            Some(ColumnValues::Text(keys)) => keys
                .iter()
                .enumerate()
                .filter_map(|(row, key)| Some((key?, row)))
                .collect(),
            _ => HashMap::new(),
        }
    }

    /// The approximate size in memory, in bytes.
    pub fn bytes(&self) -> u64 {
        let column_bytes = |column: &ColumnValues| match column {
            ColumnValues::Bool(values) => values.len(),
            ColumnValues::S64(values) | ColumnValues::Timestamp(values) => values.len() * 16,
            ColumnValues::F64(values) => values.len() * 16,
            ColumnValues::Text(values) => values.bytes.len() + values.ends.len() * 8,
        };
        self.columns
            .iter()
            .map(|column| column_bytes(column) as u64)
            .sum()
    }
}

/// The values of one column. `None` is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ColumnValues {
    /// Booleans.
    Bool(Vec<Option<bool>>),
    /// Signed integers.
    S64(Vec<Option<i64>>),
    /// Finite numbers.
    F64(Vec<Option<f64>>),
    /// Text, or JSON as text.
    Text(TextValues),
    /// Microseconds since the epoch.
    Timestamp(Vec<Option<i64>>),
}

impl ColumnValues {
    fn new(kind: ColumnKind) -> Self {
        match kind {
            ColumnKind::Bool => Self::Bool(Vec::new()),
            ColumnKind::S64 => Self::S64(Vec::new()),
            ColumnKind::F64 => Self::F64(Vec::new()),
            ColumnKind::Text | ColumnKind::Json => Self::Text(TextValues::default()),
            ColumnKind::Timestamp => Self::Timestamp(Vec::new()),
        }
    }

    /// The values in order.
    pub fn cells(&self) -> Box<dyn Iterator<Item = Cell<'_>> + '_> {
        fn of<'a, T: Copy>(
            values: &'a [Option<T>],
            cell: fn(T) -> Cell<'a>,
        ) -> Box<dyn Iterator<Item = Cell<'a>> + 'a> {
            let values = values.iter();
            Box::new(values.map(move |value| value.map_or(Cell::Null, cell)))
        }
        match self {
            Self::Bool(values) => of(values, Cell::Bool),
            Self::S64(values) => of(values, Cell::S64),
            Self::F64(values) => of(values, Cell::number),
            Self::Timestamp(values) => of(values, Cell::Timestamp),
            Self::Text(values) => Box::new(
                values
                    .iter()
                    .map(|text| text.map_or(Cell::Null, |text| Cell::Text(Cow::Borrowed(text)))),
            ),
        }
    }

    /// Appends values of the same type.
    fn append(&mut self, other: &Self) {
        match (self, other) {
            (Self::Bool(values), Self::Bool(other)) => values.extend_from_slice(other),
            (Self::S64(values), Self::S64(other))
            | (Self::Timestamp(values), Self::Timestamp(other)) => values.extend_from_slice(other),
            (Self::F64(values), Self::F64(other)) => values.extend_from_slice(other),
            (Self::Text(values), Self::Text(other)) => {
                other.iter().for_each(|text| values.push(text));
            }
            // All rows of a table have the same types.
            _ => {}
        }
    }

    /// Appends a null.
    pub fn push_null(&mut self) {
        match self {
            Self::Bool(values) => values.push(None),
            Self::S64(values) | Self::Timestamp(values) => values.push(None),
            Self::F64(values) => values.push(None),
            Self::Text(values) => values.push(None),
        }
    }
}

impl TableRows {
    /// The texts of a column. `None` if the column has another type.
    pub(crate) fn texts(&self, column: usize) -> Option<&TextValues> {
        match self.columns.get(column)? {
            ColumnValues::Text(texts) => Some(texts),
            _ => None,
        }
    }

    /// Replaces the texts of a column.
    pub(crate) fn replace_texts(&mut self, column: usize, texts: TextValues) {
        if let Some(values) = self.columns.get_mut(column) {
            *values = ColumnValues::Text(texts);
        }
    }
}

/// Texts in a single buffer, because a typical row has a dozen short ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextValues {
    bytes: String,
    /// The end offset of each text in `bytes`. `None` is null.
    ends: Vec<Option<u32>>,
}

impl TextValues {
    /// Appends a text or a null. A session records at most 64 MiB, so offsets fit into `u32`.
    pub fn push(&mut self, text: Option<&str>) {
        self.ends.push(text.map(|text| {
            self.bytes.push_str(text);
            u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
        }));
    }

    /// The texts in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            end.map(|end| {
                let end = end as usize;
                let text = self.bytes.get(start..end).unwrap_or_default();
                start = end;
                text
            })
        })
    }
}

/// The value of one column in one row. JSON is represented as text, because the column determines
/// the type.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Null.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    S64(i64),
    /// A finite number.
    F64(f64),
    /// Text or JSON.
    Text(Cow<'a, str>),
    /// Microseconds since the epoch.
    Timestamp(i64),
}

impl Cell<'_> {
    /// A finite number. Negative zero becomes zero: the two are equal, so the database returns
    /// whichever it met first.
    pub fn number(value: f64) -> Self {
        // Adding zero changes no other number.
        Self::F64(value + 0.0)
    }

    /// Copies borrowed text.
    pub fn into_owned(self) -> Cell<'static> {
        match self {
            Self::Null => Cell::Null,
            Self::Bool(value) => Cell::Bool(value),
            Self::S64(value) => Cell::S64(value),
            Self::F64(value) => Cell::F64(value),
            Self::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
            Self::Timestamp(micros) => Cell::Timestamp(micros),
        }
    }

    /// The approximate size in bytes that counts toward the row limits.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64 + 8,
            _ => 8,
        }
    }

    /// Compares two values of one column. `None` if one of them is null.
    pub(crate) fn compare(&self, other: &Cell<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Cell::Bool(b)) => Some(a.cmp(b)),
            (Self::S64(a), Cell::S64(b)) | (Self::Timestamp(a), Cell::Timestamp(b)) => {
                Some(a.cmp(b))
            }
            (Self::F64(a), Cell::F64(b)) => a.partial_cmp(b),
            // Bytewise, like the database.
            (Self::Text(a), Cell::Text(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}
