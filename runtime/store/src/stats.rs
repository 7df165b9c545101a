//! What a run did, in figures: the part of a run's report that is recorded.

use serde::{Deserialize, Serialize};
use session_pipeline_host::fault::{Fault, printable};
use session_pipeline_host::redaction::without_secrets;

/// Errors listed in a report; the others are counted.
const ERRORS_LISTED_MAX: usize = 100;

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = RunStats))]
pub struct Stats {
    /// The processor.
    pub processor: String,
    /// Candidates in all, also those that the caps left for later.
    pub scanned: u64,
    /// Sessions processed.
    pub processed: u64,
    /// Candidates whose content was what it had been.
    pub skipped: u64,
    /// Candidates left for the next run by a cap.
    pub capped: u64,
    /// Sessions whose attempt failed.
    pub errors: u64,
    /// Items that the processor extracted.
    pub items_extracted: u64,
    /// The failures, at most a hundred.
    #[cfg_attr(feature = "schema", schema(max_items = 100))]
    pub errors_detail: Vec<SessionError>,
    /// Sessions that wait after a failure; not in `scanned`.
    pub waiting: u64,
    /// Sessions in quarantine; not in `scanned`.
    pub quarantined: u64,
    /// Bytes of the sessions that were tried.
    pub bytes: u64,
    /// Fuel burned.
    pub fuel: u64,
    /// How long the run took.
    pub duration_ms: u64,
}

/// One failure of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = FailedSession))]
pub struct SessionError {
    /// The session's key.
    pub session: String,
    /// The fault's word.
    pub fault: String,
    /// What happened.
    pub error: String,
}

impl Stats {
    /// The same without what looks like a secret: earlier versions stored errors as they came.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        for failed in &mut self.errors_detail {
            failed.error = without_secrets(&failed.error).into_owned();
        }
        self
    }

    /// Whether no session failed, and something was tried if anything was due.
    pub fn is_ok(&self) -> bool {
        self.errors == 0 && self.tried_nothing().is_none()
    }

    /// Why the run came to nothing, if sessions were due and none of them was looked at.
    pub fn tried_nothing(&self) -> Option<String> {
        (self.capped > 0 && self.capped == self.scanned).then(|| {
            format!(
                "no session was tried, although {} are due: the run ended before the first; raise \
                 its caps, and look at what it waited for",
                self.capped
            )
        })
    }

    /// Counts a failed session, and lists it if there is room.
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

    /// The parameters of the audit row of a run, as JSON.
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
