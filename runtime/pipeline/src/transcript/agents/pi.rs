//! The format of pi and Oh My Pi: entries of a tree, of which those of type `message` are the
//! conversation.

use std::borrow::Cow;

use super::{
    ParsedLine, ParsedPart, SourceText, call, json, line, notice, other, result, said, text_of,
    tokens_of,
};
use crate::transcript::entry::{CallOutcome, ModelResponse, ResponseTokens};
use crate::transcript::parsed::{PARTS_MAX, block_text};

/// Tools that start sub-agents.
const AGENT_TOOLS: &[&str] = &["task", "subagent"];
/// Words of results of calls that a person rejected or interrupted, in lower case.
const REJECTIONS: &[&str] = &["abort", "cancel", "reject"];
/// The number of bytes of a result that are searched for these words.
const REJECTION_BYTES: usize = 200;

pub(super) fn parse(text: &str) -> Option<ParsedLine<'_>> {
    let names = [
        "type",
        "id",
        "parentId",
        "timestamp",
        "message",
        "summary",
        "tokensBefore",
    ];
    let [kind, id, parent, time, message, summary, before] = json::fields(text, names)?;
    let mut parsed = line(id, time);
    parsed.parent = json::nonempty(parent);
    let kind = json::nonempty(kind).unwrap_or(Cow::Borrowed("unknown"));
    match (kind.as_ref(), message) {
        ("message", Some(message)) => read_message(message, text, &mut parsed),
        ("compaction", _) => parsed.parts.push(ParsedPart::Compaction {
            trigger: None,
            tokens_before: json::number(before),
            text: SourceText::content(summary),
            is_boundary: true,
        }),
        _ => parsed.parts.push(other(&kind, text)),
    }
    Some(parsed)
}

fn read_message<'a>(message: &'a str, line: &'a str, parsed: &mut ParsedLine<'a>) {
    let names = ["role", "content", "attribution", "toolCallId", "isError"];
    let [role, content, attribution, call_id, is_error] =
        json::fields(message, names).unwrap_or_default();
    let role = json::nonempty(role).unwrap_or(Cow::Borrowed("message"));
    let Some(content) = content else {
        parsed.parts.push(other(&role, line));
        return;
    };
    match role.as_ref() {
        "user" => {
            let by = json::nonempty(attribution);
            let is_of_person = by.as_deref().is_none_or(|by| by == "user");
            parsed.parts.push(match is_of_person {
                true => said(text_of(content), &["<skill name=\""]),
                false => notice("context", SourceText::Content(content)),
            });
        }
        "assistant" => read_response(message, content, parsed),
        "toolResult" => {
            let text = SourceText::Content(content);
            let outcome = match json::flag(is_error) {
                true => failure_of(&text.decode()),
                false => CallOutcome::Ok,
            };
            parsed.parts.push(result(call_id, outcome, text));
        }
        role => parsed
            .parts
            .push(notice(role, SourceText::Content(content))),
    }
}

fn read_response<'a>(message: &'a str, content: &'a str, parsed: &mut ParsedLine<'a>) {
    let names = ["responseId", "model", "usage", "errorMessage"];
    let [id, model, usage, error] = json::fields(message, names).unwrap_or_default();
    parsed.response = Some(ModelResponse {
        id: json::nonempty(id).map(Cow::into_owned),
        model: json::nonempty(model).map(Cow::into_owned),
        tokens: usage.and_then(read_tokens),
    });
    if let Some(text) = json::nonempty(Some(content)) {
        let text = SourceText::Text(text);
        parsed.parts.push(ParsedPart::Response(text));
    }
    let (blocks, has_more) = json::elements(content, PARTS_MAX);
    parsed.has_more_parts |= has_more;
    for block in blocks {
        let names = ["type", "text", "thinking", "id", "name", "arguments"];
        let found = json::fields(block, names).unwrap_or_default();
        let [kind, text, thinking, id, name, arguments] = found;
        parsed.parts.push(match json::nonempty(kind).as_deref() {
            Some("text") => ParsedPart::Response(SourceText::content(text)),
            Some("thinking") => ParsedPart::Thinking(SourceText::content(thinking)),
            Some("toolCall") => call(id, json::nonempty(name), arguments, AGENT_TOOLS),
            kind => ParsedPart::Other {
                name: kind.unwrap_or("block").to_owned(),
                text: SourceText::Text(block_text(block)),
            },
        });
    }
    if let Some(error) = json::nonempty(error) {
        parsed.parts.push(ParsedPart::ApiError {
            status: None,
            text: SourceText::Text(error),
        });
    }
    if parsed.parts.is_empty() {
        parsed.parts.push(other("assistant", message));
    }
}

fn failure_of(text: &str) -> CallOutcome {
    let beginning = text.get(..text.floor_char_boundary(REJECTION_BYTES));
    let beginning = beginning.unwrap_or_default().to_lowercase();
    match REJECTIONS.iter().any(|word| beginning.contains(word)) {
        true => CallOutcome::Rejected,
        false => CallOutcome::Error,
    }
}

fn read_tokens(usage: &str) -> Option<ResponseTokens> {
    tokens_of(usage, ["input", "cacheRead", "cacheWrite", "output"])
}
