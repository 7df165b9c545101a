//! Maps the first folder of a session's key to a user.
//!
//! The rule is a pure function. [`session_pipeline_store`] reads the users, and only when a run
//! needs the first one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use session_pipeline_store::{Store, StoreError, User};

/// The user that a directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's id.
    pub user_id: String,
    /// The user's e-mail address. Rows contain it as the user name.
    pub email: String,
}

/// Finds the user of a directory: the user with this id, else the user whose e-mail address has
/// this local part.
///
/// If several users have the local part, the one updated last is used, then the one with the
/// smallest id. Deactivated users keep their sessions.
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

/// The directories that a user can read: those that [`resolve`] maps to the user and to no one else.
/// Sorted, at most two.
///
/// If several users have the same local part, [`resolve`] attributes the directory with this name to
/// one of them. That is a guess, so none of them can read it: an address at another domain must not
/// open the sessions of a namesake.
pub fn directories_of(users: &[User], user_id: &str) -> Vec<String> {
    let user = users.iter().find(|user| user.id == user_id);
    let local = user.and_then(|user| user.email.split_once('@'));
    let mut names: Vec<&str> = local.map(|(local, _)| local).into_iter().collect();
    names.extend(user.map(|user| user.id.as_str()));
    names.sort_unstable();
    names.dedup();
    let is_local_part = |user: &User, name: &str| {
        let local = user.email.split_once('@').map(|(local, _)| local);
        local == Some(name)
    };
    let is_own = |name: &&str| {
        let has_namesake = || {
            let mut others = users.iter().filter(|user| user.id != user_id);
            others.any(|user| is_local_part(user, name))
        };
        let is_resolved = resolve(users, name).is_some_and(|owner| owner.id == user_id);
        is_resolved && (*name == user_id || !has_namesake())
    };
    names
        .into_iter()
        .filter(is_own)
        .map(str::to_owned)
        .collect()
}

/// The name of the directory's owner: the user's e-mail address, else the name of the directory.
pub fn name_of(users: &[User], directory: &str) -> String {
    resolve(users, directory)
        .map_or(directory, |user| &user.email)
        .to_owned()
}

/// Cache of identities for one run. Users are read when the first session is processed, and each
/// directory is resolved once.
pub struct Identities<'a> {
    store: &'a Store,
    cache: Mutex<IdentityCache>,
}

#[derive(Default)]
struct IdentityCache {
    users: Option<Vec<User>>,
    resolved: HashMap<String, Option<Identity>>,
}

impl<'a> Identities<'a> {
    /// An empty cache. Reads nothing.
    pub fn new(store: &'a Store) -> Self {
        Self {
            store,
            cache: Mutex::default(),
        }
    }

    /// The user of a directory, if there is one.
    ///
    /// # Errors
    /// If the users can't be read.
    pub fn of(&self, directory: &str) -> Result<Option<Identity>, StoreError> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = cache.resolved.get(directory) {
            return Ok(identity.clone());
        }
        if cache.users.is_none() {
            cache.users = Some(self.store.users()?);
        }
        let users = cache.users.as_deref().unwrap_or_default();
        let identity = resolve(users, directory).map(|user| Identity {
            user_id: user.id.clone(),
            email: user.email.clone(),
        });
        cache
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
