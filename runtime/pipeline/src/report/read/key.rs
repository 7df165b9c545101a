//! What the rows of a report stand for, as SQL over the rollups.

use super::names;
use crate::report::{ReportGrouping, ReportScope};

/// The key of a report's groups.
pub(in crate::report) struct Key {
    /// SQL over a rollup.
    pub(super) column: String,
    /// SQL for its text, over the column `key`.
    pub(super) text: String,
    /// SQL for the tables that the column needs.
    pub(super) join: &'static str,
}

/// The session of a row.
pub(super) const SESSION: &str = "session_id";

/// The current name of the user of a row.
pub(super) const USER: &str = "coalesce(directories.email, directory)";

pub(in crate::report) const USERS: &str = "LEFT JOIN usage.directories USING (directory)";

/// The types of sub-agents from the calls that started them. A sub-agent's own file does not
/// contain its type.
/// A user's transcripts cannot name the sub-agents of another user.
const AGENT_TYPES: &str = "LEFT JOIN (
    SELECT agent_id, split_part(session_file, '/', 1) AS directory, min(agent_type) AS started_type
    FROM usage.agent_runs WHERE agent_id IS NOT NULL AND agent_type IS NOT NULL GROUP BY ALL
) USING (agent_id, directory)";

/// The links of sessions to pull requests, ordered by time. A user's transcripts cannot link the
/// sessions of another user.
const PULL_REQUESTS: &str = "LEFT JOIN (
    SELECT session_id, directory,
        list_sort(list(struct_pack(quarter := quarter, pull_request := pull_request))) AS links
    FROM (
        SELECT session_id, directory, quarter, min(pull_request) AS pull_request
        FROM usage.message_rollups WHERE pull_request IS NOT NULL GROUP BY ALL
    ) GROUP BY ALL
) USING (session_id, directory)";

/// The pull request of a message. In files without a link, such as those of sub-agents: the one
/// that the session linked next, or else the last one, like in a file with links.
const PULL_REQUEST: &str = "CASE
    WHEN pull_request IS NOT NULL OR links IS NULL THEN pull_request
    WHEN len(links) = 1 THEN links[1].pull_request
    ELSE coalesce(list_filter(links, lambda link: link.quarter >= quarter)[1].pull_request, links[-1].pull_request)
    END";

impl Key {
    /// `local` is SQL for the local time of a row.
    pub(super) fn of(by: ReportGrouping, local: &str) -> Self {
        let (column, text, join) = match by {
            ReportGrouping::Day => (format!("CAST({local} AS DATE)"), "key", ""),
            ReportGrouping::Week => {
                let monday = format!("CAST(date_trunc('week', {local}) AS DATE)");
                (monday, "key", "")
            }
            ReportGrouping::Month => {
                let first = format!("CAST(date_trunc('month', {local}) AS DATE)");
                (first, "strftime(key, '%Y-%m')", "")
            }
            ReportGrouping::Hour => (
                format!("isodow({local}) * 24 + hour({local})"),
                "['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'][key // 24] || printf(' %02d:00', key % 24)",
                "",
            ),
            ReportGrouping::Session => (SESSION.to_owned(), "key", ""),
            ReportGrouping::User => (USER.to_owned(), "key", USERS),
            ReportGrouping::Model => ("model".to_owned(), "key", ""),
            ReportGrouping::Project => ("project".to_owned(), "key", ""),
            ReportGrouping::ProjectName => ("project_name".to_owned(), "key", ""),
            ReportGrouping::Branch => ("git_branch".to_owned(), "key", ""),
            ReportGrouping::PullRequest => (
                PULL_REQUEST.to_owned(),
                "key",
                PULL_REQUESTS,
            ),
            ReportGrouping::Source => ("source".to_owned(), "key", ""),
            ReportGrouping::AgentType => (
                "coalesce(agent_type, started_type, CASE WHEN source <> 'subagent' THEN '(' || source || ')' END)"
                    .to_owned(),
                "key",
                AGENT_TYPES,
            ),
            ReportGrouping::Skill => ("skill".to_owned(), "key", ""),
            ReportGrouping::Plugin => ("plugin".to_owned(), "key", ""),
            ReportGrouping::McpServer => ("mcp_server".to_owned(), "key", ""),
            ReportGrouping::Effort => ("effort".to_owned(), "key", ""),
            ReportGrouping::Entrypoint => ("entrypoint".to_owned(), "key", ""),
            ReportGrouping::Agent => ("agent".to_owned(), "key", ""),
            ReportGrouping::Provider => ("provider".to_owned(), "key", ""),
        };
        Self {
            column,
            text: text.to_owned(),
            join,
        }
    }

    /// The key without names that the scope excludes. In a report on the team, models without a
    /// price have no name.
    pub(super) fn in_scope(self, by: ReportGrouping, scope: &ReportScope) -> Self {
        if !matches!(scope, ReportScope::Team(_)) || by != ReportGrouping::Model {
            return self;
        }
        Self {
            column: names::TEAM_MODEL.to_owned(),
            ..self
        }
    }
}
