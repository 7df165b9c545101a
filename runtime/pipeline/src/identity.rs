//! Whose sessions a folder holds: the name of a directory made into a user (BEHAVIOUR.md 1.4, A29).
//!
//! The rule is pure; the users are read by [`session_pipeline_store`], and only when a run first asks.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use session_pipeline_store::{Store, StoreError, User};

/// The user behind a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's id.
    pub user_id: String,
    /// The user's e-mail: the name that rows bear.
    pub email: String,
}

/// The user of a directory: whose id it is, else whose e-mail begins with it and an `@`.
///
/// Of several with that local part it is the one changed last, and of those the one with the
/// smallest id. A deactivated user's sessions are still theirs.
pub fn resolve<'a>(users: &'a [User], directory: &str) -> Option<&'a User> {
    let by_id = users.iter().find(|user| user.id == directory);
    by_id.or_else(|| {
        let namesakes = users.iter().filter(|user| {
            let local = user.email.split_once('@').map(|(local, _)| local);
            local == Some(directory)
        });
        namesakes.min_by_key(|user| (std::cmp::Reverse(user.updated_at), user.id.as_str()))
    })
}

/// The name of whose sessions a directory holds: their e-mail, else the directory.
pub fn name_of(users: &[User], directory: &str) -> String {
    resolve(users, directory)
        .map_or(directory, |user| &user.email)
        .to_owned()
}

/// The identities that one run needs: users are read when the first session is really processed,
/// and each directory is resolved once.
pub struct Identities<'a> {
    store: &'a Store,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    users: Option<Vec<User>>,
    resolved: HashMap<String, Option<Identity>>,
}

impl<'a> Identities<'a> {
    /// Nobody is known yet, and nothing is read.
    pub fn new(store: &'a Store) -> Self {
        Self {
            store,
            known: Mutex::default(),
        }
    }

    /// The user behind a directory; `None` where nobody is.
    ///
    /// # Errors
    /// When the users can't be read.
    pub fn of(&self, directory: &str) -> Result<Option<Identity>, StoreError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = known.resolved.get(directory) {
            return Ok(identity.clone());
        }
        if known.users.is_none() {
            known.users = Some(self.store.users()?);
        }
        let users = known.users.as_deref().unwrap_or_default();
        let identity = resolve(users, directory).map(|user| Identity {
            user_id: user.id.clone(),
            email: user.email.clone(),
        });
        known
            .resolved
            .insert(directory.to_owned(), identity.clone());
        Ok(identity)
    }
}

impl std::fmt::Debug for Identities<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identities").finish_non_exhaustive()
    }
}
