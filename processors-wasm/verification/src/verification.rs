//! What a detector finds, whichever it is.

/// Something that a user verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// How it was verified, in the detector's own word; [`Detection::of`] understands it.
    pub detection: String,
    /// What it is about, in a few words.
    pub title: String,
    /// What was verified.
    pub content: String,
    /// The user's own words.
    pub quote: String,
    /// The domain that it belongs to; `None` where it is none of those that there are.
    pub domain: Option<String>,
    /// What it names.
    pub entities: Vec<String>,
    /// The line that holds the quote.
    pub line: u64,
    /// `uuid` of that line, where it has one.
    pub line_uuid: Option<String>,
}

/// How something was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// The user put something right.
    Correction,
    /// The user said that something is so.
    Confirmation,
    /// The user said what something is, unasked.
    Definition,
}

/// The domains that knowledge belongs to.
pub const DOMAINS: [&str; 6] = [
    "finance",
    "engineering",
    "product",
    "data",
    "operations",
    "infrastructure",
];

impl Detection {
    /// All that there are.
    pub const ALL: [Detection; 3] = [
        Detection::Correction,
        Detection::Confirmation,
        Detection::Definition,
    ];

    /// The kind of that name; `None` for any other word.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The kind as tables and models name it.
    pub fn name(self) -> &'static str {
        match self {
            Detection::Correction => "correction",
            Detection::Confirmation => "confirmation",
            Detection::Definition => "unprompted_definition",
        }
    }
}

/// Which detector found something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detector {
    /// Signal phrases, in the guest itself.
    Phrases,
    /// A language model.
    Llm,
}

impl Detector {
    /// All that there are.
    pub const ALL: [Detector; 2] = [Detector::Phrases, Detector::Llm];

    /// The detector as settings and tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Detector::Phrases => "phrases",
            Detector::Llm => "llm",
        }
    }
}
