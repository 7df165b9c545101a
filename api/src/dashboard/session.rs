//! The page of one session: its figures, how each processor stands with it, and its transcript.

use maud::{Markup, html};

use super::filters::{Filters, address};
use super::format::{bytes, cost, count, counted, duration, plain, short_count, time};
use super::frame::Reader;
use super::overview::message_rows;
use super::parts::{Ranked, ranked};
use super::sessions::{link, state_tag};
use crate::body::session::{ProcessorDetailsBody, SessionDetailsBody, SessionState};
use crate::body::usage::UsageReportBody;

/// The data of the page.
pub(super) struct SessionPage {
    pub(super) session: SessionDetailsBody,
    /// By model. `None`: the session has no id yet.
    pub(super) models: Option<UsageReportBody>,
    /// By type of sub-agent.
    pub(super) agents: Option<UsageReportBody>,
    /// The transcript, or why it is not shown.
    pub(super) transcript: Result<Markup, String>,
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
        }
        div .columns {
            section .panel aria-labelledby="figures" { h2 #figures { "Figures" } (figures(&data.session)) }
            @if let Some(models) = &data.models {
                section .panel aria-labelledby="models" { h2 #models { "Cost by model" } (costs(models, "Model", |row| row.model.as_deref(), "no model")) }
            }
            @if let Some(agents) = &data.agents {
                section .panel aria-labelledby="agents" { h2 #agents { "Cost by sub-agent" } (costs(agents, "Sub-agent type", |row| row.agent_type.as_deref(), "type not recorded")) }
            }
        }
        @if !data.session.processors.is_empty() {
            section .panel aria-labelledby="processors" {
                h2 #processors { "Processors" }
                @for known in &data.session.processors { (processor(known, key, reader)) }
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
                Ok(transcript) => (transcript),
                Err(reason) => p .empty { (plain(reason)) },
            }
        }
    }
}

fn figures(session: &SessionDetailsBody) -> Markup {
    let (summary, background) = (&session.summary, &session.background);
    let number = |value: Option<i64>| value.map(count);
    let facts: Vec<(&str, Option<Markup>)> = vec![
        ("User", Some(html! { (plain(summary.user_email.as_deref().unwrap_or(&session.user))) })),
        ("Project", summary.project.as_deref().map(|project| html! { (plain(project)) })),
        ("Branch", summary.branch.as_deref().map(|branch| html! { (plain(branch)) })),
        ("Pull requests", (!background.pull_requests.is_empty()).then(|| html! { (plain(&background.pull_requests.join(", "))) })),
        ("Started", summary.started_at.as_deref().map(|at| time(Some(at)))),
        ("Last activity", summary.last_activity_at.as_deref().map(|at| time(Some(at)))),
        ("Active time", summary.active_seconds.map(|seconds| html! { (duration(seconds as f64 * 1000.0)) })),
        ("Agent", summary.agent.as_deref().map(|agent| html! { (plain(agent)) })),
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
        ("Prompts", number(summary.prompts).map(|text| html! { (text) })),
        ("Tool calls", summary.tool_calls.map(|calls| html! { (count(calls)) ", " (count(summary.tool_errors.unwrap_or(0))) " failed" })),
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
            @for fork in &background.forks { a href=(link(fork)) .key { (plain(fork)) } " " }
        })),
        ("File", session.bytes.map(|size| html! { (bytes(size)) })),
    ];
    html! {
        dl .facts { @for (name, value) in facts { @if let Some(value) = value { dt { (name) } dd { (value) } } } }
        @if summary.session_id.is_none() {
            p .empty { "No processor has read this session yet." }
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
                "{} messages, {} output tokens",
                count(row.totals.messages),
                short_count(row.totals.output_tokens)
            )),
            cost: row.totals.cost_usd,
            is_lower_bound: row.totals.cost_is_lower_bound,
        })
        .collect();
    html! { @if rows.is_empty() { p .empty { "No messages." } } @else { (ranked(head, &rows, total)) } }
}

fn processor(known: &ProcessorDetailsBody, key: &str, reader: &Reader) -> Markup {
    let (summary, details) = (&known.summary, &known.details);
    let failure = summary.failure.as_ref();
    html! {
        article aria-label=(plain(&summary.processor)) {
            h3 { (plain(&summary.processor)) " " (state_tag(summary.state)) }
            dl .facts {
                @if let Some(items) = summary.items { dt { "Items" } dd { (count(items)) } }
                @if let Some(at) = &summary.processed_at { dt { "Processed" } dd { (time(Some(at))) } }
                @if let Some(version) = details.version { dt { "Version" } dd { (version) } }
                @if let Some(cost) = &details.cost {
                    dt { "Last attempt" }
                    dd { (duration(cost.guest_micros as f64 / 1000.0)) ", " (bytes(cost.peak_memory)) " memory, " (short_count(i64::try_from(cost.fuel).unwrap_or(i64::MAX))) " fuel" }
                }
                @if !details.rows.is_empty() {
                    dt { "Rows" }
                    dd { (plain(&details.rows.iter().map(|(table, rows)| format!("{table}: {rows}")).collect::<Vec<_>>().join(", "))) }
                }
            }
            @if let Some(failure) = failure {
                div .notice .error {
                    p { strong { (plain(&failure.fault)) } " after " (counted(failure.attempts.into(), "attempt", "attempts")) ". "
                        @if let Some(next) = &failure.next_attempt_at { "Next attempt: " (time(Some(next))) ". " }
                    }
                    pre { (multiline(&failure.detail)) }
                }
            }
            @if reader.role == "admin" {
                div .actions {
                    (action("/sessions/reprocess", "Reprocess", &summary.processor, key, reader))
                    @if summary.state == SessionState::Quarantined { (action("/operations/release", "Release", &summary.processor, key, reader)) }
                }
            }
        }
    }
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
