//! Splits a text into sentences.

use std::ops::Range;

/// Abbreviations that end with a period but do not end a sentence.
const ABBREVIATIONS: &[&str] = &["e.g", "i.e", "vs", "cf", "approx", "resp", "incl"];

/// A line of at least this length was wrapped if the next line continues in lower case.
const WRAPPED_CHARS: usize = 60;

/// A sentence of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// The range in the text, including the final punctuation.
    pub range: Range<usize>,
    /// The final punctuation. Of several characters, the most significant.
    pub end: Option<char>,
}

/// The sentences of a text, in order. Punctuation inside words (`a.b`, `1.5`, `x?y`) does not end a
/// sentence.
pub fn of(text: &str) -> Vec<Sentence> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, letter)) = chars.next() {
        let is_end = match letter {
            '\n' => !is_wrapped(text, at),
            '.' | '!' | '?' | '…' => {
                let next = chars.peek().map(|(_, next)| *next);
                let is_last = next.is_none_or(|next| next.is_whitespace() || closes(next));
                is_last && !(letter == '.' && ends_as_abbreviation(&text[start..at]))
            }
            _ => false,
        };
        if !is_end {
            continue;
        }
        let mut end = at + letter.len_utf8();
        while let Some((place, next)) = chars.next_if(|(_, next)| closes(*next)) {
            end = place + next.len_utf8();
        }
        push(&mut sentences, text, start..end);
        start = end;
    }
    push(&mut sentences, text, start..text.len());
    sentences
}

fn closes(letter: char) -> bool {
    matches!(letter, '.' | '!' | '?' | '…' | ')' | ']' | '"' | '”')
}

fn push(sentences: &mut Vec<Sentence>, text: &str, range: Range<usize>) {
    let part = &text[range.clone()];
    let trimmed = without_marker(part.trim());
    if !trimmed.contains(char::is_alphanumeric) {
        return;
    }
    let start = range.start + (trimmed.as_ptr().addr() - part.as_ptr().addr());
    let tail = trimmed.trim_end_matches([')', ']', '"', '”']);
    let marks = tail.chars().rev().take_while(|letter| closes(*letter));
    let end = marks.fold(None, |end, mark| match (end, mark) {
        (Some('?'), _) | (_, '?') => Some('?'),
        (end, mark) => end.or(Some(mark)),
    });
    sentences.push(Sentence {
        range: start..start + trimmed.len(),
        end,
    });
}

/// The sentence without the bullet or number of a list item.
fn without_marker(sentence: &str) -> &str {
    let rest = sentence.trim_start_matches(['-', '*', '•', '–']);
    if rest.len() < sentence.len() && rest.starts_with(char::is_whitespace) {
        return rest.trim_start();
    }
    sentence
}

/// Whether the line continues after this newline.
fn is_wrapped(text: &str, newline: usize) -> bool {
    let line = text[..newline].rsplit('\n').next().unwrap_or_default();
    let next = text[newline + 1..].chars().next();
    line.chars().count() >= WRAPPED_CHARS
        && !line.trim_end().ends_with(['.', '!', '?', ':', ';'])
        && next.is_some_and(char::is_lowercase)
}

fn ends_as_abbreviation(before: &str) -> bool {
    let last = before.rsplit(|letter: char| letter.is_whitespace() || letter == '(');
    let last = last.into_iter().next().unwrap_or_default().to_lowercase();
    ABBREVIATIONS.contains(&last.as_str())
}

#[cfg(test)]
mod tests {
    fn check(text: &str, expected: &[&str]) {
        let sentences: Vec<&str> = super::of(text)
            .into_iter()
            .map(|sentence| &text[sentence.range])
            .collect();
        assert_eq!(sentences, expected);
    }

    #[test]
    fn marks_and_lines_end_sentences() {
        check(
            "No. That is wrong! Is it?? Yes…",
            &["No.", "That is wrong!", "Is it??", "Yes…"],
        );
        check(
            "first\nsecond\n\n- third\n2) ",
            &["first", "second", "third", "2)"],
        );
        check("", &[]);
        check(" \n— ", &[]);
    }

    #[test]
    fn marks_within_words_and_abbreviations_end_none() {
        check(
            "use main.go, e.g. v1.2 (i.e. the new one). see http://a.b/c?d",
            &[
                "use main.go, e.g. v1.2 (i.e. the new one).",
                "see http://a.b/c?d",
            ],
        );
    }

    #[test]
    fn a_wrapped_line_goes_on() {
        let line = "we always count customers that pause as customers that are kept,";
        check(
            &format!("{line}\nand never as churned\nNext"),
            &[&format!("{line}\nand never as churned"), "Next"],
        );
    }

    #[test]
    fn the_mark_that_says_most_is_kept() {
        let ends = |text| super::of(text)[0].end;
        assert_eq!(ends("really?!"), Some('?'));
        assert_eq!(ends("so (they say?)"), Some('?'));
        assert_eq!(ends("so."), Some('.'));
        assert_eq!(ends("so"), None);
    }
}
