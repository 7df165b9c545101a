//! Routes of the `usage` processor: the report, reprocessing, pruning, export, and activity.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_pipeline::report::{activity, export};
use session_pipeline_store::{AuditEntry, AuditedAction, Role};
use tokio::io::{AsyncReadExt, BufReader};
use utoipa::{IntoParams, ToSchema};

use super::ServiceState;
use super::caller::Admin;
use super::params::ValidQuery;
use super::problem::{ApiError, AuthenticatedResponses};
use super::reprocess::mark;
use crate::body::Problem;
use crate::body::admin::ReprocessBody;
use crate::body::usage::{PruneBody, PruneStatus};

/// The processor that fills the tables of these routes.
const USAGE: &str = "usage";
/// The size of the chunks of an export.
const CHUNK_BYTES: usize = 64 << 10;

fn invalid_value(name: &str, text: &str, error: &dyn std::error::Error) -> String {
    let text = session_pipeline_host::fault::printable(text);
    format!("invalid {name} `{text}`: {error}")
}

/// Marks all sessions for the next run of `usage`. Stored results are not deleted.
#[utoipa::path(post, path = "/api/admin/usage/reprocess", operation_id = "reprocess_usage", tag = "usage", security(("bearer" = ["admin"])),
    responses(
        (status = 200, body = ReprocessBody),
        (status = 400, body = Problem, description = "The processor `usage` is not installed."),
        AuthenticatedResponses))]
pub(super) async fn reprocess(
    State(service): State<Arc<ServiceState>>,
    Admin(admin): Admin,
) -> Result<Json<ReprocessBody>, ApiError> {
    let actor = admin.actor();
    let marked =
        service.change(move |service| mark(service, "usage.reprocess", USAGE, None, actor));
    Ok(Json(marked.await?))
}

/// Deletes events that are older than the configured retention period.
#[utoipa::path(post, path = "/api/admin/usage/prune", operation_id = "prune_usage", tag = "usage", security(("bearer" = ["admin"])),
    responses(
        (status = 200, body = PruneBody),
        (status = 400, body = Problem, description = "The processor `usage` is not installed."),
        AuthenticatedResponses))]
pub(super) async fn prune(
    State(service): State<Arc<ServiceState>>,
    Admin(admin): Admin,
) -> Result<Json<PruneBody>, ApiError> {
    let Some(days) = service.config().service.usage_retention_days else {
        let reason = "no retention period is set: USAGE_EVENTS_RETENTION_DAYS is 0 or not set";
        return Ok(Json(PruneBody {
            status: PruneStatus::Skipped,
            reason: Some(reason.to_owned()),
            retention_days: None,
            deleted: None,
            remaining: None,
        }));
    };
    let actor = admin.actor();
    let pruned = service.change(move |service| {
        let now = create_tables(service)?;
        let store = service.database()?;
        let audited = AuditedAction {
            action: "usage.prune",
            actor,
            now,
        };
        Ok(activity::prune(store, days, audited)?)
    });
    let (deleted, remaining) = pruned.await?;
    Ok(Json(PruneBody {
        status: PruneStatus::Ok,
        reason: None,
        retention_days: Some(days),
        deleted: Some(deleted),
        remaining: Some(remaining),
    }))
}

/// Creates the tables and views of the processor if no run created them yet. Returns the current
/// time.
fn create_tables(service: &ServiceState) -> Result<UtcMicros, ApiError> {
    service.pipeline()?.processor(USAGE)?;
    Ok(service.clock().now())
}

/// The format of an export.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ExportFormatParam {
    /// CSV with a header.
    #[default]
    Csv,
    /// One JSON object per line.
    Json,
    /// Parquet.
    Parquet,
}

/// Selects the format and the events of an export.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// The format of the file.
    #[serde(default)]
    #[param(inline)]
    format: ExportFormatParam,
    /// Only events at or after this time: a day in UTC, or a time with its zone.
    since: Option<String>,
    /// Only events before this time.
    until: Option<String>,
    /// Only events of this user: an email address, or the name of a sessions folder without a user.
    user_id: Option<String>,
    /// Only events of this source: `builtin`, `mcp` or `plugin`.
    source: Option<String>,
}

/// Exports events as a file, oldest first. The first column is a unique id.
#[utoipa::path(get, path = "/api/admin/usage/export", operation_id = "export_usage", tag = "usage", security(("bearer" = ["admin"])),
    params(ExportQuery), responses(
        (status = 200, description = "The events.", content(
            (String = "text/csv"), (String = "application/x-ndjson"), (String = "application/octet-stream"))),
        (status = 400, body = Problem, description = "A time is invalid, or the processor `usage` is not installed."),
        AuthenticatedResponses))]
pub(super) async fn export(
    State(service): State<Arc<ServiceState>>,
    Admin(admin): Admin,
    ValidQuery(query): ValidQuery<ExportQuery>,
) -> Result<Response, ApiError> {
    let instant = |name: &str, text: Option<String>| -> Result<Option<UtcMicros>, ApiError> {
        let instant = text.map(|text| {
            text.parse::<UtcMicros>()
                .map_err(|error| ApiError::bad_request(invalid_value(name, &text, &error)))
        });
        instant.transpose()
    };
    let filter = export::EventFilter {
        since: instant("since", query.since)?,
        until: instant("until", query.until)?,
        username: query.user_id,
        source: query.source,
    };
    let (format, content_type, name) = match query.format {
        ExportFormatParam::Csv => (export::ExportFormat::Csv, "text/csv; charset=utf-8", "csv"),
        ExportFormatParam::Json => (export::ExportFormat::Json, "application/x-ndjson", "json"),
        ExportFormatParam::Parquet => (
            export::ExportFormat::Parquet,
            "application/octet-stream",
            "parquet",
        ),
    };
    let actor = admin.actor();
    let file = service.read(Role::Admin, move |service| {
        let now = create_tables(service)?;
        let (config, store) = (service.config(), service.database()?);
        let exported = export::export(store, config, format, &filter)?;
        let params = serde_json::json!({ "format": name, "row_count": exported.rows });
        store.audit(AuditEntry {
            params: Some(params.to_string()),
            ..AuditEntry::new("usage.export", "usage.events", actor, now)
        })?;
        // Dropping `exported` deletes the file, but the open handle stays readable.
        std::fs::File::open(&exported.path).map_err(|error| ApiError::internal(&error))
    });
    let file = BufReader::new(tokio::fs::File::from_std(file.await?));
    let chunks = futures_util::stream::try_unfold(file, |mut file| async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = file.read(&mut chunk).await?;
        chunk.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then_some((chunk, file)))
    });
    let disposition = format!("attachment; filename=\"usage.{name}\"");
    let headers = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// The window of an activity summary.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
pub(super) enum SummaryWindowParam {
    /// The last seven days.
    #[default]
    #[serde(rename = "7d")]
    Week,
    /// The last thirty days.
    #[serde(rename = "30d")]
    Month,
    /// All events.
    #[serde(rename = "all")]
    All,
}

/// Selects the window of an activity summary.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SummaryQuery {
    /// The window of the summary.
    #[serde(default)]
    #[param(inline)]
    window: SummaryWindowParam,
}

/// Returns activity: top tools, top users, failures, active days, and slow actions of the service.
#[utoipa::path(get, path = "/api/admin/usage/summary", operation_id = "summarize_usage", tag = "usage", security(("bearer" = ["admin"])),
    params(SummaryQuery), responses(
        (status = 200, body = activity::Activity),
        (status = 400, body = Problem, description = "The processor `usage` is not installed."),
        AuthenticatedResponses))]
pub(super) async fn summary(
    State(service): State<Arc<ServiceState>>,
    _: Admin,
    ValidQuery(query): ValidQuery<SummaryQuery>,
) -> Result<Json<activity::Activity>, ApiError> {
    let window = match query.window {
        SummaryWindowParam::Week => activity::ActivityWindow::Days(7),
        SummaryWindowParam::Month => activity::ActivityWindow::Days(30),
        SummaryWindowParam::All => activity::ActivityWindow::All,
    };
    let summary = service.read(Role::Admin, move |service| {
        let now = create_tables(service)?;
        Ok(activity::activity(service.database()?, window, now)?)
    });
    Ok(Json(summary.await?))
}
