//! The pages: what each one requests from the API, and how it is shown.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;
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

/// The visitor's requests to the API.
pub(super) struct Api<'a> {
    pub(super) state: &'a DashboardState,
    pub(super) visitor: &'a Visitor,
}

impl Api<'_> {
    pub(super) async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<T, ApiError> {
        call::get(&self.state.api, self.visitor, path).await
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

    async fn tools(&self, filters: &Filters) -> Result<UsageReportBody, ApiError> {
        self.get(&data_address("/api/usage/tools", filters, &[]))
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
    pub(super) fn of(state: &DashboardState, visitor: &Visitor, query: &FilterQuery) -> Self {
        let caller = &visitor.caller;
        let role = caller.role.as_str();
        Self {
            reader: Reader {
                name: caller.email.clone().unwrap_or_else(|| caller.audit_id()),
                role,
                csrf: visitor.csrf.clone(),
                sections: Section::of_role(role),
                can_sign_out: visitor.can_sign_out,
            },
            filters: Filters::of(query, state.service.clock().now()),
        }
    }

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

type Dashboard = State<Arc<DashboardState>>;

/// `/`
pub(super) async fn overview(
    State(state): Dashboard,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<FilterQuery>,
) -> Result<Markup, ApiError> {
    let view = View::of(&state, &visitor, &query);
    let filters = &view.filters;
    let api = Api {
        state: &state,
        visitor: &visitor,
    };
    let sees_users = view.reader.role != "member";
    let before = filters.previous();
    let by_cost = address(
        "/api/admin/sessions",
        &filters
            .sessions()
            .into_iter()
            .chain([
                ("sort", "cost".to_owned()),
                ("limit", "10".to_owned()),
                ("subagents", "no".to_owned()),
            ])
            .collect::<Vec<_>>(),
    );
    // Each request runs on its own thread of the database.
    let team = [("by", "source"), ("top", "1"), ("scope", "team")];
    // The team's totals have no names, so they cannot be filtered by any.
    let shows_team = !sees_users && filters.user.is_none() && filters.project.is_none();
    let (days, previous, team, users, users_before, projects, sessions, hours, tools, tools_before) =
        tokio::try_join!(
            api.report(filters, &[("by", "day"), ("split", "model")]),
            maybe(
                before
                    .as_ref()
                    .map(|before| api.report(before, &[("by", "source"), ("top", "1")]))
            ),
            maybe(shows_team.then(|| api.report(filters, &team))),
            maybe(sees_users.then(|| api.report(filters, &[("by", "user"), ("top", "10")]))),
            maybe(
                before
                    .as_ref()
                    .filter(|_| sees_users)
                    .map(|before| api.report(before, &[("by", "user"), ("top", "1")]))
            ),
            api.report(filters, &[("by", "project"), ("top", "10")]),
            maybe(
                view.reader
                    .can_list_sessions()
                    .then(|| api.get::<SessionsBody>(&by_cost))
            ),
            api.report(filters, &[("by", "hour")]),
            api.tools(filters),
            maybe(before.as_ref().map(|before| api.tools(before))),
        )?;
    let data = overview::Overview {
        days,
        previous,
        team,
        users,
        users_before,
        projects,
        sessions,
        hours,
        tools,
        tools_before,
    };
    let main = html! {
        (super::frame::filter_form("/", filters, view.reader.filters(), &html! {}))
        (overview::page(&data, filters, &view.reader))
    };
    Ok(view.page("Overview", Section::Overview, true, &main))
}

/// `/sessions`
pub(super) async fn sessions(
    State(state): Dashboard,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<FilterQuery>,
    Query(list): Query<sessions::ListQuery>,
) -> Result<Markup, ApiError> {
    let view = View::of(&state, &visitor, &query);
    let api = Api {
        state: &state,
        visitor: &visitor,
    };
    let found: SessionsBody = api.get(&list.request(&view.filters)).await?;
    let main = sessions::page(&found, &list, &view.filters, &view.reader);
    Ok(view.page("Sessions", Section::Sessions, false, &main))
}

/// `/sessions/<key>`
pub(super) async fn session(
    State(state): Dashboard,
    Extension(visitor): Extension<Visitor>,
    Path(key): Path<String>,
    Query(query): Query<FilterQuery>,
    Query(place): Query<Place>,
) -> Result<Markup, ApiError> {
    let view = View::of(&state, &visitor, &query);
    let api = Api {
        state: &state,
        visitor: &visitor,
    };
    let found: SessionDetailsBody = api
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
        let api = &api;
        async move { api.get::<UsageReportBody>(&path).await }
    };
    let (models, agents) = tokio::try_join!(
        maybe(id.as_ref().map(|_| of("model"))),
        maybe(id.as_ref().map(|_| of("agent-type"))),
    )?;
    let title = found.summary.title.clone().unwrap_or_else(|| key.clone());
    let transcript = api.transcript(&key, place.after()).await;
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
    after: Option<u64>,
    line: Option<u64>,
}

impl Place {
    fn after(&self) -> u64 {
        let line = self.line.map(|line| line.saturating_sub(1));
        self.after.or(line).unwrap_or(0)
    }
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
    State(state): Dashboard,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<EntriesQuery>,
) -> Result<Markup, ApiError> {
    let api = Api {
        state: &state,
        visitor: &visitor,
    };
    let page: TranscriptBody = api.get(&entries_path(&query.session, query.after)).await?;
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
pub(super) async fn part(
    State(state): Dashboard,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<PartQuery>,
) -> Result<Markup, ApiError> {
    let api = Api {
        state: &state,
        visitor: &visitor,
    };
    let (line, part) = (query.line.to_string(), query.part.to_string());
    let parameters = [
        ("session", query.session.as_str()),
        ("line", &line),
        ("part", &part),
    ];
    let found: TranscriptPartBody = api
        .get(&address("/api/admin/transcript/entry", &parameters))
        .await?;
    Ok(transcript::part(&found))
}

/// `/causes`
pub(super) async fn causes(
    State(state): Dashboard,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<FilterQuery>,
) -> Markup {
    let view = View::of(&state, &visitor, &query);
    view.page(
        "Causes",
        Section::Causes,
        false,
        &causes::page(&view.filters, &view.reader),
    )
}

/// `/causes/<part>`: one part of the page, which is loaded on its own.
pub(super) async fn cause(
    State(state): Dashboard,
    Extension(visitor): Extension<Visitor>,
    Path(part): Path<String>,
    Query(query): Query<FilterQuery>,
) -> Result<Markup, ApiError> {
    let view = View::of(&state, &visitor, &query);
    let filters = &view.filters;
    let api = Api {
        state: &state,
        visitor: &visitor,
    };
    let found = causes::CAUSES.iter().find(|cause| cause.by == part);
    Ok(match (part.as_str(), found) {
        (_, Some(cause)) => {
            let report = api
                .report(filters, &[("by", cause.by), ("top", "10")])
                .await?;
            causes::cause(cause, &report, filters)
        }
        ("tools", _) => {
            let path = data_address("/api/usage/tools", filters, &[("top", "50")]);
            causes::tools(&api.get(&path).await?, filters)
        }
        ("waste", _) => {
            let path = data_address("/api/usage/waste", filters, &[]);
            causes::waste(&api.get(&path).await?, filters)
        }
        ("skills", _) => {
            let path = data_address("/api/usage/skills", filters, &[("top", "50")]);
            causes::skills(&api.get(&path).await?, filters)
        }
        _ => {
            return Err(ApiError::new(
                ProblemClass::NotFound,
                "unknown part of the page",
            ));
        }
    })
}

/// `/knowledge`
pub(super) async fn knowledge(
    State(state): Dashboard,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<FilterQuery>,
    Query(list): Query<knowledge::KnowledgeListQuery>,
) -> Result<Markup, ApiError> {
    let view = View::of(&state, &visitor, &query);
    let api = Api {
        state: &state,
        visitor: &visitor,
    };
    let found: KnowledgeBody = api.get(&list.request()).await?;
    let main = knowledge::page(&found, &list, &view.reader);
    Ok(view.page("Knowledge", Section::Knowledge, false, &main))
}

/// `/knowledge/<id>`: the evidence of an item.
pub(super) async fn evidence(
    State(state): Dashboard,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Result<Markup, ApiError> {
    let view = View::of(&state, &visitor, &FilterQuery::default());
    let api = Api {
        state: &state,
        visitor: &visitor,
    };
    let details: KnowledgeDetailsBody = api.get(&format!("/api/knowledge/{}", encode(&id))).await?;
    Ok(knowledge::evidence(&details, &view.reader))
}

/// `/quality`
pub(super) async fn quality(
    State(state): Dashboard,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<FilterQuery>,
) -> Result<Markup, ApiError> {
    let view = View::of(&state, &visitor, &query);
    let api = Api {
        state: &state,
        visitor: &visitor,
    };
    let report: QualityReport = api.get("/api/usage/quality").await?;
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
    State(state): Dashboard,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<FilterQuery>,
    Query(outcome): Query<Outcome>,
) -> Result<Response, ApiError> {
    let message = outcome
        .done
        .as_deref()
        .and_then(super::actions::done_text)
        .map(Ok);
    let view = View::of(&state, &visitor, &query);
    Ok(operations_page(&state, &visitor, &view, None, message)
        .await?
        .into_response())
}

/// The page of operations, after a change with what came of it.
pub(super) async fn operations_page(
    state: &DashboardState,
    visitor: &Visitor,
    view: &View,
    created: Option<crate::body::token::CreatedTokenBody>,
    message: Option<Result<String, String>>,
) -> Result<Markup, ApiError> {
    let api = Api { state, visitor };
    let (health, scheduler, processors, runs, quarantine, tokens, audit) = tokio::try_join!(
        api.get::<DetailedHealth>("/api/health/detailed"),
        api.get("/api/admin/scheduler"),
        api.get("/api/admin/processors"),
        api.get("/api/admin/runs?limit=20"),
        api.get("/api/admin/quarantine?limit=50"),
        api.get("/api/admin/tokens?limit=50"),
        api.get("/api/admin/audit?limit=25"),
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
    State(state): Dashboard,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<FilterQuery>,
) -> Result<Markup, ApiError> {
    let view = View::of(&state, &visitor, &query);
    let api = Api {
        state: &state,
        visitor: &visitor,
    };
    Ok(operations::runs(
        &api.get("/api/admin/runs?limit=20").await?,
        &view.filters,
    ))
}
