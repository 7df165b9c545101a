//! The table `usage.unknown_kinds`: types of lines that are not known.
//!
//! A new version of the agent can write new types. Their names show whether a type matters that is
//! not counted. A name is text of the transcript, so there is a limit to their number and length.

use std::collections::BTreeMap;

use session_pipeline_processor::transcript::Entry;
use session_pipeline_processor::{Timestamp, rows};

use crate::Owner;
use crate::place::Place;
use crate::strings::{Span, Strings};

/// More names have one row together.
const NAMES_MAX: usize = 50;

/// The rest of a longer name is cut off.
const NAME_CHARS_MAX: usize = 100;

/// The name of the row for all other names.
const OTHER: &str = "…other";

rows! {
    /// The lines of one unknown type.
    pub struct UnknownKindRow<'a> in "unknown_kinds" {
        /// The first `sessionId` of the file, or the session key.
        session_id: &'a str,
        /// The user of the session.
        username: &'a str,
        /// The name of the type, or `…other` for all types beyond the first 50.
        kind: &'a str,
        /// The number of lines.
        lines: u64,
        /// The time of the first of them.
        first_seen: Option<Timestamp>,
        /// The time of the last of them.
        last_seen: Option<Timestamp>,
        /// The version of the agent that wrote the last of them.
        agent_version: Option<&'a str>,
    }
}

/// The unknown types of a transcript.
#[derive(Default)]
pub struct UnknownKinds {
    by_name: BTreeMap<String, UnknownKind>,
    other: Option<UnknownKind>,
    /// The latest version of the agent. Not all types of lines have one.
    version: Option<Span>,
}

#[derive(Clone, Copy, Default)]
struct UnknownKind {
    lines: u64,
    first_seen: Option<Timestamp>,
    last_seen: Option<Timestamp>,
    version: Option<Span>,
}

impl UnknownKinds {
    /// Processes an entry.
    pub fn add(&mut self, strings: &mut Strings, place: &Place<'_>, entry: &Entry<'_>) {
        if let Some(version) = entry.version.filter(|version| !version.is_empty())
            && self
                .version
                .is_none_or(|known| version != strings.get(known))
        {
            self.version = strings.intern_text(Some(version));
        }
        let Some(name) = entry.unknown_kind else {
            return;
        };
        let name = name.decode();
        // A name with damage can be a known one.
        if name.contains(char::REPLACEMENT_CHARACTER) {
            return;
        }
        let end = name.char_indices().nth(NAME_CHARS_MAX);
        let name = &name[..end.map_or(name.len(), |(end, _)| end)];
        let is_new = !self.by_name.contains_key(name);
        let kind = if name == OTHER || is_new && self.by_name.len() == NAMES_MAX {
            self.other.get_or_insert_default()
        } else {
            self.by_name.entry(name.to_owned()).or_default()
        };
        kind.lines += 1;
        kind.first_seen = kind.first_seen.or(place.occurred_at);
        kind.last_seen = place.occurred_at.or(kind.last_seen);
        kind.version = self.version;
    }

    /// The rows of the table, by name.
    pub fn rows<'a>(&'a self, owner: &'a Owner<'a>) -> impl Iterator<Item = UnknownKindRow<'a>> {
        let named = self.by_name.iter().map(|(name, kind)| (&**name, kind));
        let other = self.other.iter().map(|kind| (OTHER, kind));
        named.chain(other).map(|(name, kind)| UnknownKindRow {
            session_id: owner.session_id,
            username: owner.username,
            kind: name,
            lines: kind.lines,
            first_seen: kind.first_seen.or(owner.first_time),
            last_seen: kind.last_seen.or(owner.first_time),
            agent_version: kind.version.map(|version| owner.strings.get(version)),
        })
    }
}
