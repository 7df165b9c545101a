//! The queue of prompts that a person types while the agent is working.
//!
//! Agents report such a prompt up to three times: when it is typed, when it reaches the model as an
//! attachment, and when it is sent as a separate prompt.

use std::collections::BTreeMap;

use super::prompts::queued_prompt;
use super::{Entry, Kind};

/// The prompts that were reported as typed and not yet as sent.
#[derive(Clone, Debug, Default)]
pub struct PromptQueue {
    /// The number of prompts with a text, without white space around it.
    waiting: BTreeMap<String, u64>,
}

impl PromptQueue {
    /// The text of a queued prompt in an entry, the first time that the agent reports it. `None` for
    /// its later reports and for entries that are not about the queue.
    pub fn add(&mut self, entry: &Entry<'_>) -> Option<String> {
        let text = queued_prompt(entry)?;
        if entry.kind == Kind::QueueOperation {
            *self.waiting.entry(text.trim().to_owned()).or_default() += 1;
            return Some(text);
        }
        (!self.take(&text)).then_some(text)
    }

    /// Removes one prompt with this text. Returns whether the queue had one, so that the prompt was
    /// reported before.
    pub fn take(&mut self, text: &str) -> bool {
        let Some(count) = self.waiting.get_mut(text.trim()) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.waiting.remove(text.trim());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUED: &str = r#"{"type":"queue-operation","operation":"enqueue","content":"ship it"}"#;
    const ATTACHED: &str = r#"{"type":"attachment","attachment":{"type":"queued_command","commandMode":"prompt","prompt":" ship it\n"}}"#;

    fn check(lines: &[&str], expected: &[bool]) {
        let mut queue = PromptQueue::default();
        let add = |line: &&str| queue.add(&Entry::parse(line).unwrap()).is_some();
        let added: Vec<bool> = lines.iter().map(add).collect();
        assert_eq!(added, expected, "{lines:?}");
    }

    #[test]
    fn a_prompt_is_reported_once() {
        check(&[QUEUED], &[true]);
        check(&[ATTACHED], &[true]);
        check(&[QUEUED, ATTACHED], &[true, false]);
        check(&[QUEUED, ATTACHED, ATTACHED], &[true, false, true]);
        check(&[QUEUED, QUEUED, ATTACHED], &[true, true, false]);
        check(
            &[r#"{"type":"user","message":{"content":"ship it"}}"#],
            &[false],
        );
    }

    #[test]
    fn a_prompt_that_is_sent_later_leaves_the_queue() {
        let mut queue = PromptQueue::default();
        queue.add(&Entry::parse(QUEUED).unwrap());
        assert!(!queue.take("stop"));
        assert!(queue.take(" ship it "));
        assert!(!queue.take("ship it"));
    }
}
