//! Many small strings in one place.
//!
//! A record keeps a [`Span`] of two words instead of a string with an allocation of its own; ids
//! are stored as they come, names that recur (models, tools, folders) once.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use session_pipeline_processor::json::Text;

/// One of the [`Strings`]. Of interned ones, equal strings have equal spans, and what came first
/// is smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    start: usize,
    length: usize,
}

/// Strings, end to end.
#[derive(Default)]
pub struct Strings {
    text: String,
    interned: HashTable<Span>,
}

impl Strings {
    /// Stores a string.
    pub fn keep(&mut self, string: &str) -> Span {
        let span = Span {
            start: self.text.len(),
            length: string.len(),
        };
        self.text.push_str(string);
        span
    }

    /// Stores a string, or finds it among those interned before.
    pub fn intern(&mut self, string: &str) -> Span {
        let hash = hash(string);
        let text = &self.text;
        let is_same = |span: &Span| is_equal(resolve(text, *span), string);
        if let Some(span) = self.interned.find(hash, is_same) {
            return *span;
        }
        let span = self.keep(string);
        let text = &self.text;
        self.interned.insert_unique(hash, span, |span| {
            crate::strings::hash(resolve(text, *span))
        });
        span
    }

    /// Stores what is not empty.
    pub fn keep_text(&mut self, text: Option<Text<'_>>) -> Option<Span> {
        let text = text.filter(|text| !text.is_empty())?;
        Some(self.keep(&text.decode()))
    }

    /// Interns what is not empty.
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

/// As `==`, but not by the byte: that is how the C library of the guests compares.
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

/// A hash with a fixed seed, so that a run repeats itself exactly. Whoever forges collisions
/// spends the fuel of their own session.
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
}
