//! The rows of `usage.events`.

use session_pipeline_processor::{Timestamp, rows};

use crate::errors::ErrorClass;
use crate::events::subject::Subject;
use crate::events::{Record, timing};
use crate::strings::Span;
use crate::{Owner, VERSION};

rows! {
    /// One call or command.
    pub struct EventRow<'a> in "events" {
        /// The first `sessionId` of the file, or the session key.
        session_id: &'a str,
        /// The user of the session.
        username: &'a str,
        /// The line of the event.
        line: u64,
        /// `uuid` of the entry.
        event_uuid: Option<&'a str>,
        /// `parentUuid` of the entry.
        parent_uuid: Option<&'a str>,
        /// `tool_use`, `subagent`, `mcp_call` or `slash_command`.
        event_type: &'static str,
        /// The id of the call.
        tool_id: Option<&'a str>,
        /// The name of the tool.
        tool_name: Option<&'a str>,
        /// The name of the skill, for the tool `Skill`.
        skill_name: Option<&'a str>,
        /// The type of the sub-agent, for the tools `Task` and `Agent`.
        subagent_type: Option<&'a str>,
        /// The command without its slash.
        command_name: Option<&'a str>,
        /// The plugin that provides the skill, sub-agent or command.
        plugin: Option<&'a str>,
        /// The server of an MCP tool.
        mcp_server: Option<&'a str>,
        /// `builtin`, `plugin` or `mcp`.
        source: &'static str,
        /// Whether the call failed.
        is_error: bool,
        /// The class of the failure.
        error_class: Option<&'static str>,
        /// Whether it belongs to a sub-agent.
        is_sidechain: bool,
        /// The model that made the call.
        model: Option<&'a str>,
        /// The working directory of the agent.
        cwd: Option<&'a str>,
        /// The Git branch.
        git_branch: Option<&'a str>,
        /// The version of the agent.
        agent_version: Option<&'a str>,
        /// The time of the event.
        occurred_at: Option<Timestamp>,
        /// The version of this processor.
        processor_version: u32,
        /// The identity of the event across files, if `tool_id` does not identify it.
        event_key: Option<&'a str>,
        /// See `usage.messages`.
        file_started_at: Option<Timestamp>,
        /// See `usage.messages`.
        file_ended_at: Option<Timestamp>,
        /// See `usage.messages`.
        is_own_session: bool,
        /// See `usage.messages`.
        first_run: Option<i64>,
        /// See `usage.messages`.
        is_superseded: bool,
        /// The duration of the call in milliseconds: for a sub-agent the duration that its result
        /// reports, else the time between the lines of the call and of its result, which includes
        /// waiting for permission. NULL if it is unknown or negative, for calls without a result,
        /// and for sub-agents that run in the background.
        duration_ms: Option<i64>,
        /// The timestamp of the result.
        finished_at: Option<Timestamp>,
        /// The agent that wrote the file. See `usage.messages`.
        agent: Option<&'static str>,
    }
}

impl Record {
    pub(super) fn row<'a>(&self, owner: &'a Owner<'a>) -> EventRow<'a> {
        let string = |span: Option<Span>| span.map(|span| owner.strings.get(span));
        let (mut skill, mut subagent, mut command, mut mcp_server) = (None, None, None, None);
        let event_type = match self.subject {
            Subject::Tool => "tool_use",
            Subject::Skill(name) => {
                skill = name;
                "tool_use"
            }
            Subject::Subagent(kind) => {
                subagent = Some(kind);
                "subagent"
            }
            Subject::Mcp(server) => {
                mcp_server = server;
                "mcp_call"
            }
            Subject::Command(name) => {
                command = Some(name);
                "slash_command"
            }
        };
        let source = match self.subject {
            Subject::Mcp(_) => "mcp",
            _ if self.plugin.is_some() => "plugin",
            _ => "builtin",
        };
        EventRow {
            session_id: owner.session_id,
            username: owner.username,
            line: self.place.line,
            event_uuid: string(self.uuid),
            parent_uuid: string(self.parent_uuid),
            event_type,
            tool_id: string(self.tool_id),
            tool_name: string(self.tool_name),
            skill_name: string(skill),
            subagent_type: string(subagent),
            command_name: string(command),
            plugin: string(self.plugin),
            mcp_server: string(mcp_server),
            source,
            is_error: self.failure().is_some(),
            error_class: self.failure().map(ErrorClass::name),
            is_sidechain: self.is_sidechain,
            model: string(self.model),
            cwd: string(self.place.cwd),
            git_branch: string(self.place.git_branch),
            agent_version: string(self.place.agent_version),
            occurred_at: self.place.occurred_at.or(owner.first_time),
            processor_version: VERSION,
            event_key: string(self.event_key),
            file_started_at: owner.first_time,
            file_ended_at: owner.last_time,
            is_own_session: self.place.is_own_session,
            first_run: None,
            is_superseded: false,
            duration_ms: self.answer.and_then(|answer| {
                timing::duration(self.called_at, answer.finished_at, answer.run)
            }),
            finished_at: self.answer.and_then(|answer| answer.finished_at),
            agent: Some(owner.agent.name()),
        }
    }
}
