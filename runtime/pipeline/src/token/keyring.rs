//! The tokens of a serving process, in memory: checking one never waits for the database.
//!
//! Only this process changes tokens while it serves, and every change goes through the keyring. The
//! keyring is never replaced by a list that was read earlier, so a concurrent change cannot restore
//! a revoked token.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::{Actor, NewToken, Role, Store, StoreError, Token, TokenRecord, User};

use crate::token::sign_ins::SignIns;
use crate::token::{
    AuthenticatedCaller, CreatedToken, Credential, Randomness, SchedulerSecret, TokenError,
    TokenRejection, create_key, digest, hex, is_same, revoke,
};

/// How often the last use of a token is written to the database.
const USE_RECORDED_EVERY: Duration = Duration::from_secs(60);

/// The tokens that a serving process accepts.
pub struct Keyring {
    scheduler: Option<SchedulerSecret>,
    /// Held from before a change is committed until the keyring contains it, so that the keyring
    /// applies changes in commit order.
    changes: Mutex<()>,
    keys: RwLock<Vec<TokenRecord>>,
    /// The users, for callers that a proxy signed in.
    users: RwLock<Vec<User>>,
    pub(super) sign_ins: SignIns,
}

impl Keyring {
    /// Reads all tokens from the database.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn open(store: &Store, scheduler: Option<SchedulerSecret>) -> Result<Self, StoreError> {
        Ok(Self {
            scheduler,
            changes: Mutex::new(()),
            keys: RwLock::new(store.token_records()?),
            users: RwLock::new(store.users()?),
            sign_ins: SignIns::new(store.sign_ins()?),
        })
    }

    /// Whether every token is revoked, or there is none.
    pub fn is_empty(&self) -> bool {
        self.read().iter().all(|key| key.token.revoked_at.is_some())
    }

    /// Creates a token like [`super::create`], and accepts it immediately.
    ///
    /// # Errors
    /// Same as [`super::create`].
    pub fn create(
        &self,
        store: &Store,
        new: &NewToken,
        randomness: &dyn Randomness,
        actor: Actor,
        now: UtcMicros,
    ) -> Result<CreatedToken, TokenError> {
        self.create_with_preview(store, new, randomness, actor, now, |_| Ok(()))
    }

    /// Creates a token like [`super::create_with_preview`], and accepts it immediately.
    ///
    /// # Errors
    /// Same as [`super::create_with_preview`].
    pub fn create_with_preview(
        &self,
        store: &Store,
        new: &NewToken,
        randomness: &dyn Randomness,
        actor: Actor,
        now: UtcMicros,
        tell: impl FnOnce(&str) -> Result<(), StoreError>,
    ) -> Result<CreatedToken, TokenError> {
        let _order = self.order();
        let (key, text) = create_key(store, new, randomness, actor, now, tell)?;
        let token = key.token.clone();
        self.write().push(key);
        if let (Some(id), Some(email)) = (&token.user_id, &token.email) {
            let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
            if users.iter().all(|user| user.id != *id) {
                users.push(User {
                    id: id.clone(),
                    email: email.clone(),
                    name: None,
                    is_active: true,
                    created_at: now,
                    updated_at: now,
                });
            }
        }
        Ok(CreatedToken { token, text })
    }

    /// Revokes a token like [`super::revoke`]. The keyring rejects the token before the database is
    /// updated. If the update fails, it is unknown whether the revocation was stored, so the token
    /// stays rejected until the process ends.
    ///
    /// # Errors
    /// Same as [`super::revoke`].
    pub fn revoke(
        &self,
        store: &Store,
        id: &str,
        actor: Actor,
        now: UtcMicros,
    ) -> Result<Token, TokenError> {
        // Reject it immediately, and again once no other change is in progress: a change that
        // created this token might not have added it yet.
        self.reject(id, now);
        let _order = self.order();
        self.reject(id, now);
        let revoked = revoke(store, id, actor, now)?;
        if let Some(key) = self.write().iter_mut().find(|key| key.token.id == id) {
            key.token.revoked_at = revoked.revoked_at;
        }
        self.sign_ins.remove_of_token(id);
        Ok(revoked)
    }

    fn reject(&self, id: &str, now: UtcMicros) {
        if let Some(key) = self.write().iter_mut().find(|key| key.token.id == id) {
            key.token.revoked_at.get_or_insert(now);
        }
    }

    /// Authenticates a caller by the text of a token. Never waits for the database.
    ///
    /// # Errors
    /// If the token is not valid.
    pub fn authenticate(
        &self,
        text: &str,
        now: UtcMicros,
    ) -> Result<AuthenticatedCaller, TokenRejection> {
        let presented = digest(text);
        let is_scheduler = self
            .scheduler
            .is_some_and(|secret| is_same(&secret.0, &presented));
        let presented = hex(&presented);
        let keys = self.read();
        // Compare all keys, so that the duration does not reveal the position of a match.
        let key = keys.iter().fold(None, |found, key| {
            let is_it = is_same(key.sha256.as_bytes(), presented.as_bytes());
            if is_it { Some(key) } else { found }
        });
        if is_scheduler {
            return Ok(AuthenticatedCaller {
                role: Role::Admin,
                credential: Credential::SchedulerSecret,
                user_id: None,
                email: None,
                is_use_due: false,
            });
        }
        caller_of(key.ok_or(TokenRejection::Unknown)?, now)
    }

    /// The caller of a token by its id.
    ///
    /// # Errors
    /// If the token is not valid.
    pub(super) fn caller_by_id(
        &self,
        id: &str,
        now: UtcMicros,
    ) -> Result<AuthenticatedCaller, TokenRejection> {
        let keys = self.read();
        let key = keys.iter().find(|key| key.token.id == id);
        caller_of(key.ok_or(TokenRejection::Unknown)?, now)
    }

    /// The caller that a trusted proxy signed in, by the e-mail address. A caller whose address
    /// belongs to no user has no sessions of its own. Never waits for the database.
    ///
    /// # Errors
    /// If the user is deactivated.
    pub fn caller_of_proxy(
        &self,
        email: &str,
        role: Role,
    ) -> Result<AuthenticatedCaller, TokenRejection> {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        let user = users
            .iter()
            .filter(|user| user.email.eq_ignore_ascii_case(email))
            .min_by_key(|user| (user.email != email, &user.id));
        if user.is_some_and(|user| !user.is_active) {
            return Err(TokenRejection::Deactivated);
        }
        Ok(AuthenticatedCaller {
            role,
            credential: Credential::Proxy,
            user_id: user.map(|user| user.id.clone()),
            email: Some(user.map_or(email, |user| &user.email).to_owned()),
            is_use_due: false,
        })
    }

    /// Checks again that a caller is still authorized, for long requests.
    ///
    /// # Errors
    /// If the caller's token is no longer valid.
    pub fn recheck(
        &self,
        caller: &AuthenticatedCaller,
        now: UtcMicros,
    ) -> Result<(), TokenRejection> {
        let Some(id) = caller.token_id() else {
            return Ok(());
        };
        self.caller_by_id(id, now).map(|_| ())
    }

    /// Stores the time of the last use of a token.
    ///
    /// # Errors
    /// If the database fails.
    pub fn record_use(&self, store: &Store, id: &str, now: UtcMicros) -> Result<(), StoreError> {
        if let Some(key) = self.write().iter_mut().find(|key| key.token.id == id) {
            key.token.last_used_at = Some(now);
        }
        store.record_token_use(id, now)
    }

    pub(super) fn order(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<TokenRecord>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<TokenRecord>> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The caller of a token, if the token is valid.
fn caller_of(key: &TokenRecord, now: UtcMicros) -> Result<AuthenticatedCaller, TokenRejection> {
    let TokenRecord {
        token,
        is_user_active,
        ..
    } = key;
    if token.revoked_at.is_some() {
        return Err(TokenRejection::Revoked);
    }
    if token.expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(TokenRejection::Expired);
    }
    if !is_user_active {
        return Err(TokenRejection::Deactivated);
    }
    let is_recent = |used: UtcMicros| now < used.plus(USE_RECORDED_EVERY) && used <= now;
    Ok(AuthenticatedCaller {
        role: token.role,
        credential: Credential::Token(token.id.clone()),
        user_id: token.user_id.clone(),
        email: token.email.clone(),
        is_use_due: !token.last_used_at.is_some_and(is_recent),
    })
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").finish_non_exhaustive()
    }
}
