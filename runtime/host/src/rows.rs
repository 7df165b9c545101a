//! The rows that a session recorded, column by column: what executing hands to committing.
//!
//! Columns rather than rows, since the guest's values are dropped as soon as they are checked and
//! the database takes columns.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::manifest::{Kind, TableSpec};

/// All rows of one session for one table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableRows {
    /// How many rows.
    pub rows: usize,
    /// One entry for each column of the table, in its order.
    pub columns: Vec<ColumnValues>,
}

impl TableRows {
    /// No rows yet.
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

    /// Of the rows of a shared table, the last one of each key: which row it is.
    pub fn latest(&self, key_column: usize) -> HashMap<&str, usize> {
        match self.columns.get(key_column) {
            Some(ColumnValues::Text(keys)) => keys
                .iter()
                .enumerate()
                .filter_map(|(row, key)| Some((key?, row)))
                .collect(),
            _ => HashMap::new(),
        }
    }

    /// About what they take in memory.
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

/// The values of one column; `None` is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ColumnValues {
    /// Truth values.
    Bool(Vec<Option<bool>>),
    /// Integers.
    S64(Vec<Option<i64>>),
    /// Finite numbers.
    F64(Vec<Option<f64>>),
    /// Text, and JSON as text.
    Text(TextValues),
    /// Microseconds since the epoch.
    Timestamp(Vec<Option<i64>>),
}

impl ColumnValues {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::Bool(Vec::new()),
            Kind::S64 => Self::S64(Vec::new()),
            Kind::F64 => Self::F64(Vec::new()),
            Kind::Text | Kind::Json => Self::Text(TextValues::default()),
            Kind::Timestamp => Self::Timestamp(Vec::new()),
        }
    }

    /// The values in order, one by one.
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
            Self::F64(values) => of(values, Cell::F64),
            Self::Timestamp(values) => of(values, Cell::Timestamp),
            Self::Text(values) => Box::new(
                values
                    .iter()
                    .map(|text| text.map_or(Cell::Null, |text| Cell::Text(Cow::Borrowed(text)))),
            ),
        }
    }

    /// Adds a null.
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
    /// The texts of a column with its kind; `None` where it holds others.
    pub(crate) fn texts(&self, column: usize) -> Option<&TextValues> {
        match self.columns.get(column)? {
            ColumnValues::Text(texts) => Some(texts),
            _ => None,
        }
    }

    /// Puts other texts in the place of a column's.
    pub(crate) fn replace_texts(&mut self, column: usize, texts: TextValues) {
        if let Some(values) = self.columns.get_mut(column) {
            *values = ColumnValues::Text(texts);
        }
    }
}

/// Texts in one buffer: a row of usage has a dozen short ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextValues {
    bytes: String,
    /// The end of each text in `bytes`; `None` for null.
    ends: Vec<Option<u32>>,
}

impl TextValues {
    /// Adds a text or a null. A session records at most 64 MiB, so offsets fit.
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

/// The value of one column in one row. JSON is text here: its column says what it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Absent.
    Null,
    /// A truth value.
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
    /// The same for longer.
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

    /// About what it weighs, as it is counted when a row is recorded.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64 + 8,
            _ => 8,
        }
    }

    /// How two values of one column compare; `None` where one of them is null.
    pub(crate) fn compare(&self, other: &Cell<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Cell::Bool(b)) => Some(a.cmp(b)),
            (Self::S64(a), Cell::S64(b)) | (Self::Timestamp(a), Cell::Timestamp(b)) => {
                Some(a.cmp(b))
            }
            (Self::F64(a), Cell::F64(b)) => a.partial_cmp(b),
            // By bytes, as the database compares them.
            (Self::Text(a), Cell::Text(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}
