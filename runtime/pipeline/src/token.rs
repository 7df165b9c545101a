//! API tokens: authentication and roles.
//!
//! The text of a token is shown once and never stored. The database stores its SHA-256, and digests
//! are compared in constant time. A server keeps the digests in memory in a [`Keyring`], because
//! only the server changes them.

mod keyring;
mod sign_ins;

use std::io;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::{
    Actor, ClientKind, NewToken, Role, Store, StoreError, Token, TokenRecord,
};
use sha2::{Digest, Sha256};

pub use keyring::Keyring;
pub use sign_ins::{CreatedSignIn, SIGN_IN_IDLE_MAX, SIGN_INS_PER_TOKEN_MAX, SignInError};

/// A shorter shared secret is probably a mistake and is rejected.
pub const SCHEDULER_SECRET_CHARS_MIN: usize = 32;

/// A source of randomness.
pub trait Randomness: Send + Sync {
    /// Fills a buffer with cryptographically secure random bytes.
    ///
    /// # Errors
    /// If the operating system provides none.
    fn fill(&self, buffer: &mut [u8]) -> io::Result<()>;
}

/// A new token with its text, which is available only here.
#[derive(Clone, PartialEq, Eq)]
pub struct CreatedToken {
    /// The stored token.
    pub token: Token,
    /// The text that the caller presents.
    pub text: String,
}

impl std::fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Created")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// Why a token could not be created or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The e-mail address is invalid.
    #[error("invalid e-mail address `{0}`; write one like ada@example.com")]
    Email(String),
    /// The label can't be displayed safely.
    #[error("invalid label: it is longer than 200 characters or contains control characters")]
    Label,
    /// A member sees only what belongs to its user.
    #[error("a token with the role `member` needs a user; set the user to an e-mail address")]
    MemberWithoutUser,
    /// The token would never be valid.
    #[error("expiry `{0}` is in the past; use a later time, or none")]
    Expired(UtcMicros),
    /// The token does not exist.
    #[error("unknown token `{0}`; `session-pipeline token list` lists all tokens")]
    Unknown(String),
    /// There is no randomness.
    #[error("the operating system provides no random numbers")]
    Randomness(#[source] io::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Creates a token, and a user if none has this e-mail address. Audited.
///
/// # Errors
/// If an argument is invalid, or the database fails.
pub fn create(
    store: &Store,
    new: &NewToken,
    randomness: &dyn Randomness,
    actor: Actor,
    now: UtcMicros,
) -> Result<CreatedToken, TokenError> {
    create_with_preview(store, new, randomness, actor, now, |_| Ok(()))
}

/// Like [`create`], but calls `tell` with the text before the token is stored. If the process is
/// killed in between, the text belongs to no token. The reverse, a token that no one knows, cannot
/// happen.
///
/// # Errors
/// Same as [`create`], and if `tell` fails.
pub fn create_with_preview(
    store: &Store,
    new: &NewToken,
    randomness: &dyn Randomness,
    actor: Actor,
    now: UtcMicros,
    tell: impl FnOnce(&str) -> Result<(), StoreError>,
) -> Result<CreatedToken, TokenError> {
    let (key, text) = create_key(store, new, randomness, actor, now, tell)?;
    Ok(CreatedToken {
        token: key.token,
        text,
    })
}

/// Like [`create_with_preview`], but returns the digest for the [`Keyring`], and the text.
fn create_key(
    store: &Store,
    new: &NewToken,
    randomness: &dyn Randomness,
    actor: Actor,
    now: UtcMicros,
    tell: impl FnOnce(&str) -> Result<(), StoreError>,
) -> Result<(TokenRecord, String), TokenError> {
    if let Some(email) = new.email.as_deref().filter(|email| !is_email(email)) {
        return Err(TokenError::Email(session_pipeline_host::fault::printable(
            email,
        )));
    }
    if new.role == Role::Member && new.email.is_none() {
        return Err(TokenError::MemberWithoutUser);
    }
    let is_label = |label: &str| label.chars().count() <= 200 && !label.contains(char::is_control);
    if !new.label.as_deref().is_none_or(is_label) {
        return Err(TokenError::Label);
    }
    if let Some(expires_at) = new.expires_at.filter(|expires_at| *expires_at <= now) {
        return Err(TokenError::Expired(expires_at));
    }
    let (mut secret, mut user) = ([0; 32], [0; 16]);
    randomness
        .fill(&mut secret)
        .and_then(|()| randomness.fill(&mut user))
        .map_err(TokenError::Randomness)?;
    let text = format!("sp_{}", hex(&secret));
    tell(&text)?;
    let key = store.create_token(new, &digest_hex(&text), &uuid(user), actor, now)?;
    Ok((key, text))
}

/// Revokes a token immediately. Audited. Idempotent: an earlier revocation is unchanged.
///
/// # Errors
/// If the token does not exist, or the database fails.
pub fn revoke(store: &Store, id: &str, actor: Actor, now: UtcMicros) -> Result<Token, TokenError> {
    let revoked = store.revoke_token(id, actor, now)?;
    revoked.ok_or_else(|| TokenError::Unknown(session_pipeline_host::fault::printable(id)))
}

/// Whether a text is one `@` between two parts of plain characters. Such a text can't break a key,
/// path or table.
pub fn is_email(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || "._%+-'".contains(c))
    };
    let parts = text.split_once('@');
    text.len() <= 254 && parts.is_some_and(|(local, domain)| is_part(local) && is_part(domain))
}

/// How a caller was authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The token with this id, or a cookie that was exchanged for it.
    Token(String),
    /// The shared secret of an external scheduler.
    SchedulerSecret,
    /// A trusted proxy, which signed the user in.
    Proxy,
    /// A command in the same process.
    Local,
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatedCaller {
    /// The role.
    pub role: Role,
    /// How the caller was authenticated.
    pub credential: Credential,
    /// The user's id, if the token has a user.
    pub user_id: Option<String>,
    /// The user's e-mail address.
    pub email: Option<String>,
    /// Whether to store this use with [`Keyring::record_use`].
    pub is_use_due: bool,
}

impl AuthenticatedCaller {
    /// Whether the caller is an external scheduler with the shared secret.
    pub fn is_scheduler(&self) -> bool {
        self.credential == Credential::SchedulerSecret
    }

    /// The id of the caller's token, if it has one.
    pub fn token_id(&self) -> Option<&str> {
        match &self.credential {
            Credential::Token(id) => Some(id),
            _ => None,
        }
    }

    /// The caller's name in the audit log: the user, else the token. A user of a proxy has the
    /// e-mail address from the proxy.
    pub fn audit_id(&self) -> String {
        match (&self.credential, &self.email, &self.user_id) {
            (Credential::Proxy, Some(email), _) => email.clone(),
            (_, _, Some(user)) => user.clone(),
            (Credential::Token(token), ..) => format!("token:{token}"),
            (Credential::SchedulerSecret, ..) => "scheduler".to_owned(),
            (Credential::Proxy, ..) => "proxy".to_owned(),
            (Credential::Local, ..) => "local".to_owned(),
        }
    }

    /// The caller as an actor for the audit log. `kind` is the client program.
    pub fn actor(&self, kind: ClientKind, client_ip: Option<String>) -> Actor {
        Actor {
            user_id: Some(self.audit_id()),
            client_kind: if self.is_scheduler() {
                ClientKind::Scheduler
            } else {
                kind
            },
            client_ip,
        }
    }
}

/// Why a token is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRejection {
    /// The token does not exist.
    #[error("unknown token; ask an admin to create one with `session-pipeline token create`")]
    Unknown,
    /// The token was revoked.
    #[error("this token was revoked; ask an admin for a new one")]
    Revoked,
    /// The token has expired.
    #[error("this token has expired; ask an admin for a new one")]
    Expired,
    /// The user is deactivated.
    #[error("the user of this token is deactivated; ask an admin")]
    Deactivated,
}

/// The shared secret is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`SCHEDULER_API_TOKEN` has {chars} characters; use at least {SCHEDULER_SECRET_CHARS_MIN}, or unset it"
)]
pub struct SecretTooShort {
    /// The number of characters.
    pub chars: usize,
}

/// The digest of an external scheduler's shared secret.
#[derive(Clone, Copy)]
pub struct SchedulerSecret([u8; 32]);

impl SchedulerSecret {
    /// Reads the value of the environment variable. An empty or blank value means that there is no
    /// secret.
    ///
    /// # Errors
    /// If the secret is too short.
    pub fn parse(text: Option<&str>) -> Result<Option<Self>, SecretTooShort> {
        let text = text.unwrap_or_default().trim();
        match text.chars().count() {
            0 => Ok(None),
            chars if chars < SCHEDULER_SECRET_CHARS_MIN => Err(SecretTooShort { chars }),
            _ => Ok(Some(Self(digest(text)))),
        }
    }
}

impl std::fmt::Debug for SchedulerSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SchedulerSecret")
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn digest_hex(text: &str) -> String {
    hex(&digest(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares in constant time.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}

/// Formats sixteen random bytes as a version 4 UUID.
fn uuid(bytes: [u8; 16]) -> String {
    let mut bits = u128::from_be_bytes(bytes);
    bits = (bits & !(0xf << 76)) | (4 << 76);
    bits = (bits & !(0b11 << 62)) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    let mut text = String::with_capacity(36);
    for (at, digit) in hex.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}
