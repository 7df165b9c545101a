//! Sessions: all of them, or all that is known of one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_runtime::sessions::listing;
use session_pipeline_runtime::token::Role;
use utoipa::IntoParams;

use super::Service;
use super::asked::Asked;
use super::caller::Admin;
use super::problem::{ApiError, Refusals};
use crate::body::Problem;
use crate::body::session::{Session, Sessions, SessionsAnswer, Shown};

/// Which sessions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SessionsQuery {
    /// Only this one, by its key, and with all that is known of it.
    key: Option<String>,
}

/// The sessions, and how each stands with every processor.
#[utoipa::path(get, path = "/api/admin/sessions", operation_id = "list_sessions", tag = "admin", security(("bearer" = ["admin"])),
    params(SessionsQuery), responses(
        (status = 200, body = SessionsAnswer),
        (status = 404, body = Problem, description = "There is no such session."),
        Refusals))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    _: Admin,
    Asked(asked): Asked<SessionsQuery>,
) -> Result<Json<SessionsAnswer>, ApiError> {
    let sessions = service.read(Role::Admin, move |service| {
        let pipeline = &service.pipeline;
        let (config, registry) = (pipeline.config(), pipeline.registry());
        let (store, now) = (Some(pipeline.store()), pipeline.clock().now());
        Ok(match &asked.key {
            Some(key) => {
                let shown = listing::show(config, registry, store, key, now)?;
                SessionsAnswer::One(Shown::from(&shown))
            }
            None => {
                let listing = listing::list(config, registry, store, now)?;
                let sessions: Vec<_> = listing.sessions.iter().map(Session::from).collect();
                SessionsAnswer::List(Sessions::from(sessions))
            }
        })
    });
    Ok(Json(sessions.await?))
}
