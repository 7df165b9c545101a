//! Finds the phrases of [`RULES`] in a sentence.

use super::form::{self, Form, Subject, Tense};
use super::mood;
use super::rule::{CONTINUING, GAP_WORDS, Place, Rule, Unless};
use super::rules::RULES;
use super::words::{Word, is_one_of};
use crate::verification::Detection;

/// Words of instructions and requirements.
const DIRECTING: &str = "must need needs should use want";
/// After a `not`, these words do not express a contrast.
const NO_CONTRAST: &str = "bad even just much necessarily only really sure to yet";
/// A longer sentence contains more than the rejected alternative.
const CONTRAST_WORDS: usize = 8;
/// Punctuation after which a clause ends.
const PAUSES: &str = ",.:;!—–-…(";

/// A phrase in a sentence.
#[derive(Clone, Copy, Debug)]
pub struct Signal {
    /// The rule.
    pub rule: &'static Rule,
    /// The number of words that belong to the phrase.
    pub words: usize,
    /// For phrases before their statement (`No, …`) or at its beginning: the beginning of the
    /// statement.
    pub statement_at: Option<usize>,
}

impl Signal {
    /// The type of the statement.
    pub fn kind(&self) -> Detection {
        self.rule.kind
    }
}

/// The phrase that opens a sentence, if there is one. Of several, as in `no, that's wrong, …`, it
/// ends with the last one.
pub fn opening(words: &[Word]) -> Option<Signal> {
    let mut signal = of(words, |rule| is_opening(rule.place)).next()?;
    while let Some(end) = signal.statement_at
        && let Some(rest) = words.get(end..).filter(|rest| !rest.is_empty())
        && let Some(next) = of(rest, |rule| is_opening(rule.place)).next()
    {
        let length = next.statement_at.unwrap_or(next.words);
        signal.words += length;
        signal.statement_at = Some(end + length);
    }
    Some(signal)
}

/// The phrase inside a statement with the highest score.
pub fn within(words: &[Word]) -> Option<Signal> {
    let signals = of(words, |rule| !is_opening(rule.place));
    // `max_by_key` would return the last of several.
    signals.reduce(|best, other| match other.rule.score > best.rule.score {
        true => other,
        false => best,
    })
}

/// Whether the words are an instruction or a requirement.
pub fn directs(words: &[Word]) -> bool {
    words.iter().any(|word| is_one_of(&word.text, DIRECTING))
}

/// Whether the words only name the rejected alternative: `Not in the cloud.`
pub fn is_contrast(words: &[Word]) -> bool {
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    match texts.as_slice() {
        ["not", second, _, ..] => words.len() <= CONTRAST_WORDS && !is_one_of(second, NO_CONTRAST),
        _ => false,
    }
}

/// Whether the words contain the phrase.
pub fn has(words: &[Word], phrase: &str) -> bool {
    (0..words.len()).any(|at| end_of(words, phrase, at).is_some())
}

/// Whether the words begin with the phrase, after fillers.
pub fn begins(words: &[Word], phrase: &str) -> bool {
    end_of(words, phrase, mood::fillers(words)).is_some()
}

/// Whether the words contain the phrase, and not directly before one of the words in `next`.
pub fn has_not_before(words: &[Word], phrase: &str, next: &[&str]) -> bool {
    let mut ends = (0..words.len()).filter_map(|at| end_of(words, phrase, at));
    ends.any(|end| !next.contains(&text_at(words, end)))
}

fn is_opening(place: Place) -> bool {
    matches!(
        place,
        Place::Opening | Place::OpeningPause | Place::OpeningAnyway | Place::Verdict
    )
}

/// The end of a phrase that begins at this word.
fn end_of(words: &[Word], phrase: &str, at: usize) -> Option<usize> {
    let mut at = at;
    let mut is_gap = false;
    for part in phrase.split(' ') {
        if part == "…" {
            is_gap = true;
            continue;
        }
        at = match is_gap {
            true => {
                let end = words.len().min(at + GAP_WORDS + 1);
                (at..end).find(|place| is_part(words, part, *place))? + 1
            }
            false => is_part(words, part, at).then_some(at + 1)?,
        };
        is_gap = false;
    }
    if is_gap {
        at = (at..words.len()).find(|place| pauses_behind(words, *place))? + 1;
    }
    Some(at)
}

fn is_part(words: &[Word], part: &str, at: usize) -> bool {
    let text = text_at(words, at);
    match part.strip_prefix(',') {
        Some(part) => text == part && is_set_off(words, at),
        None if part == "_" => !text.is_empty(),
        None => !text.is_empty() && part.split('/').any(|word| word == text),
    }
}

/// Whether the word expresses a contrast to the words before it: after a comma, or in `and not`.
fn is_set_off(words: &[Word], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| words.get(before));
    before
        .is_some_and(|word| matches!(word.mark, Some(',' | '—' | '–' | '(')) || word.text == "and")
}

/// Whether a pause follows the word: punctuation or the end of the sentence.
fn pauses_behind(words: &[Word], at: usize) -> bool {
    let Some(word) = words.get(at) else {
        return false;
    };
    let is_last = at + 1 == words.len();
    is_last || word.mark.is_some_and(|mark| PAUSES.contains(mark))
}

fn text_at(words: &[Word], at: usize) -> &str {
    words.get(at).map_or("", |word| word.text.as_str())
}

/// The signals of the rules that are selected, in the order of the rules.
fn of(words: &[Word], is_selected: impl Fn(&Rule) -> bool) -> impl Iterator<Item = Signal> {
    let sentence = Sentence::new(words);
    let rules = RULES.iter().filter(move |rule| is_selected(rule));
    rules.filter_map(move |rule| sentence.signal(rule))
}

/// The words of a sentence, for comparison.
struct Sentence<'a> {
    words: &'a [Word],
    /// The beginning of the sentence without its fillers.
    start: usize,
    form: Form,
}

impl<'a> Sentence<'a> {
    fn new(words: &'a [Word]) -> Self {
        Self {
            words,
            start: mood::fillers(words),
            form: form::of(words),
        }
    }

    fn text(&self, at: usize) -> &'a str {
        text_at(self.words, at)
    }

    fn signal(&self, rule: &'static Rule) -> Option<Signal> {
        let starts = match rule.place {
            Place::Opening | Place::OpeningPause | Place::OpeningAnyway | Place::Start => {
                self.start..self.words.len().min(self.start + 1)
            }
            Place::Kind => self.form.verb..self.words.len().min(self.form.verb + 1),
            Place::Fact => self.form.verb..self.words.len(),
            Place::Verdict | Place::Anywhere | Place::Clause | Place::Instruction | Place::Term => {
                0..self.words.len()
            }
        };
        for at in starts {
            let ends = rule
                .phrases
                .iter()
                .map(|phrase| end_of(self.words, phrase, at));
            for end in ends.flatten() {
                if self.is_in_place(rule, at, end) && !self.is_excluded(rule, at, end) {
                    let statement_at = match rule.place {
                        Place::Clause => Some(at),
                        place => is_opening(place).then_some(end),
                    };
                    return Some(Signal {
                        rule,
                        words: end - at,
                        statement_at,
                    });
                }
            }
        }
        None
    }

    fn is_in_place(&self, rule: &Rule, at: usize, end: usize) -> bool {
        match rule.place {
            Place::Opening => {
                pauses_behind(self.words, end - 1) || CONTINUING.contains(&self.text(end))
            }
            Place::OpeningPause => pauses_behind(self.words, end - 1),
            Place::OpeningAnyway | Place::Start | Place::Anywhere | Place::Clause => true,
            Place::Verdict => {
                pauses_behind(self.words, end - 1)
                    || ["because", "since", "as", "and", "but"].contains(&self.text(end))
            }
            Place::Instruction => self.is_directive(at),
            Place::Term => self.is_term(at),
            Place::Kind => self.form.subject == Subject::General,
            Place::Fact => {
                self.form.tense == Tense::Present
                    && !matches!(self.form.subject, Subject::None | Subject::Speaker)
            }
        }
    }

    fn is_excluded(&self, rule: &Rule, at: usize, end: usize) -> bool {
        rule.unless.iter().any(|unless| match unless {
            Unless::After(words) => at > 0 && words.contains(&self.text(at - 1)),
            Unless::Before(phrases) => phrases
                .iter()
                .any(|phrase| end_of(self.words, phrase, end).is_some()),
            Unless::Behind(words) => (0..at).any(|place| words.contains(&self.text(place))),
            Unless::Condition => self.is_conditional(at),
            Unless::Past => mood::is_past(self.text(end)),
        })
    }

    /// Whether the preceding words are an instruction or a requirement.
    fn is_directive(&self, before: usize) -> bool {
        const DIRECTING: &[&str] = &[
            "always", "have", "i'd", "let's", "lets", "like", "must", "need", "needs", "prefer",
            "please", "should", "want", "wanted", "use", "we", "would",
        ];
        mood::is_order(self.words) || (0..before).any(|at| DIRECTING.contains(&self.text(at)))
    }

    /// Whether a condition is open at the word: `if we use X instead of Y`.
    fn is_conditional(&self, at: usize) -> bool {
        const OPENING: &[&str] = &[
            "if", "when", "whether", "why", "because", "unless", "while", "wonder",
        ];
        let condition = (0..at)
            .rev()
            .find(|place| OPENING.contains(&self.text(*place)));
        condition.is_some_and(|condition| {
            !self.words[condition..at]
                .iter()
                .any(|word| word.mark == Some(','))
        })
    }

    /// Whether the words before are a term: a few words that do not refer to earlier text.
    fn is_term(&self, end: usize) -> bool {
        const REFERRING: &[&str] = &[
            "and", "but", "because", "he", "how", "i", "if", "it", "or", "she", "so", "that",
            "there", "these", "they", "this", "those", "what", "when", "which", "who", "you",
            "your",
        ];
        let term = &self.words[self.start.min(end)..end];
        (1..=6).contains(&term.len())
            && term
                .iter()
                .all(|word| word.mark != Some(',') && !REFERRING.contains(&word.text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phrases::words;

    #[test]
    fn a_phrase_has_alternatives_gaps_and_a_contrast() {
        let has = |text: &str, phrase: &str| has(&words::of(text), phrase);
        assert!(has("so we never do", "we always/never"));
        assert!(!has("so we do", "we always/never"));
        assert!(has("every user in it must sign", "every/all … must"));
        assert!(!has("it must be every user", "every/all … must"));
        assert!(has("use tabs, not spaces", "use … ,not"));
        assert!(has("use tabs and not spaces", "use … ,not"));
        assert!(!has("use tabs not spaces", "use … ,not"));
        assert!(!has("", "a"));
    }

    #[test]
    fn every_phrase_of_the_table_can_match() {
        for rule in RULES {
            for phrase in rule.phrases {
                let sample: Vec<&str> = phrase
                    .split(' ')
                    .map(|part| match part {
                        "…" => "thing",
                        ",not" => "and not",
                        "_" => "thing",
                        part => part.split('/').next().unwrap_or_default(),
                    })
                    .collect();
                let sample = sample.join(" ");
                assert!(has(&words::of(&sample), phrase), "{sample}");
            }
        }
    }
}
