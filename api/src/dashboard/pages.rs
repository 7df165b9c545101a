//! The pages: what each one requests from the API, and how it is shown.

use std::collections::BTreeMap;

use axum::extract::{Path, Query};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;
use session_pipeline_pipeline::report::{QualityReport, SkillsReport, WasteReport};

use super::filters::{FilterQuery, address};
use super::frame::{OwnFilters, Section, filter_form};
use super::parts::{PartPage, notices};
use super::visit::{Visit, data_address, maybe};
use super::{causes, knowledge, operations, overview, quality, session, sessions, transcript};
use crate::body::knowledge::{KnowledgeBody, KnowledgeDetailsBody};
use crate::body::session::{SessionDetailsBody, SessionsBody};
use crate::body::transcript::{TranscriptBody, TranscriptMarksBody, TranscriptPartBody};
use crate::body::usage::UsageReportBody;
use crate::http::ApiError;
use crate::percent::encode;
use crate::problem::ProblemClass;

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
    let (days, previous, team, users, users_before, tools, tools_before, models) = tokio::try_join!(
        visit.report(filters, &[("by", "day"), ("split", "model")]),
        // The report by user has the same totals.
        maybe(of_before(&[("by", "source"), ("top", "1")]).filter(|_| !sees_users)),
        maybe(shows_team.then(|| visit.report(filters, &team))),
        maybe(sees_users.then(|| visit.report(filters, &[("by", "user"), ("top", "1")]))),
        maybe(by_user),
        visit.tool_calls(filters),
        maybe(before.as_ref().map(|before| visit.tool_calls(before))),
        visit.get::<UsageReportBody>(overview::MODELS_OF_ALL_TIME),
    )?;
    let data = overview::Overview {
        days,
        previous,
        team,
        users,
        users_before,
        tools,
        tools_before,
        models,
    };
    let main = html! {
        (filter_form("/", filters, view.reader.filters(), &OwnFilters::default()))
        (notices(&data.days.notices))
        (overview::page(&data, filters, &view.reader))
    };
    Ok(view.page("Overview", Section::Overview, true, &main))
}

/// Whether the script of a page loads a part of it. Without scripts, a part is a page.
fn is_part(headers: &HeaderMap) -> bool {
    headers.contains_key("hx-request")
}

/// `/overview/<part>`: one part of the first page for its script, or a page of its own.
pub(super) async fn overview_part(
    visit: Visit,
    Path(part): Path<String>,
    Query(query): Query<FilterQuery>,
    headers: HeaderMap,
) -> Result<Markup, ApiError> {
    let view = visit.view(&query);
    let filters = &view.filters;
    let top = |by| [("by", by), ("top", "10")];
    let (content, reasons) = match part.as_str() {
        "users" if view.reader.role != "member" => {
            let report = visit.report(filters, &top("user")).await?;
            (overview::users(&report, filters), report.notices)
        }
        "projects" => {
            let report = visit.report(filters, &top("project")).await?;
            (overview::projects(&report, filters), report.notices)
        }
        "hours" => {
            let report = visit.report(filters, &[("by", "hour")]).await?;
            (overview::hours(&report), report.notices)
        }
        "sessions" => {
            let own = [("sort", "cost"), ("limit", "10"), ("subagents", "no")];
            let path = data_address("/api/admin/sessions", filters, &own);
            let totals = [("by", "source"), ("top", "1")];
            let (found, totals) =
                tokio::try_join!(visit.get(&path), visit.report(filters, &totals))?;
            let content = overview::sessions(&found, totals.totals.cost_usd, filters);
            (content, found.notices)
        }
        _ => return Err(unknown_part()),
    };
    if is_part(&headers) {
        return Ok(content);
    }
    let known = overview::PARTS.iter().find(|(name, _)| *name == part);
    let page = PartPage {
        title: known.map_or("Overview", |(_, title)| title),
        path: &format!("/overview/{part}"),
        whole: ("/", "Overview"),
        part: &content,
        notices: &reasons,
    };
    let main = page.render(filters, &view.reader);
    Ok(view.page(page.title, Section::Overview, false, &main))
}

fn unknown_part() -> ApiError {
    ApiError::new(ProblemClass::NotFound, "unknown part of the page")
}

/// `/sessions`
pub(super) async fn sessions(
    visit: Visit,
    Query(query): Query<FilterQuery>,
    Query(list): Query<sessions::ListQuery>,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> Result<Markup, ApiError> {
    let view = visit.view(&query);
    let list = list.with_causes(sessions::CauseFilters::of(&parameters));
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
    let summary = &found.summary;
    // The figures of a sub-agent's file are those of the session that started it.
    let id = summary
        .session_id
        .as_deref()
        .filter(|_| !summary.is_subagent);
    let of = |path: &str, own: &[(&str, &str)]| {
        let mut parameters = own.to_vec();
        parameters.push(("session", id.unwrap_or_default()));
        parameters.push(("user", found.user.as_str()));
        address(path, &parameters)
    };
    let (models, agents) = (
        of("/api/usage/summary", &[("by", "model")]),
        of("/api/usage/summary", &[("by", "agent-type")]),
    );
    let (tools, waste) = (
        of("/api/usage/tools", &[("top", "50")]),
        of("/api/usage/waste", &[]),
    );
    let (models, agents, tools, waste) = tokio::try_join!(
        maybe(id.map(|_| visit.get::<UsageReportBody>(&models))),
        maybe(id.map(|_| visit.get::<UsageReportBody>(&agents))),
        maybe(id.map(|_| visit.get::<UsageReportBody>(&tools))),
        maybe(id.map(|_| visit.get::<WasteReport>(&waste))),
    )?;
    let title = summary.title.clone().unwrap_or_else(|| key.clone());
    let transcript = transcript_of(&visit, &key, place.after).await;
    let data = session::SessionPage {
        session: found,
        models,
        agents,
        tools,
        waste,
        transcript,
    };
    let main = session::page(&data, &view.filters, &view.reader);
    Ok(view.page(&title, Section::Sessions, false, &main))
}

/// The transcript from a line on, or why it cannot be shown.
async fn transcript_of(visit: &Visit, key: &str, after: u64) -> Result<Markup, ApiError> {
    let (page, marks) = (
        entries_path(key, after),
        address("/api/admin/transcript/marks", &[("session", key)]),
    );
    let (page, marks) = tokio::try_join!(
        visit.get::<TranscriptBody>(&page),
        visit.get::<TranscriptMarksBody>(&marks),
    )?;
    Ok(html! {
        (transcript::marks(&marks, after))
        @if after > 0 {
            p .links { a href=(transcript::session_href(key)) { "From the beginning" } }
        }
        div .transcript { (transcript::entries(&page, false)) }
    })
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
pub(super) async fn causes(
    visit: Visit,
    Query(query): Query<FilterQuery>,
) -> Result<Markup, ApiError> {
    let view = visit.view(&query);
    // Why the page is empty, if it is. Without a filter, there is nothing to say.
    let names_something = !view.filters.named().is_empty();
    let total = [("by", "source"), ("top", "1")];
    let total = maybe(names_something.then(|| visit.report(&view.filters, &total))).await?;
    let reasons = total.map(|report| report.notices).unwrap_or_default();
    let main = causes::page(&view.filters, &view.reader, &reasons);
    Ok(view.page("Causes", Section::Causes, false, &main))
}

/// `/causes/<part>`: one part of the page for its script, or a page of its own with all rows.
pub(super) async fn cause(
    visit: Visit,
    Path(part): Path<String>,
    Query(query): Query<FilterQuery>,
    headers: HeaderMap,
) -> Result<Markup, ApiError> {
    let view = visit.view(&query);
    let filters = &view.filters;
    let is_part = is_part(&headers);
    let rows = |of_part| if is_part { of_part } else { causes::ALL_ROWS };
    let found = causes::CAUSES.iter().find(|cause| cause.by == part);
    let table = causes::TABLES.iter().find(|(name, _)| *name == part);
    let title = found
        .map(|cause| cause.head)
        .or(table.map(|(_, title)| *title));
    let path = |report: &str| {
        let top = [("top", rows(causes::TABLE_ROWS))];
        data_address(&format!("/api/usage/{report}"), filters, &top)
    };
    let (content, reasons) = match (part.as_str(), found) {
        (_, Some(cause)) => {
            let own = [("by", cause.by), ("top", rows(causes::ROWS))];
            let report = visit.report(filters, &own).await?;
            (causes::cause(cause, &report, filters), report.notices)
        }
        ("tools", _) => {
            let report: UsageReportBody = visit.get(&path("tools")).await?;
            (causes::tools(&report, filters), report.notices)
        }
        ("waste", _) => {
            let report: WasteReport = visit.get(&path("waste")).await?;
            (causes::waste(&report, filters), report.notices)
        }
        ("skills", _) => {
            let report: SkillsReport = visit.get(&path("skills")).await?;
            (causes::skills(&report, filters), report.notices)
        }
        _ => return Err(unknown_part()),
    };
    if is_part {
        return Ok(content);
    }
    let page = PartPage {
        title: title.unwrap_or("Causes"),
        path: &format!("/causes/{part}"),
        whole: ("/causes", "Causes"),
        part: &content,
        notices: &reasons,
    };
    let main = page.render(filters, &view.reader);
    Ok(view.page(page.title, Section::Causes, false, &main))
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
    let request = address("/api/usage/quality", &view.filters.files());
    let report: QualityReport = visit.get(&request).await?;
    let main = quality::page(&report, &request, &view.filters, &view.reader);
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
    Ok(operations::load(&visit, &view, None, message)
        .await?
        .into_response())
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
