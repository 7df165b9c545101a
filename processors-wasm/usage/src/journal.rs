//! The one kind of file that lies among transcripts and is none.

/// Whether a session of this key is the journal that a workflow of sub-agents keeps beside their
/// transcripts (`<session>/subagents/…/journal.jsonl`): which agents were started, and what they
/// returned, which stands in their own transcripts too. COUNTING rule 3.
///
/// Elsewhere somebody's session may well be called so.
pub fn is_journal(key: &str) -> bool {
    key.ends_with("/journal.jsonl") && key.contains("/subagents/")
}

#[cfg(test)]
mod tests {
    use super::is_journal;

    #[test]
    fn only_a_journal_below_sub_agents_is_one() {
        for key in [
            "ada/s1/subagents/journal.jsonl",
            "ada/s1/subagents/workflows/wf_1/journal.jsonl",
        ] {
            assert!(is_journal(key), "{key}");
        }
        for key in [
            "ada/journal.jsonl",
            "ada/s1/journal.jsonl",
            "ada/s1/subagents/agent-journal.jsonl",
            "ada/s1/subagents/workflows/wf_1/agent-a1.jsonl",
            "ada/subagents-of-mine/journal.jsonl",
        ] {
            assert!(!is_journal(key), "{key}");
        }
    }
}
