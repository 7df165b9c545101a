//! Answers that are kept for a while: about the schema, so that probes by the second do not wait on
//! a busy database (BEHAVIOUR.md 5.2), and about the sessions, which no caller may have walked over
//! as often as they like.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use session_pipeline_host::clock::Clock;

use crate::health::checks::Schema;
use crate::health::facts::Survey;

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

/// How long a survey holds: this many times as long as it took, so that however many ask, no more
/// than a tenth of the time goes into surveys.
const SURVEY_HOLDS_FACTOR: u32 = 10;
/// And no longer than this.
const SURVEY_HOLDS_MAX: Duration = Duration::from_secs(300);

/// The last survey of the sessions, shared by all who ask for it.
#[derive(Debug, Default)]
pub struct SurveyMemo {
    kept: Mutex<Option<KeptSurvey>>,
    /// Locked while a survey is made: never two at once.
    surveying: Mutex<()>,
}

#[derive(Clone, Debug)]
struct KeptSurvey {
    until: Duration,
    survey: Arc<Survey>,
}

impl SurveyMemo {
    /// The last survey as long as it holds, or a new one. While another caller makes the new one,
    /// the last one holds on; without any, this waits for it.
    pub fn get(&self, clock: &dyn Clock, look: impl FnOnce() -> Survey) -> Arc<Survey> {
        let kept = self.kept();
        if let Some(kept) = kept.as_ref().filter(|kept| clock.monotonic() < kept.until) {
            return Arc::clone(&kept.survey);
        }
        let _surveying = match (self.surveying.try_lock(), kept) {
            (Ok(surveying), _) => surveying,
            (Err(TryLockError::Poisoned(poisoned)), _) => poisoned.into_inner(),
            (Err(TryLockError::WouldBlock), Some(kept)) => return kept.survey,
            (Err(TryLockError::WouldBlock), None) => {
                let surveying = self.surveying.lock();
                let surveying = surveying.unwrap_or_else(PoisonError::into_inner);
                if let Some(kept) = self.kept() {
                    return kept.survey;
                }
                surveying
            }
        };
        let began = clock.monotonic();
        let survey = Arc::new(look());
        let ended = clock.monotonic();
        let took = ended.saturating_sub(began);
        let holds = took.saturating_mul(SURVEY_HOLDS_FACTOR);
        *self.lock() = Some(KeptSurvey {
            until: ended.saturating_add(holds.min(SURVEY_HOLDS_MAX)),
            survey: Arc::clone(&survey),
        });
        survey
    }

    fn kept(&self) -> Option<KeptSurvey> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<KeptSurvey>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
