//! Starts, lists and returns runs.

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
use super::caller::Admin;
use super::local::{LocalCaller, LocalReport};
use super::params::{self, ValidName, ValidQuery};
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::run::{RunBody, RunSummary, RunsBody};
use crate::problem::ProblemClass;

/// Selects the processor and lowers its caps.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RunQuery {
    /// The name of the processor.
    processor: String,
    /// The maximum number of sessions to attempt. The cap of the service also applies.
    #[param(minimum = 1)]
    max_sessions: Option<u64>,
    /// The time budget, in seconds after the scan. The run starts no further session when it is
    /// used up, but always attempts at least one. The cap of the service also applies.
    #[param(minimum = 0)]
    time_budget: Option<u32>,
}

/// Runs a processor over new and changed sessions, and responds when the run has ended.
#[utoipa::path(post, path = "/api/admin/run-session-processor", operation_id = "run_processor", tag = "runs", security(("bearer" = ["admin"])),
    params(RunQuery), responses(
        (status = 200, body = RunBody),
        (status = 400, body = Problem, description = "The processor does not exist or is not installed."),
        (status = 409, body = Problem, description = "A run of this processor is already in progress."),
        AuthenticatedResponses))]
pub(super) async fn run(
    State(service): State<Arc<ServiceState>>,
    Admin(admin): Admin,
    ValidQuery(query): ValidQuery<RunQuery>,
) -> Result<Json<RunBody>, ApiError> {
    if query.max_sessions == Some(0) {
        return Err(ApiError::unprocessable(
            "invalid max_sessions `0`; send a number of at least 1, or omit it",
        ));
    }
    let request = match &admin.local {
        Some(_) => RunRequest::cli(),
        None => RunRequest::service(service.config(), Trigger::Http, admin.actor()),
    };
    let time_budget = query
        .time_budget
        .map(|seconds| Duration::from_secs(seconds.into()));
    let request = RunRequest {
        // The shared secret belongs to an external scheduler, and scheduled runs respect the
        // back-off of failed sessions.
        is_started_by_person: !admin.is_scheduler(),
        max_sessions: query.max_sessions,
        time_budget: request.time_budget.into_iter().chain(time_budget).min(),
        ..request
    };
    let pipeline = Arc::clone(service.pipeline()?);
    let report = run_on_thread(pipeline, query.processor, request, admin.local)
        .await
        .map_err(ApiError::from)
        .inspect_err(|error| service.check_fatal(error))?;
    Ok(Json(report.into()))
}

/// Runs a processor on its own thread, so that neither a disconnecting client nor a full thread
/// pool stops the run.
pub(super) async fn run_on_thread(
    pipeline: Arc<Pipeline>,
    processor: String,
    request: RunRequest,
    local: Option<LocalCaller>,
) -> Result<RunReport, RunError> {
    let (sender, report) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("run".to_owned())
        .spawn(move || {
            let report = match &local {
                Some(local) => run_local(&pipeline, &processor, &request, local),
                None => pipeline.run(&processor, &request, &()),
            };
            // Before the report is sent: a command exits after it, and closing the store takes
            // time.
            drop(pipeline);
            // The client may have disconnected. The run and its audit entry are stored anyway.
            let _ = sender.send(report);
        })
        .map_err(|error| RunError::Internal(format!("cannot start a thread ({error})")))?;
    report.await.unwrap_or_else(|_| {
        Err(RunError::Internal(
            "the thread of the run panicked".to_owned(),
        ))
    })
}

/// Runs a processor for a caller in this process, and reports the progress.
fn run_local(
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
    local.report(LocalReport::RunStarts);
    let report = pipeline.run(processor, request, local)?;
    let usage = pipeline.store().llm_use(&report.id)?;
    if usage.calls > 0 {
        local.report(LocalReport::ModelUse(usage));
    }
    if report.stats.processed > 0 {
        pipeline.store().checkpoint()?;
    }
    Ok(report)
}

/// Selects runs.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RunsQuery {
    /// Only runs of this processor.
    processor: Option<String>,
    /// The maximum number of rows on a page.
    #[serde(default = "super::params::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the previous page.
    cursor: Option<String>,
}

/// Lists runs, newest first.
#[utoipa::path(get, path = "/api/admin/runs", operation_id = "list_runs", tag = "runs", security(("bearer" = ["admin"])),
    params(RunsQuery), responses((status = 200, body = RunsBody), AuthenticatedResponses))]
pub(super) async fn list(
    State(service): State<Arc<ServiceState>>,
    _: Admin,
    ValidQuery(query): ValidQuery<RunsQuery>,
) -> Result<Json<RunsBody>, ApiError> {
    let limit = params::limit(query.limit)?;
    let before = params::cursor(query.cursor.as_deref(), |text| text.parse().ok())?;
    let query_rows = move |service: &ServiceState| {
        let store = service.database()?;
        Ok(store.runs(query.processor.as_deref(), before, limit + 1)?)
    };
    let runs = service.read(Role::Admin, query_rows).await?;
    let (runs, next) = params::page(runs, limit, |run| run.id.clone());
    let runs = runs.into_iter().map(RunSummary::from).collect();
    Ok(Json(RunsBody { runs, next }))
}

/// Returns a run.
#[utoipa::path(get, path = "/api/admin/runs/{id}", operation_id = "show_run", tag = "runs", security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The id of the run.")), responses(
        (status = 200, body = RunSummary),
        (status = 404, body = Problem, description = "The run does not exist."),
        AuthenticatedResponses))]
pub(super) async fn show(
    State(service): State<Arc<ServiceState>>,
    _: Admin,
    ValidName(id): ValidName,
) -> Result<Json<RunSummary>, ApiError> {
    let printable_id = session_pipeline_host::fault::printable(&id);
    let query_row = move |service: &ServiceState| Ok(service.database()?.run_row(&id)?);
    let run = service.read(Role::Admin, query_row).await?;
    run.map(|row| Json(row.into())).ok_or_else(|| {
        let detail = format!("unknown run `{printable_id}`; `GET /api/admin/runs` lists all runs");
        ApiError::new(ProblemClass::NotFound, detail)
    })
}
