//! Assigns messages to pull requests.

use serde::{Deserialize, Serialize};
use session_pipeline_processor::json::JsonText;
use session_pipeline_processor::transcript::Metadata;

use crate::strings::{Span, Strings};

/// Maximum size of the list of pull requests in a row, in bytes.
const LIST_BYTES_MAX: usize = 100_000;

/// The pull requests that a transcript was linked to.
#[derive(Default, Serialize, Deserialize)]
pub struct PullRequests {
    /// The line and the key of each link, in order. The agent repeats the latest link when it
    /// resumes a session, which is not a new link.
    links: Vec<(u64, Span)>,
}

impl PullRequests {
    /// Adds a link.
    pub fn add(&mut self, strings: &mut Strings, line: u64, metadata: &Metadata<'_>) {
        let Some(key) = key(metadata) else {
            return;
        };
        let key = strings.intern(&key);
        if self.links.last().is_none_or(|(_, last)| *last != key) {
            self.links.push((line, key));
        }
    }

    /// The pull request of a message on this line: the one that was linked next, or else the last
    /// one. Each message has one, so that the sums over pull requests add up.
    pub fn of_line(&self, line: u64) -> Option<Span> {
        let next = self.links.partition_point(|(link, _)| *link < line);
        let (_, key) = self.links.get(next).or(self.links.last())?;
        Some(*key)
    }

    /// The distinct pull requests, in order.
    pub fn list(&self, strings: &Strings) -> Option<JsonText> {
        let mut keys: Vec<Span> = self.links.iter().map(|(_, key)| *key).collect();
        // Interned strings increase in order of first appearance.
        keys.sort_unstable();
        keys.dedup();
        let mut bytes = 0;
        let fits = |key: &&str| {
            bytes += key.len();
            bytes <= LIST_BYTES_MAX
        };
        let keys: Vec<&str> = keys
            .iter()
            .map(|key| strings.get(*key))
            .take_while(fits)
            .collect();
        let keys = || keys.iter().copied();
        (!self.links.is_empty()).then(|| JsonText::strings(keys()))
    }
}

/// `owner/repo#number`, or the URL if a part is missing.
fn key(metadata: &Metadata<'_>) -> Option<String> {
    let repository = metadata.pull_request_repository;
    let repository = repository.filter(|repository| !repository.is_empty());
    let number = metadata.pull_request_number.and_then(|number| {
        let text = number.text().and_then(|text| text.decode().parse().ok());
        number.s64().or(text).filter(|number| *number > 0)
    });
    if let (Some(repository), Some(number)) = (repository, number) {
        return Some(format!("{}#{number}", repository.decode()));
    }
    let url = metadata.pull_request_url.filter(|url| !url.is_empty())?;
    Some(url.decode().into_owned())
}

#[cfg(test)]
mod tests {
    use session_pipeline_processor::transcript::Entry;

    use super::*;

    fn gather(strings: &mut Strings, links: &[(u64, &str)]) -> PullRequests {
        let mut pull_requests = PullRequests::default();
        for (line, fields) in links {
            let entry = format!(r#"{{"type":"pr-link",{fields}}}"#);
            let entry = Entry::parse(&entry).unwrap();
            pull_requests.add(strings, *line, &entry.metadata.unwrap());
        }
        pull_requests
    }

    #[test]
    fn a_message_belongs_to_the_next_link_or_else_to_the_last() {
        let mut strings = Strings::default();
        let first = r#""prNumber":7,"prRepository":"a/b""#;
        let second = r#""prNumber":8,"prRepository":"a/b""#;
        // The first link is repeated on line 14.
        let found = gather(&mut strings, &[(10, first), (14, first), (20, second)]);
        for (line, expected) in [(1, "a/b#7"), (11, "a/b#8"), (15, "a/b#8"), (99, "a/b#8")] {
            assert_eq!(
                strings.get(found.of_line(line).unwrap()),
                expected,
                "{line}"
            );
        }
        let list = found.list(&strings).unwrap();
        assert_eq!(list.raw(), r#"["a/b#7","a/b#8"]"#);
        let none = PullRequests::default();
        assert!(none.of_line(1).is_none() && none.list(&strings).is_none());
    }

    #[test]
    fn the_url_is_the_key_if_a_part_is_missing() {
        let mut strings = Strings::default();
        for (fields, expected) in [
            (r#""prNumber":"7","prRepository":"a/b""#, Some("a/b#7")),
            (r#""prNumber":7,"prUrl":"https://x/7""#, Some("https://x/7")),
            (
                r#""prNumber":0,"prRepository":"a/b","prUrl":"https://x/7""#,
                Some("https://x/7"),
            ),
            (r#""prNumber":7"#, None),
            (r#""prNumber":7,"prUrl":"""#, None),
        ] {
            let found = gather(&mut strings, &[(1, fields)]);
            let key = found.of_line(1).map(|key| strings.get(key));
            assert_eq!(key, expected, "{fields}");
        }
    }
}
