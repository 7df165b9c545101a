//! The table `tokens`: digests and dates, never the text of a token.

use duckdb::{Connection, Row, params};
use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;

use crate::audit::{Actor, AuditEntry, write_audit};
use crate::counters::raise_counter;
use crate::error::StoreError;
use crate::sql::{maybe_timestamp, timestamp};
use crate::store::Store;
use crate::transaction::in_transaction;
use crate::users::user_of_email;

/// What a caller may do; an admin may do all that an analyst may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads reports, and uploads sessions.
    Analyst,
    /// Runs, changes and reads everything.
    Admin,
}

impl Role {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Analyst => "analyst",
            Self::Admin => "admin",
        }
    }

    /// The role of a word that the database holds; what is unknown may do the least.
    pub(crate) fn from_word(word: &str) -> Self {
        match word {
            "admin" => Self::Admin,
            _ => Self::Analyst,
        }
    }
}

/// A token as it is kept and listed: all but its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: Option<String>,
    /// That user's e-mail.
    pub email: Option<String>,
    /// What it allows.
    pub role: Role,
    /// What it is for.
    pub label: Option<String>,
    /// When it was made.
    pub created_at: UtcMicros,
    /// From when on it is not good any more.
    pub expires_at: Option<UtcMicros>,
    /// When it was taken back.
    pub revoked_at: Option<UtcMicros>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<UtcMicros>,
}

/// What a new token is asked to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// What it allows.
    pub role: Role,
    /// Whose it is, by e-mail; a user that is not there yet is made.
    pub email: Option<String>,
    /// What it is for.
    pub label: Option<String>,
    /// From when on it is not good any more.
    pub expires_at: Option<UtcMicros>,
}

/// A token with its digest.
#[derive(Clone, Debug)]
pub struct Key {
    /// The token without its text.
    pub token: Token,
    /// The SHA-256 of its text, in hex.
    pub sha256: String,
    /// Whether its user can use it.
    pub is_user_active: bool,
}

const COLUMNS: &str = "SELECT t.id, t.user_id, u.email, t.role, t.label, epoch_us(t.created_at), epoch_us(t.expires_at), \
     epoch_us(t.revoked_at), epoch_us(t.last_used_at), t.sha256, coalesce(u.active, t.user_id IS NULL) \
     FROM main.tokens AS t LEFT JOIN main.users AS u ON u.id = t.user_id";

impl Store {
    /// All tokens, in the order in which they were made.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        Ok(self.keys()?.into_iter().map(|key| key.token).collect())
    }

    /// The tokens after one, by its id, in the order in which they were created.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn tokens_after(&self, id: Option<&str>, limit: u32) -> Result<Vec<Token>, StoreError> {
        let refused = StoreError::database("to read the tokens");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(&format!(
                "{COLUMNS} WHERE ? IS NULL OR (length(t.id), t.id) > (length(?), ?) \
                 ORDER BY length(t.id), t.id LIMIT {limit}"
            ))
            .map_err(&refused)?;
        let rows = statement.query_map([id; 3], key_of).map_err(&refused)?;
        let tokens = rows.map(|key| key.map(|key| key.token));
        tokens.collect::<Result<_, _>>().map_err(&refused)
    }

    /// All tokens with their digests.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn keys(&self) -> Result<Vec<Key>, StoreError> {
        let refused = StoreError::database("to read the tokens");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(&format!("{COLUMNS} ORDER BY length(t.id), t.id"))
            .map_err(&refused)?;
        let rows = statement.query_map([], key_of).map_err(&refused)?;
        rows.collect::<Result<_, _>>().map_err(&refused)
    }

    /// Stores a token by the SHA-256 of its text, with an audit row. Creates its user if needed.
    ///
    /// # Errors
    /// When the database fails.
    pub fn create_token(
        &self,
        new: &NewToken,
        sha256: &str,
        new_user_id: &str,
        actor: Actor,
        now: UtcMicros,
    ) -> Result<Key, StoreError> {
        let (new, sha256, new_user_id) = (new.clone(), sha256.to_owned(), new_user_id.to_owned());
        self.write_urgently(move |connection| {
            in_transaction(connection, |connection| {
                let user_id = match &new.email {
                    Some(email) => Some(user_of_email(connection, email, &new_user_id, now)?),
                    None => None,
                };
                let id = (raise_counter(connection, "token", 1)? + 1).to_string();
                connection
                    .execute(
                        "INSERT INTO main.tokens (id, user_id, sha256, role, label, created_at, expires_at) \
                         VALUES (?, ?, ?, ?, ?, ?, ?)",
                        params![
                            id,
                            user_id,
                            sha256,
                            new.role.as_str(),
                            new.label,
                            timestamp(now),
                            maybe_timestamp(new.expires_at),
                        ],
                    )
                    .map_err(StoreError::database("a new token"))?;
                let key = key_by_id(connection, &id)?
                    .ok_or_else(|| StoreError::database("a new token")(duckdb::Error::QueryReturnedNoRows))?;
                write_audit(connection, &audit_entry("token.create", &key.token, actor, now))?;
                Ok(key)
            })
        })
    }

    /// Takes a token back with its audit row; `None` where there is no such token.
    pub fn revoke_token(
        &self,
        id: &str,
        actor: Actor,
        now: UtcMicros,
    ) -> Result<Option<Token>, StoreError> {
        let id = id.to_owned();
        self.write_urgently(move |connection| {
            in_transaction(connection, |connection| {
                let Some(Key { mut token, .. }) = key_by_id(connection, &id)? else {
                    return Ok(None);
                };
                if token.revoked_at.is_some() {
                    return Ok(Some(token));
                }
                connection
                    .execute(
                        "UPDATE main.tokens SET revoked_at = ? WHERE id = ?",
                        params![timestamp(now), id],
                    )
                    .map_err(StoreError::database("to revoke a token"))?;
                token.revoked_at = Some(now);
                write_audit(connection, &audit_entry("token.revoke", &token, actor, now))?;
                Ok(Some(token))
            })
        })
    }

    /// Records that a token was used now.
    ///
    /// # Errors
    /// When the database fails.
    pub fn record_token_use(&self, id: &str, now: UtcMicros) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |connection| {
            connection
                .execute(
                    "UPDATE main.tokens SET last_used_at = ? WHERE id = ?",
                    params![timestamp(now), id],
                )
                .map(|_| ())
                .map_err(StoreError::database("the use of a token"))
        })
    }
}

fn key_by_id(connection: &Connection, id: &str) -> Result<Option<Key>, StoreError> {
    let refused = StoreError::database("to read a token");
    let mut statement = connection
        .prepare(&format!("{COLUMNS} WHERE t.id = ?"))
        .map_err(&refused)?;
    let mut rows = statement.query_map([id], key_of).map_err(&refused)?;
    rows.next().transpose().map_err(&refused)
}

fn key_of(row: &Row<'_>) -> duckdb::Result<Key> {
    let instant = |index: usize| row.get::<_, Option<i64>>(index).map(|at| at.map(UtcMicros));
    Ok(Key {
        token: Token {
            id: row.get(0)?,
            user_id: row.get(1)?,
            email: row.get(2)?,
            role: Role::from_word(&row.get::<_, String>(3)?),
            label: row.get(4)?,
            created_at: UtcMicros(row.get(5)?),
            expires_at: instant(6)?,
            revoked_at: instant(7)?,
            last_used_at: instant(8)?,
        },
        sha256: row.get(9)?,
        is_user_active: row.get(10)?,
    })
}

/// The audit row of a token that came or went.
fn audit_entry(action: &'static str, token: &Token, actor: Actor, now: UtcMicros) -> AuditEntry {
    AuditEntry {
        params: Some(
            serde_json::json!({ "role": token.role.as_str(), "label": token.label, "email": token.email })
                .to_string(),
        ),
        ..AuditEntry::new(action, format!("token:{}", token.id), actor, now)
    }
}
