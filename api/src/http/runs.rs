//! Runs: started by a request, listed, and shown.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_pipeline::report::PriceTable;
use session_pipeline_pipeline::run::{Pipeline, RunError, RunReport, RunRequest};
use session_pipeline_store::{Role, Trigger};
use utoipa::IntoParams;

use super::ServiceState;
use super::asked::{self, ValidName, ValidQuery};
use super::caller::Admin;
use super::local::{LocalCaller, LocalReport};
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::run::{RunBody, RunSummary, RunsBody};
use crate::problem::ProblemClass;

/// Which run.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RunQuery {
    /// The processor.
    processor: String,
    /// Attempts at most; the service's own cap holds beside it.
    #[param(minimum = 1)]
    max_sessions: Option<u64>,
    /// Seconds after the scan from which on no further session is begun; the service's own cap holds
    /// beside it. Every run tries at least one session.
    #[param(minimum = 0)]
    time_budget: Option<u32>,
}

/// Runs a processor over the sessions that are new or changed, and answers when it is done.
#[utoipa::path(post, path = "/api/admin/run-session-processor", operation_id = "run_processor", tag = "runs", security(("bearer" = ["admin"])),
    params(RunQuery), responses(
        (status = 200, body = RunBody),
        (status = 400, body = Problem, description = "There is no such processor, or it is not installed."),
        (status = 409, body = Problem, description = "This processor is at work, whoever started it."),
        AuthenticatedResponses))]
pub(super) async fn run(
    State(service): State<Arc<ServiceState>>,
    Admin(known): Admin,
    ValidQuery(asked): ValidQuery<RunQuery>,
) -> Result<Json<RunBody>, ApiError> {
    if asked.max_sessions == Some(0) {
        return Err(ApiError::unprocessable(
            "`max_sessions` can't be 0; give a number from 1 on, or leave it out",
        ));
    }
    let request = match &known.local {
        Some(_) => RunRequest::cli(),
        None => RunRequest::service(service.config(), Trigger::Http, known.actor()),
    };
    let time_budget = asked
        .time_budget
        .map(|seconds| Duration::from_secs(seconds.into()));
    let request = RunRequest {
        // The shared secret is a scheduler's, and schedulers wait after failures.
        is_started_by_person: !known.is_scheduler(),
        max_sessions: asked.max_sessions,
        time_budget: request.time_budget.into_iter().chain(time_budget).min(),
        ..request
    };
    let pipeline = Arc::clone(service.pipeline()?);
    let report = run_off_thread(pipeline, asked.processor, request, known.local)
        .await
        .map_err(ApiError::from)
        .inspect_err(|error| service.note(error))?;
    Ok(Json(report.into()))
}

/// A run has a thread of its own, which neither a client that goes away nor a full pool can stop.
pub(super) async fn run_off_thread(
    pipeline: Arc<Pipeline>,
    processor: String,
    request: RunRequest,
    local: Option<LocalCaller>,
) -> Result<RunReport, RunError> {
    let (answer, report) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("run".to_owned())
        .spawn(move || {
            let report = match &local {
                Some(local) => run_watched(&pipeline, &processor, &request, local),
                None => pipeline.run(&processor, &request, &()),
            };
            // Before the answer: a command ends after it, and closing the store takes time.
            drop(pipeline);
            // The caller can be gone. The run and its audit row are not.
            let _ = answer.send(report);
        })
        .map_err(|error| RunError::Internal(format!("the system gave it no thread ({error})")))?;
    report
        .await
        .unwrap_or_else(|_| Err(RunError::Internal("its thread panicked".to_owned())))
}

/// Runs for a caller in this process, who hears of everything that concerns the run.
fn run_watched(
    pipeline: &Pipeline,
    processor: &str,
    request: &RunRequest,
    local: &LocalCaller,
) -> Result<RunReport, RunError> {
    if pipeline.sessions_root()?.is_none() {
        local.report(LocalReport::NoSessionsRoot);
    }
    if let Err(error) = PriceTable::load(pipeline.config()) {
        local.report(LocalReport::UnusablePrices(&error));
    }
    local.report(LocalReport::RunBegins);
    let report = pipeline.run(processor, request, local)?;
    let used = pipeline.store().llm_use(&report.id)?;
    if used.calls > 0 {
        local.report(LocalReport::ModelUse(used));
    }
    if report.stats.processed > 0 {
        pipeline.store().checkpoint()?;
    }
    Ok(report)
}

/// Which runs.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RunsQuery {
    /// Only runs of this processor.
    processor: Option<String>,
    /// At most this many on one page.
    #[serde(default = "super::asked::hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// The latest runs, the newest first.
#[utoipa::path(get, path = "/api/admin/runs", operation_id = "list_runs", tag = "runs", security(("bearer" = ["admin"])),
    params(RunsQuery), responses((status = 200, body = RunsBody), AuthenticatedResponses))]
pub(super) async fn list(
    State(service): State<Arc<ServiceState>>,
    _: Admin,
    ValidQuery(query): ValidQuery<RunsQuery>,
) -> Result<Json<RunsBody>, ApiError> {
    let limit = asked::limit(query.limit)?;
    let before = asked::cursor(query.cursor.as_deref(), |text| text.parse().ok())?;
    let rows = move |service: &ServiceState| {
        let store = service.database()?;
        Ok(store.runs(query.processor.as_deref(), before, limit + 1)?)
    };
    let runs = service.read(Role::Admin, rows).await?;
    let (runs, next) = asked::page(runs, limit, |run| run.id.clone());
    let runs = runs.into_iter().map(RunSummary::from).collect();
    Ok(Json(RunsBody { runs, next }))
}

/// One run.
#[utoipa::path(get, path = "/api/admin/runs/{id}", operation_id = "show_run", tag = "runs", security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The id of the run.")), responses(
        (status = 200, body = RunSummary),
        (status = 404, body = Problem, description = "There is no such run."),
        AuthenticatedResponses))]
pub(super) async fn show(
    State(service): State<Arc<ServiceState>>,
    _: Admin,
    ValidName(id): ValidName,
) -> Result<Json<RunSummary>, ApiError> {
    let shown = session_pipeline_host::fault::printable(&id);
    let row = move |service: &ServiceState| Ok(service.database()?.run_row(&id)?);
    let run = service.read(Role::Admin, row).await?;
    run.map(|row| Json(row.into()))
        .ok_or_else(|| ApiError::new(ProblemClass::NotFound, format!("there is no run `{shown}`")))
}
