//! The page of one session: its figures, waste and failures, how each processor stands with it, and
//! its transcript.

mod processing;

use maud::{Markup, html};
use session_pipeline_pipeline::report::WasteReport;

use super::causes::{tools_table, waste_table};
use super::filters::{Filters, address};
use super::format::{bytes, cost, count, counted, duration, email, plain, short_count, time};
use super::frame::{Reader, agent_name, empty};
use super::overview::message_rows;
use super::parts::{Ranked, ranked};
use super::transcript::session_href;
use crate::body::session::SessionDetailsBody;
use crate::body::usage::UsageReportBody;
use crate::http::ApiError;
use crate::problem::ProblemClass;

/// The data of the page.
pub(super) struct SessionPage {
    pub(super) session: SessionDetailsBody,
    /// By model. `None`: the session has no id yet, or is that of a sub-agent.
    pub(super) models: Option<UsageReportBody>,
    /// By type of sub-agent.
    pub(super) agents: Option<UsageReportBody>,
    /// The calls of its tools.
    pub(super) tools: Option<UsageReportBody>,
    /// What it could have saved.
    pub(super) waste: Option<WasteReport>,
    /// The transcript, or why it is not shown.
    pub(super) transcript: Result<Markup, ApiError>,
}

pub(super) fn page(data: &SessionPage, filters: &Filters, reader: &Reader) -> Markup {
    let SessionDetailsBody { key, summary, .. } = &data.session;
    let name = match &summary.title {
        Some(title) if !title.trim().is_empty() => plain(title),
        _ => plain(key.rsplit('/').next().unwrap_or(key)),
    };
    html! {
        div {
            p .links { a href=(filters.link("/sessions", &[])) { "Sessions" } }
            h1 { (name) }
            p .lead { span .key { (plain(key)) } }
            // The transcript is below all figures, which on a phone are long.
            nav aria-label="On this page" { p .links {
                @if data.waste.is_some() { a href="#waste" { "What could have been saved" } }
                @if data.tools.is_some() { a href="#tools" { "Tools and failures" } }
                a href="#transcript" { "Transcript" }
            } }
        }
        (processing::failures(&data.session, reader))
        div .columns {
            section .panel aria-labelledby="figures" { h2 #figures { "Figures" } (figures(&data.session)) }
            @if let Some(models) = &data.models {
                section .panel aria-labelledby="models" { h2 #models { "Cost by model" } (costs(models, "Model", |row| row.model.as_deref(), "no model")) }
            }
            @if let Some(agents) = &data.agents {
                section .panel aria-labelledby="agents" { h2 #agents { "Cost by sub-agent" } (costs(agents, "Sub-agent type", |row| row.agent_type.as_deref(), "type not recorded")) }
            }
        }
        @if let Some(waste) = &data.waste {
            section .panel aria-labelledby="waste" {
                h2 #waste { "What could have been saved" }
                @if waste.rows.is_empty() { (empty("Nothing was found in this session.")) } @else { (waste_table(waste, None)) }
            }
        }
        @if let Some(tools) = &data.tools {
            section .panel aria-labelledby="tools" { h2 #tools { "Tools and failures" } (calls(tools)) }
        }
        @if !data.session.processors.is_empty() {
            section .panel aria-labelledby="processors" {
                h2 #processors { "Processors" }
                div .columns { @for known in &data.session.processors { (processing::processor(known, key, reader)) } }
            }
        }
        section .panel aria-labelledby="transcript" {
            h2 #transcript { "Transcript" }
            @if data.session.summary.agent.as_deref() == Some("unknown") {
                p .notice .warning {
                    "No supported agent wrote this file, so its lines are folded."
                }
            }
            @match &data.transcript {
                Ok(transcript) => {
                    p .sub { "The counts below are those of the lines of this file, with slash commands as prompts. They can differ from the figures above, which include the files of its sub-agents, count what was copied from another session only there, and are as of the last success of the processor “usage”." }
                    (transcript)
                },
                Err(error) => p .empty { (without_transcript(error, reader)) },
            }
        }
    }
}

/// Why the page has no transcript. To an analyst, the transcripts of others do not exist.
fn without_transcript(error: &ApiError, reader: &Reader) -> String {
    let is_hidden = matches!(
        error.class,
        ProblemClass::NotFound | ProblemClass::Forbidden
    );
    match reader.role {
        "analyst" if is_hidden => {
            "The transcript of another user requires the role “admin”, and so do its title and the logs of failures.".to_owned()
        }
        _ => plain(&error.detail),
    }
}

/// The calls of each tool, and how many failed.
fn calls(report: &UsageReportBody) -> Markup {
    let (failed, all) = (
        report.failed_tool_calls.unwrap_or(0),
        report.tool_calls.unwrap_or(0),
    );
    html! {
        @if report.rows.is_empty() { (empty("No tool was called in this session.")) } @else {
            p .lead { (counted(all, "call", "calls")) ", " (count(failed)) " failed. The calls of its sub-agents are included." }
            (tools_table(report, None))
            @if report.omitted_rows > 0 {
                p .empty { (counted(i64::try_from(report.omitted_rows).unwrap_or(i64::MAX), "further tool", "further tools")) " with fewer calls" }
            }
        }
    }
}

fn figures(session: &SessionDetailsBody) -> Markup {
    let (summary, background) = (&session.summary, &session.background);
    let number = |value: Option<i64>| value.map(count);
    let facts: Vec<(&str, Option<Markup>)> = vec![
        ("User", Some(email(summary.user_email.as_deref().unwrap_or(&session.user)))),
        ("Project", summary.project.as_deref().map(|project| html! { (plain(project)) })),
        ("Branch", summary.branch.as_deref().map(|branch| html! { (plain(branch)) })),
        ("Pull requests", (!background.pull_requests.is_empty()).then(|| html! { (plain(&background.pull_requests.join(", "))) })),
        ("Started", summary.started_at.as_deref().map(|at| time(Some(at)))),
        ("Last activity", summary.last_activity_at.as_deref().map(|at| time(Some(at)))),
        ("Active time", summary.active_seconds.map(|seconds| html! { (duration(seconds as f64 * 1000.0)) })),
        ("Agent", summary.agent.as_deref().map(|agent| html! { (plain(agent_name(agent))) })),
        ("Agent version", background.agent_version.as_deref().map(|version| html! { (plain(version)) })),
        ("Plan", background.plan.as_deref().map(|plan| html! { (plain(plan)) ", not billed by the token" })),
        ("Entry point", summary.entrypoint.as_deref().map(|entry| html! { (plain(entry)) })),
        ("Begun by", summary.is_automated.map(|automated| html! { (if automated { "a program" } else { "a person" }) })),
        ("Cost", session.cost_usd.map(|amount| cost(Some(amount.dollars()), summary.cost_is_lower_bound.unwrap_or(false)))),
        ("Input tokens", number(background.input_tokens).map(|text| html! { (text) })),
        ("Output tokens", number(background.output_tokens).map(|text| html! {
            @if background.output_is_lower_bound == Some(true) { "≥ " } (text)
        })),
        ("Cache reads", number(background.cache_read_tokens).map(|text| html! { (text) })),
        ("Cache writes", number(background.cache_creation_tokens).map(|text| html! { (text) })),
        ("Prompts in this file", number(summary.prompts).map(|text| html! { (text) })),
        ("Tool calls in this file", summary.tool_calls.map(|calls| html! { (count(calls)) ", " (count(summary.tool_errors.unwrap_or(0))) " failed" })),
        ("Lines changed", background.lines_added.map(|added| html! { "+" (count(added)) " −" (count(background.lines_removed.unwrap_or(0))) })),
        ("Compactions", number(background.compactions.filter(|number| *number > 0)).map(|text| html! { (text) })),
        ("API errors", background.api_errors.filter(|number| *number > 0).map(|number| html! {
            (count(number))
            @if !background.api_errors_by_class.is_empty() {
                " (" (plain(&background.api_errors_by_class.iter().map(|(class, number)| format!("{class}: {number}")).collect::<Vec<_>>().join(", "))) ")"
            }
        })),
        ("Sub-agent runs without a transcript", number(background.unrecorded_runs).map(|text| html! { (text) })),
        ("Tokens not recorded", (!background.unrecorded_reasons.is_empty()).then(|| html! {
            (plain(&background.unrecorded_reasons.iter().map(|(reason, number)| format!("{reason}: {number}")).collect::<Vec<_>>().join(", ")))
        })),
        ("Continues", background.parent_session.as_deref().map(|parent| html! { a href=(address("/sessions", &[("search", parent), ("range", "all")])) .key { (plain(parent)) } })),
        ("Forks", (!background.forks.is_empty()).then(|| html! {
            @for fork in &background.forks { a href=(session_href(fork)) .key { (plain(fork)) } " " }
        })),
        ("File", session.bytes.map(|size| html! { (bytes(size)) })),
    ];
    html! {
        dl .facts { @for (name, value) in facts { @if let Some(value) = value { dt { (name) } dd { (value) } } } }
        @if summary.session_id.is_none() {
            p .empty { "The processor “usage” has not read this session yet, so it has no figures." }
        }
        @if summary.is_subagent {
            p .sub { "This is the file of a sub-agent. Its cost, waste and calls are in the session that started it." }
        }
    }
}

fn costs(
    report: &UsageReportBody,
    head: &str,
    name: impl Fn(&crate::body::usage::UsageMessageRow) -> Option<&str>,
    without: &str,
) -> Markup {
    let total = report.totals.cost_usd.unwrap_or(0.0);
    let rows: Vec<Ranked> = message_rows(report)
        .map(|row| Ranked {
            name: html! { @match name(row) { Some(name) => (plain(name)), None => span .empty { (without) } } },
            note: Some(format!(
                "{}, {} output tokens",
                counted(row.totals.messages, "message", "messages"),
                short_count(row.totals.output_tokens)
            )),
            cost: row.totals.cost_usd,
            is_lower_bound: row.totals.cost_is_lower_bound,
        })
        .collect();
    html! { @if rows.is_empty() { p .empty { "No messages." } } @else { (ranked(head, &rows, total)) } }
}

/// A button that posts a change about a session.
pub(super) fn action(
    path: &str,
    label: &str,
    processor: &str,
    key: &str,
    reader: &Reader,
) -> Markup {
    html! {
        form method="post" action=(path) {
            (super::csrf::field(&reader.csrf))
            input type="hidden" name="processor" value=(processor);
            input type="hidden" name="session" value=(key);
            button aria-label=(format!("{label} {} with {}", plain(key), plain(processor))) { (label) }
        }
    }
}

/// Text by anyone, with its line breaks.
pub(super) fn multiline(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}
