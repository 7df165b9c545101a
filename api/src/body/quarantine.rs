//! Quarantine: the sessions that are not tried any more, and those that were let out.

use serde::{Deserialize, Serialize};
use session_pipeline_host::redaction::without_secrets;
use session_pipeline_store::{QuarantineFilter, QuarantinedSession};
use utoipa::ToSchema;

/// The sessions in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantineBody {
    /// In the order of processors and keys.
    pub sessions: Vec<QuarantinedSessionBody>,
    /// How many they are; of a page, how many are on it.
    pub count: usize,
    /// Where the next page begins: send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A session that a processor does not try any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantinedSessionBody {
    /// The processor.
    pub processor: String,
    /// The session's key.
    pub session: String,
    /// The word of its last fault.
    pub fault: String,
    /// What happened.
    pub detail: String,
    /// Failures in a row.
    pub attempts: u32,
    /// Those of them that the session or the component caused.
    pub own_attempts: u32,
    /// When it was last tried.
    pub last_attempt_at: String,
    /// Since when it is not tried any more.
    #[schema(required = true)]
    pub quarantined_at: Option<String>,
    /// The digest of the component that failed.
    #[schema(required = true)]
    pub component: Option<String>,
    /// Since when a run knows that its file is gone.
    #[schema(required = true)]
    pub missing_since: Option<String>,
}

/// What was let out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseBody {
    /// Sessions that the next run tries again, each with a new count.
    pub released: u64,
}

impl From<Vec<QuarantinedSession>> for QuarantineBody {
    fn from(held: Vec<QuarantinedSession>) -> Self {
        Self {
            count: held.len(),
            sessions: held.into_iter().map(QuarantinedSessionBody::from).collect(),
            next: None,
        }
    }
}

impl From<QuarantinedSession> for QuarantinedSessionBody {
    fn from(held: QuarantinedSession) -> Self {
        Self {
            processor: held.processor,
            session: held.session,
            fault: held.fault.kind.as_str().to_owned(),
            // Rows of earlier versions were written as they came.
            detail: without_secrets(&held.fault.detail).into_owned(),
            attempts: held.failures.attempts,
            own_attempts: held.failures.own_attempts,
            last_attempt_at: held.last_attempt_at.to_string(),
            quarantined_at: held.failures.quarantined_at.map(|at| at.to_string()),
            component: held.component,
            missing_since: held.missing_since.map(|at| at.to_string()),
        }
    }
}

/// Whom a release means: somebody who is named, or all by that very word, since a forgotten
/// parameter must not let everybody out.
///
/// # Errors
/// When neither is said, or both.
pub fn meant(
    processor: Option<String>,
    session: Option<String>,
    all: bool,
) -> Result<QuarantineFilter, String> {
    let is_named = processor.is_some() || session.is_some();
    match (is_named, all) {
        (true, false) | (false, true) => Ok(QuarantineFilter { processor, session }),
        (false, false) => Err("say which: a `processor`, a `session`, or `all` of them".to_owned()),
        (true, true) => {
            Err("`all` goes without a `processor` or a `session`; leave one of them out".to_owned())
        }
    }
}
