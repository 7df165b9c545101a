//! The format of Claude Code. This is the only file, with its submodules, that knows it. `agents`
//! selects it.
//!
//! A transcript is JSON lines without a schema. Fields come and go with the versions of the agent,
//! so everything unknown is shown as it is.

mod prompts;

use std::borrow::Cow;

use session_pipeline_host::clock::UtcMicros;

use super::entry::{CallOutcome, ModelResponse, ResponseTokens};
use super::parsed::{PARTS_MAX, ParsedLine, ParsedPart, ParsedSubAgent, SourceText, block_text};
use super::{input, json};

/// Beginnings of the results of tool calls that were rejected.
const REJECTIONS: [&str; 3] = [
    "The user doesn't want to ",
    "Permission for this tool use was denied",
    "[Request interrupted by user",
];

/// One of these texts is in every line that has a mark, a call or a result.
const NEEDLES: [&[u8]; 8] = [
    b"tool_use",
    b"\"user\"",
    b"compact_boundary",
    b"isCompactSummary",
    b"api_error",
    b"isApiErrorMessage",
    b"local_command",
    b"queued_command",
];

/// Whether a line can have something that the index needs. Most bytes of a transcript are in lines
/// without, and this is much faster than parsing them.
pub(super) fn is_indexed(line: &[u8]) -> bool {
    let mut needles = NEEDLES.iter();
    needles.any(|needle| memchr::memmem::find(line, needle).is_some())
}

/// The id of the sub-agent whose transcript has this key. `None` for other transcripts.
fn own_agent(key: &str) -> Option<&str> {
    let name = key.rsplit('/').next()?;
    name.strip_prefix("agent-")?.strip_suffix(".jsonl")
}

/// The keys at which the transcript of a sub-agent can be, best first.
pub(super) fn sub_agent_keys(key: &str, agent_id: &str) -> Vec<String> {
    let is_id = |id: &str| {
        (1..=128).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let (Some((folder, _)), Some(stem)) = (key.rsplit_once('/'), key.strip_suffix(".jsonl")) else {
        return Vec::new();
    };
    if !is_id(agent_id) || own_agent(key) == Some(agent_id) {
        return Vec::new();
    }
    vec![
        format!("{stem}/subagents/agent-{agent_id}.jsonl"),
        // Next to its parent: in old versions, and for sub-agents of sub-agents.
        format!("{folder}/agent-{agent_id}.jsonl"),
    ]
}

/// The fields of a line that all kinds of entries share.
struct Line<'a> {
    json: &'a str,
    message: Option<&'a str>,
    content: Option<&'a str>,
    subtype: Option<Cow<'a, str>>,
    tool_use_result: Option<&'a str>,
    is_meta: bool,
    is_sidechain: bool,
    is_compact_summary: bool,
    is_api_error: bool,
    has_parent: bool,
}

/// Parses a line of the transcript with this key. `None`: it is not a JSON object.
pub(super) fn parse<'a>(line: &'a str, key: &str) -> Option<ParsedLine<'a>> {
    let [
        kind,
        subtype,
        uuid,
        parent,
        time,
        is_sidechain,
        agent_id,
        is_meta,
        is_compact_summary,
        is_api_error,
        role,
        content,
        message,
        tool_use_result,
    ] = json::fields(
        line,
        [
            "type",
            "subtype",
            "uuid",
            "parentUuid",
            "timestamp",
            "isSidechain",
            "agentId",
            "isMeta",
            "isCompactSummary",
            "isApiErrorMessage",
            "role",
            "content",
            "message",
            "toolUseResult",
        ],
    )?;
    let mut parsed = ParsedLine {
        uuid: json::nonempty(uuid),
        parent: json::nonempty(parent),
        time: json::nonempty(time).and_then(|time| time.parse::<UtcMicros>().ok()),
        ..ParsedLine::default()
    };
    let line = Line {
        json: line,
        message,
        content,
        subtype: json::nonempty(subtype),
        tool_use_result,
        is_meta: json::flag(is_meta),
        is_sidechain: json::flag(is_sidechain),
        is_compact_summary: json::flag(is_compact_summary),
        is_api_error: json::flag(is_api_error),
        has_parent: parsed.parent.is_some(),
    };
    let agent_id = json::nonempty(agent_id);
    let is_own = own_agent(key).is_some_and(|own| agent_id.as_deref().is_none_or(|id| id == own));
    if line.is_sidechain && !is_own {
        let call = None;
        parsed.sub_agent = Some(ParsedSubAgent { agent_id, call });
    }
    let kind = json::nonempty(kind).or_else(|| json::nonempty(role));
    match kind.as_deref() {
        Some("user") => user(&line, &mut parsed),
        Some("assistant") => assistant(&line, &mut parsed),
        Some("system") => system(&line, &mut parsed),
        Some("progress") => progress(&line, &mut parsed, key),
        Some("attachment") => attachment(&line, &mut parsed),
        Some("tool_use_result") => separate_result(&line, &mut parsed),
        Some(name @ ("summary" | "custom-title" | "ai-title")) => title(&line, name, &mut parsed),
        Some(name) => parsed.parts.push(other(name, line.json)),
        None => parsed.parts.push(other("unknown", line.json)),
    }
    if parsed.parts.len() > PARTS_MAX {
        parsed.parts.truncate(PARTS_MAX);
        parsed.has_more_parts = true;
    }
    Some(parsed)
}

fn other<'a>(name: &str, json: &'a str) -> ParsedPart<'a> {
    ParsedPart::Other {
        name: name.to_owned(),
        text: SourceText::Text(Cow::Borrowed(json)),
    }
}

fn user<'a>(line: &Line<'a>, parsed: &mut ParsedLine<'a>) {
    let message = line
        .message
        .and_then(|json| json::fields(json, ["content"]));
    let Some(content) = message.map_or(line.content, |[content]| content) else {
        parsed.parts.push(other("user", line.json));
        return;
    };
    if line.is_compact_summary {
        parsed.parts.push(ParsedPart::Compaction {
            trigger: None,
            tokens_before: None,
            text: SourceText::Content(content),
            is_boundary: !line.has_parent,
        });
        return;
    }
    let automatic = prompts::automatic_source(line.json, line.is_meta, line.is_sidechain);
    if let Some(text) = json::text(content) {
        parsed.parts.push(prompts::part(text, automatic));
        return;
    }
    let (blocks, has_more) = json::elements(content, PARTS_MAX);
    parsed.has_more_parts |= has_more;
    if blocks.is_empty() {
        parsed.parts.push(other("user", line.json));
    }
    for block in blocks {
        let part = match json::fields(
            block,
            ["type", "text", "tool_use_id", "is_error", "content"],
        ) {
            Some([kind, text, call, is_error, content]) => {
                match (json::nonempty(kind).as_deref(), text.and_then(json::text)) {
                    (Some("text"), Some(text)) => prompts::part(text, automatic),
                    (Some("tool_result"), _) => {
                        result(call, is_error, content, line.tool_use_result)
                    }
                    (kind, _) => ParsedPart::Other {
                        name: kind.unwrap_or("block").to_owned(),
                        text: SourceText::Text(block_text(block)),
                    },
                }
            }
            None => match json::text(block) {
                Some(text) => prompts::part(text, automatic),
                None => other("block", block),
            },
        };
        parsed.parts.push(part);
    }
}

/// The result of a tool call.
fn result<'a>(
    call: Option<&'a str>,
    is_error: Option<&str>,
    content: Option<&'a str>,
    tool_use_result: Option<&'a str>,
) -> ParsedPart<'a> {
    let text = SourceText::content(content);
    let outcome = match json::flag(is_error) {
        true => {
            let text = text.decode();
            let is_rejection = |start: &&str| text.trim_start().starts_with(*start);
            match REJECTIONS.iter().any(is_rejection) {
                true => CallOutcome::Rejected,
                false => CallOutcome::Error,
            }
        }
        false => CallOutcome::Ok,
    };
    let details = tool_use_result.and_then(|json| json::fields(json, ["agentId"]));
    ParsedPart::ToolResult {
        call: json::nonempty(call),
        outcome,
        text,
        agent_id: details
            .and_then(|[id]| json::nonempty(id))
            .map(Cow::into_owned),
    }
}

/// A result in an entry of its own, as some versions write it.
fn separate_result<'a>(line: &Line<'a>, parsed: &mut ParsedLine<'a>) {
    let found = json::fields(line.json, ["tool_use_id", "toolUseId", "is_error"]);
    let [call, other_call, is_error] = found.unwrap_or_default();
    let content = line.content.or(line.tool_use_result);
    let part = result(call.or(other_call), is_error, content, line.tool_use_result);
    parsed.parts.push(part);
}

fn assistant<'a>(line: &Line<'a>, parsed: &mut ParsedLine<'a>) {
    let found = line
        .message
        .and_then(|json| json::fields(json, ["id", "model", "usage", "content"]));
    let [id, model, usage, content] = found.unwrap_or([None, None, None, line.content]);
    parsed.response = Some(ModelResponse {
        id: json::nonempty(id).map(Cow::into_owned),
        model: json::nonempty(model).map(Cow::into_owned),
        tokens: usage.and_then(tokens),
    });
    if line.is_api_error {
        let [status] = json::fields(line.json, ["apiErrorStatus"]).unwrap_or_default();
        parsed.parts.push(ParsedPart::ApiError {
            status: json::number(status),
            text: SourceText::content(content),
        });
        return;
    }
    let Some(content) = content else {
        parsed.parts.push(other("assistant", line.json));
        return;
    };
    if json::text(content).is_some() {
        let text = SourceText::Content(content);
        parsed.parts.push(ParsedPart::Response(text));
        return;
    }
    let (blocks, has_more) = json::elements(content, PARTS_MAX);
    parsed.has_more_parts |= has_more;
    if blocks.is_empty() {
        parsed.parts.push(other("assistant", line.json));
    }
    parsed.parts.extend(blocks.into_iter().map(answer_block));
}

fn answer_block(block: &str) -> ParsedPart<'_> {
    let names = ["type", "text", "thinking", "id", "name", "input"];
    let Some([kind, text, thinking, id, name, input]) = json::fields(block, names) else {
        return match json::text(block) {
            Some(text) => ParsedPart::Response(SourceText::Text(text)),
            None => other("block", block),
        };
    };
    match json::nonempty(kind).as_deref() {
        Some("text") if text.is_some() => ParsedPart::Response(SourceText::content(text)),
        Some("thinking") => ParsedPart::Thinking(SourceText::content(thinking)),
        Some("redacted_thinking") => ParsedPart::Thinking(SourceText::EMPTY),
        Some("tool_use" | "server_tool_use" | "mcp_tool_use") => {
            let name = json::nonempty(name).unwrap_or(Cow::Borrowed("unknown tool"));
            let starts_agent = matches!(name.as_ref(), "Task" | "Agent");
            ParsedPart::ToolCall {
                id: json::nonempty(id),
                summary: input.map(input::summary).unwrap_or_default(),
                agent_type: input.filter(|_| starts_agent).and_then(input::agent_type),
                input: input.map_or(SourceText::EMPTY, SourceText::Fields),
                starts_agent,
                name,
            }
        }
        kind => other(kind.unwrap_or("block"), block),
    }
}

/// The tokens of a response. `None` if the usage has none, such as in messages of the agent itself.
fn tokens(usage: &str) -> Option<ResponseTokens> {
    let [input, cache_read, cache_write, output] = json::fields(
        usage,
        [
            "input_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "output_tokens",
        ],
    )?;
    let count = |json| json::number(json).unwrap_or(0);
    let tokens = ResponseTokens {
        input: count(input),
        cache_read: count(cache_read),
        cache_write: count(cache_write),
        output: count(output),
    };
    (tokens != ResponseTokens::default()).then_some(tokens)
}

fn system<'a>(line: &Line<'a>, parsed: &mut ParsedLine<'a>) {
    let subtype = line.subtype.as_deref();
    let part = match subtype {
        Some("compact_boundary") => {
            let [details] = json::fields(line.json, ["compactMetadata"]).unwrap_or_default();
            let details = details.and_then(|json| json::fields(json, ["trigger", "preTokens"]));
            let [trigger, before] = details.unwrap_or_default();
            ParsedPart::Compaction {
                trigger: json::nonempty(trigger).map(Cow::into_owned),
                tokens_before: json::number(before),
                text: SourceText::content(line.content),
                is_boundary: true,
            }
        }
        Some("api_error") => {
            let [error, status] =
                json::fields(line.json, ["error", "apiErrorStatus"]).unwrap_or_default();
            let inner = error.and_then(|json| json::fields(json, ["status"]));
            ParsedPart::ApiError {
                status: json::number(status.or_else(|| inner.and_then(|[status]| status))),
                text: match error.or(line.content) {
                    Some(json) => SourceText::Fields(json),
                    None => SourceText::EMPTY,
                },
            }
        }
        _ => match json::nonempty(line.content) {
            Some(text) if subtype == Some("local_command") => prompts::part(text, None),
            Some(text) => ParsedPart::Notice {
                name: subtype.unwrap_or("system").to_owned(),
                text: SourceText::Text(text),
            },
            None => match subtype {
                Some(subtype) => other(&format!("system: {subtype}"), line.json),
                None => other("system", line.json),
            },
        },
    };
    parsed.parts.push(part);
}

/// Progress of a tool. That of a sub-agent is an entry of the sub-agent.
fn progress<'a>(line: &Line<'a>, parsed: &mut ParsedLine<'a>, key: &str) {
    let [data, call] = json::fields(line.json, ["data", "parentToolUseID"]).unwrap_or_default();
    let data = data.and_then(|json| json::fields(json, ["type", "message", "agentId"]));
    let [kind, message, agent_id] = data.unwrap_or_default();
    let kind = json::nonempty(kind);
    // One level only: the sub-agent of a sub-agent reports progress in its own transcript.
    let is_nested = |message: &&str| {
        let kind = json::fields(message, ["type"]).and_then(|[kind]| json::nonempty(kind));
        !matches!(kind.as_deref(), None | Some("progress"))
    };
    let inner = message
        .filter(|message| kind.as_deref() == Some("agent_progress") && is_nested(message))
        .and_then(|message| parse(message, key));
    let Some(inner) = inner else {
        let name = kind.map_or(Cow::Borrowed("progress"), |kind| {
            Cow::Owned(format!("progress: {kind}"))
        });
        parsed.parts.push(other(&name, line.json));
        return;
    };
    parsed.sub_agent = Some(ParsedSubAgent {
        agent_id: json::nonempty(agent_id),
        call: json::nonempty(call),
    });
    parsed.uuid = parsed.uuid.take().or(inner.uuid);
    parsed.time = inner.time.or(parsed.time);
    parsed.response = inner.response;
    parsed.parts = inner.parts;
    parsed.has_more_parts = inner.has_more_parts;
}

fn attachment<'a>(line: &Line<'a>, parsed: &mut ParsedLine<'a>) {
    let [attachment] = json::fields(line.json, ["attachment"]).unwrap_or_default();
    let found =
        attachment.and_then(|json| json::fields(json, ["type", "commandMode", "prompt", "isMeta"]));
    let [kind, mode, prompt, is_meta] = found.unwrap_or_default();
    let kind = json::nonempty(kind);
    let is_typed = kind.as_deref() == Some("queued_command")
        && json::nonempty(mode).as_deref() == Some("prompt")
        && !json::flag(is_meta);
    let part = match prompt.filter(|_| is_typed) {
        Some(prompt) => prompts::part(
            SourceText::Content(prompt).decode(),
            prompts::automatic_source(line.json, line.is_meta, line.is_sidechain),
        ),
        None => {
            let kind = kind.unwrap_or(Cow::Borrowed("unknown"));
            other(&format!("attachment: {kind}"), line.json)
        }
    };
    parsed.parts.push(part);
}

fn title<'a>(line: &Line<'a>, kind: &str, parsed: &mut ParsedLine<'a>) {
    let found = json::fields(line.json, ["summary", "customTitle", "aiTitle"]);
    let [summary, custom, generated] = found.unwrap_or_default();
    let text = json::nonempty(summary.or(custom).or(generated));
    parsed.parts.push(match text {
        Some(text) => ParsedPart::Notice {
            name: "title".to_owned(),
            text: SourceText::Text(text),
        },
        None => other(kind, line.json),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &str) -> String {
        let parsed = parse(line, "ada/one.jsonl").unwrap();
        let parts: Vec<String> = parsed
            .parts
            .iter()
            .map(|part| format!("{part:?}"))
            .collect();
        parts.join(" | ")
    }

    #[test]
    fn every_block_of_an_answer_is_a_part() {
        let parts = parts(
            r#"{"type":"assistant","message":{"content":[{"type":"thinking","thinking":"hm"},
            {"type":"text","text":"yes"},{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"ls\n-l"}},
            {"type":"new"},3,null,"plain"]}}"#,
        );
        for expected in [
            "Thinking",
            "Response",
            "ToolCall",
            "summary: \"ls\"",
            "name: \"new\"",
        ] {
            assert!(parts.contains(expected), "{parts}");
        }
        assert_eq!(parts.matches("Other").count(), 3, "{parts}");
    }

    #[test]
    fn fields_of_an_unexpected_type_lose_nothing_else() {
        let line = r#"{"type":"assistant","uuid":7,"timestamp":[],"message":{"model":{},"usage":3,
            "content":[{"type":"tool_use","id":null,"name":5,"input":"x"}]}}"#;
        let parsed = parse(line, "ada/one.jsonl").unwrap();
        assert!(parsed.uuid.is_none() && parsed.time.is_none());
        assert!(
            matches!(&parsed.parts[..], [ParsedPart::ToolCall { id: None, name, .. }] if name == "unknown tool")
        );
        for line in [
            r#"{"type":"user"}"#,
            r#"{"type":"user","message":7}"#,
            r#"{"type":"user","message":{"content":{}}}"#,
            r#"{"type":"system","content":{}}"#,
            r#"{"type":"progress","data":[]}"#,
            r#"{"type":"attachment","attachment":"x"}"#,
            r#"{"type":"assistant"}"#,
            "{}",
        ] {
            assert!(parts(line).starts_with("Other"), "{line}");
        }
    }

    #[test]
    fn a_result_has_its_outcome_and_its_sub_agent() {
        let outcome = |text: &str, is_error: &str| {
            parts(&format!(
                r#"{{"type":"user","toolUseResult":{{"agentId":"a1"}},"message":{{"content":[
                {{"type":"tool_result","tool_use_id":"t","is_error":{is_error},"content":"{text}"}}]}}}}"#
            ))
        };
        assert!(outcome("x", "false").contains("Ok"));
        assert!(outcome("x", "true").contains("Error"));
        assert!(outcome("The user doesn't want to proceed", "true").contains("Rejected"));
        assert!(outcome("x", "null").contains("agent_id: Some(\"a1\")"));
    }

    #[test]
    fn the_transcript_of_a_sub_agent_is_below_its_session_or_next_to_it() {
        let keys = sub_agent_keys("ada/one.jsonl", "a1");
        assert_eq!(
            keys,
            ["ada/one/subagents/agent-a1.jsonl", "ada/agent-a1.jsonl"]
        );
        for id in ["", "../x", "a/b", "a\0", "ä", &"x".repeat(200)] {
            assert!(sub_agent_keys("ada/one.jsonl", id).is_empty(), "{id}");
        }
        assert!(sub_agent_keys("ada/one/subagents/agent-a1.jsonl", "a1").is_empty());
    }

    #[test]
    fn lines_of_a_sub_agent_belong_to_it_except_in_its_own_transcript() {
        let line = r#"{"type":"user","isSidechain":true,"agentId":"a1","content":"x"}"#;
        assert!(parse(line, "ada/one.jsonl").unwrap().sub_agent.is_some());
        let own = "ada/one/subagents/agent-a1.jsonl";
        assert!(parse(line, own).unwrap().sub_agent.is_none());
        let progress = r#"{"type":"progress","parentToolUseID":"t1","data":{"type":"agent_progress",
            "agentId":"a2","message":{"type":"assistant","message":{"content":"hi"}}}}"#;
        let parsed = parse(progress, "ada/one.jsonl").unwrap();
        assert_eq!(parsed.sub_agent.unwrap().call.unwrap(), "t1");
        assert!(matches!(parsed.parts[..], [ParsedPart::Response(_)]));
    }
}
