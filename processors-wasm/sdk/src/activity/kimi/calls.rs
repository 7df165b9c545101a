//! The calls of the model and their results.
//!
//! Kimi CLI writes a call as soon as its name is known. Events `ToolCallPart` then have the rest of
//! its arguments, even after results of earlier calls. A call waits for them.

use std::collections::BTreeMap;

use crate::Timestamp;
use crate::activity::counts::is_counted_up;
use crate::activity::driver::{Items, Reader as _};
use crate::activity::kimi::{KimiAgent, KimiReader};
use crate::activity::values::{RecentIds, joined_text, mcp_server, text};
use crate::activity::{Call, CallFailure, CallResult, CallTarget, Item};
use crate::json::{Json, Text};

/// Longer arguments are not stored. The call then has no input.
const ARGUMENTS_BYTES_MAX: usize = 256 << 10;

/// The number of tools of MCP servers that are stored.
const SERVER_TOOLS_MAX: usize = 4096;

/// The number of bytes of the message of a failed call that are searched.
const BEGINNING_BYTES: usize = 2048;

/// The message of a command that failed, before its exit code.
const EXIT: &str = "exit code: ";

/// The message of a call that a person rejected.
const REJECTED: &str = "rejected by the user";

/// The calls of a file.
#[derive(Default)]
pub(super) struct Calls {
    /// The latest call of each agent, if its arguments are incomplete so far.
    unfinished: RecentIds<UnfinishedCall>,
    /// The types of sub-agents by the calls that started them.
    pub(super) sub_agents: RecentIds<String>,
    /// The calls that wait for a permission, by the request for it.
    asked: RecentIds<String>,
    /// The calls that a person rejected, until their results.
    rejected: RecentIds<()>,
    /// The MCP servers by the names of their tools.
    servers: BTreeMap<String, String>,
}

struct UnfinishedCall {
    line: u64,
    time: Option<Timestamp>,
    agent: KimiAgent,
    id: Option<String>,
    name: String,
    arguments: String,
    is_too_long: bool,
}

impl Calls {
    /// Reads a request for a permission.
    pub(super) fn ask(&mut self, payload: Json<'_>) {
        let [request, call] = payload.fields(["id", "tool_call_id"]);
        if let (Some(request), Some(call)) = (text(request), text(call)) {
            self.asked
                .insert(&request.decode(), call.decode().into_owned());
        }
    }

    /// Reads the decision of a person.
    pub(super) fn decide(&mut self, payload: Json<'_>) {
        let [request, decision] = payload.fields(["request_id", "response"]);
        let call = text(request).and_then(|request| self.asked.take(&request.decode()));
        if let Some(call) = call
            && text(decision).is_some_and(|decision| decision == "reject")
        {
            self.rejected.insert(&call, ());
        }
    }

    /// Reads the tools of MCP servers. Their names do not contain the server.
    pub(super) fn read_servers(&mut self, status: Option<Json<'_>>) {
        let servers = status.and_then(|status| status.field("servers"));
        for server in servers.iter().flat_map(Json::elements) {
            let [name, tools] = server.fields(["name", "tools"]);
            let Some(name) = text(name).map(|name| name.decode()) else {
                continue;
            };
            for tool in tools.iter().flat_map(Json::elements) {
                if let Some(tool) = text(Some(tool))
                    && self.servers.len() < SERVER_TOOLS_MAX
                {
                    self.servers
                        .insert(tool.decode().into_owned(), name.clone().into_owned());
                }
            }
        }
    }
}

impl KimiReader {
    pub(super) fn read_call(&mut self, payload: Json<'_>, items: &mut Items<'_>) {
        self.finish_call(items);
        let [id, function] = payload.fields(["id", "function"]);
        let [name, arguments] =
            function.map_or([None; 2], |function| function.fields(["name", "arguments"]));
        let arguments = text(arguments).map(|arguments| arguments.decode());
        let name = text(name).map(|name| name.decode()).unwrap_or_default();
        let id = text(id).map(|id| self.unique_id(&id.decode()));
        let call = UnfinishedCall {
            line: items.line(),
            time: self.time,
            agent: self.agent.clone(),
            id,
            name: name.into_owned(),
            arguments: String::new(),
            is_too_long: false,
        };
        self.add_arguments(call, arguments.as_deref().unwrap_or_default(), items);
    }

    pub(super) fn read_call_part(&mut self, payload: Json<'_>, items: &mut Items<'_>) {
        let part = text(payload.field("arguments_part"));
        let call = self.calls.unfinished.take(&self.agent.id);
        if let Some(call) = call {
            let part = part.map(|part| part.decode()).unwrap_or_default();
            self.add_arguments(call, &part, items);
        }
    }

    /// Adds a part of the arguments. If they are complete, the call is.
    fn add_arguments(&mut self, mut call: UnfinishedCall, part: &str, items: &mut Items<'_>) {
        call.is_too_long |= call.arguments.len() + part.len() > ARGUMENTS_BYTES_MAX;
        if call.is_too_long {
            call.arguments.clear();
        } else {
            call.arguments.push_str(part);
        }
        // Only a part that can end an object can complete the arguments.
        let can_end = part.trim_end().ends_with('}');
        if can_end && Json::parse(&call.arguments).is_some() {
            self.emit_call(&call, items);
            return;
        }
        let agent = call.agent.id.clone();
        // A call that cannot wait is not lost.
        if let Some(call) = self.calls.unfinished.insert(&agent, call) {
            self.emit_call(&call, items);
        }
    }

    /// Emits the latest call of the current agent, because nothing can be added to it.
    pub(super) fn finish_call(&mut self, items: &mut Items<'_>) {
        if let Some(call) = self.calls.unfinished.take(&self.agent.id) {
            self.emit_call(&call, items);
        }
    }

    /// Emits the latest calls of all agents.
    pub(super) fn finish_all_calls(&mut self, items: &mut Items<'_>) {
        for (_, call) in self.calls.unfinished.take_all() {
            self.emit_call(&call, items);
        }
    }

    fn emit_call(&mut self, call: &UnfinishedCall, items: &mut Items<'_>) {
        let input = Json::parse(&call.arguments);
        let name = call.name.as_str();
        let argument = |field: &str| text(input.and_then(|input| input.field(field)));
        let server = || {
            let server = self.calls.servers.get(name);
            server.map(String::as_str).or_else(|| mcp_server(name))
        };
        let target = if name == "Task" || name == "Agent" {
            CallTarget::SubAgent(argument("subagent_type").or(argument("subagent_name")))
        } else {
            server().map_or(CallTarget::Tool, |server| {
                CallTarget::Mcp(Some(Text::plain(server)))
            })
        };
        let item = Item::Call(Call {
            id: call.id.as_deref(),
            name: Some(Text::plain(name)).filter(|name| !name.is_empty()),
            target,
            input,
            model: None,
        });
        items.emit_from(call.line, self.origin_of(&call.agent, call.time), &item);
        if let (CallTarget::SubAgent(Some(kind)), Some(id)) = (target, &call.id) {
            let kind = kind.decode().into_owned();
            self.calls.sub_agents.insert(id, kind);
        }
    }

    pub(super) fn read_result(&mut self, payload: Json<'_>, items: &mut Items<'_>) {
        let [id, value] = payload.fields(["tool_call_id", "return_value"]);
        let Some(raw_id) = text(id).map(|id| id.decode()) else {
            return;
        };
        let id = self.unique_id(&raw_id);
        let is_own = |call: &UnfinishedCall| call.id.as_deref() == Some(&id);
        if self
            .calls
            .unfinished
            .get(&self.agent.id)
            .is_some_and(is_own)
        {
            self.finish_call(items);
        }
        let [is_error, message, output] = value.map_or([None; 3], |value| {
            value.fields(["is_error", "message", "output"])
        });
        let is_error = is_error.and_then(|is_error| is_error.bool()) == Some(true);
        let is_rejected = self.calls.rejected.take(&raw_id).is_some();
        let failure = if is_rejected {
            Some(CallFailure::Rejected)
        } else {
            is_error.then(|| failure_of(message))
        };
        let shown = text(output);
        let joined = output.filter(|_| shown.is_none()).map(joined_text);
        let result = CallResult {
            call_id: Some(&id),
            failure,
            text: shown.or(joined.as_deref().map(Text::plain)),
            duration_ms: None,
        };
        items.emit(self.origin(), &Item::Result(result));
    }

    /// The id of a call, unique across sessions. Ids that are counted up, such as
    /// `functions.Shell:0`, have the session and the sub-agent before them.
    pub(super) fn unique_id(&self, id: &str) -> String {
        if is_counted_up(id) {
            let (session, agent) = (&self.place.session_id, &self.agent.id);
            format!("{session}/{agent}/{id}")
        } else {
            id.to_owned()
        }
    }
}

/// How a call failed, by its message.
fn failure_of(message: Option<Json<'_>>) -> CallFailure {
    let message = text(message).map(|message| message.beginning(BEGINNING_BYTES));
    let message = message.unwrap_or_default();
    if message.contains(REJECTED) {
        return CallFailure::Rejected;
    }
    let code = message.split_once(EXIT).map(|(_, code)| code);
    let is_nonzero = |code: &str| {
        let digits = code.strip_prefix('-').unwrap_or(code);
        digits.starts_with(|first: char| matches!(first, '1'..='9'))
    };
    if code.is_some_and(is_nonzero) {
        CallFailure::ExitCode
    } else {
        CallFailure::ToolError
    }
}
