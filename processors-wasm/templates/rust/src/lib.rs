//! Counts the words of each message that the user typed, in the sessions of every coding agent.

use session_pipeline_processor::activity::Item;
use session_pipeline_processor::{
    Manifest, Processor, Session, Settings, Summary, Timestamp, export, rows,
};

/// Raise it whenever the same transcript gives other rows than before: every session is processed
/// again then.
pub const VERSION: u32 = 1;

rows! {
    /// A message of the user.
    pub struct Message in "messages" {
        /// The line of the transcript that it stands on, from 1.
        line: u64,
        said_at: Option<Timestamp>,
        words: u64,
    }
}

/// The processor.
pub struct WordCount;

export!(WordCount);

impl Processor for WordCount {
    fn manifest(_: &Settings) -> Result<Manifest, String> {
        let description = "Counts the words of each message that the user typed.";
        Ok(Manifest::new("{{name}}", VERSION, description).table::<Message>())
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        let mut messages = session.table::<Message>();
        let mut count = 0;
        // The SDK detects the agent and reads its format. `session.transcript()` has everything that
        // the lines of Claude Code contain.
        session.activity().for_each(|origin, item| {
            if let Item::Prompt(prompt) = item {
                messages.insert(Message {
                    line: origin.line,
                    said_at: origin.time,
                    words: count_words(prompt.text),
                });
                count += 1;
            }
        });
        Ok(Summary::items(count))
    }
}

/// Words are what stands between white space of ASCII: the same in every language that this
/// processor might be written in.
pub fn count_words(text: &str) -> u64 {
    let is_space = |c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c');
    let words = text.split(is_space).filter(|word| !word.is_empty());
    words.count() as u64
}

#[cfg(test)]
mod tests {
    use session_pipeline_processor::SessionInfo;
    use session_pipeline_processor::native::MemoryHost;
    use session_pipeline_processor::table::OwnedValue;

    use super::*;

    /// Runs the processor over these lines; gives each row as its line and its words.
    fn check(lines: &[&str]) -> Vec<(i64, i64)> {
        let host = MemoryHost::new(lines.join("\n").into_bytes());
        let summary = host.run::<WordCount>(&SessionInfo::new("ada/session.jsonl"));
        let rows = host.rows("messages");
        assert_eq!(summary, Ok(Summary::items(rows.len() as u64)));
        let rows = rows.iter().map(|row| match row[..] {
            [OwnedValue::S64(line), _, OwnedValue::S64(words)] => (line, words),
            _ => panic!("not a row of `messages`: {row:?}"),
        });
        rows.collect()
    }

    #[test]
    fn each_message_of_the_user_is_a_row() {
        let rows = check(&[
            r#"{"type":"user","message":{"content":"fix the\nparser"},"timestamp":"2026-01-02T03:04:05Z"}"#,
            r#"{"type":"assistant","message":{"content":[{"type":"text","text":"done"}]}}"#,
            r#"{"type":"user","message":{"content":[{"type":"text","text":"thank you"},{"type":"image"}]}}"#,
        ]);
        assert_eq!(rows, [(1, 3), (3, 2)]);
    }

    #[test]
    fn the_sessions_of_other_agents_have_the_same_rows() {
        let rows = check(&[
            r#"{"timestamp":"2026-01-02T03:04:05Z","type":"session_meta","payload":{"id":"a1"}}"#,
            r#"{"timestamp":"2026-01-02T03:04:06Z","type":"event_msg","payload":{"type":"user_message","message":"fix the parser"}}"#,
        ]);
        assert_eq!(rows, [(2, 3)]);
        let rows = check(&[
            r#"{"type":"session","id":"a1","timestamp":"2026-01-02T03:04:05Z","cwd":"/w"}"#,
            r#"{"type":"message","message":{"role":"user","content":"thank you"}}"#,
        ]);
        assert_eq!(rows, [(2, 2)]);
    }

    #[test]
    fn what_the_agent_writes_in_the_users_name_is_none() {
        let rows = check(&[
            r#"{"type":"user","message":{"content":[{"type":"tool_result","content":"a b"}]}}"#,
            r#"{"type":"user","isMeta":true,"message":{"content":"a b"}}"#,
            r#"{"type":"user","isSidechain":true,"message":{"content":"a b"}}"#,
            r#"{"type":"user","message":{"content":"<command-name>/clear</command-name>"}}"#,
        ]);
        assert_eq!(rows, []);
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        let rows = check(&[
            "not JSON",
            "",
            "[1]",
            r#"{"type":"user","message":{"content":"go on"}}"#,
            r#"{"type":"user","message":{"content":"go o"#,
        ]);
        assert_eq!(rows, [(4, 2)]);
    }
}
