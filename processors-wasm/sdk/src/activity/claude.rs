//! Converts the entries of Claude Code to items.
//!
//! Entries say more than items. A processor that needs the rest reads
//! [`Session::transcript`](crate::Session::transcript).

use std::cell::Cell;

use crate::activity::{
    Call, CallFailure, CallResult, CallTarget, CodingAgent, Item, Origin, Prompt, Request,
    SessionFacts,
};
use crate::json::Text;
use crate::transcript::prompts::{is_prompt, queued_prompt, typed_text};
use crate::transcript::{
    Content, Entry, Iteration, IterationKind, Kind, Message, ToolResult, ToolUse, commands,
};

/// Number of bytes of a text that decide what it is.
const BEGINNING_BYTES: usize = 512;

/// Beginnings of results of calls that a person rejected.
const REJECTIONS: &[&str] = &[
    "The user doesn't want to ",
    "The user rejected ",
    "User rejected ",
    "Permission for this tool use was denied",
    "[Request interrupted by user",
];

type Each<'e> = &'e mut dyn FnMut(&Origin<'_>, &Item<'_>);

/// The state of a file.
#[derive(Default)]
pub(super) struct ClaudeReader {
    /// The session of the first entry. Entries of other sessions are their history.
    first_session: Option<String>,
    entrypoint: Option<String>,
}

/// A message, with the data of the line that contains it.
struct Spoken<'e, 'a> {
    message: &'e Message<'a>,
    uuid: Option<Text<'a>>,
    request_id: Option<Text<'a>>,
    effort: Option<Text<'a>>,
    is_api_error: bool,
}

impl ClaudeReader {
    /// Passes the items of an entry to `each`.
    pub(super) fn read(&mut self, line: u64, entry: &Entry<'_>, each: Each<'_>) {
        let origin = self.origin(line, entry);
        let is_empty = Cell::new(true);
        let mut each = |origin: &Origin<'_>, item: &Item<'_>| {
            is_empty.set(false);
            each(origin, item);
        };
        self.read_facts(&origin, entry, &mut each);
        read_texts(&origin, entry, &mut each);
        if let Some(message) = &entry.message
            && entry.kind != Kind::ApiRequest
        {
            let spoken = Spoken {
                message,
                uuid: entry.uuid,
                request_id: entry.request_id,
                effort: entry.effort,
                is_api_error: entry.is_api_error,
            };
            spoken.read(&origin, &mut each);
        }
        for sub_entry in entry.sub_agents() {
            let origin = Origin {
                time: sub_entry.timestamp.or(origin.time),
                is_sidechain: true,
                agent_id: sub_entry.agent_id,
                ..origin
            };
            if let Some(message) = &sub_entry.message {
                let spoken = Spoken {
                    message,
                    uuid: sub_entry.uuid.or(entry.uuid),
                    request_id: sub_entry.request_id,
                    effort: None,
                    is_api_error: sub_entry.is_api_error,
                };
                spoken.read(&origin, &mut each);
            }
        }
        if entry.kind == Kind::ToolUseResult {
            let text = entry.content.texts().next();
            emit_result(&origin, entry.tool_use_id, entry.is_error, text, &mut each);
        }
        if let Some(name) = entry.unknown_kind {
            each(&origin, &Item::Unknown(name));
        }
        if is_empty.get() {
            each(&origin, &Item::Other);
        }
    }

    fn origin<'a>(&mut self, line: u64, entry: &Entry<'a>) -> Origin<'a> {
        let session_id = entry.session_id.filter(|id| !id.is_empty());
        if let (Some(id), None) = (session_id, &self.first_session) {
            self.first_session = Some(id.decode().into_owned());
        }
        let first = self.first_session.as_deref();
        let is_other = |id: Text<'_>| first.is_some_and(|first| id != first);
        Origin {
            line,
            agent: CodingAgent::Claude,
            time: entry.timestamp,
            session_id,
            is_sidechain: entry.is_sidechain,
            agent_id: entry.agent_id.filter(|id| !id.is_empty()),
            agent_type: entry.attribution.agent,
            cwd: entry.cwd,
            git_branch: entry.git_branch,
            agent_version: entry.version,
            is_replayed: session_id.is_some_and(is_other),
        }
    }

    fn read_facts(&mut self, origin: &Origin<'_>, entry: &Entry<'_>, each: Each<'_>) {
        let mut facts = SessionFacts::default();
        let mut has_facts = false;
        if let Some(entrypoint) = entry.entrypoint
            && self
                .entrypoint
                .as_deref()
                .is_none_or(|known| entrypoint != known)
        {
            self.entrypoint = Some(entrypoint.decode().into_owned());
            let is_automated = entrypoint.beginning(8).starts_with("sdk-") || is_background(entry);
            facts.entrypoint = Some(entrypoint);
            facts.is_automated = Some(is_automated);
            has_facts = true;
        }
        if let Some(metadata) = &entry.metadata {
            facts.title = match entry.kind {
                Kind::CustomTitle => metadata.custom_title,
                Kind::AiTitle => metadata.ai_title,
                Kind::Summary => metadata.summary,
                _ => None,
            };
            let forked_from = metadata
                .forked_from
                .and_then(|from| from.field("sessionId"));
            facts.parent_session = match entry.kind {
                Kind::ForkContext => metadata.parent_session_id,
                _ => forked_from.and_then(|id| id.text()),
            };
            has_facts |= facts.title.is_some() || facts.parent_session.is_some();
        }
        if has_facts {
            each(origin, &Item::Session(facts));
        }
    }
}

fn is_background(entry: &Entry<'_>) -> bool {
    entry.session_kind.is_some_and(|kind| kind == "bg")
}

/// The prompts, commands and compactions of an entry. A prompt that waited in a queue is emitted
/// where it reaches the conversation.
fn read_texts(origin: &Origin<'_>, entry: &Entry<'_>, each: Each<'_>) {
    if entry.kind == Kind::Attachment
        && let Some(text) = queued_prompt(entry)
    {
        each(origin, &Item::Prompt(Prompt { text: &text }));
        return;
    }
    let is_system = |subtype: &str| {
        entry.kind == Kind::System && entry.subtype.is_some_and(|known| known == subtype)
    };
    if is_system("compact_boundary") {
        each(origin, &Item::Compaction);
    }
    if entry.kind != Kind::User && !is_system("local_command") {
        return;
    }
    if is_prompt(entry) {
        let text = typed_text(entry.says());
        each(origin, &Item::Prompt(Prompt { text: &text }));
        return;
    }
    for text in entry.says().texts() {
        if commands::begins_as_command(&text.beginning(BEGINNING_BYTES)) {
            for name in commands::names(&text.decode()) {
                each(origin, &Item::Command(Text::plain(name)));
            }
        }
    }
}

impl Spoken<'_, '_> {
    fn read(&self, origin: &Origin<'_>, each: Each<'_>) {
        let message = self.message;
        let is_of_model = message.role.is_some_and(|role| role == "assistant");
        if is_of_model && let Content::Text(_) | Content::Blocks(_) = &message.content {
            for text in message.content.texts() {
                each(origin, &Item::Answer(text));
            }
        }
        for tool_use in message.content.tool_uses() {
            emit_call(origin, message, tool_use, each);
        }
        for result in message.content.tool_results() {
            emit_tool_result(origin, result, each);
        }
        self.emit_requests(origin, each);
    }

    /// The request of a message, and the requests to other models and for a compaction that the
    /// API made for it. They are not in the tokens of the message.
    fn emit_requests(&self, origin: &Origin<'_>, each: Each<'_>) {
        let message = self.message;
        let Some(usage) = &message.usage else { return };
        let is_written = message.model.is_some_and(|model| model == "<synthetic>");
        if (self.is_api_error || is_written) && usage.tokens.total() == 0 {
            return;
        }
        let decode = |id: Option<Text<'_>>| {
            let id = id.filter(|id| !id.is_empty());
            id.map(|id| id.decode().into_owned())
        };
        let uuid = decode(self.uuid);
        let line = || format!("line:{}", origin.line);
        let message_id = decode(message.id).or_else(|| uuid.clone());
        let message_id = message_id.unwrap_or_else(line);
        let request_id = decode(self.request_id).unwrap_or_default();
        let request = Request {
            message_id: &message_id,
            request_id: &request_id,
            model: message.model,
            provider: None,
            speed: usage.speed,
            effort: self.effort,
            stop_reason: message.stop_reason,
            tokens: usage.tokens,
            count: 1,
            is_final: message.stop_reason.is_some() && !usage.is_incomplete,
        };
        each(origin, &Item::Request(request));
        let mut counts = [0_usize; 2];
        for step in &usage.iterations {
            let (name, count) = match step.kind {
                IterationKind::Advisor => ("advisor", &mut counts[0]),
                IterationKind::Compaction => ("compaction", &mut counts[1]),
                _ => continue,
            };
            let message_id = format!("{message_id}:{name}:{count}");
            *count += 1;
            let request = step_request(&request, &message_id, step);
            each(origin, &Item::Request(request));
        }
    }
}

fn step_request<'r>(
    asking: &Request<'r>,
    message_id: &'r str,
    step: &Iteration<'r>,
) -> Request<'r> {
    Request {
        message_id,
        model: step.model.or(asking.model),
        tokens: step.tokens,
        stop_reason: None,
        is_final: asking.is_final && !step.is_incomplete,
        ..*asking
    }
}

fn emit_call(origin: &Origin<'_>, message: &Message<'_>, tool_use: &ToolUse<'_>, each: Each<'_>) {
    let name = tool_use.name.map(|name| name.decode()).unwrap_or_default();
    let part = |field: &str| tool_use.input?.field(field)?.text();
    let target = match &*name {
        "Skill" => {
            let mut names = ["skill", "name", "command"].into_iter();
            CallTarget::Skill(names.find_map(part))
        }
        "Task" | "Agent" => CallTarget::SubAgent(part("subagent_type")),
        _ => match name.strip_prefix("mcp__") {
            Some(rest) => {
                let server = rest.split_once("__").map_or(rest, |(server, _)| server);
                CallTarget::Mcp(Some(Text::plain(server)))
            }
            None => CallTarget::Tool,
        },
    };
    let id = tool_use.id.filter(|id| !id.is_empty());
    let id = id.map(|id| id.decode());
    let call = Call {
        id: id.as_deref(),
        name: tool_use.name,
        target,
        input: tool_use.input,
        model: message.model,
    };
    each(origin, &Item::Call(call));
}

fn emit_tool_result(origin: &Origin<'_>, result: &ToolResult<'_>, each: Each<'_>) {
    let text = result.text();
    let text = text.as_deref().map(Text::plain);
    emit_result(origin, result.tool_use_id, result.is_error, text, each);
}

fn emit_result(
    origin: &Origin<'_>,
    call_id: Option<Text<'_>>,
    is_error: bool,
    text: Option<Text<'_>>,
    each: Each<'_>,
) {
    let call_id = call_id.filter(|id| !id.is_empty());
    let call_id = call_id.map(|id| id.decode());
    let result = CallResult {
        call_id: call_id.as_deref(),
        failure: is_error.then(|| failure_of(text)),
        text,
        duration_ms: None,
    };
    each(origin, &Item::Result(result));
}

fn failure_of(text: Option<Text<'_>>) -> CallFailure {
    let beginning = text.map(|text| text.beginning(BEGINNING_BYTES));
    let mut text = beginning.as_deref().unwrap_or_default().trim_start();
    for mark in ["Error: ", "<tool_use_error>", "Error: "] {
        text = text.strip_prefix(mark).unwrap_or(text);
    }
    if REJECTIONS
        .iter()
        .any(|rejection| text.starts_with(rejection))
    {
        CallFailure::Rejected
    } else if text.starts_with("Exit code ") {
        CallFailure::ExitCode
    } else {
        CallFailure::ToolError
    }
}

#[cfg(test)]
mod tests {
    use crate::activity::{Activity, Item, Origin};
    use crate::lines::Lines;
    use crate::native::MemoryHost;

    /// Shows the main data of an item.
    fn show(origin: &Origin<'_>, item: &Item<'_>) -> String {
        let side = if origin.is_sidechain { "side " } else { "" };
        let shown = match item {
            Item::Session(facts) => format!("session {:?} {:?}", facts.title, facts.entrypoint),
            Item::Prompt(prompt) => format!("prompt {}", prompt.text),
            Item::Command(name) => format!("command {name}"),
            Item::Answer(text) => format!("answer {text}"),
            Item::Request(request) => format!(
                "request {}/{} {:?} {} {}",
                request.message_id,
                request.request_id,
                request.model,
                request.tokens.total(),
                request.is_final
            ),
            Item::Call(call) => format!("call {:?} {:?} {:?}", call.id, call.name, call.target),
            Item::Result(result) => format!("result {:?} {:?}", result.call_id, result.failure),
            other => format!("{other:?}"),
        };
        format!("{} {side}{shown}", origin.line)
    }

    #[test]
    fn a_transcript_of_claude_is_a_stream_of_items() {
        let lines = [
            r#"{"type":"user","sessionId":"s","entrypoint":"cli","message":{"role":"user","content":"fix it"}}"#,
            r#"{"type":"user","sessionId":"s","message":{"role":"user","content":"<command-name>/clear</command-name>"}}"#,
            r#"{"type":"assistant","sessionId":"s","requestId":"r","message":{"id":"m","role":"assistant","model":"opus","stop_reason":"end_turn","usage":{"input_tokens":5,"output_tokens":2,"iterations":[{"type":"compaction","input_tokens":7}]},"content":[{"type":"text","text":"hi"},{"type":"tool_use","id":"t","name":"mcp__github__list","input":{}},{"type":"tool_use","id":"k","name":"Skill","input":{"skill":"review"}}]}}"#,
            r#"{"type":"user","sessionId":"s","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","is_error":true,"content":"Exit code 1"},{"type":"tool_result","tool_use_id":"k","content":"ok"}]}}"#,
            r#"{"type":"system","subtype":"compact_boundary","sessionId":"s"}"#,
            r#"{"type":"ai-title","aiTitle":"Fix","sessionId":"s"}"#,
            r#"{"type":"progress","sessionId":"s","data":{"type":"agent_progress","agentId":"a","message":{"type":"assistant","requestId":"q","message":{"id":"n","role":"assistant","usage":{"output_tokens":3}}}}}"#,
            r#"{"type":"brand-new","sessionId":"s"}"#,
            r#"{"type":"mode","sessionId":"s"}"#,
        ];
        let host = MemoryHost::new(lines.join("\n").into_bytes());
        let mut found = Vec::new();
        let tally = Activity::new(Lines::new(&host), "ada/one.jsonl")
            .for_each(|origin, item| found.push(show(origin, item)));
        assert_eq!((tally.lines, tally.unknown_types), (9, 1));
        assert_eq!(
            found,
            [
                r#"1 session None Some("cli")"#,
                "1 prompt fix it",
                "2 command clear",
                "3 answer hi",
                r#"3 call Some("t") Some("mcp__github__list") Mcp(Some("github"))"#,
                r#"3 call Some("k") Some("Skill") Skill(Some("review"))"#,
                r#"3 request m/r Some("opus") 7 true"#,
                r#"3 request m:compaction:0/r Some("opus") 7 true"#,
                r#"4 result Some("t") Some(ExitCode)"#,
                r#"4 result Some("k") None"#,
                "5 Compaction",
                r#"6 session Some("Fix") None"#,
                "7 side request n/q None 3 false",
                r#"8 Unknown("brand-new")"#,
                "9 Other",
            ]
        );
    }

    #[test]
    fn damaged_lines_cost_only_themselves() {
        let lines = "{\"type\":\"user\",\"message\":{\"content\":\"go\"}}\nno JSON\n{\"type\":\"us";
        let host = MemoryHost::new(lines.as_bytes());
        let mut found = Vec::new();
        let tally = Activity::new(Lines::new(&host), "ada/one.jsonl")
            .for_each(|origin, item| found.push(show(origin, item)));
        assert_eq!(found, ["1 prompt go"]);
        assert_eq!(
            (tally.lines, tally.bad_lines, tally.torn_tail),
            (3, 1, true)
        );
    }
}
