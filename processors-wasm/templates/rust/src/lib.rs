//! Counts the words of each message that the user typed.

use session_pipeline_processor::transcript::Entry;
use session_pipeline_processor::transcript::prompts::{is_prompt, is_typed};
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
        session.transcript().for_each(|line, entry| {
            // Most lines of the type `user` are results of tools and notes of the agent.
            if is_prompt(entry) {
                messages.insert(Message {
                    line,
                    said_at: entry.timestamp,
                    words: words(entry),
                });
                count += 1;
            }
        });
        Ok(Summary::items(count))
    }
}

/// The words in what the user typed; reminders that the agent put beside it are none.
fn words(entry: &Entry<'_>) -> u64 {
    let texts = entry.says().texts().filter(|text| is_typed(*text));
    texts.map(|text| count_words(&text.decode())).sum()
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
