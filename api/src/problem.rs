//! Problem classes. One table maps each class to an HTTP status and an exit code. Every error of the
//! pipeline has a class.

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
use session_pipeline_pipeline::report::{PriceFetchError, PriceTableError, PriceUpdateError};
use session_pipeline_pipeline::reprocess::ReprocessError;
use session_pipeline_pipeline::run::RunError;
use session_pipeline_pipeline::token::TokenError;
use session_pipeline_pipeline::transcript::TranscriptError;
use session_pipeline_store::StoreError;
use utoipa::ToSchema;

/// The exit codes of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success, including a run that stopped at its cap.
    Done = 0,
    /// The command completed, with failed sessions or findings.
    Findings = 1,
    /// Invalid arguments or configuration, or an unknown processor.
    UsageError = 2,
    /// The command could not run.
    CouldNotRun = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The class of a problem, in the field `class` of a problem document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemClass {
    /// The request is malformed.
    BadRequest,
    /// No processor has this name.
    UnknownProcessor,
    /// The processor exists, but something that it needs is not installed or configured.
    ProcessorNotReady,
    /// The token is missing or not valid.
    Unauthenticated,
    /// The role of the token does not allow this.
    Forbidden,
    /// No session, token, run or item has this id.
    NotFound,
    /// The path does not support this method.
    MethodNotAllowed,
    /// The client was too slow.
    RequestTimeout,
    /// Another run or upload is in progress.
    Conflict,
    /// The request is too large.
    TooLarge,
    /// The body has the wrong type.
    UnsupportedMediaType,
    /// The server does not serve this host name.
    Misdirected,
    /// A parameter is missing, unknown, or not allowed.
    InvalidParameter,
    /// The client has too many requests in progress.
    TooManyRequests,
    /// The configuration, or a file that it names, is invalid.
    Configuration,
    /// The processor's component does not work here.
    ProcessorUnavailable,
    /// The database or the data directory is unusable, or in use.
    Database,
    /// The database is unusable until the process restarts.
    DatabaseClosed,
    /// An unexpected failure of the program or the system.
    Internal,
    /// The service is stopping or busy.
    Unavailable,
    /// The quota is used up, or the disk is nearly full.
    InsufficientStorage,
}

impl ProblemClass {
    /// All classes. If several classes have the same status, the first one is the class of that status.
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

    /// The HTTP status and the exit code of each class.
    const fn row(self) -> (StatusCode, Exit) {
        use Exit::{CouldNotRun, UsageError};
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, UsageError),
            Self::UnknownProcessor => (StatusCode::BAD_REQUEST, UsageError),
            Self::ProcessorNotReady => (StatusCode::BAD_REQUEST, CouldNotRun),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, CouldNotRun),
            Self::Forbidden => (StatusCode::FORBIDDEN, CouldNotRun),
            Self::NotFound => (StatusCode::NOT_FOUND, UsageError),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, CouldNotRun),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, CouldNotRun),
            Self::Conflict => (StatusCode::CONFLICT, CouldNotRun),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, CouldNotRun),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, CouldNotRun),
            Self::Misdirected => (StatusCode::MISDIRECTED_REQUEST, CouldNotRun),
            Self::InvalidParameter => (StatusCode::UNPROCESSABLE_ENTITY, UsageError),
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, CouldNotRun),
            Self::Configuration => (StatusCode::INTERNAL_SERVER_ERROR, UsageError),
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

    /// The class of an HTTP status that a library set.
    pub fn from_status(status: StatusCode) -> Self {
        let class = Self::ALL.into_iter().find(|class| class.status() == status);
        let other = match status.is_client_error() {
            true => Self::BadRequest,
            false => Self::Internal,
        };
        class.unwrap_or(other)
    }
}

/// An error with a problem class.
pub(crate) trait Classify: Error + Sized {
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
            Self::AmbiguousSession { .. } => ProblemClass::InvalidParameter,
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
            Self::LongReason => ProblemClass::InvalidParameter,
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
            Self::Email(_) | Self::Label | Self::MemberWithoutUser | Self::Expired(_) => {
                ProblemClass::InvalidParameter
            }
            Self::Unknown(_) => ProblemClass::NotFound,
            Self::Randomness(_) => ProblemClass::Internal,
            Self::Store(error) => error.class(),
        }
    }
}

impl Classify for TranscriptError {
    fn class(&self) -> ProblemClass {
        match self {
            Self::Unknown { .. } | Self::NoPart { .. } => ProblemClass::NotFound,
            Self::Compressed { .. } => ProblemClass::InvalidParameter,
            Self::Io { .. } => ProblemClass::Internal,
            Self::Store(error) => error.class(),
        }
    }
}

impl Classify for PriceTableError {
    fn class(&self) -> ProblemClass {
        ProblemClass::Configuration
    }
}

impl Classify for PriceUpdateError {
    fn class(&self) -> ProblemClass {
        match self {
            Self::Table { .. } | Self::TooLarge { .. } => ProblemClass::InvalidParameter,
            Self::File(error) => error.class(),
            Self::Unwritable { .. } => ProblemClass::Internal,
        }
    }
}

impl Classify for PriceFetchError {
    fn class(&self) -> ProblemClass {
        match self.is_wrong_use {
            true => ProblemClass::InvalidParameter,
            false => ProblemClass::Internal,
        }
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
    fn every_class_is_listed_once_and_survives_a_json_round_trip() {
        for class in ProblemClass::ALL {
            let listed = ProblemClass::ALL
                .into_iter()
                .filter(|other| *other == class);
            assert_eq!(listed.count(), 1, "{class:?}");
            let json = serde_json::to_string(&class).unwrap();
            assert_eq!(serde_json::from_str::<ProblemClass>(&json).unwrap(), class);
            assert_eq!(
                ProblemClass::from_status(class.status()).status(),
                class.status()
            );
        }
    }

    #[test]
    fn an_unavailable_processor_could_not_run_and_an_invalid_configuration_is_a_usage_error() {
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
            (unknown.into(), 400, Exit::UsageError),
            (RunError::AlreadyRunning(name()), 409, Exit::CouldNotRun),
            (RunError::Stopping, 503, Exit::CouldNotRun),
            (RunError::Halted(name()), 500, Exit::CouldNotRun),
            (StoreError::WriterStopped.into(), 500, Exit::CouldNotRun),
        ] {
            let class = error.class();
            assert_eq!((class.status().as_u16(), class.exit()), (status, exit));
        }
        assert_eq!(ProblemClass::Configuration.exit(), Exit::UsageError);
    }
}
