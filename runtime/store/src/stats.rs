//! The statistics of a run, which are the recorded part of its report.

use serde::{Deserialize, Serialize};
use session_pipeline_host::fault::{Fault, printable};
use session_pipeline_host::redaction::without_secrets;

/// Maximum number of errors in a report. The rest is only counted.
const ERRORS_LISTED_MAX: usize = 100;

/// The statistics of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = RunStats))]
pub struct RunStats {
    /// The name of the processor.
    pub processor: String,
    /// All candidates, including those that the caps postponed.
    pub scanned: u64,
    /// Processed sessions.
    pub processed: u64,
    /// Candidates whose content has not changed.
    pub skipped: u64,
    /// Candidates that a cap postponed to the next run.
    pub capped: u64,
    /// Sessions whose attempt failed.
    pub errors: u64,
    /// Items that the processor extracted.
    pub items_extracted: u64,
    /// The failures. At most 100.
    #[cfg_attr(feature = "schema", schema(max_items = 100))]
    pub errors_detail: Vec<SessionError>,
    /// Sessions in back-off after a failure. Not included in `scanned`.
    pub waiting: u64,
    /// Sessions in quarantine. Not included in `scanned`.
    pub quarantined: u64,
    /// Size of the attempted sessions, in bytes.
    pub bytes: u64,
    /// Fuel used.
    pub fuel: u64,
    /// The duration of the run in milliseconds.
    pub duration_ms: u64,
}

/// A failed session in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = FailedSession))]
pub struct SessionError {
    /// The session key.
    pub session: String,
    /// The name of the fault kind.
    pub fault: String,
    /// The kind and the details.
    pub error: String,
}

impl RunStats {
    /// The same without what looks like a secret: earlier versions stored errors as they came.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        for failed in &mut self.errors_detail {
            failed.error = without_secrets(&failed.error).into_owned();
        }
        self
    }

    /// Whether no session failed, and at least one was attempted if any was due.
    pub fn is_ok(&self) -> bool {
        self.errors == 0 && self.nothing_attempted_error().is_none()
    }

    /// The error message if sessions were due and none was attempted.
    pub fn nothing_attempted_error(&self) -> Option<String> {
        (self.capped > 0 && self.capped == self.scanned).then(|| {
            format!(
                "no session was attempted, although {} are due: the run ended before the first one; \
                 raise its caps, and check what it waited for",
                self.capped
            )
        })
    }

    /// Counts a failed session. Lists it if the limit is not reached.
    pub fn add_error(&mut self, key: &str, fault: &Fault) {
        self.errors += 1;
        if self.errors_detail.len() < ERRORS_LISTED_MAX {
            self.errors_detail.push(SessionError {
                session: printable(key),
                fault: fault.kind.to_string(),
                error: fault.to_string(),
            });
        }
    }

    /// The parameters of a run's audit entry, as JSON.
    pub fn audit_params(&self, unhandled_error: Option<&str>) -> String {
        let mut params = serde_json::json!({
            "processor": self.processor, "scanned": self.scanned, "processed": self.processed, "skipped": self.skipped,
            "capped": self.capped, "errors": self.errors, "items_extracted": self.items_extracted,
        });
        if let (Some(error), Some(params)) = (unhandled_error, params.as_object_mut()) {
            params.insert("unhandled_error".to_owned(), error.into());
        }
        params.to_string()
    }
}
