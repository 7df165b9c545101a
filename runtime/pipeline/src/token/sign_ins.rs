//! Sign-ins: a browser exchanges a token for a cookie, so that it does not store the token.
//!
//! A cookie has 256 random bits and acts as its token. The token is checked at each request, so a
//! sign-in ends at once when its token is revoked or expires. Like tokens, sign-ins are in memory,
//! and a check never waits for the database.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::{ClientKind, NewSignIn, SignInRecord, Store, StoreError};

use crate::token::{AuthenticatedCaller, Keyring, Randomness, TokenRejection, digest_hex, hex};

/// How long a sign-in lasts without a request.
pub const SIGN_IN_IDLE_MAX: Duration = Duration::from_secs(12 * 3600);

/// Maximum number of sign-ins of one token. A further one ends the oldest.
pub const SIGN_INS_PER_TOKEN_MAX: usize = 100;

/// How often the last use of a sign-in is written to the database.
const USE_RECORDED_EVERY: Duration = Duration::from_secs(300);

/// The sign-ins of a serving process, by the SHA-256 of the cookie in hexadecimal.
///
/// A lookup by hash reveals nothing through its duration, because a client cannot choose the hash
/// of a cookie.
pub(super) struct SignIns(RwLock<HashMap<String, SignInRecord>>);

impl SignIns {
    pub(super) fn new(records: Vec<SignInRecord>) -> Self {
        Self(RwLock::new(by_hash(records)))
    }

    pub(super) fn remove_of_token(&self, token_id: &str) {
        self.write().retain(|_, record| record.token_id != token_id);
    }

    fn get(&self, sha256: &str) -> Option<SignInRecord> {
        let records = self.0.read().unwrap_or_else(PoisonError::into_inner);
        records.get(sha256).cloned()
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, SignInRecord>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_hash(records: Vec<SignInRecord>) -> HashMap<String, SignInRecord> {
    let keyed = records
        .into_iter()
        .map(|record| (record.sha256.clone(), record));
    keyed.collect()
}

/// A new sign-in with the text of its cookie, which is available only here.
#[derive(Clone, PartialEq, Eq)]
pub struct CreatedSignIn {
    /// The text of the cookie.
    pub cookie: String,
    /// The caller of the token.
    pub caller: AuthenticatedCaller,
}

impl std::fmt::Debug for CreatedSignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedSignIn")
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

/// Why a sign-in failed.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The token is not valid.
    #[error(transparent)]
    Token(#[from] TokenRejection),
    /// The shared secret of a scheduler is not for people.
    #[error("the scheduler secret cannot sign in; use a token")]
    SchedulerSecret,
    /// There is no randomness.
    #[error("the operating system provides no random numbers")]
    Randomness(#[source] std::io::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Keyring {
    /// Exchanges a token for a cookie. Audited.
    ///
    /// # Errors
    /// If the token is not valid, or the database fails.
    pub fn sign_in(
        &self,
        store: &Store,
        token: &str,
        client_ip: Option<String>,
        randomness: &dyn Randomness,
        now: UtcMicros,
    ) -> Result<CreatedSignIn, SignInError> {
        // Also orders this sign-in before or after a revocation of its token.
        let _order = self.order();
        let caller = self.authenticate(token, now)?;
        let token_id = caller.token_id().ok_or(SignInError::SchedulerSecret)?;
        let mut secret = [0; 32];
        randomness
            .fill(&mut secret)
            .map_err(SignInError::Randomness)?;
        let cookie = hex(&secret);
        let new = NewSignIn {
            sha256: digest_hex(&cookie),
            token_id: token_id.to_owned(),
            expired_at: now.minus(SIGN_IN_IDLE_MAX),
            per_token_max: SIGN_INS_PER_TOKEN_MAX,
        };
        let actor = caller.actor(ClientKind::Web, client_ip);
        let records = store.create_sign_in(new, actor, now)?;
        *self.sign_ins.write() = by_hash(records);
        Ok(CreatedSignIn { cookie, caller })
    }

    /// The caller of a cookie. Never waits for the database. The second value is whether to store
    /// this use with [`Keyring::record_sign_in_use`].
    ///
    /// # Errors
    /// If the sign-in does not exist or has expired, or its token is not valid.
    pub fn signed_in(
        &self,
        cookie: &str,
        now: UtcMicros,
    ) -> Result<(AuthenticatedCaller, bool), TokenRejection> {
        let record = self.sign_ins.get(&digest_hex(cookie));
        let record = record.ok_or(TokenRejection::Unknown)?;
        let last_used = record.last_used_at;
        if now >= last_used.plus(SIGN_IN_IDLE_MAX) {
            return Err(TokenRejection::Expired);
        }
        let caller = self.caller_by_id(&record.token_id, now)?;
        // A use in the future was recorded before the clock was set back.
        let is_recent = now < last_used.plus(USE_RECORDED_EVERY) && last_used <= now;
        Ok((caller, !is_recent))
    }

    /// Stores the time of the last use of a sign-in.
    ///
    /// # Errors
    /// If the database fails.
    pub fn record_sign_in_use(
        &self,
        store: &Store,
        cookie: &str,
        now: UtcMicros,
    ) -> Result<(), StoreError> {
        let sha256 = digest_hex(cookie);
        match self.sign_ins.write().get_mut(&sha256) {
            Some(record) => record.last_used_at = now,
            None => return Ok(()),
        }
        store.record_sign_in_use(&sha256, now)
    }

    /// Ends a sign-in. Idempotent.
    ///
    /// # Errors
    /// If the database fails. The cookie is rejected until the process ends anyway.
    pub fn sign_out(&self, store: &Store, cookie: &str) -> Result<(), StoreError> {
        let sha256 = digest_hex(cookie);
        self.sign_ins.write().remove(&sha256);
        let _order = self.order();
        // A sign-in in between could have read it before it was removed.
        self.sign_ins.write().remove(&sha256);
        store.remove_sign_in(&sha256)
    }
}
