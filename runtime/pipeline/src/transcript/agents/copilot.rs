//! The format of GitHub Copilot CLI: `{type, data, id, timestamp, parentId}`.

use std::borrow::Cow;

use super::{
    ParsedLine, ParsedPart, SourceText, call, field, json, line, notice, other, result, said,
};
use crate::transcript::entry::{CallOutcome, ModelResponse};
use crate::transcript::parsed::ParsedSubAgent;

/// Beginnings of texts that Copilot adds to the conversation.
const ADDED: &[&str] = &["<system_reminder>"];
/// Tools that start sub-agents.
const AGENT_TOOLS: &[&str] = &["task"];

pub(super) fn parse(text: &str) -> Option<ParsedLine<'_>> {
    let names = ["type", "data", "id", "timestamp", "parentId", "agentId"];
    let [kind, data, id, time, parent, agent] = json::fields(text, names)?;
    let mut parsed = line(id, time);
    parsed.parent = json::nonempty(parent);
    let kind = json::nonempty(kind).unwrap_or(Cow::Borrowed("unknown"));
    let Some(data) = data else {
        parsed.parts.push(other(&kind, text));
        return Some(parsed);
    };
    let call_of_agent = json::nonempty(field(Some(data), "parentToolCallId"));
    let agent_id = json::nonempty(agent);
    if call_of_agent.is_some() || agent_id.is_some() {
        parsed.sub_agent = Some(ParsedSubAgent {
            agent_id,
            call: call_of_agent,
        });
    }
    match kind.as_ref() {
        "user.message" => read_prompt(data, text, &mut parsed),
        "assistant.message" => read_message(data, text, &mut parsed),
        "tool.execution_start" => {
            let names = ["toolCallId", "toolName", "arguments"];
            let [id, name, arguments] = json::fields(data, names).unwrap_or_default();
            let part = call(id, json::nonempty(name), arguments, AGENT_TOOLS);
            parsed.parts.push(part);
        }
        "tool.execution_complete" => parsed.parts.push(read_result(data)),
        "session.compaction_complete" => {
            let names = ["summaryContent", "preCompactionTokens"];
            let [summary, before] = json::fields(data, names).unwrap_or_default();
            parsed.parts.push(ParsedPart::Compaction {
                trigger: None,
                tokens_before: json::number(before),
                text: SourceText::content(summary),
                is_boundary: true,
            });
        }
        "session.error" => parsed.parts.push(ParsedPart::ApiError {
            status: json::number(field(Some(data), "statusCode")),
            text: SourceText::content(field(Some(data), "message")),
        }),
        "session.info" | "session.warning" | "abort" => {
            let names = ["message", "reason"];
            let [message, reason] = json::fields(data, names).unwrap_or_default();
            let text = SourceText::content(message.or(reason));
            parsed.parts.push(notice(&kind, text));
        }
        _ => parsed.parts.push(other(&kind, text)),
    }
    Some(parsed)
}

fn read_prompt<'a>(data: &'a str, line: &'a str, parsed: &mut ParsedLine<'a>) {
    let [content, source] = json::fields(data, ["content", "source"]).unwrap_or_default();
    let Some(content) = content.and_then(json::text) else {
        parsed.parts.push(other("user.message", line));
        return;
    };
    parsed.parts.push(match json::nonempty(source) {
        Some(source) => notice(&source, SourceText::Text(content)),
        None => said(content, ADDED),
    });
}

/// The calls of a message are in lines of their own.
fn read_message<'a>(data: &'a str, line: &'a str, parsed: &mut ParsedLine<'a>) {
    let names = ["content", "reasoningText", "messageId", "model"];
    let [content, reasoning, id, model] = json::fields(data, names).unwrap_or_default();
    parsed.response = Some(ModelResponse {
        id: json::nonempty(id).map(Cow::into_owned),
        model: json::nonempty(model).map(Cow::into_owned),
        tokens: None,
    });
    if let Some(reasoning) = json::nonempty(reasoning) {
        let text = SourceText::Text(reasoning);
        parsed.parts.push(ParsedPart::Thinking(text));
    }
    if let Some(content) = json::nonempty(content) {
        let text = SourceText::Text(content);
        parsed.parts.push(ParsedPart::Response(text));
    }
    if parsed.parts.is_empty() {
        parsed.parts.push(other("assistant.message", line));
    }
}

fn read_result(data: &str) -> ParsedPart<'_> {
    let names = ["toolCallId", "success", "result", "error"];
    let [id, success, found, error] = json::fields(data, names).unwrap_or_default();
    let code = json::nonempty(field(error, "code")).unwrap_or_default();
    let content = field(found, "content").or_else(|| field(error, "message"));
    let outcome = match success == Some("false") {
        true if code.contains("denied") || code.contains("rejected") => CallOutcome::Rejected,
        true => CallOutcome::Error,
        false => CallOutcome::Ok,
    };
    result(id, outcome, SourceText::content(content))
}
