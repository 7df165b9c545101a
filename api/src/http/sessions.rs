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
use super::local::{LocalCaller, Report};
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
    Admin(known): Admin,
    Asked(query): Asked<SessionsQuery>,
) -> Result<Json<SessionsAnswer>, ApiError> {
    let limit = asked::limit(query.limit)?;
    let sessions = service.read(Role::Admin, move |service| {
        let (config, registry) = (service.config(), service.registry());
        let (store, now) = (service.store(), service.clock().now());
        Ok(match (&query.key, &known.local) {
            (None, Some(local)) => {
                report_all(service, local)?;
                SessionsAnswer::List(Sessions::from(Vec::new()))
            }
            (Some(key), _) => {
                let shown = listing::show(config, registry, store, key, now)?;
                SessionsAnswer::One(Shown::from(&shown))
            }
            (None, None) => {
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

/// Reports all sessions to a caller in this process: one walk is enough for them, and no list is too
/// long.
fn report_all(service: &Service, local: &LocalCaller) -> Result<(), ApiError> {
    let (config, registry) = (service.config(), service.registry());
    let (store, now) = (service.store(), service.clock().now());
    let mut pages = Pages::open(config, registry, store, Part::default(), now)?;
    if !pages.has_root {
        local.report(Report::NoSessionsRoot);
    }
    local.report(Report::Skipped(&pages.notes));
    loop {
        let page = pages.next(listing::READ_AT_ONCE)?;
        if page.is_empty() {
            return Ok(());
        }
        let page = page.iter().map(Session::from).collect();
        if !local.report(Report::Sessions(page)) {
            return Ok(());
        }
    }
}
