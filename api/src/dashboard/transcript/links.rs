//! The addresses that transcripts link to. Session keys in them are percent-encoded.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::percent::{encode, encode_path};

/// The addresses within the page of a transcript.
pub(super) struct Links {
    /// The encoded key of the session.
    session: String,
    href: String,
    is_nested: bool,
    anchor_prefix: String,
}

impl Links {
    pub(super) fn new(session: &str, is_nested: bool) -> Self {
        let mut hasher = DefaultHasher::new();
        session.hash(&mut hasher);
        Self {
            session: encode(session),
            href: session_href(session),
            is_nested,
            anchor_prefix: match is_nested {
                true => format!("S{:016x}-L", hasher.finish()),
                false => "L".to_owned(),
            },
        }
    }

    /// The id of the element of a line.
    pub(super) fn anchor(&self, line: u64) -> String {
        format!("{}{line}", self.anchor_prefix)
    }

    /// The entries after a line, to be added to the page.
    pub(super) fn entries(&self, after: u64) -> String {
        let session = &self.session;
        let nested = if self.is_nested { "&nested=true" } else { "" };
        format!("/sessions/entries?session={session}&after={after}{nested}")
    }

    /// A whole text, which replaces its beginning.
    pub(super) fn part(&self, line: u64, part: u32) -> String {
        let session = &self.session;
        format!("/sessions/part?session={session}&line={line}&part={part}")
    }

    /// The page of the session, from a line on.
    pub(super) fn page_at(&self, line: u64) -> String {
        let (href, after) = (&self.href, line.saturating_sub(1));
        format!("{href}?after={after}#{}", self.anchor(line))
    }
}

/// The address of the page of a session.
pub fn session_href(session: &str) -> String {
    format!("/sessions/{}", encode_path(session))
}

/// The entries of the transcript of a sub-agent, inside the page of its parent.
pub(super) fn nested_entries(session: &str) -> String {
    let session = encode(session);
    format!("/sessions/entries?session={session}&nested=true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded() {
        assert_eq!(
            session_href("ada/a b&c=?#\"é.jsonl"),
            "/sessions/ada/a%20b%26c%3D%3F%23%22%C3%A9.jsonl"
        );
        let links = Links::new("ada/x&after=1.jsonl", false);
        assert_eq!(
            links.part(3, 1),
            "/sessions/part?session=ada%2Fx%26after%3D1%2Ejsonl&line=3&part=1"
        );
        assert_eq!(links.anchor(3), "L3");
        let nested = Links::new("ada/x.jsonl", true);
        assert_ne!(nested.anchor(3), Links::new("ada/y.jsonl", true).anchor(3));
    }
}
