//! The table `budget_crossings`: marks of budgets that were reached, and the state of their
//! notifications.
//!
//! A notification is sent at most once. Its row says `sending` before anything is sent. If the
//! process dies before the result is committed, the row is found in this state at the next start,
//! becomes `unknown`, and is never sent again. Only a notification that was certainly not accepted
//! returns to `pending`.

use duckdb::{Connection, OptionalExt, Row, params};
use serde_json::json;
use session_pipeline_host::clock::UtcMicros;

use crate::audit::{Actor, AuditEntry, write_audit};
use crate::error::StoreError;
use crate::kill_point::kill_point;
use crate::money::Usd;
use crate::sql::timestamp;
use crate::store::Store;
use crate::transaction::in_transaction;

/// A mark of a budget that was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetCrossing {
    /// Identifies budget, subject, period and mark. A second crossing with the same id is ignored.
    pub id: String,
    /// What the budget applies to: `user`, `project` or `total`.
    pub scope: String,
    /// The user or project.
    pub subject: Option<String>,
    /// The length of the period: `day`, `week` or `month`.
    pub period: String,
    /// The first instant of the period.
    pub period_start: UtcMicros,
    /// The limit for the period.
    pub limit: Usd,
    /// The share of the limit that was reached, in thousandths.
    pub mark_permille: u32,
    /// The cost in the period when the crossing was found.
    pub spent: Usd,
    /// When the crossing was found.
    pub crossed_at: UtcMicros,
}

/// The state of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotificationState {
    /// It waits to be sent.
    Pending,
    /// It is being sent.
    Sending,
    /// The receiver accepted it.
    Delivered,
    /// It was certainly not accepted, and is not sent again.
    Failed,
    /// The receiver could have accepted it. It is not sent again.
    Unknown,
    /// It was not sent: a higher mark was reached at the same time, or it could have been sent
    /// before the database lost commits.
    Suppressed,
}

impl NotificationState {
    /// All states.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Sending,
        Self::Delivered,
        Self::Failed,
        Self::Unknown,
        Self::Suppressed,
    ];

    /// The name in the database, such as `pending`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Suppressed => "suppressed",
        }
    }
}

/// The result of sending a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationResult {
    /// The new state.
    pub state: NotificationState,
    /// When a pending notification is sent again.
    pub next_attempt_at: UtcMicros,
    /// Why it was not accepted. Without the address of the receiver.
    pub detail: Option<String>,
}

/// A notification to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingNotification {
    /// What it is about.
    pub crossing: BudgetCrossing,
    /// How often it was sent before.
    pub attempts: u32,
}

/// Crossings are removed this long after their period began: longer than any period.
const KEPT_MICROS: i64 = 400 * 24 * 3600 * 1_000_000;

const COLUMNS: &str = "id, scope, subject, period, epoch_us(period_start), limit_pico_dollars, mark_permille, \
     spent_pico_dollars, epoch_us(crossed_at), attempts";

impl Store {
    /// Records crossings with the state of their notifications, except those that are already
    /// recorded. Returns the number of new ones. Removes crossings of long past periods.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn record_crossings(
        &self,
        crossings: Vec<(BudgetCrossing, NotificationState)>,
        now: UtcMicros,
    ) -> Result<usize, StoreError> {
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                let mut new = 0;
                for (crossing, state) in &crossings {
                    if insert(connection, crossing, *state)? {
                        new += 1;
                        let entry = AuditEntry {
                            timestamp: now,
                            params: Some(params_of(crossing).to_string()),
                            ..AuditEntry::new(
                                "budget.cross",
                                format!("budget:{}:{}", crossing.scope, crossing.period),
                                Actor::system(),
                                now,
                            )
                        };
                        write_audit(connection, &entry)?;
                    }
                }
                connection
                    .execute(
                        "DELETE FROM main.budget_crossings WHERE period_start < ?",
                        [timestamp(UtcMicros(now.0.saturating_sub(KEPT_MICROS)))],
                    )
                    .map_err(StoreError::database("remove old budget crossings"))?;
                Ok(new)
            })
        })
    }

    /// The ids of all recorded crossings.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn crossing_ids(&self) -> Result<Vec<String>, StoreError> {
        let connection = self.reader()?;
        let read = || -> duckdb::Result<Vec<String>> {
            let mut statement = connection.prepare("SELECT id FROM main.budget_crossings")?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        read().map_err(StoreError::database("read the budget crossings"))
    }

    /// The ids of the notifications that are due, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn due_notifications(&self, now: UtcMicros) -> Result<Vec<String>, StoreError> {
        let connection = self.reader()?;
        let read = || -> duckdb::Result<Vec<String>> {
            let mut statement = connection.prepare(
                "SELECT id FROM main.budget_crossings WHERE state = 'pending' AND next_attempt_at <= ? ORDER BY crossed_at, id",
            )?;
            statement
                .query_map([timestamp(now)], |row| row.get(0))?
                .collect()
        };
        read().map_err(StoreError::database("read the due notifications"))
    }

    /// The number of notifications in each state.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn count_notifications(&self) -> Result<Vec<(NotificationState, u64)>, StoreError> {
        let connection = self.reader()?;
        let read = || -> duckdb::Result<Vec<(String, u64)>> {
            let mut statement = connection
                .prepare("SELECT state, count(*) FROM main.budget_crossings GROUP BY state")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        let counts = read().map_err(StoreError::database("count the notifications"))?;
        let count = |state: NotificationState| {
            let mut of_state = counts.iter().filter(|(name, _)| name == state.as_str());
            (state, of_state.next().map_or(0, |(_, count)| *count))
        };
        Ok(NotificationState::ALL.map(count).to_vec())
    }

    /// Commits that a notification is being sent. `None`: it is no longer pending, so it must not
    /// be sent.
    ///
    /// # Errors
    /// The database cannot be written. Then the notification must not be sent.
    pub fn begin_notification(&self, id: &str) -> Result<Option<PendingNotification>, StoreError> {
        let id = id.to_owned();
        let begun = self.write(move |connection| {
            in_transaction(connection, |connection| {
                connection
                    .query_row(
                        &format!(
                            "UPDATE main.budget_crossings SET state = 'sending', attempts = attempts + 1
                             WHERE id = ? AND state = 'pending' RETURNING {COLUMNS}"
                        ),
                        [id],
                        pending,
                    )
                    .optional()
                    .map_err(StoreError::database("record that a notification is being sent"))
            })
        });
        kill_point("before notification");
        begun
    }

    /// Commits the result of sending a notification.
    ///
    /// # Errors
    /// The database cannot be written. Then the notification is not sent again.
    pub fn end_notification(
        &self,
        id: &str,
        result: NotificationResult,
        now: UtcMicros,
    ) -> Result<(), StoreError> {
        kill_point("after notification");
        let id = id.to_owned();
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                set_state(connection, &id, &result, now)
            })
        })
    }

    /// Marks notifications that a previous process was sending as `unknown`. Call it once, before
    /// the first one is sent. Returns their number.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn abandon_notifications(&self, now: UtcMicros) -> Result<usize, StoreError> {
        self.write(move |connection| {
            let abandoned = || -> duckdb::Result<Vec<String>> {
                let mut statement = connection
                    .prepare("SELECT id FROM main.budget_crossings WHERE state = 'sending'")?;
                statement.query_map([], |row| row.get(0))?.collect()
            };
            let ids = abandoned().map_err(StoreError::database("read unfinished notifications"))?;
            if ids.is_empty() {
                return Ok(0);
            }
            in_transaction(connection, |connection| {
                for id in &ids {
                    let result = NotificationResult {
                        state: NotificationState::Unknown,
                        next_attempt_at: now,
                        detail: Some("the process ended while it sent the notification".to_owned()),
                    };
                    set_state(connection, id, &result, now)?;
                }
                Ok(ids.len())
            })
        })
    }
}

fn insert(
    connection: &Connection,
    crossing: &BudgetCrossing,
    state: NotificationState,
) -> Result<bool, StoreError> {
    let inserted = connection
        .execute(
            "INSERT INTO main.budget_crossings (id, scope, subject, period, period_start, limit_pico_dollars,
                mark_permille, spent_pico_dollars, crossed_at, state, attempts, next_attempt_at)
             SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?
             WHERE NOT EXISTS (FROM main.budget_crossings WHERE id = ?)",
            params![
                crossing.id,
                crossing.scope,
                crossing.subject,
                crossing.period,
                timestamp(crossing.period_start),
                crossing.limit.pico_dollars,
                crossing.mark_permille,
                crossing.spent.pico_dollars,
                timestamp(crossing.crossed_at),
                state.as_str(),
                timestamp(crossing.crossed_at),
                crossing.id,
            ],
        )
        .map_err(StoreError::database("record a budget crossing"))?;
    Ok(inserted > 0)
}

fn set_state(
    connection: &Connection,
    id: &str,
    result: &NotificationResult,
    now: UtcMicros,
) -> Result<(), StoreError> {
    let changed = connection
        .query_row(
            &format!(
                "UPDATE main.budget_crossings SET state = ?, next_attempt_at = ?, detail = ?
                 WHERE id = ? AND state = 'sending' RETURNING {COLUMNS}"
            ),
            params![
                result.state.as_str(),
                timestamp(result.next_attempt_at),
                result.detail,
                id
            ],
            pending,
        )
        .optional()
        .map_err(StoreError::database("record the result of a notification"))?;
    let (Some(pending), true) = (changed, result.state != NotificationState::Pending) else {
        return Ok(());
    };
    let mut params = params_of(&pending.crossing);
    if let Some(params) = params.as_object_mut() {
        params.insert("state".to_owned(), result.state.as_str().into());
        params.insert("attempts".to_owned(), pending.attempts.into());
        params.insert("detail".to_owned(), result.detail.clone().into());
    }
    let crossing = &pending.crossing;
    let resource = format!("budget:{}:{}", crossing.scope, crossing.period);
    let entry = AuditEntry {
        params: Some(params.to_string()),
        result: match result.state {
            NotificationState::Delivered => "ok",
            _ => "failed",
        }
        .to_owned(),
        ..AuditEntry::new("budget.notify", resource, Actor::system(), now)
    };
    write_audit(connection, &entry)
}

/// The parameters of the audit entries of a crossing.
fn params_of(crossing: &BudgetCrossing) -> serde_json::Value {
    json!({
        "id": crossing.id,
        "subject": crossing.subject,
        "period_start": crossing.period_start.to_string(),
        "limit_usd": crossing.limit.to_string(),
        "spent_usd": crossing.spent.to_string(),
        "mark_permille": crossing.mark_permille,
    })
}

fn pending(row: &Row<'_>) -> duckdb::Result<PendingNotification> {
    Ok(PendingNotification {
        crossing: BudgetCrossing {
            id: row.get(0)?,
            scope: row.get(1)?,
            subject: row.get(2)?,
            period: row.get(3)?,
            period_start: UtcMicros(row.get(4)?),
            limit: Usd {
                pico_dollars: row.get(5)?,
            },
            mark_permille: row.get(6)?,
            spent: Usd {
                pico_dollars: row.get(7)?,
            },
            crossed_at: UtcMicros(row.get(8)?),
        },
        attempts: row.get(9)?,
    })
}
