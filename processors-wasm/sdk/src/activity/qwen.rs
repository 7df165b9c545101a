//! Reads the sessions of Qwen Code.
//!
//! Each line has an id, the session, the working directory, the branch and the version. Messages
//! have the parts of Gemini's API. The tokens of requests are in telemetry and in messages
//! ([`tokens`]). The lines of a fork have the ids of the originals and the field `forkedFrom`.

mod calls;
mod tokens;

use self::tokens::TokenCounts;
use crate::Timestamp;
use crate::activity::driver::{Items, Reader};
use crate::activity::values::{command_name, joined_text, plain, set, text, time};
use crate::activity::{Item, Origin, Prompt, SessionFacts, Unrecorded};
use crate::json::{Json, Text};

/// Subtypes of `system` lines that no item needs.
const OTHER_SUBTYPES: &[&str] = &[
    "agent_bootstrap",
    "agent_launch_prompt",
    "agent_retry",
    "agent_session_ready",
    "at_command",
    "attribution_snapshot",
    "background_task_completed",
    "branch_checkpoint",
    "cron",
    "file_history_snapshot",
    "goal_runtime",
    "goal_state",
    "goal_turn_end",
    "notification",
    "omni_recall",
    "realtime_message",
    "rewind",
    "session_approval_mode",
    "session_artifact_event",
    "session_artifact_snapshot",
    "session_execution_engine",
    "session_model",
    "session_notes",
    "session_source",
    "session_sources_snapshot",
    "turn_result",
    "user_text_elements",
];

/// The subtype of a text that a person sent while the agent was working.
const MID_TURN: &str = "mid_turn_user_message";

/// Beginnings of texts that Qwen Code adds to the conversation.
const ADDED: &[&str] = &["<session_context>", "<hook_context>", "<system-reminder>"];

/// The state of a file, most of it of the current line.
#[derive(Default)]
pub(super) struct QwenReader {
    time: Option<Timestamp>,
    session: Option<String>,
    cwd: Option<String>,
    git_branch: Option<String>,
    version: Option<String>,
    agent_id: Option<String>,
    agent_name: Option<String>,
    is_sub_agent: bool,
    is_replayed: bool,
    /// The session that the lines were copied from.
    forked_from: Option<String>,
    tokens: TokenCounts,
}

impl Reader for QwenReader {
    fn read(&mut self, line: Json<'_>, items: &mut Items<'_>) {
        let [kind, subtype, message] = line.fields(["type", "subtype", "message"]);
        self.read_common(line, items);
        let kind = text(kind).map(|kind| kind.decode()).unwrap_or_default();
        let subtype = text(subtype).map(|kind| kind.decode()).unwrap_or_default();
        match &*kind {
            "user" => self.read_user(line, &subtype, items),
            "assistant" => {
                self.read_response(line, message, items);
                self.read_usage(line, items);
            }
            "tool_result" => self.read_result(line, items),
            "system" => self.read_system(line, &subtype, items),
            unknown => items.emit(self.origin(), &Item::Unknown(Text::plain(unknown))),
        }
    }

    fn origin(&self) -> Origin<'_> {
        Origin {
            time: self.time,
            session_id: plain(&self.session),
            is_sidechain: self.is_sub_agent,
            agent_id: plain(&self.agent_id).filter(|_| self.is_sub_agent),
            agent_type: plain(&self.agent_name).filter(|_| self.is_sub_agent),
            cwd: plain(&self.cwd),
            git_branch: plain(&self.git_branch),
            agent_version: plain(&self.version),
            is_replayed: self.is_replayed,
            ..Origin::default()
        }
    }
}

impl QwenReader {
    /// Reads the fields of every line.
    fn read_common(&mut self, line: Json<'_>, items: &mut Items<'_>) {
        let [
            timestamp,
            session,
            cwd,
            git_branch,
            version,
            is_sidechain,
            agent_id,
            agent_name,
            forked_from,
        ] = line.fields([
            "timestamp",
            "sessionId",
            "cwd",
            "gitBranch",
            "version",
            "isSidechain",
            "agentId",
            "agentName",
            "forkedFrom",
        ]);
        self.time = time(timestamp);
        set(&mut self.session, text(session));
        set(&mut self.cwd, text(cwd));
        set(&mut self.git_branch, text(git_branch));
        set(&mut self.version, text(version));
        set(&mut self.agent_id, text(agent_id));
        set(&mut self.agent_name, text(agent_name));
        self.is_sub_agent = is_sidechain.and_then(|is_side| is_side.bool()) == Some(true);
        self.is_replayed = forked_from.is_some_and(|from| from.is_object());
        let parent = text(forked_from.and_then(|from| from.field("sessionId")));
        if parent.is_some_and(|parent| {
            self.forked_from
                .as_deref()
                .is_none_or(|known| parent != known)
        }) {
            set(&mut self.forked_from, parent);
            self.emit_parent(parent, items);
        }
    }

    fn emit_parent(&self, parent: Option<Text<'_>>, items: &mut Items<'_>) {
        let facts = SessionFacts {
            parent_session: parent,
            ..SessionFacts::default()
        };
        items.emit(self.origin(), &Item::Session(facts));
    }

    fn read_user(&self, line: Json<'_>, subtype: &str, items: &mut Items<'_>) {
        if self.is_sub_agent || !matches!(subtype, "" | MID_TURN) {
            return;
        }
        let [message, payload] = line.fields(["message", "systemPayload"]);
        // What the person typed, where the message has more than that.
        let shown = text(payload.and_then(|payload| payload.field("displayText")));
        let parts = message.and_then(|message| message.field("parts"));
        let typed = match (shown, parts) {
            (Some(shown), _) => shown.decode().into_owned(),
            (None, Some(parts)) => joined_text(parts),
            (None, None) => return,
        };
        let beginning = typed.trim_start();
        let is_added = ADDED.iter().any(|added| beginning.starts_with(added));
        if !beginning.is_empty() && !is_added {
            items.emit(self.origin(), &Item::Prompt(Prompt { text: &typed }));
        }
    }

    fn read_system(&mut self, line: Json<'_>, subtype: &str, items: &mut Items<'_>) {
        let payload = line.field("systemPayload");
        let field = |name: &str| payload.and_then(|payload| payload.field(name));
        match subtype {
            "ui_telemetry" => {
                if let Some(event) = field("uiEvent") {
                    self.read_telemetry(event, items);
                }
            }
            "slash_command" => {
                let is_call = text(field("phase")).is_some_and(|phase| phase == "invocation");
                let command = text(field("rawCommand")).filter(|_| is_call && !self.is_sub_agent);
                let command = command.map(|command| command.decode());
                if let Some(name) = command.as_deref().and_then(command_name) {
                    items.emit(self.origin(), &Item::Command(Text::plain(name)));
                }
            }
            MID_TURN => self.read_user(line, subtype, items),
            "custom_title" => {
                let facts = SessionFacts {
                    title: text(field("customTitle")),
                    ..SessionFacts::default()
                };
                items.emit(self.origin(), &Item::Session(facts));
            }
            "parent_session" => self.emit_parent(text(field("parentSessionId")), items),
            "chat_compression" => {
                items.emit(self.origin(), &Item::Compaction);
                // Telemetry has the request that summarized the conversation.
                if !self.tokens.has_telemetry() {
                    let reason = Unrecorded::Compaction;
                    items.emit(self.origin(), &Item::Unrecorded(reason));
                }
            }
            known if OTHER_SUBTYPES.contains(&known) => {}
            unknown => {
                let name = format!("system/{unknown}");
                items.emit(self.origin(), &Item::Unknown(Text::plain(&name)));
            }
        }
    }

    fn read_telemetry(&mut self, event: Json<'_>, items: &mut Items<'_>) {
        let name = text(event.field("event.name")).map(|name| name.decode());
        let name = name.unwrap_or_default();
        match name.strip_prefix("qwen-code.").unwrap_or(&name) {
            "api_response" => self.read_api_response(event, items),
            "api_error" | "tool_call" => {}
            unknown => {
                let name = format!("ui_telemetry/{unknown}");
                items.emit(self.origin(), &Item::Unknown(Text::plain(&name)));
            }
        }
    }
}
