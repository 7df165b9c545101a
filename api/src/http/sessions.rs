//! Lists sessions, or returns the details of one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_pipeline::listing::{self, ListRange, ListedSession, SessionPages};
use session_pipeline_store::Role;
use utoipa::IntoParams;

use super::ServiceState;
use super::caller::Admin;
use super::local::{LocalCaller, LocalReport};
use super::params::{self, ValidQuery};
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::session::{SessionBody, SessionDetailsBody, SessionsBody, SessionsOrDetails};

/// Selects sessions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SessionsQuery {
    /// The key of a session. Returns its details instead of a list.
    key: Option<String>,
    /// The maximum number of rows on a page.
    #[serde(default = "super::params::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the previous page.
    cursor: Option<String>,
}

/// Lists sessions by key with their states, or returns the details of one.
#[utoipa::path(get, path = "/api/admin/sessions", operation_id = "list_sessions", tag = "admin", security(("bearer" = ["admin"])),
    params(SessionsQuery), responses(
        (status = 200, body = SessionsOrDetails),
        (status = 404, body = Problem, description = "The session does not exist."),
        AuthenticatedResponses))]
pub(super) async fn list(
    State(service): State<Arc<ServiceState>>,
    Admin(admin): Admin,
    ValidQuery(query): ValidQuery<SessionsQuery>,
) -> Result<Json<SessionsOrDetails>, ApiError> {
    let limit = params::limit(query.limit)?;
    let sessions = service.read(Role::Admin, move |service| {
        let (config, registry) = (service.config(), service.registry());
        let (store, now) = (service.store(), service.clock().now());
        Ok(match (&query.key, &admin.local) {
            (None, Some(local)) => {
                report_all(service, local)?;
                SessionsOrDetails::List(SessionsBody::from(Vec::new()))
            }
            (Some(key), _) => {
                let details = listing::show(config, registry, store, key, now)?;
                SessionsOrDetails::One(SessionDetailsBody::from(&details))
            }
            (None, None) => {
                let fetch_limit = limit as usize + 1;
                let range = ListRange {
                    after: query.cursor.as_deref(),
                    limit: Some(fetch_limit),
                };
                let listed =
                    SessionPages::open(config, registry, store, range, now)?.next(fetch_limit)?;
                let cursor = |session: &ListedSession| session.key.clone();
                let (listed, next) = params::page(listed, limit, cursor);
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

/// Reports all sessions to a caller in this process, in chunks, after a single walk of the folder.
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
