//! Tables and numbers as people read them.

use comfy_table::{CellAlignment, Table, presets};

/// A plain table: names on the left, numbers on the right.
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

/// A whole number with thin groups of three: `1 234 567`.
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

/// A number of bytes: `12.3 MB`.
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
