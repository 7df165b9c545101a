//! The rules of the detector `phrases`, as data.
//!
//! [`RULES`] lists the phrases, where each of them counts, and with what it does not count. The
//! table in `docs/verification.md` is generated from it ([`super::docs`]).
//!
//! A phrase is a list of words. `a/b` is either word, `…` is any number of words, and `,not` is a
//! `not` that is set off from the words before it: by a comma, a dash, a bracket or `and`.

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
}

/// Words with which a statement can follow a `no` without a pause.
pub const CONTINUING: &[&str] = &[
    "that", "that's", "it", "it's", "this", "the", "we", "you", "these", "those",
];

const OF_OTHERS: Unless = Unless::After(&["i", "they", "who", "that", "which", "you", "to", "did"]);
const OF_THE_MIND: Unless = Unless::Before(&[
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
]);
const NO_CONTRAST: Unless = Unless::Before(&[
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
const OF_A_DOUBT: Unless = Unless::Behind(&[
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
const OF_THE_PAST: Unless = Unless::Before(&[
    "got", "get", "did", "had", "have", "been", "knew", "know", "saw", "were", "was",
]);

const fn rule(
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

use Detection::{Confirmation, Correction, Definition};

/// The rules. Of rules that open a sentence, the first one counts. Of the others, the one with the
/// highest score counts, or the first of those.
pub const RULES: &[Rule] = &[
    rule(Correction, Place::Opening, 55, &["no/nope/nah"], &[]),
    rule(
        Correction,
        Place::OpeningPause,
        55,
        &["wrong/incorrect"],
        &[],
    ),
    rule(Correction, Place::OpeningAnyway, 55, &["actually"], &[]),
    rule(
        Correction,
        Place::Verdict,
        55,
        &[
            "is/are/was/that's/it's/you're wrong/incorrect",
            "is/are/was/that's/it's/you're not right/correct/true/accurate",
            "is/are/was/that's/it's/you're not fully/quite/entirely/completely right/correct/true/accurate",
            "isn't/aren't/wasn't right/correct/true/accurate",
        ],
        &[OF_A_DOUBT],
    ),
    rule(
        Correction,
        Place::Verdict,
        45,
        &["not what i meant/said/asked/want/wanted"],
        &[],
    ),
    rule(
        Confirmation,
        Place::OpeningPause,
        55,
        &[
            "that's right/correct",
            "that is right/correct",
            "you're right",
            "exactly",
            "correct",
            "confirmed",
        ],
        &[],
    ),
    rule(
        Correction,
        Place::Anywhere,
        65,
        &["we always/never"],
        &[OF_THE_PAST, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Anywhere,
        55,
        &["we don't", "we do not"],
        &[OF_OTHERS, OF_THE_MIND, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Anywhere,
        65,
        &["we explicitly don't/never", "we explicitly do not"],
        &[Unless::Condition],
    ),
    rule(
        Correction,
        Place::Start,
        65,
        &["always/never", "don't/do ever", "do not ever"],
        &[Unless::Before(&[
            "mind", "been", "had", "got", "knew", "saw", "actually", "really", "the", "a",
        ])],
    ),
    rule(
        Correction,
        Place::Anywhere,
        65,
        &[
            "should/must/can/may/has/have always/never",
            "should/must … always/never",
        ],
        &[OF_OTHERS, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Anywhere,
        70,
        &[
            "from now on",
            "going forward",
            "as a rule",
            "by convention",
            "our convention/policy/rule/standard/practice",
            "the convention/policy/rule is",
            "it is/it's our convention/policy/rule",
        ],
        &[Unless::Condition],
    ),
    rule(
        Correction,
        Place::Anywhere,
        65,
        &["every/all/each/any … should/must", "no … should/must ever"],
        &[Unless::Condition, OF_A_DOUBT],
    ),
    rule(
        Correction,
        Place::Anywhere,
        55,
        &["don't use", "do not use", "never use", "stop using"],
        &[OF_OTHERS, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Instruction,
        45,
        &["instead of", "rather than", "i'd/would rather … than"],
        &[Unless::Condition],
    ),
    rule(
        Correction,
        Place::Anywhere,
        55,
        &["should have"],
        &[
            Unless::After(&["i", "what", "how"]),
            Unless::Before(&["been"]),
            Unless::Condition,
        ],
    ),
    rule(
        Correction,
        Place::Anywhere,
        55,
        &["should … ,not"],
        &[
            Unless::After(&["i", "what", "how"]),
            NO_CONTRAST,
            Unless::Condition,
        ],
    ),
    rule(
        Correction,
        Place::Anywhere,
        55,
        &[
            "must/need/needs/use/want … ,not",
            "are/be/is/it's/means/that's/was … ,not",
        ],
        &[NO_CONTRAST, Unless::Condition],
    ),
    rule(Correction, Place::Start, 45, &["not … but"], &[NO_CONTRAST]),
    rule(
        Definition,
        Place::Term,
        70,
        &["is/are defined as", "stands for", "means"],
        &[],
    ),
    rule(
        Definition,
        Place::Anywhere,
        55,
        &[
            "is/are composed/made/built of/with/from",
            "is/are stored/saved/located/kept/written in/at/on/under/to",
            "consists/consist of",
            "lives/live in/at/under",
            "you can find it/them in/into/at/under",
        ],
        &[Unless::Condition, OF_A_DOUBT],
    ),
    rule(
        Correction,
        Place::Clause,
        55,
        &[
            "make sure … should/must/always/never",
            "remember to/that … always/never/must",
        ],
        &[],
    ),
    rule(
        Definition,
        Place::Term,
        70,
        &["is/are computed/calculated … as/by/from/over/per/with/using"],
        &[],
    ),
    rule(Definition, Place::Anywhere, 70, &["by … we mean"], &[]),
    rule(
        Definition,
        Place::Anywhere,
        65,
        &[
            "we call it/this/that/these/those/them/such",
            "what/which we call",
        ],
        &[Unless::Condition],
    ),
];

/// A statement with a lower score is not stored, in percent.
pub const SCORE_MIN: i32 = 30;
