//! The sessions in quarantine, which are rows of `session_failures`. Lists them, and deletes the
//! rows that an operator releases.

use duckdb::params;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::Fault;

use crate::audit::{Actor, AuditEntry, write_audit};
use crate::error::StoreError;
use crate::failures::count;
use crate::retry::FailureState;
use crate::store::Store;
use crate::transaction::in_transaction;

/// A session in quarantine. It is not retried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantinedSession {
    /// The name of the processor.
    pub processor: String,
    /// The session key.
    pub session: String,
    /// The last failure.
    pub fault: Fault,
    /// The number of failures and the start of the quarantine.
    pub failures: FailureState,
    /// The component that failed.
    pub component: Option<String>,
    /// The time of the last attempt.
    pub last_attempt_at: UtcMicros,
    /// The time at which a run first found the file missing.
    pub missing_since: Option<UtcMicros>,
}

/// Selects sessions in quarantine. Without any condition, selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuarantineFilter {
    /// Only sessions of this processor.
    pub processor: Option<String>,
    /// Only this session.
    pub session: Option<String>,
}

/// The condition for the selected rows. The parameters are processor and session, each twice.
const IS_SELECTED: &str = "quarantined_at IS NOT NULL AND (? IS NULL OR processor_name = ?) \
     AND (? IS NULL OR session_file = ?)";

impl Store {
    /// The selected sessions in quarantine, ordered by processor and key.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn sessions_in_quarantine(
        &self,
        which: &QuarantineFilter,
    ) -> Result<Vec<QuarantinedSession>, StoreError> {
        self.sessions_in_quarantine_after(which, None, u32::MAX)
    }

    /// Like [`Store::sessions_in_quarantine`], but returns only sessions after a processor and key, up to a limit.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn sessions_in_quarantine_after(
        &self,
        which: &QuarantineFilter,
        after: Option<(&str, &str)>,
        limit: u32,
    ) -> Result<Vec<QuarantinedSession>, StoreError> {
        let (after_processor, after_session) = after.unzip();
        let db_error = StoreError::database("read the sessions in quarantine");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(&format!(
                "SELECT processor_name, session_file, fault, detail, attempts, own_attempts, component_digest, \
                 epoch_us(last_attempt_at), epoch_us(next_attempt_at), epoch_us(quarantined_at), \
                 epoch_us(missing_since) FROM main.session_failures WHERE {IS_SELECTED} \
                 AND (? IS NULL OR (processor_name, session_file) > (?, ?)) \
                 ORDER BY processor_name, session_file LIMIT {limit}"
            ))
            .map_err(&db_error)?;
        let (processor, session) = (&which.processor, &which.session);
        let rows = statement
            .query_map(
                params![
                    processor,
                    processor,
                    session,
                    session,
                    after_processor,
                    after_processor,
                    after_session
                ],
                |row| {
                    let instant = |index| -> duckdb::Result<Option<UtcMicros>> {
                        Ok(row.get::<_, Option<i64>>(index)?.map(UtcMicros))
                    };
                    Ok(QuarantinedSession {
                        processor: row.get(0)?,
                        session: row.get(1)?,
                        fault: Fault::stored(
                            &row.get::<_, String>(2)?,
                            row.get::<_, Option<String>>(3)?.unwrap_or_default(),
                        ),
                        failures: FailureState {
                            attempts: count(row.get(4)?),
                            own_attempts: count(row.get(5)?),
                            next_attempt_at: instant(8)?,
                            quarantined_at: instant(9)?,
                        },
                        component: row.get(6)?,
                        last_attempt_at: UtcMicros(row.get(7)?),
                        missing_since: instant(10)?,
                    })
                },
            )
            .map_err(&db_error)?;
        rows.collect::<Result<_, _>>().map_err(&db_error)
    }

    /// Deletes the failures of the selected sessions and records who requested it, in one
    /// transaction. Returns the number of deleted rows.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn release(
        &self,
        which: &QuarantineFilter,
        actor: Actor,
        now: UtcMicros,
    ) -> Result<u64, StoreError> {
        let which = which.clone();
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                let (processor, session) = (&which.processor, &which.session);
                let released = connection
                    .execute(
                        &format!("DELETE FROM main.session_failures WHERE {IS_SELECTED}"),
                        params![processor, processor, session, session],
                    )
                    .map_err(StoreError::database("release sessions from quarantine"))?
                    as u64;
                let resource = match (session, processor) {
                    (Some(session), _) => format!("session:{session}"),
                    (None, Some(processor)) => format!("processor:{processor}"),
                    (None, None) => "quarantine".to_owned(),
                };
                let params = serde_json::json!({
                    "processor": processor, "session": session, "released": released,
                });
                let entry = AuditEntry {
                    params: Some(params.to_string()),
                    ..AuditEntry::new("quarantine.release", resource, actor, now)
                };
                write_audit(connection, &entry)?;
                Ok(released)
            })
        })
    }
}
