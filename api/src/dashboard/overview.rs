//! The first page: what was spent, by whom, on what, and how exact the figures are.

mod timeline;

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::causes::BY_PROJECT_NAME;
use super::filters::Filters;
use super::format::{breakable, cost, count, counted, dollars, percent, plain, short_count};
use super::frame::{Reader, Section, empty};
use super::parts::{Ranked, data_links, lazy, more, ranked, reasons};
use super::sessions::last_part;
use super::visit::data_address;
use crate::body::session::SessionsBody;
use crate::body::usage::{UsageMessageRow, UsageReportBody, UsageRow, UsageTotalsBody};
use timeline::Timeline;

/// The parts that are loaded on their own: the end of their address, and the heading.
pub(super) const PARTS: [(&str, &str); 4] = [
    ("users", "Top users"),
    ("projects", "Top projects"),
    ("sessions", "Most expensive sessions"),
    ("hours", "Cost by weekday and hour"),
];

/// The data of the page.
pub(super) struct Overview {
    /// By day and model.
    pub(super) days: UsageReportBody,
    /// The totals of the period before. `None`: the period is open, or `users_before` has them.
    pub(super) previous: Option<UsageReportBody>,
    /// The totals of everyone, for a reader whose own figures are on the page.
    pub(super) team: Option<UsageReportBody>,
    /// `None`: the reader's role does not include other users.
    pub(super) users: Option<UsageReportBody>,
    pub(super) users_before: Option<UsageReportBody>,
    pub(super) tools: UsageReportBody,
    pub(super) tools_before: Option<UsageReportBody>,
    /// By model over all time, the most expensive first. A model keeps its color by its place there.
    pub(super) models: UsageReportBody,
}

/// The request for [`Overview::models`].
pub(super) const MODELS_OF_ALL_TIME: &str = "/api/usage/summary?by=model&top=50";

/// The groups of a report on messages.
pub(super) fn message_rows(report: &UsageReportBody) -> impl Iterator<Item = &UsageMessageRow> {
    report.rows.iter().filter_map(|row| match row {
        UsageRow::Messages(row) => Some(row.as_ref()),
        UsageRow::Tool(_) => None,
    })
}

pub(super) fn page(data: &Overview, filters: &Filters, reader: &Reader) -> Markup {
    let totals = &data.days.totals;
    let timeline = Timeline::of(&data.days, &data.models, filters);
    let [columns @ .., last] = &PARTS;
    html! {
        h1 .visually-hidden { "Overview" }
        @if totals.messages == 0 {
            (nothing(reader))
        } @else {
            (cards(data, filters))
            (quality_line(totals, filters, reader))
            section .panel aria-labelledby="by-day" {
                div .head { h2 #by-day { "Cost by " (timeline.unit().name()) " and model" }
                    (data_links(&data_address("/data/api/usage/summary", filters, &[("by", "day"), ("split", "model")]))) }
                (timeline.chart())
            }
            div .columns {
                @for (name, title) in columns {
                    @if *name != "users" || data.users.is_some() { (part(name, title, filters)) }
                }
            }
            (part(last.0, last.1, filters))
        }
    }
}

/// What a ranking by name is good for.
const BY_NAME_TITLE: &str = "Adds up all paths with the same last part, such as clones";

/// A part of the page that is loaded after it.
fn part(name: &str, title: &str, filters: &Filters) -> Markup {
    html! {
        section .panel aria-labelledby=(name) {
            h2 id=(name) { (title) }
            (lazy(&filters.link(&format!("/overview/{name}"), &[])))
        }
    }
}

/// The users with the highest cost.
pub(super) fn users(report: &UsageReportBody, filters: &Filters) -> Markup {
    let link = |name: &str| filters.link("/", &[("user", name)]);
    html! {
        (top(report, "User", |row| row.user.as_deref(), link))
        (more(report.omitted_rows, &filters.link("/causes/user", &[])))
    }
}

/// The projects with the highest cost.
pub(super) fn projects(report: &UsageReportBody, filters: &Filters) -> Markup {
    let link = |name: &str| filters.link("/", &[("project", name)]);
    let (by_name, text) = BY_PROJECT_NAME;
    html! {
        (top(report, "Project", |row| row.project.as_deref(), link))
        (more(report.omitted_rows, &filters.link("/causes/project", &[])))
        p .links { a href=(filters.link(&format!("/causes/{by_name}"), &[])) title=(BY_NAME_TITLE) { (text) } }
    }
}

fn nothing(reader: &Reader) -> Markup {
    html! {
        section .panel {
            h2 { "No usage in this period" }
            p { "Choose a longer period or remove a filter. If the server is new, it has no sessions yet:" }
            ol {
                li { "Copy transcripts to " code { "user_sessions/<user>/" } " in the data directory, or upload them to " code { "/api/upload/sessions" } "." }
                @if reader.role == "admin" {
                    li { "Process them: " a href=(Section::Operations.path()) { "Operations" } " has a button for each processor, and the scheduler runs them by itself." }
                } @else {
                    li { "Ask an administrator to run the processor " code { "usage" } "." }
                }
            }
        }
    }
}

struct Card {
    name: &'static str,
    value: Markup,
    now: f64,
    before: Option<f64>,
    link: Option<String>,
}

fn cards(data: &Overview, filters: &Filters) -> Markup {
    let totals = &data.days.totals;
    let previous = data.previous.as_ref().or(data.users_before.as_ref());
    let before = previous.map(|report| &report.totals);
    let number = |name, of: fn(&UsageTotalsBody) -> i64, link| Card {
        name,
        value: html! { span title=(count(of(totals))) { (short_count(of(totals))) } },
        now: of(totals) as f64,
        before: before.map(|totals| of(totals) as f64),
        link,
    };
    let mut cards = vec![
        Card {
            name: "Cost",
            value: cost(totals.cost_usd, totals.cost_is_lower_bound),
            now: totals.cost_usd.unwrap_or(0.0),
            before: before.map(|totals| totals.cost_usd.unwrap_or(0.0)),
            link: Some(filters.link("/causes", &[])),
        },
        number("Tokens", tokens, Some(filters.link("/causes", &[]))),
        number(
            "Sessions",
            |totals| totals.sessions,
            Some(filters.link("/sessions", &[])),
        ),
    ];
    if let Some(team) = &data.team {
        let totals = &team.totals;
        cards.push(Card {
            name: "Cost of the team",
            value: cost(totals.cost_usd, totals.cost_is_lower_bound),
            now: totals.cost_usd.unwrap_or(0.0),
            before: None,
            link: None,
        });
    }
    if let Some(users) = &data.users {
        let people =
            |report: &UsageReportBody| report.rows.len() as i64 + report.omitted_rows as i64;
        cards.push(Card {
            name: "People",
            value: html! { (count(people(users))) },
            now: people(users) as f64,
            before: data
                .users_before
                .as_ref()
                .map(|report| people(report) as f64),
            link: Some("#users".to_owned()),
        });
    }
    if let Some(prompts) = data.days.prompts {
        cards.push(Card {
            name: "Prompts",
            value: html! { (count(prompts)) },
            now: prompts as f64,
            before: previous
                .and_then(|report| report.prompts)
                .map(|prompts| prompts as f64),
            link: Some(filters.link("/sessions", &[])),
        });
    }
    let (failed, calls) = failures(&data.tools);
    cards.push(Card {
        name: "Failed tool calls",
        value: html! { span title=(format!("{} of {} calls", count(failed), count(calls))) { (percent(failed, calls)) } },
        now: failed as f64 / calls.max(1) as f64,
        before: data.tools_before.as_ref().map(failures).map(|(failed, calls)| failed as f64 / calls.max(1) as f64),
        link: Some(filters.link("/causes", &[]) + "#tools"),
    });
    cards.push(Card {
        name: "Input from cache",
        value: html! { (percent(totals.cache_read_tokens, input(totals))) },
        now: totals.cache_read_tokens as f64 / input(totals).max(1) as f64,
        before: before.map(|totals| totals.cache_read_tokens as f64 / input(totals).max(1) as f64),
        link: None,
    });
    html! {
        dl .cards aria-label="Figures of the period" {
            @for card in cards { div .card {
                dt { (card.name) }
                dd {
                    div .value { @match card.link { Some(link) => a href=(link) { (card.value) }, None => (card.value) } }
                    @if let Some(before) = card.before { div .change { (change(card.now, before)) } }
                }
            } }
        }
    }
}

fn tokens(totals: &UsageTotalsBody) -> i64 {
    input(totals).saturating_add(totals.output_tokens)
}

fn input(totals: &UsageTotalsBody) -> i64 {
    totals
        .input_tokens
        .saturating_add(totals.cache_read_tokens)
        .saturating_add(totals.cache_creation_tokens)
}

/// The failed and all calls of a report on tools.
fn failures(report: &UsageReportBody) -> (i64, i64) {
    let count = |calls: Option<i64>| calls.unwrap_or(0);
    (count(report.failed_tool_calls), count(report.tool_calls))
}

fn change(now: f64, before: f64) -> String {
    if before == 0.0 {
        return match now == 0.0 {
            true => "same as the previous period".to_owned(),
            false => "none in the previous period".to_owned(),
        };
    }
    let change = (now - before) / before * 100.0;
    let sign = if change < 0.0 { "−" } else { "+" };
    match change.abs() {
        small if small < 0.5 => "same as the previous period".to_owned(),
        large if large > 999.0 => format!("{:.0} × the previous period", now / before),
        size => format!("{sign}{size:.0} % vs. the previous period"),
    }
}

fn quality_line(totals: &UsageTotalsBody, filters: &Filters, reader: &Reader) -> Markup {
    let reasons = reasons(totals);
    html! {
        @if reasons.is_empty() {
            p .notice .ok { "The cost is exact for everything that the transcripts contain." }
        } @else {
            p .notice .warning {
                "The cost is a lower bound: " (reasons.join(", ")) ". "
                @if reader.sections.contains(&Section::Quality) { a href=(filters.link("/quality", &[])) { "Data quality" } }
            }
        }
    }
}

/// The number of sessions, and the whole path of a project.
fn note(name: Option<&str>, sessions: i64) -> String {
    let sessions = counted(sessions, "session", "sessions");
    match name.filter(|name| last_part(name) != *name) {
        Some(path) => format!("{sessions} in {path}"),
        None => sessions,
    }
}

fn top(
    report: &UsageReportBody,
    head: &str,
    name: impl Fn(&UsageMessageRow) -> Option<&str>,
    link: impl Fn(&str) -> String,
) -> Markup {
    let total = report.totals.cost_usd.unwrap_or(0.0);
    let rows: Vec<Ranked> = message_rows(report)
        .map(|row| Ranked {
            name: html! {
                @match name(row) {
                    Some(name) => a href=(link(name)) title=(plain(name)) { (breakable(last_part(name))) },
                    None => span .empty { "not recorded" },
                }
            },
            note: Some(note(name(row), row.totals.sessions)),
            cost: row.totals.cost_usd,
            is_lower_bound: row.totals.cost_is_lower_bound,
        })
        .collect();
    ranked(head, &rows, total)
}

/// The sessions with the highest cost. `total` is the cost of all.
pub(super) fn sessions(sessions: &SessionsBody, total: Option<f64>, filters: &Filters) -> Markup {
    let total = total.unwrap_or(0.0);
    let rows: Vec<Ranked> = sessions
        .sessions
        .iter()
        .map(|session| Ranked {
            name: html! { a href=(super::transcript::session_href(&session.key)) { (super::sessions::title(session)) } },
            note: Some(session.summary.user_email.clone().unwrap_or_else(|| session.user.clone())),
            cost: session.cost_usd.map(|cost| cost.dollars()),
            is_lower_bound: session.summary.cost_is_lower_bound.unwrap_or(false),
        })
        .collect();
    html! {
        @if rows.is_empty() { (empty("No session was active in this period.")) }
        @else { (ranked("Session", &rows, total)) }
        p .links { a href=(filters.link("/sessions", &[("sort", "cost")])) { "All" } }
    }
}

/// The cost of each hour of the week, as a table whose cells are darker for larger costs.
pub(super) fn hours(report: &UsageReportBody) -> Markup {
    const DAYS: [(&str, &str); 7] = [
        ("Mon", "Monday"),
        ("Tue", "Tuesday"),
        ("Wed", "Wednesday"),
        ("Thu", "Thursday"),
        ("Fri", "Friday"),
        ("Sat", "Saturday"),
        ("Sun", "Sunday"),
    ];
    let costs: BTreeMap<&str, f64> = message_rows(report)
        .filter_map(|row| Some((row.hour.as_deref()?, row.totals.cost_usd.unwrap_or(0.0))))
        .collect();
    let largest = costs.values().copied().fold(0.0, f64::max);
    let level = |cost: f64| match (cost > 0.0, cost / largest) {
        (false, _) => "",
        (true, share) if share <= 0.2 => "l1",
        (true, share) if share <= 0.4 => "l2",
        (true, share) if share <= 0.6 => "l3",
        (true, share) if share <= 0.8 => "l4",
        (true, _) => "l5",
    };
    html! {
        div .scroll tabindex="0" role="region" aria-label="Cost by weekday and hour" {
            table .heat {
                caption .visually-hidden { "Cost in US dollars by weekday and hour" }
                thead { tr {
                    th scope="col" { span .visually-hidden { "Day" } }
                    @for hour in 0..24 { th scope="col" { (format!("{hour:02}")) } }
                } }
                tbody { @for (short, long) in DAYS { tr {
                    th scope="row" { abbr title=(long) { (short) } }
                    @for hour in 0..24 {
                        @let cost = costs.get(format!("{short} {hour:02}:00").as_str()).copied().unwrap_or(0.0);
                        td class=(level(cost)) title=(format!("{long} {hour:02}:00: {}", dollars(cost))) {
                            span .visually-hidden { (dollars(cost)) }
                        }
                    }
                } } }
            }
        }
        p .heat-scale {
            span { "Less" }
            @for (index, class) in ["", "l1", "l2", "l3", "l4", "l5"].into_iter().enumerate() {
                @let up_to = dollars(largest * index as f64 / 5.0);
                span class={ "swatch " (class) } title=(if index == 0 { "No cost".to_owned() } else { format!("Up to {up_to} per hour") }) {}
            }
            span { "More: up to " (dollars(largest)) " in one hour of the week" }
        }
    }
}
