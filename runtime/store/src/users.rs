//! The table `users`.

use duckdb::{Connection, params};
use session_pipeline_host::clock::UtcMicros;

use crate::error::StoreError;
use crate::sql::timestamp;
use crate::store::Store;

/// A person, as tokens and folders know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Theirs for ever.
    pub id: String,
    /// No two users share one, however it is spelt.
    pub email: String,
    /// How they are called.
    pub name: Option<String>,
    /// Whether their tokens are good.
    pub is_active: bool,
    /// When they came.
    pub created_at: UtcMicros,
    /// When anything of this last changed.
    pub updated_at: UtcMicros,
}

impl Store {
    /// All users, in the order of their e-mails.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn users(&self) -> Result<Vec<User>, StoreError> {
        let refused = StoreError::database("to read the users");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(
                "SELECT id, email, name, active, epoch_us(created_at), epoch_us(updated_at) \
                 FROM main.users ORDER BY email, id",
            )
            .map_err(&refused)?;
        let rows = statement
            .query_map([], |row| {
                Ok(User {
                    id: row.get(0)?,
                    email: row.get(1)?,
                    name: row.get(2)?,
                    is_active: row.get(3)?,
                    created_at: UtcMicros(row.get(4)?),
                    updated_at: UtcMicros(row.get(5)?),
                })
            })
            .map_err(&refused)?;
        rows.collect::<Result<_, _>>().map_err(&refused)
    }
}

/// The id of the user with an e-mail, made under `new_id` where there is none, within the present
/// transaction. Spelling does not make another user: no index keeps e-mails apart, this does.
pub(crate) fn user_of_email(
    connection: &Connection,
    email: &str,
    new_id: &str,
    now: UtcMicros,
) -> Result<String, StoreError> {
    let refused = StoreError::database("a user");
    let known: Option<String> = connection
        .prepare_cached("SELECT min(id) FROM main.users WHERE lower(email) = lower(?)")
        .and_then(|mut statement| statement.query_row([email], |row| row.get(0)))
        .map_err(&refused)?;
    if let Some(id) = known {
        return Ok(id);
    }
    connection
        .execute(
            "INSERT INTO main.users (id, email, active, created_at, updated_at) VALUES (?, ?, true, ?, ?)",
            params![new_id, email, timestamp(now), timestamp(now)],
        )
        .map_err(&refused)?;
    Ok(new_id.to_owned())
}
