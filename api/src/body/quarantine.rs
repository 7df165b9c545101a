//! Quarantined sessions, and their release.

use serde::{Deserialize, Serialize};
use session_pipeline_host::redaction::without_secrets;
use session_pipeline_store::{QuarantineFilter, QuarantinedSession};
use utoipa::ToSchema;

/// One page of quarantined sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantineBody {
    /// Sorted by processor, then by session key.
    pub sessions: Vec<QuarantinedSessionBody>,
    /// The number of entries in `sessions`.
    pub count: usize,
    /// The cursor of the next page. Send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A session in quarantine, which is not retried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantinedSessionBody {
    /// The name of the processor.
    pub processor: String,
    /// The key of the session.
    pub session: String,
    /// The kind of the last fault.
    pub fault: String,
    /// The message of the last fault.
    pub detail: String,
    /// The number of consecutive failures.
    pub attempts: u32,
    /// The number of those failures that the session or the component caused.
    pub own_attempts: u32,
    /// When the last attempt was made.
    pub last_attempt_at: String,
    /// When the session was quarantined.
    #[schema(required = true)]
    pub quarantined_at: Option<String>,
    /// The digest of the component that failed.
    #[schema(required = true)]
    pub component: Option<String>,
    /// When a run first found the file of the session missing, or null.
    #[schema(required = true)]
    pub missing_since: Option<String>,
}

/// The sessions that a request released from quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseBody {
    /// The number of released sessions. The next run retries them with a failure count of zero.
    pub released: u64,
}

impl From<Vec<QuarantinedSession>> for QuarantineBody {
    fn from(sessions: Vec<QuarantinedSession>) -> Self {
        Self {
            count: sessions.len(),
            sessions: sessions
                .into_iter()
                .map(QuarantinedSessionBody::from)
                .collect(),
            next: None,
        }
    }
}

impl From<QuarantinedSession> for QuarantinedSessionBody {
    fn from(row: QuarantinedSession) -> Self {
        Self {
            processor: row.processor,
            session: row.session,
            fault: row.fault.kind.as_str().to_owned(),
            // Earlier versions stored details without removing secrets.
            detail: without_secrets(&row.fault.detail).into_owned(),
            attempts: row.failures.attempts,
            own_attempts: row.failures.own_attempts,
            last_attempt_at: row.last_attempt_at.to_string(),
            quarantined_at: row.failures.quarantined_at.map(|at| at.to_string()),
            component: row.component,
            missing_since: row.missing_since.map(|at| at.to_string()),
        }
    }
}

/// Returns the filter of a release. Without a processor or a session, `all` is required, so that a
/// forgotten parameter does not release every session.
///
/// # Errors
/// Neither a name nor `all` was passed, or both were.
pub fn release_filter(
    processor: Option<String>,
    session: Option<String>,
    all: bool,
) -> Result<QuarantineFilter, String> {
    let is_named = processor.is_some() || session.is_some();
    match (is_named, all) {
        (true, false) | (false, true) => Ok(QuarantineFilter { processor, session }),
        (false, false) => {
            Err("no sessions selected; pass `processor`, `session` or `all`".to_owned())
        }
        (true, true) => {
            Err("`all` conflicts with `processor` and `session`; pass only one of them".to_owned())
        }
    }
}
