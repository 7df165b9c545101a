//! The table `users`.

use duckdb::{Connection, params};
use session_pipeline_host::clock::UtcMicros;

use crate::error::StoreError;
use crate::sql::timestamp;
use crate::store::Store;

/// A person with tokens or session folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The permanent id.
    pub id: String,
    /// The e-mail address. Unique, ignoring case.
    pub email: String,
    /// The display name.
    pub name: Option<String>,
    /// Whether the user's tokens are valid.
    pub is_active: bool,
    /// The time of creation.
    pub created_at: UtcMicros,
    /// The time of the last change.
    pub updated_at: UtcMicros,
}

impl Store {
    /// All users, ordered by e-mail address.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn users(&self) -> Result<Vec<User>, StoreError> {
        let db_error = StoreError::database("read the users");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(
                "SELECT id, email, name, active, epoch_us(created_at), epoch_us(updated_at) \
                 FROM main.users ORDER BY email, id",
            )
            .map_err(&db_error)?;
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
            .map_err(&db_error)?;
        rows.collect::<Result<_, _>>().map_err(&db_error)
    }
}

/// The id of the user with this e-mail address, in the current transaction. Creates the user with
/// the id `new_id` if needed. This function makes addresses unique, ignoring case. The table has no
/// index for it.
pub(crate) fn user_of_email(
    connection: &Connection,
    email: &str,
    new_id: &str,
    now: UtcMicros,
) -> Result<String, StoreError> {
    let db_error = StoreError::database("record a user");
    let known: Option<String> = connection
        .prepare_cached("SELECT min(id) FROM main.users WHERE lower(email) = lower(?)")
        .and_then(|mut statement| statement.query_row([email], |row| row.get(0)))
        .map_err(&db_error)?;
    if let Some(id) = known {
        return Ok(id);
    }
    connection
        .execute(
            "INSERT INTO main.users (id, email, active, created_at, updated_at) VALUES (?, ?, true, ?, ?)",
            params![new_id, email, timestamp(now), timestamp(now)],
        )
        .map_err(&db_error)?;
    Ok(new_id.to_owned())
}
