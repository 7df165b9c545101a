//! Identities of responses, calls and commands across files.
//!
//! An API assigns a unique id to each response, but some gateways do not. They assign the same
//! short id to all responses, or start over in each session. Therefore, only a long id is unique.
//! An object with a short id or none is identified by its first line.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::place::Place;
use serde::{Deserialize, Serialize};

/// Ids of at least this length are unique: `msg_` and 24 more characters, or the 32 hexadecimal
/// digits of gateways. Of 27,000 ids in real sessions, none belonged to two responses.
const UNIQUE_ID_CHARS: usize = 20;

/// Whether an id is unique across files.
pub fn is_unique(id: &str) -> bool {
    id.len() >= UNIQUE_ID_CHARS && id.chars().nth(UNIQUE_ID_CHARS - 1).is_some()
}

/// Creates identities for objects on the lines of a file.
#[derive(Serialize, Deserialize)]
pub struct Keys {
    /// The session key, for objects that nothing else identifies.
    file: String,
    /// How often each identity without a `uuid` has occurred.
    repeats: HashMap<String, u64, FixedState>,
}

impl Keys {
    /// Creates identities for the file of a session.
    pub fn new(session_key: &str) -> Self {
        Self {
            file: session_key.to_owned(),
            repeats: HashMap::with_hasher(FixedState::with_seed(0)),
        }
    }

    /// Identifies an object on a line by the line's `uuid`, which copies keep.
    ///
    /// Without a `uuid`, the session, the time, `content` and the number among equal lines identify
    /// the object. If the line has neither a session nor a time, it cannot be distinguished from a
    /// similar line. The object is then identified by its line in this file.
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

    /// Identifies a line without a `uuid`. The same for all objects on the line.
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
