//! Extracts the corrected, confirmed or defined statements that signal phrases mark.

use std::ops::Range;

use super::matching::{self, Signal};
use super::mood::Tail;
use super::rules::SCORE_MIN;
use super::sentences::{self, Sentence};
use super::signs::HEDGES;
use super::words::Word;
use super::{mood, prose, quotations, score, words};
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
    /// How likely it is worth keeping, from 0 to 100.
    pub score: u32,
}

/// A sentence can end before a clause in which the speaker is not sure if it has more words.
const CLAUSE_WORDS: usize = 8;
/// The score of a statement with its contrast in a separate sentence, before its signs.
const SET_OFF_SCORE: i32 = 35;
/// The score of a statement whose phrase before it is confirmed by a phrase inside it rises by this.
const BOTH_SCORE: i32 = 10;
/// The minimum score of a phrase that confirms another.
const CONFIRMING_SCORE: i32 = 40;

/// The statements in the typed ranges of a user's text, in order, with a score of at least
/// [`SCORE_MIN`].
pub fn of<'a>(text: &'a str, typed: &[Range<usize>]) -> Vec<Statement<'a>> {
    let mut statements = Vec::new();
    let turn: String = typed
        .iter()
        .filter_map(|range| text.get(range.clone()))
        .collect();
    let turn = turn.to_lowercase();
    for passage in prose::of(text, typed) {
        let passage = &text[passage];
        let masked = quotations::masked(passage);
        let sentences: Vec<Part<'_>> = sentences::of(&masked)
            .into_iter()
            .map(|sentence| Part::of(passage, &masked, sentence))
            .collect();
        let whole = Passage {
            text: passage,
            masked: &masked,
            first: sentences.first().map_or(&[], |part| &part.words),
            turn: &turn,
        };
        let mut at = 0;
        while at < sentences.len() {
            match statement(whole, &sentences[at..]) {
                Some((statement, length)) => {
                    statements.push(statement);
                    at += length;
                }
                None => at += 1,
            }
        }
    }
    statements.retain(|statement| i64::from(statement.score) >= i64::from(SCORE_MIN));
    statements
}

/// A passage of prose.
#[derive(Clone, Copy)]
struct Passage<'a, 'm> {
    text: &'a str,
    /// The text with its quotations masked, so that their words are not phrases.
    masked: &'m str,
    /// The words of its first sentence.
    first: &'m [Word],
    /// What the user typed in the turn, in lower case.
    turn: &'m str,
}

impl<'a> Passage<'a, '_> {
    /// A statement of this type, whose phrase has the score that `base` returns for its words.
    /// `skipped` is the length of its introduction.
    fn statement(
        self,
        kind: Detection,
        quoted: Range<usize>,
        skipped: usize,
        base: impl FnOnce(&[Word]) -> i32,
    ) -> Option<Statement<'a>> {
        let quote = self.text.get(quoted.clone())?;
        let text = quote.get(skipped..)?;
        let words = words::of(self.masked.get(quoted.start + skipped..quoted.end)?);
        let candidate = score::Candidate {
            words: &words,
            text,
            paragraph: self.first,
            turn: self.turn,
        };
        Some(Statement {
            kind,
            content: content(text),
            quote,
            score: score::of(base(&words), candidate),
        })
    }
}

/// A sentence without the request or the question at its end, and its words.
struct Part<'a> {
    words: Vec<Word>,
    text: &'a str,
    /// The beginning in its passage.
    start: usize,
    /// The final punctuation.
    end: Option<char>,
    /// Whether it ended with a question about itself (`…, right?`) or with a clause in which the
    /// speaker is not sure.
    is_doubted: bool,
}

impl<'a> Part<'a> {
    fn of(passage: &'a str, masked: &str, sentence: Sentence) -> Self {
        let range = sentence.range;
        let mut words = words::of(&masked[range.clone()]);
        let mut part = Self {
            words: Vec::new(),
            text: &passage[range.clone()],
            start: range.start,
            end: sentence.end,
            is_doubted: false,
        };
        if let Some((length, tail)) = mood::tail(&words, sentence.end) {
            words.truncate(length);
            let end = words.last().map_or(0, |word| word.end);
            part.text = &passage[range.start..range.start + end];
            part.end = None;
            part.is_doubted = tail == Tail::Doubt;
        }
        let sure = length_without_doubt(&words);
        if sure < words.len() {
            words.truncate(sure);
            let end = words.last().map_or(0, |word| word.end);
            part.text = &passage[range.start..range.start + end];
            part.end = None;
            part.is_doubted = true;
        }
        part.words = words;
        part
    }

    /// The part from a word on. `None` if it has too few words.
    fn from(&self, at: usize) -> Option<Self> {
        let start = self.words.get(at)?.start;
        let words = self.words[at..].iter().map(|word| Word {
            start: word.start - start,
            end: word.end - start,
            ..word.clone()
        });
        let part = Self {
            words: words.collect(),
            text: self.text.get(start..)?,
            start: self.start + start,
            ..*self
        };
        (part.words.len() >= WORDS_MIN).then_some(part)
    }

    fn states(&self) -> bool {
        self.words.len() <= WORDS_MAX
            && !mood::is_question(&self.words, self.end)
            && !mood::wonders(&self.words)
    }
}

/// The number of words before the first clause in which the speaker is not sure, if a statement fits
/// in them. Otherwise, the number of all words.
fn length_without_doubt(words: &[Word]) -> usize {
    let mut start = 0;
    for (at, word) in words.iter().enumerate() {
        let is_end = at + 1 == words.len() || matches!(word.mark, Some(',' | ';' | '–' | '—'));
        if !is_end {
            continue;
        }
        let clause = &words[start..=at];
        if HEDGES.iter().any(|hedge| matching::has(clause, hedge)) {
            return if start > CLAUSE_WORDS {
                start
            } else {
                words.len()
            };
        }
        start = at + 1;
    }
    words.len()
}

/// The statement that begins with the first sentence, and the number of sentences it uses.
fn statement<'a>(
    passage: Passage<'a, '_>,
    sentences: &[Part<'a>],
) -> Option<(Statement<'a>, usize)> {
    let first = sentences.first()?;
    if !first.states() {
        return None;
    }
    let opening = matching::opening(&first.words);
    // A doubt at the end of a correction is about its last clause: `That is wrong, it is …, right?`
    let corrects = opening.is_some_and(|signal| signal.kind() == Detection::Correction);
    if first.is_doubted && !corrects {
        return None;
    }
    let length = opening.map_or(0, |signal| {
        let at = signal.statement_at.unwrap_or_default();
        reach(
            &signal,
            &first.words[at.min(first.words.len())..],
            sentences,
        )
    });
    let Some(signal) = opening.filter(|_| length > 0) else {
        return plain(passage, sentences);
    };
    let last = sentences[..length].last()?;
    let skipped = match signal.statement_at {
        Some(at) if at < first.words.len() && length == 1 => {
            let rest = &first.words[at..];
            let fillers = mood::fillers(rest).min(rest.len().saturating_sub(1));
            rest.get(fillers).map_or(0, |word| word.start)
        }
        Some(_) if length == 2 && first.words.len() < signal.words + WORDS_MIN => {
            sentences[1].start - first.start
        }
        _ => first_word(first),
    };
    let base = |words: &[Word]| {
        let inner = matching::within(words).map(|inner| inner.rule.score);
        let inner = inner.filter(|score| *score >= CONFIRMING_SCORE);
        inner.map_or(signal.rule.score, |inner| {
            inner.max(signal.rule.score) + BOTH_SCORE
        })
    };
    let quoted = first.start..last.start + last.text.len();
    let statement = passage.statement(signal.kind(), quoted, skipped, base)?;
    Some((statement, length))
}

/// The statement in the first sentence, without a phrase before it.
fn plain<'a>(passage: Passage<'a, '_>, sentences: &[Part<'a>]) -> Option<(Statement<'a>, usize)> {
    let [first, rest @ ..] = sentences else {
        return None;
    };
    if let Some(clause) = after_but(&first.words).and_then(|at| first.from(at)) {
        let whole = plain_in(passage, first, rest);
        let clause = plain_in(passage, &clause, rest);
        let score = |found: &Option<(Statement<'a>, usize)>| {
            found.as_ref().map(|(statement, _)| statement.score)
        };
        return if score(&clause) > score(&whole) {
            clause
        } else {
            whole
        };
    }
    plain_in(passage, first, rest)
}

/// The beginning of the clause after a `, but`: `it expects X, but X is always Y`.
fn after_but(words: &[Word]) -> Option<usize> {
    let is_but = |pair: &[Word]| pair[0].mark == Some(',') && pair[1].text == "but";
    words.windows(2).position(is_but).map(|at| at + 2)
}

/// The statement in a sentence or its last clause.
fn plain_in<'a>(
    passage: Passage<'a, '_>,
    first: &Part<'a>,
    rest: &[Part<'a>],
) -> Option<(Statement<'a>, usize)> {
    let signal = matching::within(&first.words);
    let signal = signal.filter(|signal| first.words.len() >= signal.words.min(2) + WORDS_MIN);
    // `It has to be local. Not in the cloud.`
    let is_set_off = first.words.len() >= WORDS_MIN
        && matching::directs(&first.words)
        && rest
            .first()
            .is_some_and(|next| next.states() && matching::is_contrast(&next.words));
    let (kind, base) = match (signal, is_set_off) {
        (Some(signal), _) => (signal.kind(), signal.rule.score),
        (None, true) => (Detection::Correction, SET_OFF_SCORE),
        (None, false) => return None,
    };
    let length = 1 + usize::from(is_set_off);
    let last = if length == 1 { first } else { rest.first()? };
    let start = signal
        .and_then(|signal| signal.statement_at)
        .and_then(|at| first.words.get(at))
        .map_or_else(|| first_word(first), |word| word.start);
    let quoted = first.start..last.start + last.text.len();
    let statement = passage.statement(kind, quoted, start, |_| base)?;
    Some((statement, length))
}

/// The beginning of a sentence without its fillers.
fn first_word(part: &Part<'_>) -> usize {
    let start = mood::fillers(&part.words).min(part.words.len().saturating_sub(1));
    part.words.get(start).map_or(0, |word| word.start)
}

/// The number of sentences that belong to a phrase before its statement: its own sentence if enough
/// words remain, or also the next one. Zero if they contain no statement.
fn reach(signal: &Signal, rest: &[Word], sentences: &[Part<'_>]) -> usize {
    let is_statement = |words: &[Word]| {
        let is_confirmed = signal.kind() == Detection::Confirmation;
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
    if next.is_some_and(|next| next.states() && !next.is_doubted && is_statement(&next.words)) {
        return 2;
    }
    let is_verdict = signal.words > 1 && signal.kind() == Detection::Correction;
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
mod tests;
