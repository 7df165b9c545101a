//! Usage: the report, and its administration.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::day::Day;
use session_pipeline_pipeline::report::{
    self, DayRange, PriceTable, UsageReport, activity, export,
};
use session_pipeline_store::{AuditEntry, AuditedAction, Role};
use tokio::io::{AsyncReadExt, BufReader};
use utoipa::{IntoParams, ToSchema};

use super::asked::ValidQuery;
use super::caller::{Admin, Analyst};
use super::problem::{ApiError, AuthenticatedResponses};
use super::reprocess::mark;
use super::{ServiceState, local};
use crate::body::Problem;
use crate::body::admin::ReprocessBody;
use crate::body::usage::{PruneBody, PruneStatus, UsageReportBody};

/// The processor behind all of this.
const USAGE: &str = "usage";
/// An export is sent in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// What a row stands for.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum GroupingParam {
    /// Days, in UTC.
    #[default]
    Day,
    /// Months, in UTC.
    Month,
    /// Sessions.
    Session,
    /// Users.
    User,
    /// Models.
    Model,
    /// Tools.
    Tool,
    /// Repositories, or folders.
    Project,
}

/// Which report.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReportQuery {
    /// What a row stands for.
    #[serde(default)]
    #[param(inline)]
    by: GroupingParam,
    /// The first day, in UTC.
    #[param(format = Date)]
    since: Option<String>,
    /// The last day, in UTC, which is included.
    #[param(format = Date)]
    until: Option<String>,
}

/// Tokens, cost and messages, each message counted once over all files.
#[utoipa::path(get, path = "/api/usage/summary", operation_id = "report_usage", tag = "usage", security(("bearer" = ["analyst"])),
    params(ReportQuery), responses((status = 200, body = UsageReportBody), AuthenticatedResponses))]
pub(super) async fn report(
    State(service): State<Arc<ServiceState>>,
    analyst: Analyst,
    ValidQuery(asked): ValidQuery<ReportQuery>,
) -> Result<Response, ApiError> {
    let day = |name: &str, text: Option<String>| -> Result<Option<Day>, ApiError> {
        let day = text.map(|text| {
            text.parse()
                .map_err(|error| ApiError::unprocessable(unread(name, &text, &error)))
        });
        day.transpose()
    };
    let days = DayRange {
        since: day("since", asked.since)?,
        until: day("until", asked.until)?,
    };
    if let (Some(since), Some(until)) = (days.since, days.until)
        && until < since
    {
        let detail = format!("`until` {until} lies before `since` {since}; swap them");
        return Err(ApiError::unprocessable(detail));
    }
    let by = match asked.by {
        GroupingParam::Day => Some(report::ReportGrouping::Day),
        GroupingParam::Month => Some(report::ReportGrouping::Month),
        GroupingParam::Session => Some(report::ReportGrouping::Session),
        GroupingParam::User => Some(report::ReportGrouping::User),
        GroupingParam::Model => Some(report::ReportGrouping::Model),
        GroupingParam::Project => Some(report::ReportGrouping::Project),
        GroupingParam::Tool => None,
    };
    let local = analyst.local;
    let body = service.read(analyst.role, move |service| {
        let prices = PriceTable::load(service.config())?;
        let (store, clock) = (service.store(), service.clock());
        let now = clock.now();
        let nothing = || {
            if let Some(local) = &local {
                local.report(local::LocalReport::NothingProcessed);
            }
        };
        let body = match by {
            Some(by) => {
                let report = store.map(|store| report::usage(store, &prices, by, days, clock));
                let report = report.transpose()?.flatten().unwrap_or_else(|| {
                    nothing();
                    UsageReport::empty(by.key(), now)
                });
                serde_json::to_vec(&report)
            }
            None => {
                let report = store.map(|store| {
                    report::tools(store, &prices, report::ToolGrouping::Tool, days, clock)
                });
                let report = report.transpose()?.flatten().unwrap_or_else(|| {
                    nothing();
                    UsageReport::empty("tool", now)
                });
                serde_json::to_vec(&report)
            }
        };
        body.map_err(|error| ApiError::internal(&error))
    });
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, body.await?).into_response())
}

fn unread(name: &str, text: &str, error: &dyn std::error::Error) -> String {
    let text = session_pipeline_host::fault::printable(text);
    format!("`{name}` can't be `{text}`: {error}")
}

/// Marks all sessions, so that the next run extracts usage again; deletes nothing.
#[utoipa::path(post, path = "/api/admin/usage/reprocess", operation_id = "reprocess_usage", tag = "usage", security(("bearer" = ["admin"])),
    responses(
        (status = 200, body = ReprocessBody),
        (status = 400, body = Problem, description = "The processor is not installed."),
        AuthenticatedResponses))]
pub(super) async fn reprocess(
    State(service): State<Arc<ServiceState>>,
    Admin(known): Admin,
) -> Result<Json<ReprocessBody>, ApiError> {
    let actor = known.actor();
    let marked = service.query(move |service| mark(service, "usage.reprocess", USAGE, None, actor));
    Ok(Json(marked.await?))
}

/// Removes the events that are older than the retention that the operator set.
#[utoipa::path(post, path = "/api/admin/usage/prune", operation_id = "prune_usage", tag = "usage", security(("bearer" = ["admin"])),
    responses(
        (status = 200, body = PruneBody),
        (status = 400, body = Problem, description = "The processor is not installed."),
        AuthenticatedResponses))]
pub(super) async fn prune(
    State(service): State<Arc<ServiceState>>,
    Admin(known): Admin,
) -> Result<Json<PruneBody>, ApiError> {
    let Some(days) = service.config().service.usage_retention_days else {
        let reason = "no retention is set: USAGE_EVENTS_RETENTION_DAYS is 0 or not there";
        return Ok(Json(PruneBody {
            status: PruneStatus::Skipped,
            reason: Some(reason.to_owned()),
            retention_days: None,
            deleted: None,
            remaining: None,
        }));
    };
    let actor = known.actor();
    let pruned = service.query(move |service| {
        let now = with_tables(service)?;
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

/// Sees to it that the tables and views are there, also where no run was yet; gives the time.
fn with_tables(service: &ServiceState) -> Result<UtcMicros, ApiError> {
    service.pipeline()?.processor(USAGE)?;
    Ok(service.clock().now())
}

/// What kind of file.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ExportFormatParam {
    /// Comma-separated values, with a header.
    #[default]
    Csv,
    /// One JSON object a line.
    Json,
    /// Parquet.
    Parquet,
}

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// What kind of file.
    #[serde(default)]
    #[param(inline)]
    format: ExportFormatParam,
    /// From this instant on: a day in UTC, or a time with its zone.
    since: Option<String>,
    /// Before this one.
    until: Option<String>,
    /// Only of this user: their e-mail, or the folder of sessions that are no user's.
    user_id: Option<String>,
    /// Only of this source: `builtin`, `mcp` or `plugin`.
    source: Option<String>,
}

/// The events as a file, in the order in which they occurred; the first column tells them apart.
#[utoipa::path(get, path = "/api/admin/usage/export", operation_id = "export_usage", tag = "usage", security(("bearer" = ["admin"])),
    params(ExportQuery), responses(
        (status = 200, description = "The events.", content(
            (String = "text/csv"), (String = "application/x-ndjson"), (String = "application/octet-stream"))),
        (status = 400, body = Problem, description = "A time can't be read, or the processor is not installed."),
        AuthenticatedResponses))]
pub(super) async fn export(
    State(service): State<Arc<ServiceState>>,
    Admin(known): Admin,
    ValidQuery(asked): ValidQuery<ExportQuery>,
) -> Result<Response, ApiError> {
    let instant = |name: &str, text: Option<String>| -> Result<Option<UtcMicros>, ApiError> {
        let instant = text.map(|text| {
            let read = text.parse::<UtcMicros>();
            read.map_err(|error| ApiError::bad(unread(name, &text, &error)))
        });
        instant.transpose()
    };
    let filter = export::EventFilter {
        since: instant("since", asked.since)?,
        until: instant("until", asked.until)?,
        username: asked.user_id,
        source: asked.source,
    };
    let (format, kind, name) = match asked.format {
        ExportFormatParam::Csv => (export::ExportFormat::Csv, "text/csv; charset=utf-8", "csv"),
        ExportFormatParam::Json => (export::ExportFormat::Json, "application/x-ndjson", "json"),
        ExportFormatParam::Parquet => (
            export::ExportFormat::Parquet,
            "application/octet-stream",
            "parquet",
        ),
    };
    let actor = known.actor();
    let file = service.read(Role::Admin, move |service| {
        let now = with_tables(service)?;
        let (config, store) = (service.config(), service.database()?);
        let exported = export::export(store, config, format, &filter)?;
        let params = serde_json::json!({ "format": name, "row_count": exported.rows });
        store.audit(AuditEntry {
            params: Some(params.to_string()),
            ..AuditEntry::new("usage.export", "usage.events", actor, now)
        })?;
        // The file is gone when `exported` is; what is open can be read to its end.
        std::fs::File::open(&exported.path).map_err(|error| ApiError::internal(&error))
    });
    let file = BufReader::new(tokio::fs::File::from_std(file.await?));
    let pieces = futures_util::stream::try_unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE_BYTES];
        let read = file.read(&mut piece).await?;
        piece.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then_some((piece, file)))
    });
    let disposition = format!("attachment; filename=\"usage.{name}\"");
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// How far back to look.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
pub(super) enum SummaryWindowParam {
    /// Seven days.
    #[default]
    #[serde(rename = "7d")]
    Week,
    /// Thirty days.
    #[serde(rename = "30d")]
    Month,
    /// Everything.
    #[serde(rename = "all")]
    All,
}

/// Which window.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SummaryQuery {
    /// How far back to look.
    #[serde(default)]
    #[param(inline)]
    window: SummaryWindowParam,
}

/// Who did how much: tools, users, failures, active days, and our own slow actions.
#[utoipa::path(get, path = "/api/admin/usage/summary", operation_id = "summarize_usage", tag = "usage", security(("bearer" = ["admin"])),
    params(SummaryQuery), responses(
        (status = 200, body = activity::Activity),
        (status = 400, body = Problem, description = "The processor is not installed."),
        AuthenticatedResponses))]
pub(super) async fn summary(
    State(service): State<Arc<ServiceState>>,
    _: Admin,
    ValidQuery(asked): ValidQuery<SummaryQuery>,
) -> Result<Json<activity::Activity>, ApiError> {
    let window = match asked.window {
        SummaryWindowParam::Week => activity::ActivityWindow::Days(7),
        SummaryWindowParam::Month => activity::ActivityWindow::Days(30),
        SummaryWindowParam::All => activity::ActivityWindow::All,
    };
    let summary = service.read(Role::Admin, move |service| {
        let now = with_tables(service)?;
        Ok(activity::activity(service.database()?, window, now)?)
    });
    Ok(Json(summary.await?))
}
