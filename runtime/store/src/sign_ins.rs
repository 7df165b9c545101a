//! The table `sign_ins`: browsers that are signed in to the dashboard. It stores the SHA-256 of each
//! cookie, never its text.
//!
//! A sign-in belongs to a token, and is valid only while the token is.

use std::collections::HashSet;

use duckdb::{Connection, params};
use session_pipeline_host::clock::UtcMicros;

use crate::audit::{Actor, AuditEntry, write_audit};
use crate::error::StoreError;
use crate::sql::timestamp;
use crate::store::Store;
use crate::transaction::in_transaction;

/// A stored sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInRecord {
    /// The SHA-256 of the cookie's text, in hexadecimal.
    pub sha256: String,
    /// The id of the token that was exchanged for the cookie.
    pub token_id: String,
    /// The time of the sign-in.
    pub created_at: UtcMicros,
    /// The time of the last use, to a few minutes.
    pub last_used_at: UtcMicros,
}

/// A sign-in to store.
#[derive(Clone, Debug)]
pub struct NewSignIn {
    /// The SHA-256 of the cookie's text, in hexadecimal.
    pub sha256: String,
    /// The id of the token.
    pub token_id: String,
    /// Sign-ins that were last used at this time or earlier have expired. They are removed.
    pub expired_at: UtcMicros,
    /// Maximum number of sign-ins of the token. The oldest ones are removed.
    pub per_token_max: usize,
}

impl Store {
    /// All sign-ins.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn sign_ins(&self) -> Result<Vec<SignInRecord>, StoreError> {
        let connection = self.reader()?;
        all(&connection)
    }

    /// Stores a sign-in and writes an audit entry. Removes expired sign-ins, and the oldest ones of
    /// the token beyond its maximum. Returns all sign-ins that are left.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn create_sign_in(
        &self,
        new: NewSignIn,
        actor: Actor,
        now: UtcMicros,
    ) -> Result<Vec<SignInRecord>, StoreError> {
        self.write_urgently(move |connection| {
            in_transaction(connection, |connection| {
                let db_error = StoreError::database("record a sign-in");
                connection
                    .execute(
                        "INSERT INTO main.sign_ins (sha256, token_id, created_at, last_used_at) VALUES (?, ?, ?, ?)",
                        params![new.sha256, new.token_id, timestamp(now), timestamp(now)],
                    )
                    .map_err(&db_error)?;
                connection
                    .execute(
                        "DELETE FROM main.sign_ins WHERE last_used_at <= ?",
                        [timestamp(new.expired_at)],
                    )
                    .map_err(&db_error)?;
                let mut known = all(connection)?;
                let mut of_token: Vec<&SignInRecord> = known
                    .iter()
                    .filter(|known| known.token_id == new.token_id && known.sha256 != new.sha256)
                    .collect();
                of_token.sort_by_key(|known| std::cmp::Reverse(known.created_at));
                let surplus = of_token.iter().skip(new.per_token_max.saturating_sub(1));
                let surplus: HashSet<String> = surplus.map(|known| known.sha256.clone()).collect();
                for sha256 in &surplus {
                    remove(connection, sha256)?;
                }
                known.retain(|known| !surplus.contains(&known.sha256));
                let resource = format!("token:{}", new.token_id);
                write_audit(connection, &AuditEntry::new("dashboard.sign-in", resource, actor, now))?;
                Ok(known)
            })
        })
    }

    /// Removes a sign-in by the SHA-256 of its cookie, if it exists.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn remove_sign_in(&self, sha256: &str) -> Result<(), StoreError> {
        let sha256 = sha256.to_owned();
        self.write_urgently(move |connection| remove(connection, &sha256))
    }

    /// Records the time at which a sign-in was used.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn record_sign_in_use(&self, sha256: &str, now: UtcMicros) -> Result<(), StoreError> {
        let sha256 = sha256.to_owned();
        self.write(move |connection| {
            connection
                .execute(
                    "UPDATE main.sign_ins SET last_used_at = ? WHERE sha256 = ?",
                    params![timestamp(now), sha256],
                )
                .map(|_| ())
                .map_err(StoreError::database("record the use of a sign-in"))
        })
    }
}

fn all(connection: &Connection) -> Result<Vec<SignInRecord>, StoreError> {
    let db_error = StoreError::database("read the sign-ins");
    let mut statement = connection
        .prepare(
            "SELECT sha256, token_id, epoch_us(created_at), epoch_us(last_used_at) FROM main.sign_ins",
        )
        .map_err(&db_error)?;
    let rows = statement
        .query_map([], |row| {
            Ok(SignInRecord {
                sha256: row.get(0)?,
                token_id: row.get(1)?,
                created_at: UtcMicros(row.get(2)?),
                last_used_at: UtcMicros(row.get(3)?),
            })
        })
        .map_err(&db_error)?;
    rows.collect::<Result<_, _>>().map_err(&db_error)
}

fn remove(connection: &Connection, sha256: &str) -> Result<(), StoreError> {
    connection
        .execute("DELETE FROM main.sign_ins WHERE sha256 = ?", [sha256])
        .map(|_| ())
        .map_err(StoreError::database("remove a sign-in"))
}

/// Removes all sign-ins of a token, in the current transaction.
pub(crate) fn remove_sign_ins_of_token(
    connection: &Connection,
    token_id: &str,
) -> Result<(), StoreError> {
    connection
        .execute("DELETE FROM main.sign_ins WHERE token_id = ?", [token_id])
        .map(|_| ())
        .map_err(StoreError::database("remove the sign-ins of a token"))
}
