//! Formats tables, numbers and times as text.

mod layout;

use session_pipeline_host::clock::UtcMicros;

use layout::{Column, fit, push_row, terminal_width, width_of};

/// A table without borders. The first column is a text, the others are aligned to the right.
///
/// On a terminal that is too narrow, texts are shortened.
pub(super) struct TextTable {
    header: Vec<String>,
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// Creates a table with these columns.
pub(super) fn table(header: &[&str]) -> TextTable {
    let columns = header.iter().map(|name| Column {
        header_width: width_of(name),
        width: width_of(name),
        ..Column::default()
    });
    let table = TextTable {
        header: header.iter().map(|name| (*name).to_owned()).collect(),
        columns: columns.collect(),
        rows: Vec::new(),
    };
    table.with_texts(&header.iter().take(1).copied().collect::<Vec<_>>())
}

impl TextTable {
    /// Aligns columns to the left, and shortens their cells if the terminal is too narrow.
    pub(super) fn with_texts(self, names: &[&str]) -> Self {
        self.with(names, |column| {
            column.is_left = true;
            column.is_text = true;
        })
    }

    /// Shortens the cells of columns if the terminal is too narrow.
    pub(super) fn with_shortened(self, names: &[&str]) -> Self {
        self.with(names, |column| column.is_text = true)
    }

    fn with(mut self, names: &[&str], change: impl Fn(&mut Column)) -> Self {
        let columns = self.header.iter().zip(&mut self.columns);
        for (_, column) in columns.filter(|(name, _)| names.contains(&name.as_str())) {
            change(column);
        }
        self
    }

    /// Adds a row.
    pub(super) fn add_row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines of the table for standard output, without a line break at the end.
    pub(super) fn render(self) -> String {
        self.render_to(terminal_width())
    }

    fn render_to(mut self, available: Option<usize>) -> String {
        for row in &self.rows {
            for (cell, column) in row.iter().zip(&mut self.columns) {
                column.width = column.width.max(width_of(cell));
            }
        }
        if let Some(available) = available {
            fit(&mut self.columns, available);
        }
        let mut text = String::new();
        for row in std::iter::once(&self.header).chain(&self.rows) {
            let cells = row.iter().map(String::as_str);
            push_row(&mut text, &self.columns, cells, available.is_some());
        }
        text.truncate(text.trim_end_matches('\n').len());
        text
    }
}

/// The maximum width of a column of a [`LongTable`] that is not on a terminal, so that one long cell
/// does not widen every row.
const COLUMN_WIDTH_MAX: usize = 64;

/// A table that is formatted page by page, for hundreds of thousands of rows. The first page sets
/// the column widths. On a terminal, longer texts are shortened. Otherwise, a longer cell shifts the
/// rest of its row.
pub(super) struct LongTable<const N: usize> {
    header: [&'static str; N],
    columns: [Column; N],
    available: Option<usize>,
    is_first: bool,
}

impl<const N: usize> LongTable<N> {
    pub(super) fn new(header: [&'static str; N]) -> Self {
        Self {
            header,
            columns: header.map(|name| Column {
                header_width: width_of(name),
                width: width_of(name),
                ..Column::default()
            }),
            available: terminal_width(),
            is_first: true,
        }
        .with_texts(header.get(..1).unwrap_or_default())
    }

    /// Aligns columns to the left, and shortens their cells on a terminal.
    pub(super) fn with_texts(mut self, names: &[&str]) -> Self {
        for (name, column) in self.header.iter().zip(&mut self.columns) {
            if names.contains(name) {
                column.is_left = true;
                column.is_text = true;
            }
        }
        self
    }

    /// The next rows, each with a line break at its end; the first page begins with the header.
    pub(super) fn page(&mut self, rows: &[[String; N]]) -> String {
        let mut text = String::new();
        if self.is_first {
            self.is_first = false;
            let cell_width_max = self.available.map_or(COLUMN_WIDTH_MAX, |_| usize::MAX);
            for row in rows {
                for (cell, column) in row.iter().zip(&mut self.columns) {
                    column.width = column.width.max(width_of(cell).min(cell_width_max));
                }
            }
            if let Some(available) = self.available {
                fit(&mut self.columns, available);
            }
            push_row(&mut text, &self.columns, self.header, false);
        }
        for row in rows {
            let cells = row.iter().map(String::as_str);
            push_row(&mut text, &self.columns, cells, self.available.is_some());
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
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    format!("{} {}", number(count), plural(count, one, many))
}

/// The noun for a count.
pub(super) fn plural<'a>(count: i64, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_on_a_narrow_terminal_has_short_texts_and_complete_figures() {
        let report = || {
            let mut table = table(&["project", "cost", "messages"]);
            table.add_row([
                "/home/ada/code/shop".into(),
                "$1 234.50".into(),
                "1 000".into(),
            ]);
            table.add_row(["total".into(), "$1 234.50".into(), "1 000".into()]);
            table
        };
        assert_eq!(
            report().render_to(Some(33)),
            "project            cost  messages\n\
             /ho…ode/shop  $1 234.50     1 000\n\
             total         $1 234.50     1 000"
        );
        assert!(report().render_to(None).contains("/home/ada/code/shop"));
        assert!(report().render_to(Some(10)).contains("$1 234.50     1 000"));
    }
}
