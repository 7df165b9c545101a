//! The calls of the model and their results, which are in the same record.

use crate::Timestamp;
use crate::activity::counts::is_counted_up;
use crate::activity::driver::{Items, Reader};
use crate::activity::gemini::{GeminiReader, text};
use crate::activity::{Call, CallFailure, CallResult, CallTarget, Item, Origin};
use crate::json::{Json, Text};

/// Tools that are sub-agents.
const SUB_AGENTS: &[&str] = &["codebase_investigator", "cli_help", "generalist"];

/// The end of the display name of an MCP server's tool, after the name of the server.
const SERVER_SUFFIX: &str = " MCP Server)";

/// What precedes the exit code in the result of a command.
const EXIT: &str = "Exit Code: ";

impl GeminiReader {
    /// Reads the call at this position of a record.
    pub(super) fn read_call(
        &mut self,
        call: Json<'_>,
        position: usize,
        record: Option<&str>,
        model: Option<Text<'_>>,
        items: &mut Items<'_>,
    ) {
        let [id, name, arguments, status, result, display, timestamp] = call.fields([
            "id",
            "name",
            "args",
            "status",
            "result",
            "displayName",
            "timestamp",
        ]);
        let id = match (text(id), record) {
            (Some(id), _) => Some(self.call_id(&id.decode())),
            (None, Some(record)) => Some(format!("{record}#{position}")),
            (None, None) => None,
        };
        let name = text(name).map(|name| name.decode()).unwrap_or_default();
        let argument = |field: &str| text(arguments.and_then(|arguments| arguments.field(field)));
        let display = text(display).map(|display| display.decode());
        let server = display.as_deref().and_then(displayed_server);
        let target = match server.or_else(|| named_server(&name)) {
            Some(server) => CallTarget::Mcp(Some(Text::plain(server))),
            None if name == "activate_skill" => CallTarget::Skill(argument("name")),
            None if name == "delegate_to_agent" => {
                CallTarget::SubAgent(argument("agent_name").or(argument("agentName")))
            }
            None if SUB_AGENTS.contains(&&*name) || text(call.field("agentId")).is_some() => {
                CallTarget::SubAgent(Some(Text::plain(&name)))
            }
            None => CallTarget::Tool,
        };
        let item = Call {
            id: id.as_deref(),
            name: Some(Text::plain(&name)).filter(|name| !name.is_empty()),
            target,
            input: arguments,
            model,
        };
        if self.is_new("call", id.as_deref()) {
            items.emit(self.origin(), &Item::Call(item));
        }
        let shown = result.and_then(output);
        let status = text(status).map(|status| status.decode());
        let failure = match status.as_deref().unwrap_or_default() {
            "success" => shown
                .filter(|_| name.contains("shell"))
                .and_then(exit_failure),
            "error" => Some(CallFailure::ToolError),
            "cancelled" => Some(CallFailure::Rejected),
            // The call has not ended.
            _ => return,
        };
        if !self.is_new("result", id.as_deref()) {
            return;
        }
        let ended_at = text(timestamp).and_then(|time| Timestamp::parse(&time.decode()));
        let origin = Origin {
            time: ended_at.or(self.time),
            ..self.origin()
        };
        let result = CallResult {
            call_id: id.as_deref(),
            failure,
            text: shown,
            duration_ms: None,
        };
        items.emit(origin, &Item::Result(result));
    }

    /// The id of a call, unique across sessions. The ids of some providers are counted up.
    fn call_id(&self, id: &str) -> String {
        if is_counted_up(id) {
            let session = self.session_id.as_deref().unwrap_or_default();
            format!("{session}/{id}")
        } else {
            id.to_owned()
        }
    }
}

/// The output or the error in the list of parts that is the result of a call.
fn output(result: Json<'_>) -> Option<Text<'_>> {
    let mut parts = result.elements();
    result.text().or_else(|| {
        parts.find_map(|part| {
            let response = part.field("functionResponse")?.field("response")?;
            let [output, error] = response.fields(["output", "error"]);
            text(output).or(text(error))
        })
    })
}

/// Whether a command exited with an error code. The last line with an exit code is that of the
/// agent, because the output of the command precedes it.
fn exit_failure(output: Text<'_>) -> Option<CallFailure> {
    let output = output.decode();
    let code = output
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(EXIT));
    let code: i64 = code?.trim().parse().ok()?;
    (code != 0).then_some(CallFailure::ExitCode)
}

/// The server in a display name such as `list_tables (postgresql MCP Server)`.
fn displayed_server(display: &str) -> Option<&str> {
    let (_, server) = display.strip_suffix(SERVER_SUFFIX)?.rsplit_once('(')?;
    Some(server.trim()).filter(|server| !server.is_empty())
}

/// The server in a name such as `mcp_postgresql_list_tables` or `mcp__postgresql__list_tables`.
fn named_server(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("mcp_")?;
    let (server, _) = match rest.strip_prefix('_') {
        Some(rest) => rest.split_once("__")?,
        None => rest.split_once('_')?,
    };
    Some(server).filter(|server| !server.is_empty())
}
