//! Tokens: who may do what, and how a caller shows it.
//!
//! A token's text is shown once and never kept; what is kept is its SHA-256, and callers are
//! recognised by comparing digests in constant time. Where a process serves requests, the
//! [`Keyring`] keeps the digests at hand: only that process can change them.

mod keyring;

use std::io;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::{Actor, ClientKind, Key, NewToken, Role, Store, StoreError, Token};
use sha2::{Digest, Sha256};

pub use keyring::Keyring;

/// A shared secret of fewer characters is a typo, and must not grant anything (BEHAVIOUR.md 4.4).
pub const SCHEDULER_SECRET_CHARS_MIN: usize = 32;

/// Where randomness comes from.
pub trait Randomness: Send + Sync {
    /// Fills a buffer with random bytes that nobody can foretell.
    ///
    /// # Errors
    /// When the system has none to give.
    fn fill(&self, buffer: &mut [u8]) -> io::Result<()>;
}

/// A new token, with the one sight of its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Created {
    /// What is kept.
    pub token: Token,
    /// What the caller shows.
    pub text: String,
}

impl std::fmt::Debug for Created {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Created")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// Why a token could not be made or taken back.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The e-mail is none.
    #[error("`{0}` is no e-mail; write one like ada@example.com")]
    Email(String),
    /// A label may be shown anywhere.
    #[error("the label is too long or has control characters; give at most 200 characters")]
    Label,
    /// It would never be good.
    #[error("`{0}` lies in the past; give a later time, or none")]
    Expired(UtcMicros),
    /// There is no such token.
    #[error("there is no token `{0}`; `token list` shows all there are")]
    Unknown(String),
    /// No randomness.
    #[error("the system gives no random numbers")]
    Randomness(#[source] io::Error),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a token, and its user where there is none of that e-mail; audited.
///
/// # Errors
/// When what is asked for makes no sense, or the database refuses.
pub fn create(
    store: &Store,
    new: &NewToken,
    randomness: &dyn Randomness,
    actor: Actor,
    now: UtcMicros,
) -> Result<Created, TokenError> {
    create_once_told(store, new, randomness, actor, now, |_| Ok(()))
}

/// As [`create`], with the text told before the token is there: a process that is killed between the
/// two has told of a token that opens nothing, and never made one that nobody knows.
///
/// # Errors
/// As [`create`], and when it can't be told.
pub fn create_once_told(
    store: &Store,
    new: &NewToken,
    randomness: &dyn Randomness,
    actor: Actor,
    now: UtcMicros,
    tell: impl FnOnce(&str) -> Result<(), StoreError>,
) -> Result<Created, TokenError> {
    let (key, text) = create_key(store, new, randomness, actor, now, tell)?;
    Ok(Created {
        token: key.token,
        text,
    })
}

/// As [`create_once_told`], with the digest for the [`Keyring`]. The second value is the text.
fn create_key(
    store: &Store,
    new: &NewToken,
    randomness: &dyn Randomness,
    actor: Actor,
    now: UtcMicros,
    tell: impl FnOnce(&str) -> Result<(), StoreError>,
) -> Result<(Key, String), TokenError> {
    if let Some(email) = new.email.as_deref().filter(|email| !is_email(email)) {
        return Err(TokenError::Email(session_pipeline_host::fault::printable(
            email,
        )));
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

/// Takes a token back, from now on; audited. One that was taken back before stays as it is.
///
/// # Errors
/// When there is no such token, or the database refuses.
pub fn revoke(store: &Store, id: &str, actor: Actor, now: UtcMicros) -> Result<Token, TokenError> {
    let revoked = store.revoke_token(id, actor, now)?;
    revoked.ok_or_else(|| TokenError::Unknown(session_pipeline_host::fault::printable(id)))
}

/// One `@` between two parts of plain characters: enough that no key, path or table is broken by it.
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

/// Who asks, once recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What they may do.
    pub role: Role,
    /// Their token; `None` for the scheduler's shared secret.
    pub token_id: Option<String>,
    /// Who they are, where the token is somebody's.
    pub user_id: Option<String>,
    /// That user's e-mail.
    pub email: Option<String>,
    /// Whether this use is to be written down by [`Keyring::record_use`].
    pub is_use_due: bool,
}

impl Caller {
    /// Whether it is the shared secret of an outer scheduler, and no person.
    pub fn is_scheduler(&self) -> bool {
        self.token_id.is_none()
    }

    /// How the audit log names them: the user, else the token.
    pub fn audit_id(&self) -> String {
        match (&self.user_id, &self.token_id) {
            (Some(user), _) => user.clone(),
            (None, Some(token)) => format!("token:{token}"),
            (None, None) => "scheduler".to_owned(),
        }
    }

    /// Them as the audit log knows callers; `kind` is the program of a person.
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

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody has this one.
    #[error("this token is not known; ask an admin for one (`session-pipeline token create`)")]
    Unknown,
    /// It was taken back.
    #[error("this token was revoked; ask an admin for another one")]
    Revoked,
    /// It ran out.
    #[error("this token has expired; ask an admin for another one")]
    Expired,
    /// Its user may not come in.
    #[error("the user of this token is deactivated; ask an admin")]
    Deactivated,
}

/// Why the shared secret is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`SCHEDULER_API_TOKEN` has {chars} characters; give at least {SCHEDULER_SECRET_CHARS_MIN}, or leave it out"
)]
pub struct ShortSecret {
    /// How many it has.
    pub chars: usize,
}

/// The shared secret of an outer scheduler; only its digest is kept.
#[derive(Clone, Copy)]
pub struct SchedulerSecret([u8; 32]);

impl SchedulerSecret {
    /// Takes what the environment says; nothing or blanks mean that there is none.
    ///
    /// # Errors
    /// When it is too short to be a secret.
    pub fn of(text: Option<&str>) -> Result<Option<Self>, ShortSecret> {
        let text = text.unwrap_or_default().trim();
        match text.chars().count() {
            0 => Ok(None),
            chars if chars < SCHEDULER_SECRET_CHARS_MIN => Err(ShortSecret { chars }),
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

/// Compares without telling by its duration where the first difference is.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}

/// Sixteen random bytes as a UUID of version 4.
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
