//! Counts the prompts that a person typed, once each, however often the agent reports them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use session_pipeline_processor::transcript::prompts::{is_prompt, queued_prompt, typed_text};
use session_pipeline_processor::transcript::{Entry, Kind};

use crate::strings::hash;

/// The prompts of a transcript.
#[derive(Default, Serialize, Deserialize)]
pub struct Prompts {
    count: u64,
    /// The prompts that were typed while the agent was working, included in `count`.
    queued_count: u64,
    /// The number of queued prompts with a text, by the hash of the text.
    queued: BTreeMap<u64, u64>,
    /// Processed lines, by the hash of `uuid` and text. A copy in the same file is ignored.
    seen: BTreeSet<u64>,
}

impl Prompts {
    /// Processes an entry. Returns whether it is a prompt at its place in the conversation, and not
    /// in the queue.
    ///
    /// A prompt is counted when it enters the queue. When the same text later reaches the model, as
    /// an attachment or as a prompt, it is not counted again.
    pub fn add(&mut self, entry: &Entry<'_>) -> bool {
        if let Some(text) = queued_prompt(entry) {
            let is_new = entry.kind == Kind::QueueOperation || !self.take(&text);
            self.count += u64::from(is_new);
            self.queued_count += u64::from(is_new);
            if entry.kind == Kind::QueueOperation {
                *self.queued.entry(hash(text.trim())).or_default() += 1;
            }
            false
        } else if is_prompt(entry) {
            let text = typed_text(entry.says());
            if let Some(uuid) = entry.uuid.filter(|uuid| !uuid.is_empty())
                && !self.seen.insert(hash(&(uuid.decode(), text.trim())))
            {
                return true;
            }
            let was_queued = !self.queued.is_empty() && self.take(&text);
            self.count += u64::from(!was_queued);
            true
        } else {
            false
        }
    }

    /// Removes one prompt with this text from the queue, if there is one.
    fn take(&mut self, text: &str) -> bool {
        let key = hash(text.trim());
        let Some(count) = self.queued.get_mut(&key) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.queued.remove(&key);
        }
        true
    }

    /// The number of prompts.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The number of prompts that were typed while the agent was working.
    pub fn queued_count(&self) -> u64 {
        self.queued_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: u64) {
        let mut prompts = Prompts::default();
        for line in lines {
            prompts.add(&Entry::parse(line).unwrap());
        }
        assert_eq!(prompts.count(), expected, "{lines:?}");
    }

    #[test]
    fn prompts_in_the_queue_are_counted_separately_too() {
        let mut prompts = Prompts::default();
        for line in [
            r#"{"type":"user","message":{"content":"go on"}}"#,
            r#"{"type":"queue-operation","operation":"enqueue","content":"ship it"}"#,
            r#"{"type":"user","message":{"content":"ship it"}}"#,
            r#"{"type":"attachment","attachment":{"type":"queued_command","commandMode":"prompt","prompt":"stop"}}"#,
        ] {
            prompts.add(&Entry::parse(line).unwrap());
        }
        assert_eq!((prompts.count(), prompts.queued_count()), (3, 2));
    }

    #[test]
    fn a_queued_prompt_counts_once_wherever_it_appears() {
        let typed = r#"{"type":"user","message":{"content":"ship it"}}"#;
        let other = r#"{"type":"user","message":{"content":"stop"}}"#;
        let queued = r#"{"type":"queue-operation","operation":"enqueue","content":"ship it"}"#;
        let removed = r#"{"type":"queue-operation","operation":"remove"}"#;
        let emptied = r#"{"type":"queue-operation","operation":"popAll","content":"ship it"}"#;
        let attached = r#"{"type":"attachment","attachment":{"type":"queued_command","commandMode":"prompt","prompt":" ship it\n"}}"#;
        let command = r#"{"type":"queue-operation","operation":"enqueue","content":"/clear"}"#;
        check(&[typed], 1);
        check(&[typed, typed], 2);
        check(&[queued], 1);
        check(&[attached], 1);
        check(&[queued, removed], 1);
        check(&[queued, removed, attached], 1);
        check(&[queued, attached, removed], 1);
        check(&[queued, typed], 1);
        check(&[queued, emptied, typed], 1);
        check(&[queued, other, typed], 2);
        check(&[typed, queued], 2);
        check(&[queued, queued, typed], 2);
        check(&[queued, typed, typed], 2);
        check(&[attached, attached], 2);
        check(&[command, removed], 0);
    }
}
