//! Quarantine: who is in it, and letting them out.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_runtime::quarantine::held::{self, Which};
use session_pipeline_runtime::token::Role;
use utoipa::IntoParams;

use super::Service;
use super::asked::Asked;
use super::caller::Admin;
use super::problem::{ApiError, Refusals};
use crate::body::Problem;
use crate::body::quarantine::{Quarantine, Released, meant};

/// Which of those in quarantine.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct QuarantineQuery {
    /// Only those of this processor.
    processor: Option<String>,
    /// Only this session, by its key.
    session: Option<String>,
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
        (status = 200, body = Quarantine),
        (status = 400, body = Problem, description = "There is no such processor."),
        (status = 404, body = Problem, description = "There is no such session."),
        Refusals))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    _: Admin,
    Asked(asked): Asked<QuarantineQuery>,
) -> Result<Json<Quarantine>, ApiError> {
    let which = Which {
        processor: asked.processor,
        session: asked.session,
    };
    let listed = service.read(Role::Admin, move |service| {
        let pipeline = &service.pipeline;
        Ok(held::list(
            pipeline.config(),
            pipeline.registry(),
            Some(pipeline.store()),
            &which,
            pipeline.clock().now(),
        )?)
    });
    Ok(Json(listed.await?.into()))
}

/// Lets sessions out: the next run tries them, and counts their failures anew.
#[utoipa::path(post, path = "/api/admin/quarantine/release", operation_id = "release_quarantine", tag = "admin", security(("bearer" = ["admin"])),
    params(ReleaseQuery), responses(
        (status = 200, body = Released),
        (status = 400, body = Problem, description = "There is no such processor."),
        (status = 404, body = Problem, description = "There is no such session, or it is not in quarantine."),
        Refusals))]
pub(super) async fn release(
    State(service): State<Arc<Service>>,
    Admin(known): Admin,
    Asked(asked): Asked<ReleaseQuery>,
) -> Result<Json<Released>, ApiError> {
    let which =
        meant(asked.processor, asked.session, asked.all).map_err(ApiError::unprocessable)?;
    let actor = known.actor();
    let released = service.query(move |service| {
        let pipeline = &service.pipeline;
        Ok(held::release(
            pipeline.config(),
            pipeline.registry(),
            Some(pipeline.store()),
            &which,
            actor,
            pipeline.clock().now(),
        )?)
    });
    Ok(Json(Released {
        released: released.await?,
    }))
}
