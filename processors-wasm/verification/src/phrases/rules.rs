//! The rules of the detector `phrases`, as data.
//!
//! [`RULES`] lists the phrases, where each of them counts, and with what it does not count. The
//! table in `docs/verification.md` is generated from it ([`super::docs`]).
//!
//! A phrase is a list of words. `a/b` is either word, `_` is any word, `…` is up to
//! [`GAP_WORDS`] words or, at the end, the rest of the clause, and `,not` is a `not` that is set off from the words before it: by a comma, a dash, a bracket or
//! `and`.

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
    "have much",
    "have enough",
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
    "got", "get", "have", "been", "know", "actually",
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
    // Phrases before a statement.
    rule(
        Correction,
        Place::Opening,
        45,
        &["no/nope/nah", "no no"],
        &[],
    ),
    rule(
        Correction,
        Place::OpeningPause,
        45,
        &[
            "wrong/incorrect",
            "not quite/really/exactly/true/correct/right",
        ],
        &[],
    ),
    rule(
        Correction,
        Place::OpeningAnyway,
        45,
        &["actually", "to clarify", "to be clear/precise/exact"],
        &[],
    ),
    rule(
        Correction,
        Place::OpeningPause,
        40,
        &["in fact/reality", "technically", "correction/clarification"],
        &[],
    ),
    rule(
        Correction,
        Place::Verdict,
        55,
        &[
            "is/are/was/that's/it's/you're wrong/incorrect/inaccurate/false",
            "is/are/was/that's/it's/you're not right/correct/true/accurate",
            "is/are/was/that's/it's/you're not always/completely/entirely/exactly/fully/necessarily/quite/really/totally right/correct/true/accurate",
            "isn't/aren't/wasn't right/correct/true/accurate",
            "think that's right/correct/true",
            "you're wrong about …",
        ],
        &[OF_A_DOUBT],
    ),
    rule(
        Correction,
        Place::Verdict,
        55,
        &[
            "not how it/that/this works",
            "not how the … works",
            "not what i meant/said/want/wanted",
            "is/that's/it's a misunderstanding/misconception",
            "that's/it's/is the wrong _",
            "doesn't match reality",
            "not the case",
            "not what … does/means/is",
            "you misunderstood/misread …",
            "your assumption/understanding … is off/wrong",
        ],
        &[OF_A_DOUBT],
    ),
    rule(
        Correction,
        Place::Clause,
        45,
        &[
            "you mixed/confused/swapped",
            "you keep assuming/treating/confusing/mixing",
        ],
        &[],
    ),
    rule(
        Confirmation,
        Place::OpeningPause,
        45,
        &[
            "that's right/correct/true",
            "that is right/correct/true",
            "you're right/correct",
            "you're right/correct that …",
            "you are right/correct",
            "you are right/correct that …",
            "exactly",
            "correct",
            "confirmed",
            "right",
        ],
        &[],
    ),
    rule(
        Definition,
        Place::OpeningAnyway,
        45,
        &[
            "fyi/btw",
            "by the way",
            "for context/reference/background/info",
            "for the record",
            "for your information/reference",
            "just so you know",
            "so you know",
            "keep in mind",
            "bear in mind",
            "note/remember that",
            "heads up",
        ],
        &[],
    ),
    rule(
        Definition,
        Place::OpeningPause,
        45,
        &[
            "one more/other thing",
            "another thing",
            "important/note/reminder/remember/background/context/rule",
        ],
        &[],
    ),
    // Rules of a team.
    rule(
        Correction,
        Place::Anywhere,
        50,
        &["we always/never"],
        &[OF_THE_PAST, Unless::Past, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Anywhere,
        45,
        &["we only"],
        &[OF_THE_PAST, Unless::Past, OF_THE_MIND, OF_OTHERS, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Anywhere,
        45,
        &["we don't", "we do not"],
        &[OF_OTHERS, OF_THE_MIND, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Anywhere,
        35,
        &["we don't want", "we do not want"],
        &[OF_OTHERS, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Anywhere,
        30,
        &["will/would/won't always/never/only"],
        &[OF_OTHERS, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Anywhere,
        60,
        &["we explicitly/deliberately/intentionally don't/never", "we explicitly/deliberately do not"],
        &[Unless::Condition],
    ),
    rule(
        Correction,
        Place::Start,
        45,
        &["always/never", "don't/do ever", "do not ever", "don't … ever"],
        &[Unless::Before(&[
            "mind", "been", "had", "got", "knew", "saw", "actually", "really", "the", "a", "good",
        ])],
    ),
    rule(
        Correction,
        Place::Anywhere,
        50,
        &[
            "should/must/has/have always/never",
            "can/may never",
            "should/must … always/never",
        ],
        &[OF_OTHERS, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Anywhere,
        60,
        &[
            "from now on",
            "going forward",
            "as a rule",
            "as a general rule",
            "by convention",
            "our convention/policy/rule/standard/practice",
            "the convention/policy/rule is",
            "it is/it's our convention/policy/rule",
            "team/company/global decision/rule/policy/convention",
            "rule for the/all/every/our",
        ],
        &[Unless::Condition],
    ),
    rule(
        Correction,
        Place::Kind,
        40,
        &[
            "must/mustn't/should/shouldn't",
            "has/have to",
            "needs/need to/a/an/the",
        ],
        &[Unless::Condition],
    ),
    rule(
        Correction,
        Place::Anywhere,
        45,
        &["don't use", "do not use", "stop using"],
        &[OF_OTHERS, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Instruction,
        35,
        &["instead of", "rather than", "i'd/would rather … than"],
        &[Unless::Condition],
    ),
    rule(
        Correction,
        Place::Anywhere,
        35,
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
        45,
        &["must/need/needs/use/want … ,not"],
        &[NO_CONTRAST, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Clause,
        45,
        &[
            "make sure … should/must/always/never",
            "remember to/that … always/never/must",
        ],
        &[],
    ),
    // How things are.
    rule(
        Correction,
        Place::Fact,
        45,
        &[",not"],
        &[NO_CONTRAST, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Fact,
        25,
        &["always/never"],
        &[Unless::After(&["can", "could"]), Unless::Past, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Fact,
        30,
        &["only", "exactly one"],
        &[Unless::Past, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Fact,
        35,
        &["is/are not a/an", "isn't/aren't a/an"],
        &[Unless::Condition],
    ),
    rule(
        Correction,
        Place::Anywhere,
        30,
        &["must/may not/never", "mustn't"],
        &[OF_OTHERS, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Start,
        35,
        &["only", "nobody/none/no but", "not … but"],
        &[NO_CONTRAST],
    ),
    rule(
        Correction,
        Place::Anywhere,
        45,
        &[
            "no such thing as",
            "not the same as",
            "has/have nothing to do with",
            "on purpose",
            "by design",
            "is/are intentional/deliberate/expected",
            "not a bug",
        ],
        &[OF_A_DOUBT, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Fact,
        35,
        &["instead", "rather than"],
        &[Unless::Condition],
    ),
    rule(
        Definition,
        Place::Fact,
        35,
        &[
            "by default",
            "once per",
            "for each/every",
            "is/are not/only/never allowed/permitted/supported",
            "isn't/aren't allowed/permitted/supported",
            "requires/require",
            "depends/depend on",
            "is/are used to/for/by/as/when",
            "is/are append-only/case-sensitive/confidential/deprecated/deterministic/idempotent/immutable/mandatory/optional/read-only/required/stateless/unique",
        ],
        &[Unless::Condition],
    ),
    rule(
        Definition,
        Place::Anywhere,
        45,
        &[
            "source of truth",
            "there are two/three/four/five kinds/modes/sorts/types/variants of",
            "the reason … is",
            "according to _",
        ],
        &[OF_A_DOUBT, Unless::Condition],
    ),
    rule(
        Correction,
        Place::Start,
        50,
        &["prefer … over/to"],
        &[],
    ),
    // Definitions.
    rule(
        Definition,
        Place::Term,
        60,
        &[
            "is/are defined as",
            "stands for",
            "means",
            "refers/refer to",
            "is/are short for",
            "doesn't/don't mean",
            "does/do not mean",
        ],
        &[],
    ),
    rule(
        Definition,
        Place::Term,
        60,
        &["is/are computed/calculated … as/by/from/over/per/with/using"],
        &[],
    ),
    rule(
        Definition,
        Place::Kind,
        45,
        &[
            "is/are considered/counted/treated",
            "counts/count as",
            "is/are one/a/an … that/who/which/with/without/whose",
            "is/are when",
            "is/are called",
            "is/are a/an/the pair/group/list/set/combination of",
        ],
        &[Unless::Before(&[
            "again", "after", "before", "by", "done", "for", "from", "in", "on", "once", "twice",
            "when", "with",
        ])],
    ),
    rule(
        Definition,
        Place::Fact,
        40,
        &[
            "is/are composed/made/built of/with/from",
            "is/are stored/saved/located/kept/written in/at/on/under/to",
            "is/are excluded/included",
            "consists/consist of",
            "belongs/belong to",
            "is/are owned by",
            "lives/live in/at/under/on",
        ],
        &[Unless::Condition],
    ),
    rule(
        Definition,
        Place::Anywhere,
        50,
        &["you can find it/them in/into/at/under"],
        &[Unless::Condition],
    ),
    rule(Definition, Place::Anywhere, 60, &["by … we mean"], &[]),
    rule(
        Definition,
        Place::Anywhere,
        60,
        &[
            "we call it/this/that/these/those/them/such",
            "what/which we call",
        ],
        &[Unless::Condition],
    ),
];

/// A statement with a lower score is not stored, in percent.
pub const SCORE_MIN: i32 = 30;
