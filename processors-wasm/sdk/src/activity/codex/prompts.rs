//! The texts that a person sent.
//!
//! An event `user_message` has the text of a person. A message with the role `user` repeats it, and
//! is also what Codex adds to the conversation. Old versions write no events, so the messages count
//! there.

use crate::activity::codex::thread::Thread;

/// Beginnings of texts that Codex adds to the conversation.
const ADDED: &[&str] = &[
    "<heartbeat>",
    "<environment_context>",
    "<user_instructions>",
    "<turn_aborted>",
    "<skill>",
    "<subagent_notification>",
    "<user_shell_command>",
    "<recommended_plugins>",
    "<system-reminder>",
    "# AGENTS.md instructions",
];

/// The heading that an editor writes before the text of the person.
const REQUEST_HEADING: &str = "## My request for Codex:";

/// The size of the messages that wait, in bytes. More cannot wait.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// The prompts of a file.
#[derive(Default)]
pub(super) struct Prompts {
    /// Whether the file has events of prompts, so that messages do not count.
    has_events: bool,
    /// Messages that count if the agent answers without an event of a prompt.
    waiting: Vec<String>,
}

impl Prompts {
    /// Processes an event. Returns whether a person sent it.
    pub(super) fn send(&mut self, text: &str, thread: &Thread) -> bool {
        self.has_events = true;
        self.waiting.clear();
        is_prompt(text, thread)
    }

    /// Processes a message with the role `user`. Returns messages that count because they cannot
    /// wait.
    pub(super) fn receive(&mut self, text: &str, thread: &Thread) -> Vec<String> {
        if self.has_events || !is_prompt(text, thread) {
            return Vec::new();
        }
        self.waiting.push(typed(text).to_owned());
        let bytes: usize = self.waiting.iter().map(String::len).sum();
        if bytes > WAITING_BYTES_MAX {
            return self.confirm();
        }
        Vec::new()
    }

    /// Returns the messages that count because the agent answers, or the file ends.
    pub(super) fn confirm(&mut self) -> Vec<String> {
        std::mem::take(&mut self.waiting)
    }
}

/// The part of a text that a person typed.
pub(super) fn typed(text: &str) -> &str {
    let request = text.split_once(REQUEST_HEADING);
    let request = request.map(|(_, request)| request.trim());
    let request = request.filter(|request| !request.is_empty());
    request.unwrap_or(text)
}

fn is_prompt(text: &str, thread: &Thread) -> bool {
    let is_of_person = !thread.is_replaying()
        && !thread.is_sub_agent()
        && !thread.is_automated()
        && !thread.is_imported();
    let text = text.trim_start();
    is_of_person && !text.is_empty() && !ADDED.iter().any(|added| text.starts_with(added))
}
