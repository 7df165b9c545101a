//! What caused the cost: models, sub-agents, skills, MCP servers, branches and pull requests; how
//! tools failed; and what was wasted. Each row leads to the sessions behind it.

mod tables;

use maud::{Markup, html};
use session_pipeline_pipeline::report::{SkillKind, SkillsReport, WasteReport};

use super::filters::Filters;
use super::format::{count, counted, plain, short_count, time};
use super::frame::{OwnFilters, Reader, agent_name, empty, filter_form};
use super::overview::message_rows;
use super::parts::{Ranked, data_links, lazy, more, notices, ranked};
use super::sessions::sessions_with;
use super::visit::data_address;
use crate::body::usage::{UsageMessageRow, UsageReportBody};

pub(super) use tables::{tools_table, waste_table};

/// Rows of a part of the page with all parts.
pub(super) const ROWS: &str = "10";
/// Rows of a table of the page with all parts.
pub(super) const TABLE_ROWS: &str = "50";
/// Rows of a page with one part.
pub(super) const ALL_ROWS: &str = "1000";

/// Where the rows of a grouping lead.
enum RowLink {
    /// To the overview, with the row as this filter.
    Overview(&'static str),
    /// To the list of sessions, with the row as this filter.
    Sessions(&'static str),
}

/// A grouping: the value of `by`, the heading, and the key of a row.
pub(super) struct Cause {
    pub(super) by: &'static str,
    pub(super) head: &'static str,
    key: fn(&UsageMessageRow) -> Option<&str>,
    /// What it means that a row has no key.
    without: &'static str,
    link: RowLink,
    /// Whether the page with all parts has it. The overview has the others.
    is_on_page: bool,
}

/// The groupings, in the order of the page.
pub(super) const CAUSES: [Cause; 14] = [
    Cause {
        by: "model",
        head: "Model",
        key: |row| row.model.as_deref(),
        without: "no model",
        link: RowLink::Overview("model"),
        is_on_page: true,
    },
    Cause {
        by: "source",
        head: "Part of the session",
        key: |row| row.source.as_deref(),
        without: "not recorded",
        link: RowLink::Sessions("source"),
        is_on_page: true,
    },
    Cause {
        by: "agent-type",
        head: "Sub-agent type",
        key: |row| row.agent_type.as_deref(),
        without: "type not recorded",
        link: RowLink::Sessions("agent_type"),
        is_on_page: true,
    },
    Cause {
        by: "skill",
        head: "Skill",
        key: |row| row.skill.as_deref(),
        without: "no skill",
        link: RowLink::Sessions("skill"),
        is_on_page: true,
    },
    Cause {
        by: "mcp-server",
        head: "MCP server",
        key: |row| row.mcp_server.as_deref(),
        without: "no MCP server",
        link: RowLink::Sessions("mcp_server"),
        is_on_page: true,
    },
    Cause {
        by: "plugin",
        head: "Plugin",
        key: |row| row.plugin.as_deref(),
        without: "no plugin",
        link: RowLink::Sessions("plugin"),
        is_on_page: true,
    },
    Cause {
        by: "effort",
        head: "Effort",
        key: |row| row.effort.as_deref(),
        without: "not recorded",
        link: RowLink::Sessions("effort"),
        is_on_page: true,
    },
    Cause {
        by: "branch",
        head: "Branch",
        key: |row| row.branch.as_deref(),
        without: "no branch",
        link: RowLink::Sessions("branch"),
        is_on_page: true,
    },
    Cause {
        by: "pull-request",
        head: "Pull request",
        key: |row| row.pull_request.as_deref(),
        without: "no pull request",
        link: RowLink::Sessions("pull_request"),
        is_on_page: true,
    },
    Cause {
        by: "agent",
        head: "Coding agent",
        key: |row| row.agent.as_deref(),
        without: "not recorded",
        link: RowLink::Overview("agent"),
        is_on_page: true,
    },
    Cause {
        by: "entrypoint",
        head: "Entry point",
        key: |row| row.entrypoint.as_deref(),
        without: "not recorded",
        link: RowLink::Sessions("entrypoint"),
        is_on_page: true,
    },
    Cause {
        by: "user",
        head: "User",
        key: |row| row.user.as_deref(),
        without: "not recorded",
        link: RowLink::Overview("user"),
        is_on_page: false,
    },
    Cause {
        by: "project",
        head: "Project",
        key: |row| row.project.as_deref(),
        without: "not recorded",
        link: RowLink::Overview("project"),
        is_on_page: false,
    },
    Cause {
        by: "project-name",
        head: "Project name",
        key: |row| row.project_name.as_deref(),
        without: "not recorded",
        // A name selects the projects of all paths that end with it.
        link: RowLink::Overview("project"),
        is_on_page: false,
    },
];

impl Cause {
    /// The other grouping of the same thing, with the text of a link to it.
    fn other(&self) -> Option<(&'static str, &'static str)> {
        match self.by {
            "project" => Some(BY_PROJECT_NAME),
            "project-name" => Some(("project", "By path")),
            _ => None,
        }
    }
}

/// The grouping of projects by name, with the text of a link to it.
pub(super) const BY_PROJECT_NAME: (&str, &str) = ("project-name", "By name");

/// The tables below the groupings: the end of their address, and the heading.
pub(super) const TABLES: [(&str, &str); 3] = [
    ("waste", "What could have been saved"),
    ("tools", "Tools"),
    ("skills", "Skills, commands and sub-agents in use"),
];

/// The frame of the page. `reasons`: why it has nothing to show.
pub(super) fn page(filters: &Filters, reader: &Reader, reasons: &[String]) -> Markup {
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
        (filter_form("/causes", filters, reader.filters(), &OwnFilters::default()))
        (notices(reasons))
        div .flow { @for cause in CAUSES.iter().filter(|cause| cause.is_on_page) { (section(cause.by, cause.head)) } }
        @for (name, title) in TABLES { (section(name, title)) }
    }
}

/// The rows of one grouping.
pub(super) fn cause(cause: &Cause, report: &UsageReportBody, filters: &Filters) -> Markup {
    let total = report.totals.cost_usd.unwrap_or(0.0);
    let href = |name: &str| match cause.link {
        RowLink::Overview(filter) => filters.link("/", &[(filter, name)]),
        RowLink::Sessions(filter) => sessions_with(filters, &[(filter, name)]),
    };
    let shown = |name: &str| match cause.by {
        "agent" => plain(agent_name(name)),
        _ => plain(name),
    };
    let rows: Vec<Ranked> = message_rows(report)
        .map(|row| Ranked {
            name: html! {
                @match (cause.key)(row) {
                    Some(name) => a href=(href(name)) { (shown(name)) },
                    None => span .empty { (cause.without) },
                }
            },
            note: Some(format!(
                "{}{} tokens, {}",
                paths(row),
                short_count(
                    row.totals
                        .input_tokens
                        .saturating_add(row.totals.output_tokens)
                        .saturating_add(row.totals.cache_read_tokens)
                        .saturating_add(row.totals.cache_creation_tokens)
                ),
                counted(row.totals.sessions, "session", "sessions")
            )),
            cost: row.totals.cost_usd,
            is_lower_bound: row.totals.cost_is_lower_bound,
        })
        .collect();
    html! {
        div {
            @if rows.is_empty() { (empty("No usage in this period.")) } @else { (ranked(cause.head, &rows, total)) }
            (more(report.omitted_rows, &filters.link(&format!("/causes/{}", cause.by), &[])))
            @if let Some((by, name)) = cause.other() {
                p .links { a href=(filters.link(&format!("/causes/{by}"), &[])) { (name) } }
            }
            (data_links(&data_address("/data/api/usage/summary", filters, &[("by", cause.by)])))
        }
    }
}

/// The number of paths of a project name, if there are several, such as those of clones.
fn paths(row: &UsageMessageRow) -> String {
    match row.totals.paths {
        Some(paths) if paths > 1 => format!("{}, ", counted(paths, "path", "paths")),
        _ => String::new(),
    }
}

/// The calls of tools.
pub(super) fn tools(report: &UsageReportBody, filters: &Filters) -> Markup {
    html! {
        div {
            @if report.rows.is_empty() { (empty("No tool was called in this period.")) }
            @else { (tools_table(report, Some(filters))) }
            (more(report.omitted_rows, &filters.link("/causes/tools", &[])))
            (data_links(&data_address("/data/api/usage/tools", filters, &[])))
        }
    }
}

/// Waste by kind, with advice.
pub(super) fn waste(report: &WasteReport, filters: &Filters) -> Markup {
    html! {
        div {
            @if report.rows.is_empty() { (empty("Nothing was found in this period.")) }
            @else { (waste_table(report, Some(filters))) }
            (data_links(&data_address("/data/api/usage/waste", filters, &[])))
        }
    }
}

/// The filter of the list of sessions for a use of this kind.
fn filter_of(kind: SkillKind) -> &'static str {
    match kind {
        SkillKind::Skill => "called_skill",
        SkillKind::Command => "command",
        SkillKind::Agent => "called_agent_type",
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
                            @let href = sessions_with(filters, &[(filter_of(row.kind), row.name.as_str())]);
                            th scope="row" .wide { a href=(href) { (plain(&row.name)) } @if let Some(plugin) = &row.plugin { span .sub { (plain(plugin)) } } }
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
                (more(report.omitted_rows, &filters.link("/causes/skills", &[])))
            }
            (data_links(&data_address("/data/api/usage/skills", filters, &[])))
        }
    }
}
