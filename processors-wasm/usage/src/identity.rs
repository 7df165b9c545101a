//! What identifies a response, a call or a command across files.
//!
//! An API gives every response an id of its own, but gateways do not: some give all responses the
//! same short id, or start over in each session. So only a long id identifies by itself. What has a
//! short id, or none, is identified by its first line.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::place::Place;

/// Ids from this length on are unique by themselves: `msg_` and 24 characters more, or the 32
/// hexadecimal digits of gateways. Among 27,000 ids of real sessions, none stood for two responses.
const UNIQUE_ID_CHARS: usize = 20;

/// Whether an id is unique by itself, in whichever file it appears.
pub fn is_unique(id: &str) -> bool {
    id.len() >= UNIQUE_ID_CHARS && id.chars().nth(UNIQUE_ID_CHARS - 1).is_some()
}

/// Identities of what is on the lines of a file.
pub struct Keys {
    /// The key of the session: of what nothing else identifies.
    file: String,
    /// How often each identity without a `uuid` came up.
    repeats: HashMap<String, u64, FixedState>,
}

impl Keys {
    /// For the lines of a session's file.
    pub fn new(session_key: &str) -> Self {
        Self {
            file: session_key.to_owned(),
            repeats: HashMap::with_hasher(FixedState::with_seed(0)),
        }
    }

    /// Identifies something on a line, by the `uuid` of the line, which copies keep.
    ///
    /// Without one, its session, its time and `content` have to do, and its number among its
    /// likes. Where the line has neither session nor time, nothing tells a copy from another line
    /// that looks the same: then it is this line of this file.
    pub fn of_line(&mut self, place: &Place<'_>, uuid: Option<&str>, content: &str) -> String {
        if let Some(uuid) = uuid {
            return format!("line:{uuid}");
        }
        let session_id = place.session_id().map(|id| id.decode());
        if session_id.is_none() && place.occurred_at.is_none() {
            return self.once(place, content);
        }
        let session_id = session_id.as_deref().unwrap_or_default();
        let time = place.occurred_at.map_or(0, |time| time.micros());
        let key = format!("line:{session_id}@{time}:{content}");
        let repeats = self.repeats.entry_ref(key.as_str()).or_default();
        *repeats += 1;
        match *repeats {
            1 => key,
            repeat => format!("{key}#{repeat}"),
        }
    }

    /// Identifies a line without a `uuid`: the same for all that is on it.
    pub fn once(&self, place: &Place<'_>, content: &str) -> String {
        format!("file:{}:{}:{content}", self.file, place.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_are_unique_however_many_bytes_a_character_has() {
        assert!(is_unique("msg_01ABCDEFGHIJKLMNOPQRSTUVWX"));
        assert!(is_unique("0123456789abcdef0123"));
        assert!(is_unique("éééééééééééééééééééé"));
        assert!(!is_unique("éééééééééé"));
        assert!(!is_unique("relay"));
        assert!(!is_unique(""));
    }
}
