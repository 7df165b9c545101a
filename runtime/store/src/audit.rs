//! The table `audit_log`: who did what, when, and how it ended (BEHAVIOUR.md 4.5). Kept for ever.

use std::borrow::Cow;
use std::time::Duration;

use duckdb::{Connection, params};
use serde::{Deserialize, Serialize, Serializer};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::redaction::json_without_secrets;

use crate::counters::raise_counter;
use crate::error::StoreError;
use crate::sql::timestamp;
use crate::store::Store;
use crate::transaction::in_transaction;

/// The program of whoever acts (BEHAVIOUR.md 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    /// Our command line.
    Cli,
    /// Any other client.
    Web,
    /// The scheduler, ours or another.
    Scheduler,
    /// The program by itself.
    System,
}

impl ClientKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Web => "web",
            Self::Scheduler => "scheduler",
            Self::System => "system",
        }
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The user or the token; `None` for whoever sits at the machine.
    pub user_id: Option<String>,
    /// Through what.
    pub client_kind: ClientKind,
    /// From where.
    pub client_ip: Option<String>,
}

impl Actor {
    /// Whoever uses the command line on the data dir itself.
    pub fn cli() -> Self {
        Self::local(ClientKind::Cli)
    }

    /// Our own scheduler.
    pub fn scheduler() -> Self {
        Self::local(ClientKind::Scheduler)
    }

    /// The program by itself: what nobody asked for.
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

/// One row, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When it was done.
    pub timestamp: UtcMicros,
    /// By whom.
    pub actor: Actor,
    /// What: `token.create`.
    pub action: String,
    /// To what: `token:3`.
    pub resource: String,
    /// More of it, as JSON.
    pub params: Option<String>,
    /// How it ended: `ok`, `failed` or `interrupted`.
    pub result: String,
    /// How long it took.
    pub duration: Option<Duration>,
    /// The run it belongs to.
    pub correlation_id: Option<String>,
}

impl AuditEntry {
    /// Something that went well.
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

/// An action whose audit row is written in its own transaction, so that none goes unrecorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// What: `reprocess`.
    pub action: &'static str,
    /// Who asks for it.
    pub actor: Actor,
    /// When.
    pub now: UtcMicros,
}

impl Audited {
    /// The row to it, once it is known what it came to.
    pub fn entry(self, resource: impl Into<String>, params: &serde_json::Value) -> AuditEntry {
        AuditEntry {
            params: Some(params.to_string()),
            ..AuditEntry::new(self.action, resource, self.actor, self.now)
        }
    }
}

/// Who did what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = AuditLine))]
pub struct AuditRow {
    /// Its number.
    pub id: String,
    /// When it was done.
    #[serde(serialize_with = "as_text")]
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub timestamp: UtcMicros,
    /// By which user or token; null for whoever sat at the machine.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub user_id: Option<String>,
    /// What: `run_session_processor:usage`.
    pub action: String,
    /// To what: `job:session-processor:usage`.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub resource: Option<String>,
    /// More of it, as JSON in a text.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub params: Option<String>,
    /// How it ended: `ok`, `failed` or `interrupted`.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub result: Option<String>,
    /// How long it took.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub duration_ms: Option<i64>,
    /// From where.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub client_ip: Option<String>,
    /// Through what: `cli`, `web` or `scheduler`.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub client_kind: Option<String>,
    /// The run it belongs to.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub correlation_id: Option<String>,
}

fn as_text<S: Serializer>(instant: &UtcMicros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(instant)
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
    /// Writes down what was done.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn audit(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.write(move |connection| {
            in_transaction(connection, |connection| write_audit(connection, &entry))
        })
    }

    /// The latest rows, the newest first; before the row of a time and an id, where one is given.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn audit_rows(
        &self,
        before: Option<(UtcMicros, &str)>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let (at, id) = before.map(|(at, id)| (at.0, id)).unzip();
        let refused = StoreError::database("to read the audit log");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(
                "SELECT id, epoch_us(timestamp), user_id, action, resource, params, result, duration_ms, client_ip, \
                 client_kind, correlation_id FROM main.audit_log \
                 WHERE ? IS NULL OR (epoch_us(timestamp), length(id), id) < (?, length(?), ?) \
                 ORDER BY timestamp DESC, length(id) DESC, id DESC LIMIT ?",
            )
            .map_err(&refused)?;
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
            .map_err(&refused)?;
        rows.collect::<Result<_, _>>().map_err(&refused)
    }
}

/// Writes a row within the present transaction.
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
        .map_err(StoreError::database("an audit row"))?;
    Ok(())
}
