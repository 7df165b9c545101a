//! Fits tables into the terminal: texts are shortened, figures are not.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Spaces between columns.
pub(super) const GAP: usize = 2;
/// Columns are not made narrower than this, or than their header.
const WIDTH_MIN: usize = 8;

/// The width of the terminal in characters. `None` if standard output is not a terminal: programs
/// and files get complete texts.
pub(super) fn terminal_width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(usize::from(width.0))
}

/// The number of columns of a terminal that a text occupies.
pub(super) fn width_of(text: &str) -> usize {
    text.width()
}

/// A column of a table.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Column {
    pub(super) is_left: bool,
    /// Whether its cells can be shortened.
    pub(super) is_text: bool,
    pub(super) header_width: usize,
    pub(super) width: usize,
}

/// Narrows the widest texts until the table fits. If that is not possible, texts have their minimum
/// width and the table is too wide.
pub(super) fn fit(columns: &mut [Column], available: usize) {
    let gaps = columns.len().saturating_sub(1) * GAP;
    let used = gaps + columns.iter().map(|column| column.width).sum::<usize>();
    for _ in available..used {
        let can_shrink = |column: &&mut Column| {
            column.is_text && column.width > column.header_width.max(WIDTH_MIN)
        };
        let widest = columns
            .iter_mut()
            .filter(can_shrink)
            .max_by_key(|column| column.width);
        match widest {
            Some(column) => column.width -= 1,
            None => return,
        }
    }
}

/// Appends a row. Cells of text columns are shortened to the width of the column if `is_shortened`;
/// a longer cell shifts the rest of the row otherwise.
pub(super) fn push_row<'a>(
    out: &mut String,
    columns: &[Column],
    cells: impl IntoIterator<Item = &'a str>,
    is_shortened: bool,
) {
    let start = out.len();
    for (index, (cell, column)) in cells.into_iter().zip(columns).enumerate() {
        let cell = match is_shortened && column.is_text {
            true => shortened(cell, column.width),
            false => Cow::Borrowed(cell),
        };
        if index > 0 {
            out.extend(std::iter::repeat_n(' ', GAP));
        }
        let padding = column.width.saturating_sub(width_of(&cell));
        let padding = std::iter::repeat_n(' ', padding);
        if column.is_left {
            out.push_str(&cell);
            out.extend(padding);
        } else {
            out.extend(padding);
            out.push_str(&cell);
        }
    }
    let end = out.trim_end_matches(' ').len().max(start);
    out.truncate(end);
    out.push('\n');
}

/// A text with at most this width. Of a path, the middle is left out, because its end and its start
/// identify it. Of other texts, the end is left out.
fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    if width_of(text) <= width {
        return Cow::Borrowed(text);
    }
    let room = width.saturating_sub(1);
    let is_path = text.contains(['/', '\\']);
    let end_width = if is_path { room - room / 3 } else { 0 };
    let start = prefix(text.chars(), room - end_width);
    let end: String = prefix(text.chars().rev(), end_width)
        .chars()
        .rev()
        .collect();
    Cow::Owned(format!("{start}…{end}"))
}

/// As many characters as fit into a width.
fn prefix(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= width
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_start_and_its_end_and_a_title_its_start() {
        assert_eq!(shortened("/home/ada/code/shop", 12), "/ho…ode/shop");
        assert_eq!(shortened("Fix the flaky test", 12), "Fix the fla…");
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("会議の予定表", 7), "会議の…");
        assert_eq!(shortened("longer", 1), "…");
    }

    #[test]
    fn a_table_fits_or_its_texts_have_their_minimum_and_figures_are_complete() {
        let total = |columns: &[Column]| {
            columns.iter().map(|column| column.width).sum::<usize>() + GAP * (columns.len() - 1)
        };
        let column = |is_text: bool, width: usize| Column {
            is_left: false,
            is_text,
            header_width: 5,
            width,
        };
        let widths = [5, 9, 40, 300];
        for (first, second, third) in widths
            .into_iter()
            .flat_map(|first| widths.map(|second| (first, second)))
            .flat_map(|(first, second)| widths.map(|third| (first, second, third)))
        {
            for available in [1, 20, 30, 80, 200, 1000] {
                let before = [
                    column(true, first),
                    column(false, second),
                    column(true, third),
                ];
                let mut after = before;
                fit(&mut after, available);
                let is_narrowest = |column: &Column| !column.is_text || column.width <= WIDTH_MIN;
                assert!(total(&after) <= available || after.iter().all(is_narrowest));
                assert!(total(&before) > available || total(&before) == total(&after));
                for (before, after) in before.iter().zip(&after) {
                    assert!(after.width <= before.width && after.width >= after.header_width);
                    assert!(before.is_text || before.width == after.width);
                }
            }
        }
    }

    #[test]
    fn a_shortened_text_is_never_wider_than_its_column() {
        let texts = [
            "/home/ada/会議/予定表/x",
            "会議の予定表",
            "a\\b\\c",
            "e\u{301}e\u{301}e",
            "",
            "/",
        ];
        for text in texts {
            for width in 1..30 {
                assert!(width_of(&shortened(text, width)) <= width, "{text} {width}");
            }
        }
    }
}
