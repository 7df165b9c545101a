//! Comma-separated values (RFC 4180) that are safe to open in a spreadsheet. All CSV output of the
//! program goes through [`line()`].
//!
//! Text comes from transcripts, and a spreadsheet evaluates a cell that starts like a formula
//! (OWASP, "CSV injection"). Such text gets a leading `'`, which turns it into plain text.
//! Spreadsheets trim and normalize a cell before they parse it. In many locales they also split
//! columns at `;` or a tab, even inside quotes. So the `'` is also inserted after blank and
//! invisible characters, before compatibility forms such as `＝`, and after a separator or line
//! break within a cell.

use std::fmt::Write as _;

use session_pipeline_host::fault::is_unsafe_for_terminal;

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CsvCell<'a> {
    /// Text from any source.
    Text(&'a str),
    /// A number formatted by the program, written unchanged.
    Number(&'a str),
}

/// Appends one line of cells, including the line break.
pub fn line<'a>(out: &mut String, cells: impl IntoIterator<Item = CsvCell<'a>>) {
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match cell {
            CsvCell::Number(number) if is_number(number) => out.push_str(number),
            CsvCell::Number(text) | CsvCell::Text(text) => text_cell(out, text),
        }
    }
    out.push_str("\r\n");
}

/// Whether the text is a finite number.
fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

fn text_cell(out: &mut String, text: &str) {
    let escaped = guarded(text);
    let is_plain = escaped == text
        && !escaped.contains([',', ';', '"', '\t', '\r', '\n'])
        && !escaped.starts_with(is_skipped)
        && !escaped.ends_with(is_skipped);
    if is_plain {
        out.push_str(&escaped);
        return;
    }
    out.push('"');
    out.push_str(&escaped.replace('"', "\"\""));
    out.push('"');
}

/// Inserts a `'` before every character that could start a formula, and escapes control characters
/// except tabs and line breaks.
fn guarded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    // Whether spreadsheets skip all characters since the last place where a cell could start.
    let mut begins = true;
    let mut is_first = true;
    for c in text.chars() {
        if matches!(c, '\t' | '\r' | '\n') && is_first {
            // Some spreadsheets evaluate the rest after such a character alone.
            out.push('\'');
            begins = false;
        }
        is_first = false;
        if begins && begins_formula(c) {
            out.push('\'');
        }
        begins = separates(c) || (begins && is_skipped(c));
        if is_unsafe_for_terminal(c) && !matches!(c, '\t' | '\r' | '\n') {
            // A spreadsheet cannot show it, and it could control a terminal.
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Includes the forms that compatibility normalization (NFKC) maps to the ASCII ones.
fn begins_formula(c: char) -> bool {
    matches!(
        c,
        '=' | '＝'
            | '﹦'
            | '⁼'
            | '₌'
            | '+'
            | '＋'
            | '﹢'
            | '⁺'
            | '₊'
            | '﬩'
            | '-'
            | '－'
            | '﹣'
            | '⁻'
            | '₋'
            | '−'
            | '@'
            | '＠'
            | '﹫'
    )
}

/// Where a spreadsheet with another separator starts a new cell.
fn separates(c: char) -> bool {
    matches!(
        c,
        ';' | '；' | '\t' | '\r' | '\n' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Characters that spreadsheets skip at the start of a cell: blanks, quotes, control characters and
/// characters without a width.
fn is_skipped(c: char) -> bool {
    c.is_whitespace()
        || is_unsafe_for_terminal(c)
        || matches!(
            c,
            '"' | '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{17b4}'
                | '\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(cell: &str) -> String {
        let mut out = String::new();
        line(&mut out, [CsvCell::Text(cell)]);
        out.strip_suffix("\r\n").unwrap().to_owned()
    }

    #[test]
    fn text_that_starts_like_a_formula_is_escaped() {
        for formula in [
            "=1+1", "+1", "-1", "@SUM(A1)", "\t1", "\r1", "\n1", "＝1", "＋1", "－1", "＠A1", "−1",
            "﹦1",
        ] {
            assert_eq!(text(formula), format!("\"'{formula}\""));
        }
        for (formula, guarded) in [
            (" =1", " '=1"),
            ("\u{a0}\u{3000}=1", "\u{a0}\u{3000}'=1"),
            ("\u{200b}\u{feff}＝1", "\u{200b}\u{feff}'＝1"),
            ("a;=1", "a;'=1"),
            ("a\t-1", "a\t'-1"),
            ("a\r\n @A1", "a\r\n '@A1"),
            ("a;\"=1\"", "a;\"\"'=1\"\""),
            ("\t=1", "'\t'=1"),
            ("\0=1", "\\u{0}'=1"),
        ] {
            assert_eq!(text(formula), format!("\"{guarded}\""), "{formula:?}");
        }
    }

    #[test]
    fn other_text_is_unchanged() {
        for plain in [
            "a=1",
            "1-2",
            "'=1",
            "a b",
            "C:\\dir",
            "claude-opus-4",
            "日本",
            "",
        ] {
            assert_eq!(text(plain), plain);
        }
        assert_eq!(text("a,b"), "\"a,b\"");
        assert_eq!(text("a;b"), "\"a;b\"");
        assert_eq!(text("two\nlines"), "\"two\nlines\"");
        assert_eq!(text("say \"hi\""), "\"say \"\"hi\"\"\"");
    }

    #[test]
    fn escape_codes_are_escaped() {
        let escaped = r#""\u{1b}[2J\u{9b}\u{202e}x""#;
        assert_eq!(text("\u{1b}[2J\u{9b}\u{202e}x"), escaped);
    }

    #[test]
    fn numbers_are_unchanged_and_other_text_is_escaped() {
        let mut out = String::new();
        let cells = ["-5", "0.0012", "1e300", "-1+2", "inf", "=1"];
        line(&mut out, cells.map(CsvCell::Number));
        assert_eq!(out, "-5,0.0012,1e300,\"'-1+2\",inf,\"'=1\"\r\n");
    }
}
