//! Values that the formats of several agents have in common.

use std::collections::VecDeque;

use crate::Timestamp;
use crate::json::{Json, Text};

/// Microseconds.
const MILLISECOND: i64 = 1_000;

/// Microseconds.
const SECOND: f64 = 1_000_000.0;

/// A text that is not empty.
pub(super) fn text(value: Option<Json<'_>>) -> Option<Text<'_>> {
    value?.text().filter(|text| !text.is_empty())
}

/// Replaces a value if there is a new one.
pub(super) fn set(known: &mut Option<String>, new: Option<Text<'_>>) {
    if let Some(new) = new
        && known.as_deref().is_none_or(|known| new != known)
    {
        *known = Some(new.decode().into_owned());
    }
}

/// A stored value as text of an item.
pub(super) fn plain(known: &Option<String>) -> Option<Text<'_>> {
    known.as_deref().map(Text::plain)
}

/// A time in RFC 3339.
pub(super) fn time(value: Option<Json<'_>>) -> Option<Timestamp> {
    Timestamp::parse(&text(value)?.decode())
}

/// A time in milliseconds since 1970.
pub(super) fn time_of_millis(value: Option<Json<'_>>) -> Option<Timestamp> {
    Timestamp::from_micros(value?.s64()?.checked_mul(MILLISECOND)?)
}

/// A time in seconds since 1970, with a fraction.
pub(super) fn time_of_seconds(value: Option<Json<'_>>) -> Option<Timestamp> {
    Timestamp::from_micros((value?.f64()? * SECOND).round() as i64)
}

/// The text of a message, which is a text or a list of parts.
pub(super) fn joined_text(content: Json<'_>) -> String {
    if let Some(whole) = content.text() {
        return whole.decode().into_owned();
    }
    let parts = content.elements();
    let texts = parts.filter_map(|part| Some(text(part.field("text"))?.decode().into_owned()));
    texts.collect::<Vec<_>>().join("\n")
}

/// The name of the slash command that a text begins with: `/name`, followed by white space or the
/// end. A path such as `/tmp/a` is not a command. People name their own commands, in any language,
/// and the name does not end with a mark.
pub(super) fn command_name(text: &str) -> Option<&str> {
    let word = text.trim_start().strip_prefix('/')?;
    let name = word.split(char::is_whitespace).next()?;
    let is_part = |part: char| part.is_alphanumeric() || matches!(part, '-' | '_' | ':' | '.');
    let is_name = name.starts_with(char::is_alphabetic)
        && name.ends_with(char::is_alphanumeric)
        && name.chars().all(is_part);
    is_name.then_some(name)
}

/// The MCP server in the name of a tool: `mcp__server__tool`, or `mcp__server_tool`.
pub(super) fn mcp_server(tool: &str) -> Option<&str> {
    let rest = tool.strip_prefix("mcp__")?;
    let parts = rest.split_once("__").or_else(|| rest.split_once('_'));
    Some(parts.map_or(rest, |(server, _)| server)).filter(|server| !server.is_empty())
}

/// Values that a later line refers to by an id. It stores the latest ones only, so that a file with
/// many ids does not fill the memory.
#[derive(Debug)]
pub(super) struct RecentIds<V> {
    values: VecDeque<(String, V)>,
}

/// Agents run a few dozen calls at the same time at most.
const RECENT_MAX: usize = 256;

/// A longer id is not stored.
const ID_BYTES_MAX: usize = 1024;

impl<V> Default for RecentIds<V> {
    fn default() -> Self {
        Self {
            values: VecDeque::new(),
        }
    }
}

impl<V> RecentIds<V> {
    /// Stores a value in place of an earlier one with this id. Returns a value that is not stored,
    /// because there are too many or because its id is too long.
    pub(super) fn insert(&mut self, id: &str, value: V) -> Option<V> {
        self.take(id);
        if id.len() > ID_BYTES_MAX {
            return Some(value);
        }
        self.values.push_back((id.to_owned(), value));
        if self.values.len() <= RECENT_MAX {
            return None;
        }
        self.values.pop_front().map(|(_, value)| value)
    }

    /// The value of an id.
    pub(super) fn get(&self, id: &str) -> Option<&V> {
        let mut latest = self.values.iter().rev();
        latest
            .find(|(known, _)| known == id)
            .map(|(_, value)| value)
    }

    /// Removes the value of an id.
    pub(super) fn take(&mut self, id: &str) -> Option<V> {
        let at = self.values.iter().rposition(|(known, _)| known == id)?;
        self.values.remove(at).map(|(_, value)| value)
    }

    /// Removes all values, in the order in which they were stored.
    pub(super) fn take_all(&mut self) -> VecDeque<(String, V)> {
        std::mem::take(&mut self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_name_and_not_a_path() {
        for (text, name) in [
            ("/compact", Some("compact")),
            (" /init now\nplease", Some("init")),
            ("/skill:pdf", Some("skill:pdf")),
            ("/git:push it", Some("git:push")),
            (" /team:build-it now", Some("team:build-it")),
            ("/a\nb", Some("a")),
            ("/复查", Some("复查")),
            ("/v1.2 notes", Some("v1.2")),
            ("/home/ada/shop is empty", None),
            ("/them. are wrong", None),
            ("/tmp/a", None),
            ("/", None),
            ("/ a", None),
            ("/1", None),
            ("/skill:", None),
            ("fix /compact", None),
            ("", None),
        ] {
            assert_eq!(command_name(text), name, "{text}");
        }
    }

    #[test]
    fn a_tool_of_a_server_names_it() {
        for (tool, server) in [
            ("mcp__github__list_issues", Some("github")),
            ("mcp__github_list", Some("github")),
            ("mcp__github", Some("github")),
            ("mcp__", None),
            ("github__list", None),
        ] {
            assert_eq!(mcp_server(tool), server, "{tool}");
        }
    }

    #[test]
    fn only_recent_ids_are_stored() {
        let mut ids = RecentIds::default();
        for number in 0..RECENT_MAX + 1 {
            let evicted = ids.insert(&format!("call_{number}"), number);
            assert_eq!(evicted, (number == RECENT_MAX).then_some(0));
        }
        assert_eq!(ids.insert(&"x".repeat(ID_BYTES_MAX + 1), 7), Some(7));
        assert_eq!(ids.values.len(), RECENT_MAX);
        assert_eq!(ids.get("call_0"), None);
        assert_eq!(ids.take("call_1"), Some(1));
        assert_eq!(ids.take("call_1"), None);
        ids.insert("call_2", 7);
        assert_eq!(ids.get("call_2"), Some(&7));
        assert_eq!(ids.take_all().len(), RECENT_MAX - 1);
    }

    #[test]
    fn times_out_of_range_are_absent() {
        let json = |text| Json::parse(text);
        assert_eq!(
            time_of_millis(json("1765233669399")),
            Timestamp::parse("2025-12-08T22:41:09.399Z")
        );
        assert_eq!(
            time_of_seconds(json("1772590689.2082798")),
            Timestamp::parse("2026-03-04T02:18:09.20828Z")
        );
        for text in ["1e300", "-1e300", "9223372036854775807", "\"7\"", "null"] {
            assert_eq!(time_of_millis(json(text)), None, "{text}");
            assert_eq!(time_of_seconds(json(text)), None, "{text}");
        }
    }
}
