//! The last answer about the schema, so that probes by the second do not wait on a busy database
//! (BEHAVIOUR.md 5.2).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::checks::Schema;
use crate::clock::Clock;

/// How long an answer holds: between two probes nobody migrates a database that we hold.
const HOLDS: Duration = Duration::from_secs(30);

/// Shared by all who ask for the schema.
#[derive(Debug, Default)]
pub struct SchemaMemo(Mutex<Option<(Duration, Schema)>>);

impl SchemaMemo {
    /// The last answer, or a new one where that is too old. That the database can't be reached is
    /// never kept: the next probe shall see it come back. Nobody waits for another's look.
    pub fn get(&self, clock: &dyn Clock, look: impl FnOnce() -> Schema) -> Schema {
        if let Some(schema) = self.kept(clock) {
            return schema;
        }
        let now = clock.monotonic();
        let schema = look();
        if !matches!(schema, Schema::Unreachable { .. }) {
            *self.lock() = Some((now, schema.clone()));
        }
        schema
    }

    /// The last answer, as long as it holds.
    pub fn kept(&self, clock: &dyn Clock) -> Option<Schema> {
        let kept = self.lock();
        let (at, schema) = kept.as_ref()?;
        (clock.monotonic().saturating_sub(*at) < HOLDS).then(|| schema.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Duration, Schema)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
