//! Compact storage for many small strings.
//!
//! A record stores a [`Span`] of two words instead of a separately allocated string. Ids are stored
//! as they occur. Recurring names (models, tools, folders) are stored once.

use std::borrow::Cow;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use session_pipeline_processor::json::Text;

use crate::index;

/// A string in [`Strings`]. Interned strings are equal if their spans are, and earlier strings have
/// smaller spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    start: usize,
    length: usize,
}

/// Longer strings are cut. A row has about thirty texts and a limit of 1 MiB, and a single long text
/// must not cost the session its rows.
const STRING_BYTES_MAX: usize = 16 << 10;

/// The string, or its beginning and a hash of the whole, so that different strings stay different.
fn shortened(string: &str) -> Cow<'_, str> {
    if string.len() <= STRING_BYTES_MAX {
        return Cow::Borrowed(string);
    }
    let beginning = &string[..string.floor_char_boundary(STRING_BYTES_MAX)];
    Cow::Owned(format!("{beginning}…{:016x}", hash(string)))
}

/// A buffer of concatenated strings.
#[derive(Default, Serialize, Deserialize)]
pub struct Strings {
    text: String,
    #[serde(with = "crate::index")]
    interned: HashTable<Span>,
}

impl Strings {
    /// Completes strings that were loaded from a state.
    pub fn rebuild_index(&mut self) {
        let text = &self.text;
        index::rebuild(&mut self.interned, |span| hash(resolve(text, *span)));
    }

    /// Stores a string.
    pub fn keep(&mut self, string: &str) -> Span {
        self.push(&shortened(string))
    }

    fn push(&mut self, string: &str) -> Span {
        let span = Span {
            start: self.text.len(),
            length: string.len(),
        };
        self.text.push_str(string);
        span
    }

    /// Stores a string, or finds it among the interned ones.
    pub fn intern(&mut self, string: &str) -> Span {
        let string = &*shortened(string);
        let hash = hash(string);
        let text = &self.text;
        let is_same = |span: &Span| is_equal(resolve(text, *span), string);
        if let Some(span) = self.interned.find(hash, is_same) {
            return *span;
        }
        let span = self.push(string);
        let text = &self.text;
        self.interned.insert_unique(hash, span, |span| {
            crate::strings::hash(resolve(text, *span))
        });
        span
    }

    /// Stores a string if it is not empty.
    pub fn keep_text(&mut self, text: Option<Text<'_>>) -> Option<Span> {
        let text = text.filter(|text| !text.is_empty())?;
        Some(self.keep(&text.decode()))
    }

    /// Interns a string if it is not empty.
    pub fn intern_text(&mut self, text: Option<Text<'_>>) -> Option<Span> {
        let text = text.filter(|text| !text.is_empty())?;
        Some(self.intern(&text.decode()))
    }

    /// The string of a span.
    pub fn get(&self, span: Span) -> &str {
        resolve(&self.text, span)
    }
}

fn resolve(text: &str, span: Span) -> &str {
    &text[span.start..span.start + span.length]
}

/// Like `==`, but faster in guests, where the C library compares byte by byte.
fn is_equal(left: &str, right: &str) -> bool {
    let (left, left_rest) = left.as_bytes().as_chunks::<8>();
    let (right, right_rest) = right.as_bytes().as_chunks::<8>();
    left.len() == right.len()
        && left.iter().zip(right).all(|(left, right)| left == right)
        && left_rest.len() == right_rest.len()
        && left_rest
            .iter()
            .zip(right_rest)
            .all(|(left, right)| left == right)
}

/// A hash with a fixed seed, so that runs are deterministic. A user who forges collisions only uses
/// the fuel of their own session.
pub fn hash<T: std::hash::Hash + ?Sized>(value: &T) -> u64 {
    FixedState::with_seed(0).hash_one(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_are_interned_once_and_ids_are_kept_apart() {
        let mut strings = Strings::default();
        let first = strings.intern("opus");
        for n in 0..1_000 {
            strings.intern(&format!("model {n}"));
        }
        assert_eq!(strings.intern("opus"), first);
        assert_eq!(strings.get(first), "opus");
        assert_ne!(strings.keep("opus"), first);
    }

    #[test]
    fn long_strings_are_cut_and_stay_different() {
        let mut strings = Strings::default();
        let long = |end: &str| format!("{}{end}", "é".repeat(STRING_BYTES_MAX));
        let [one, other] = [long("a"), long("b")].map(|string| strings.intern(&string));
        assert_ne!(strings.get(one), strings.get(other));
        assert!(strings.get(one).len() < STRING_BYTES_MAX + 32);
        assert_eq!(strings.intern(&long("a")), one);
    }
}
