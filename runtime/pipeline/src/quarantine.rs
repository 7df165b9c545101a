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
    let read = |which: &QuarantineFilter| match store {
        Some(store) => store.sessions_in_quarantine_after(which, after, limit),
        None => Ok(Vec::new()),
    };
    let held = read(which)?;
    if !held.is_empty() || after.is_some() {
        return Ok(held);
    }
    // A mistyped name must not look like an empty result.
    Ok(read(&with_key(config, registry, store, which, now)?)?)
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
    let held = page(config, registry, store, which, None, 1, now)?;
    match (held.first(), &which.session, store) {
        (None, Some(session), _) => Err(QuarantineError::NotQuarantined {
            session: printable(session),
        }),
        (Some(held), given, Some(store)) => {
            let which = QuarantineFilter {
                session: given.as_ref().map(|_| held.session.clone()),
                ..which.clone()
            };
            Ok(store.release(&which, actor, now)?)
        }
        _ => Ok(0),
    }
}

/// The same filter with the key of its session.
///
/// # Errors
/// If the processor or the session does not exist.
fn with_key(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    which: &QuarantineFilter,
    now: UtcMicros,
) -> Result<QuarantineFilter, QuarantineError> {
    if let Some(processor) = &which.processor {
        registry.check_before_examination(processor, config)?;
    }
    let mut which = which.clone();
    if let Some(session) = &mut which.session {
        let found = listing::find_in(config, registry, store, session, None, now)?;
        *session = found.listed.key;
    }
    Ok(which)
}
