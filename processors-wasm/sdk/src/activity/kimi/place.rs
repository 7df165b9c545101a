//! The session and the sub-agent of a file, by its key.

/// The name of every recording.
const RECORDING: &str = "wire";

/// The folder with the recordings of sub-agents.
const SUB_AGENTS: &str = "subagents";

/// What the path of a file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SessionPlace {
    pub(super) session_id: String,
    pub(super) agent_id: Option<String>,
}

impl SessionPlace {
    /// The folder of `wire.jsonl` is the id of the session. Above a folder `subagents`, it is that
    /// of a sub-agent. A file with another name was renamed for an upload, and its name is the id.
    pub(super) fn of_key(key: &str) -> Self {
        let mut parts = key.rsplit('/');
        let name = parts.next().unwrap_or_default();
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let is_id = |part: &&str| !part.is_empty();
        let folder = parts.next().filter(is_id);
        let (Some(folder), true) = (folder, stem == RECORDING) else {
            return Self {
                session_id: if stem.is_empty() { key } else { stem }.to_owned(),
                agent_id: None,
            };
        };
        if parts.next() == Some(SUB_AGENTS)
            && let Some(session) = parts.next().filter(is_id)
        {
            return Self {
                session_id: session.to_owned(),
                agent_id: Some(folder.to_owned()),
            };
        }
        Self {
            session_id: folder.to_owned(),
            agent_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_recording_is_its_session() {
        for (key, session, agent) in [
            ("ada/kimi/9072/e12e/wire.jsonl", "e12e", None),
            (
                "ada/kimi/9072/e12e/subagents/a1/wire.jsonl",
                "e12e",
                Some("a1"),
            ),
            ("ada/subagents/a1/wire.jsonl", "ada", Some("a1")),
            ("subagents/a1/wire.jsonl", "a1", None),
            ("ada/e12e.jsonl", "e12e", None),
            ("wire.jsonl", "wire", None),
            ("ada/.jsonl", "ada/.jsonl", None),
            ("", "", None),
        ] {
            let place = SessionPlace::of_key(key);
            assert_eq!(place.session_id, session, "{key}");
            assert_eq!(place.agent_id.as_deref(), agent, "{key}");
        }
    }
}
