//! Who is in quarantine, and how an operator lets them out.
//!
//! A released session has no failure any more: the next run tries it, and counts anew.

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;
use session_pipeline_store::{Actor, Held, Store, StoreError, Which};

use crate::config::Config;
use crate::listing::{self, ListingError};
use crate::registry::{Registry, RegistryError};

/// Why nobody was listed or let out.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// There is no such processor.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// There is no such session, or sessions can't be read.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// The session is there, and nobody keeps it from being tried.
    #[error("the session `{session}` is not in quarantine; `quarantine list` shows those that are")]
    NotHeld {
        /// Its key.
        session: String,
    },
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Lists those in quarantine, in the order of processors and keys. Without a database nobody is.
///
/// # Errors
/// When the processor or the session is unknown, or the database can't be read.
pub fn list(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    which: &Which,
    now: UtcMicros,
) -> Result<Vec<Held>, QuarantineError> {
    page(config, registry, store, which, None, u32::MAX, now)
}

/// As [`list`], only those after a processor and a key, and no more than a limit.
///
/// # Errors
/// As [`list`].
pub fn page(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    which: &Which,
    after: Option<(&str, &str)>,
    limit: u32,
    now: UtcMicros,
) -> Result<Vec<Held>, QuarantineError> {
    let held = match store {
        Some(store) => store.held_after(which, after, limit)?,
        None => Vec::new(),
    };
    if held.is_empty() && after.is_none() {
        // Nothing found by a mistyped name must not look like nothing to find.
        check_names(config, registry, store, which, now)?;
    }
    Ok(held)
}

/// Lets those out that are meant, and writes down who asked; gives how many that were.
///
/// # Errors
/// When the processor or the session is unknown, the session is not in quarantine, or the database
/// refuses.
pub fn release(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    which: &Which,
    actor: Actor,
    now: UtcMicros,
) -> Result<u64, QuarantineError> {
    if page(config, registry, store, which, None, 1, now)?.is_empty() {
        return match &which.session {
            Some(session) => Err(QuarantineError::NotHeld {
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
    which: &Which,
    now: UtcMicros,
) -> Result<(), QuarantineError> {
    if let Some(processor) = &which.processor {
        match registry.check_unseen(processor, config) {
            // Its sessions may be there from when it was.
            Ok(()) | Err(RegistryError::NotInstalled { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(session) = &which.session {
        listing::show(config, registry, store, session, now)?;
    }
    Ok(())
}
