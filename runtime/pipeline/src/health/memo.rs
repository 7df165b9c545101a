//! Caches for health. The schema is cached so that frequent probes do not wait for a busy database.
//! The survey is cached so that callers cannot make the server walk over all sessions too often.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use session_pipeline_host::clock::Clock;

use crate::health::checks::SchemaStatus;
use crate::health::facts::SessionSurvey;

/// Lifetime of a cached schema. Nothing else migrates a database while this process has it open.
const SCHEMA_LIFETIME: Duration = Duration::from_secs(30);

/// A cached schema check.
#[derive(Debug, Default)]
pub struct SchemaCache(Mutex<Option<(Duration, SchemaStatus)>>);

impl SchemaCache {
    /// The cached check, or a new one if the cached one is too old. An unreachable database is
    /// never cached, so that the next probe detects its recovery. Concurrent callers do not wait
    /// for each other.
    pub fn get(&self, clock: &dyn Clock, look: impl FnOnce() -> SchemaStatus) -> SchemaStatus {
        if let Some(schema) = self.cached(clock) {
            return schema;
        }
        let now = clock.monotonic();
        let schema = look();
        if !matches!(schema, SchemaStatus::Unreachable { .. }) {
            *self.lock() = Some((now, schema.clone()));
        }
        schema
    }

    /// The cached check, if it is recent enough.
    pub fn cached(&self, clock: &dyn Clock) -> Option<SchemaStatus> {
        let cached = self.lock();
        let (at, schema) = cached.as_ref()?;
        (clock.monotonic().saturating_sub(*at) < SCHEMA_LIFETIME).then(|| schema.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Duration, SchemaStatus)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lifetime of a survey as a multiple of its duration. At most a tenth of the time is spent on
/// surveys, however many callers there are.
const SURVEY_LIFETIME_FACTOR: u32 = 10;
/// Maximum lifetime of a survey.
const SURVEY_LIFETIME_MAX: Duration = Duration::from_secs(300);

/// A cached survey of the sessions.
#[derive(Debug, Default)]
pub struct SurveyCache {
    cached: Mutex<Option<CachedSurvey>>,
    /// Locked during a survey, so that there is never more than one.
    surveying: Mutex<()>,
}

#[derive(Clone, Debug)]
struct CachedSurvey {
    until: Duration,
    survey: Arc<SessionSurvey>,
}

impl SurveyCache {
    /// The cached survey, or a new one if the cached one is too old. While another caller creates
    /// the new one, this returns the old one. If there is none, it waits.
    pub fn get(
        &self,
        clock: &dyn Clock,
        look: impl FnOnce() -> SessionSurvey,
    ) -> Arc<SessionSurvey> {
        let cached = self.cached();
        if let Some(cached) = cached
            .as_ref()
            .filter(|cached| clock.monotonic() < cached.until)
        {
            return Arc::clone(&cached.survey);
        }
        let _surveying = match (self.surveying.try_lock(), cached) {
            (Ok(surveying), _) => surveying,
            (Err(TryLockError::Poisoned(poisoned)), _) => poisoned.into_inner(),
            (Err(TryLockError::WouldBlock), Some(cached)) => return cached.survey,
            (Err(TryLockError::WouldBlock), None) => {
                let surveying = self.surveying.lock();
                let surveying = surveying.unwrap_or_else(PoisonError::into_inner);
                if let Some(cached) = self.cached() {
                    return cached.survey;
                }
                surveying
            }
        };
        let began = clock.monotonic();
        let survey = Arc::new(look());
        let ended = clock.monotonic();
        let took = ended.saturating_sub(began);
        let lifetime = took.saturating_mul(SURVEY_LIFETIME_FACTOR);
        *self.lock() = Some(CachedSurvey {
            until: ended.saturating_add(lifetime.min(SURVEY_LIFETIME_MAX)),
            survey: Arc::clone(&survey),
        });
        survey
    }

    fn cached(&self) -> Option<CachedSurvey> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<CachedSurvey>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
