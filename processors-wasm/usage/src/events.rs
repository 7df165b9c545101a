//! The table `usage.events`: calls of tools, skills, sub-agents and MCP servers, and slash
//! commands.

mod counts;
mod items;
mod matching;
mod reads;
mod row;
mod subject;
mod timing;

pub use counts::EventCounts;
pub use reads::Reread;
pub use row::EventRow;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use session_pipeline_processor::Timestamp;
use session_pipeline_processor::json::Text;
use session_pipeline_processor::transcript::commands;
use session_pipeline_processor::transcript::{Content, Entry, Kind, Message, ToolUse};

use crate::agents::Agent;
use crate::errors::ErrorClass;
use crate::events::matching::{Answer, CallIds, CallResult};
use crate::events::reads::Reads;
use crate::events::subject::{Subject, plugin_of, subject_of};
use crate::events::timing::AgentRun;
use crate::identity::{Keys, is_unique};
use crate::index;
use crate::messages::Line;
use crate::place::{KeptPlace, Place};
use crate::strings::{Span, Strings, hash};
use crate::{BEGINNING_BYTES, Owner};

/// The events of a transcript, in order. Each call and command occurs once.
#[derive(Serialize, Deserialize)]
pub struct Events {
    records: Vec<Record>,
    ids: CallIds,
    /// Records with a separate key, by key.
    #[serde(with = "crate::index")]
    by_key: HashTable<usize>,
    reads: Reads,
    keys: Keys,
}

/// The response of the model that calls and results belong to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// Its number. `None` if it has no usage.
    pub response: Option<usize>,
    /// Its identity across files. `None` if it has no usage.
    pub identity: Option<Span>,
    /// The agent. `None` if it is a sub-agent without an id.
    pub agent: Option<Agent>,
    /// How often the conversation of the agent was compacted so far.
    pub compactions: u32,
}

/// A call, for comparisons with other calls.
#[derive(Clone, Copy, Debug)]
pub struct EventCall {
    /// The number of its line.
    pub line: u64,
    /// The time of the call.
    pub occurred_at: Option<Timestamp>,
    /// The name of the tool.
    pub tool: Option<Span>,
    /// A hash of the tool and its input.
    pub content: u64,
    /// See [`Caller`].
    pub response: Option<usize>,
    /// See [`Caller`].
    pub agent: Option<Agent>,
    /// The result, if there is one.
    pub end: Option<CallEnd>,
}

/// The end of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallEnd {
    /// The line of the result.
    pub line: u64,
    /// The class of the failure, if the call failed.
    pub failure: Option<ErrorClass>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    place: KeptPlace,
    /// The timestamp of the line. Unlike in `place`, never that of another line.
    called_at: Option<Timestamp>,
    uuid: Option<Span>,
    parent_uuid: Option<Span>,
    tool_id: Option<Span>,
    tool_name: Option<Span>,
    model: Option<Span>,
    subject: Subject,
    /// The part before the colon of an identifier `plugin:local`.
    plugin: Option<Span>,
    is_sidechain: bool,
    /// See [`EventRow`].
    event_key: Option<Span>,
    /// A hash of the tool and its input. 0 for commands.
    content: u64,
    /// The response that made the call.
    response: Option<usize>,
    agent: Option<Agent>,
    answer: Option<Answer>,
    /// The previous unanswered call with the same id.
    next_unanswered: Option<usize>,
}

/// Data that all events of an entry share, borrowed from the line.
struct Source<'e, 'a> {
    place: &'e Place<'a>,
    called_at: Option<Timestamp>,
    uuid: Option<Text<'a>>,
    parent_uuid: Option<Text<'a>>,
    model: Option<Text<'a>>,
    is_sidechain: bool,
}

impl Events {
    /// No events yet. `keys` identifies commands.
    pub fn new(keys: Keys) -> Self {
        Self {
            records: Vec::new(),
            ids: CallIds::default(),
            by_key: HashTable::new(),
            reads: Reads::default(),
            keys,
        }
    }

    /// Adds the commands of an entry, and its result if the entry is one.
    pub fn add_own<'a>(&mut self, strings: &mut Strings, place: &Place<'a>, entry: &Entry<'a>) {
        let is_command = match entry.kind {
            Kind::User => true,
            Kind::System => entry.subtype.is_some_and(|kind| kind == "local_command"),
            _ => false,
        };
        if is_command {
            let source = Source {
                place,
                called_at: entry.timestamp,
                uuid: entry.uuid,
                parent_uuid: entry.parent_uuid,
                model: None,
                is_sidechain: entry.is_sidechain,
            };
            self.add_commands(strings, &source, entry.says());
        }
        if entry.kind == Kind::ToolUseResult {
            let text = entry.content.texts().next().map(|text| text.decode());
            let failure = entry
                .is_error
                .then(|| ErrorClass::of(text.as_deref().unwrap_or_default()));
            let result = CallResult {
                id: entry.tool_use_id,
                uuid: entry.uuid,
                failure,
                line: place.line,
                finished_at: entry.timestamp,
                is_unique: None,
            };
            self.add_result(strings, entry, &result);
        }
    }

    /// Adds the calls and results of a message. The message belongs to the entry or is embedded in
    /// it.
    pub fn add_message<'a>(
        &mut self,
        strings: &mut Strings,
        place: &Place<'a>,
        entry: &Entry<'a>,
        line: Line<'a>,
        message: &Message<'a>,
        caller: Caller,
    ) {
        let source = Source {
            place,
            called_at: entry.timestamp,
            uuid: line.uuid,
            parent_uuid: entry.parent_uuid,
            model: message.model,
            is_sidechain: line.is_sidechain,
        };
        for tool_use in message.content.tool_uses() {
            self.add_call(strings, &source, message, &caller, tool_use);
        }
        for result in message.content.tool_results() {
            let content = result.content;
            let failure = result
                .is_error
                .then(|| ErrorClass::of(result.text().as_deref().unwrap_or_default()));
            let result = CallResult {
                id: result.tool_use_id,
                uuid: line.uuid,
                failure,
                line: place.line,
                finished_at: entry.timestamp,
                is_unique: None,
            };
            let answered = self.add_result(strings, entry, &result);
            if let (Some(event), Some(content), None) = (answered, content, failure) {
                self.reads.add_result(event, content, caller.compactions);
            }
        }
    }

    fn add_call(
        &mut self,
        strings: &mut Strings,
        source: &Source<'_, '_>,
        message: &Message<'_>,
        caller: &Caller,
        tool_use: &ToolUse<'_>,
    ) {
        let tool_id = tool_use.id.filter(|id| !id.is_empty());
        let tool_id = tool_id.map(|id| id.decode());
        let tool_id = tool_id.as_deref();
        let content = content_of(tool_use);
        let key = match tool_id {
            // A unique id identifies the call in every file.
            Some(id) if is_unique(id) => {
                if self.ids.is_called(strings, id) {
                    return;
                }
                None
            }
            _ => {
                let response = self.response(strings, source, message, caller.identity);
                let base = format!("{response}/{}", tool_id.unwrap_or_default());
                let Some(key) = self.free_key(strings, source, base, content) else {
                    return;
                };
                Some(key)
            }
        };
        let name = tool_use.name.map(|name| name.decode()).unwrap_or_default();
        let (subject, plugin) = subject_of(strings, &name, tool_use);
        let record = Record {
            tool_id: tool_id.map(|id| strings.keep(id)),
            tool_name: (!name.is_empty()).then(|| strings.intern(&name)),
            event_key: key.map(|key| strings.keep(&key)),
            content,
            response: caller.response,
            agent: caller.agent,
            ..source.record(strings, subject, plugin)
        };
        self.push(strings, record);
        let event = self.records.len() - 1;
        self.reads
            .add_call(strings, event, caller, &name, tool_use, content);
        if let Some(id) = tool_id {
            self.ids.call(strings, &mut self.records, id);
        }
    }

    /// Identifies the response that makes the calls, because the ids of its calls can recur.
    fn response(
        &self,
        strings: &Strings,
        source: &Source<'_, '_>,
        message: &Message<'_>,
        response: Option<Span>,
    ) -> String {
        if let Some(response) = response {
            return strings.get(response).to_owned();
        }
        let id = message.id.map(|id| id.decode()).unwrap_or_default();
        if is_unique(&id) {
            return id.into_owned();
        }
        match source.uuid.filter(|uuid| !uuid.is_empty()) {
            Some(uuid) => format!("line:{}", uuid.decode()),
            None => self.keys.once(source.place, &id),
        }
    }

    /// Returns a key that no call has. `None` for a copy of a known call, which is the same line
    /// written again. All calls on a line, and calls on different lines of a response, are
    /// different calls, even if a gateway assigns the same id to all of them.
    fn free_key(
        &self,
        strings: &Strings,
        source: &Source<'_, '_>,
        base: String,
        content: u64,
    ) -> Option<String> {
        let uuid = source.uuid.filter(|uuid| !uuid.is_empty());
        let uuid = uuid.map(|uuid| uuid.decode());
        let mut key = base.clone();
        let mut repeat = 1_u64;
        while let Some(at) = self.find_key(strings, &key) {
            let record = &self.records[at];
            let is_same_line = record.uuid.map(|uuid| strings.get(uuid)) == uuid.as_deref();
            if is_same_line && record.place.line != source.place.line && record.content == content {
                return None;
            }
            repeat += 1;
            key = format!("{base}#{repeat}");
        }
        Some(key)
    }

    /// Returns the call that the result answers.
    fn add_result(
        &mut self,
        strings: &mut Strings,
        entry: &Entry<'_>,
        result: &CallResult<'_>,
    ) -> Option<usize> {
        let at = self.ids.answer(strings, &mut self.records, result)?;
        let record = &mut self.records[at];
        // The result of a sub-agent is large, so it is only read for calls of sub-agents.
        if let Subject::Subagent(_) = record.subject
            && let Some(answer) = &mut record.answer
        {
            answer.run = entry.tool_use_result.and_then(AgentRun::of);
        }
        Some(at)
    }

    fn add_commands(
        &mut self,
        strings: &mut Strings,
        source: &Source<'_, '_>,
        content: &Content<'_>,
    ) {
        let uuid = source.uuid.filter(|uuid| !uuid.is_empty());
        let uuid = uuid.map(|uuid| uuid.decode());
        let mut count = 0_u64;
        for text in content.texts() {
            if !commands::begins_as_command(&text.beginning(BEGINNING_BYTES)) {
                continue;
            }
            for name in commands::names(&text.decode()) {
                count += 1;
                let key = self.keys.of_line(source.place, uuid.as_deref(), name);
                let key = format!("{key}/command:{count}");
                if self.find_key(strings, &key).is_some() {
                    continue;
                }
                let subject = Subject::Command(strings.intern(name));
                let plugin = plugin_of(strings, name);
                let record = Record {
                    event_key: Some(strings.keep(&key)),
                    ..source.record(strings, subject, plugin)
                };
                self.push(strings, record);
            }
        }
    }

    /// Completes events that were loaded from a state.
    pub fn rebuild_indexes(&mut self, strings: &Strings) {
        let records = &self.records;
        index::rebuild(&mut self.by_key, |at| {
            hash(records[*at].key(strings).unwrap_or_default())
        });
        self.ids.rebuild_index(strings);
    }

    fn push(&mut self, strings: &Strings, record: Record) {
        let at = self.records.len();
        self.records.push(record);
        let records = &self.records;
        let rehash = |at: &usize| hash(records[*at].key(strings).unwrap_or_default());
        if records[at].event_key.is_some() {
            self.by_key.insert_unique(rehash(&at), at, rehash);
        }
    }

    fn find_key(&self, strings: &Strings, key: &str) -> Option<usize> {
        let is_same = |at: &usize| self.records[*at].key(strings) == Some(key);
        self.by_key.find(hash(key), is_same).copied()
    }

    /// The number of events.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no events.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The calls, in order.
    pub fn calls(&self) -> impl Iterator<Item = EventCall> {
        let is_call = |record: &&Record| !matches!(record.subject, Subject::Command(_));
        self.records.iter().filter(is_call).map(Record::call)
    }

    /// The call of an event.
    pub fn call(&self, event: usize) -> Option<EventCall> {
        self.records.get(event).map(Record::call)
    }

    /// The reads whose result repeats an earlier one.
    pub fn rereads(&self) -> &[Reread] {
        self.reads.rereads()
    }

    /// The rows of the table.
    pub fn rows<'a>(&'a self, owner: &'a Owner<'a>) -> impl Iterator<Item = EventRow<'a>> {
        self.records.iter().map(|record| record.row(owner))
    }
}

impl Source<'_, '_> {
    fn record(&self, strings: &mut Strings, subject: Subject, plugin: Option<Span>) -> Record {
        Record {
            place: self.place.keep(strings),
            called_at: self.called_at,
            uuid: strings.keep_text(self.uuid),
            parent_uuid: strings.keep_text(self.parent_uuid),
            tool_id: None,
            tool_name: None,
            model: strings.intern_text(self.model),
            subject,
            plugin,
            is_sidechain: self.is_sidechain,
            event_key: None,
            content: 0,
            response: None,
            agent: None,
            answer: None,
            next_unanswered: None,
        }
    }
}

/// A hash of the tool and its input.
fn content_of(tool_use: &ToolUse<'_>) -> u64 {
    let name = tool_use.name.map(|name| name.decode());
    let input = tool_use.input.map(|input| input.raw());
    hash(&(name, input))
}

impl Record {
    fn key<'a>(&self, strings: &'a Strings) -> Option<&'a str> {
        Some(strings.get(self.event_key?))
    }

    /// The class of the failure, if the call failed.
    fn failure(&self) -> Option<ErrorClass> {
        self.answer?.failure
    }

    fn call(&self) -> EventCall {
        EventCall {
            line: self.place.line,
            occurred_at: self.place.occurred_at,
            tool: self.tool_name,
            content: self.content,
            response: self.response,
            agent: self.agent,
            end: self.answer.map(|answer| CallEnd {
                line: answer.line,
                failure: answer.failure,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use session_pipeline_processor::SessionInfo;
    use session_pipeline_processor::native::MemoryHost;
    use session_pipeline_processor::table::{OwnedValue, Row};

    use super::EventRow;
    use crate::Usage;

    /// Runs the processor and shows the content of each row of `usage.events`: all texts except for
    /// its position.
    fn check(lines: &[&str], expected: &[&str]) {
        let host = MemoryHost::new(lines.join("\n").into_bytes());
        host.run::<Usage>(&SessionInfo::new("alice/s.jsonl"))
            .unwrap();
        let names = EventRow::table().columns;
        let show = |row: &Vec<OwnedValue>| {
            let cells = names
                .iter()
                .zip(row)
                .filter_map(|(column, value)| match value {
                    OwnedValue::Text(text)
                        if !["agent", "session_id", "username", "event_key"]
                            .contains(&&*column.name) =>
                    {
                        Some(text.as_str())
                    }
                    OwnedValue::Bool(true) if column.name == "is_sidechain" => Some("sidechain"),
                    _ => None,
                });
            cells.collect::<Vec<_>>().join(" ")
        };
        let found: Vec<_> = host.rows("events").iter().map(show).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn names_and_inputs_say_what_a_call_is() {
        check(
            &[
                r#"{"type":"assistant","message":{"model":"m","content":[{"type":"tool_use","id":"1","name":"Bash","input":{"command":null}}]}}"#,
                r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"2","name":"Skill","input":{"skill":"plug:review"}}]}}"#,
                r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"3","name":"Task","input":{"subagent_type":"Explore"}},{"type":"tool_use","id":"4","name":"Agent","input":{}}]}}"#,
                r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"5","name":"mcp__git_hub__create__issue"}]}}"#,
                r#"{"type":"user","message":{"content":"<command-name>/plug:go</command-name>"}}"#,
                r#"{"type":"system","subtype":"local_command","content":"<command-name>/mcp</command-name>"}"#,
            ],
            &[
                "tool_use 1 Bash builtin m",
                "tool_use 2 Skill plug:review plug plugin",
                "subagent 3 Task Explore builtin",
                "subagent 4 Agent Agent builtin",
                "mcp_call 5 mcp__git_hub__create__issue git_hub mcp",
                "slash_command plug:go plug plugin",
                "slash_command mcp builtin",
            ],
        );
    }

    #[test]
    fn a_call_counts_once_and_fails_with_any_result_before_or_behind_it() {
        check(
            &[
                r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"toolu_0123456789abcdef2","is_error":true,"content":"Exit code 1"}]}}"#,
                r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"toolu_0123456789abcdef1","name":"Read"}]}}"#,
                r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"toolu_0123456789abcdef1","name":"Read"},{"type":"tool_use","id":"toolu_0123456789abcdef2","name":"Bash"}]}}"#,
                r#"{"type":"tool_use_result","toolUseId":"toolu_0123456789abcdef1","is_error":true}"#,
            ],
            &[
                "tool_use toolu_0123456789abcdef1 Read builtin tool_error",
                "tool_use toolu_0123456789abcdef2 Bash builtin exit_code",
            ],
        );
    }

    fn call(uuid: &str, message: &str, id: &str, command: &str) -> String {
        format!(
            r#"{{"type":"assistant","uuid":"{uuid}","message":{{"id":"{message}","content":[{{"type":"tool_use","id":"{id}","name":"Bash","input":{{"command":"{command}"}}}}],"usage":{{"input_tokens":1,"output_tokens":1}}}},"requestId":"r-{message}"}}"#
        )
    }

    fn result(uuid: &str, id: &str, is_error: bool) -> String {
        format!(
            r#"{{"type":"user","uuid":"{uuid}","message":{{"content":[{{"type":"tool_result","tool_use_id":"{id}","is_error":{is_error},"content":"Exit code 1"}}]}}}}"#
        )
    }

    #[test]
    fn ids_that_start_over_are_calls_of_their_own_and_a_result_answers_the_nearest() {
        let lines = [
            call("u1", "k1", "Bash:0", "ls"),
            result("r1", "Bash:0", false),
            call("u2", "k2", "Bash:0", "make"),
            // Call and result, each written twice.
            call("u2", "k2", "Bash:0", "make"),
            result("r2", "Bash:0", true),
            result("r2", "Bash:0", true),
            call("u3", "k3", "Bash:0", "ls"),
            call("u4", "k4", "Bash:0", "ls"),
            result("r4", "Bash:0", true),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check(
            &lines,
            &[
                "u1 tool_use Bash:0 Bash builtin",
                "u2 tool_use Bash:0 Bash builtin exit_code",
                "u3 tool_use Bash:0 Bash builtin",
                "u4 tool_use Bash:0 Bash builtin exit_code",
            ],
        );
    }

    #[test]
    fn an_id_may_come_up_again_within_one_response() {
        let both = r#"{"type":"assistant","uuid":"u1","message":{"id":"k1","content":[{"type":"tool_use","id":"call_0","name":"Bash","input":{"command":"ls"}},{"type":"tool_use","id":"call_0","name":"Bash","input":{"command":"ls"}}],"usage":{"input_tokens":1}}}"#;
        let expected = [
            "u1 tool_use call_0 Bash builtin",
            "u1 tool_use call_0 Bash builtin",
        ];
        check(&[both, both], &expected);
        // One line per block, as agents write them. The last line is written twice.
        let lines = [
            call("u1", "k1", "call_0", "ls"),
            call("u2", "k1", "call_0", "ls"),
            call("u2", "k1", "call_0", "ls"),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check(
            &lines,
            &[
                "u1 tool_use call_0 Bash builtin",
                "u2 tool_use call_0 Bash builtin",
            ],
        );
    }

    #[test]
    fn a_call_ends_with_its_first_result() {
        let call = |id: &str, name: &str, second: u32| {
            format!(
                r#"{{"type":"assistant","timestamp":"1970-01-01T00:00:{second:02}Z","message":{{"content":[{{"type":"tool_use","id":"{id}","name":"{name}"}}]}}}}"#
            )
        };
        let result = |id: &str, fields: &str| {
            format!(
                r#"{{"type":"user",{fields}"message":{{"content":[{{"type":"tool_result","tool_use_id":"{id}"}}]}}}}"#
            )
        };
        let lines = [
            call("1", "Bash", 1),
            call("2", "Task", 1),
            call("3", "Task", 2),
            call("4", "Bash", 9),
            call("5", "Bash", 9),
            call("6", "Bash", 9),
            result("1", r#""timestamp":"1970-01-01T00:00:03.250Z","#),
            result("1", r#""timestamp":"1970-01-01T00:00:08Z","#),
            result(
                "2",
                r#""timestamp":"1970-01-01T00:00:04Z","toolUseResult":{"totalDurationMs":2750},"#,
            ),
            result(
                "3",
                r#""timestamp":"1970-01-01T00:00:05Z","toolUseResult":{"status":"async_launched"},"#,
            ),
            result("4", r#""timestamp":"1970-01-01T00:00:08Z","#),
            result("5", ""),
        ];
        let host = MemoryHost::new(lines.join("\n").into_bytes());
        host.run::<Usage>(&SessionInfo::new("alice/s.jsonl"))
            .unwrap();
        let found: Vec<_> = host
            .rows("events")
            .iter()
            .map(|row| {
                let [.., duration, finished_at, _agent] = &row[..] else {
                    panic!()
                };
                match (duration, finished_at) {
                    (OwnedValue::S64(duration), OwnedValue::Timestamp(at)) => {
                        (Some(*duration), Some(*at))
                    }
                    (OwnedValue::Null, OwnedValue::Timestamp(at)) => (None, Some(*at)),
                    (_, _) => (None, None),
                }
            })
            .collect();
        assert_eq!(
            found,
            [
                (Some(2_250), Some(3_250_000)),
                (Some(2_750), Some(4_000_000)),
                (None, Some(5_000_000)),
                // Time went back.
                (None, Some(8_000_000)),
                // A result without a time, and no result.
                (None, None),
                (None, None),
            ]
        );
    }

    #[test]
    fn calls_of_sub_agents_are_found_in_progress() {
        check(
            &[
                r#"{"type":"progress","uuid":"outer","data":{"type":"agent_progress","message":{"uuid":"inner","message":{"content":[{"type":"tool_use","id":"1","name":"Grep"}]}}}}"#,
                r#"{"type":"progress","data":{"type":"agent_progress","message":{"message":{"content":[{"type":"tool_result","tool_use_id":"1","is_error":true,"content":"User rejected tool use"}]}}}}"#,
            ],
            &["inner tool_use 1 Grep builtin rejected sidechain"],
        );
    }
}
