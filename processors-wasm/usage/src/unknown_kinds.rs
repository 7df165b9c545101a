//! The table `usage.unknown_kinds`: types of lines that are not known.
//!
//! A new version of the agent can write new types. Their names show whether a type matters that is
//! not counted. A name is text of the transcript, so there is a limit to their number and length.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_pipeline_processor::json::Text;
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
#[derive(Default, Serialize, Deserialize)]
pub struct UnknownKinds {
    by_name: BTreeMap<String, UnknownKind>,
    other: Option<UnknownKind>,
    /// The latest version of the agent. Not all types of lines have one.
    version: Option<Span>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct UnknownKind {
    lines: u64,
    first_seen: Option<Timestamp>,
    last_seen: Option<Timestamp>,
    version: Option<Span>,
}

impl UnknownKinds {
    /// Processes an entry.
    pub fn add(&mut self, strings: &mut Strings, place: &Place<'_>, entry: &Entry<'_>) {
        self.add_kind(strings, place, entry.version, entry.unknown_kind);
    }

    /// Processes a line with this version of the agent and, if its type is unknown, this type.
    pub fn add_kind(
        &mut self,
        strings: &mut Strings,
        place: &Place<'_>,
        version: Option<Text<'_>>,
        unknown: Option<Text<'_>>,
    ) {
        if let Some(version) = version.filter(|version| !version.is_empty())
            && self
                .version
                .is_none_or(|known| version != strings.get(known))
        {
            self.version = strings.intern_text(Some(version));
        }
        let Some(name) = unknown else {
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
        if kind.lines == 0 {
            kind.first_seen = place.occurred_at;
        }
        kind.lines += 1;
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

#[cfg(test)]
mod tests {
    use super::UnknownKindRow;
    use crate::testing::check;

    #[test]
    fn unknown_types_have_a_row_by_name() {
        check::<UnknownKindRow<'_>>(
            "ada/s.jsonl",
            &[
                r#"{"type":"new-thing"}"#,
                r#"{"type":"user","version":"2.1.300","timestamp":"1970-01-01T00:00:01Z"}"#,
                r#"{"type":"mode"}"#,
                r#"{"type":"another","timestamp":"1970-01-01T00:00:02Z"}"#,
                r#"{"type":"new-thing","version":"2.1.301","timestamp":"1970-01-01T00:00:03Z"}"#,
                r#"{"type":7}"#,
                r#"{"type":"b\ud83droken"}"#,
                "{}",
            ],
            "kind lines first_seen last_seen agent_version",
            &[
                "another 1 2000000 2000000 2.1.300",
                "new-thing 2 1000000 3000000 2.1.301",
            ],
        );
    }

    #[test]
    fn names_are_limited_in_number_and_length() {
        let line = |name: String| format!(r#"{{"type":"{name}"}}"#);
        let names = (10..70).map(|n| format!("x{n}"));
        let lines: Vec<_> = names.chain(["x10".to_owned()]).map(line).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let mut expected: Vec<_> = (10..60).map(|n| format!("x{n} 1")).collect();
        expected[0] = "x10 2".to_owned();
        expected.push("…other 10".to_owned());
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        check::<UnknownKindRow<'_>>("ada/s.jsonl", &lines, "kind lines", &expected);
        let long = [line("é".repeat(101)), line("é".repeat(102))];
        let long: Vec<_> = long.iter().map(String::as_str).collect();
        let expected = format!("{} 2", "é".repeat(100));
        check::<UnknownKindRow<'_>>("ada/s.jsonl", &long, "kind lines", &[&expected]);
    }
}
