//! Calls of tools, skills, sub-agents and MCP servers, and slash commands: the table
//! `usage.events`.

use hashbrown::HashTable;
use session_pipeline_processor::json::Text;
use session_pipeline_processor::transcript::{Content, Entry, Kind, Message, ToolUse};
use session_pipeline_processor::{Timestamp, rows};

use crate::errors::ErrorClass;
use crate::place::{KeptPlace, Place};
use crate::strings::{Span, Strings, hash};
use crate::{BEGINNING_BYTES, Owner, VERSION, commands};

rows! {
    /// One call, or one command.
    pub struct EventRow<'a> in "events" {
        /// The first `sessionId` of the file, else the session key.
        session_id: &'a str,
        /// Whose session it is.
        username: &'a str,
        /// The line that it stands on.
        line: u64,
        /// `uuid` of the entry.
        event_uuid: Option<&'a str>,
        /// `parentUuid` of the entry.
        parent_uuid: Option<&'a str>,
        /// `tool_use`, `subagent`, `mcp_call` or `slash_command`.
        event_type: &'static str,
        /// The id of the call.
        tool_id: Option<&'a str>,
        /// The tool.
        tool_name: Option<&'a str>,
        /// The skill, of tool `Skill`.
        skill_name: Option<&'a str>,
        /// The kind of sub-agent, of tools `Task` and `Agent`.
        subagent_type: Option<&'a str>,
        /// The command without its slash.
        command_name: Option<&'a str>,
        /// The plugin that brings skill, sub-agent or command.
        plugin: Option<&'a str>,
        /// The server of an MCP tool.
        mcp_server: Option<&'a str>,
        /// `builtin`, `plugin` or `mcp`.
        source: &'static str,
        /// Whether the call failed.
        is_error: bool,
        /// How it failed.
        error_class: Option<&'static str>,
        /// Whether it is a sub-agent's.
        is_sidechain: bool,
        /// The model that called.
        model: Option<&'a str>,
        /// Where the agent worked.
        cwd: Option<&'a str>,
        /// On which branch.
        git_branch: Option<&'a str>,
        /// The agent's version.
        agent_version: Option<&'a str>,
        /// When.
        occurred_at: Option<Timestamp>,
        /// The version of this processor.
        processor_version: u32,
    }
}

/// The events of a transcript, in its order; each call once, by its id.
#[derive(Default)]
pub struct Events {
    records: Vec<Record>,
    by_tool_id: HashTable<usize>,
    /// Ids of failed calls. A result may stand before its call, so they meet at the end.
    failures: Vec<(Span, ErrorClass)>,
}

/// How many events there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Calls of tools that are neither sub-agents nor of MCP servers.
    pub tool_calls: u64,
    /// Failed calls of any kind.
    pub tool_errors: u64,
    /// Calls of skills, which are calls of tools too.
    pub skill_invocations: u64,
    /// Calls of sub-agents.
    pub subagent_dispatches: u64,
    /// Calls of tools of MCP servers.
    pub mcp_calls: u64,
    /// Slash commands.
    pub slash_commands: u64,
    /// Different tools of any kind.
    pub distinct_tools: u64,
    /// Different skills.
    pub distinct_skills: u64,
}

struct Record {
    place: KeptPlace,
    uuid: Option<Span>,
    parent_uuid: Option<Span>,
    tool_id: Option<Span>,
    tool_name: Option<Span>,
    model: Option<Span>,
    subject: Subject,
    /// The part before the colon of an identifier `plugin:local`.
    plugin: Option<Span>,
    is_sidechain: bool,
}

/// What an event is about.
#[derive(Clone, Copy)]
enum Subject {
    Tool,
    Skill(Option<Span>),
    Subagent(Span),
    Mcp(Option<Span>),
    Command(Span),
}

/// What all events of an entry share, still borrowed from the line.
struct Source<'e, 'a> {
    place: &'e Place<'a>,
    uuid: Option<Text<'a>>,
    parent_uuid: Option<Text<'a>>,
    model: Option<Text<'a>>,
    is_sidechain: bool,
}

impl Events {
    /// Takes in the calls, results and commands of an entry.
    pub fn add<'a>(&mut self, strings: &mut Strings, place: &Place<'a>, entry: &Entry<'a>) {
        let mut source = Source {
            place,
            uuid: entry.uuid,
            parent_uuid: entry.parent_uuid,
            model: None,
            is_sidechain: entry.is_sidechain,
        };
        if let Some(message) = &entry.message {
            self.add_message(strings, &mut source, message);
        }
        let is_command = match entry.kind {
            Kind::User => true,
            Kind::System => entry.subtype.is_some_and(|kind| kind == "local_command"),
            _ => false,
        };
        if is_command {
            self.add_commands(strings, &source, entry.says());
        }
        if entry.kind == Kind::ToolUseResult && entry.is_error {
            let text = entry.content.texts().next().map(|text| text.decode());
            self.add_failure(strings, entry.tool_use_id, text.as_deref());
        }
        for sub_entry in entry.sub_agents() {
            if let Some(message) = &sub_entry.message {
                source.uuid = sub_entry.uuid.or(entry.uuid);
                source.is_sidechain = true;
                self.add_message(strings, &mut source, message);
            }
        }
    }

    fn add_message<'a>(
        &mut self,
        strings: &mut Strings,
        source: &mut Source<'_, 'a>,
        message: &Message<'a>,
    ) {
        source.model = message.model;
        for tool_use in message.content.tool_uses() {
            self.add_call(strings, source, tool_use);
        }
        for result in message.content.tool_results() {
            if result.is_error {
                self.add_failure(strings, result.tool_use_id, result.text().as_deref());
            }
        }
        source.model = None;
    }

    fn add_call(&mut self, strings: &mut Strings, source: &Source<'_, '_>, tool_use: &ToolUse<'_>) {
        let tool_id = tool_use.id.filter(|id| !id.is_empty());
        let tool_id = tool_id.map(|id| id.decode());
        if let Some(id) = tool_id.as_deref()
            && self.find(strings, id).is_some()
        {
            return;
        }
        let name = tool_use.name.map(|name| name.decode()).unwrap_or_default();
        let (subject, plugin) = subject_of(strings, &name, tool_use);
        let record = Record {
            tool_id: tool_id.as_deref().map(|id| strings.keep(id)),
            tool_name: (!name.is_empty()).then(|| strings.intern(&name)),
            ..source.record(strings, subject, plugin)
        };
        self.records.push(record);
        if let Some(id) = tool_id.as_deref() {
            let records = &self.records;
            let rehash = |at: &usize| hash(records[*at].tool_id(strings).unwrap_or_default());
            self.by_tool_id
                .insert_unique(hash(id), records.len() - 1, rehash);
        }
    }

    fn add_commands(
        &mut self,
        strings: &mut Strings,
        source: &Source<'_, '_>,
        content: &Content<'_>,
    ) {
        for text in content.texts() {
            if !commands::begins_as_command(&text.beginning(BEGINNING_BYTES)) {
                continue;
            }
            for name in commands::names(&text.decode()) {
                let subject = Subject::Command(strings.intern(name));
                let plugin = plugin_of(strings, name);
                self.records.push(source.record(strings, subject, plugin));
            }
        }
    }

    fn add_failure(&mut self, strings: &mut Strings, id: Option<Text<'_>>, text: Option<&str>) {
        if let Some(id) = strings.keep_text(id) {
            self.failures.push((id, ErrorClass::of(text.unwrap_or(""))));
        }
    }

    fn find(&self, strings: &Strings, id: &str) -> Option<usize> {
        let is_same = |at: &usize| self.records[*at].tool_id(strings) == Some(id);
        self.by_tool_id.find(hash(id), is_same).copied()
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How each event failed, if it did.
    fn outcomes(&self, strings: &Strings) -> Vec<Option<ErrorClass>> {
        let mut outcomes = vec![None; self.records.len()];
        for (id, class) in &self.failures {
            if let Some(at) = self.find(strings, strings.get(*id)) {
                outcomes[at].get_or_insert(*class);
            }
        }
        outcomes
    }

    /// The sums.
    pub fn counts(&self, strings: &Strings) -> EventCounts {
        let mut counts = EventCounts::default();
        let (mut tools, mut skills) = (Vec::new(), Vec::new());
        for record in &self.records {
            tools.extend(record.tool_name);
            match record.subject {
                Subject::Tool => counts.tool_calls += 1,
                Subject::Skill(skill) => {
                    counts.tool_calls += 1;
                    counts.skill_invocations += u64::from(skill.is_some());
                    skills.extend(skill);
                }
                Subject::Subagent(_) => counts.subagent_dispatches += 1,
                Subject::Mcp(_) => counts.mcp_calls += 1,
                Subject::Command(_) => counts.slash_commands += 1,
            }
        }
        counts.tool_errors = self.outcomes(strings).iter().flatten().count() as u64;
        counts.distinct_tools = count_distinct(tools);
        counts.distinct_skills = count_distinct(skills);
        counts
    }

    /// The rows.
    pub fn rows<'a>(&'a self, owner: &'a Owner<'a>) -> impl Iterator<Item = EventRow<'a>> {
        let outcomes = self.outcomes(owner.strings);
        let records = self.records.iter().zip(outcomes);
        records.map(|(record, outcome)| record.row(owner, outcome))
    }
}

impl Source<'_, '_> {
    fn record(&self, strings: &mut Strings, subject: Subject, plugin: Option<Span>) -> Record {
        Record {
            place: self.place.keep(strings),
            uuid: strings.keep_text(self.uuid),
            parent_uuid: strings.keep_text(self.parent_uuid),
            tool_id: None,
            tool_name: None,
            model: strings.intern_text(self.model),
            subject,
            plugin,
            is_sidechain: self.is_sidechain,
        }
    }
}

/// What the call of a tool is about, and the plugin behind it.
fn subject_of(
    strings: &mut Strings,
    tool: &str,
    tool_use: &ToolUse<'_>,
) -> (Subject, Option<Span>) {
    if tool == "Skill" {
        // The field was named otherwise in older versions.
        let fields = ["skill", "name", "command"];
        let skill = fields.iter().find_map(|field| tool_use.input_text(field));
        let plugin = skill.as_deref().and_then(|skill| plugin_of(strings, skill));
        let skill = skill.map(|skill| strings.intern(&skill));
        return (Subject::Skill(skill), plugin);
    }
    if tool == "Task" || tool == "Agent" {
        let kind = tool_use.input_text("subagent_type");
        let kind = kind.as_deref().unwrap_or(tool);
        let plugin = plugin_of(strings, kind);
        return (Subject::Subagent(strings.intern(kind)), plugin);
    }
    if let Some(name) = tool.strip_prefix("mcp__") {
        let server = name.split_once("__").map_or(name, |(server, _)| server);
        let server = (!server.is_empty()).then(|| strings.intern(server));
        return (Subject::Mcp(server), None);
    }
    (Subject::Tool, None)
}

/// The plugin of an identifier `plugin:local`.
fn plugin_of(strings: &mut Strings, identifier: &str) -> Option<Span> {
    let (plugin, local) = identifier.split_once(':')?;
    (!plugin.is_empty() && !local.is_empty()).then(|| strings.intern(plugin))
}

fn count_distinct(mut names: Vec<Span>) -> u64 {
    // Interned names: equal spans are equal names.
    names.sort_unstable();
    names.dedup();
    names.len() as u64
}

impl Record {
    fn tool_id<'a>(&self, strings: &'a Strings) -> Option<&'a str> {
        Some(strings.get(self.tool_id?))
    }

    fn row<'a>(&self, owner: &'a Owner<'a>, outcome: Option<ErrorClass>) -> EventRow<'a> {
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
            is_error: outcome.is_some(),
            error_class: outcome.map(ErrorClass::name),
            is_sidechain: self.is_sidechain,
            model: string(self.model),
            cwd: string(self.place.cwd),
            git_branch: string(self.place.git_branch),
            agent_version: string(self.place.agent_version),
            occurred_at: self.place.occurred_at.or(owner.first_time),
            processor_version: VERSION,
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

    /// Runs the processor and shows what each row of `usage.events` is about: all texts of it
    /// but those that say where it stands.
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
                        if !["session_id", "username"].contains(&&*column.name) =>
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
                r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"2","is_error":true,"content":"Exit code 1"}]}}"#,
                r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"1","name":"Read"}]}}"#,
                r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"1","name":"Read"},{"type":"tool_use","id":"2","name":"Bash"}]}}"#,
                r#"{"type":"tool_use_result","toolUseId":"1","is_error":true}"#,
            ],
            &[
                "tool_use 1 Read builtin tool_error",
                "tool_use 2 Bash builtin exit_code",
            ],
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
