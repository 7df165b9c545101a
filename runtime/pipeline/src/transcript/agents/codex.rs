//! The format of Codex CLI: `{timestamp, type, payload}`. Before version 0.3x, items have no
//! envelope.

use std::borrow::Cow;

use super::{
    ParsedLine, ParsedPart, SourceText, call, field, json, line, notice, other, result, said,
    text_of,
};
use crate::transcript::entry::CallOutcome;

/// Beginnings of texts that Codex adds to the conversation.
const ADDED: &[&str] = &[
    "<heartbeat>",
    "<environment_context>",
    "<user_instructions>",
    "<turn_aborted>",
    "<skill>",
    "<subagent_notification>",
    "<user_shell_command>",
    "<recommended_plugins>",
    "<system-reminder>",
    "# AGENTS.md instructions",
];
/// The heading that an editor writes before the text of the person.
const REQUEST_HEADING: &str = "## My request for Codex:";
/// Tools that start sub-agents.
const AGENT_TOOLS: &[&str] = &["spawn_agent"];
/// Beginnings of results of calls that a person rejected.
const REJECTIONS: &[&str] = &["exec command rejected by user", "aborted by user"];
/// Beginnings of results of calls that failed.
const FAILURES: &[&str] = &[
    "exec_command failed",
    "write_stdin failed",
    "apply_patch verification failed",
    "Script failed",
    "failed in sandbox",
];
/// What is before the exit code of a command.
const EXITS: &[&str] = &["Exit code: ", "Process exited with code "];

pub(super) fn parse(text: &str) -> Option<ParsedLine<'_>> {
    let [time, kind, payload] = json::fields(text, ["timestamp", "type", "payload"])?;
    let mut parsed = line(None, time);
    let kind = json::nonempty(kind).unwrap_or(Cow::Borrowed("header"));
    let part = json::nonempty(field(payload, "type")).unwrap_or_default();
    match (kind.as_ref(), payload) {
        ("response_item", Some(item)) => read_item(item, &part, &mut parsed),
        ("event_msg", Some(event)) => read_event(event, &part, text, &mut parsed),
        ("compacted", Some(payload)) => parsed.parts.push(ParsedPart::Compaction {
            trigger: None,
            tokens_before: None,
            text: SourceText::content(field(Some(payload), "message")),
            is_boundary: true,
        }),
        (_, Some(_)) => parsed.parts.push(other(&kind, text)),
        (_, None) => read_item(text, &kind, &mut parsed),
    }
    Some(parsed)
}

fn read_item<'a>(item: &'a str, kind: &str, parsed: &mut ParsedLine<'a>) {
    let names = [
        "role",
        "content",
        "summary",
        "call_id",
        "id",
        "name",
        "arguments",
        "input",
        "action",
        "output",
    ];
    let found = json::fields(item, names).unwrap_or_default();
    let [
        role,
        content,
        summary,
        call_id,
        id,
        name,
        arguments,
        input,
        action,
        output,
    ] = found;
    parsed.uuid = json::nonempty(id);
    let part = match (kind, content) {
        ("message", Some(content)) => match json::nonempty(role).as_deref() {
            Some("user") => prompt(text_of(content)),
            Some("assistant") => ParsedPart::Response(SourceText::Content(content)),
            role => notice(role.unwrap_or("message"), SourceText::Content(content)),
        },
        ("reasoning", _) => {
            let has_text = summary.is_some_and(|summary| !json::elements(summary, 1).0.is_empty());
            ParsedPart::Thinking(SourceText::content(summary.filter(|_| has_text)))
        }
        (
            "function_call" | "custom_tool_call" | "local_shell_call" | "web_search_call"
            | "tool_search_call",
            _,
        ) => {
            let name = json::nonempty(name).or_else(|| {
                let name = kind.strip_suffix("_call").unwrap_or(kind);
                Some(Cow::Owned(name.to_owned()))
            });
            let input = arguments.or(input).or(action);
            call(call_id.or(id), name, input, AGENT_TOOLS)
        }
        (kind, _) if kind.ends_with("_output") => {
            let text = SourceText::content(output);
            result(call_id, outcome_of(&text.decode()), text)
        }
        (kind, _) => other(kind, item),
    };
    parsed.parts.push(part);
}

fn read_event<'a>(event: &'a str, kind: &str, line: &'a str, parsed: &mut ParsedLine<'a>) {
    let [message, reason] = json::fields(event, ["message", "reason"]).unwrap_or_default();
    let part = match kind {
        "error" | "stream_error" => ParsedPart::ApiError {
            status: None,
            text: SourceText::content(message),
        },
        "turn_aborted" => notice("interruption", SourceText::content(reason)),
        "warning" | "background_event" => notice(kind, SourceText::content(message)),
        // An item has the same text.
        _ => other(&format!("event_msg: {kind}"), line),
    };
    parsed.parts.push(part);
}

/// A text with the role of the user.
fn prompt(text: Cow<'_, str>) -> ParsedPart<'_> {
    let typed = text
        .split_once(REQUEST_HEADING)
        .map(|(_, typed)| typed.trim());
    match typed.filter(|typed| !typed.is_empty()) {
        Some(typed) => said(Cow::Owned(typed.to_owned()), ADDED),
        None => said(text, ADDED),
    }
}

/// The outcome of a call, by the beginning of its output, which can be JSON in a text.
fn outcome_of(output: &str) -> CallOutcome {
    let output = output.trim_start();
    let begins = |beginnings: &[&str]| {
        beginnings
            .iter()
            .any(|beginning| output.starts_with(beginning))
    };
    if begins(REJECTIONS)
        || output
            .lines()
            .take(4)
            .any(|line| line.contains("Rejected(\""))
    {
        return CallOutcome::Rejected;
    }
    let metadata = json::fields(output, ["metadata", "success"]);
    let [metadata, success] = metadata.unwrap_or_default();
    let code = field(metadata, "exit_code").map(str::to_owned);
    let code = code.or_else(|| {
        let mut lines = output.lines().take(4);
        lines.find_map(|line| {
            let mut marks = EXITS.iter();
            marks.find_map(|mark| Some(line.strip_prefix(mark)?.trim().to_owned()))
        })
    });
    let has_failed = code.is_some_and(|code| code.parse::<i64>().is_ok_and(|code| code != 0));
    match has_failed || success == Some("false") || begins(FAILURES) {
        true => CallOutcome::Error,
        false => CallOutcome::Ok,
    }
}
