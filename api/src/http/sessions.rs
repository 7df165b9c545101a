//! Lists sessions, or returns the details of one.

mod query;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use session_pipeline_pipeline::listing::overview::{
    self, OverviewPages, SessionOverview, SessionQuery, SessionSource, SortPosition,
};
use session_pipeline_pipeline::listing::{self, ListRange};
use session_pipeline_pipeline::report::{PriceTable, PriceTableError};

use super::ServiceState;
use super::caller::SessionAccess;
use super::local::{LocalCaller, LocalReport};
use super::params::{self, ValidQuery};
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::session::{SessionBody, SessionDetailsBody, SessionsBody, SessionsOrDetails};

use query::SessionsQuery;

/// The sessions with title, project, cost and how each stands with every processor, in the order of
/// their keys or another one. Only an admin sees the sessions of other users.
#[utoipa::path(get, path = "/api/admin/sessions", operation_id = "list_sessions", tag = "admin", security(("bearer" = ["member"])),
    params(SessionsQuery), responses(
        (status = 200, content((SessionsOrDetails = "application/json"), (String = "text/csv"))),
        (status = 404, body = Problem, description = "The session does not exist."),
        AuthenticatedResponses))]
pub(super) async fn list(
    State(service): State<Arc<ServiceState>>,
    access: SessionAccess,
    ValidQuery(query): ValidQuery<SessionsQuery>,
) -> Result<Response, ApiError> {
    let limit = params::limit(query.limit)?;
    let (mut wanted, format) = (query.listing()?, query.format);
    let sessions = service.read(access.role, move |service| {
        let directories = access.scope.directories(service)?;
        wanted.filter.directories.clone_from(&directories);
        let prices = prices(service, &wanted)?;
        let source = SessionSource {
            config: service.config(),
            registry: service.registry(),
            store: service.store(),
            prices: prices.as_ref().ok(),
            clock: service.clock(),
        };
        Ok(match (&query.key, &access.local) {
            (None, Some(local)) => {
                if let Err(error) = &prices {
                    local.report(LocalReport::UnusablePrices(error));
                }
                report_all(source, &wanted, local)?;
                SessionsOrDetails::List(SessionsBody::from(Vec::new()))
            }
            (Some(key), _) => {
                let now = service.clock().now();
                let (config, registry) = (service.config(), service.registry());
                let (store, own) = (service.store(), directories.as_deref());
                let shown = listing::find_in(config, registry, store, key, own, now)?;
                let (session, background) = overview::describe(source, &shown)?;
                let body = SessionDetailsBody::from(&shown);
                SessionsOrDetails::One(Box::new(body.with_background(&session, background)))
            }
            (None, None) => {
                let cursor = query.cursor.as_deref();
                SessionsOrDetails::List(page(source, &wanted, cursor, limit)?)
            }
        })
    });
    let body = serde_json::to_vec(&sessions.await?);
    let body = body.map_err(|error| ApiError::internal(&error))?;
    format.response(body, "sessions", "sessions")
}

/// The prices. A list without costs is better than none, unless it is sorted by cost.
fn prices(
    service: &ServiceState,
    query: &SessionQuery,
) -> Result<Result<PriceTable, PriceTableError>, ApiError> {
    let prices = PriceTable::load(service.config());
    match prices {
        Err(error) if query.sort == overview::SessionSort::Cost => Err(error.into()),
        prices => Ok(prices),
    }
}

/// One page of a list.
fn page(
    source: SessionSource<'_>,
    query: &SessionQuery,
    cursor: Option<&str>,
    limit: u32,
) -> Result<SessionsBody, ApiError> {
    let wanted = limit as usize + 1;
    let (sessions, next): (Vec<SessionBody>, _) = if query.is_by_key() {
        let listed = overview::first_by_key(source, &query.filter, cursor, wanted)?;
        let place = |session: &SessionOverview| session.listed.key.clone();
        let (listed, next) = params::page(listed, limit, place);
        (listed.iter().map(SessionBody::from).collect(), next)
    } else {
        let after = params::cursor(cursor, SortPosition::parse)?;
        let mut pages = OverviewPages::open(source, &query.filter, ListRange::default())?;
        let listed = overview::sorted(&mut pages, query, after.as_ref(), Some(wanted))?;
        let place = |(place, _): &(SortPosition, SessionOverview)| place.encoded();
        let (listed, next) = params::page(listed.into_iter().collect(), limit, place);
        let sessions = listed.iter().map(|(_, session)| SessionBody::from(session));
        (sessions.collect(), next)
    };
    let notices = match sessions.is_empty() && cursor.is_none() {
        true => overview::notices(source, &query.filter)?,
        false => Vec::new(),
    };
    Ok(SessionsBody {
        next,
        notices,
        ..SessionsBody::from(sessions)
    })
}

/// Reports all sessions to a caller in this process: one walk is enough for them. In the order of
/// keys, no list is too long. Other orders hold the list.
fn report_all(
    source: SessionSource<'_>,
    query: &SessionQuery,
    local: &LocalCaller,
) -> Result<(), ApiError> {
    let mut pages = OverviewPages::open(source, &query.filter, ListRange::default())?;
    if !pages.walk().has_root {
        local.report(LocalReport::NoSessionsRoot);
    }
    local.report(LocalReport::Skipped(&pages.walk().notes));
    // An empty page would end the list.
    let mut is_empty = true;
    let mut report = |page: Vec<SessionBody>| {
        is_empty &= page.is_empty();
        page.is_empty() || local.report(LocalReport::Sessions(page))
    };
    if query.is_by_key() {
        while let Some(page) = pages.next(listing::READ_AT_ONCE)? {
            if !report(page.iter().map(SessionBody::from).collect()) {
                break;
            }
        }
    } else {
        let mut sessions = overview::sorted(&mut pages, query, None, None)?.into_values();
        loop {
            let page = sessions.by_ref().take(listing::READ_AT_ONCE);
            let page: Vec<_> = page.map(|session| SessionBody::from(&session)).collect();
            if page.is_empty() || !report(page) {
                break;
            }
        }
    }
    if is_empty {
        drop(pages);
        local.report(LocalReport::Unmatched(overview::notices(
            source,
            &query.filter,
        )?));
    }
    Ok(())
}
