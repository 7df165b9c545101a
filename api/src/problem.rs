//! The classes of problems: one table that gives each its HTTP status and its exit code, and the
//! class of every error of the pipeline.

use std::error::Error;
use std::process::ExitCode;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use session_pipeline_pipeline::config::ConfigError;
use session_pipeline_pipeline::knowledge::KnowledgeError;
use session_pipeline_pipeline::listing::ListingError;
use session_pipeline_pipeline::llm::SetupError;
use session_pipeline_pipeline::quarantine::QuarantineError;
use session_pipeline_pipeline::registry::RegistryError;
use session_pipeline_pipeline::report::PriceTableError;
use session_pipeline_pipeline::reprocess::ReprocessError;
use session_pipeline_pipeline::run::RunError;
use session_pipeline_pipeline::token::TokenError;
use session_pipeline_store::StoreError;
use utoipa::ToSchema;

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

/// The class of a problem, as the problem document names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemClass {
    /// The request is malformed.
    BadRequest,
    /// No processor has this name.
    UnknownProcessor,
    /// The processor is known, but this installation lacks something that it needs.
    ProcessorNotReady,
    /// The token is missing or not valid.
    Unauthenticated,
    /// The role of the token does not allow this.
    Forbidden,
    /// No session, token, run or item has this name.
    NotFound,
    /// The path has no such method.
    MethodNotAllowed,
    /// The client was too slow.
    RequestTimeout,
    /// Another run or upload is in the way.
    Conflict,
    /// The request is too large.
    TooLarge,
    /// The body has the wrong type.
    UnsupportedMediaType,
    /// The server does not answer to this host name.
    Misdirected,
    /// A parameter is missing, unknown, or not allowed.
    InvalidParameter,
    /// The client has too many requests in progress.
    TooManyRequests,
    /// The configuration, or a file that it names, is wrong.
    Configuration,
    /// The processor's component does not work here.
    ProcessorUnavailable,
    /// The database or the data directory is unusable, or in use.
    Database,
    /// The database is unusable until the process starts again.
    DatabaseClosed,
    /// Another failure of the program or of the system.
    Internal,
    /// The service is stopping or busy.
    Unavailable,
    /// The quota is used up, or the disk is nearly full.
    InsufficientStorage,
}

impl ProblemClass {
    /// All classes. Where several have the same status, the first one represents it.
    const ALL: [Self; 21] = [
        Self::BadRequest,
        Self::UnknownProcessor,
        Self::ProcessorNotReady,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::Conflict,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Misdirected,
        Self::InvalidParameter,
        Self::TooManyRequests,
        Self::Internal,
        Self::Configuration,
        Self::ProcessorUnavailable,
        Self::Database,
        Self::DatabaseClosed,
        Self::Unavailable,
        Self::InsufficientStorage,
    ];

    /// The table: the HTTP status and the exit code of each class.
    const fn row(self) -> (StatusCode, Exit) {
        use Exit::{CouldNotRun, WrongUse};
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, WrongUse),
            Self::UnknownProcessor => (StatusCode::BAD_REQUEST, WrongUse),
            Self::ProcessorNotReady => (StatusCode::BAD_REQUEST, CouldNotRun),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, CouldNotRun),
            Self::Forbidden => (StatusCode::FORBIDDEN, CouldNotRun),
            Self::NotFound => (StatusCode::NOT_FOUND, WrongUse),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, CouldNotRun),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, CouldNotRun),
            Self::Conflict => (StatusCode::CONFLICT, CouldNotRun),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, CouldNotRun),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, CouldNotRun),
            Self::Misdirected => (StatusCode::MISDIRECTED_REQUEST, CouldNotRun),
            Self::InvalidParameter => (StatusCode::UNPROCESSABLE_ENTITY, WrongUse),
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, CouldNotRun),
            Self::Configuration => (StatusCode::INTERNAL_SERVER_ERROR, WrongUse),
            Self::ProcessorUnavailable => (StatusCode::INTERNAL_SERVER_ERROR, CouldNotRun),
            Self::Database => (StatusCode::INTERNAL_SERVER_ERROR, CouldNotRun),
            Self::DatabaseClosed => (StatusCode::INTERNAL_SERVER_ERROR, CouldNotRun),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, CouldNotRun),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, CouldNotRun),
            Self::InsufficientStorage => (StatusCode::INSUFFICIENT_STORAGE, CouldNotRun),
        }
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.row().0
    }

    /// The exit code.
    pub fn exit(self) -> Exit {
        self.row().1
    }

    /// The class of a status that a library chose.
    pub fn of(status: StatusCode) -> Self {
        let class = Self::ALL.into_iter().find(|class| class.status() == status);
        let other = match status.is_client_error() {
            true => Self::BadRequest,
            false => Self::Internal,
        };
        class.unwrap_or(other)
    }
}

/// An error that has a class.
pub(crate) trait Classify: Error + Sized {
    /// Its class.
    fn class(&self) -> ProblemClass;
}

impl Classify for StoreError {
    fn class(&self) -> ProblemClass {
        match self {
            Self::Invalidated(_) | Self::WriterStopped => ProblemClass::DatabaseClosed,
            Self::Canceled(_) => ProblemClass::Unavailable,
            _ => ProblemClass::Database,
        }
    }
}

impl Classify for RegistryError {
    fn class(&self) -> ProblemClass {
        match self {
            Self::Unknown { .. } => ProblemClass::UnknownProcessor,
            Self::Rejected { .. } | Self::NeedsModel { .. } => ProblemClass::ProcessorNotReady,
            Self::Unavailable { .. } => ProblemClass::ProcessorUnavailable,
            Self::Store(error) => error.class(),
        }
    }
}

impl Classify for RunError {
    fn class(&self) -> ProblemClass {
        match self {
            Self::AlreadyRunning(_) => ProblemClass::Conflict,
            Self::Registry(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Stopping | Self::Interrupted => ProblemClass::Unavailable,
            Self::Sessions { .. } | Self::Halted(_) | Self::Internal(_) => ProblemClass::Internal,
        }
    }
}

impl Classify for ListingError {
    fn class(&self) -> ProblemClass {
        match self {
            Self::UnknownSession { .. } => ProblemClass::NotFound,
            Self::Root { .. } => ProblemClass::Internal,
            Self::Store(error) => error.class(),
        }
    }
}

impl Classify for ReprocessError {
    fn class(&self) -> ProblemClass {
        match self {
            Self::Registry(error) => error.class(),
            Self::Listing(error) => error.class(),
            Self::Store(error) => error.class(),
        }
    }
}

impl Classify for KnowledgeError {
    fn class(&self) -> ProblemClass {
        match self {
            Self::Unknown(_) => ProblemClass::NotFound,
            Self::Store(error) => error.class(),
        }
    }
}

impl Classify for QuarantineError {
    fn class(&self) -> ProblemClass {
        match self {
            Self::Registry(error) => error.class(),
            Self::Listing(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::NotQuarantined { .. } => ProblemClass::NotFound,
        }
    }
}

impl Classify for TokenError {
    fn class(&self) -> ProblemClass {
        match self {
            Self::Email(_) | Self::Label | Self::Expired(_) => ProblemClass::InvalidParameter,
            Self::Unknown(_) => ProblemClass::NotFound,
            Self::Randomness(_) => ProblemClass::Internal,
            Self::Store(error) => error.class(),
        }
    }
}

impl Classify for PriceTableError {
    fn class(&self) -> ProblemClass {
        ProblemClass::Configuration
    }
}

impl Classify for ConfigError {
    fn class(&self) -> ProblemClass {
        ProblemClass::Configuration
    }
}

impl Classify for SetupError {
    fn class(&self) -> ProblemClass {
        match self {
            Self::Key(_) | Self::Prices(_) => ProblemClass::Configuration,
            Self::Transport(_) => ProblemClass::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_no_class_twice_and_every_word_reads_back() {
        for class in ProblemClass::ALL {
            let named = ProblemClass::ALL
                .into_iter()
                .filter(|other| *other == class);
            assert_eq!(named.count(), 1, "{class:?}");
            let word = serde_json::to_string(&class).unwrap();
            assert_eq!(serde_json::from_str::<ProblemClass>(&word).unwrap(), class);
            assert_eq!(ProblemClass::of(class.status()).status(), class.status());
        }
    }

    #[test]
    fn a_processor_that_is_not_available_could_not_run_and_a_wrong_configuration_is_wrong_use() {
        let name = || "x".to_owned();
        let rejected = RegistryError::Rejected {
            name: name(),
            file: name(),
            reason: name(),
        };
        let needs_model = RegistryError::NeedsModel { name: name() };
        let unknown = RegistryError::Unknown {
            name: name(),
            known: name(),
        };
        for (error, status, exit) in [
            (RunError::from(rejected), 400, Exit::CouldNotRun),
            (needs_model.into(), 400, Exit::CouldNotRun),
            (unknown.into(), 400, Exit::WrongUse),
            (RunError::AlreadyRunning(name()), 409, Exit::CouldNotRun),
            (RunError::Stopping, 503, Exit::CouldNotRun),
            (RunError::Halted(name()), 500, Exit::CouldNotRun),
            (StoreError::WriterStopped.into(), 500, Exit::CouldNotRun),
        ] {
            let class = error.class();
            assert_eq!((class.status().as_u16(), class.exit()), (status, exit));
        }
        assert_eq!(ProblemClass::Configuration.exit(), Exit::WrongUse);
    }
}
