//! Extracts names from a statement.

use super::words::{self, Word};

/// Maximum number of names.
pub const ENTITIES_MAX: usize = 10;
/// A longer text is not a name.
const NAME_CHARS: usize = 80;

/// The distinct names in a statement, in order: text in backticks, words written like names in code
/// (`snake_case`, `camelCase`, `v1.2`, `a/b`), abbreviations in capitals, and words with a capital
/// inside a sentence.
pub fn of(quote: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        let name = name.trim();
        let is_name = name.contains(char::is_alphanumeric) && name.chars().count() <= NAME_CHARS;
        if is_name && names.len() < ENTITIES_MAX && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    let words = words::of(quote);
    let mut is_code = false;
    let mut at = 0;
    for part in quote.split('`') {
        let end = at + part.len();
        if is_code {
            add(part);
        } else {
            let inside = |word: &&Word| word.start >= at && word.end <= end;
            for (place, word) in words.iter().enumerate().filter(|(_, word)| inside(word)) {
                let is_first = place == 0
                    || words[place - 1]
                        .mark
                        .is_some_and(|mark| ".!?:".contains(mark));
                let text = &quote[word.start..word.end];
                if is_written_like_a_name(text, is_first) {
                    add(text);
                }
            }
        }
        is_code = !is_code;
        at = end + 1;
    }
    names
}

fn is_written_like_a_name(word: &str, is_first: bool) -> bool {
    let letters = word.chars().filter(|letter| letter.is_alphabetic());
    let (count, capitals) = letters.fold((0, 0), |(count, capitals), letter| {
        (count + 1, capitals + usize::from(letter.is_uppercase()))
    });
    if count < 2 || is_contraction(word) {
        return false;
    }
    let starts_large = word.starts_with(char::is_uppercase);
    let is_code = word.contains(['_', '/', ':', '#'])
        || word.contains('.') && !word.ends_with('.')
        || capitals > usize::from(starts_large);
    is_code || (starts_large && !is_first)
}

/// Matches `I'm` and `It's`.
fn is_contraction(word: &str) -> bool {
    word.contains(['\'', '’'])
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_told_by_how_they_are_written() {
        let names = super::of(
            "No. Use `cargo xtask check` and sendToSession from app/main.go, not the CRM's NRR of \
             Salesforce or snake_case. It's I who say so: The NRR.",
        );
        let expected = [
            "cargo xtask check",
            "sendToSession",
            "app/main.go",
            "NRR",
            "Salesforce",
            "snake_case",
        ];
        assert_eq!(names, expected);
    }
}
