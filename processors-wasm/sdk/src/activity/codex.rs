//! Reads the rollouts of Codex CLI.
//!
//! A file is one thread, and each line is `{timestamp, type, payload}`. A resumed thread continues
//! in its file. A fork, a sub-agent and, up to version 0.3x, a resumed thread begin with a copy of
//! another thread's history ([`thread`]). The tokens of requests are in lines of their own
//! ([`tokens`]), and calls in others ([`calls`]).

mod calls;
mod prompts;
mod thread;
mod tokens;

use std::collections::BTreeSet;

use self::prompts::Prompts;
use self::thread::Thread;
use self::tokens::TokenCounts;
use crate::Timestamp;
use crate::activity::driver::{Items, Reader};
use crate::activity::values::{set, text};
use crate::activity::{Item, Origin, Prompt, SessionFacts, Unrecorded};
use crate::json::{Json, Text};

/// Types of `event_msg` lines that no item needs.
const OTHER_EVENTS: &[&str] = &[
    "agent_message",
    "agent_message_delta",
    "agent_reasoning",
    "agent_reasoning_raw_content",
    "agent_reasoning_section_break",
    "background_event",
    "deprecation_notice",
    "dynamic_tool_call_request",
    "dynamic_tool_call_response",
    "entered_review_mode",
    "error",
    "exec_approval_request",
    "exec_command_begin",
    "exec_command_end",
    "exited_review_mode",
    "image_generation_begin",
    "image_generation_end",
    "item_completed",
    "item_started",
    "mcp_tool_call_begin",
    "patch_apply_begin",
    "patch_apply_end",
    "plan_update",
    "stream_error",
    "sub_agent_activity",
    "task_complete",
    "terminal_interaction",
    "thread_goal_updated",
    "thread_rolled_back",
    "turn_complete",
    "turn_diff",
    "undo_completed",
    "undo_started",
    "view_image_tool_call",
    "warning",
    "web_search_begin",
    "web_search_end",
];

/// The state of a file.
#[derive(Default)]
pub(super) struct CodexReader {
    thread: Thread,
    tokens: TokenCounts,
    prompts: Prompts,
    time: Option<Timestamp>,
    model: Option<String>,
    effort: Option<String>,
    is_fast: bool,
    plan: Option<String>,
    /// Hashes of the ids of calls of MCP servers, which a second line can report again.
    mcp_calls: BTreeSet<u64>,
    /// Whether the latest line that reported a compaction can be followed by one that reports the
    /// same.
    has_compacted: bool,
}

impl Reader for CodexReader {
    fn read(&mut self, object: Json<'_>, items: &mut Items<'_>) {
        let [timestamp, kind, payload, record_type] =
            object.fields(["timestamp", "type", "payload", "record_type"]);
        let time = text(timestamp).and_then(|time| Timestamp::parse(&time.decode()));
        self.thread.pass_time(time);
        self.time = time;
        let kind = text(kind).map(|kind| kind.decode());
        let Some(payload) = payload.filter(|payload| payload.is_object()) else {
            // Before version 0.3x, items have no envelope, and the header has no type.
            match kind.as_deref() {
                None if record_type.is_none() => self.read_header(object, items),
                None => {}
                Some(kind) => self.read_response_item(object, kind, items),
            }
            return;
        };
        let part = text(payload.field("type")).map(|kind| kind.decode());
        let part = part.as_deref().unwrap_or_default();
        match kind.as_deref().unwrap_or_default() {
            "session_meta" => self.read_header(payload, items),
            "turn_context" => self.read_turn_context(payload),
            "response_item" => self.read_response_item(payload, part, items),
            "event_msg" => self.read_event(payload, part, items),
            "token_usage_record" => self.read_usage_record(payload, items),
            "compacted" => self.compact(items, true),
            "world_state" | "inter_agent_communication" | "inter_agent_communication_metadata" => {}
            unknown => items.emit(self.origin(), &Item::Unknown(Text::plain(unknown))),
        }
    }

    fn end(&mut self, items: &mut Items<'_>) {
        let prompts = self.prompts.confirm();
        self.emit_prompts(&prompts, items);
    }

    fn origin(&self) -> Origin<'_> {
        Origin {
            time: self.time,
            ..self.thread.origin()
        }
    }
}

impl CodexReader {
    fn read_header(&mut self, header: Json<'_>, items: &mut Items<'_>) {
        let parent = self.thread.read_header(header, self.time);
        if !parent.is_first {
            return;
        }
        let parent = parent.forked_from.as_deref().map(Text::plain);
        let facts = SessionFacts {
            parent_session: parent,
            entrypoint: self.thread.source().map(Text::plain),
            is_automated: Some(self.thread.is_automated()),
            ..SessionFacts::default()
        };
        items.emit(self.origin(), &Item::Session(facts));
    }

    fn read_turn_context(&mut self, context: Json<'_>) {
        let [turn, model, effort, cwd] = context.fields(["turn_id", "model", "effort", "cwd"]);
        self.thread.begin_turn(text(turn), None);
        set(&mut self.model, text(model));
        set(&mut self.effort, text(effort));
        self.thread.change_directory(text(cwd));
        self.read_speed(context);
    }

    fn read_speed(&mut self, settings: Json<'_>) {
        if let Some(tier) = settings.field("service_tier") {
            let tier = tier.text();
            self.is_fast = tier.is_some_and(|tier| tier == "priority" || tier == "fast");
        }
    }

    fn read_event(&mut self, event: Json<'_>, kind: &str, items: &mut Items<'_>) {
        match kind {
            "token_count" => self.read_token_count(event, items),
            "user_message" => {
                let message = text(event.field("message")).map(|text| text.decode());
                let message = message.as_deref().unwrap_or_default();
                if self.prompts.send(message, &self.thread) {
                    let text = prompts::typed(message);
                    items.emit(self.origin(), &Item::Prompt(Prompt { text }));
                }
            }
            "task_started" | "turn_started" => {
                let [turn, started_at] = event.fields(["turn_id", "started_at"]);
                self.thread.begin_turn(text(turn), started_at);
            }
            "turn_aborted" if !self.thread.is_replaying() => {
                self.emit_unrecorded(Unrecorded::AbortedTurn, items);
            }
            "context_compacted" => self.compact(items, false),
            "thread_settings_applied" => {
                if let Some(settings) = event.field("thread_settings") {
                    self.read_speed(settings);
                }
            }
            "thread_name_updated" if !self.thread.is_replaying() => {
                let facts = SessionFacts {
                    title: text(event.field("thread_name")),
                    ..SessionFacts::default()
                };
                items.emit(self.origin(), &Item::Session(facts));
            }
            "mcp_tool_call_end" => self.read_mcp_end(event, items),
            "guardian_assessment" => self.read_assessment(event, items),
            "turn_aborted" | "thread_name_updated" => {}
            known if OTHER_EVENTS.contains(&known) || known.starts_with("collab_") => {}
            unknown => {
                let name = format!("event_msg/{unknown}");
                items.emit(self.origin(), &Item::Unknown(Text::plain(&name)));
            }
        }
    }

    /// A compaction is reported by a line `compacted`, by an event, or by both.
    fn compact(&mut self, items: &mut Items<'_>, is_line: bool) {
        let is_second = std::mem::replace(&mut self.has_compacted, is_line) && !is_line;
        if is_second || self.thread.is_replaying() {
            return;
        }
        items.emit(self.origin(), &Item::Compaction);
        if !self.thread.records_compactions() {
            self.emit_unrecorded(Unrecorded::Compaction, items);
        }
    }

    fn emit_prompts(&self, texts: &[String], items: &mut Items<'_>) {
        for text in texts {
            items.emit(self.origin(), &Item::Prompt(Prompt { text }));
        }
    }

    fn emit_unrecorded(&self, reason: Unrecorded, items: &mut Items<'_>) {
        items.emit(self.origin(), &Item::Unrecorded(reason));
    }
}
