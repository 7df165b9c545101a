//! The texts that a person sent.

use crate::Timestamp;
use crate::activity::driver::{Items, Reader};
use crate::activity::gemini::GeminiReader;
use crate::activity::values::command_name;
use crate::activity::{Item, Origin, Prompt};
use crate::json::{Json, Text};

/// Beginnings of texts that are not prompts: commands, questions about the agent itself, and what
/// the agent adds to the conversation.
const OTHER_TEXTS: &[&str] = &["/", "?", "<session_context>", "<hook_context>"];

/// The size of the prompts that wait, in bytes. More cannot wait.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// Prompts that wait until the file says whether it is of a sub-agent.
pub(super) struct WaitingPrompts {
    is_waiting: bool,
    bytes: usize,
    prompts: Vec<WaitingPrompt>,
}

struct WaitingPrompt {
    line: u64,
    time: Option<Timestamp>,
    text: String,
}

impl WaitingPrompts {
    pub(super) fn new(is_waiting: bool) -> Self {
        Self {
            is_waiting,
            bytes: 0,
            prompts: Vec::new(),
        }
    }
}

impl GeminiReader {
    pub(super) fn read_prompt(
        &mut self,
        record: Json<'_>,
        id: Option<&str>,
        items: &mut Items<'_>,
    ) {
        let [content, typed] = record.fields(["content", "displayContent"]);
        let is_text = |text: &String| !text.trim().is_empty();
        let typed = typed.map(text_of).filter(is_text);
        let Some(text) = typed.or_else(|| content.map(text_of).filter(is_text)) else {
            return;
        };
        if !self.is_new("prompt", id) {
            return;
        }
        let beginning = text.trim_start();
        if OTHER_TEXTS.iter().any(|other| beginning.starts_with(other)) {
            if let Some(name) = command_name(&text).filter(|_| !self.is_sub_agent) {
                items.emit(self.origin(), &Item::Command(Text::plain(name)));
            }
            return;
        }
        let waiting = &mut self.prompts;
        waiting.bytes += text.len();
        waiting.prompts.push(WaitingPrompt {
            line: items.line(),
            time: self.time,
            text,
        });
        if !waiting.is_waiting || waiting.bytes > WAITING_BYTES_MAX {
            self.flush_prompts(items);
        }
    }

    /// Emits the prompts that wait, and lets none wait from now on. What a sub-agent was told is
    /// not a prompt.
    pub(super) fn flush_prompts(&mut self, items: &mut Items<'_>) {
        let waiting = std::mem::replace(&mut self.prompts, WaitingPrompts::new(false));
        for prompt in waiting.prompts.iter().filter(|_| !self.is_sub_agent) {
            let origin = Origin {
                time: prompt.time,
                ..self.origin()
            };
            let text = &prompt.text;
            items.emit_from(prompt.line, origin, &Item::Prompt(Prompt { text }));
        }
    }
}

/// The text of a content: a text, or a list of parts.
pub(super) fn text_of(content: Json<'_>) -> String {
    if let Some(text) = content.text() {
        return text.decode().into_owned();
    }
    let parts = content.elements();
    let texts = parts.filter_map(|part| part.text().or_else(|| part.field("text")?.text()));
    let texts: Vec<_> = texts.map(|text| text.decode()).collect();
    texts.join("\n")
}
