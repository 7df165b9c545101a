//! The format of Gemini CLI: a header, and records with their calls and results. A record is written
//! again when its calls end.

use std::borrow::Cow;

use super::{
    ParsedLine, ParsedPart, SourceText, call, field, json, line, notice, other, result, said,
    text_of,
};
use crate::transcript::entry::{CallOutcome, ModelResponse, ResponseTokens};
use crate::transcript::parsed::PARTS_MAX;

/// Beginnings of texts that Gemini CLI adds to the conversation.
const ADDED: &[&str] = &["<session_context>", "<hook_context>"];
/// Tools that start sub-agents.
const AGENT_TOOLS: &[&str] = &[
    "delegate_to_agent",
    "codebase_investigator",
    "cli_help",
    "generalist",
];

pub(super) fn parse(text: &str) -> Option<ParsedLine<'_>> {
    let names = ["id", "timestamp", "type", "content", "displayContent"];
    let [id, time, kind, content, shown] = json::fields(text, names)?;
    let mut parsed = line(id, time);
    let Some(kind) = json::nonempty(kind) else {
        parsed.parts.push(other("session", text));
        return Some(parsed);
    };
    match (kind.as_ref(), shown.or(content)) {
        ("user", Some(content)) => parsed.parts.push(said(text_of(content), ADDED)),
        ("gemini", _) => read_response(text, content, &mut parsed),
        ("error", Some(content)) => parsed.parts.push(ParsedPart::ApiError {
            status: None,
            text: SourceText::Content(content),
        }),
        ("info" | "warning", Some(content)) => {
            parsed
                .parts
                .push(notice(&kind, SourceText::Content(content)));
        }
        (kind, _) => parsed.parts.push(other(kind, text)),
    }
    Some(parsed)
}

fn read_response<'a>(record: &'a str, content: Option<&'a str>, parsed: &mut ParsedLine<'a>) {
    let names = ["id", "model", "tokens", "thoughts", "toolCalls"];
    let [id, model, tokens, thoughts, calls] = json::fields(record, names).unwrap_or_default();
    parsed.response = Some(ModelResponse {
        id: json::nonempty(id).map(Cow::into_owned),
        model: json::nonempty(model).map(Cow::into_owned),
        tokens: tokens.and_then(read_tokens),
    });
    let (thoughts, has_more) = json::elements(thoughts.unwrap_or_default(), PARTS_MAX);
    parsed.has_more_parts |= has_more;
    let thoughts: Vec<String> = thoughts.into_iter().map(thought).collect();
    if !thoughts.is_empty() {
        let text = SourceText::Text(Cow::Owned(thoughts.join("\n\n")));
        parsed.parts.push(ParsedPart::Thinking(text));
    }
    let answer = content.map(text_of).unwrap_or_default();
    if !answer.trim().is_empty() && content != Some("[]") {
        let text = SourceText::Text(answer);
        parsed.parts.push(ParsedPart::Response(text));
    }
    // Each call has its result with it.
    let (calls, has_more) = json::elements(calls.unwrap_or_default(), PARTS_MAX / 2);
    parsed.has_more_parts |= has_more;
    for one in calls {
        let names = ["id", "name", "args", "status", "result", "resultDisplay"];
        let found = json::fields(one, names).unwrap_or_default();
        let [id, name, arguments, status, output, display] = found;
        let part = call(id, json::nonempty(name), arguments, AGENT_TOOLS);
        parsed.parts.push(part);
        let status = json::nonempty(status).unwrap_or_default();
        let outcome = match status.as_ref() {
            "cancelled" => CallOutcome::Rejected,
            "error" => CallOutcome::Error,
            "success" => CallOutcome::Ok,
            // It is not finished. The record is written again.
            _ => continue,
        };
        let text = read_output(output).or(display.map(SourceText::Content));
        let text = text.unwrap_or(SourceText::EMPTY);
        parsed.parts.push(result(id, outcome, text));
    }
    if parsed.parts.is_empty() {
        parsed.parts.push(other("gemini", record));
    }
}

/// `[{functionResponse: {response: {output}}}]`, or `error` instead of `output`.
fn read_output(output: Option<&str>) -> Option<SourceText<'_>> {
    let (parts, _) = json::elements(output?, 1);
    let response = field(parts.first().copied(), "functionResponse");
    let response = field(response, "response")?;
    let [output, error] = json::fields(response, ["output", "error"])?;
    Some(match output.or(error) {
        Some(text) => SourceText::Content(text),
        None => SourceText::Fields(response),
    })
}

fn thought(thought: &str) -> String {
    let found = json::fields(thought, ["subject", "description"]).unwrap_or_default();
    let texts: Vec<_> = found.into_iter().filter_map(json::nonempty).collect();
    texts.join(": ")
}

/// The input includes the cache, and the output excludes thinking.
fn read_tokens(tokens: &str) -> Option<ResponseTokens> {
    let names = ["input", "output", "cached", "thoughts", "tool"];
    let found = json::fields(tokens, names)?;
    let [input, output, cached, thoughts, tool] =
        found.map(|count| json::number(count).unwrap_or(0));
    let tokens = ResponseTokens {
        input: input.saturating_sub(cached).saturating_add(tool),
        cache_read: cached,
        cache_write: 0,
        output: output.saturating_add(thoughts),
    };
    (tokens != ResponseTokens::default()).then_some(tokens)
}
