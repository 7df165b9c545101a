//! The audit log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::{AuditRow, Role};
use utoipa::IntoParams;

use super::ServiceState;
use super::caller::Admin;
use super::params::{self, ValidQuery};
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::admin::AuditBody;

/// Selects audit entries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// The maximum number of rows on a page.
    #[serde(default = "super::params::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the previous page.
    cursor: Option<String>,
}

/// Parses a cursor: the time and the id of an audit entry.
fn position(text: &str) -> Option<(UtcMicros, String)> {
    let (at, id) = text.rsplit_once('-')?;
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    Some((UtcMicros(at.parse().ok()?), id.to_owned())).filter(|_| is_id)
}

/// Lists audit entries, newest first.
#[utoipa::path(get, path = "/api/admin/audit", operation_id = "list_audit", tag = "admin", security(("bearer" = ["admin"])),
    params(AuditQuery), responses((status = 200, body = AuditBody), AuthenticatedResponses))]
pub(super) async fn list(
    State(service): State<Arc<ServiceState>>,
    _: Admin,
    ValidQuery(query): ValidQuery<AuditQuery>,
) -> Result<Json<AuditBody>, ApiError> {
    let limit = params::limit(query.limit)?;
    let before = params::cursor(query.cursor.as_deref(), position)?;
    let query_rows = move |service: &ServiceState| {
        let before = before.as_ref().map(|(at, id)| (*at, id.as_str()));
        Ok(service.database()?.audit_rows(before, limit + 1)?)
    };
    let rows = service.read(Role::Admin, query_rows).await?;
    let (rows, next) = params::page(rows, limit, |row| format!("{}-{}", row.timestamp.0, row.id));
    let entries = rows.into_iter().map(AuditRow::without_secrets).collect();
    Ok(Json(AuditBody { entries, next }))
}
