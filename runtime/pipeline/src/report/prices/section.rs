//! The section of the operator's price file that `prices update` writes. Everything else in the file
//! belongs to the operator and stays as it is, byte for byte.

use std::ops::Range;
use std::path::Path;

use jiff::civil::Date;
use session_pipeline_host::day;

use super::PriceTableError;

const BEGIN: &str = "# --- Begin of the prices from LiteLLM ---";
const END: &str = "# --- End of the prices from LiteLLM ---";
const UPDATED: &str = "# Updated: ";

/// The place of the section in a text. Empty at the end of a text without a section.
pub(super) struct Section<'a> {
    text: &'a str,
    range: Range<usize>,
}

impl<'a> Section<'a> {
    /// Finds the section.
    ///
    /// # Errors
    /// If the file has more than one, or one without a beginning or end.
    pub(super) fn find(path: &Path, text: &'a str) -> Result<Self, PriceTableError> {
        let mut at = 0;
        let (mut begins, mut ends) = (Vec::new(), Vec::new());
        for (number, line) in text.split_inclusive('\n').enumerate() {
            match line.trim() {
                BEGIN => begins.push((number + 1, at)),
                END => ends.push((number + 1, at + line.len())),
                _ => {}
            }
            at += line.len();
        }
        let refused = |line: usize, reason: String| {
            Err(PriceTableError::Entry {
                path: path.to_owned(),
                entry: format!("line {line}"),
                reason,
            })
        };
        match (begins.as_slice(), ends.as_slice()) {
            ([], []) => Ok(Self {
                text,
                range: text.len()..text.len(),
            }),
            ([(_, begin)], [(_, end)]) if begin < end => Ok(Self {
                text,
                range: *begin..*end,
            }),
            ([(line, _)], []) => refused(
                *line,
                format!("the line `{END}` is missing; add it after the last generated entry"),
            ),
            ([], [(line, _), ..]) | ([_], [(line, _), ..]) => refused(
                *line,
                format!(
                    "the line `{BEGIN}` is not above this one; add it before the first generated entry"
                ),
            ),
            ([_, (line, _), ..], _) => refused(
                *line,
                "a second section of generated prices; merge it with the first one".to_owned(),
            ),
        }
    }

    /// The bytes of the section.
    pub(super) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The day of the last update.
    pub(super) fn updated(&self) -> Option<Date> {
        let lines = self.text.get(self.range())?.lines();
        let mut days = lines.filter_map(|line| line.trim().strip_prefix(UPDATED)?.get(..10));
        days.find_map(day::parse)
    }

    /// The text with line breaks instead of the section, so that its lines keep their numbers.
    pub(super) fn others(&self) -> String {
        let section = self.text.get(self.range()).unwrap_or_default();
        self.with(&"\n".repeat(section.matches('\n').count()))
    }

    /// The section below as many line breaks as are above it, so that its lines keep their numbers.
    pub(super) fn alone(&self) -> String {
        let before = self.text.get(..self.range.start).unwrap_or_default();
        let section = self.text.get(self.range()).unwrap_or_default();
        "\n".repeat(before.matches('\n').count()) + section
    }

    /// The text with another section. Starts it on a new line.
    pub(super) fn replaced(&self, section: &str) -> String {
        let before = self.text.get(..self.range.start).unwrap_or_default();
        let is_new_line = before.is_empty() || before.ends_with('\n');
        let separator = match (self.range.is_empty(), is_new_line) {
            (_, false) => "\n",
            (true, true) if !before.is_empty() => "\n",
            _ => "",
        };
        self.with(&format!("{separator}{section}"))
    }

    fn with(&self, section: &str) -> String {
        let before = self.text.get(..self.range.start).unwrap_or_default();
        let after = self.text.get(self.range.end..).unwrap_or_default();
        [before, section, after].concat()
    }
}

/// A whole section.
pub(super) fn section(today: Date, source: &str, entries: &str) -> String {
    format!(
        "{BEGIN}\n\
         # `session-pipeline prices update` replaces everything between these two lines.\n\
         # Write your own prices above or below them. They take precedence.\n\
         {UPDATED}{today}, from {source}\n\
         {entries}{END}\n"
    )
}
