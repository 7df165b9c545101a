//! The table `audit_log`: who did what and when, and how it ended. Rows are never deleted.

use std::borrow::Cow;
use std::time::Duration;

use duckdb::{Connection, params};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::redaction::json_without_secrets;

use crate::counters::raise_counter;
use crate::error::StoreError;
use crate::sql::timestamp;
use crate::store::Store;
use crate::transaction::in_transaction;

/// The kind of program that performed an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    /// The command line.
    Cli,
    /// Any HTTP client.
    Web,
    /// The built-in scheduler, or an external one.
    Scheduler,
    /// The service itself.
    System,
}

impl ClientKind {
    /// The name in the database, such as `cli`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Web => "web",
            Self::Scheduler => "scheduler",
            Self::System => "system",
        }
    }
}

/// The origin of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The id of the user or token. `None` for a person with access to the machine.
    pub user_id: Option<String>,
    /// The kind of program.
    pub client_kind: ClientKind,
    /// The IP address of the client.
    pub client_ip: Option<String>,
}

impl Actor {
    /// A person who uses the command line directly on the data directory.
    pub fn cli() -> Self {
        Self::local(ClientKind::Cli)
    }

    /// The built-in scheduler.
    pub fn scheduler() -> Self {
        Self::local(ClientKind::Scheduler)
    }

    /// The service itself, for actions that no one requested.
    pub fn system() -> Self {
        Self::local(ClientKind::System)
    }

    fn local(client_kind: ClientKind) -> Self {
        Self {
            user_id: None,
            client_kind,
            client_ip: None,
        }
    }
}

/// An audit row to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// The time of the action.
    pub timestamp: UtcMicros,
    /// Who performed the action.
    pub actor: Actor,
    /// The action, such as `token.create`.
    pub action: String,
    /// The affected resource, such as `token:3`.
    pub resource: String,
    /// Details, as JSON.
    pub params: Option<String>,
    /// The result: `ok`, `failed` or `interrupted`.
    pub result: String,
    /// The duration of the action.
    pub duration: Option<Duration>,
    /// The id of the run that the action belongs to.
    pub correlation_id: Option<String>,
}

impl AuditEntry {
    /// Creates an entry for a successful action.
    pub fn new(
        action: impl Into<String>,
        resource: impl Into<String>,
        actor: Actor,
        now: UtcMicros,
    ) -> Self {
        Self {
            timestamp: now,
            actor,
            action: action.into(),
            resource: resource.into(),
            params: None,
            result: "ok".to_owned(),
            duration: None,
            correlation_id: None,
        }
    }
}

/// An action whose audit row is written in the same transaction, so that no such action is
/// unrecorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedAction {
    /// The action, such as `reprocess`.
    pub action: &'static str,
    /// Who requested the action.
    pub actor: Actor,
    /// The time of the action.
    pub now: UtcMicros,
}

impl AuditedAction {
    /// Creates the audit entry once the result of the action is known.
    pub fn entry(self, resource: impl Into<String>, params: &serde_json::Value) -> AuditEntry {
        AuditEntry {
            params: Some(params.to_string()),
            ..AuditEntry::new(self.action, resource, self.actor, self.now)
        }
    }
}

/// An audit row from the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = AuditLine))]
pub struct AuditRow {
    /// The row's number, as text.
    pub id: String,
    /// The time of the action.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub timestamp: UtcMicros,
    /// The id of the user or token.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub user_id: Option<String>,
    /// The action.
    pub action: String,
    /// The affected resource.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub resource: Option<String>,
    /// Details, as JSON.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub params: Option<String>,
    /// The result.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub result: Option<String>,
    /// The duration in milliseconds.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub duration_ms: Option<i64>,
    /// The IP address of the client.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub client_ip: Option<String>,
    /// The kind of program.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub client_kind: Option<String>,
    /// The id of the run that the action belongs to.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub correlation_id: Option<String>,
}

fn as_text<S: Serializer>(instant: &UtcMicros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(instant)
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UtcMicros, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

impl AuditRow {
    /// The same without what looks like a secret: earlier versions stored parameters as they came.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        let params = self.params.as_deref().map(json_without_secrets);
        self.params = params.map(Cow::into_owned);
        self
    }
}

impl Store {
    /// Writes an audit row.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn audit(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.write(move |connection| {
            in_transaction(connection, |connection| write_audit(connection, &entry))
        })
    }

    /// Returns the latest rows, newest first. If `before` is given, returns only rows before that
    /// time and id.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit_rows(
        &self,
        before: Option<(UtcMicros, &str)>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let (at, id) = before.map(|(at, id)| (at.0, id)).unzip();
        let db_error = StoreError::database("read the audit log");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(
                "SELECT id, epoch_us(timestamp), user_id, action, resource, params, result, duration_ms, client_ip, \
                 client_kind, correlation_id FROM main.audit_log \
                 WHERE ? IS NULL OR (epoch_us(timestamp), length(id), id) < (?, length(?), ?) \
                 ORDER BY timestamp DESC, length(id) DESC, id DESC LIMIT ?",
            )
            .map_err(&db_error)?;
        let rows = statement
            .query_map(params![at, at, id, id, limit], |row| {
                Ok(AuditRow {
                    id: row.get(0)?,
                    timestamp: UtcMicros(row.get(1)?),
                    user_id: row.get(2)?,
                    action: row.get(3)?,
                    resource: row.get(4)?,
                    params: row.get(5)?,
                    result: row.get(6)?,
                    duration_ms: row.get(7)?,
                    client_ip: row.get(8)?,
                    client_kind: row.get(9)?,
                    correlation_id: row.get(10)?,
                })
            })
            .map_err(&db_error)?;
        rows.collect::<Result<_, _>>().map_err(&db_error)
    }
}

/// Writes an audit row in the current transaction.
pub fn write_audit(connection: &Connection, entry: &AuditEntry) -> Result<(), StoreError> {
    let id = (raise_counter(connection, "audit", 1)? + 1).to_string();
    let duration_ms = entry
        .duration
        .map(|duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX));
    connection
        .execute(
            "INSERT INTO main.audit_log (id, timestamp, user_id, action, resource, params, result, duration_ms, \
             client_ip, client_kind, correlation_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                id,
                timestamp(entry.timestamp),
                entry.actor.user_id,
                entry.action,
                entry.resource,
                entry.params,
                entry.result,
                duration_ms,
                entry.actor.client_ip,
                entry.actor.client_kind.as_str(),
                entry.correlation_id,
            ],
        )
        .map_err(StoreError::database("write an audit entry"))?;
    Ok(())
}
