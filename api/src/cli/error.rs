//! How a command fails, as an exit code and as words.

use session_pipeline_host::fault::error_chain;

use super::hint;
use crate::problem::{Classify, Exit, ProblemClass};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct CommandFailure {
    exit: Exit,
    message: String,
}

impl CommandFailure {
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

    /// A problem of this class.
    pub(super) fn of(class: ProblemClass, message: impl Into<String>) -> Self {
        Self {
            exit: class.exit(),
            message: message.into(),
        }
    }
}

impl<E: Classify> From<E> for CommandFailure {
    fn from(error: E) -> Self {
        Self::of(error.class(), error_chain(&error))
    }
}
