//! The table `usage.agent_runs`: the runs of sub-agents that the model started.
//!
//! The transcript of a sub-agent is not always there. What its parent knows about the run is then
//! all that is known, and a lower bound of what it cost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_pipeline_processor::json::{Json, Text};
use session_pipeline_processor::transcript::ToolUse;
use session_pipeline_processor::{Timestamp, rows};

use crate::Owner;
use crate::numbers::{count, milliseconds};
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
        /// The status that the agent reports, for example `completed` or `async_launched`. `error`
        /// for a failed call without one.
        status: Option<&'a str>,
        /// The tokens that the agent reports for the run: those of the sub-agent's last response,
        /// of all classes. `NULL` if it does not report them.
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
#[derive(Default, Serialize, Deserialize)]
pub struct AgentRuns {
    runs: Vec<AgentRun>,
    /// The latest run of each sub-agent by its id. The strings are interned.
    by_agent: BTreeMap<Span, usize>,
    /// The types of sub-agents by id.
    types: BTreeMap<Span, Span>,
}

/// The call that begins a run.
pub struct RunCall<'s, 'a> {
    /// The id of the call.
    pub tool_id: Option<&'s str>,
    /// Whether the id is unique by itself.
    pub is_unique: bool,
    /// The number of calls before it in the message.
    pub index: usize,
    /// The identity of the response that makes the call.
    pub response: Option<Span>,
    /// Whether a sub-agent makes the call.
    pub is_sidechain: bool,
    /// `uuid` of the line.
    pub uuid: Option<Text<'a>>,
}

#[derive(Serialize, Deserialize)]
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
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
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
            let id = match (call.tool_id, call.index) {
                (Some(id), _) => id.to_owned(),
                (None, 0) => String::new(),
                (None, index) => format!("#{}", index + 1),
            };
            strings.keep(&format!("{response}/{id}"))
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
            duration_ms: milliseconds(field("totalDurationMs")),
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
        let Some(agent_id) = record.agent_id else {
            return;
        };
        self.by_agent.insert(agent_id, run);
        if let Some(agent_type) = record.agent_type {
            self.types.entry(agent_id).or_insert(agent_type);
        }
    }

    /// Adds a notification that a sub-agent in the background has ended. The result of its call
    /// came when it began.
    pub fn notify(&mut self, strings: &mut Strings, notification: &str) {
        let agent_id = content_of("task-id", notification);
        let agent_id = agent_id.map(|id| strings.intern(id));
        let Some(run) = agent_id.and_then(|id| self.by_agent.get(&id)) else {
            return;
        };
        // The text of the result can contain anything, but the figures follow it.
        let usage = notification.rsplit_once("<usage>");
        let usage = usage.map_or("", |(_, usage)| usage);
        let figure = |tag: &str| {
            content_of(tag, usage)?
                .parse()
                .ok()
                .filter(|count| *count >= 0)
        };
        let record = &mut self.runs[*run];
        let figures = &mut record.figures;
        figures.tokens = figure("total_tokens").or(figures.tokens);
        figures.tool_uses = figure("tool_uses").or(figures.tool_uses);
        figures.duration_ms = figure("duration_ms").or(figures.duration_ms);
        if let Some(status) = content_of("status", notification) {
            record.status = Some(strings.intern(status));
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

/// The content of the first tag with this name.
fn content_of<'t>(tag: &str, text: &'t str) -> Option<&'t str> {
    let (_, behind) = text.split_once(&format!("<{tag}>"))?;
    let (content, _) = behind.split_once(&format!("</{tag}>"))?;
    let content = content.trim();
    (!content.is_empty()).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::AgentRunRow;
    use crate::testing::check;

    fn call(uuid: &str, message: &str, id: &str, input: &str) -> String {
        format!(
            r#"{{"type":"assistant","uuid":"{uuid}","timestamp":"1970-01-01T00:00:01Z","message":{{"id":"{message}","content":[{{"type":"tool_use","id":"{id}","name":"Agent","input":{{{input}}}}}],"usage":{{"output_tokens":1}}}}}}"#
        )
    }

    fn result(id: &str, is_error: bool, details: &str) -> String {
        format!(
            r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"{id}","is_error":{is_error},"content":"x"}}]}},"toolUseResult":{details}}}"#
        )
    }

    #[test]
    fn a_run_has_the_figures_of_its_result() {
        let id = "toolu_0123456789abcdef";
        let details = r#"{"status":"completed","agentId":"a1","totalTokens":68,"totalDurationMs":900,"totalToolUseCount":18,"usage":{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":60,"cache_creation_input_tokens":5},"resolvedModel":"small-1"}"#;
        let lines = [
            call("u1", "k1", id, r#""subagent_type":"Plan","model":"small""#),
            result(id, false, details),
            // Copies.
            call("u1", "k1", id, r#""subagent_type":"Plan","model":"small""#),
            result(id, false, details),
            // Without a result.
            call("u2", "k2", "toolu_0123456789abcdeg", r#""model":"small""#),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let columns = "line tool_id agent_id agent_type model status total_tokens \
                       total_duration_ms tool_uses input_tokens output_tokens cache_read_tokens \
                       cache_creation_tokens occurred_at event_key";
        check::<AgentRunRow<'_>>(
            "ada/s.jsonl",
            &lines,
            columns,
            &[
                "1 toolu_0123456789abcdef a1 Plan small-1 completed 68 900 18 1 2 60 5 1000000 -",
                "5 toolu_0123456789abcdeg - - small - - - - - - - - 1000000 -",
            ],
        );
    }

    #[test]
    fn a_result_without_figures_has_none() {
        let lines = [
            call("u1", "k1", "t1", ""),
            result("t1", true, r#""Error: no such agent""#),
            call("u2", "k2", "t2", ""),
            result(
                "t2",
                false,
                r#"{"status":"async_launched","agentId":"a2","agentType":"Plan","totalTokens":-1}"#,
            ),
            call("u3", "k3", "t3", ""),
            result("t3", false, r#"[{"type":"text"}]"#),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check::<AgentRunRow<'_>>(
            "ada/s.jsonl",
            &lines,
            "tool_id agent_id agent_type status total_tokens",
            &[
                "t1 - - error -",
                "t2 a2 Plan async_launched -",
                "t3 - - - -",
            ],
        );
    }

    #[test]
    fn ids_that_start_over_are_runs_of_their_own() {
        let lines = [
            call("u1", "k1", "Agent:0", ""),
            result("Agent:0", false, r#"{"totalTokens":1}"#),
            call("u1", "k1", "Agent:0", ""),
            call("u2", "k2", "Agent:0", ""),
            result("Agent:0", false, r#"{"totalTokens":2}"#),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check::<AgentRunRow<'_>>(
            "ada/s.jsonl",
            &lines,
            "tool_id total_tokens event_key",
            &["Agent:0 1 line:u1/Agent:0", "Agent:0 2 line:u2/Agent:0"],
        );
    }

    #[test]
    fn calls_without_an_id_are_known_by_their_position() {
        let tool = r#"{"type":"tool_use","name":"Task","input":{}}"#;
        let line = format!(
            r#"{{"type":"assistant","uuid":"u1","message":{{"content":[{tool},{tool}],"usage":{{"output_tokens":1}}}}}}"#
        );
        check::<AgentRunRow<'_>>(
            "ada/s.jsonl",
            &[&line, &line],
            "tool_id event_key",
            &["- line:u1/", "- line:u1/#2"],
        );
    }

    #[test]
    fn a_run_in_the_background_has_the_figures_of_its_notification() {
        let notification = |id: &str, usage: &str| {
            format!(
                r"<task-notification>\n<task-id>{id}</task-id>\n<status>completed</status>\n<result>a <usage><total_tokens>1</total_tokens></usage></result>\n<usage>{usage}</usage>\n</task-notification>"
            )
        };
        let figures = "<total_tokens>68</total_tokens><tool_uses>18</tool_uses><duration_ms>900</duration_ms>";
        let begun = |agent: &str| format!(r#"{{"status":"async_launched","agentId":"{agent}"}}"#);
        let lines = [
            call("u1", "k1", "t1", ""),
            result("t1", false, &begun("a1")),
            call("u2", "k2", "t2", ""),
            result("t2", false, &begun("a2")),
            format!(
                r#"{{"type":"user","message":{{"content":"{}"}}}}"#,
                notification("a1", figures)
            ),
            format!(
                r#"{{"type":"queue-operation","operation":"enqueue","content":"{}"}}"#,
                notification(
                    "a2",
                    "<total_tokens>-1</total_tokens><tool_uses>x</tool_uses>"
                )
            ),
            format!(
                r#"{{"type":"user","message":{{"content":"{}"}}}}"#,
                notification("a3", figures)
            ),
            // Text of the user.
            format!(
                r#"{{"type":"user","message":{{"content":"see {}"}}}}"#,
                notification("a2", figures)
            ),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check::<AgentRunRow<'_>>(
            "ada/s.jsonl",
            &lines,
            "agent_id status total_tokens tool_uses total_duration_ms",
            &["a1 completed 68 18 900", "a2 completed - - -"],
        );
    }
}
