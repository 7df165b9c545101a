//! Marks sessions for reprocessing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_pipeline::reprocess;
use session_pipeline_store::{Actor, AuditedAction};
use utoipa::IntoParams;

use super::ServiceState;
use super::caller::Admin;
use super::params::ValidQuery;
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::admin::ReprocessBody;

/// Selects the sessions to mark.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReprocessQuery {
    /// The name of the processor.
    processor: String,
    /// Only the session with this key.
    session: Option<String>,
}

/// Marks sessions for the next run to process again. Stored results are not deleted.
#[utoipa::path(post, path = "/api/admin/reprocess", operation_id = "reprocess", tag = "admin", security(("bearer" = ["admin"])),
    params(ReprocessQuery), responses(
        (status = 200, body = ReprocessBody),
        (status = 400, body = Problem, description = "The processor does not exist or is not installed."),
        (status = 404, body = Problem, description = "The session does not exist."),
        AuthenticatedResponses))]
pub(super) async fn reprocess(
    State(service): State<Arc<ServiceState>>,
    Admin(admin): Admin,
    ValidQuery(query): ValidQuery<ReprocessQuery>,
) -> Result<Json<ReprocessBody>, ApiError> {
    let actor = admin.actor();
    let marked = service.change(move |service| {
        mark(
            service,
            "reprocess",
            &query.processor,
            query.session.as_deref(),
            actor,
        )
    });
    Ok(Json(marked.await?))
}

/// Marks sessions on behalf of an actor, with an audit entry for `action`.
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
