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
use crate::body::session::{
    ProcessorStateBody, SessionBody, SessionDetailsBody, SessionsBody, SessionsOrDetails,
};

use query::SessionsQuery;

/// The sessions with title, project, cost and how each stands with every processor, in the order of
/// their keys or another one. A member sees its own sessions. An analyst sees those of others without
/// titles, and without the logs of failures, because both can contain words of transcripts.
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
        let titled = access.texts.directories(service)?;
        wanted.filter.titled_directories.clone_from(&titled);
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
                let (mut session, background) = overview::describe(source, &shown)?;
                let body = SessionDetailsBody::from(&shown);
                let is_hidden = has_no_texts(titled.as_deref(), &body.user);
                if is_hidden {
                    session.remove_title();
                }
                let mut body = body.with_background(&session, background);
                for processor in body.processors.iter_mut().filter(|_| is_hidden) {
                    processor.summary.remove_log();
                }
                SessionsOrDetails::One(Box::new(body))
            }
            (None, None) => {
                let cursor = query.cursor.as_deref();
                let mut body = page(source, &wanted, cursor, limit)?;
                let hidden = body
                    .sessions
                    .iter_mut()
                    .filter(|session| has_no_texts(titled.as_deref(), &session.user));
                hidden
                    .flat_map(|session| &mut session.processors)
                    .for_each(ProcessorStateBody::remove_log);
                SessionsOrDetails::List(body)
            }
        })
    });
    let body = serde_json::to_vec(&sessions.await?);
    let body = body.map_err(|error| ApiError::internal(&error))?;
    format.response(body, "sessions", "sessions")
}

/// Whether the caller can read no texts of the sessions in a directory. `titled`: the directories
/// whose texts the caller can read, or `None` for all.
fn has_no_texts(titled: Option<&[String]>, directory: &str) -> bool {
    titled.is_some_and(|titled| !titled.iter().any(|own| own == directory))
}

/// The prices. A list without costs is better than none, unless it is sorted by cost, or the reports
/// decide which sessions it has.
fn prices(
    service: &ServiceState,
    query: &SessionQuery,
) -> Result<Result<PriceTable, PriceTableError>, ApiError> {
    let prices = PriceTable::load(service.config());
    let needs_reports =
        query.sort == overview::SessionSort::Cost || !query.filter.causes.is_empty();
    match prices {
        Err(error) if needs_reports => Err(error.into()),
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
