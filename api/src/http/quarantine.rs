//! Quarantine: who is in it, and letting them out.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_pipeline::quarantine;
use session_pipeline_store::{QuarantineFilter, QuarantinedSession, Role};
use utoipa::IntoParams;

use super::ServiceState;
use super::asked::{self, ValidQuery};
use super::caller::Admin;
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::quarantine::{QuarantineBody, ReleaseBody, meant};

/// Which of those in quarantine.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct QuarantineQuery {
    /// Only those of this processor.
    processor: Option<String>,
    /// Only this session, by its key.
    session: Option<String>,
    /// At most this many on one page.
    #[serde(default = "super::asked::hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// The processor and the key of a session, as a cursor has them.
fn place(text: &str) -> Option<(String, String)> {
    let (processor, key) = text.split_once('/')?;
    Some((processor.to_owned(), key.to_owned()))
}

/// Whom to let out: at least one of these.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReleaseQuery {
    /// Those of this processor.
    processor: Option<String>,
    /// This session, by its key.
    session: Option<String>,
    /// Everybody; goes with neither of the others.
    #[serde(default)]
    all: bool,
}

/// The sessions that failed too often and are not tried any more.
#[utoipa::path(get, path = "/api/admin/quarantine", operation_id = "list_quarantine", tag = "admin", security(("bearer" = ["admin"])),
    params(QuarantineQuery), responses(
        (status = 200, body = QuarantineBody),
        (status = 400, body = Problem, description = "There is no such processor."),
        (status = 404, body = Problem, description = "There is no such session."),
        AuthenticatedResponses))]
pub(super) async fn list(
    State(service): State<Arc<ServiceState>>,
    _: Admin,
    ValidQuery(query): ValidQuery<QuarantineQuery>,
) -> Result<Json<QuarantineBody>, ApiError> {
    let limit = asked::limit(query.limit)?;
    let after = asked::cursor(query.cursor.as_deref(), place)?;
    let which = QuarantineFilter {
        processor: query.processor,
        session: query.session,
    };
    let listed = service.read(Role::Admin, move |service| {
        let after = after.as_ref();
        Ok(quarantine::page(
            service.config(),
            service.registry(),
            service.store(),
            &which,
            after.map(|(processor, key)| (processor.as_str(), key.as_str())),
            limit + 1,
            service.clock().now(),
        )?)
    });
    let place = |held: &QuarantinedSession| format!("{}/{}", held.processor, held.session);
    let (held, next) = asked::page(listed.await?, limit, place);
    Ok(Json(QuarantineBody {
        next,
        ..held.into()
    }))
}

/// Lets sessions out: the next run tries them, and counts their failures anew.
#[utoipa::path(post, path = "/api/admin/quarantine/release", operation_id = "release_quarantine", tag = "admin", security(("bearer" = ["admin"])),
    params(ReleaseQuery), responses(
        (status = 200, body = ReleaseBody),
        (status = 400, body = Problem, description = "There is no such processor."),
        (status = 404, body = Problem, description = "There is no such session, or it is not in quarantine."),
        AuthenticatedResponses))]
pub(super) async fn release(
    State(service): State<Arc<ServiceState>>,
    Admin(known): Admin,
    ValidQuery(asked): ValidQuery<ReleaseQuery>,
) -> Result<Json<ReleaseBody>, ApiError> {
    let which =
        meant(asked.processor, asked.session, asked.all).map_err(ApiError::unprocessable)?;
    let actor = known.actor();
    let released = service.query(move |service| {
        Ok(quarantine::release(
            service.config(),
            service.registry(),
            service.store(),
            &which,
            actor,
            service.clock().now(),
        )?)
    });
    Ok(Json(ReleaseBody {
        released: released.await?,
    }))
}
