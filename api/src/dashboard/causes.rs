//! What caused the cost: models, sub-agents, skills, MCP servers, branches and pull requests; how
//! tools failed; and what was wasted.

use maud::{Markup, html};
use session_pipeline_pipeline::report::{SkillKind, SkillsReport, WasteReport};

use super::filters::Filters;
use super::format::{cost, count, counted, duration, percent, plain, short_count, time};
use super::frame::{Reader, empty, filter_form};
use super::overview::{data_address, message_rows};
use super::parts::{Ranked, data_links, lazy, ranked};
use crate::body::usage::{UsageMessageRow, UsageReportBody, UsageRow, UsageToolRow};

/// A grouping of the page: the value of `by`, the heading, and the key of a row.
pub(super) struct Cause {
    pub(super) by: &'static str,
    head: &'static str,
    key: fn(&UsageMessageRow) -> Option<&str>,
    /// What it means that a row has no key.
    without: &'static str,
}

/// The groupings, in the order of the page.
pub(super) const CAUSES: [Cause; 11] = [
    Cause {
        by: "model",
        head: "Model",
        key: |row| row.model.as_deref(),
        without: "no model",
    },
    Cause {
        by: "source",
        head: "Part of the session",
        key: |row| row.source.as_deref(),
        without: "not recorded",
    },
    Cause {
        by: "agent-type",
        head: "Sub-agent type",
        key: |row| row.agent_type.as_deref(),
        without: "type not recorded",
    },
    Cause {
        by: "skill",
        head: "Skill",
        key: |row| row.skill.as_deref(),
        without: "no skill",
    },
    Cause {
        by: "mcp-server",
        head: "MCP server",
        key: |row| row.mcp_server.as_deref(),
        without: "no MCP server",
    },
    Cause {
        by: "plugin",
        head: "Plugin",
        key: |row| row.plugin.as_deref(),
        without: "no plugin",
    },
    Cause {
        by: "effort",
        head: "Effort",
        key: |row| row.effort.as_deref(),
        without: "not recorded",
    },
    Cause {
        by: "branch",
        head: "Branch",
        key: |row| row.branch.as_deref(),
        without: "no branch",
    },
    Cause {
        by: "pull-request",
        head: "Pull request",
        key: |row| row.pull_request.as_deref(),
        without: "no pull request",
    },
    Cause {
        by: "agent",
        head: "Coding agent",
        key: |row| row.agent.as_deref(),
        without: "not recorded",
    },
    Cause {
        by: "entrypoint",
        head: "Entry point",
        key: |row| row.entrypoint.as_deref(),
        without: "not recorded",
    },
];

/// The frame of the page.
pub(super) fn page(filters: &Filters, reader: &Reader) -> Markup {
    let part = |name: &str| filters.link(&format!("/causes/{name}"), &[]);
    let section = |name: &str, title: &str| {
        html! {
            section .panel id=(name) aria-labelledby=(format!("{name}-title")) {
                h2 id=(format!("{name}-title")) { (title) }
                (lazy(&part(name)))
            }
        }
    };
    html! {
        h1 { "Causes" }
        (filter_form("/causes", filters, reader.filters(), &html! {}))
        div .flow { @for cause in &CAUSES { (section(cause.by, cause.head)) } }
        (section("waste", "What could have been saved"))
        (section("tools", "Tools"))
        (section("skills", "Skills, commands and sub-agents in use"))
    }
}

/// The rows of one grouping.
pub(super) fn cause(cause: &Cause, report: &UsageReportBody, filters: &Filters) -> Markup {
    let total = report.totals.cost_usd.unwrap_or(0.0);
    let rows: Vec<Ranked> = message_rows(report)
        .map(|row| Ranked {
            name: html! {
                @match (cause.key)(row) {
                    Some(name) if cause.by == "model" => a href=(filters.link("/", &[("model", name)])) { (plain(name)) },
                    Some(name) => (plain(name)),
                    None => span .empty { (cause.without) },
                }
            },
            note: Some(format!(
                "{} tokens, {}",
                short_count(row.totals.input_tokens.saturating_add(row.totals.output_tokens)
                    .saturating_add(row.totals.cache_read_tokens).saturating_add(row.totals.cache_creation_tokens)),
                counted(row.totals.sessions, "session", "sessions")
            )),
            cost: row.totals.cost_usd,
            is_lower_bound: row.totals.cost_is_lower_bound,
        })
        .collect();
    html! {
        div {
            @if rows.is_empty() { (empty("No usage in this period.")) } @else { (ranked(cause.head, &rows, total)) }
            @if report.omitted_rows > 0 { p .links { (count(report.omitted_rows as i64)) " more" } }
            (data_links(&data_address("/data/api/usage/summary", filters, &[("by", cause.by)])))
        }
    }
}

/// The failed calls of a tool by class, the most frequent first.
fn classes(row: &UsageToolRow) -> String {
    let mut classes: Vec<(&str, i64)> = row
        .errors_by_class
        .iter()
        .map(|(class, calls)| (class.as_str(), *calls))
        .collect();
    classes.sort_by_key(|(class, calls)| (std::cmp::Reverse(*calls), *class));
    let texts = classes
        .into_iter()
        .map(|(class, calls)| format!("{} {}", plain(&class.replace('_', " ")), count(calls)));
    match row.errors_by_class.is_empty() {
        true => "–".to_owned(),
        false => texts.collect::<Vec<_>>().join(", "),
    }
}

/// The calls of tools.
pub(super) fn tools(report: &UsageReportBody, filters: &Filters) -> Markup {
    let rows = report.rows.iter().filter_map(|row| match row {
        UsageRow::Tool(row) => Some(row),
        UsageRow::Messages(_) => None,
    });
    let milliseconds = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), duration);
    html! {
        div {
            @if report.rows.is_empty() { (empty("No tool was called in this period.")) } @else {
                div .scroll tabindex="0" role="region" aria-label="Tools" {
                    table .stack {
                        thead { tr {
                            th scope="col" { "Tool" }
                            @for name in ["Calls", "Failed"] { th scope="col" .number { (name) } }
                            th scope="col" { "Failures by class" }
                            @for name in ["Median", "95 %", "Sessions"] { th scope="col" .number { (name) } }
                        } }
                        tbody { @for row in rows { tr {
                            th scope="row" .wide { (plain(row.tool.as_deref().unwrap_or("–"))) }
                            td .number data-label="Calls" { (count(row.calls)) }
                            td .number data-label="Failed" title=(count(row.errors)) { (percent(row.errors, row.calls)) }
                            td .wide data-label="Failures by class" { (classes(row)) }
                            td .number data-label="Median" { (milliseconds(row.p50_ms)) }
                            td .number data-label="95 %" { (milliseconds(row.p95_ms)) }
                            td .number data-label="Sessions" { (count(row.sessions)) }
                        } } }
                    }
                }
                @if report.omitted_rows > 0 { p .links { (count(report.omitted_rows as i64)) " more tools" } }
            }
            (data_links(&data_address("/data/api/usage/tools", filters, &[])))
        }
    }
}

/// Waste by kind, with advice.
pub(super) fn waste(report: &WasteReport, filters: &Filters) -> Markup {
    html! {
        div {
            @if report.rows.is_empty() { (empty("Nothing was found in this period.")) } @else {
                p .lead { "Kinds overlap, so their sums do not add up." }
                div .scroll tabindex="0" role="region" aria-label="Waste" {
                    table .stack {
                        thead { tr {
                            th scope="col" { "Kind" }
                            @for name in ["Cost", "Tokens", "Sessions", "Times"] { th scope="col" .number { (name) } }
                            th scope="col" { "What to do" }
                        } }
                        tbody { @for row in &report.rows { tr {
                            th scope="row" { (waste_name(&row.kind)) }
                            td .number data-label="Cost" { (cost(row.cost_usd.map(|cost| cost.dollars()), row.cost_is_lower_bound)) }
                            td .number data-label="Tokens" { (short_count(row.tokens)) }
                            td .number data-label="Sessions" { (count(row.sessions)) }
                            td .number data-label="Times" { (count(row.instances)) }
                            td .wide data-label="What to do" { (row.advice) }
                        } } }
                    }
                }
            }
            (data_links(&data_address("/data/api/usage/waste", filters, &[])))
        }
    }
}

fn waste_name(kind: &str) -> String {
    match kind {
        "failed_retry" => "Failing call repeated".to_owned(),
        "reread" => "Unchanged file read again".to_owned(),
        "long_context" => "Long context".to_owned(),
        "cache_miss" => "Cache miss".to_owned(),
        "compaction" => "Compaction".to_owned(),
        other => plain(other),
    }
}

/// Skills, slash commands and sub-agents.
pub(super) fn skills(report: &SkillsReport, filters: &Filters) -> Markup {
    html! {
        div {
            @if report.rows.is_empty() { (empty("No skill, command or sub-agent was used in this period.")) } @else {
                div .scroll tabindex="0" role="region" aria-label="Skills, commands and sub-agents" {
                    table .stack {
                        thead { tr {
                            th scope="col" { "Name" } th scope="col" { "Kind" }
                            @for name in ["Uses", "Failed", "Sessions", "Users"] { th scope="col" .number { (name) } }
                            th scope="col" { "Since" } th scope="col" { "Last used" }
                        } }
                        tbody { @for row in &report.rows { tr {
                            th scope="row" .wide { (plain(&row.name)) @if let Some(plugin) = &row.plugin { span .sub { (plain(plugin)) } } }
                            td data-label="Kind" { (match row.kind { SkillKind::Skill => "skill", SkillKind::Command => "command", SkillKind::Agent => "sub-agent" }) }
                            td .number data-label="Uses" { (count(row.uses)) }
                            td .number data-label="Failed" { (count(row.errors)) }
                            td .number data-label="Sessions" { (count(row.sessions)) }
                            td .number data-label="Users" { (count(row.user_count)) }
                            td data-label="Since" { (time(row.first_used.as_deref())) }
                            td data-label="Last used" { (time(row.last_used.as_deref())) }
                        } } }
                    }
                }
                @if report.omitted_rows > 0 { p .links { (count(report.omitted_rows as i64)) " more" } }
            }
            (data_links(&data_address("/data/api/usage/skills", filters, &[])))
        }
    }
}
