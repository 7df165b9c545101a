//! The pages: what each one requests from the API, and how it is shown.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::ExtensionRejection;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use session_pipeline_pipeline::report::QualityReport;

use super::filters::{FilterQuery, Filters, address};
use super::frame::{Frame, Reader, Section};
use super::overview::data_address;
use super::visitor::Visitor;
use super::{
    DashboardState, call, causes, knowledge, operations, overview, quality, session, sessions,
    transcript,
};
use crate::body::health::DetailedHealth;
use crate::body::knowledge::{KnowledgeBody, KnowledgeDetailsBody};
use crate::body::session::{SessionDetailsBody, SessionsBody};
use crate::body::transcript::{TranscriptBody, TranscriptMarksBody, TranscriptPartBody};
use crate::body::usage::UsageReportBody;
use crate::http::ApiError;
use crate::percent::encode;
use crate::problem::ProblemClass;

/// A request of a visitor: the visitor's requests to the API, and the frame of pages.
#[derive(Clone)]
pub(super) struct Visit {
    state: Arc<DashboardState>,
    visitor: Visitor,
}

impl FromRequestParts<Arc<DashboardState>> for Visit {
    type Rejection = ExtensionRejection;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<DashboardState>,
    ) -> Result<Self, ExtensionRejection> {
        let Extension(visitor) = Extension::from_request_parts(parts, state).await?;
        Ok(Self {
            state: Arc::clone(state),
            visitor,
        })
    }
}

impl Visit {
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        call::get(&self.state.api, &self.visitor, path).await
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        call::post(&self.state.api, &self.visitor, path, None::<&()>).await
    }

    pub(super) async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ApiError> {
        call::post(&self.state.api, &self.visitor, path, Some(body)).await
    }

    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        call::delete(&self.state.api, &self.visitor, path).await
    }

    pub(super) fn view(&self, query: &FilterQuery) -> View {
        let caller = &self.visitor.caller;
        let role = caller.role.as_str();
        View {
            reader: Reader {
                name: caller.email.clone().unwrap_or_else(|| caller.audit_id()),
                role,
                csrf: self.visitor.csrf.clone(),
                sections: Section::of_role(role),
                can_sign_out: self.visitor.can_sign_out,
            },
            filters: Filters::of(query, self.state.service.clock().now()),
        }
    }

    async fn report(
        &self,
        filters: &Filters,
        own: &[(&'static str, &str)],
    ) -> Result<UsageReportBody, ApiError> {
        self.get(&data_address("/api/usage/summary", filters, own))
            .await
    }

    /// The transcript from a line on, or why it cannot be shown.
    async fn transcript(&self, key: &str, after: u64) -> Result<Markup, String> {
        let (page, marks) = (
            entries_path(key, after),
            address("/api/admin/transcript/marks", &[("session", key)]),
        );
        let (page, marks) = tokio::try_join!(
            self.get::<TranscriptBody>(&page),
            self.get::<TranscriptMarksBody>(&marks),
        )
        .map_err(|error| error.detail)?;
        Ok(html! {
            (transcript::marks(&marks))
            @if after > 0 {
                p .links { a href=(sessions::link(key)) { "From the beginning" } }
            }
            div .transcript { (transcript::entries(&page, false)) }
        })
    }

    /// The number of calls of tools. The report has no rows of interest.
    async fn tool_calls(&self, filters: &Filters) -> Result<UsageReportBody, ApiError> {
        self.get(&data_address("/api/usage/tools", filters, &[("top", "1")]))
            .await
    }
}

/// Waits for a request that some pages do not make.
async fn maybe<T>(
    request: Option<impl Future<Output = Result<T, ApiError>>>,
) -> Result<Option<T>, ApiError> {
    match request {
        Some(request) => request.await.map(Some),
        None => Ok(None),
    }
}

/// What a page knows about its visitor and its address.
pub(super) struct View {
    pub(super) reader: Reader,
    pub(super) filters: Filters,
}

impl View {
    pub(super) fn page(
        &self,
        title: &str,
        section: Section,
        has_charts: bool,
        main: &Markup,
    ) -> Markup {
        let frame = Frame {
            title,
            section: Some(section),
            reader: Some(&self.reader),
            filters: Some(&self.filters),
            has_charts,
        };
        frame.render(main)
    }
}

/// `/`
pub(super) async fn overview(
    visit: Visit,
    Query(query): Query<FilterQuery>,
) -> Result<Markup, ApiError> {
    let view = visit.view(&query);
    let filters = &view.filters;
    let sees_users = view.reader.role != "member";
    let before = filters.previous();
    // Each request runs on its own thread of the database.
    let team = [("by", "source"), ("top", "1"), ("scope", "team")];
    // The team's totals have no names, so they cannot be filtered by any.
    let shows_team = !sees_users && filters.user.is_none() && filters.project.is_none();
    let of_before = |own: &'static [(&'static str, &'static str)]| {
        before.as_ref().map(|before| visit.report(before, own))
    };
    let by_user = of_before(&[("by", "user"), ("top", "1")]).filter(|_| sees_users);
    let (days, previous, team, users, users_before, tools, tools_before) = tokio::try_join!(
        visit.report(filters, &[("by", "day"), ("split", "model")]),
        maybe(of_before(&[("by", "source"), ("top", "1")])),
        maybe(shows_team.then(|| visit.report(filters, &team))),
        maybe(sees_users.then(|| visit.report(filters, &[("by", "user"), ("top", "1")]))),
        maybe(by_user),
        visit.tool_calls(filters),
        maybe(before.as_ref().map(|before| visit.tool_calls(before))),
    )?;
    let data = overview::Overview {
        days,
        previous,
        team,
        users,
        users_before,
        tools,
        tools_before,
    };
    let main = html! {
        (super::frame::filter_form("/", filters, view.reader.filters(), &html! {}))
        (overview::page(&data, filters, &view.reader))
    };
    Ok(view.page("Overview", Section::Overview, true, &main))
}

/// `/overview/<part>`: one part of the first page, which is loaded on its own.
pub(super) async fn overview_part(
    visit: Visit,
    Path(part): Path<String>,
    Query(query): Query<FilterQuery>,
) -> Result<Markup, ApiError> {
    let view = visit.view(&query);
    let filters = &view.filters;
    let top = |by| [("by", by), ("top", "10")];
    Ok(match part.as_str() {
        "users" if view.reader.role != "member" => {
            overview::users(&visit.report(filters, &top("user")).await?, filters)
        }
        "projects" => overview::projects(&visit.report(filters, &top("project")).await?, filters),
        "hours" => overview::hours(&visit.report(filters, &[("by", "hour")]).await?),
        "sessions" if view.reader.can_list_sessions() => {
            let own = [("sort", "cost"), ("limit", "10"), ("subagents", "no")];
            let mut parameters = filters.sessions();
            parameters.extend(own.map(|(name, value)| (name, value.to_owned())));
            let path = address("/api/admin/sessions", &parameters);
            let totals = [("by", "source"), ("top", "1")];
            let (found, totals) =
                tokio::try_join!(visit.get(&path), visit.report(filters, &totals))?;
            overview::sessions(&found, totals.totals.cost_usd, filters)
        }
        _ => return Err(unknown_part()),
    })
}

fn unknown_part() -> ApiError {
    ApiError::new(ProblemClass::NotFound, "unknown part of the page")
}

/// `/sessions`
pub(super) async fn sessions(
    visit: Visit,
    Query(query): Query<FilterQuery>,
    Query(list): Query<sessions::ListQuery>,
) -> Result<Markup, ApiError> {
    let view = visit.view(&query);
    let found: SessionsBody = visit.get(&list.request(&view.filters)).await?;
    let main = sessions::page(&found, &list, &view.filters, &view.reader);
    Ok(view.page("Sessions", Section::Sessions, false, &main))
}

/// `/sessions/<key>`
pub(super) async fn session(
    visit: Visit,
    Path(key): Path<String>,
    Query(query): Query<FilterQuery>,
    Query(place): Query<Place>,
) -> Result<Markup, ApiError> {
    let view = visit.view(&query);
    let found: SessionDetailsBody = visit
        .get(&address("/api/admin/sessions", &[("key", &key)]))
        .await?;
    let id = found
        .summary
        .session_id
        .clone()
        .filter(|_| !found.summary.is_subagent);
    let of = |by: &str| {
        let parameters = [
            ("by", by),
            ("session", id.as_deref().unwrap_or_default()),
            ("user", found.user.as_str()),
        ];
        let path = address("/api/usage/summary", &parameters);
        let visit = &visit;
        async move { visit.get::<UsageReportBody>(&path).await }
    };
    let (models, agents) = tokio::try_join!(
        maybe(id.as_ref().map(|_| of("model"))),
        maybe(id.as_ref().map(|_| of("agent-type"))),
    )?;
    let title = found.summary.title.clone().unwrap_or_else(|| key.clone());
    let transcript = visit.transcript(&key, place.after).await;
    let data = session::SessionPage {
        session: found,
        models,
        agents,
        transcript,
    };
    let main = session::page(&data, &view.filters, &view.reader);
    Ok(view.page(&title, Section::Sessions, false, &main))
}

/// From which line on a transcript is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Place {
    after: u64,
}

/// Entries of a transcript.
#[derive(Debug, Deserialize)]
pub(super) struct EntriesQuery {
    session: String,
    #[serde(default)]
    after: u64,
    #[serde(default)]
    nested: bool,
}

/// `/sessions/entries`: the next entries of a transcript.
pub(super) async fn entries(
    visit: Visit,
    Query(query): Query<EntriesQuery>,
) -> Result<Markup, ApiError> {
    let page: TranscriptBody = visit
        .get(&entries_path(&query.session, query.after))
        .await?;
    Ok(transcript::entries(&page, query.nested))
}

fn entries_path(session: &str, after: u64) -> String {
    address(
        "/api/admin/transcript",
        &[("session", session), ("after", &after.to_string())],
    )
}

/// A part of an entry.
#[derive(Debug, Deserialize)]
pub(super) struct PartQuery {
    session: String,
    line: u64,
    #[serde(default)]
    part: u32,
}

/// `/sessions/part`: the whole text of a part of an entry.
pub(super) async fn part(visit: Visit, Query(query): Query<PartQuery>) -> Result<Markup, ApiError> {
    let (line, part) = (query.line.to_string(), query.part.to_string());
    let parameters = [
        ("session", query.session.as_str()),
        ("line", &line),
        ("part", &part),
    ];
    let found: TranscriptPartBody = visit
        .get(&address("/api/admin/transcript/entry", &parameters))
        .await?;
    Ok(transcript::part(&found))
}

/// `/causes`
pub(super) async fn causes(visit: Visit, Query(query): Query<FilterQuery>) -> Markup {
    let view = visit.view(&query);
    view.page(
        "Causes",
        Section::Causes,
        false,
        &causes::page(&view.filters, &view.reader),
    )
}

/// `/causes/<part>`: one part of the page, which is loaded on its own.
pub(super) async fn cause(
    visit: Visit,
    Path(part): Path<String>,
    Query(query): Query<FilterQuery>,
) -> Result<Markup, ApiError> {
    let view = visit.view(&query);
    let filters = &view.filters;
    let found = causes::CAUSES.iter().find(|cause| cause.by == part);
    Ok(match (part.as_str(), found) {
        (_, Some(cause)) => {
            let report = visit
                .report(filters, &[("by", cause.by), ("top", "10")])
                .await?;
            causes::cause(cause, &report, filters)
        }
        ("tools", _) => {
            let path = data_address("/api/usage/tools", filters, &[("top", "50")]);
            causes::tools(&visit.get(&path).await?, filters)
        }
        ("waste", _) => {
            let path = data_address("/api/usage/waste", filters, &[]);
            causes::waste(&visit.get(&path).await?, filters)
        }
        ("skills", _) => {
            let path = data_address("/api/usage/skills", filters, &[("top", "50")]);
            causes::skills(&visit.get(&path).await?, filters)
        }
        _ => return Err(unknown_part()),
    })
}

/// `/knowledge`
pub(super) async fn knowledge(
    visit: Visit,
    Query(query): Query<FilterQuery>,
    Query(list): Query<knowledge::KnowledgeListQuery>,
) -> Result<Markup, ApiError> {
    let view = visit.view(&query);
    let found: KnowledgeBody = visit.get(&list.request()).await?;
    let main = knowledge::page(&found, &list, &view.reader);
    Ok(view.page("Knowledge", Section::Knowledge, false, &main))
}

/// `/knowledge/<id>`: the evidence of an item.
pub(super) async fn evidence(visit: Visit, Path(id): Path<String>) -> Result<Markup, ApiError> {
    let view = visit.view(&FilterQuery::default());
    let details: KnowledgeDetailsBody = visit
        .get(&format!("/api/knowledge/{}", encode(&id)))
        .await?;
    Ok(knowledge::evidence(&details, &view.reader))
}

/// `/quality`
pub(super) async fn quality(
    visit: Visit,
    Query(query): Query<FilterQuery>,
) -> Result<Markup, ApiError> {
    let view = visit.view(&query);
    let report: QualityReport = visit.get("/api/usage/quality").await?;
    let main = quality::page(&report, &view.filters);
    Ok(view.page("Data quality", Section::Quality, false, &main))
}

/// What the page of operations says after a change.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Outcome {
    done: Option<String>,
}

/// `/operations`
pub(super) async fn operations(
    visit: Visit,
    Query(query): Query<FilterQuery>,
    Query(outcome): Query<Outcome>,
) -> Result<Response, ApiError> {
    let message = outcome
        .done
        .as_deref()
        .and_then(operations::done_text)
        .map(Ok);
    let view = visit.view(&query);
    Ok(operations_page(&visit, &view, None, message)
        .await?
        .into_response())
}

/// The page of operations, after a change with what came of it.
pub(super) async fn operations_page(
    visit: &Visit,
    view: &View,
    created: Option<crate::body::token::CreatedTokenBody>,
    message: Option<Result<String, String>>,
) -> Result<Markup, ApiError> {
    let (health, scheduler, processors, runs, quarantine, tokens, audit) = tokio::try_join!(
        visit.get::<DetailedHealth>("/api/health/detailed"),
        visit.get("/api/admin/scheduler"),
        visit.get("/api/admin/processors"),
        visit.get("/api/admin/runs?limit=20"),
        visit.get("/api/admin/quarantine?limit=50"),
        visit.get("/api/admin/tokens?limit=50"),
        visit.get("/api/admin/audit?limit=25"),
    )?;
    let data = operations::Operations {
        health,
        scheduler,
        processors,
        runs,
        quarantine,
        tokens,
        audit,
        created,
        message,
    };
    let main = operations::page(&data, &view.filters, &view.reader);
    Ok(view.page("Operations", Section::Operations, false, &main))
}

/// `/operations/runs`: the table of runs, which reloads itself while one is in progress.
pub(super) async fn runs(
    visit: Visit,
    Query(query): Query<FilterQuery>,
) -> Result<Markup, ApiError> {
    let view = visit.view(&query);
    Ok(operations::runs(
        &visit.get("/api/admin/runs?limit=20").await?,
        &view.filters,
    ))
}
