//! The result of a detector.

/// A statement that a user verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The type, as named by the detector. Parsed by [`Detection::of`].
    pub detection: String,
    /// The subject, in a few words.
    pub title: String,
    /// The statement.
    pub content: String,
    /// The user's own words.
    pub quote: String,
    /// The domain. `None` if it is not one of the known domains.
    pub domain: Option<String>,
    /// The names in the statement.
    pub entities: Vec<String>,
    /// The line with the quote.
    pub line: u64,
    /// `uuid` of the line, if it has one.
    pub line_uuid: Option<String>,
}

/// The type of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// A correction by the user.
    Correction,
    /// A confirmation by the user.
    Confirmation,
    /// A definition that the user gave without being asked.
    Definition,
}

/// The domains of knowledge.
pub const DOMAINS: [&str; 6] = [
    "finance",
    "engineering",
    "product",
    "data",
    "operations",
    "infrastructure",
];

impl Detection {
    /// All types.
    pub const ALL: [Detection; 3] = [
        Detection::Correction,
        Detection::Confirmation,
        Detection::Definition,
    ];

    /// Parses the name of a type. `None` for any other text.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The name in tables and for models.
    pub fn name(self) -> &'static str {
        match self {
            Detection::Correction => "correction",
            Detection::Confirmation => "confirmation",
            Detection::Definition => "unprompted_definition",
        }
    }
}

/// The detector that found a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detector {
    /// Signal phrases, in the guest itself.
    Phrases,
    /// A language model.
    Llm,
}

impl Detector {
    /// All detectors.
    pub const ALL: [Detector; 2] = [Detector::Phrases, Detector::Llm];

    /// The name in settings and tables.
    pub fn name(self) -> &'static str {
        match self {
            Detector::Phrases => "phrases",
            Detector::Llm => "llm",
        }
    }
}
