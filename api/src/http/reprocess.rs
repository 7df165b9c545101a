//! Asking for sessions to be processed again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_pipeline::reprocess;
use session_pipeline_store::{Actor, AuditedAction};
use utoipa::IntoParams;

use super::ServiceState;
use super::asked::ValidQuery;
use super::caller::Admin;
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::admin::ReprocessBody;

/// Which sessions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReprocessQuery {
    /// The processor.
    processor: String,
    /// Only this session, by its key.
    session: Option<String>,
}

/// Marks sessions, so that the next run processes them again; deletes nothing.
#[utoipa::path(post, path = "/api/admin/reprocess", operation_id = "reprocess", tag = "admin", security(("bearer" = ["admin"])),
    params(ReprocessQuery), responses(
        (status = 200, body = ReprocessBody),
        (status = 400, body = Problem, description = "There is no such processor, or it is not installed."),
        (status = 404, body = Problem, description = "There is no such session."),
        AuthenticatedResponses))]
pub(super) async fn reprocess(
    State(service): State<Arc<ServiceState>>,
    Admin(known): Admin,
    ValidQuery(asked): ValidQuery<ReprocessQuery>,
) -> Result<Json<ReprocessBody>, ApiError> {
    let actor = known.actor();
    let marked = service.query(move |service| {
        mark(
            service,
            "reprocess",
            &asked.processor,
            asked.session.as_deref(),
            actor,
        )
    });
    Ok(Json(marked.await?))
}

/// Marks for whoever asks.
pub(super) fn mark(
    service: &ServiceState,
    action: &'static str,
    processor: &str,
    session: Option<&str>,
    actor: Actor,
) -> Result<ReprocessBody, ApiError> {
    let now = service.clock().now();
    let marked = reprocess::reprocess(
        service.config(),
        service.registry(),
        service.store(),
        processor,
        session,
        AuditedAction { action, actor, now },
    )?;
    Ok(ReprocessBody {
        processor: processor.to_owned(),
        marked: marked.sessions,
        quarantined: marked.quarantined,
    })
}
