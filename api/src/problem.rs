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
use session_pipeline_pipeline::report::PricesError;
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
pub enum Class {
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

impl Class {
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
pub(crate) trait HasClass: Error + Sized {
    /// Its class.
    fn class(&self) -> Class;
}

impl HasClass for StoreError {
    fn class(&self) -> Class {
        match self {
            Self::Invalidated(_) | Self::WriterStopped => Class::DatabaseClosed,
            Self::Cancelled(_) => Class::Unavailable,
            _ => Class::Database,
        }
    }
}

impl HasClass for RegistryError {
    fn class(&self) -> Class {
        match self {
            Self::Unknown { .. } => Class::UnknownProcessor,
            Self::NotInstalled { .. } | Self::Refused { .. } | Self::NeedsModel { .. } => {
                Class::ProcessorNotReady
            }
            Self::Unavailable { .. } => Class::ProcessorUnavailable,
            Self::Store(error) => error.class(),
        }
    }
}

impl HasClass for RunError {
    fn class(&self) -> Class {
        match self {
            Self::AlreadyRunning(_) => Class::Conflict,
            Self::Registry(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Stopping | Self::Interrupted => Class::Unavailable,
            Self::Sessions { .. } | Self::Halted(_) | Self::Broken(_) => Class::Internal,
        }
    }
}

impl HasClass for ListingError {
    fn class(&self) -> Class {
        match self {
            Self::UnknownSession { .. } => Class::NotFound,
            Self::Root { .. } => Class::Internal,
            Self::Store(error) => error.class(),
        }
    }
}

impl HasClass for ReprocessError {
    fn class(&self) -> Class {
        match self {
            Self::Registry(error) => error.class(),
            Self::Listing(error) => error.class(),
            Self::Store(error) => error.class(),
        }
    }
}

impl HasClass for KnowledgeError {
    fn class(&self) -> Class {
        match self {
            Self::Unknown(_) => Class::NotFound,
            Self::Store(error) => error.class(),
        }
    }
}

impl HasClass for QuarantineError {
    fn class(&self) -> Class {
        match self {
            Self::Registry(error) => error.class(),
            Self::Listing(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::NotHeld { .. } => Class::NotFound,
        }
    }
}

impl HasClass for TokenError {
    fn class(&self) -> Class {
        match self {
            Self::Email(_) | Self::Label | Self::Expired(_) => Class::InvalidParameter,
            Self::Unknown(_) => Class::NotFound,
            Self::Randomness(_) => Class::Internal,
            Self::Store(error) => error.class(),
        }
    }
}

impl HasClass for PricesError {
    fn class(&self) -> Class {
        Class::Configuration
    }
}

impl HasClass for ConfigError {
    fn class(&self) -> Class {
        Class::Configuration
    }
}

impl HasClass for SetupError {
    fn class(&self) -> Class {
        match self {
            Self::Key(_) | Self::Prices(_) => Class::Configuration,
            Self::Transport(_) => Class::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_no_class_twice_and_every_word_reads_back() {
        for class in Class::ALL {
            let named = Class::ALL.into_iter().filter(|other| *other == class);
            assert_eq!(named.count(), 1, "{class:?}");
            let word = serde_json::to_string(&class).unwrap();
            assert_eq!(serde_json::from_str::<Class>(&word).unwrap(), class);
            assert_eq!(Class::of(class.status()).status(), class.status());
        }
    }

    #[test]
    fn a_processor_that_is_not_available_could_not_run_and_a_wrong_configuration_is_wrong_use() {
        let name = || "x".to_owned();
        let not_installed = RegistryError::NotInstalled {
            name: name(),
            installed: name(),
        };
        let needs_model = RegistryError::NeedsModel { name: name() };
        let unknown = RegistryError::Unknown {
            name: name(),
            known: name(),
        };
        for (error, status, exit) in [
            (RunError::from(not_installed), 400, Exit::CouldNotRun),
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
        assert_eq!(Class::Configuration.exit(), Exit::WrongUse);
    }
}
