//! The table `tokens`. It stores the SHA-256 of each token, never its text.

use duckdb::{Connection, Row, params};
use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;

use crate::audit::{Actor, AuditEntry, write_audit};
use crate::counters::raise_counter;
use crate::error::StoreError;
use crate::sign_ins::remove_sign_ins_of_token;
use crate::sql::{maybe_timestamp, timestamp};
use crate::store::Store;
use crate::transaction::in_transaction;
use crate::users::user_of_email;

/// The permissions of a caller. Each role has all permissions of the roles before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Can read figures of the caller's own sessions and totals of the team, and upload sessions.
    Member,
    /// Can read reports and upload sessions.
    Analyst,
    /// Can run, change and read everything.
    Admin,
}

impl Role {
    /// The name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Analyst => "analyst",
            Self::Admin => "admin",
        }
    }

    /// Parses a name. `None`: there is no such role.
    pub fn from_word(word: &str) -> Option<Self> {
        let roles = [Self::Member, Self::Analyst, Self::Admin];
        roles.into_iter().find(|role| role.as_str() == word)
    }
}

/// A stored token, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The id of the token.
    pub id: String,
    /// The id of its user, if it has one.
    pub user_id: Option<String>,
    /// The user's e-mail address.
    pub email: Option<String>,
    /// The role that the token grants.
    pub role: Role,
    /// The purpose of the token, for people.
    pub label: Option<String>,
    /// The time of creation.
    pub created_at: UtcMicros,
    /// The time from which the token is no longer valid.
    pub expires_at: Option<UtcMicros>,
    /// The time of revocation.
    pub revoked_at: Option<UtcMicros>,
    /// The time of the last use, to the minute.
    pub last_used_at: Option<UtcMicros>,
}

/// The properties of a token to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// The role that the token grants.
    pub role: Role,
    /// The e-mail address of the token's user. A missing user is created.
    pub email: Option<String>,
    /// The purpose of the token, for people.
    pub label: Option<String>,
    /// The time from which the token is no longer valid.
    pub expires_at: Option<UtcMicros>,
}

/// A token with the hash of its text.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// The token.
    pub token: Token,
    /// The SHA-256 of the token's text, in hexadecimal.
    pub sha256: String,
    /// Whether the token's user is active.
    pub is_user_active: bool,
}

const COLUMNS: &str = "SELECT t.id, t.user_id, u.email, t.role, t.label, epoch_us(t.created_at), epoch_us(t.expires_at), \
     epoch_us(t.revoked_at), epoch_us(t.last_used_at), t.sha256, coalesce(u.active, t.user_id IS NULL) \
     FROM main.tokens AS t LEFT JOIN main.users AS u ON u.id = t.user_id";

impl Store {
    /// All tokens, in order of creation.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        Ok(self
            .token_records()?
            .into_iter()
            .map(|key| key.token)
            .collect())
    }

    /// The tokens after the token with this id, in order of creation.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn tokens_after(&self, id: Option<&str>, limit: u32) -> Result<Vec<Token>, StoreError> {
        let db_error = StoreError::database("read the tokens");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(&format!(
                "{COLUMNS} WHERE ? IS NULL OR (length(t.id), t.id) > (length(?), ?) \
                 ORDER BY length(t.id), t.id LIMIT {limit}"
            ))
            .map_err(&db_error)?;
        let rows = statement.query_map([id; 3], key_of).map_err(&db_error)?;
        let tokens = rows.map(|key| key.map(|key| key.token));
        tokens.collect::<Result<_, _>>().map_err(&db_error)
    }

    /// All tokens with their hashes, in order of creation.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn token_records(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let db_error = StoreError::database("read the tokens");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(&format!("{COLUMNS} ORDER BY length(t.id), t.id"))
            .map_err(&db_error)?;
        let rows = statement.query_map([], key_of).map_err(&db_error)?;
        rows.collect::<Result<_, _>>().map_err(&db_error)
    }

    /// Stores a token by the SHA-256 of its text and writes an audit entry. Creates its user if
    /// needed.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn create_token(
        &self,
        new: &NewToken,
        sha256: &str,
        new_user_id: &str,
        actor: Actor,
        now: UtcMicros,
    ) -> Result<TokenRecord, StoreError> {
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
                    .map_err(StoreError::database("create a token"))?;
                let key = key_by_id(connection, &id)?
                    .ok_or_else(|| StoreError::database("create a token")(duckdb::Error::QueryReturnedNoRows))?;
                write_audit(connection, &audit_entry("token.create", &key.token, actor, now))?;
                Ok(key)
            })
        })
    }

    /// Revokes a token and writes an audit entry. `None` if there is no such token.
    pub fn revoke_token(
        &self,
        id: &str,
        actor: Actor,
        now: UtcMicros,
    ) -> Result<Option<Token>, StoreError> {
        let id = id.to_owned();
        self.write_urgently(move |connection| {
            in_transaction(connection, |connection| {
                let Some(TokenRecord { mut token, .. }) = key_by_id(connection, &id)? else {
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
                    .map_err(StoreError::database("revoke a token"))?;
                remove_sign_ins_of_token(connection, &id)?;
                token.revoked_at = Some(now);
                write_audit(connection, &audit_entry("token.revoke", &token, actor, now))?;
                Ok(Some(token))
            })
        })
    }

    /// Records the time at which a token was used.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn record_token_use(&self, id: &str, now: UtcMicros) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |connection| {
            connection
                .execute(
                    "UPDATE main.tokens SET last_used_at = ? WHERE id = ?",
                    params![timestamp(now), id],
                )
                .map(|_| ())
                .map_err(StoreError::database("record the use of a token"))
        })
    }
}

fn key_by_id(connection: &Connection, id: &str) -> Result<Option<TokenRecord>, StoreError> {
    let db_error = StoreError::database("read a token");
    let mut statement = connection
        .prepare(&format!("{COLUMNS} WHERE t.id = ?"))
        .map_err(&db_error)?;
    let mut rows = statement.query_map([id], key_of).map_err(&db_error)?;
    rows.next().transpose().map_err(&db_error)
}

fn key_of(row: &Row<'_>) -> duckdb::Result<TokenRecord> {
    let instant = |index: usize| row.get::<_, Option<i64>>(index).map(|at| at.map(UtcMicros));
    let role = Role::from_word(&row.get::<_, String>(3)?);
    // A role of a newer version gets the fewest permissions: those of a member without a user.
    let (user_id, email) = match role {
        Some(_) => (row.get(1)?, row.get(2)?),
        None => (None, None),
    };
    Ok(TokenRecord {
        token: Token {
            id: row.get(0)?,
            user_id,
            email,
            role: role.unwrap_or(Role::Member),
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

/// The audit entry for a created or revoked token.
fn audit_entry(action: &'static str, token: &Token, actor: Actor, now: UtcMicros) -> AuditEntry {
    AuditEntry {
        params: Some(
            serde_json::json!({ "role": token.role.as_str(), "label": token.label, "email": token.email })
                .to_string(),
        ),
        ..AuditEntry::new(action, format!("token:{}", token.id), actor, now)
    }
}
