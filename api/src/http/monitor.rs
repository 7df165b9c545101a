//! Checks the budgets in the background, and sends notifications.

use std::sync::Arc;

use session_pipeline_host::fault::error_chain;
use session_pipeline_pipeline::budgets::BudgetReport;
use session_pipeline_pipeline::notify::Notifier;
use session_pipeline_pipeline::report::Freshness;
use tokio::sync::watch;

use super::ServiceState;
use super::problem::ApiError;

/// Checks the budgets at every interval until the service stops. Returns at once if there are none.
pub(super) async fn run(service: Arc<ServiceState>, mut stopping: watch::Receiver<bool>) {
    if service.config().budgets.is_empty() {
        return;
    }
    let mut notifier = None;
    let mut is_open = false;
    loop {
        if !is_open {
            let opened = service.run_blocking((), |service| {
                let (config, store) = (service.config(), service.database()?);
                Ok(Notifier::open(config, store, service.clock().now())?)
            });
            match opened.await {
                Ok(opened) => (notifier, is_open) = (opened.map(Arc::new), true),
                Err(error) => tracing::warn!("cannot prepare notifications: {}", error.detail),
            }
        }
        check(&service, notifier.as_ref(), &stopping).await;
        let pause = tokio::time::sleep(service.limits.budget_interval);
        tokio::select! {
            () = pause => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// Updates the figures of the budgets, which health reads, and sends what is due.
async fn check(
    service: &Arc<ServiceState>,
    notifier: Option<&Arc<Notifier>>,
    stopping: &watch::Receiver<bool>,
) {
    let report = service.read_for_monitoring(|service| {
        let (config, clock) = (service.config(), service.clock());
        let report = BudgetReport::read(config, service.store(), Freshness::Updated, clock);
        report.map_err(|error| ApiError::internal(&error))
    });
    let report = match report.await {
        Ok(Some(report)) => report,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!("cannot compare the budgets with the cost: {}", error.detail);
            return;
        }
    };
    let Some(notifier) = notifier.map(Arc::clone) else {
        return;
    };
    let stopping = stopping.clone();
    let sent = service.run_blocking((), move |service| {
        let (config, store) = (service.config(), service.database()?);
        let now = || service.clock().now();
        let is_stopping = || *stopping.borrow();
        if let Err(error) = notifier.notify(config, store, &report, &now, &is_stopping) {
            tracing::warn!("cannot send notifications: {}", error_chain(&error));
        }
        Ok(())
    });
    if let Err(error) = sent.await {
        tracing::warn!("cannot send notifications: {}", error.detail);
    }
}
