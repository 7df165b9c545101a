//! Secrets that one text of a session or an item labels as secret and other texts repeat without a
//! label.

use std::collections::BTreeSet;

use crate::{MARKER_START, SecretMatch, finds, replaced, words};

/// Shorter values occur in many texts as ordinary words.
const CHARS_MIN: usize = 5;
/// Maximum number of remembered secrets.
const SECRETS_MAX: usize = 1024;

/// The secrets found so far in a set of related texts.
#[derive(Clone, Debug, Default)]
pub struct KnownSecrets {
    values: BTreeSet<String>,
}

impl KnownSecrets {
    /// Remembers the secrets in a text.
    pub fn learn(&mut self, text: &str) {
        for find in finds(text, None) {
            let Some(value) = text.get(find.start..find.end).map(str::trim) else {
                continue;
            };
            if value.contains(MARKER_START) {
                continue;
            }
            if words::is_odd(value) || !words::is_common(value) {
                self.insert(value);
            }
            // Names and titles can contain only a part of a password, because they are split at
            // punctuation.
            let pieces = value.split(|c: char| !c.is_alphanumeric());
            pieces
                .filter(|piece| words::is_odd(piece))
                .for_each(|piece| self.insert(piece));
        }
    }

    fn insert(&mut self, value: &str) {
        if value.chars().count() >= CHARS_MIN && self.values.len() < SECRETS_MAX {
            self.values.insert(value.to_owned());
        }
    }

    /// Removes what looks like a secret, and every remembered secret.
    pub fn clean(&self, text: &str) -> String {
        let repeated = self.values.iter().flat_map(|value| {
            text.match_indices(value.as_str())
                .map(|(start, value)| SecretMatch {
                    start,
                    end: start + value.len(),
                    kind: "secret",
                })
        });
        let mut all = finds(text, None);
        all.extend(repeated);
        let text = match all.is_empty() {
            true => return text.to_owned(),
            false => replaced(text, all).0,
        };
        super::without_secrets(&text).into_owned()
    }

    /// Like [`Self::clean`], for each string in a JSON document.
    pub fn clean_json(&self, text: &str) -> String {
        super::json_by(text, &|text| self.clean(text)).into_owned()
    }
}
