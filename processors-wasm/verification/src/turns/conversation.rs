//! Collects the conversation of a session.
//!
//! Before each turn of the user, it has the last words of the model. Everything else that the model
//! said, such as its comments between tool calls, is left out.

use std::collections::VecDeque;

use session_pipeline_processor::activity::CodingAgent;
use session_pipeline_processor::json::Text;
use session_pipeline_processor::transcript::project::{project_of, without_end};
use session_pipeline_processor::transcript::{Entry, PromptQueue};
use session_pipeline_processor::{Session, Timestamp};

use super::pasted;
use super::repeats::Repeats;
use super::{Role, Turn, TurnPlace};

/// A longer turn is reduced to its beginning and its end, in bytes.
const TURN_BYTES: usize = 64 * 1024;
/// Maximum number of bytes of all turns. The oldest are dropped.
const TURNS_BYTES: usize = 32 * 1024 * 1024;
/// More worktrees than a session enters.
const WORKTREES_MAX: usize = 100;

/// Replaces the middle of a long turn.
pub const LEFT_OUT: &str = "\n[… left out …]\n";

/// What was said in a session, and where.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// The turns of the user, each after the last words of the model before it.
    pub turns: Vec<Turn>,
    /// The project: the directory in which the session began.
    pub project: Option<String>,
    /// The id of the session, for agents whose files need not be named by it. `None` for Claude
    /// Code.
    pub session_id: Option<String>,
    /// The time of the first entry with a time.
    pub first: Option<Timestamp>,
    /// The latest time of an entry.
    pub last: Option<Timestamp>,
    /// The number of turns that were dropped because the session is too long.
    pub dropped: u64,
}

impl Conversation {
    /// Reads the transcript of a session.
    pub fn read(session: &Session<'_>) -> Self {
        let mut collector = Collector::default();
        let activity = session.activity();
        if activity.agent() == CodingAgent::Claude {
            let transcript = activity.into_transcript();
            transcript.for_each(|line, entry| collector.add(line, entry));
        } else {
            activity.for_each(|origin, item| collector.add_item(origin, item));
        }
        collector.finish()
    }

    /// The turns of the user.
    pub fn of_user(&self) -> impl DoubleEndedIterator<Item = &Turn> {
        self.turns.iter().filter(|turn| turn.role == Role::User)
    }
}

#[derive(Default)]
pub(super) struct Collector {
    turns: VecDeque<Turn>,
    bytes: usize,
    dropped: u64,
    /// The latest words of the model since the last turn of the user.
    pub(super) last_words: Option<Turn>,
    queue: PromptQueue,
    pub(super) repeats: Repeats,
    directory: Option<String>,
    worktrees: Vec<(String, String)>,
    pub(super) session_id: Option<String>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Collector {
    fn add(&mut self, line: u64, entry: &Entry<'_>) {
        self.note_place(entry);
        if let Some(text) = self.queue.add(entry) {
            if let Some(turn) = Turn::said(Role::User, &text, TurnPlace::of_entry(line, entry)) {
                self.hear(turn);
            }
            return;
        }
        let Some(turn) = Turn::of(line, entry) else {
            let results = entry.says().tool_results();
            for text in results.filter_map(|result| result.text()) {
                self.repeats.remember(&text);
            }
            return;
        };
        match turn.role {
            Role::User if !self.queue.take(&turn.text) => self.hear(turn),
            Role::User => {}
            Role::Assistant => {
                self.repeats.remember(&turn.text);
                self.last_words = Some(turn);
            }
        }
    }

    /// Adds a turn of the user after the last words of the model.
    pub(super) fn hear(&mut self, mut turn: Turn) {
        turn.typed = pasted::typed(&turn.text, &self.repeats);
        let last_words = self.last_words.take();
        for turn in last_words.into_iter().chain([turn]) {
            self.bytes += turn.text.len();
            self.turns.push_back(turn);
        }
        while self.bytes > TURNS_BYTES
            && let Some(oldest) = self.turns.pop_front()
        {
            self.bytes -= oldest.text.len();
            self.dropped += 1;
        }
    }

    /// Notes the time and the directory of a line.
    pub(super) fn note_origin(&mut self, time: Option<Timestamp>, cwd: Option<Text<'_>>) {
        self.first = self.first.or(time);
        self.last = self.last.max(time);
        if self.directory.is_none() {
            let directory = cwd.map(|cwd| cwd.decode().into_owned());
            self.directory = directory.filter(|directory| !directory.is_empty());
        }
    }

    fn note_place(&mut self, entry: &Entry<'_>) {
        self.note_origin(entry.timestamp, entry.cwd);
        let worktree = entry
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.worktree);
        if let Some(worktree) = worktree.filter(|_| self.worktrees.len() < WORKTREES_MAX) {
            let text = |field| Some(worktree.field(field)?.text()?.decode().into_owned());
            let paths = text("worktreePath").zip(text("originalCwd"));
            self.worktrees.extend(paths);
        }
    }

    fn finish(self) -> Conversation {
        let project = self.directory.map(|directory| {
            let is_in = |path: &str| {
                let rest = directory.strip_prefix(without_end(path));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '\\']))
            };
            let mut worktrees = self.worktrees.iter();
            let original = worktrees.find(|(path, _)| is_in(path));
            project_of(original.map_or(directory.as_str(), |(_, original)| original))
        });
        Conversation {
            turns: self.turns.into(),
            project,
            session_id: self.session_id,
            first: self.first,
            last: self.last,
            dropped: self.dropped,
        }
    }
}

/// The text, or its beginning and its end if it is too long to be stored.
pub(super) fn bounded(text: &str) -> String {
    if text.len() <= TURN_BYTES {
        return text.to_owned();
    }
    let head = &text[..text.floor_char_boundary(TURN_BYTES / 2)];
    let tail = &text[text.ceil_char_boundary(text.len() - TURN_BYTES / 2)..];
    format!("{head}{LEFT_OUT}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(lines: &[&str]) -> Conversation {
        let mut collector = Collector::default();
        for (number, line) in lines.iter().enumerate() {
            collector.add(number as u64 + 1, &Entry::parse(line).unwrap());
        }
        collector.finish()
    }

    /// Formats turns as `line role: typed text`.
    fn check(lines: &[&str], expected: &[&str]) {
        let conversation = conversation(lines);
        let turns: Vec<String> = conversation
            .turns
            .iter()
            .map(|turn| {
                let typed: Vec<&str> = turn.typed_texts().map(str::trim).collect();
                let text = match turn.role {
                    Role::User => typed.join(" … "),
                    Role::Assistant => turn.text.clone(),
                };
                format!("{} {}: {text}", turn.line, turn.role.name())
            })
            .collect();
        assert_eq!(turns, expected, "{lines:?}");
    }

    const TYPED: &str = r#"{"type":"user","message":{"content":"we never wrap Markdown"}}"#;
    const QUEUED: &str =
        r#"{"type":"queue-operation","operation":"enqueue","content":"we never wrap Markdown"}"#;
    const ATTACHED: &str = r#"{"type":"attachment","attachment":{"type":"queued_command","commandMode":"prompt","prompt":"we never wrap Markdown"}}"#;

    #[test]
    fn a_queued_prompt_is_a_turn_once() {
        check(&[TYPED], &["1 user: we never wrap Markdown"]);
        check(&[QUEUED], &["1 user: we never wrap Markdown"]);
        check(&[ATTACHED], &["1 user: we never wrap Markdown"]);
        check(&[QUEUED, ATTACHED], &["1 user: we never wrap Markdown"]);
        check(&[QUEUED, TYPED], &["1 user: we never wrap Markdown"]);
        check(
            &[TYPED, TYPED],
            &[
                "1 user: we never wrap Markdown",
                "2 user: we never wrap Markdown",
            ],
        );
    }

    #[test]
    fn a_comment_in_a_rejection_is_a_turn() {
        check(
            &[
                r#"{"type":"user","toolUseResult":"Error: x","message":{"content":[{"type":"tool_result","is_error":true,
                "content":"The user doesn't want to proceed with this tool use. To tell you how to proceed, the user said:\ndon't wrap any of our MD files"}]}}"#,
            ],
            &["1 user: don't wrap any of our MD files"],
        );
    }

    #[test]
    fn of_the_model_only_its_last_words_before_the_user_are_kept() {
        let says = |text: &str| {
            format!(
                r#"{{"type":"assistant","message":{{"content":[{{"type":"text","text":"{text}"}}]}}}}"#
            )
        };
        let tool = r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"1","name":"Bash","input":{}}]}}"#;
        check(
            &[
                &says("Hello."),
                TYPED,
                &says("Let me look."),
                tool,
                &says("Churn is weekly."),
                TYPED,
                TYPED,
                &says("Done."),
            ],
            &[
                "1 assistant: Hello.",
                "2 user: we never wrap Markdown",
                "5 assistant: Churn is weekly.",
                "6 user: we never wrap Markdown",
                "7 user: we never wrap Markdown",
            ],
        );
    }

    #[test]
    fn text_that_the_model_or_a_tool_said_before_is_not_typed() {
        let claim = "churn is counted once per week from the export of the team";
        let user = format!(r#"{{"type":"user","message":{{"content":"{claim}\nthat is wrong"}}}}"#);
        let model = format!(r#"{{"type":"assistant","message":{{"content":"So {claim}."}}}}"#);
        let tool = format!(
            r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","content":"{claim}"}}]}}}}"#
        );
        check(
            &[&user, &model],
            &[&format!("1 user: {claim}\nthat is wrong")],
        );
        check(
            &[&model, &user],
            &[
                &format!("1 assistant: So {claim}."),
                "2 user: that is wrong",
            ],
        );
        check(&[&tool, &user], &["2 user: that is wrong"]);
    }

    #[test]
    fn project_branch_and_times_are_those_of_the_session() {
        let conversation = conversation(&[
            r#"{"type":"worktree-state","worktreeSession":{"worktreePath":"/tmp/wt/fix","originalCwd":"/w/shop"}}"#,
            r#"{"type":"user","cwd":"/tmp/wt/fix/web","gitBranch":"fix","timestamp":"2026-02-13T14:00:00Z","message":{"content":"hi"}}"#,
            r#"{"type":"user","cwd":"/elsewhere","gitBranch":"main","timestamp":"2026-02-13T13:00:00Z","message":{"content":"ho"}}"#,
        ]);
        assert_eq!(conversation.project.as_deref(), Some("/w/shop"));
        let branches: Vec<_> = conversation
            .of_user()
            .map(|turn| turn.branch.as_deref())
            .collect();
        assert_eq!(branches, [Some("fix"), Some("main")]);
        let at = |text| Timestamp::parse(text);
        assert_eq!(conversation.first, at("2026-02-13T14:00:00Z"));
        assert_eq!(conversation.last, conversation.first);
    }

    #[test]
    fn a_huge_turn_keeps_its_beginning_and_its_end() {
        let text = format!("first {} last", "é".repeat(TURN_BYTES));
        let kept = bounded(&text);
        assert!(kept.len() <= TURN_BYTES + LEFT_OUT.len());
        assert!(kept.starts_with("first ") && kept.ends_with(" last"));
        assert_eq!(bounded("short"), "short");
    }
}
