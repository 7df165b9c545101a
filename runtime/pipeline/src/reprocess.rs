//! Marks sessions to be processed again by the next run.
//!
//! Nothing is deleted. Existing rows stay until new ones replace them.

use session_pipeline_store::{AuditedAction, Store, StoreError};

use crate::config::Config;
use crate::listing::{self, ListingError};
use crate::registry::{Refresh, Registry, RegistryError};

/// The result of marking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReprocessReport {
    /// Number of sessions that are now due. Sessions that were never processed are due anyway and
    /// not counted.
    pub sessions: u64,
    /// Number of selected sessions in quarantine. Marking does not release them.
    pub quarantined: u64,
}

/// Why no session was marked.
#[derive(Debug, thiserror::Error)]
pub enum ReprocessError {
    /// The processor does not exist.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The session does not exist, or sessions can't be read.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Marks all sessions that the processor has processed, or one of them, by what
/// [`listing::find_in`] accepts. Without a database, there are none.
///
/// # Errors
/// If the processor or the session does not exist, or the database fails.
pub fn reprocess(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    processor: &str,
    key: Option<&str>,
    audited: AuditedAction,
) -> Result<ReprocessReport, ReprocessError> {
    registry.refresh(config, audited.now, Refresh::Notice(store))?;
    registry.check(processor)?;
    // A mistyped key must not look like a session without rows.
    let found = key
        .map(|given| listing::find_in(config, registry, store, given, None, audited.now))
        .transpose()?;
    let key = found.as_ref().map(|session| session.listed.key.as_str());
    let Some(store) = store else {
        return Ok(ReprocessReport::default());
    };
    let sessions = store.mark_due(processor, key, audited)?;
    let failures = store.failures(processor)?;
    let quarantined = failures
        .iter()
        .filter(|(failed, _)| key.is_none_or(|key| *failed == key))
        .filter(|(_, failure)| failure.failures.quarantined_at.is_some())
        .count();
    Ok(ReprocessReport {
        sessions,
        quarantined: quarantined as u64,
    })
}
