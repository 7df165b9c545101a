//! Lists sessions in quarantine and releases them.
//!
//! A released session has no recorded failure. The next run tries it, and its failures are counted
//! from zero.

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;
use session_pipeline_store::{Actor, QuarantineFilter, QuarantinedSession, Store, StoreError};

use crate::config::Config;
use crate::listing::{self, ListingError};
use crate::registry::{Registry, RegistryError};

/// Why quarantined sessions can't be listed or released.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The processor does not exist.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The session does not exist, or sessions can't be read.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// The session exists, but is not in quarantine.
    #[error(
        "session `{session}` is not in quarantine; `session-pipeline quarantine list` lists those that are"
    )]
    NotQuarantined {
        /// The session's key: its path below the sessions root.
        session: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Lists sessions in quarantine, sorted by processor and key. Without a database, there are none.
///
/// # Errors
/// If the processor or the session does not exist, or the database can't be read.
pub fn list(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    which: &QuarantineFilter,
    now: UtcMicros,
) -> Result<Vec<QuarantinedSession>, QuarantineError> {
    page(config, registry, store, which, None, u32::MAX, now)
}

/// Like [`list`], but starts after a processor and key, and returns at most `limit` sessions.
///
/// # Errors
/// Same as [`list`].
pub fn page(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    which: &QuarantineFilter,
    after: Option<(&str, &str)>,
    limit: u32,
    now: UtcMicros,
) -> Result<Vec<QuarantinedSession>, QuarantineError> {
    let held = match store {
        Some(store) => store.sessions_in_quarantine_after(which, after, limit)?,
        None => Vec::new(),
    };
    if held.is_empty() && after.is_none() {
        // A mistyped name must not look like an empty result.
        check_names(config, registry, store, which, now)?;
    }
    Ok(held)
}

/// Releases the selected sessions, with an audit entry. Returns their number.
///
/// # Errors
/// If the processor or the session does not exist, the session is not in quarantine, or the
/// database fails.
pub fn release(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    which: &QuarantineFilter,
    actor: Actor,
    now: UtcMicros,
) -> Result<u64, QuarantineError> {
    if page(config, registry, store, which, None, 1, now)?.is_empty() {
        return match &which.session {
            Some(session) => Err(QuarantineError::NotQuarantined {
                session: printable(session),
            }),
            None => Ok(0),
        };
    }
    match store {
        Some(store) => Ok(store.release(which, actor, now)?),
        None => Ok(0),
    }
}

fn check_names(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    which: &QuarantineFilter,
    now: UtcMicros,
) -> Result<(), QuarantineError> {
    if let Some(processor) = &which.processor {
        registry.check_before_examination(processor, config)?;
    }
    if let Some(session) = &which.session {
        listing::show(config, registry, store, session, now)?;
    }
    Ok(())
}
