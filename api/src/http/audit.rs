//! The audit log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_runtime::token::Role;
use utoipa::IntoParams;

use super::Service;
use super::asked::Asked;
use super::caller::Admin;
use super::problem::{ApiError, Refusals};
use crate::body::admin::{Audit, AuditLine};

/// Which rows.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// At most so many.
    #[serde(default = "two_hundred")]
    #[param(minimum = 1, maximum = 1000, default = 200)]
    limit: u32,
}

fn two_hundred() -> u32 {
    200
}

/// Who did what, the newest first.
#[utoipa::path(get, path = "/api/admin/audit", operation_id = "list_audit", tag = "admin", security(("bearer" = ["admin"])),
    params(AuditQuery), responses((status = 200, body = Audit), Refusals))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    _: Admin,
    Asked(asked): Asked<AuditQuery>,
) -> Result<Json<Audit>, ApiError> {
    let limit = super::asked::limit(asked.limit)?;
    let rows = move |service: &Service| {
        let rows = service.pipeline.store().audit_rows(limit)?;
        Ok(rows.into_iter().map(AuditLine::from).collect())
    };
    let entries = service.read(Role::Admin, rows).await?;
    Ok(Json(Audit { entries }))
}
