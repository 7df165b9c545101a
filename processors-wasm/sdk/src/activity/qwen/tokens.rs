//! The tokens of requests.
//!
//! Telemetry has a line for each response of the API, followed by the message of the model, which
//! repeats the tokens. Responses for the agent itself, such as a title or a summary, have telemetry
//! but no message. Files without telemetry have the tokens in messages only.

use std::collections::VecDeque;

use crate::Timestamp;
use crate::activity::counts::{CountReader, is_counted_up, stable_hash};
use crate::activity::driver::{Items, Reader as _};
use crate::activity::qwen::QwenReader;
use crate::activity::values::text;
use crate::activity::{Item, Request, Tokens};
use crate::json::{Json, Text};

/// All requests of Qwen Code have this instead of the id of a turn, because their ids are unique.
const REQUEST_ID: &str = "qwen";

/// The number of messages whose telemetry can follow.
const MESSAGES_MAX: usize = 64;

/// The tokens of a request, as the API reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figures {
    /// Includes `cached`.
    prompt: i64,
    cached: i64,
    candidates: i64,
    /// Part of `candidates`, or in addition to them. The total shows which.
    thoughts: i64,
    /// Part of `prompt`, or in addition to it.
    tool: i64,
    total: i64,
}

/// The token counts so far.
#[derive(Default)]
pub(super) struct TokenCounts {
    has_telemetry: bool,
    /// Messages before the first line of telemetry. If it describes one of them, that one counts.
    messages: VecDeque<Figures>,
}

impl TokenCounts {
    /// Whether the file has telemetry so far.
    pub(super) fn has_telemetry(&self) -> bool {
        self.has_telemetry
    }
}

impl Figures {
    fn read(counts: &mut CountReader, usage: Json<'_>, names: [&str; 6]) -> Self {
        let [prompt, cached, candidates, thoughts, tool, total] =
            usage.fields(names).map(|field| counts.read(field));
        Self {
            prompt,
            cached,
            candidates,
            thoughts,
            tool,
            total,
        }
    }

    fn is_zero(self) -> bool {
        [self.prompt, self.candidates, self.thoughts, self.tool] == [0; 4]
    }

    fn tokens(self) -> Tokens {
        let beside = self.total - self.prompt - self.candidates;
        let has_beside = |count: i64| count > 0 && beside == count;
        let has_both = has_beside(self.thoughts + self.tool);
        let thoughts = if has_both || has_beside(self.thoughts) {
            self.thoughts
        } else {
            0
        };
        let tool = if has_both || has_beside(self.tool) {
            self.tool
        } else {
            0
        };
        Tokens {
            input: Some((self.prompt - self.cached).max(0) + tool),
            output: Some(self.candidates + thoughts),
            cache_read: Some(self.cached),
            cache_creation: Some(0),
            thinking: Some(self.thoughts),
            ..Tokens::default()
        }
    }
}

impl QwenReader {
    pub(super) fn read_api_response(&mut self, event: Json<'_>, items: &mut Items<'_>) {
        self.tokens.has_telemetry = true;
        let names = [
            "input_token_count",
            "cached_content_token_count",
            "output_token_count",
            "thoughts_token_count",
            "tool_token_count",
            "total_token_count",
        ];
        let mut counts = CountReader::default();
        let figures = Figures::read(&mut counts, event, names);
        let mut messages = self.tokens.messages.iter();
        if let Some(at) = messages.rposition(|message| *message == figures) {
            self.tokens.messages.remove(at);
            return;
        }
        let [id, model, auth_type] = event.fields(["response_id", "model", "auth_type"]);
        let figures = (figures, counts.is_incomplete);
        self.emit_request(text(id), text(model), text(auth_type), figures, items);
    }

    /// Reads the tokens of a message. Without telemetry before it, they are those of a request.
    pub(super) fn read_usage(&mut self, line: Json<'_>, items: &mut Items<'_>) {
        let [usage, uuid, model] = line.fields(["usageMetadata", "uuid", "model"]);
        let usage = usage.filter(|usage| usage.is_object());
        let Some(usage) = usage.filter(|_| !self.tokens.has_telemetry) else {
            return;
        };
        let names = [
            "promptTokenCount",
            "cachedContentTokenCount",
            "candidatesTokenCount",
            "thoughtsTokenCount",
            "toolUsePromptTokenCount",
            "totalTokenCount",
        ];
        let mut counts = CountReader::default();
        let figures = Figures::read(&mut counts, usage, names);
        if self.tokens.messages.len() == MESSAGES_MAX {
            self.tokens.messages.pop_front();
        }
        self.tokens.messages.push_back(figures);
        let figures = (figures, counts.is_incomplete);
        self.emit_request(text(uuid), text(model), None, figures, items);
    }

    fn emit_request(
        &self,
        id: Option<Text<'_>>,
        model: Option<Text<'_>>,
        provider: Option<Text<'_>>,
        (figures, is_incomplete): (Figures, bool),
        items: &mut Items<'_>,
    ) {
        if is_incomplete {
            items.note_damage();
        } else if figures.is_zero() {
            return;
        }
        let id = id.map(|id| id.decode());
        let message_id = match id.as_deref().filter(|id| !is_counted_up(id)) {
            Some(id) => id.to_owned(),
            None => self.hash(figures),
        };
        let request = Request {
            message_id: &message_id,
            request_id: REQUEST_ID,
            model,
            provider,
            speed: None,
            effort: None,
            stop_reason: None,
            tokens: figures.tokens(),
            count: 1,
            is_final: !is_incomplete,
        };
        items.emit(self.origin(), &Item::Request(request));
    }

    /// Identifies a request without an id by data that copies preserve.
    fn hash(&self, figures: Figures) -> String {
        let time = self.time.map_or(0, Timestamp::micros);
        let hash = stable_hash(&[
            time,
            figures.prompt,
            figures.cached,
            figures.candidates,
            figures.thoughts,
        ]);
        format!("qwen:{hash:016x}")
    }
}
