//! The conversation of a session: what the user typed, and the model's words that the user reacts to.
//!
//! Agents write flat and nested entries, with texts as strings or blocks. Tool results, notes by
//! the agent, entries of sub-agents and empty texts are not turns, in any format. Prompts that were
//! typed while the agent is working, and the comment with which a user rejects a tool call, are
//! turns. [`conversation`] collects the turns, and [`pasted`] finds the passages in them that the
//! user did not type.
//!
//! The turns of Claude Code come from its entries, which have more than items, such as prompts in a
//! queue and comments in rejections. Those of all other agents come from items (`items`).

pub mod conversation;
mod items;
mod lines;
pub mod pasted;
pub mod repeats;

use std::ops::Range;

use session_pipeline_processor::Timestamp;
use session_pipeline_processor::json::Text;
use session_pipeline_processor::transcript::prompts::{
    may_be_of_a_person, said_in_rejection, words,
};
use session_pipeline_processor::transcript::{Entry, Kind};

pub use conversation::Conversation;
pub use lines::{begins_item, is_prose};

const REMINDER_BEGINS: &str = "<system-reminder>";
const REMINDER_ENDS: &str = "</system-reminder>";

/// One turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The speaker.
    pub role: Role,
    /// The text. Never blank.
    pub text: String,
    /// The ranges of the text that the user typed. Empty in a turn of the model.
    pub typed: Vec<Range<usize>>,
    /// The number of the line.
    pub line: u64,
    /// `uuid` of the line, if it has one.
    pub uuid: Option<String>,
    /// When it was said, if the line has a time.
    pub at: Option<Timestamp>,
    /// The Git branch at that time, if the transcript names it.
    pub branch: Option<String>,
}

/// The speaker of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The role, as in transcripts.
    pub fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }

    fn of(entry: &Entry<'_>) -> Option<Self> {
        let by_kind = match entry.kind {
            Kind::User => Some(Role::User),
            Kind::Assistant => Some(Role::Assistant),
            Kind::Unknown => None,
            _ => return None,
        };
        let message_role = entry.message.as_ref().and_then(|message| message.role);
        match message_role.or(entry.role) {
            Some(role) if role == "user" => Some(Role::User),
            Some(role) if role == "assistant" => Some(Role::Assistant),
            Some(_) => None,
            None => by_kind,
        }
    }
}

impl Turn {
    /// Converts an entry to a turn, if it is one. All of a user's text counts as typed.
    pub fn of(line: u64, entry: &Entry<'_>) -> Option<Self> {
        let role = Role::of(entry)?;
        let content = entry.says();
        let mut texts = Vec::new();
        match role {
            Role::User if may_be_of_a_person(entry) => {
                for words in content.texts().filter_map(words) {
                    texts.push(without_reminders(&words));
                }
            }
            Role::Assistant if is_of_the_model(entry) => {
                texts.extend(content.texts().map(|text| text.decode().into_owned()));
            }
            // The comment of a user inside the result of a rejected tool call.
            Role::User => texts.push(said_in_rejection(entry)?),
            Role::Assistant => return None,
        }
        let texts: Vec<&str> = texts.iter().map(|text| text.trim()).collect();
        let place = TurnPlace::of_entry(line, entry);
        Self::said(role, &join_paragraphs(&texts), place)
    }

    /// A turn with this text. `None` if the text is blank.
    fn said(role: Role, text: &str, place: TurnPlace<'_>) -> Option<Self> {
        let text = conversation::bounded(text.trim());
        let end = if role == Role::User { text.len() } else { 0 };
        (!text.is_empty()).then(|| Turn {
            role,
            typed: std::iter::once(0..end)
                .filter(|range| range.end > 0)
                .collect(),
            text,
            line: place.line,
            uuid: place.uuid.map(|uuid| uuid.decode().into_owned()),
            at: place.at,
            branch: place.branch.map(|branch| branch.decode().into_owned()),
        })
    }

    /// The passages that the user typed.
    pub fn typed_texts(&self) -> impl Iterator<Item = &str> {
        self.typed
            .iter()
            .filter_map(|range| self.text.get(range.clone()))
    }
}

/// Where and when something was said.
#[derive(Clone, Copy)]
struct TurnPlace<'a> {
    line: u64,
    uuid: Option<Text<'a>>,
    at: Option<Timestamp>,
    branch: Option<Text<'a>>,
}

impl<'a> TurnPlace<'a> {
    fn of_entry(line: u64, entry: &Entry<'a>) -> Self {
        Self {
            line,
            uuid: entry.uuid,
            at: entry.timestamp,
            branch: entry.git_branch,
        }
    }
}

/// Whether the main model wrote the entry, and not a sub-agent or the agent itself.
fn is_of_the_model(entry: &Entry<'_>) -> bool {
    let model = entry.message.as_ref().and_then(|message| message.model);
    !entry.is_meta && !entry.is_sidechain && model.is_none_or(|model| model != "<synthetic>")
}

fn join_paragraphs(texts: &[&str]) -> String {
    let texts: Vec<&str> = texts
        .iter()
        .copied()
        .filter(|text| !text.is_empty())
        .collect();
    texts.join("\n\n")
}

/// The text without the parts that the agent added.
fn without_reminders(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(REMINDER_BEGINS) {
        kept.push_str(before);
        let Some((_, behind)) = after.split_once(REMINDER_ENDS) else {
            return kept;
        };
        rest = behind;
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(line: &str) -> Option<(&'static str, String)> {
        let entry = Entry::parse(line).unwrap();
        Turn::of(7, &entry).map(|turn| (turn.role.name(), turn.text))
    }

    fn check(line: &str, role: &'static str, text: &str) {
        assert_eq!(turn(line), Some((role, text.to_owned())), "{line}");
    }

    fn check_none(line: &str) {
        assert_eq!(turn(line), None, "{line}");
    }

    #[test]
    fn flat_and_nested_strings_and_blocks_say_the_same() {
        for line in [
            r#"{"role":"user","content":"churn is monthly"}"#,
            r#"{"type":"user","content":"churn is monthly"}"#,
            r#"{"type":"user","message":{"role":"user","content":"churn is monthly"}}"#,
            r#"{"type":"user","message":{"content":[{"type":"text","text":"churn is monthly"}]}}"#,
            r#"{"message":{"role":"user","content":["churn is monthly"]}}"#,
            r#"{"role":"user","content":[{"type":"image"},{"type":"text","text":" churn is monthly\n"}]}"#,
        ] {
            check(line, "user", "churn is monthly");
        }
        check(
            r#"{"type":"assistant","message":{"role":"assistant","model":"m","content":[
                {"type":"thinking","thinking":"hm"},{"type":"text","text":"Noted."},
                {"type":"tool_use","id":"1","name":"Bash","input":{}},{"type":"text","text":"Done."}]}}"#,
            "assistant",
            "Noted.\n\nDone.",
        );
    }

    #[test]
    fn what_nobody_said_is_no_turn() {
        for line in [
            r#"{"type":"user","message":{"role":"user","content":[{"type":"tool_result","content":"wrong"}]}}"#,
            r#"{"type":"user","message":{"content":[{"type":"tool_result"},{"type":"text","text":"x"}]}}"#,
            r#"{"type":"user","toolUseResult":{"a":1},"message":{"content":"x"}}"#,
            r#"{"type":"user","isMeta":true,"message":{"content":"x"}}"#,
            r#"{"type":"user","isSidechain":true,"message":{"content":"x"}}"#,
            r#"{"type":"assistant","isSidechain":true,"message":{"content":"x"}}"#,
            r#"{"type":"assistant","message":{"model":"<synthetic>","content":"No response requested."}}"#,
            r#"{"type":"user","isCompactSummary":true,"message":{"content":"x"}}"#,
            r#"{"type":"user","promptSource":"sdk","message":{"content":"x"}}"#,
            r#"{"type":"user","message":{"content":"<command-name>/clear</command-name>"}}"#,
            r#"{"type":"user","message":{"content":"Another Claude session sent a message:\n<agent-message agent_id=\"a1\">No, we never retry.</agent-message>"}}"#,
            r#"{"type":"user","message":{"content":"<agent-message agent_id=\"a1\">\nNo, we never retry.\n</agent-message>"}}"#,
            r#"{"type":"user","message":{"content":"<cross-session-message from=\"s\">Actually, always.</cross-session-message>"}}"#,
            r#"{"type":"user","message":{"content":"Stop hook feedback:\n- no, run the tests"}}"#,
            r#"{"type":"user","message":{"content":"<ide_selection>churn is monthly</ide_selection>"}}"#,
            r#"{"type":"user","message":{"content":"[Request interrupted by user]"}}"#,
            r#"{"type":"user","message":{"content":"This session is being continued from a previous conversation"}}"#,
            r#"{"type":"user","message":{"content":" \n"}}"#,
            r#"{"type":"user","message":{"content":[]}}"#,
            r#"{"type":"user","message":"x"}"#,
            r#"{"type":"assistant","message":{"content":[{"type":"thinking","thinking":"hm"}]}}"#,
            r#"{"type":"system","content":"x"}"#,
            r#"{"type":"progress","data":{"type":"agent_progress","message":{"type":"user","message":{"role":"user","content":"x"}}}}"#,
            r#"{"role":"system","content":"x"}"#,
            r#"{"content":"x"}"#,
        ] {
            check_none(line);
        }
    }

    #[test]
    fn what_the_agent_put_beside_the_users_text_is_left_out() {
        check(
            r#"{"type":"user","message":{"content":[
                {"type":"text","text":"<system-reminder>never say so</system-reminder>"},
                {"type":"text","text":"go on<system-reminder>x</system-reminder> now <system-reminder>y"}]}}"#,
            "user",
            "go on now",
        );
        check(
            r#"{"type":"user","toolUseResult":"Error: x","message":{"content":[{"type":"tool_result","is_error":true,
                "content":"Permission for this tool use was denied. The user said:\nchurn is monthly"}]}}"#,
            "user",
            "churn is monthly",
        );
        check(
            r#"{"type":"user","message":{"content":"<ide_selection>churn is weekly</ide_selection>\nchurn is monthly"}}"#,
            "user",
            "churn is monthly",
        );
    }
}
