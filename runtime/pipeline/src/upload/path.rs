//! Paths of uploaded files, below the folder of their user.

use std::fmt;

use session_pipeline_host::fault::printable;
use session_pipeline_host::sessions::is_key;

use super::{UploadError, is_name};

/// Maximum number of components of a path, the file name included.
const COMPONENTS_MAX: usize = 8;
/// The end of the name of a session.
const SESSION_SUFFIX: &str = ".jsonl";
/// The end of the name of a file with which an agent describes a sub-agent.
const META_SUFFIX: &str = ".meta.json";

/// The path of a session, or of a file that describes one, such as
/// `claude/-home-dev-app/s1/subagents/agent-1.meta.json`. No component can leave the folder of the
/// user or is hidden.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UploadPath(String);

impl UploadPath {
    /// Checks a path.
    ///
    /// # Errors
    /// A component is not a valid name, there are more than 8, or the file is not of a kind that
    /// can be uploaded.
    pub fn parse(text: &str) -> Result<Self, UploadError> {
        // A run finds what is a key below the folder of a user.
        let is_wanted = text.ends_with(META_SUFFIX) || is_key(&format!("user/{text}"));
        let is_path = text.split('/').count() <= COMPONENTS_MAX && text.split('/').all(is_name);
        match is_wanted && is_path {
            true => Ok(Self(text.to_owned())),
            false => Err(UploadError::Path(printable(text))),
        }
    }

    /// The path, with `/` as the separator.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the file is a session. Each of its lines is a document of its own.
    pub(super) fn is_session(&self) -> bool {
        self.0.ends_with(SESSION_SUFFIX)
    }

    /// The names of the folders, and that of the file.
    pub(super) fn split(&self) -> (Vec<&str>, &str) {
        match self.0.rsplit_once('/') {
            Some((folders, name)) => (folders.split('/').collect(), name),
            None => (Vec::new(), &self.0),
        }
    }
}

impl fmt::Display for UploadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_folder_and_name_sessions_or_their_descriptions() {
        let long = format!("{}.jsonl", "a".repeat(195));
        for bad in [
            "",
            ".jsonl",
            "a/.jsonl",
            "../a.jsonl",
            "a/../b.jsonl",
            "a//b.jsonl",
            "/a.jsonl",
            "a/",
            "a/.b/c.jsonl",
            "a b.jsonl",
            "a\\b.jsonl",
            "ü.jsonl",
            "a\0.jsonl",
            "a.json",
            "meta.json",
            "gemini/app/logs.json",
            "chats.json",
            "a/.meta.json",
            "a.jsonl/",
            "1/2/3/4/5/6/7/8/9.jsonl",
            &long,
        ] {
            assert!(UploadPath::parse(bad).is_err(), "{bad:?}");
        }
        for good in [
            "a.jsonl",
            "claude/-home-dev-app/s1/subagents/agent-1.meta.json",
            "gemini/app/chats/session-1.json",
            "gemini/app/chats/s1/agent-1.json",
            "1/2/3/4/5/6/7/8.jsonl",
            &long[1..],
        ] {
            assert_eq!(UploadPath::parse(good).unwrap().as_str(), good);
        }
    }
}
