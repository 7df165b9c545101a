//! The calls of the models and their results.

use crate::activity::copilot::{CopilotReader, text};
use crate::activity::counts::is_counted_up;
use crate::activity::driver::{Items, Reader};
use crate::activity::{Call, CallFailure, CallResult, CallTarget, Item};
use crate::json::{Json, Text};

/// What precedes the exit code at the end of a result.
const EXIT: &str = "<exited with exit code ";

impl CopilotReader {
    pub(super) fn read_call(&mut self, data: Json<'_>, items: &mut Items<'_>) {
        let [id, name, arguments, server, model] = data.fields([
            "toolCallId",
            "toolName",
            "arguments",
            "mcpServerName",
            "model",
        ]);
        let id = text(id).map(|id| self.call_id(&id.decode()));
        let argument = |field: &str| text(arguments.and_then(|arguments| arguments.field(field)));
        let target = match (text(server), text(name)) {
            (Some(server), _) => CallTarget::Mcp(Some(server)),
            (None, Some(name)) if name == "task" => CallTarget::SubAgent(argument("agent_type")),
            (None, Some(name)) if name == "skill" => CallTarget::Skill(argument("skill")),
            _ => CallTarget::Tool,
        };
        let selected = self.model.as_ref().filter(|_| self.agent.is_none());
        let known = self.agent_models.get(&self.agent).or(selected);
        let call = Call {
            id: id.as_deref(),
            name: text(name),
            target,
            input: arguments,
            model: text(model).or(known.map(|model| Text::plain(model))),
        };
        items.emit(self.origin(), &Item::Call(call));
    }

    pub(super) fn read_result(&mut self, data: Json<'_>, items: &mut Items<'_>) {
        let [id, success, error, result, model] =
            data.fields(["toolCallId", "success", "error", "result", "model"]);
        let Some(id) = text(id).map(|id| self.call_id(&id.decode())) else {
            return;
        };
        if let Some(model) = text(model) {
            let model = model.decode().into_owned();
            self.leg.resolve(&id, &model);
            self.agent_models.insert(self.agent.clone(), model);
        }
        let [code, message] = error.map_or([None; 2], |error| error.fields(["code", "message"]));
        let shown = text(result.and_then(|result| result.field("content"))).or(text(message));
        let failure = if success.and_then(|success| success.bool()) == Some(false) {
            let code = text(code).map(|code| code.decode()).unwrap_or_default();
            let is_rejected = code.contains("denied") || code.contains("rejected");
            Some(if is_rejected {
                CallFailure::Rejected
            } else {
                CallFailure::ToolError
            })
        } else {
            let code = shown.and_then(exit_code).filter(|code| *code != 0);
            code.map(|_| CallFailure::ExitCode)
        };
        let result = CallResult {
            call_id: Some(&id),
            failure,
            text: shown,
            duration_ms: None,
        };
        items.emit(self.origin(), &Item::Result(result));
    }

    /// Reads the decision about a call, by a person, a rule or a hook.
    pub(super) fn read_permission(&mut self, data: Json<'_>, items: &mut Items<'_>) {
        let [id, result] = data.fields(["toolCallId", "result"]);
        let kind = text(result.and_then(|result| result.field("kind")));
        let is_denied = kind.is_some_and(|kind| kind.decode().starts_with("denied"));
        if let Some(id) = text(id).filter(|_| is_denied) {
            let id = self.call_id(&id.decode());
            let result = CallResult {
                call_id: Some(&id),
                failure: Some(CallFailure::Rejected),
                ..CallResult::default()
            };
            items.emit(self.origin(), &Item::Result(result));
        }
    }

    /// The id of a call, unique across sessions. The ids of some providers are counted up.
    pub(super) fn call_id(&self, id: &str) -> String {
        if is_counted_up(id) {
            let session = self.session_id.as_deref().unwrap_or_default();
            format!("{session}/{id}")
        } else {
            id.to_owned()
        }
    }
}

/// The exit code at the end of the result of a command.
fn exit_code(result: Text<'_>) -> Option<i64> {
    // The end has no escapes but those of line breaks, so that a long result is not decoded.
    let mut raw = result.raw().trim_end();
    while let Some(rest) = raw.strip_suffix(r"\n").or_else(|| raw.strip_suffix(r"\r")) {
        raw = rest.trim_end();
    }
    let (_, code) = raw.rsplit_once(EXIT)?;
    code.strip_suffix('>')?.parse().ok()
}
