//! The format of Kimi CLI: events `{timestamp, message: {type, payload}}`, of which those of
//! sub-agents are nested.

use std::borrow::Cow;

use session_pipeline_host::clock::UtcMicros;

use super::{
    ParsedLine, ParsedPart, SourceText, call, field, json, notice, other, result, said, text_of,
    tokens_of,
};
use crate::transcript::entry::{CallOutcome, ModelResponse, ResponseTokens};
use crate::transcript::parsed::ParsedSubAgent;

/// Tools that start sub-agents.
const AGENT_TOOLS: &[&str] = &["Task", "CreateSubagent", "Agent"];
/// A sub-agent can start another one.
const NESTING_MAX: usize = 8;
const MICROS: f64 = 1e6;

pub(super) fn parse(text: &str) -> Option<ParsedLine<'_>> {
    let [time, message] = json::fields(text, ["timestamp", "message"])?;
    let seconds = time.and_then(|time| time.parse::<f64>().ok());
    let mut parsed = ParsedLine {
        time: seconds.map(|seconds| UtcMicros((seconds * MICROS).round() as i64)),
        ..ParsedLine::default()
    };
    let mut event = message;
    for _ in 0..NESTING_MAX {
        let found = event.and_then(|event| json::fields(event, ["type", "payload"]));
        let Some([Some(kind), Some(payload)]) = found else {
            break;
        };
        let kind = json::nonempty(Some(kind)).unwrap_or_default();
        if kind != "SubagentEvent" {
            parsed
                .parts
                .push(read_payload(&kind, payload, text, &mut parsed.response));
            return Some(parsed);
        }
        let names = [
            "parent_tool_call_id",
            "task_tool_call_id",
            "agent_id",
            "event",
        ];
        let [parent, task, agent, inner] = json::fields(payload, names).unwrap_or_default();
        parsed.sub_agent = Some(ParsedSubAgent {
            agent_id: json::nonempty(agent),
            call: json::nonempty(parent.or(task)),
        });
        event = inner;
    }
    parsed.parts.push(other("event", text));
    Some(parsed)
}

fn read_payload<'a>(
    kind: &str,
    payload: &'a str,
    line: &'a str,
    response: &mut Option<ModelResponse>,
) -> ParsedPart<'a> {
    match kind {
        "TurnBegin" | "SteerInput" => match field(Some(payload), "user_input") {
            Some(input) => said(text_of(input), &[]),
            None => other(kind, line),
        },
        "ContentPart" => {
            let found = json::fields(payload, ["type", "text", "think"]).unwrap_or_default();
            match found {
                [_, Some(text), _] => ParsedPart::Response(SourceText::Content(text)),
                [_, None, Some(think)] => ParsedPart::Thinking(SourceText::Content(think)),
                _ => other(kind, line),
            }
        }
        "ToolCall" => {
            let [id, function] = json::fields(payload, ["id", "function"]).unwrap_or_default();
            let function = function.and_then(|json| json::fields(json, ["name", "arguments"]));
            let [name, arguments] = function.unwrap_or_default();
            call(id, json::nonempty(name), arguments, AGENT_TOOLS)
        }
        "ToolResult" => {
            let names = ["tool_call_id", "return_value"];
            let [id, value] = json::fields(payload, names).unwrap_or_default();
            let value =
                value.and_then(|json| json::fields(json, ["is_error", "output", "message"]));
            let [is_error, output, message] = value.unwrap_or_default();
            let message = json::nonempty(message);
            let outcome = match json::flag(is_error) {
                true if message.as_deref().is_some_and(is_rejection) => CallOutcome::Rejected,
                true => CallOutcome::Error,
                false => CallOutcome::Ok,
            };
            let output = output
                .map(text_of)
                .filter(|output| !output.trim().is_empty());
            let text = output.or(message).unwrap_or_default();
            result(id, outcome, SourceText::Text(text))
        }
        "StatusUpdate" => {
            let [usage, id] =
                json::fields(payload, ["token_usage", "message_id"]).unwrap_or_default();
            *response = usage.and_then(read_tokens).map(|tokens| ModelResponse {
                id: json::nonempty(id).map(Cow::into_owned),
                model: None,
                tokens: Some(tokens),
            });
            other(kind, line)
        }
        "CompactionEnd" => ParsedPart::Compaction {
            trigger: None,
            tokens_before: None,
            text: SourceText::EMPTY,
            is_boundary: true,
        },
        "StepInterrupted" => notice("interruption", SourceText::EMPTY),
        _ => other(kind, line),
    }
}

fn is_rejection(message: &str) -> bool {
    message.to_lowercase().contains("rejected by the user")
}

fn read_tokens(usage: &str) -> Option<ResponseTokens> {
    let names = [
        "input_other",
        "input_cache_read",
        "input_cache_creation",
        "output",
    ];
    tokens_of(usage, names)
}
