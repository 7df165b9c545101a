//! Journal files, which are stored with transcripts but are not transcripts.

/// Whether this is the key of a journal, which a workflow of sub-agents stores next to their
/// transcripts (`<session>/subagents/…/journal.jsonl`). It lists the started agents and their
/// results, which are also in their own transcripts.
///
/// In other folders, a session can have this name.
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
