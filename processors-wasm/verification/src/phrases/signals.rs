//! Signal phrases: words that mark a sentence as a correction, confirmation or definition.
//!
//! A phrase only counts in the right position: `actually` at the beginning of a sentence, `instead
//! of` in an instruction, `means` after a term.

use super::mood;
use super::words::{Word, is_one_of};
use crate::verification::Detection;

/// Words of instructions and requirements.
const DIRECTING: &str = "must need needs should use want";
/// Words that describe facts.
const STATING: &str = "are be is it's means that's was";
/// After a `not`, these words do not express a contrast.
const NO_CONTRAST: &str = "bad even just much necessarily only really sure to yet";
/// A longer sentence contains more than the rejected alternative.
const CONTRAST_WORDS: usize = 8;

/// A phrase in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The type of the statement.
    pub kind: Detection,
    /// The number of words that belong to the phrase.
    pub words: usize,
    /// For phrases before their statement (`No, …`): the beginning of the statement.
    pub statement_at: Option<usize>,
}

impl Signal {
    /// The phrase is inside its statement.
    fn within(kind: Detection, words: usize) -> Self {
        Self {
            kind,
            words,
            statement_at: None,
        }
    }

    /// The phrase precedes its statement.
    fn before(kind: Detection, words: usize, statement_at: usize) -> Self {
        Self {
            kind,
            words,
            statement_at: Some(statement_at),
        }
    }
}

/// The first signal of a sentence. Corrections take precedence over definitions, and definitions
/// over confirmations.
pub fn of(words: &[Word]) -> Option<Signal> {
    let sentence = Sentence::new(words);
    let corrections = [
        Sentence::says_no,
        Sentence::says_wrong,
        Sentence::says_actually,
        Sentence::names_a_substitute,
        Sentence::forbids,
        Sentence::says_what_should_be,
        Sentence::says_what_we_do,
        Sentence::contrasts,
    ];
    corrections
        .iter()
        .find_map(|correction| correction(&sentence))
        .or_else(|| sentence.defines())
        .or_else(|| sentence.confirms())
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

/// The words of a sentence, for comparison.
struct Sentence<'a> {
    words: &'a [Word],
    texts: Vec<&'a str>,
    /// The beginning of the sentence without its fillers.
    start: usize,
}

impl<'a> Sentence<'a> {
    fn new(words: &'a [Word]) -> Self {
        Self {
            words,
            texts: words.iter().map(|word| word.text.as_str()).collect(),
            start: mood::fillers(words),
        }
    }

    fn text(&self, at: usize) -> &'a str {
        self.texts.get(at).copied().unwrap_or_default()
    }

    /// The position of the phrase from a word on.
    fn find(&self, phrase: &[&str]) -> Option<usize> {
        self.texts
            .windows(phrase.len())
            .position(|window| window == phrase)
    }

    fn starts_with(&self, phrase: &[&str]) -> bool {
        self.texts[self.start..].starts_with(phrase)
    }

    /// Whether a pause follows the word: punctuation or the end of the sentence.
    fn pauses_behind(&self, at: usize) -> bool {
        let Some(word) = self.words.get(at) else {
            return false;
        };
        let is_last = at + 1 == self.words.len();
        is_last || word.mark.is_some_and(|mark| ",.:;!—–-…(".contains(mark))
    }

    /// Matches `no, …` and `no that …`.
    fn says_no(&self) -> Option<Signal> {
        // After a yes, or after other fillers than these, a no is an answer and not a correction.
        let no = self.start;
        if !matches!(self.text(no), "no" | "nope" | "nah") {
            return None;
        }
        let goes_on = [
            "that", "that's", "it", "it's", "this", "the", "we", "you", "these", "those",
        ]
        .contains(&self.text(no + 1));
        (self.pauses_behind(no) || goes_on)
            .then(|| Signal::before(Detection::Correction, 1, no + 1))
    }

    /// Matches `wrong, …`, `… is wrong`, `… is not right` and `not what I …`.
    fn says_wrong(&self) -> Option<Signal> {
        if matches!(self.text(self.start), "wrong" | "incorrect") && self.pauses_behind(self.start)
        {
            return Some(Signal::before(Detection::Correction, 1, self.start + 1));
        }
        if let Some(at) = self.find(&["not", "what", "i"]) {
            return Some(Signal::before(Detection::Correction, 4, at + 4));
        }
        let last = self.texts.len();
        for at in 1..last {
            let (length, is_negated) = match (self.text(at), self.text(at + 1)) {
                ("wrong" | "incorrect", _) => (1, false),
                ("not", "right" | "correct") => (2, false),
                ("right" | "correct", _) => (1, true),
                _ => continue,
            };
            let verb = self.text(at - 1);
            let is_verb = match is_negated {
                true => matches!(verb, "isn't" | "aren't" | "wasn't"),
                false => ["is", "are", "was", "that's", "it's", "you're", "this's"].contains(&verb),
            };
            if is_verb && self.pauses_or_reasons(at + length - 1) && self.is_about_a_thing(at) {
                return Some(Signal::before(
                    Detection::Correction,
                    length + 1,
                    at + length,
                ));
            }
        }
        None
    }

    /// A verdict ends its clause: a pause or a reason follows.
    fn pauses_or_reasons(&self, at: usize) -> bool {
        self.pauses_behind(at)
            || ["because", "since", "as", "and", "but"].contains(&self.text(at + 1))
    }

    /// Excludes `something is wrong`, `if that is wrong` and `tell me if I'm wrong`.
    fn is_about_a_thing(&self, verdict: usize) -> bool {
        !self.texts[..verdict].iter().any(|text| {
            [
                "something",
                "anything",
                "everything",
                "nothing",
                "what",
                "what's",
                "if",
                "whether",
                "i'm",
                "when",
                "think",
            ]
            .contains(text)
        })
    }

    /// Matches `actually, …`.
    fn says_actually(&self) -> Option<Signal> {
        let is_first = self.text(self.start) == "actually";
        is_first.then(|| Signal::before(Detection::Correction, 1, self.start + 1))
    }

    /// Matches `… instead of …` and `… rather than …` in an instruction.
    fn names_a_substitute(&self) -> Option<Signal> {
        let at = [["instead", "of"], ["rather", "than"]]
            .iter()
            .find_map(|phrase| self.find(phrase))
            .or_else(|| {
                let rather = self
                    .find(&["i'd", "rather"])
                    .or_else(|| self.find(&["would", "rather"]))?;
                self.texts[rather..].contains(&"than").then_some(rather)
            })?;
        (self.is_directive(at) && !self.is_conditional(at))
            .then(|| Signal::within(Detection::Correction, 2))
    }

    /// Whether the preceding words are an instruction or a requirement.
    fn is_directive(&self, before: usize) -> bool {
        const DIRECTING: &[&str] = &[
            "always", "have", "i'd", "let's", "lets", "like", "must", "need", "needs", "prefer",
            "please", "should", "want", "wanted", "use", "we", "would",
        ];
        mood::is_order(self.words)
            || self.texts[..before]
                .iter()
                .any(|text| DIRECTING.contains(text))
    }

    /// Whether a condition is open at the word: `if we use X instead of Y`.
    fn is_conditional(&self, at: usize) -> bool {
        let opens = |text: &str| {
            [
                "if", "when", "whether", "why", "because", "unless", "while", "wonder",
            ]
            .contains(&text)
        };
        let Some(condition) = self.texts[..at].iter().rposition(|text| opens(text)) else {
            return false;
        };
        !(condition..at).any(|place| self.words[place].mark == Some(','))
    }

    /// Matches `don't use`, `never use`, `stop using` and `we don't …`.
    fn forbids(&self) -> Option<Signal> {
        const FORBIDDING: &[&[&str]] = &[
            &["don't", "use"],
            &["do", "not", "use"],
            &["never", "use"],
            &["stop", "using"],
            &["don't", "ever", "use"],
            &["we", "don't"],
            &["we", "do", "not"],
            &["explicitly", "don't"],
        ];
        for phrase in FORBIDDING {
            let Some(at) = self.find(phrase) else {
                continue;
            };
            let before = at.checked_sub(1).map_or("", |before| self.text(before));
            let is_of_others =
                ["i", "they", "who", "that", "which", "you", "to", "did"].contains(&before);
            let says_what_we_do = phrase[0] == "we";
            let is_of_the_mind = [
                "know",
                "think",
                "see",
                "remember",
                "understand",
                "get",
                "care",
                "mind",
                "really",
                "even",
                "seem",
                "yet",
                "have",
                "believe",
            ]
            .contains(&self.text(at + phrase.len()));
            // `we don't have X` is a fact, and `we don't have to` cancels an errand.
            let says_what_there_is = self.text(at + phrase.len()) == "have"
                && !matches!(self.text(at + phrase.len() + 1), "to" | "time" | "any");
            let says_nothing = says_what_we_do && is_of_the_mind && !says_what_there_is;
            if !is_of_others && !says_nothing && !self.is_conditional(at) {
                return Some(Signal::within(Detection::Correction, phrase.len()));
            }
        }
        None
    }

    /// Matches `should be … not …`, `should … not …` and `should have …`.
    fn says_what_should_be(&self) -> Option<Signal> {
        let should = self.texts.iter().position(|text| *text == "should")?;
        let before = should.checked_sub(1).map_or("", |before| self.text(before));
        if matches!(before, "i" | "what" | "how") || self.is_conditional(should) {
            return None;
        }
        if self.text(should + 1) == "have" && self.text(should + 2) != "been" {
            return Some(Signal::within(Detection::Correction, 2));
        }
        let not = self.contrast(should + 2)?;
        (not > should).then(|| Signal::within(Detection::Correction, 2))
    }

    /// Matches `we always …` and `we never …`.
    fn says_what_we_do(&self) -> Option<Signal> {
        let at = self
            .find(&["we", "always"])
            .or_else(|| self.find(&["we", "never"]))?;
        let is_of_the_past = [
            "got", "get", "did", "had", "have", "been", "knew", "know", "saw", "were", "was",
        ]
        .contains(&self.text(at + 2));
        (!is_of_the_past && !self.is_conditional(at))
            .then(|| Signal::within(Detection::Correction, 2))
    }

    /// Matches `use … not …`, `… is …, not …` and `not … but …`.
    fn contrasts(&self) -> Option<Signal> {
        if self.starts_with(&["not"]) {
            let but = self.texts.iter().position(|text| *text == "but")?;
            let is_contrast =
                but > self.start + 1 && !is_one_of(self.text(self.start + 1), NO_CONTRAST);
            return is_contrast.then(|| Signal::within(Detection::Correction, 2));
        }
        let not = self.contrast(self.start + 2)?;
        let tells = |text: &&str| is_one_of(text, DIRECTING) || is_one_of(text, STATING);
        let verb = self.texts[..not].iter().position(tells)?;
        (!self.is_conditional(verb)).then(|| Signal::within(Detection::Correction, 2))
    }

    /// The position of a `not` that expresses a contrast to the words before it: after a comma, or
    /// in `and not`.
    fn contrast(&self, from: usize) -> Option<usize> {
        (from..self.texts.len().saturating_sub(1)).find(|&at| {
            let before = at.checked_sub(1);
            let is_set_off = before.is_some_and(|before| {
                matches!(self.words[before].mark, Some(',' | '—' | '–' | '('))
                    || self.texts[before] == "and"
            });
            self.texts[at] == "not" && is_set_off && !is_one_of(self.text(at + 1), NO_CONTRAST)
        })
    }

    /// Matches `… means …`, `… is defined as …`, `… stands for …`, `by … we mean …`, `… is computed
    /// …` and `we call …`.
    fn defines(&self) -> Option<Signal> {
        let definition = |words| Some(Signal::within(Detection::Definition, words));
        if let Some(at) = self.find(&["we", "mean"])
            && self.texts[..at].contains(&"by")
        {
            return definition(3);
        }
        if let Some(at) = self.find(&["we", "call"]) {
            let names_something = ["it", "this", "that", "these", "those", "them", "such"]
                .contains(&self.text(at + 2));
            let is_named = at > 0 && matches!(self.text(at - 1), "what" | "which" | "that");
            return (names_something || is_named).then(|| Signal::within(Detection::Definition, 2));
        }
        const DEFINING: &[&[&str]] = &[
            &["is", "defined", "as"],
            &["are", "defined", "as"],
            &["stands", "for"],
            &["is", "computed"],
            &["is", "calculated"],
            &["are", "computed"],
            &["are", "calculated"],
            &["means"],
        ];
        let (at, phrase) = DEFINING
            .iter()
            .find_map(|phrase| Some((self.find(phrase)?, phrase)))?;
        let is_passive = matches!(phrase.last(), Some(&("computed" | "calculated")));
        let says_how = !is_passive
            || self.texts[at..]
                .iter()
                .any(|text| ["as", "by", "from", "over", "per", "with", "using"].contains(text));
        (says_how && self.is_term(at)).then(|| Signal::within(Detection::Definition, phrase.len()))
    }

    /// Whether the words before are a term: a few words that do not refer to earlier text.
    fn is_term(&self, end: usize) -> bool {
        const REFERRING: &[&str] = &[
            "and", "but", "because", "he", "how", "i", "if", "it", "or", "she", "so", "that",
            "there", "these", "they", "this", "those", "what", "when", "which", "who", "you",
            "your",
        ];
        let term = &self.texts[self.start.min(end)..end];
        let is_apart = (self.start..end).any(|at| self.words[at].mark == Some(','));
        (1..=6).contains(&term.len())
            && !is_apart
            && !term.iter().any(|text| REFERRING.contains(text))
    }

    /// Matches `that's right`, `exactly`, `correct` and `confirmed` before a statement.
    fn confirms(&self) -> Option<Signal> {
        const CONFIRMING: &[&[&str]] = &[
            &["that's", "right"],
            &["that", "is", "right"],
            &["that's", "correct"],
            &["that", "is", "correct"],
            &["you're", "right"],
            &["exactly"],
            &["correct"],
            &["confirmed"],
        ];
        let phrase = CONFIRMING.iter().find(|phrase| self.starts_with(phrase))?;
        let end = self.start + phrase.len();
        self.pauses_behind(end - 1)
            .then(|| Signal::before(Detection::Confirmation, phrase.len(), end))
    }
}
