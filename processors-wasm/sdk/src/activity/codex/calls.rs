//! The calls of the model and their results.

use std::borrow::Cow;

use crate::activity::codex::{CodexReader, text};
use crate::activity::counts::{is_counted_up, text_hash};
use crate::activity::driver::{Items, Reader};
use crate::activity::{Call, CallFailure, CallResult, CallTarget, Item};
use crate::json::{Json, Text};

/// Number of bytes of a result that decide whether the call failed.
const BEGINNING_BYTES: usize = 2048;

/// Number of lines of a result that can contain the exit code.
const EXIT_LINES: usize = 4;

/// Types of items that no item of the stream needs.
const OTHER_ITEMS: &[&str] = &[
    "compaction",
    "compaction_summary",
    "ghost_snapshot",
    "image_generation_call",
    "other",
    "reasoning",
];

/// Beginnings of results of calls that failed.
const FAILURES: &[&str] = &[
    "exec_command failed",
    "write_stdin failed",
    "apply_patch verification failed",
    "Script failed",
    "failed in sandbox",
];

impl CodexReader {
    pub(super) fn read_response_item(&mut self, item: Json<'_>, kind: &str, items: &mut Items<'_>) {
        match kind {
            "message" => self.read_message(item, items),
            "function_call" | "custom_tool_call" | "local_shell_call" | "web_search_call"
            | "tool_search_call" => {
                self.confirm_prompt(items);
                self.read_call(item, kind, items);
            }
            "function_call_output"
            | "custom_tool_call_output"
            | "local_shell_call_output"
            | "tool_search_output"
            | "tool_search_call_output" => self.read_output(item, items),
            known if OTHER_ITEMS.contains(&known) => {}
            unknown => {
                let name = format!("response_item/{unknown}");
                items.emit(self.origin(), &Item::Unknown(Text::plain(&name)));
            }
        }
    }

    fn read_message(&mut self, message: Json<'_>, items: &mut Items<'_>) {
        let [role, content] = message.fields(["role", "content"]);
        let role = text(role).map(|role| role.decode()).unwrap_or_default();
        let parts = || content.iter().flat_map(Json::elements);
        let texts = || parts().filter_map(|part| text(part.field("text")));
        match &*role {
            "assistant" => {
                self.confirm_prompt(items);
                for text in texts() {
                    items.emit(self.origin(), &Item::Answer(text));
                }
            }
            "user" => {
                let texts: Vec<Cow<'_, str>> = texts().map(|text| text.decode()).collect();
                let earlier = self.prompts.receive(&texts.join("\n"), &self.thread);
                self.emit_prompts(&earlier, items);
            }
            _ => {}
        }
    }

    /// The agent answers, so that a message of the user without an event was a prompt.
    fn confirm_prompt(&mut self, items: &mut Items<'_>) {
        let prompts = self.prompts.confirm();
        self.emit_prompts(&prompts, items);
    }

    fn read_call(&mut self, call: Json<'_>, kind: &str, items: &mut Items<'_>) {
        let [call_id, id, name, namespace, arguments, input, action] = call.fields([
            "call_id",
            "id",
            "name",
            "namespace",
            "arguments",
            "input",
            "action",
        ]);
        let call_id = text(call_id).or(text(id).filter(|_| kind == "web_search_call"));
        let call_id = call_id.map(|id| self.unique_id(&id.decode()));
        let mut name = match text(name) {
            Some(name) => name.decode(),
            None => Cow::Borrowed(kind.strip_suffix("_call").unwrap_or(kind)),
        };
        let namespace = text(namespace).map(|namespace| namespace.decode());
        if let Some(namespace) = namespace.filter(|name| name.starts_with("mcp__")) {
            name = Cow::Owned(format!("{}__{name}", namespace.trim_end_matches('_')));
        }
        // Arguments are JSON in a string.
        let arguments = text(arguments).map(|arguments| arguments.decode());
        let arguments = arguments.as_deref().and_then(Json::parse);
        let sub_agent = arguments.and_then(|arguments| text(arguments.field("agent_type")));
        let target = match name.strip_prefix("mcp__") {
            Some(rest) => {
                let server = rest.split_once("__").map_or(rest, |(server, _)| server);
                self.mcp_calls.extend(call_id.as_deref().map(text_hash));
                CallTarget::Mcp(Some(Text::plain(server)))
            }
            None if name == "spawn_agent" => CallTarget::SubAgent(sub_agent),
            None => CallTarget::Tool,
        };
        let call = Call {
            id: call_id.as_deref(),
            name: Some(Text::plain(&name)),
            target,
            input: arguments.or(input).or(action),
            model: self.model.as_deref().map(Text::plain),
        };
        items.emit(self.origin(), &Item::Call(call));
    }

    fn read_output(&mut self, item: Json<'_>, items: &mut Items<'_>) {
        let [call_id, output] = item.fields(["call_id", "output"]);
        let Some(call_id) = text(call_id).map(|id| self.unique_id(&id.decode())) else {
            return;
        };
        let shown = output.and_then(first_text);
        let failed = output.and_then(|output| output.field("success")?.bool()) == Some(false);
        let failure = shown.and_then(failure_of);
        let result = CallResult {
            call_id: Some(&call_id),
            failure: failure.or(failed.then_some(CallFailure::ToolError)),
            text: shown,
            duration_ms: None,
        };
        items.emit(self.origin(), &Item::Result(result));
    }

    /// Reads the end of a call of an MCP server. A script that the model runs makes calls that no
    /// other line reports.
    pub(super) fn read_mcp_end(&mut self, event: Json<'_>, items: &mut Items<'_>) {
        let [call_id, invocation, result, duration] =
            event.fields(["call_id", "invocation", "result", "duration"]);
        let Some(call_id) = text(call_id).map(|id| self.unique_id(&id.decode())) else {
            return;
        };
        let [server, tool, arguments] = invocation.map_or([None; 3], |invocation| {
            invocation.fields(["server", "tool", "arguments"])
        });
        if self.mcp_calls.insert(text_hash(&call_id)) {
            let (server, tool) = (text(server), text(tool));
            let part = |part: Option<Text<'_>>| part.map(|part| part.decode().into_owned());
            let name = format!(
                "mcp__{}__{}",
                part(server).unwrap_or_default(),
                part(tool).unwrap_or_default()
            );
            let call = Call {
                id: Some(&call_id),
                name: Some(Text::plain(&name)),
                target: CallTarget::Mcp(server),
                input: arguments,
                model: self.model.as_deref().map(Text::plain),
            };
            items.emit(self.origin(), &Item::Call(call));
        }
        let [ok, error] = result.map_or([None; 2], |result| result.fields(["Ok", "Err"]));
        let is_error = ok.and_then(|ok| ok.field("isError")?.bool()) == Some(true);
        let result = CallResult {
            call_id: Some(&call_id),
            failure: (is_error || error.is_some()).then_some(CallFailure::ToolError),
            text: text(error),
            duration_ms: duration.and_then(milliseconds),
        };
        items.emit(self.origin(), &Item::Result(result));
    }

    /// Reads the decision of a reviewer that acts in place of a person.
    pub(super) fn read_assessment(&mut self, event: Json<'_>, items: &mut Items<'_>) {
        let [call_id, status] = event.fields(["target_item_id", "status"]);
        let is_denied = text(status).is_some_and(|status| status == "denied");
        if let Some(call_id) = text(call_id).filter(|_| is_denied) {
            let call_id = self.unique_id(&call_id.decode());
            let result = CallResult {
                call_id: Some(&call_id),
                failure: Some(CallFailure::Rejected),
                ..CallResult::default()
            };
            items.emit(self.origin(), &Item::Result(result));
        }
    }

    /// The id of a call, unique across sessions. The ids of some providers are counted up, so that
    /// the thread must precede them. Copies preserve the thread in their header.
    fn unique_id(&self, id: &str) -> String {
        if is_counted_up(id) {
            format!("{}/{id}", self.thread.nearest_id())
        } else {
            id.to_owned()
        }
    }
}

/// The first text of an output: a text, a list of parts, or an object with either as content.
fn first_text(output: Json<'_>) -> Option<Text<'_>> {
    let content = output.field("content").unwrap_or(output);
    let mut parts = content.elements();
    text(Some(content)).or_else(|| parts.find_map(|part| text(part.field("text"))))
}

/// How a call failed, by the beginning of its result.
fn failure_of(result: Text<'_>) -> Option<CallFailure> {
    let beginning = result.beginning(BEGINNING_BYTES);
    let text = beginning.trim_start();
    let is_failed = FAILURES.iter().any(|failure| text.starts_with(failure));
    if text.starts_with("exec command rejected by user")
        || text.starts_with("aborted by user")
        || is_failed && text.contains("Rejected(\"")
    {
        return Some(CallFailure::Rejected);
    }
    if is_failed {
        return Some(CallFailure::ToolError);
    }
    let code = if text.starts_with('{') {
        // The exit code can follow the output.
        let whole = result.decode();
        let metadata = Json::parse(&whole)?.field("metadata")?;
        metadata.field("exit_code")?.s64()
    } else {
        text.lines().take(EXIT_LINES).find_map(exit_code)
    };
    (code? != 0).then_some(CallFailure::ExitCode)
}

fn exit_code(line: &str) -> Option<i64> {
    let code = line
        .strip_prefix("Exit code: ")
        .or_else(|| line.strip_prefix("Process exited with code "))?;
    code.trim().parse().ok()
}

fn milliseconds(duration: Json<'_>) -> Option<i64> {
    let [seconds, nanos] = duration.fields(["secs", "nanos"]);
    let (seconds, nanos) = (seconds?.s64()?, nanos?.s64()?);
    let millis = seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000)?;
    (millis >= 0).then_some(millis)
}
