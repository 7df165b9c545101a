//! The list of sessions.

mod causes;

use maud::{Markup, html};
use serde::Deserialize;
use session_pipeline_pipeline::listing::overview;

use super::filters::{Filters, address};
use super::format::{breakable, cost, count, duration, email, plain, short_count, time};
use super::frame::{OwnFilters, Reader, empty, filter_form};
use super::parts::{notices, pager};
use super::transcript::session_href;
use crate::body::session::{SessionBody, SessionState, SessionsBody};

use causes::CAUSE_LABELS;
pub(super) use causes::{CauseFilters, sessions_with};

/// Sessions per page.
const PAGE: &str = "50";

/// What the address of the list contains in addition to the filters of every page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    sort: Option<String>,
    reverse: Option<String>,
    search: Option<String>,
    state: Option<String>,
    automated: Option<String>,
    /// `all`: sub-agents as well, `yes`: only sub-agents.
    subagents: Option<String>,
    cursor: Option<String>,
    #[serde(skip)]
    causes: CauseFilters,
}

/// A column: its heading, and the value of `sort` in the API.
const COLUMNS: [(&str, &str, bool); 12] = [
    ("Session", "title", false),
    ("User", "user", false),
    ("Project", "project", false),
    ("Branch", "branch", false),
    ("Last activity", "recent", false),
    ("Active", "active", true),
    ("Prompts", "prompts", true),
    ("Tools", "tools", true),
    ("Errors", "errors", true),
    ("Tokens", "tokens", true),
    ("Cost", "cost", true),
    ("State", "", false),
];

impl ListQuery {
    pub(super) fn with_causes(self, causes: CauseFilters) -> Self {
        Self { causes, ..self }
    }

    fn sort(&self) -> &str {
        let wanted = self.sort.as_deref().unwrap_or("recent");
        let known = COLUMNS.iter().map(|column| column.1);
        known
            .into_iter()
            .find(|sort| *sort == wanted)
            .filter(|sort| !sort.is_empty())
            .unwrap_or("recent")
    }

    fn is_reversed(&self) -> bool {
        self.reverse.as_deref() == Some("true")
    }

    fn own(&self) -> Vec<(&'static str, &str)> {
        [
            ("search", &self.search),
            ("state", &self.state),
            ("automated", &self.automated),
            ("subagents", &self.subagents),
        ]
        .into_iter()
        .filter_map(|(name, value)| {
            Some((name, value.as_deref().filter(|value| !value.is_empty())?))
        })
        .chain(self.causes.parameters())
        .collect()
    }

    /// The request to the API.
    pub(super) fn request(&self, filters: &Filters) -> String {
        let mut parameters = filters.report();
        parameters.extend(
            self.own()
                .into_iter()
                .map(|(name, value)| (name, value.to_owned())),
        );
        parameters.retain(|(name, value)| *name != "subagents" || value == "yes");
        if self.subagents.as_deref().is_none_or(str::is_empty) {
            parameters.push(("subagents", "no".to_owned()));
        }
        parameters.push(("sort", self.sort().to_owned()));
        parameters.push(("reverse", self.is_reversed().to_string()));
        parameters.push(("limit", PAGE.to_owned()));
        parameters.extend(self.cursor.clone().map(|cursor| ("cursor", cursor)));
        address("/api/admin/sessions", &parameters)
    }

    fn link(&self, filters: &Filters, changes: &[(&'static str, &str)]) -> String {
        let mut all = self.own();
        all.push(("sort", self.sort()));
        if self.is_reversed() {
            all.push(("reverse", "true"));
        }
        all.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        all.extend_from_slice(changes);
        filters.link("/sessions", &all)
    }
}

/// The title of a session, or else its file.
pub(super) fn title(session: &SessionBody) -> String {
    match &session.summary.title {
        Some(title) if !title.trim().is_empty() => plain(title),
        _ => plain(session.key.rsplit('/').next().unwrap_or(&session.key)),
    }
}

pub(super) fn page(
    list: &SessionsBody,
    query: &ListQuery,
    filters: &Filters,
    reader: &Reader,
) -> Markup {
    let mut parameters = query.own();
    parameters.push(("sort", query.sort()));
    if query.is_reversed() {
        parameters.push(("reverse", "true"));
    }
    let own = OwnFilters {
        fields: own_fields(query),
        parameters,
        labels: &CAUSE_LABELS,
    };
    let next = list
        .next
        .as_deref()
        .map(|next| query.link(filters, &[("cursor", next)]));
    let first = query.cursor.as_ref().map(|_| query.link(filters, &[]));
    html! {
        h1 { "Sessions" }
        (filter_form("/sessions", filters, reader.filters(), &own))
        section .panel aria-label="Sessions" {
            @if list.sessions.is_empty() {
                (notices(&list.notices))
                (empty("No session matches. Choose a longer period, remove a filter, or search for another word."))
            } @else {
                div .scroll tabindex="0" role="region" aria-label="List of sessions" {
                    table .stack .sessions {
                        thead { tr { @for (name, sort, is_number) in COLUMNS { (heading(name, sort, is_number, query, filters)) } } }
                        tbody { @for session in &list.sessions { (row(session)) } }
                    }
                }
                (pager(first.as_deref(), next.as_deref()))
            }
        }
        p .links { a href=(format!("/data{}&format=csv", query.request(filters))) { "CSV" } a href=(format!("/data{}", query.request(filters))) { "JSON" } }
    }
}

fn own_fields(query: &ListQuery) -> Markup {
    let option = |value: &str, name: &str, chosen: Option<&str>| {
        html! { option value=(value) selected[chosen.unwrap_or_default() == value] { (name) } }
    };
    html! {
        label .grow { "Search"
            input type="search" name="search" value=(query.search.as_deref().unwrap_or_default()) placeholder="Title, project or key" autocomplete="off";
        }
        label { "State"
            select name="state" {
                (option("", "Any", query.state.as_deref()))
                @for state in ["new", "processed", "due", "waiting", "quarantined", "missing"] {
                    (option(state, state, query.state.as_deref()))
                }
            }
        }
        label { "Files"
            select name="subagents" {
                (option("", "Without sub-agents", query.subagents.as_deref()))
                (option("all", "All", query.subagents.as_deref()))
                (option("yes", "Only sub-agents", query.subagents.as_deref()))
            }
        }
        label { "Begun by"
            select name="automated" {
                (option("", "Anyone", query.automated.as_deref()))
                (option("no", "People", query.automated.as_deref()))
                (option("yes", "Programs", query.automated.as_deref()))
            }
        }
        @for (name, value) in query.causes.parameters() { input type="hidden" name=(name) value=(value); }
        input type="hidden" name="sort" value=(query.sort());
        @if query.is_reversed() { input type="hidden" name="reverse" value="true"; }
    }
}

fn heading(
    name: &str,
    sort: &'static str,
    is_number: bool,
    query: &ListQuery,
    filters: &Filters,
) -> Markup {
    let is_sorted = !sort.is_empty() && query.sort() == sort;
    // Numbers and times begin with the largest, and texts with the first.
    let is_descending = (is_number || sort == "recent") != query.is_reversed();
    let reverse = if is_sorted && !query.is_reversed() {
        "true"
    } else {
        ""
    };
    let direction = is_sorted.then_some(if is_descending {
        "descending"
    } else {
        "ascending"
    });
    html! {
        th scope="col" .number[is_number] aria-sort=[direction] {
            @if sort.is_empty() { (name) } @else {
                a href=(query.link(filters, &[("sort", sort), ("reverse", reverse)])) {
                    (name)
                    @if is_sorted { span aria-hidden="true" { (if is_descending { " ↓" } else { " ↑" }) } }
                }
            }
        }
    }
}

fn row(session: &SessionBody) -> Markup {
    let summary = &session.summary;
    let number = |label: &str, value: Option<i64>| {
        html! { td .number data-label=(label) { (value.map_or_else(|| "–".to_owned(), count)) } }
    };
    let text = |label: &str, value: Option<&str>| {
        html! { td .wide data-label=(label) title=[value.map(plain)] { @match value { Some(value) => (breakable(last_part(value))), None => "–" } } }
    };
    let user = summary.user_email.as_deref().unwrap_or(&session.user);
    html! {
        tr {
            th scope="row" .wide {
                a href=(session_href(&session.key)) { (title(session)) }
                @if summary.is_automated == Some(true) { " " span .tag { "program" } }
                @if summary.is_subagent { " " span .tag { "sub-agent" } }
            }
            td .wide data-label="User" title=(plain(user)) { (email(user)) }
            (text("Project", summary.project.as_deref()))
            (text("Branch", summary.branch.as_deref()))
            td data-label="Last activity" { (time(summary.last_activity_at.as_deref())) }
            td .number data-label="Active" { (summary.active_seconds.map_or_else(|| "–".to_owned(), |seconds| duration(seconds as f64 * 1000.0))) }
            (number("Prompts", summary.prompts))
            (number("Tools", summary.tool_calls))
            (number("Errors", summary.tool_errors))
            td .number data-label="Tokens" { (summary.tokens.map_or_else(|| "–".to_owned(), short_count)) }
            td .number data-label="Cost" {
                @match session.cost_usd {
                    Some(amount) => (cost(Some(amount.dollars()), summary.cost_is_lower_bound.unwrap_or(false))),
                    None => "–",
                }
            }
            td data-label="State" { (states(session)) }
        }
    }
}

/// The last part of a path, and other texts as they are.
pub(super) fn last_part(text: &str) -> &str {
    match text.starts_with(['/', '\\']) || text.get(1..3).is_some_and(|drive| drive == ":\\") {
        true => overview::last_part(text),
        false => text,
    }
}

/// The states that differ from the usual one.
fn states(session: &SessionBody) -> Markup {
    let states = session.processors.iter().map(|known| known.state);
    let mut states: Vec<SessionState> = states
        .filter(|state| *state != SessionState::Processed)
        .collect();
    states.sort_unstable();
    states.dedup();
    html! {
        @if states.is_empty() && session.summary.session_id.is_some() { span .visually-hidden { "processed" } }
        @for state in states { (state_tag(state)) " " }
    }
}

pub(super) fn state_tag(state: SessionState) -> Markup {
    let class = match state {
        SessionState::Quarantined => "tag error",
        SessionState::Waiting | SessionState::Missing => "tag warning",
        SessionState::Processed => "tag ok",
        SessionState::New | SessionState::Due => "tag",
    };
    html! { span class=(class) { (state.as_str()) } }
}
