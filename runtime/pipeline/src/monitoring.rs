//! The figures for monitoring that need queries or a walk over the sessions.
//!
//! A caller reads them at most once in a while and keeps them, so that a scraper cannot cause work.
//! Counts that need no query are in [`session_pipeline_store::Activity`].

use std::sync::Arc;
use std::time::Duration;

use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_store::{LatestRuns, NotificationState, ProcessorFailures, Store, StoreError};

use crate::budgets::{BudgetError, BudgetReport};
use crate::config::Config;
use crate::health::SessionSurvey;
use crate::report::{Freshness, ModelUsage, NameLimits, PriceTable, SpendingSnapshot};

/// Maximum number of models with a name. A transcript can contain any number.
const MODELS_MAX: u32 = 50;
/// Maximum number of users with a name.
const USERS_MAX: u32 = 200;
/// The time span of [`ProcessorFailures::recent`].
const RECENT: Duration = Duration::from_secs(24 * 3600);

/// The figures. An `Err` is a read error.
#[derive(Debug)]
pub struct MonitoringFigures {
    /// The sessions that wait for each processor.
    pub backlogs: Vec<BacklogCount>,
    /// Session files on disk. `None`: they cannot be read.
    pub session_files: Option<u64>,
    /// Failed sessions by processor.
    pub failures: Result<Vec<ProcessorFailures>, StoreError>,
    /// The last runs by processor.
    pub latest_runs: Result<Vec<LatestRuns>, StoreError>,
    /// Tokens and cost by model.
    pub models: Result<Vec<ModelUsage>, BudgetError>,
    /// The budgets.
    pub budgets: Result<Option<BudgetReport>, BudgetError>,
    /// Notifications by state.
    pub notifications: Result<Vec<(NotificationState, u64)>, StoreError>,
    /// When the figures were read.
    pub at: UtcMicros,
}

/// The sessions that wait for a processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BacklogCount {
    /// The processor.
    pub processor: String,
    /// Sessions that wait, without those in quarantine. `None`: they cannot be read.
    pub sessions: Option<u64>,
    /// How long the oldest of them has waited.
    pub oldest: Option<Duration>,
}

impl MonitoringFigures {
    /// Reads the figures. Slow: it can update the rollups of reports, in steps that let commits
    /// through.
    pub fn read(
        config: &Config,
        store: &Store,
        survey: &SessionSurvey,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let now = clock.now();
        let snapshot = snapshot(config, store, clock);
        let limits = NameLimits {
            models_max: MODELS_MAX,
            users_max: if config.metrics.per_user {
                USERS_MAX
            } else {
                0
            },
        };
        let (models, budgets) = match snapshot {
            Ok(snapshot) => {
                let models = snapshot.as_ref().map(|snapshot| snapshot.models(limits));
                let budgets = match config.budgets.is_empty() {
                    true => Ok(None),
                    false => BudgetReport::of(config, snapshot.as_ref(), now).map(Some),
                };
                let models = models.transpose().map(Option::unwrap_or_default);
                (models.map_err(BudgetError::from), budgets)
            }
            Err(error) => (Err(error), Ok(None)),
        };
        Self {
            backlogs: backlogs(survey, now),
            session_files: survey.session_files(),
            failures: store.failures_by_processor(now.minus(RECENT)),
            latest_runs: store.latest_runs(),
            models,
            budgets,
            notifications: store.count_notifications(),
            at: now,
        }
    }

    /// The number of parts that could not be read.
    pub fn failed_parts(&self) -> u64 {
        let parts = [
            self.session_files.is_none(),
            self.failures.is_err(),
            self.latest_runs.is_err(),
            self.models.is_err(),
            self.budgets.is_err(),
            self.notifications.is_err(),
        ];
        parts.into_iter().map(u64::from).sum()
    }
}

fn snapshot(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
) -> Result<Option<SpendingSnapshot>, BudgetError> {
    let prices = PriceTable::load(config)?;
    Ok(SpendingSnapshot::open(
        store,
        &prices,
        Freshness::Updated,
        clock,
    )?)
}

fn backlogs(survey: &SessionSurvey, now: UtcMicros) -> Vec<BacklogCount> {
    let counts = survey.backlogs().iter().map(|backlog| {
        let pending = backlog.pending.as_ref().ok();
        let oldest = pending.and_then(|pending| pending.oldest.as_ref());
        BacklogCount {
            processor: backlog.processor.clone(),
            sessions: pending
                .filter(|_| backlog.files.is_ok())
                .map(|pending| pending.sessions),
            oldest: oldest.map(|oldest| {
                let micros = now.0.saturating_sub(oldest.changed_at.0);
                Duration::from_micros(u64::try_from(micros).unwrap_or(0))
            }),
        }
    });
    counts.collect()
}
