//! The parameters of a list of sessions.

use serde::Deserialize;
use session_pipeline_host::day::Day;
use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::listing::ProcessingState;
use session_pipeline_pipeline::listing::overview::{SessionFilter, SessionQuery, SessionSort};
use session_pipeline_pipeline::report::{DayRange, ReportGrouping, SessionCauses};
use utoipa::{IntoParams, ToSchema};

use crate::body::grouping::AgentParam;
use crate::body::session::SessionState;
use crate::http::csv::FormatParam;
use crate::http::params::zone;
use crate::http::problem::ApiError;

/// Who began the turns of a session.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum AutomatedParam {
    /// Programs.
    Yes,
    /// A person.
    No,
}

/// Whether a session is that of a sub-agent.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum SubagentsParam {
    /// Only files of sub-agents.
    Yes,
    /// Only other sessions.
    No,
}

/// Which sessions, and in which order.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct SessionsQuery {
    /// Only the session with this key, with all that is known about it. Instead of the key: the end
    /// of the key, the name of the file without its extension, or the session id, if only one session
    /// has it.
    pub(in crate::http) key: Option<String>,
    /// The order.
    #[serde(default)]
    #[param(inline)]
    sort: SessionSort,
    /// Whether the order is reversed. Sessions without a value come last in any case.
    #[serde(default)]
    reverse: bool,
    /// Only sessions of this user: the first folder of the key, or the user's e-mail address.
    user: Option<String>,
    /// Only sessions of this project: its name, its whole path, or the last parts of its path. The name
    /// is the last part of the path.
    project: Option<String>,
    /// Only sessions of this coding agent.
    #[param(inline)]
    agent: Option<AgentParam>,
    /// Only the states with this processor.
    processor: Option<String>,
    /// Only these states, separated by commas.
    state: Option<String>,
    /// Only sessions that programs began (`yes`), or only those of people (`no`).
    #[param(inline)]
    automated: Option<AutomatedParam>,
    /// Only files of sub-agents (`yes`), or only other sessions (`no`).
    #[param(inline)]
    subagents: Option<SubagentsParam>,
    /// The first day of the last activity. With a cause, such as `branch`, the first day on which the
    /// session had it.
    #[param(format = Date)]
    since: Option<String>,
    /// The last day, inclusive.
    #[param(format = Date)]
    until: Option<String>,
    /// The time zone of the days, such as `Europe/Berlin`. Default: UTC.
    tz: Option<String>,
    /// Only sessions whose title, project, key or id contains this text, in upper or lower case.
    search: Option<String>,
    /// Only sessions that used this model. With other causes: for the same messages, calls or waste.
    model: Option<String>,
    /// Only sessions with a message on this Git branch.
    branch: Option<String>,
    /// Only sessions with a message that belongs to this pull request.
    pull_request: Option<String>,
    /// Only sessions with a message of this source: `main`, `subagent` or `auxiliary`.
    source: Option<String>,
    /// Only sessions with a message of this type of sub-agent.
    agent_type: Option<String>,
    /// Only sessions with a message that this skill caused.
    skill: Option<String>,
    /// Only sessions with a message that this plugin caused.
    plugin: Option<String>,
    /// Only sessions with a message that this MCP server caused.
    mcp_server: Option<String>,
    /// Only sessions with a message of this effort.
    effort: Option<String>,
    /// Only sessions with a message of this entry point, such as `cli`.
    entrypoint: Option<String>,
    /// Only sessions that called this tool.
    tool: Option<String>,
    /// Only sessions with a call that failed with this class, such as `exit_code`. With `tool`: a call
    /// of this tool.
    failure: Option<String>,
    /// Only sessions in which a user typed this slash command, without the slash.
    command: Option<String>,
    /// Only sessions in which the model called this skill.
    called_skill: Option<String>,
    /// Only sessions that started a sub-agent of this type.
    called_agent_type: Option<String>,
    /// Only sessions with waste of this kind, such as `failed_retry`.
    waste: Option<String>,
    /// The format of the response.
    #[serde(default)]
    #[param(inline)]
    pub(in crate::http) format: FormatParam,
    /// At most this many on one page.
    #[serde(default = "crate::http::params::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(in crate::http) limit: u32,
    /// The `next` of the page before. It is valid only for the same `sort` and `reverse`.
    pub(in crate::http) cursor: Option<String>,
}

impl SessionsQuery {
    /// The list that the parameters ask for.
    ///
    /// # Errors
    /// If a value is invalid.
    pub(in crate::http) fn listing(&self) -> Result<SessionQuery, ApiError> {
        let days = DayRange {
            since: day("since", self.since.as_deref())?,
            until: day("until", self.until.as_deref())?,
        };
        if let (Some(since), Some(until)) = (days.since, days.until)
            && until < since
        {
            let detail = format!("`until` {until} is before `since` {since}; swap them");
            return Err(ApiError::unprocessable(detail));
        }
        let states = self.state.iter().flat_map(|states| states.split(','));
        Ok(SessionQuery {
            filter: SessionFilter {
                user: self.user.clone(),
                directories: None,
                titled_directories: None,
                project: self.project.clone(),
                agent: self.agent.map(|agent| agent.name().to_owned()),
                processor: self.processor.clone(),
                states: states.map(state).collect::<Result<_, _>>()?,
                is_automated: self
                    .automated
                    .map(|automated| matches!(automated, AutomatedParam::Yes)),
                is_subagent: self
                    .subagents
                    .map(|subagents| matches!(subagents, SubagentsParam::Yes)),
                days,
                zone: self.tz.as_deref().map(zone).transpose()?,
                search: self.search.clone(),
                causes: self.causes(),
            },
            sort: self.sort,
            is_reversed: self.reverse,
        })
    }
}

impl SessionsQuery {
    /// The causes of cost that the sessions have.
    fn causes(&self) -> SessionCauses {
        let messages = [
            (ReportGrouping::Branch, &self.branch),
            (ReportGrouping::PullRequest, &self.pull_request),
            (ReportGrouping::Source, &self.source),
            (ReportGrouping::AgentType, &self.agent_type),
            (ReportGrouping::Skill, &self.skill),
            (ReportGrouping::Plugin, &self.plugin),
            (ReportGrouping::McpServer, &self.mcp_server),
            (ReportGrouping::Effort, &self.effort),
            (ReportGrouping::Entrypoint, &self.entrypoint),
        ];
        let messages = messages
            .into_iter()
            .filter_map(|(by, value)| Some((by, value.clone()?)));
        SessionCauses {
            model: self.model.clone(),
            messages: messages.collect(),
            tool: self.tool.clone(),
            failure: self.failure.clone(),
            command: self.command.clone(),
            called_skill: self.called_skill.clone(),
            called_agent_type: self.called_agent_type.clone(),
            waste: self.waste.clone(),
        }
    }
}

fn day(name: &str, text: Option<&str>) -> Result<Option<Day>, ApiError> {
    let day = text.map(|text| {
        text.parse().map_err(|error| {
            ApiError::unprocessable(format!("invalid `{name}` `{}`: {error}", printable(text)))
        })
    });
    day.transpose()
}

fn state(text: &str) -> Result<ProcessingState, ApiError> {
    let word = <SessionState as clap::ValueEnum>::from_str(text, false);
    word.map(ProcessingState::from).map_err(|_| {
        ApiError::unprocessable(format!(
            "invalid `state` `{}`; expected new, processed, due, waiting, quarantined or missing, separated by commas",
            printable(text)
        ))
    })
}
