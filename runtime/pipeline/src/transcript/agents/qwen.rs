//! The format of Qwen Code: lines like those of Claude Code, with the parts of Gemini's API.

use std::borrow::Cow;

use super::{
    ParsedLine, ParsedPart, SourceText, call, field, json, line, notice, other, result, said,
};
use crate::transcript::entry::{CallOutcome, ModelResponse};
use crate::transcript::parsed::{PARTS_MAX, ParsedSubAgent, block_text};

/// Beginnings of texts that Qwen Code adds to the conversation.
const ADDED: &[&str] = &["<session_context>", "<hook_context>", "<system-reminder>"];
/// Tools that start sub-agents.
const AGENT_TOOLS: &[&str] = &["task", "agent"];

pub(super) fn parse(text: &str) -> Option<ParsedLine<'_>> {
    let names = [
        "type",
        "subtype",
        "uuid",
        "parentUuid",
        "timestamp",
        "isSidechain",
        "agentId",
        "message",
        "model",
        "systemPayload",
        "toolCallResult",
    ];
    let [
        kind,
        subtype,
        uuid,
        parent,
        time,
        is_sidechain,
        agent_id,
        message,
        model,
        payload,
        tool_result,
    ] = json::fields(text, names)?;
    let mut parsed = line(uuid, time);
    parsed.parent = json::nonempty(parent);
    if json::flag(is_sidechain) {
        parsed.sub_agent = Some(ParsedSubAgent {
            agent_id: json::nonempty(agent_id),
            call: None,
        });
    }
    let kind = json::nonempty(kind).unwrap_or(Cow::Borrowed("unknown"));
    let subtype = json::nonempty(subtype);
    let parts = field(message, "parts");
    match (kind.as_ref(), parts) {
        ("user", Some(parts)) => {
            let shown = json::nonempty(field(payload, "displayText"));
            match shown {
                Some(shown) => parsed.parts.push(said(shown, ADDED)),
                None => read_parts(parts, true, &mut parsed),
            }
        }
        ("assistant", Some(parts)) => {
            parsed.response = Some(ModelResponse {
                id: json::nonempty(uuid).map(Cow::into_owned),
                model: json::nonempty(model).map(Cow::into_owned),
                tokens: None,
            });
            read_parts(parts, false, &mut parsed);
        }
        ("tool_result", Some(parts)) => {
            let status = json::nonempty(field(tool_result, "status")).unwrap_or_default();
            let outcome = match status.as_ref() {
                "error" => CallOutcome::Error,
                "cancelled" => CallOutcome::Rejected,
                _ => CallOutcome::Ok,
            };
            read_results(parts, outcome, &mut parsed);
        }
        ("system", _) => parsed
            .parts
            .push(read_system(subtype.as_deref(), payload, text)),
        _ => {}
    }
    if parsed.parts.is_empty() {
        parsed.parts.push(other(&kind, text));
    }
    Some(parsed)
}

fn read_parts<'a>(parts: &'a str, is_of_user: bool, parsed: &mut ParsedLine<'a>) {
    let (parts, has_more) = json::elements(parts, PARTS_MAX);
    parsed.has_more_parts |= has_more;
    for part in parts {
        let names = ["text", "thought", "functionCall"];
        let [text, thought, function] = json::fields(part, names).unwrap_or_default();
        parsed
            .parts
            .push(match (text.and_then(json::text), function) {
                (Some(text), _) if is_of_user => said(text, ADDED),
                (Some(text), _) if json::flag(thought) => {
                    ParsedPart::Thinking(SourceText::Text(text))
                }
                (Some(text), _) => ParsedPart::Response(SourceText::Text(text)),
                (None, Some(function)) => {
                    let found = json::fields(function, ["id", "name", "args"]).unwrap_or_default();
                    let [id, name, arguments] = found;
                    call(id, json::nonempty(name), arguments, AGENT_TOOLS)
                }
                (None, None) => ParsedPart::Other {
                    name: "part".to_owned(),
                    text: SourceText::Text(block_text(part)),
                },
            });
    }
}

fn read_results<'a>(parts: &'a str, outcome: CallOutcome, parsed: &mut ParsedLine<'a>) {
    let (parts, has_more) = json::elements(parts, PARTS_MAX);
    parsed.has_more_parts |= has_more;
    for part in parts {
        let Some(response) = field(Some(part), "functionResponse") else {
            continue;
        };
        let [id, response] = json::fields(response, ["id", "response"]).unwrap_or_default();
        let found = response.and_then(|json| json::fields(json, ["output", "error"]));
        let [output, error] = found.unwrap_or_default();
        let text = SourceText::content(output.or(error).or(response));
        parsed.parts.push(result(id, outcome, text));
    }
}

fn read_system<'a>(
    subtype: Option<&str>,
    payload: Option<&'a str>,
    line: &'a str,
) -> ParsedPart<'a> {
    match subtype {
        Some("slash_command") => {
            let names = ["phase", "rawCommand"];
            let found = payload.and_then(|payload| json::fields(payload, names));
            let [phase, command] = found.unwrap_or_default();
            let is_call = json::nonempty(phase).is_some_and(|phase| phase == "invocation");
            match json::nonempty(command).filter(|_| is_call) {
                Some(command) => said(command, &[]),
                None => other("system: slash_command", line),
            }
        }
        Some("chat_compression") => ParsedPart::Compaction {
            trigger: None,
            tokens_before: None,
            text: SourceText::EMPTY,
            is_boundary: true,
        },
        Some("notification") => notice("notification", SourceText::content(payload)),
        Some(subtype) => other(&format!("system: {subtype}"), line),
        None => other("system", line),
    }
}
