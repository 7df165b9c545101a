//! How a command ends, as an exit code and as words.

use std::error::Error;
use std::process::ExitCode;

use session_pipeline_host::fault::chain;
use session_pipeline_pipeline::config::ConfigError;
use session_pipeline_pipeline::knowledge::KnowledgeError;
use session_pipeline_pipeline::listing::ListingError;
use session_pipeline_pipeline::llm::SetupError;
use session_pipeline_pipeline::quarantine::QuarantineError;
use session_pipeline_pipeline::registry::RegistryError;
use session_pipeline_pipeline::report::PricesError;
use session_pipeline_pipeline::reprocess::ReprocessError;
use session_pipeline_pipeline::run::RunError;
use session_pipeline_pipeline::token::TokenError;
use session_pipeline_store::StoreError;

use super::hint;
use crate::http::ServeError;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; a capped run too.
    Done = 0,
    /// Done, with failed sessions or findings.
    Findings = 1,
    /// Wrong use or configuration, or an unknown processor.
    WrongUse = 2,
    /// It could not run.
    CouldNotRun = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// The outside world stands in the way.
    pub fn could_not_run(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::CouldNotRun,
            message: message.into(),
        }
    }

    /// The arguments or the configuration are wrong.
    pub fn wrong_use(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::WrongUse,
            message: message.into(),
        }
    }

    /// The exit code it asks for.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Tells it: as JSON on standard output for machines, on standard error for people.
    pub fn print(&self, json: bool) {
        if json {
            // The failure is told by the exit code even if nobody reads the document.
            let _ = super::print_json(&serde_json::json!({ "detail": self.message }));
        }
        hint(&format!("error: {}", self.message));
    }

    fn new(exit: Exit, error: &dyn Error) -> Self {
        Self {
            exit,
            message: chain(error),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(Exit::CouldNotRun, &error)
    }
}

impl From<PricesError> for Failure {
    fn from(error: PricesError) -> Self {
        Self::new(Exit::WrongUse, &error)
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        let exit = match error {
            SetupError::Key(_) | SetupError::Prices(_) => Exit::WrongUse,
            SetupError::Transport(_) => Exit::CouldNotRun,
        };
        Self::new(exit, &error)
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let exit = match error {
            RegistryError::Unknown { .. } => Exit::WrongUse,
            RegistryError::NotInstalled { .. }
            | RegistryError::Refused { .. }
            | RegistryError::Unavailable { .. }
            | RegistryError::NeedsModel { .. }
            | RegistryError::Store(_) => Exit::CouldNotRun,
        };
        Self::new(exit, &error)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Registry(error) => error.into(),
            error => Self::new(Exit::CouldNotRun, &error),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::WrongUse, &error)
    }
}

impl From<ListingError> for Failure {
    fn from(error: ListingError) -> Self {
        let exit = match error {
            ListingError::UnknownSession { .. } => Exit::WrongUse,
            ListingError::Root { .. } | ListingError::Store(_) => Exit::CouldNotRun,
        };
        Self::new(exit, &error)
    }
}

impl From<ReprocessError> for Failure {
    fn from(error: ReprocessError) -> Self {
        match error {
            ReprocessError::Registry(error) => error.into(),
            ReprocessError::Listing(error) => error.into(),
            ReprocessError::Store(error) => error.into(),
        }
    }
}

impl From<KnowledgeError> for Failure {
    fn from(error: KnowledgeError) -> Self {
        match error {
            KnowledgeError::Store(error) => error.into(),
            KnowledgeError::Unknown(_) => Self::new(Exit::WrongUse, &error),
        }
    }
}

impl From<QuarantineError> for Failure {
    fn from(error: QuarantineError) -> Self {
        match error {
            QuarantineError::Registry(error) => error.into(),
            QuarantineError::Listing(error) => error.into(),
            QuarantineError::Store(error) => error.into(),
            QuarantineError::NotHeld { .. } => Self::new(Exit::WrongUse, &error),
        }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        let exit = match error {
            TokenError::Email(_)
            | TokenError::Label
            | TokenError::Expired(_)
            | TokenError::Unknown(_) => Exit::WrongUse,
            TokenError::Randomness(_) | TokenError::Store(_) => Exit::CouldNotRun,
        };
        Self::new(exit, &error)
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        Self::new(Exit::CouldNotRun, &error)
    }
}
