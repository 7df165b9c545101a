//! The error of a command: an exit code and a message.

use session_pipeline_host::fault::error_chain;

use super::hint;
use crate::problem::{Classify, Exit, ProblemClass};

/// The error of a command.
#[derive(Debug)]
pub struct CommandFailure {
    exit: Exit,
    message: String,
}

impl CommandFailure {
    /// An error of the environment, such as a data directory that is in use.
    pub fn could_not_run(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::CouldNotRun,
            message: message.into(),
        }
    }

    /// An error in the arguments or the configuration.
    pub fn usage_error(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::UsageError,
            message: message.into(),
        }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Prints the message to standard error, and with `json` also a JSON document to standard output.
    pub fn print(&self, json: bool) {
        if json {
            // The exit code reports the failure even if the document cannot be written.
            let _ = super::print_json(&serde_json::json!({ "detail": self.message }));
        }
        hint(&format!("error: {}", self.message));
    }

    /// An error with the exit code of a problem class.
    pub(super) fn with_class(class: ProblemClass, message: impl Into<String>) -> Self {
        Self {
            exit: class.exit(),
            message: message.into(),
        }
    }
}

impl<E: Classify> From<E> for CommandFailure {
    fn from(error: E) -> Self {
        Self::with_class(error.class(), error_chain(&error))
    }
}
