//! Sessions: all of them, or all that is known of one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_pipeline::listing::{self, ListedSession, Pages, Part};
use session_pipeline_store::Role;
use utoipa::IntoParams;

use super::Service;
use super::asked::{self, Asked};
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
    /// At most this many on one page.
    #[serde(default = "super::asked::hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// The sessions in the order of their keys, and how each stands with every processor.
#[utoipa::path(get, path = "/api/admin/sessions", operation_id = "list_sessions", tag = "admin", security(("bearer" = ["admin"])),
    params(SessionsQuery), responses(
        (status = 200, body = SessionsAnswer),
        (status = 404, body = Problem, description = "There is no such session."),
        Refusals))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    _: Admin,
    Asked(query): Asked<SessionsQuery>,
) -> Result<Json<SessionsAnswer>, ApiError> {
    let limit = asked::limit(query.limit)?;
    let sessions = service.read(Role::Admin, move |service| {
        let pipeline = &service.pipeline;
        let (config, registry) = (pipeline.config(), pipeline.registry());
        let (store, now) = (Some(pipeline.store()), pipeline.clock().now());
        Ok(match &query.key {
            Some(key) => {
                let shown = listing::show(config, registry, store, key, now)?;
                SessionsAnswer::One(Shown::from(&shown))
            }
            None => {
                let wanted = limit as usize + 1;
                let part = Part {
                    after: query.cursor.as_deref(),
                    limit: Some(wanted),
                };
                let listed = Pages::open(config, registry, store, part, now)?.next(wanted)?;
                let place = |session: &ListedSession| session.key.clone();
                let (listed, next) = asked::page(listed, limit, place);
                let sessions: Vec<_> = listed.iter().map(Session::from).collect();
                SessionsAnswer::List(Sessions {
                    next,
                    ..Sessions::from(sessions)
                })
            }
        })
    });
    Ok(Json(sessions.await?))
}
