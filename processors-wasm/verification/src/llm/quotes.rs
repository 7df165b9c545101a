//! Finds quotes of a model in the words of a turn.
//!
//! Models copy almost exactly. They lose a backtick, straighten an apostrophe, put a quotation into
//! marks or change the case of its first letter. Such differences are folded away on both sides.
//! Different words are never folded.

/// A quote with fewer letters and digits matches every text.
const LETTERS_MIN: usize = 3;
/// The marker that the host inserts for a secret that it removed from a request.
const MARKER_START: &str = "[removed: ";

/// A text in the form in which texts are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded(String);

impl Folded {
    /// Folds white space, case, the shapes of quotation marks and dashes, and the marks of Markdown.
    pub fn of(text: &str) -> Self {
        let mut folded = String::with_capacity(text.len());
        for letter in text.chars() {
            match letter {
                '*' | '`' | '_' | '~' | '"' | '“' | '”' | '„' | '«' | '»' => {}
                '\'' | '’' | '‘' | '‚' | '´' => folded.push('\''),
                '–' | '—' | '‑' => folded.push('-'),
                '…' => folded.push_str("..."),
                letter => folded.extend(letter.to_lowercase()),
            }
        }
        Self(folded.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Whether the text contains a quote. A removed secret in the quote matches any text.
    pub fn contains(&self, quote: &Quote) -> bool {
        let mut rest = Some(self.0.as_str());
        for piece in &quote.pieces {
            rest = rest.and_then(|rest| Some(rest.split_once(piece.as_str())?.1));
        }
        rest.is_some()
    }
}

/// A quote in the form in which it is searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The parts before, between and after removed secrets.
    pieces: Vec<String>,
}

impl Quote {
    /// Prepares a quote. `None` if it has too few letters to prove anything.
    pub fn of(quote: &str) -> Option<Self> {
        let mut parts = quote.split(MARKER_START);
        let first = parts.next();
        let behind = parts.map(|part| part.split_once(']').map_or("", |(_, rest)| rest));
        let pieces: Vec<String> = first.into_iter().chain(behind).map(folded_piece).collect();
        let letters = pieces.iter().flat_map(|piece| piece.chars());
        let letters = letters.filter(|letter| letter.is_alphanumeric()).count();
        (letters >= LETTERS_MIN).then_some(Self { pieces })
    }
}

/// Folds a part of a quote. Quotation marks around it, and the period that a model adds at its end,
/// are not part of it.
fn folded_piece(part: &str) -> String {
    let Folded(folded) = Folded::of(part);
    let piece = folded.trim();
    let piece = piece.strip_prefix('\'').unwrap_or(piece);
    piece.strip_suffix('\'').unwrap_or(piece).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(said: &str, quote: &str, expected: bool) {
        let found = Quote::of(quote).is_some_and(|quote| Folded::of(said).contains(&quote));
        assert_eq!(found, expected, "{said} / {quote}");
    }

    #[test]
    fn differences_of_marks_case_and_space_are_folded() {
        let said = "No, don’t use `cargo run` — it's **never**\n  \"safe\" in _CI_.";
        for quote in [
            said,
            "don't use cargo run",
            "Don't use `cargo run` - it’s never safe in CI.",
            "\"don’t use cargo run\"",
            "'don't use cargo run'",
            "“It's never safe”",
        ] {
            check(said, quote, true);
        }
    }

    #[test]
    fn other_words_are_not_folded() {
        let said = "No, don't use `cargo run` in CI";
        for quote in [
            "do use cargo run",
            "don't use cargo build",
            "",
            "…",
            "no",
            "* _",
        ] {
            check(said, quote, false);
        }
    }

    #[test]
    fn a_removed_secret_matches_any_text() {
        check(
            "the password is Tr0ub4dor, not x",
            "password is [removed: password], not",
            true,
        );
        check("AKIA is old", "[removed: aws-key] is old", true);
        check(
            "the password is Tr0ub4dor",
            "passphrase is [removed: password]",
            false,
        );
        check("anything", "[removed: password]", false);
        check("anything", "[removed: [removed: a] b", false);
    }
}
