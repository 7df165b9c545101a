//! The rows of `session_failures` that are in quarantine: listed for people, and removed when an
//! operator releases them.

use duckdb::params;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::Fault;

use crate::audit::{Actor, AuditEntry, write_audit};
use crate::error::StoreError;
use crate::failures::count;
use crate::retry::Failures;
use crate::store::Store;
use crate::transaction::in_transaction;

/// A session that is not tried any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The processor that does not try it.
    pub processor: String,
    /// Its key.
    pub session: String,
    /// Why it failed last.
    pub fault: Fault,
    /// How often it failed, and since when it is not tried.
    pub failures: Failures,
    /// The component that failed.
    pub component: Option<String>,
    /// When it was tried last.
    pub last_attempt_at: UtcMicros,
    /// Since when a run knows that its file is gone.
    pub missing_since: Option<UtcMicros>,
}

/// Which of those in quarantine; all of them, where neither is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// Those of this processor.
    pub processor: Option<String>,
    /// This session.
    pub session: Option<String>,
}

/// Which rows are meant; the parameters are processor and session, each twice.
const MEANT: &str = "quarantined_at IS NOT NULL AND (? IS NULL OR processor_name = ?) \
     AND (? IS NULL OR session_file = ?)";

impl Store {
    /// The sessions in quarantine that are meant, in the order of processors and keys.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn held(&self, which: &Which) -> Result<Vec<Held>, StoreError> {
        self.held_after(which, None, u32::MAX)
    }

    /// As [`Store::held`], only those after a processor and a key, and no more than a limit.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn held_after(
        &self,
        which: &Which,
        after: Option<(&str, &str)>,
        limit: u32,
    ) -> Result<Vec<Held>, StoreError> {
        let (after_processor, after_session) = after.unzip();
        let refused = StoreError::database("to read who is in quarantine");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(&format!(
                "SELECT processor_name, session_file, fault, detail, attempts, own_attempts, component_digest, \
                 epoch_us(last_attempt_at), epoch_us(next_attempt_at), epoch_us(quarantined_at), \
                 epoch_us(missing_since) FROM main.session_failures WHERE {MEANT} \
                 AND (? IS NULL OR (processor_name, session_file) > (?, ?)) \
                 ORDER BY processor_name, session_file LIMIT {limit}"
            ))
            .map_err(&refused)?;
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
                    Ok(Held {
                        processor: row.get(0)?,
                        session: row.get(1)?,
                        fault: Fault::stored(
                            &row.get::<_, String>(2)?,
                            row.get::<_, Option<String>>(3)?.unwrap_or_default(),
                        ),
                        failures: Failures {
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
            .map_err(&refused)?;
        rows.collect::<Result<_, _>>().map_err(&refused)
    }

    /// Forgets the failures of those that are meant, and writes down who asked for it, together;
    /// gives how many that were.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn release(&self, which: &Which, actor: Actor, now: UtcMicros) -> Result<u64, StoreError> {
        let which = which.clone();
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                let (processor, session) = (&which.processor, &which.session);
                let released = connection
                    .execute(
                        &format!("DELETE FROM main.session_failures WHERE {MEANT}"),
                        params![processor, processor, session, session],
                    )
                    .map_err(StoreError::database("a release"))?
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
