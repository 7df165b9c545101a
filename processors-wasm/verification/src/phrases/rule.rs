//! What a rule of the detector `phrases` consists of, and conditions that several rules share.

use crate::verification::Detection;

/// A phrase and its conditions.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The type of the statement that the phrase marks.
    pub kind: Detection,
    /// The phrases.
    pub phrases: &'static [&'static str],
    /// Where the phrase counts.
    pub place: Place,
    /// With what the phrase does not count.
    pub unless: &'static [Unless],
    /// How likely the statement is worth keeping, in percent, before its [signs](super::signs::SIGNS).
    pub score: i32,
}

/// A position in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the start. The statement follows, after a pause or with one of [`CONTINUING`].
    Opening,
    /// At the start. The statement follows, after a pause.
    OpeningPause,
    /// At the start. The statement follows.
    OpeningAnyway,
    /// At the end of a clause. The statement follows, or is the sentence itself.
    Verdict,
    /// At the start.
    Start,
    /// Anywhere.
    Anywhere,
    /// Anywhere. The statement begins with the phrase.
    Clause,
    /// In a sentence that says what to do.
    Instruction,
    /// After a term of one to six words that does not refer to earlier text.
    Term,
    /// As the verb of a sentence about all things of a kind.
    Kind,
    /// After the verb of a sentence that says how a thing is.
    Fact,
}

/// A condition under which a phrase does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unless {
    /// Directly after one of these words.
    After(&'static [&'static str]),
    /// Directly before one of these phrases.
    Before(&'static [&'static str]),
    /// After one of these words, anywhere in the sentence.
    Behind(&'static [&'static str]),
    /// In a condition that is still open.
    Condition,
    /// Directly before a verb in the past.
    Past,
}

/// More words between two parts of a phrase separate them.
pub const GAP_WORDS: usize = 12;

/// Words with which a statement can follow a `no` without a pause.
pub const CONTINUING: &[&str] = &[
    "that", "that's", "it", "it's", "this", "the", "we", "you", "these", "those", "there",
    "there's",
];

/// The subject is someone else.
pub const OF_OTHERS: Unless =
    Unless::After(&["i", "they", "who", "that", "which", "you", "to", "did"]);
/// The verb is about what someone thinks or needs at the moment.
pub const OF_THE_MIND: Unless = Unless::Before(&[
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
    "believe",
    "need",
    "want",
    "have to",
    "have time",
    "have any",
    "have yet",
    "have much",
    "have enough",
]);
/// The *not* does not reject an alternative.
pub const NO_CONTRAST: Unless = Unless::Before(&[
    "bad",
    "even",
    "just",
    "much",
    "necessarily",
    "only",
    "really",
    "sure",
    "to",
    "yet",
]);
/// The sentence asks or guesses.
pub const OF_A_DOUBT: Unless = Unless::Behind(&[
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
]);
/// The verb is about what happened.
pub const OF_THE_PAST: Unless = Unless::Before(&["got", "get", "have", "been", "know", "actually"]);

/// A rule.
pub const fn rule(
    kind: Detection,
    place: Place,
    score: i32,
    phrases: &'static [&'static str],
    unless: &'static [Unless],
) -> Rule {
    Rule {
        kind,
        phrases,
        place,
        unless,
        score,
    }
}
