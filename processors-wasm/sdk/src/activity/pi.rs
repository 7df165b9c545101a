//! Reads the sessions of pi and Oh My Pi.
//!
//! A file begins with its header, in Oh My Pi with the title before it. The other lines are entries
//! of a tree, because a person can go back and continue from an earlier entry. All branches were
//! paid, so the tree does not matter here. A branch that becomes a session of its own, and a fork,
//! begin with copies of entries, which preserve all times.
//!
//! A response of the model is one entry with its tokens ([`messages`]). A sub-agent of Oh My Pi has
//! a file of its own with a `session_init` entry.

mod messages;

use self::messages::CallPrefixes;
use crate::Timestamp;
use crate::activity::driver::{Items, Reader};
use crate::activity::values::{plain, set, text, time};
use crate::activity::{Item, Origin, SessionFacts, Unrecorded};
use crate::json::{Json, Text};

/// Types of entries that no item needs.
const OTHER_KINDS: &[&str] = &[
    "archive",
    "context_transform",
    "credential_pin",
    "custom",
    "ephemeral",
    "label",
    "mode_change",
    "model_change",
    "reset_boundary",
    "service_tier_change",
    "ttsr_injection",
];

/// Methods of compaction for which no model is asked.
const LOCAL_COMPACTIONS: &[&str] = &["shake", "snapcompact", "window"];

/// The state of a file.
#[derive(Default)]
pub(super) struct PiReader {
    id: Option<String>,
    cwd: Option<String>,
    /// The time in the header, if the session continues another one. Earlier entries are copies.
    forked_at: Option<Timestamp>,
    is_sub_agent: bool,
    agent_type: Option<String>,
    thinking_level: Option<String>,
    time: Option<Timestamp>,
    is_replayed: bool,
    calls: CallPrefixes,
}

impl Reader for PiReader {
    fn read(&mut self, entry: Json<'_>, items: &mut Items<'_>) {
        let [kind, timestamp, message] = entry.fields(["type", "timestamp", "message"]);
        self.time = time(timestamp);
        self.is_replayed = match (self.time, self.forked_at) {
            (Some(time), Some(forked_at)) => time < forked_at,
            _ => self.is_replayed,
        };
        let kind = text(kind).map(|kind| kind.decode()).unwrap_or_default();
        match &*kind {
            "session" => self.read_header(entry, items),
            "title" | "title_change" => self.emit_title(entry.field("title"), items),
            "session_info" => self.emit_title(entry.field("name"), items),
            "session_init" => {
                self.is_sub_agent = true;
                set(&mut self.agent_type, text(entry.field("agent")));
            }
            "thinking_level_change" => {
                let level = text(entry.field("thinkingLevel"));
                self.thinking_level = level.map(|level| level.decode().into_owned());
            }
            "message" => {
                let Some(message) = message.filter(|message| message.is_object()) else {
                    return;
                };
                self.read_message(message, items);
            }
            "custom_message" => self.read_custom(entry, items),
            "model_usage" => self.read_model_usage(entry, items),
            "compaction" => {
                items.emit(self.origin(), &Item::Compaction);
                let method = text(entry.field("method"));
                let is_method = |name: &&str| method.is_some_and(|method| method == **name);
                if !LOCAL_COMPACTIONS.iter().any(is_method) {
                    self.emit_unrecorded(Unrecorded::Compaction, items);
                }
            }
            // A summary of the branch that the person left.
            "branch_summary" => self.emit_unrecorded(Unrecorded::Compaction, items),
            known if OTHER_KINDS.contains(&known) => {}
            unknown => items.emit(self.origin(), &Item::Unknown(Text::plain(unknown))),
        }
    }

    fn origin(&self) -> Origin<'_> {
        let id = plain(&self.id);
        Origin {
            time: self.time,
            session_id: id,
            is_sidechain: self.is_sub_agent,
            agent_id: id.filter(|_| self.is_sub_agent),
            agent_type: plain(&self.agent_type),
            cwd: plain(&self.cwd),
            is_replayed: self.is_replayed,
            ..Origin::default()
        }
    }
}

impl PiReader {
    fn read_header(&mut self, header: Json<'_>, items: &mut Items<'_>) {
        let [id, cwd, title, level, parent, branched_from] = header.fields([
            "id",
            "cwd",
            "title",
            "thinkingLevel",
            "parentSession",
            "branchedFrom",
        ]);
        set(&mut self.id, text(id));
        set(&mut self.cwd, text(cwd));
        set(&mut self.thinking_level, text(level));
        let parent = text(parent).or(text(branched_from));
        let parent = parent.map(|parent| parent.decode());
        if parent.is_some() {
            self.forked_at = self.time;
        }
        let facts = SessionFacts {
            title: text(title),
            parent_session: parent.as_deref().map(session_of).map(Text::plain),
            ..SessionFacts::default()
        };
        items.emit(self.origin(), &Item::Session(facts));
    }

    fn emit_title(&self, title: Option<Json<'_>>, items: &mut Items<'_>) {
        let facts = SessionFacts {
            title: text(title),
            ..SessionFacts::default()
        };
        if facts.title.is_some() {
            items.emit(self.origin(), &Item::Session(facts));
        }
    }

    fn emit_unrecorded(&self, reason: Unrecorded, items: &mut Items<'_>) {
        items.emit(self.origin(), &Item::Unrecorded(reason));
    }
}

/// The id of a session, by the path of its file: `<folder>/<time>_<id>.jsonl`. Newer versions write
/// the id.
fn session_of(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let stem = name.strip_suffix(".jsonl").unwrap_or(name);
    let id = stem.rsplit('_').next().unwrap_or(stem);
    if id.is_empty() { path } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_session_names_its_id() {
        for (path, id) in [
            (
                "/home/ada/.pi/--w--/2026-05-01T09-00-00-000Z_019f.jsonl",
                "019f",
            ),
            (r"C:\sessions\2026_019f.jsonl", "019f"),
            ("019f", "019f"),
            ("a_", "a_"),
            ("", ""),
        ] {
            assert_eq!(session_of(path), id, "{path}");
        }
    }
}
