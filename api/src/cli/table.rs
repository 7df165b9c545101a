//! Formats tables, numbers and times as text.

use comfy_table::{CellAlignment, Table, presets};
use session_pipeline_host::clock::UtcMicros;

/// A table without borders. The first column is left-aligned, the others are right-aligned.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// The maximum padded width of a column, so that one long cell does not widen every row.
const COLUMN_CHARS_MAX: usize = 64;

/// A table that is formatted page by page, for hundreds of thousands of rows. [`table`] needs kilobytes
/// of memory per row. The first page sets the column widths. A longer cell shifts the rest of its row.
pub(super) struct LongTable<const N: usize> {
    header: [&'static str; N],
    widths: Option<[usize; N]>,
    /// Columns from the left that are aligned to the left.
    texts: usize,
}

impl<const N: usize> LongTable<N> {
    pub(super) fn new(header: [&'static str; N]) -> Self {
        Self {
            header,
            widths: None,
            texts: 1,
        }
    }

    /// Aligns this many columns to the left.
    pub(super) fn with_texts(self, texts: usize) -> Self {
        Self { texts, ..self }
    }

    /// The next rows, each with a line break at its end; the first page begins with the header.
    pub(super) fn page(&mut self, rows: &[[String; N]]) -> String {
        let width_of = |cell: &str| cell.chars().count();
        let is_first = self.widths.is_none();
        let widths = *self.widths.get_or_insert_with(|| {
            let mut widths = self.header.map(width_of);
            for row in rows {
                for (width, cell) in widths.iter_mut().zip(row) {
                    *width = (*width).max(width_of(cell).min(COLUMN_CHARS_MAX));
                }
            }
            widths
        });
        let mut text = String::new();
        let header = self.header.map(str::to_owned);
        for row in std::iter::once(&header).filter(|_| is_first).chain(rows) {
            for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
                let padding = " ".repeat(width - width_of(cell).min(width));
                if index > 0 {
                    text.push_str("  ");
                }
                match index < self.texts {
                    true => text.extend([cell.as_str(), padding.as_str()]),
                    false => text.extend([padding.as_str(), cell.as_str()]),
                }
            }
            text.push('\n');
        }
        text
    }
}

/// An integer with spaces between groups of three digits: `1 234 567`.
pub(super) fn number(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    if value < 0 {
        format!("-{grouped}")
    } else {
        grouped
    }
}

/// A size in bytes with a decimal unit: `12.3 MB`.
pub(super) fn bytes(value: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if value < 1000 {
        return format!("{value} B");
    }
    let mut scaled = value as f64 / 1000.0;
    let mut unit = UNITS.iter();
    let mut name = unit.next().unwrap_or(&"KB");
    for next in unit {
        if scaled < 999.95 {
            break;
        }
        scaled /= 1000.0;
        name = next;
    }
    format!("{scaled:.1} {name}")
}

/// An instant without its fraction of a second: `2026-01-12T09:30:00Z`.
pub(super) fn timestamp(at: UtcMicros) -> String {
    UtcMicros(at.0.saturating_sub(at.0.rem_euclid(1_000_000))).to_string()
}

/// A count with its noun: `1 session`, `2 sessions`.
pub(super) fn count_of(count: u64, one: &str, many: &str) -> String {
    let noun = if count == 1 { one } else { many };
    format!(
        "{} {noun}",
        number(i64::try_from(count).unwrap_or(i64::MAX))
    )
}

/// One line per name and value, with aligned values. Names without a value are omitted.
pub(super) fn field_list(indent: &str, fields: &[(&str, Option<String>)]) -> String {
    let fields = || {
        let all = fields.iter();
        all.filter_map(|(name, value)| Some((name, value.as_ref()?)))
    };
    let width = fields().map(|(name, _)| name.len()).max().unwrap_or(0);
    fields()
        .map(|(name, value)| format!("{indent}{name:width$}  {value}"))
        .collect::<Vec<_>>()
        .join("\n")
}
