//! Creates a short title for a statement.

use super::statements::Statement;
use crate::verification::Detection;

/// Maximum length of a title.
pub const TITLE_CHARS: usize = 60;

/// The words between a term and its definition.
const DEFINING: &[&str] = &[
    " means ",
    " is defined as ",
    " are defined as ",
    " stands for ",
    " is computed ",
    " is calculated ",
    " are computed ",
    " are calculated ",
];

/// For a definition, the term before the phrase. Otherwise, the beginning of the statement, up to
/// the end of its first clause or the maximum length, cut at a word.
pub fn of(statement: &Statement<'_>) -> String {
    let content = &statement.content;
    if statement.kind == Detection::Definition {
        let lower = content.to_ascii_lowercase();
        let term = DEFINING.iter().find_map(|phrase| lower.find(phrase));
        if let Some(end) = term.filter(|end| (1..=TITLE_CHARS).contains(end)) {
            return content[..end].trim_matches(is_quote).to_owned();
        }
    }
    let clause = content.split([';', '—', '…']).next().unwrap_or_default();
    cut(clause.trim().trim_end_matches(['.', '!', ',', ':', ')']))
}

fn is_quote(letter: char) -> bool {
    matches!(letter, '"' | '“' | '”' | '`' | '\'' | '*')
}

fn cut(text: &str) -> String {
    if text.chars().count() <= TITLE_CHARS {
        return text.to_owned();
    }
    let end = text.char_indices().nth(TITLE_CHARS - 1);
    let head = &text[..end.map_or(text.len(), |(end, _)| end)];
    let head = head.rsplit_once(' ').map_or(head, |(head, _)| head);
    format!("{}…", head.trim_end_matches([',', ':', ';', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Detection, content: &str, expected: &str) {
        let statement = Statement {
            kind,
            content: content.to_owned(),
            quote: "",
            score: 50,
        };
        assert_eq!(of(&statement), expected);
    }

    #[test]
    fn a_definition_is_called_by_its_term_and_all_else_by_its_beginning() {
        check(
            Detection::Definition,
            "\"NRR\" means net revenue retention",
            "NRR",
        );
        check(
            Detection::Definition,
            "What we call churn is monthly.",
            "What we call churn is monthly",
        );
        check(
            Detection::Correction,
            "Use tabs, not spaces; they are wide.",
            "Use tabs, not spaces",
        );
        check(
            Detection::Correction,
            "The finance team computes churn from the billing export, never from the CRM",
            "The finance team computes churn from the billing export…",
        );
    }
}
