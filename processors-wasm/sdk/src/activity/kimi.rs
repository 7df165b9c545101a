//! Reads the sessions of Kimi CLI.
//!
//! A file `wire.jsonl` has the events of a session in their order: `{timestamp, message: {type,
//! payload}}`. The events of a sub-agent are nested in events of type `SubagentEvent`. Newer
//! versions also write them to a file of the sub-agent. Each `StatusUpdate` with tokens is one
//! request. Its id is the same in every copy.
//!
//! The file has neither the id of the session, nor the model or the working directory. The id is
//! the name of the folder ([`place`]).

mod calls;
mod place;

use std::borrow::Cow;
use std::collections::BTreeSet;

use self::calls::Calls;
use self::place::SessionPlace;
use crate::Timestamp;
use crate::activity::counts::{CountReader, is_counted_up, stable_hash};
use crate::activity::driver::{Items, Reader};
use crate::activity::values::{command_name, joined_text, text, time_of_seconds};
use crate::activity::{Item, Origin, Prompt, Request, Tokens, Unrecorded};
use crate::json::{Json, Text};

/// Types of events that no item needs.
const OTHER_KINDS: &[&str] = &[
    "HookResolved",
    "HookTriggered",
    "MCPLoadingBegin",
    "MCPLoadingEnd",
    "Notification",
    "PlanDisplay",
    "QuestionRequest",
    "ToolCallRequest",
];

/// What a command that calls a skill has before the name of the skill.
const SKILL: &str = "skill:";

/// A sub-agent can start another one. Events that are nested deeper are unknown.
const NESTING_MAX: usize = 8;

/// More agents do not run at the same time.
const AGENTS_MAX: usize = 256;

/// All requests of Kimi CLI have this instead of the id of a turn, because their ids are unique.
const REQUEST_ID: &str = "kimi";

/// The agent that an event belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct KimiAgent {
    /// Empty for the conversation with the user.
    id: String,
    kind: Option<String>,
}

/// The state of a file.
pub(super) struct KimiReader {
    place: SessionPlace,
    time: Option<Timestamp>,
    agent: KimiAgent,
    /// The agents that asked a model and have no response so far.
    waiting: BTreeSet<String>,
    calls: Calls,
}

impl KimiReader {
    /// Creates a reader for the session with this key.
    pub(super) fn new(key: &str) -> Self {
        let place = SessionPlace::of_key(key);
        Self {
            agent: KimiAgent {
                id: place.agent_id.clone().unwrap_or_default(),
                kind: None,
            },
            place,
            time: None,
            waiting: BTreeSet::new(),
            calls: Calls::default(),
        }
    }
}

impl Reader for KimiReader {
    fn read(&mut self, line: Json<'_>, items: &mut Items<'_>) {
        let [timestamp, message, kind] = line.fields(["timestamp", "message", "type"]);
        self.time = time_of_seconds(timestamp);
        let own = self.place.agent_id.clone().unwrap_or_default();
        self.agent = KimiAgent {
            id: own,
            kind: None,
        };
        match (message, text(kind)) {
            (Some(message), _) => self.read_event(message, items),
            (None, Some(kind)) if kind == "metadata" => {}
            (None, kind) => {
                let kind = kind.unwrap_or(Text::plain(""));
                items.emit(self.origin(), &Item::Unknown(kind));
            }
        }
    }

    fn end(&mut self, items: &mut Items<'_>) {
        self.finish_all_calls(items);
    }

    fn origin(&self) -> Origin<'_> {
        self.origin_of(&self.agent, self.time)
    }
}

impl KimiReader {
    fn origin_of<'a>(&'a self, agent: &'a KimiAgent, time: Option<Timestamp>) -> Origin<'a> {
        let id = Some(agent.id.as_str()).filter(|id| !id.is_empty());
        Origin {
            time,
            session_id: Some(Text::plain(&self.place.session_id)),
            is_sidechain: id.is_some(),
            agent_id: id.map(Text::plain),
            agent_type: agent.kind.as_deref().map(Text::plain),
            ..Origin::default()
        }
    }

    fn read_event(&mut self, mut event: Json<'_>, items: &mut Items<'_>) {
        for _ in 0..NESTING_MAX {
            let [kind, payload] = event.fields(["type", "payload"]);
            let kind = text(kind).map(|kind| kind.decode()).unwrap_or_default();
            let is_object = |payload: &Json<'_>| payload.is_object();
            let Some(payload) = payload.filter(is_object) else {
                items.note_damage();
                return;
            };
            if kind != "SubagentEvent" {
                self.read_payload(&kind, payload, items);
                return;
            }
            let [parent, task, agent, kind, inner] = payload.fields([
                "parent_tool_call_id",
                "task_tool_call_id",
                "agent_id",
                "subagent_type",
                "event",
            ]);
            let call = text(parent).or(text(task)).map(|id| id.decode());
            let agent = text(agent).map(|id| id.decode()).or(call.clone());
            let kind = text(kind).map(|kind| kind.decode().into_owned());
            let known_kind = || {
                let call = self.unique_id(call.as_deref()?);
                self.calls.sub_agents.get(&call).cloned()
            };
            self.agent = KimiAgent {
                kind: kind.or_else(known_kind),
                // Without an id, it is still a sub-agent.
                id: agent.unwrap_or(Cow::Borrowed("sub-agent")).into_owned(),
            };
            let Some(inner) = inner.filter(is_object) else {
                return;
            };
            event = inner;
        }
        items.emit(self.origin(), &Item::Unknown(Text::plain("SubagentEvent")));
    }

    fn read_payload(&mut self, kind: &str, payload: Json<'_>, items: &mut Items<'_>) {
        match kind {
            "TurnBegin" | "SteerInput" => self.read_prompt(payload, items),
            "StepBegin" => {
                self.finish_call(items);
                if self.waiting.len() < AGENTS_MAX {
                    self.waiting.insert(self.agent.id.clone());
                }
            }
            "TurnEnd" => {
                self.finish_call(items);
                self.waiting.remove(&self.agent.id);
            }
            "StepInterrupted" => self.interrupt(items),
            "StatusUpdate" => self.read_status(payload, items),
            "ContentPart" => {
                let [part, said] = payload.fields(["type", "text"]);
                let is_text = text(part).is_some_and(|part| part == "text");
                if let Some(said) = text(said).filter(|_| is_text) {
                    items.emit(self.origin(), &Item::Answer(said));
                }
            }
            "ToolCall" => self.read_call(payload, items),
            "ToolCallPart" => self.read_call_part(payload, items),
            "ToolResult" => self.read_result(payload, items),
            "ApprovalRequest" => self.calls.ask(payload),
            "ApprovalResponse" | "ApprovalRequestResolved" => self.calls.decide(payload),
            // The request that summarizes the conversation has no tokens in the file.
            "CompactionBegin" => self.emit_unrecorded(Unrecorded::Compaction, items),
            "CompactionEnd" => items.emit(self.origin(), &Item::Compaction),
            known if OTHER_KINDS.contains(&known) => {}
            unknown => items.emit(self.origin(), &Item::Unknown(Text::plain(unknown))),
        }
    }

    fn read_prompt(&self, payload: Json<'_>, items: &mut Items<'_>) {
        let Some(input) = payload.field("user_input") else {
            return;
        };
        if !self.agent.id.is_empty() {
            return;
        }
        let text = joined_text(input);
        let has_part = || input.elements().next().is_some();
        if let Some(name) = command_name(&text) {
            let name = name.strip_prefix(SKILL).unwrap_or(name);
            items.emit(self.origin(), &Item::Command(Text::plain(name)));
        } else if !text.trim().is_empty() || has_part() {
            items.emit(self.origin(), &Item::Prompt(Prompt { text: &text }));
        }
    }

    /// The response that an agent waits for is lost, with its tokens. An interruption of the
    /// conversation interrupts all sub-agents.
    fn interrupt(&mut self, items: &mut Items<'_>) {
        let lost = if self.agent.id.is_empty() {
            self.finish_all_calls(items);
            std::mem::take(&mut self.waiting).len()
        } else {
            self.finish_call(items);
            usize::from(self.waiting.remove(&self.agent.id))
        };
        for _ in 0..lost {
            self.emit_unrecorded(Unrecorded::AbortedTurn, items);
        }
    }

    fn read_status(&mut self, payload: Json<'_>, items: &mut Items<'_>) {
        self.calls.read_servers(payload.field("mcp_status"));
        let [usage, id] = payload.fields(["token_usage", "message_id"]);
        let Some(usage) = usage.filter(|usage| usage.is_object()) else {
            return;
        };
        self.finish_call(items);
        self.waiting.remove(&self.agent.id);
        let mut counts = CountReader::default();
        let numbers = usage
            .fields([
                "input_other",
                "input_cache_read",
                "input_cache_creation",
                "output",
            ])
            .map(|field| counts.read(field));
        if counts.is_incomplete {
            items.note_damage();
        } else if numbers == [0; 4] {
            return;
        }
        let [input, cache_read, cache_creation, output] = numbers;
        let id = text(id).map(|id| id.decode());
        let is_unique = |id: &&str| !is_counted_up(id);
        let message_id = match id.as_deref().filter(is_unique) {
            Some(id) => id.to_owned(),
            None => {
                let time = self.time.map_or(0, Timestamp::micros);
                let hash = stable_hash(&[&[time][..], &numbers].concat());
                format!("kimi:{hash:016x}")
            }
        };
        let request = Request {
            message_id: &message_id,
            request_id: REQUEST_ID,
            model: None,
            provider: None,
            speed: None,
            effort: None,
            stop_reason: None,
            tokens: Tokens {
                input: Some(input),
                output: Some(output),
                cache_read: Some(cache_read),
                cache_creation: Some(cache_creation),
                ..Tokens::default()
            },
            count: 1,
            is_final: !counts.is_incomplete,
        };
        items.emit(self.origin(), &Item::Request(request));
    }

    fn emit_unrecorded(&self, reason: Unrecorded, items: &mut Items<'_>) {
        items.emit(self.origin(), &Item::Unrecorded(reason));
    }
}
