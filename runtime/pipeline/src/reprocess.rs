//! Asking for sessions to be processed again: they are marked due, and the next run does the rest.
//!
//! Nothing is deleted: the rows of before stay until the new ones replace them.

use session_pipeline_store::{Audited, Store, StoreError};

use crate::config::Config;
use crate::listing::{self, ListingError};
use crate::registry::{Registry, RegistryError};

/// What was marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// Sessions that are due now; those that were never processed are so anyway, and not counted.
    pub sessions: u64,
    /// Sessions in quarantine among those that were asked for: no mark takes them out of it.
    pub quarantined: u64,
}

/// Why nothing was marked.
#[derive(Debug, thiserror::Error)]
pub enum ReprocessError {
    /// There is no such processor.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// There is no such session, or sessions can't be read.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Marks all sessions that a processor has processed, or one of them. Without a database nothing
/// was processed, and nothing is marked.
///
/// # Errors
/// When the processor or the session is unknown, or the database refuses.
pub fn reprocess(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    processor: &str,
    key: Option<&str>,
    audited: Audited,
) -> Result<Marked, ReprocessError> {
    registry.notice(config, store, audited.now)?;
    registry.check(processor)?;
    if let Some(key) = key {
        // Only whether it is there; a mistyped key must not look like a session without rows.
        listing::show(config, registry, store, key, audited.now)?;
    }
    let Some(store) = store else {
        return Ok(Marked::default());
    };
    let sessions = store.mark_due(processor, key, audited)?;
    let failures = store.known_failures(processor)?;
    let quarantined = failures
        .iter()
        .filter(|(failed, _)| key.is_none_or(|key| *failed == key))
        .filter(|(_, failure)| failure.failures.quarantined_at.is_some())
        .count();
    Ok(Marked {
        sessions,
        quarantined: quarantined as u64,
    })
}
