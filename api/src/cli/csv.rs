//! Comma-separated values (RFC 4180), safe to open in a spreadsheet.

/// A line of cells. Texts come from transcripts: one that begins like a formula gets a `'` before
/// it, so that a spreadsheet shows it and does not run it (OWASP, CSV injection).
pub(super) fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let cells: Vec<String> = cells.into_iter().map(cell).collect();
    cells.join(",")
}

fn cell(text: &str) -> String {
    // The wide forms are taken for the narrow ones by some programs.
    let begins_formula =
        text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let text = if begins_formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if begins_formula || text.contains([',', '"', '\n', '\r', ';', '\t']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_told_as_text() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"] {
            assert_eq!(line([formula]), format!("\"'{formula}\""));
        }
        assert_eq!(line(["a=1", "1-2", "'=1"]), "a=1,1-2,'=1");
    }

    #[test]
    fn cells_that_hold_separators_are_quoted() {
        assert_eq!(
            line(["a,b", "say \"hi\"", "", "two\nlines"]),
            "\"a,b\",\"say \"\"hi\"\"\",,\"two\nlines\""
        );
    }
}
