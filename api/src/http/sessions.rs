//! Sessions: all of them, or all that is known of one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_pipeline::listing::{self, ListRange, ListedSession, SessionPages};
use session_pipeline_store::Role;
use utoipa::IntoParams;

use super::ServiceState;
use super::asked::{self, ValidQuery};
use super::caller::Admin;
use super::local::{LocalCaller, LocalReport};
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::session::{SessionBody, SessionDetailsBody, SessionsBody, SessionsOrDetails};

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
        (status = 200, body = SessionsOrDetails),
        (status = 404, body = Problem, description = "There is no such session."),
        AuthenticatedResponses))]
pub(super) async fn list(
    State(service): State<Arc<ServiceState>>,
    Admin(known): Admin,
    ValidQuery(query): ValidQuery<SessionsQuery>,
) -> Result<Json<SessionsOrDetails>, ApiError> {
    let limit = asked::limit(query.limit)?;
    let sessions = service.read(Role::Admin, move |service| {
        let (config, registry) = (service.config(), service.registry());
        let (store, now) = (service.store(), service.clock().now());
        Ok(match (&query.key, &known.local) {
            (None, Some(local)) => {
                report_all(service, local)?;
                SessionsOrDetails::List(SessionsBody::from(Vec::new()))
            }
            (Some(key), _) => {
                let shown = listing::show(config, registry, store, key, now)?;
                SessionsOrDetails::One(SessionDetailsBody::from(&shown))
            }
            (None, None) => {
                let wanted = limit as usize + 1;
                let part = ListRange {
                    after: query.cursor.as_deref(),
                    limit: Some(wanted),
                };
                let listed =
                    SessionPages::open(config, registry, store, part, now)?.next(wanted)?;
                let place = |session: &ListedSession| session.key.clone();
                let (listed, next) = asked::page(listed, limit, place);
                let sessions: Vec<_> = listed.iter().map(SessionBody::from).collect();
                SessionsOrDetails::List(SessionsBody {
                    next,
                    ..SessionsBody::from(sessions)
                })
            }
        })
    });
    Ok(Json(sessions.await?))
}

/// Reports all sessions to a caller in this process: one walk is enough for them, and no list is too
/// long.
fn report_all(service: &ServiceState, local: &LocalCaller) -> Result<(), ApiError> {
    let (config, registry) = (service.config(), service.registry());
    let (store, now) = (service.store(), service.clock().now());
    let mut pages = SessionPages::open(config, registry, store, ListRange::default(), now)?;
    if !pages.has_root {
        local.report(LocalReport::NoSessionsRoot);
    }
    local.report(LocalReport::Skipped(&pages.notes));
    loop {
        let page = pages.next(listing::READ_AT_ONCE)?;
        if page.is_empty() {
            return Ok(());
        }
        let page = page.iter().map(SessionBody::from).collect();
        if !local.report(LocalReport::Sessions(page)) {
            return Ok(());
        }
    }
}
