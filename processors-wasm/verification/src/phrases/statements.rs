//! Extracts the corrected, confirmed or defined statements that signal phrases mark.

use super::signals::Signal;
use super::words::Word;
use super::{mood, prose, quotations, sentences, signals, words};
use crate::verification::Detection;

/// Minimum number of words in a statement, without its phrase.
pub const WORDS_MIN: usize = 4;
/// A longer sentence is a document, or several sentences without punctuation.
pub const WORDS_MAX: usize = 60;
/// Maximum length of the content.
pub const CONTENT_CHARS: usize = 500;

/// A statement of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// The type of the statement.
    pub kind: Detection,
    /// The statement on one line, without its introduction.
    pub content: String,
    /// The user's own words.
    pub quote: &'a str,
}

/// The statements in a user's text, in order.
pub fn of(text: &str) -> Vec<Statement<'_>> {
    let mut statements = Vec::new();
    for passage in prose::of(text) {
        let passage = &text[passage];
        let masked = quotations::masked(passage);
        let sentences: Vec<Part<'_>> = sentences::of(&masked)
            .into_iter()
            .map(|sentence| Part {
                words: words::of(&masked[sentence.range.clone()]),
                text: &passage[sentence.range.clone()],
                start: sentence.range.start,
                end: sentence.end,
            })
            .collect();
        let mut at = 0;
        while at < sentences.len() {
            match statement(passage, &sentences[at..]) {
                Some((statement, length)) => {
                    statements.push(statement);
                    at += length;
                }
                None => at += 1,
            }
        }
    }
    statements
}

/// A sentence and its words.
struct Part<'a> {
    words: Vec<Word>,
    text: &'a str,
    /// The beginning in its passage.
    start: usize,
    /// The final punctuation.
    end: Option<char>,
}

impl Part<'_> {
    fn states(&self) -> bool {
        self.words.len() <= WORDS_MAX
            && !mood::is_question(&self.words, self.end)
            && !mood::wonders(&self.words)
    }
}

/// The statement that begins with the first sentence, and the number of sentences it uses.
fn statement<'a>(passage: &'a str, sentences: &[Part<'a>]) -> Option<(Statement<'a>, usize)> {
    let first = sentences.first()?;
    if !first.states() {
        return None;
    }
    let Some(signal) = signals::of(&first.words) else {
        return set_off(passage, sentences);
    };
    let length = match signal.statement_at {
        None => usize::from(first.words.len() >= signal.words + WORDS_MIN),
        Some(at) => reach(
            &signal,
            &first.words[at.min(first.words.len())..],
            sentences,
        ),
    };
    let last = sentences[..length].last()?;
    let quote = &passage[first.start..last.start + last.text.len()];
    let skipped = match signal.statement_at {
        Some(at) if at < first.words.len() && length == 1 => first.words[at].start,
        Some(_) if length == 2 && first.words.len() < signal.words + WORDS_MIN => {
            sentences[1].start - first.start
        }
        _ => {
            let start = mood::fillers(&first.words).min(first.words.len() - 1);
            first.words[start].start
        }
    };
    let statement = Statement {
        kind: signal.kind,
        content: content(&quote[skipped..]),
        quote,
    };
    Some((statement, length))
}

/// A statement with its contrast in a separate sentence: `It has to be local. Not in the cloud.`
fn set_off<'a>(passage: &'a str, sentences: &[Part<'a>]) -> Option<(Statement<'a>, usize)> {
    let [first, next, ..] = sentences else {
        return None;
    };
    let is_contrast = signals::directs(&first.words) && signals::is_contrast(&next.words);
    if !is_contrast || !next.states() || first.words.len() < WORDS_MIN {
        return None;
    }
    let quote = &passage[first.start..next.start + next.text.len()];
    let start = mood::fillers(&first.words).min(first.words.len() - 1);
    let statement = Statement {
        kind: Detection::Correction,
        content: content(&quote[first.words[start].start..]),
        quote,
    };
    Some((statement, 2))
}

/// The number of sentences that belong to a phrase before its statement: its own sentence if enough
/// words remain, or also the next one. Zero if they contain no statement.
fn reach(signal: &Signal, rest: &[Word], sentences: &[Part<'_>]) -> usize {
    let is_statement = |words: &[Word]| {
        let is_confirmed = signal.kind == Detection::Confirmation;
        let orders = match is_confirmed {
            true => mood::is_order(words),
            false => mood::is_errand(words),
        };
        let turns = is_confirmed && words.first().is_some_and(|word| word.text == "but");
        words.len() >= WORDS_MIN && !orders && !turns && !mood::is_about_oneself(words)
    };
    let first = &sentences[0];
    if rest.len() >= WORDS_MIN {
        return usize::from(is_statement(rest));
    }
    let next = sentences.get(1);
    if next.is_some_and(|next| next.states() && is_statement(&next.words)) {
        return 2;
    }
    let is_verdict = signal.words > 1 && signal.kind == Detection::Correction;
    usize::from(is_verdict && first.words.len() >= signal.words + WORDS_MIN)
}

/// Formats a text on one line, with a capital first letter, cut to the maximum length.
fn content(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.trim_start_matches(|letter: char| {
        !letter.is_alphanumeric() && !"`\"'“«(/@#".contains(letter)
    });
    let mut letters = line.chars();
    let Some(first) = letters.next() else {
        return String::new();
    };
    let capital: String = first.to_uppercase().collect();
    capital.chars().chain(letters).take(CONTENT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Formats results as `type: content`, one per line.
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = of(text)
            .into_iter()
            .map(|statement| {
                assert!(text.contains(statement.quote), "a quote is verbatim");
                format!("{}: {}", statement.kind.name(), statement.content)
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    fn check_none(text: &str) {
        check(text, &[]);
    }

    #[test]
    fn a_correction_is_told_by_each_of_its_phrases() {
        for (text, content) in [
            (
                "No, churn is computed monthly from MRR",
                "Churn is computed monthly from MRR",
            ),
            (
                "no. the finance team owns that table.",
                "The finance team owns that table.",
            ),
            (
                "No that field holds the net amount",
                "That field holds the net amount",
            ),
            (
                "That's wrong, churn is counted per month.",
                "Churn is counted per month.",
            ),
            (
                "This is incorrect. Churn is counted per month.",
                "Churn is counted per month.",
            ),
            (
                "That is not right: we bill in arrears here",
                "We bill in arrears here",
            ),
            (
                "The way you count churned customers is wrong",
                "The way you count churned customers is wrong",
            ),
            (
                "not what I meant, the report covers the fiscal year",
                "The report covers the fiscal year",
            ),
            (
                "Actually, invoices go out on the third",
                "Invoices go out on the third",
            ),
            (
                "use tabs instead of spaces in makefiles",
                "Use tabs instead of spaces in makefiles",
            ),
            (
                "please don't use the legacy billing export",
                "Don't use the legacy billing export",
            ),
            (
                "do not use the legacy billing export",
                "Do not use the legacy billing export",
            ),
            (
                "Never use floats for amounts of money",
                "Never use floats for amounts of money",
            ),
            (
                "stop using mocks in the integration tests",
                "Stop using mocks in the integration tests",
            ),
            (
                "the currency should be EUR, not the customer's own",
                "The currency should be EUR, not the customer's own",
            ),
            (
                "every endpoint should have a rate limit",
                "Every endpoint should have a rate limit",
            ),
            (
                "we always deploy from the release branch",
                "We always deploy from the release branch",
            ),
            (
                "We never store card numbers ourselves",
                "We never store card numbers ourselves",
            ),
            (
                "use the staging database and not production",
                "Use the staging database and not production",
            ),
            (
                "the owner is finance, not the data team",
                "The owner is finance, not the data team",
            ),
            (
                "We don’t have a user entity here",
                "We don’t have a user entity here",
            ),
        ] {
            check(text, &[&format!("correction: {content}")]);
            check(
                &text.to_uppercase(),
                &[&format!("correction: {}", content.to_uppercase())],
            );
        }
    }

    #[test]
    fn a_contrast_may_be_a_sentence_of_its_own() {
        check(
            "so it needs to be a local option. not something in the cloud.",
            &["correction: It needs to be a local option. not something in the cloud."],
        );
        check_none("it needs to be a local option. Not sure about the cloud.");
        check_none("it needs to be a local option. not yet");
        check_none(
            "this is what the local one does. Not only in the cloud, on my machine too, always",
        );
    }

    #[test]
    fn a_confirmation_needs_a_statement_beside_it() {
        check(
            "That's right, NRR excludes new customers.",
            &["confirmation: NRR excludes new customers."],
        );
        check(
            "Yes, exactly. The export runs at six in the morning.",
            &["confirmation: The export runs at six in the morning."],
        );
        check(
            "Correct - finance closes the books on day three",
            &["confirmation: Finance closes the books on day three"],
        );
        check(
            "Confirmed: the crm holds the contract dates",
            &["confirmation: The crm holds the contract dates"],
        );
        for text in [
            "exactly",
            "That's right!",
            "correct. now push it to main please",
            "exactly. let's do that for all the tests",
            "Correct. I will look at it tomorrow",
            "that's right, can you do it for all?",
            "exactly the same error as before happens here",
            "correct the typo in the second paragraph",
            "correct, but we have no such table here",
        ] {
            check_none(text);
        }
    }

    #[test]
    fn a_definition_needs_a_term() {
        check(
            "NRR stands for net revenue retention",
            &["unprompted_definition: NRR stands for net revenue retention"],
        );
        check(
            "A churned customer means one without an active contract.",
            &["unprompted_definition: A churned customer means one without an active contract."],
        );
        check(
            "By active we mean seen within the last 30 days",
            &["unprompted_definition: By active we mean seen within the last 30 days"],
        );
        check(
            "MRR is calculated from the invoices of the month",
            &["unprompted_definition: MRR is calculated from the invoices of the month"],
        );
        check(
            "Retention is defined as customers kept over customers had",
            &["unprompted_definition: Retention is defined as customers kept over customers had"],
        );
        check(
            "a plan with more than ten seats is what we call enterprise",
            &["unprompted_definition: A plan with more than ten seats is what we call enterprise"],
        );
        for text in [
            "this means the build will fail on windows",
            "it fails, which means nobody tested it on windows",
            "I can't see any usage of it so, means that we are not logging",
            "we call the function twice in the main loop",
            "what does churned mean in this report here",
            "that is computed somewhere in the main loop",
        ] {
            check_none(text);
        }
    }

    #[test]
    fn questions_doubts_and_errands_state_nothing() {
        for text in [
            "why don't we use the other table instead of this?",
            "can you use the other table instead of this one",
            "shouldn't it be monthly, not weekly?",
            "is something wrong with the monthly report numbers",
            "something is wrong with the monthly report numbers",
            "no, go ahead and merge it into main",
            "no, I did that yesterday on my machine",
            "no idea what is going on in there",
            "no problem with that from my side at all",
            "actually, run the tests of the parser again",
            "I'm not sure, it should be monthly, not weekly",
            "maybe we should use tabs instead of spaces here",
            "if we use the export instead of the crm it is late",
            "it prints the old value instead of the new one",
            "tell me if I'm wrong about the numbers in it",
            "we never got to the bottom of that one",
            "we don't know where the numbers come from",
            "are we actually logging the agent in there",
            "don't use it",
            "no, wrong",
        ] {
            check_none(text);
        }
    }

    #[test]
    fn what_is_not_the_users_own_prose_states_nothing() {
        let statement = "we never store card numbers ourselves";
        for text in [
            format!("```\n{statement}\n```"),
            format!("look at this\n~~~md\n{statement}"),
            format!("> {statement}"),
            format!("    {statement}"),
            format!("the page says \"{statement}\" in bold"),
            format!("the page says “{statement}”"),
            format!("the page says '{statement}' in bold"),
            format!("run `echo {statement}` for me"),
            format!("2026-01-05T09:00:00Z {statement}"),
            format!("[12:01:22] {statement}"),
            format!("ERROR {statement}"),
            format!("main.rs:12: {statement}"),
            format!("| {statement} | x |"),
            format!("+ {statement}"),
            format!("User: do it\n\nAssistant: ok\n\n{statement}"),
            format!("# Plan\n\n{statement}"),
            format!("here is some review feedback:\n\n{statement}"),
            format!("I got this feedback, what do you think\n\n{statement}"),
            format!("<doc>\n{statement}\n</doc>"),
            format!("Implement the following plan:\n{statement}"),
            format!(
                "{}\n\n{statement}",
                "lorem ipsum dolor sit amet. ".repeat(60)
            ),
        ] {
            check_none(&text);
        }
        check(
            &format!("```\nlet a = 1;\n```\n\n{statement}\n> quoted"),
            &["correction: We never store card numbers ourselves"],
        );
        check(
            &format!("{statement}\n\n{}", "fn main() {}\n".repeat(200)),
            &["correction: We never store card numbers ourselves"],
        );
    }

    #[test]
    fn each_sentence_states_for_itself() {
        check(
            "No. Use the finance export. We never use the crm for that. Thanks!\n\
             - we always round down at the end\n- NRR means net revenue retention here",
            &[
                "correction: Use the finance export.",
                "correction: We never use the crm for that.",
                "correction: We always round down at the end",
                "unprompted_definition: NRR means net revenue retention here",
            ],
        );
    }

    #[test]
    fn no_text_is_too_odd() {
        let long = "no, ".repeat(20_000);
        for text in [
            "",
            "no,",
            "“",
            "'",
            "`",
            "…",
            "no, “é”… “",
            "Ünicode: no, é — ñ 'ß",
            "\u{0}",
            &long,
            "<a",
            "<>",
            "```",
            "not but",
            "and",
            "İ no, that's İ wrong İ çok yanlış olmuş bu",
        ] {
            for statement in of(text) {
                assert!(text.contains(statement.quote) && !statement.content.is_empty());
            }
        }
    }
}
