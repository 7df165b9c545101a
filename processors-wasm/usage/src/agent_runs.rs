//! The table `usage.agent_runs`: the runs of sub-agents that the model started.
//!
//! The transcript of a sub-agent is not always there. What its parent knows about the run is then
//! all that is known, and a lower bound of what it cost.

use std::collections::BTreeMap;

use session_pipeline_processor::json::{Json, Text};
use session_pipeline_processor::transcript::ToolUse;
use session_pipeline_processor::{Timestamp, rows};

use crate::Owner;
use crate::calls::count;
use crate::place::{KeptPlace, Place};
use crate::strings::{Span, Strings};

rows! {
    /// One call of `Task` or `Agent`.
    pub struct AgentRunRow<'a> in "agent_runs" {
        /// `sessionId` of the line, or of the file, or the session key.
        session_id: &'a str,
        /// The user of the session.
        username: &'a str,
        /// The line of the call.
        line: u64,
        /// The id of the call.
        tool_id: Option<&'a str>,
        /// The id of the sub-agent, which is in the name of its transcript.
        agent_id: Option<&'a str>,
        /// The type of the sub-agent.
        agent_type: Option<&'a str>,
        /// The model of the sub-agent, or the alias with which it was requested.
        model: Option<&'a str>,
        /// The status that the result reports, for example `completed` or `async_launched`. `error`
        /// for a failed call without one.
        status: Option<&'a str>,
        /// All tokens of the sub-agent's last response. `NULL` if the result does not report them.
        total_tokens: Option<i64>,
        /// The duration of the run in milliseconds.
        total_duration_ms: Option<i64>,
        /// The number of calls that the sub-agent made.
        tool_uses: Option<i64>,
        /// Input tokens of the sub-agent's last response, without the cache.
        input_tokens: Option<i64>,
        /// Output tokens of the sub-agent's last response.
        output_tokens: Option<i64>,
        /// Tokens that the sub-agent's last response read from the cache.
        cache_read_tokens: Option<i64>,
        /// Tokens that the sub-agent's last response wrote to the cache.
        cache_creation_tokens: Option<i64>,
        /// Whether a sub-agent made the call.
        is_sidechain: bool,
        /// The time of the call.
        occurred_at: Option<Timestamp>,
        /// The identity of the call across files, if `tool_id` does not identify it.
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
    }
}

/// The runs of a transcript, in order of their calls.
#[derive(Default)]
pub struct AgentRuns {
    runs: Vec<AgentRun>,
    /// The types of sub-agents by id. The strings are interned.
    types: BTreeMap<Span, Span>,
}

/// The call that begins a run.
pub struct RunCall<'s, 'a> {
    /// The id of the call.
    pub tool_id: Option<&'s str>,
    /// Whether the id is unique by itself.
    pub is_unique: bool,
    /// The identity of the response that makes the call.
    pub response: Option<Span>,
    /// Whether a sub-agent makes the call.
    pub is_sidechain: bool,
    /// `uuid` of the line.
    pub uuid: Option<Text<'a>>,
}

struct AgentRun {
    place: KeptPlace,
    tool_id: Option<Span>,
    event_key: Option<Span>,
    agent_id: Option<Span>,
    agent_type: Option<Span>,
    model: Option<Span>,
    status: Option<Span>,
    is_sidechain: bool,
    figures: RunFigures,
}

/// What the result of a run reports.
#[derive(Clone, Copy, Default)]
struct RunFigures {
    tokens: Option<i64>,
    duration_ms: Option<i64>,
    tool_uses: Option<i64>,
    input: Option<i64>,
    output: Option<i64>,
    cache_read: Option<i64>,
    cache_creation: Option<i64>,
}

impl AgentRuns {
    /// Adds the run that a call begins. Returns its number.
    pub fn begin(
        &mut self,
        strings: &mut Strings,
        place: &Place<'_>,
        call: RunCall<'_, '_>,
        tool_use: &ToolUse<'_>,
    ) -> usize {
        let event_key = (!call.is_unique).then(|| {
            let response = match (call.response, call.uuid) {
                (Some(response), _) => strings.get(response).to_owned(),
                (None, Some(uuid)) => format!("line:{}", uuid.decode()),
                (None, None) => format!("line:{}", place.line),
            };
            strings.keep(&format!("{response}/{}", call.tool_id.unwrap_or_default()))
        });
        let mut input = |field: &str| {
            let text = tool_use.input_text(field);
            text.map(|text| strings.intern(&text))
        };
        let (agent_type, model) = (input("subagent_type"), input("model"));
        self.runs.push(AgentRun {
            place: place.keep(strings),
            tool_id: call.tool_id.map(|id| strings.keep(id)),
            event_key,
            agent_id: None,
            agent_type,
            model,
            status: None,
            is_sidechain: call.is_sidechain,
            figures: RunFigures::default(),
        });
        self.runs.len() - 1
    }

    /// Adds the result of a run: the details in the format of the tool, if there are any.
    pub fn end(
        &mut self,
        strings: &mut Strings,
        run: usize,
        details: Option<Json<'_>>,
        is_error: bool,
    ) {
        let field = |field: &str| details.and_then(|details| details.field(field));
        let text = |name: &str| field(name).and_then(|value| value.text());
        let usage = field("usage");
        let figure = |name: &str| count(usage.and_then(|usage| usage.field(name)));
        let record = &mut self.runs[run];
        record.figures = RunFigures {
            tokens: count(field("totalTokens")),
            duration_ms: count(field("totalDurationMs")),
            tool_uses: count(field("totalToolUseCount")),
            input: figure("input_tokens"),
            output: figure("output_tokens"),
            cache_read: figure("cache_read_input_tokens"),
            cache_creation: figure("cache_creation_input_tokens"),
        };
        let status = strings.intern_text(text("status"));
        record.status = status.or_else(|| is_error.then(|| strings.intern("error")));
        let agent_type = record.agent_type;
        record.agent_type = agent_type.or_else(|| strings.intern_text(text("agentType")));
        let model = strings.intern_text(text("resolvedModel"));
        record.model = model.or(record.model);
        if let Some(agent_id) = text("agentId") {
            self.set_agent(strings, run, agent_id);
        }
    }

    /// Records which sub-agent runs.
    pub fn set_agent(&mut self, strings: &mut Strings, run: usize, agent_id: Text<'_>) {
        let record = &mut self.runs[run];
        if record.agent_id.is_none() {
            record.agent_id = strings.intern_text(Some(agent_id));
        }
        if let (Some(agent_id), Some(agent_type)) = (record.agent_id, record.agent_type) {
            self.types.entry(agent_id).or_insert(agent_type);
        }
    }

    /// The type of a sub-agent that this transcript started.
    pub fn type_of(&self, agent_id: Span) -> Option<Span> {
        self.types.get(&agent_id).copied()
    }

    /// The rows of the table.
    pub fn rows<'a>(&'a self, owner: &'a Owner<'a>) -> impl Iterator<Item = AgentRunRow<'a>> {
        self.runs.iter().map(|run| run.row(owner))
    }
}

impl AgentRun {
    fn row<'a>(&self, owner: &'a Owner<'a>) -> AgentRunRow<'a> {
        let string = |span: Option<Span>| span.map(|span| owner.strings.get(span));
        AgentRunRow {
            session_id: string(self.place.session_id).unwrap_or(owner.session_id),
            username: owner.username,
            line: self.place.line,
            tool_id: string(self.tool_id),
            agent_id: string(self.agent_id),
            agent_type: string(self.agent_type),
            model: string(self.model),
            status: string(self.status),
            total_tokens: self.figures.tokens,
            total_duration_ms: self.figures.duration_ms,
            tool_uses: self.figures.tool_uses,
            input_tokens: self.figures.input,
            output_tokens: self.figures.output,
            cache_read_tokens: self.figures.cache_read,
            cache_creation_tokens: self.figures.cache_creation,
            is_sidechain: self.is_sidechain,
            occurred_at: self.place.occurred_at.or(owner.first_time),
            event_key: string(self.event_key),
            file_started_at: owner.first_time,
            file_ended_at: owner.last_time,
            is_own_session: self.place.is_own_session,
            first_run: None,
            is_superseded: false,
        }
    }
}
