//! Lists and releases quarantined sessions.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_pipeline::quarantine;
use session_pipeline_store::{QuarantineFilter, QuarantinedSession, Role};
use utoipa::IntoParams;

use super::ServiceState;
use super::caller::Admin;
use super::params::{self, ValidQuery};
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::quarantine::{QuarantineBody, ReleaseBody, release_filter};

/// Selects quarantined sessions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct QuarantineQuery {
    /// Only sessions of this processor.
    processor: Option<String>,
    /// Only the session with this key.
    session: Option<String>,
    /// The maximum number of rows on a page.
    #[serde(default = "super::params::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the previous page.
    cursor: Option<String>,
}

/// Parses a cursor: the processor and the key of a session.
fn position(text: &str) -> Option<(String, String)> {
    let (processor, key) = text.split_once('/')?;
    Some((processor.to_owned(), key.to_owned()))
}

/// Selects the sessions to release. At least one parameter is required.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReleaseQuery {
    /// Sessions of this processor.
    processor: Option<String>,
    /// The session with this key.
    session: Option<String>,
    /// All sessions. Conflicts with the other parameters.
    #[serde(default)]
    all: bool,
}

/// Lists quarantined sessions, which failed too often and are not retried.
#[utoipa::path(get, path = "/api/admin/quarantine", operation_id = "list_quarantine", tag = "admin", security(("bearer" = ["admin"])),
    params(QuarantineQuery), responses(
        (status = 200, body = QuarantineBody),
        (status = 400, body = Problem, description = "The processor does not exist."),
        (status = 404, body = Problem, description = "The session does not exist."),
        AuthenticatedResponses))]
pub(super) async fn list(
    State(service): State<Arc<ServiceState>>,
    _: Admin,
    ValidQuery(query): ValidQuery<QuarantineQuery>,
) -> Result<Json<QuarantineBody>, ApiError> {
    let limit = params::limit(query.limit)?;
    let after = params::cursor(query.cursor.as_deref(), position)?;
    let filter = QuarantineFilter {
        processor: query.processor,
        session: query.session,
    };
    let listed = service.read(Role::Admin, move |service| {
        let after = after.as_ref();
        Ok(quarantine::page(
            service.config(),
            service.registry(),
            service.store(),
            &filter,
            after.map(|(processor, key)| (processor.as_str(), key.as_str())),
            limit + 1,
            service.clock().now(),
        )?)
    });
    let cursor = |row: &QuarantinedSession| format!("{}/{}", row.processor, row.session);
    let (rows, next) = params::page(listed.await?, limit, cursor);
    Ok(Json(QuarantineBody {
        next,
        ..rows.into()
    }))
}

/// Releases sessions from quarantine. The next run retries them, with their failure counts reset.
#[utoipa::path(post, path = "/api/admin/quarantine/release", operation_id = "release_quarantine", tag = "admin", security(("bearer" = ["admin"])),
    params(ReleaseQuery), responses(
        (status = 200, body = ReleaseBody),
        (status = 400, body = Problem, description = "The processor does not exist."),
        (status = 404, body = Problem, description = "The session does not exist, or is not in quarantine."),
        AuthenticatedResponses))]
pub(super) async fn release(
    State(service): State<Arc<ServiceState>>,
    Admin(admin): Admin,
    ValidQuery(query): ValidQuery<ReleaseQuery>,
) -> Result<Json<ReleaseBody>, ApiError> {
    let filter = release_filter(query.processor, query.session, query.all)
        .map_err(ApiError::unprocessable)?;
    let actor = admin.actor();
    let released = service.change(move |service| {
        Ok(quarantine::release(
            service.config(),
            service.registry(),
            service.store(),
            &filter,
            actor,
            service.clock().now(),
        )?)
    });
    Ok(Json(ReleaseBody {
        released: released.await?,
    }))
}
