//! Distinguishes the words that a user typed from passages that the user pasted.
//!
//! People paste code, logs, reviews, plans, and parts of the conversation. Both detectors take only
//! typed words as evidence. If in doubt, a passage counts as pasted: a missed statement will be
//! repeated one day, but a wrong one misleads.

use std::ops::Range;

use super::lines::{
    begins_item, is_blank, is_foreign, is_heading, names_a_severity, opened_tag, speaks_for_another,
};
use super::repeats::Repeats;

/// After a colon, a longer text is not a continuation of the sentence.
const ANNOUNCED_BYTES: usize = 600;
/// A paragraph of this length in which no one speaks was not typed into a prompt.
const IMPERSONAL_CHARS: usize = 400;

/// With one of these words before a colon, the text after it is a quotation.
const ANNOUNCING: &[&str] = &[
    "ci",
    "comment",
    "comments",
    "document",
    "email",
    "error",
    "errors",
    "feedback",
    "finding",
    "findings",
    "issue",
    "issues",
    "log",
    "logs",
    "message",
    "output",
    "plan",
    "reply",
    "report",
    "response",
    "result",
    "results",
    "review",
    "reviewer",
    "run",
    "said",
    "says",
    "spec",
    "suggestion",
    "suggestions",
    "summary",
    "ticket",
    "trace",
    "transcript",
    "warning",
    "warnings",
    "wrote",
];

/// Words of a person who speaks to an agent.
const PERSONAL: &[&str] = &[
    "i", "i'd", "i'll", "i'm", "i've", "me", "my", "we", "we'd", "we'll", "we're", "we've", "us",
    "our", "you", "you'd", "you'll", "you're", "you've", "your", "let's", "lets", "please", "ok",
    "okay", "yes", "yeah", "yep", "no", "nope", "hm", "hmm", "thanks", "u",
];

/// The ranges of a text that the user typed, in order. They consist of whole lines.
pub fn typed(text: &str, repeats: &Repeats) -> Vec<Range<usize>> {
    if text.lines().any(|line| names_a_severity(line.trim())) {
        return Vec::new();
    }
    let mut typed = Ranges::default();
    let mut fence = None;
    let mut tag: Option<String> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let bare = line.trim();
        if let Some(marks) = fence {
            if bare.starts_with(marks) {
                fence = None;
            }
            continue;
        }
        if let Some(closing) = &tag {
            if line.contains(closing.as_str()) {
                tag = None;
            }
            continue;
        }
        fence = ["```", "~~~"]
            .into_iter()
            .find(|marks| bare.starts_with(marks));
        tag = opened_tag(bare).filter(|closing| text[at..].contains(closing.as_str()));
        if speaks_for_another(bare) || is_heading(bare) {
            break;
        }
        if fence.is_some() || tag.is_some() || is_foreign(line) || repeats.has(line) {
            continue;
        }
        typed.extend(start..at);
        if announces(bare, text.len() - at) {
            break;
        }
    }
    typed
        .0
        .retain(|range| !text[range.clone()].trim().is_empty());
    without_reviews(text, typed.0)
}

/// Splits the ranges at blank lines and removes paragraphs that a person does not type.
fn without_reviews(text: &str, ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut typed = Ranges::default();
    for range in ranges {
        let mut paragraph: Option<Range<usize>> = None;
        let mut at = range.start;
        for line in text[range].split_inclusive('\n') {
            let here = at..at + line.len();
            at = here.end;
            let begins = is_blank(line.trim()) || begins_item(line.trim());
            if begins {
                typed.extend_if(text, paragraph.take());
            }
            let start = paragraph.map_or(here.start, |open| open.start);
            paragraph = Some(start..here.end);
        }
        typed.extend_if(text, paragraph);
    }
    typed
        .0
        .retain(|range| !is_blank(text[range.clone()].trim()));
    typed.0
}

#[derive(Default)]
struct Ranges(Vec<Range<usize>>);

impl Ranges {
    fn extend(&mut self, line: Range<usize>) {
        match self.0.last_mut().filter(|last| last.end == line.start) {
            Some(last) => last.end = line.end,
            None => self.0.push(line),
        }
    }

    fn extend_if(&mut self, text: &str, paragraph: Option<Range<usize>>) {
        if let Some(paragraph) = paragraph.filter(|range| !is_review(&text[range.clone()])) {
            self.extend(paragraph);
        }
    }
}

/// Whether a paragraph reads like a review or a document: no one speaks in it, and it is long or
/// refers to lines of a file.
fn is_review(paragraph: &str) -> bool {
    let lower = paragraph.to_lowercase().replace('’', "'");
    let words: Vec<&str> = lower
        .split(|letter: char| !letter.is_alphanumeric() && letter != '\'')
        .filter(|word| !word.is_empty())
        .collect();
    let is_personal = words.iter().any(|word| PERSONAL.contains(word));
    !is_personal && (paragraph.chars().count() >= IMPERSONAL_CHARS || refers_to_lines(&words))
}

/// Matches `line 12`, `lines 12-15` and `L12`.
fn refers_to_lines(words: &[&str]) -> bool {
    let is_number = |word: &str| word.starts_with(|letter: char| letter.is_ascii_digit());
    let are_named = words
        .windows(2)
        .any(|pair| matches!(pair[0], "line" | "lines") && is_number(pair[1]));
    are_named
        || words
            .iter()
            .any(|word| word.strip_prefix('l').is_some_and(is_number))
}

/// Whether all text after this line is a quotation.
fn announces(bare: &str, bytes_behind: usize) -> bool {
    let first = bare.to_lowercase();
    if first.starts_with("implement the following") {
        return true;
    }
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|letter: char| !letter.is_alphanumeric());
        words.map(str::to_owned).collect()
    };
    let is_announcing = |word: &String| ANNOUNCING.contains(&word.as_str());
    let Some(before) = first.trim_end_matches(['*', '"']).strip_suffix(':') else {
        // "i got this feedback, let me know what you think" announces a quotation without a colon.
        return words(&first).windows(3).any(|three| {
            three[0] == "got"
                && matches!(three[1].as_str(), "this" | "these" | "some")
                && is_announcing(&three[2])
        });
    };
    bytes_behind > ANNOUNCED_BYTES || words(before).iter().any(is_announcing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let repeats = Repeats::default();
        let typed: Vec<&str> = typed(text, &repeats)
            .into_iter()
            .map(|range| text[range].trim())
            .collect();
        assert_eq!(typed, expected, "{text}");
    }

    #[test]
    fn what_a_person_writes_is_typed() {
        for text in [
            "No, churn is monthly",
            "- use tabs\n- we never wrap Markdown files",
            "line 12 is wrong: we count per month",
            "see `a::b()` (it's `x -> y`), then go on",
            "NRR means net revenue retention.",
        ] {
            check(text, &[text]);
        }
        check("", &[]);
        check(" \n…", &[]);
    }

    #[test]
    fn fences_quotations_and_tags_are_pasted() {
        check(
            "look:\n```\nwe never stop\n```\nis it right\n~~~\nopen",
            &["look:", "is it right"],
        );
        check("> we never stop\nwho says this", &["who says this"]);
        check(
            "so\n<ide_selection>\nwe never stop\n</ide_selection>\ngo on",
            &["so", "go on"],
        );
        check(
            "<T> is open and never closed",
            &["<T> is open and never closed"],
        );
        check("go on\n# Plan\nwe never stop", &["go on"]);
        check("go on\n\nReviewer: we never stop\nand more", &["go on"]);
        check(
            "here is the review:\nwe never stop",
            &["here is the review:"],
        );
        check(
            "Implement the following plan:\nwe never stop",
            &["Implement the following plan:"],
        );
        check(
            "i got this feedback, think about it\nwe never stop",
            &["i got this feedback, think about it"],
        );
    }

    #[test]
    fn reviews_are_pasted_even_without_a_mark() {
        check(
            "Unused variable stopCount at line 485 - incremented but never asserted",
            &[],
        );
        check(
            "Tools as one argument\n\nHigh Severity\n\nWe should split the tools.",
            &[],
        );
        let document = "The wrapper script sources the environment file while nounset is active. \
            This option causes the script to exit if the file references an undefined variable. \
            Since such files are commonly used by other tools and may contain references, all \
            hooks can fail. The script only needs one variable, but the whole file is executed, \
            so that an error in an unrelated line has an effect on every hook of the project.";
        check(document, &[]);
        check(
            &format!("{document}\n\nwe want to keep it"),
            &["we want to keep it"],
        );
        let typed = format!("I think that {document}");
        check(&typed, &[&typed]);
    }

    #[test]
    fn what_the_model_said_is_not_the_users() {
        let said = "Session B creates a suffix, but the first branch remains intact for now.";
        let mut repeats = Repeats::default();
        repeats.remember(said);
        let text = format!("{said}\nthis is not true, we never create two");
        let typed: Vec<&str> = typed(&text, &repeats)
            .into_iter()
            .map(|range| &text[range])
            .collect();
        assert_eq!(typed, ["this is not true, we never create two"]);
    }
}
