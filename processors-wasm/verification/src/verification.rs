//! The result of a detector.

use session_pipeline_processor::Timestamp;

use crate::turns::Turn;

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
    /// The words of the assistant that the user reacts to, if the user's own words are not enough.
    pub assistant_quote: Option<String>,
    /// Whether it is so, or was decided. `None` if the detector does not know.
    pub claim: Option<Claim>,
    /// What it applies to. `None` if the detector does not know.
    pub scope: Option<Scope>,
    /// How likely it is worth keeping, from 0 to 100.
    pub score: u32,
    /// Where the quote is.
    pub source: Source,
}

/// The place of a quote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The number of the line.
    pub line: u64,
    /// `uuid` of the line, if it has one.
    pub line_uuid: Option<String>,
    /// When it was said, if the line has a time.
    pub said_at: Option<Timestamp>,
    /// The Git branch at that time, if it is known.
    pub branch: Option<String>,
}

impl Source {
    /// `uuid` of the line, or its number.
    pub fn place(&self) -> String {
        let number = || format!("line {}", self.line);
        self.line_uuid.clone().unwrap_or_else(number)
    }

    /// The place of a turn.
    pub fn of(turn: &Turn) -> Self {
        Self {
            line: turn.line,
            line_uuid: turn.uuid.clone(),
            said_at: turn.at,
            branch: turn.branch.clone(),
        }
    }
}

/// How firmly a statement holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is so.
    Fact,
    /// It was decided.
    Decision,
    /// It is still being discussed or tried.
    Proposal,
}

impl Claim {
    /// All claims.
    pub const ALL: [Claim; 3] = [Claim::Fact, Claim::Decision, Claim::Proposal];

    /// Parses the name of a claim. `None` for any other text.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|claim| claim.name() == name)
    }

    /// The name in tables and for models.
    pub fn name(self) -> &'static str {
        match self {
            Claim::Fact => "fact",
            Claim::Decision => "decision",
            Claim::Proposal => "proposal",
        }
    }
}

/// What a statement applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The product, its systems and its data.
    Product,
    /// How a team works.
    Team,
    /// One person's preferences.
    Person,
    /// The task of the session.
    Session,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Scope; 4] = [Scope::Product, Scope::Team, Scope::Person, Scope::Session];

    /// Parses the name of a scope. `None` for any other text.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// The name in tables and for models.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Product => "product",
            Scope::Team => "team",
            Scope::Person => "person",
            Scope::Session => "session",
        }
    }

    /// Whether others need to know it.
    pub fn is_shared(self) -> bool {
        matches!(self, Scope::Product | Scope::Team)
    }
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
