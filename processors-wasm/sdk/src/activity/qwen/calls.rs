//! The answers and calls of the model, and the results of calls.

use crate::activity::counts::is_counted_up;
use crate::activity::driver::{Items, Reader as _};
use crate::activity::qwen::QwenReader;
use crate::activity::values::{mcp_server, text};
use crate::activity::{Call, CallFailure, CallResult, CallTarget, Item};
use crate::json::{Json, Text};

impl QwenReader {
    pub(super) fn read_response(
        &self,
        line: Json<'_>,
        message: Option<Json<'_>>,
        items: &mut Items<'_>,
    ) {
        let model = text(line.field("model"));
        let parts = message.and_then(|message| message.field("parts"));
        for part in parts.iter().flat_map(Json::elements) {
            let [said, is_thought, call] = part.fields(["text", "thought", "functionCall"]);
            let is_thought = is_thought.and_then(|is_thought| is_thought.bool()) == Some(true);
            if let Some(said) = text(said).filter(|_| !is_thought) {
                items.emit(self.origin(), &Item::Answer(said));
            }
            if let Some(call) = call.filter(|call| call.is_object()) {
                self.read_call(call, model, items);
            }
        }
    }

    fn read_call(&self, call: Json<'_>, model: Option<Text<'_>>, items: &mut Items<'_>) {
        let [id, name, input] = call.fields(["id", "name", "args"]);
        let id = text(id).map(|id| self.unique_id(&id.decode()));
        let name = text(name).map(|name| name.decode()).unwrap_or_default();
        let argument = |field: &str| text(input.and_then(|input| input.field(field)));
        let target = match (&*name, mcp_server(&name)) {
            (_, Some(server)) => CallTarget::Mcp(Some(Text::plain(server))),
            ("skill", _) => CallTarget::Skill(argument("skill")),
            ("task" | "agent", _) => CallTarget::SubAgent(argument("subagent_type")),
            _ => CallTarget::Tool,
        };
        let call = Call {
            id: id.as_deref(),
            name: Some(Text::plain(&name)).filter(|name| !name.is_empty()),
            target,
            input,
            model,
        };
        items.emit(self.origin(), &Item::Call(call));
    }

    pub(super) fn read_result(&self, line: Json<'_>, items: &mut Items<'_>) {
        let [result, message] = line.fields(["toolCallResult", "message"]);
        let [id, status] = result.map_or([None; 2], |result| result.fields(["callId", "status"]));
        let parts = message.and_then(|message| message.field("parts"));
        let mut parts = parts.iter().flat_map(Json::elements);
        let response = parts.find_map(|part| part.field("functionResponse"));
        let [response_id, response] =
            response.map_or([None; 2], |response| response.fields(["id", "response"]));
        let Some(id) = text(id).or(text(response_id)) else {
            return;
        };
        let id = self.unique_id(&id.decode());
        let [output, error] =
            response.map_or([None; 2], |response| response.fields(["output", "error"]));
        let is = |name: &str| text(status).is_some_and(|status| status == name);
        let failure = if is("cancelled") {
            Some(CallFailure::Rejected)
        } else {
            is("error").then_some(CallFailure::ToolError)
        };
        let result = CallResult {
            call_id: Some(&id),
            failure,
            text: text(output).or(text(error)),
            duration_ms: None,
        };
        items.emit(self.origin(), &Item::Result(result));
    }

    /// The id of a call, unique across sessions. Ids that are counted up have the session before
    /// them, in copies that of the original.
    fn unique_id(&self, id: &str) -> String {
        if is_counted_up(id) {
            let copied = self.forked_from.as_deref().filter(|_| self.is_replayed);
            let session = copied.or(self.session.as_deref()).unwrap_or_default();
            format!("{session}/{id}")
        } else {
            id.to_owned()
        }
    }
}
