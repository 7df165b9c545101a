//! The cache of the figures that need queries.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use session_pipeline_pipeline::health::{HealthSources, SessionSurvey, SystemDisk};
use session_pipeline_pipeline::monitoring::MonitoringFigures;
use tokio::sync::Notify;

use crate::http::ServiceState;
use crate::http::problem::ApiError;

/// The latest figures. At most one read is in progress.
#[derive(Default)]
pub(in crate::http) struct FiguresCache {
    latest: Mutex<Option<CachedFigures>>,
    is_reading: AtomicBool,
    read: Notify,
}

#[derive(Clone)]
struct CachedFigures {
    /// On the monotonic clock.
    at: Duration,
    figures: Arc<MonitoringFigures>,
}

impl FiguresCache {
    fn latest(&self) -> Option<CachedFigures> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.clone()
    }
}

/// The latest figures, of any age. Starts a new read in the background if they are older than the
/// configured age. Only waits if there are none yet.
pub(super) async fn current(
    service: &Arc<ServiceState>,
    wait_max: Duration,
) -> Option<Arc<MonitoringFigures>> {
    let cache = &service.figures;
    let latest = cache.latest();
    let max_age = service.config().metrics.max_age;
    let age = |at: Duration| service.clock().monotonic().saturating_sub(at);
    let is_recent = latest
        .as_ref()
        .is_some_and(|latest| age(latest.at) < max_age);
    // Registered before the read starts, so that its end is not missed.
    let mut done = std::pin::pin!(cache.read.notified());
    done.as_mut().enable();
    if !is_recent && !cache.is_reading.swap(true, Ordering::SeqCst) {
        let service = Arc::clone(service);
        tokio::spawn(async move { read(&service).await });
    }
    if let Some(latest) = latest {
        return Some(latest.figures);
    }
    // A slow read continues in the background, and a later scrape returns its figures.
    let _ = tokio::time::timeout(wait_max, done).await;
    cache.latest().map(|latest| latest.figures)
}

async fn read(service: &Arc<ServiceState>) {
    let figures = service.read_for_monitoring(|service| {
        let cadences = service.cadences();
        let sources = HealthSources {
            config: service.config(),
            registry: service.registry(),
            database: service.store().into(),
            cadences: &cadences,
            scheduler: None,
            disk: &SystemDisk,
            schema: None,
            now: service.clock().now(),
        };
        let survey = service.survey.get(service.clock().as_ref(), || {
            SessionSurvey::collect(&sources)
        });
        let (config, clock) = (service.config(), service.clock());
        let figures = MonitoringFigures::read(config, service.database()?, &survey, clock);
        Ok::<_, ApiError>(Arc::new(figures))
    });
    let result = figures.await;
    let cache = &service.figures;
    match result {
        Ok(figures) => {
            let at = service.clock().monotonic();
            let mut latest = cache.latest.lock().unwrap_or_else(PoisonError::into_inner);
            *latest = Some(CachedFigures { at, figures });
        }
        Err(error) => {
            tracing::warn!("cannot read the figures for metrics: {}", error.detail);
        }
    }
    cache.is_reading.store(false, Ordering::SeqCst);
    cache.read.notify_waiters();
}
