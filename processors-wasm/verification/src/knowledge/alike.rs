//! Measures the similarity of two items.

use std::collections::BTreeSet;

use crate::similarity::{is_at_least, normalize, ratio};

/// Texts with at least this similarity say the same, whatever they name.
pub const STRONGLY: f64 = 0.82;
/// Texts with at least this similarity say the same if they name the same things.
pub const WITH_ENTITIES: f64 = 0.65;
/// Statements with at least this similarity that were found in the same line say the same.
pub const SAME_LINE: f64 = 0.5;
/// Having this many names in common is not a coincidence.
pub const ENTITIES_MIN: usize = 2;
/// Shorter texts can be similar by coincidence.
pub const CHARS_MIN: usize = 40;

/// Words that negate a statement.
const NEGATIONS: [&str; 10] = [
    "not", "no", "never", "don't", "doesn't", "isn't", "aren't", "without", "none", "cannot",
];

/// A title and its content, prepared for comparison.
pub struct Wording(String);

/// The overlap of two lists of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    shared: usize,
    all: usize,
}

impl Wording {
    /// Prepares a title and its content.
    pub fn of(title: &str, content: &str) -> Self {
        Self(normalize(title, content))
    }

    /// Whether the text is long enough to be compared.
    pub fn is_long_enough(&self) -> bool {
        self.0.chars().count() >= CHARS_MIN
    }

    /// Whether both texts are long enough and have at least this similarity.
    pub fn is_alike(&self, other: &Self, threshold: f64) -> bool {
        let are_long_enough = self.is_long_enough() && other.is_long_enough();
        are_long_enough && is_at_least(&self.0, &other.0, threshold)
    }

    /// The similarity of both texts, from 0 to 1.
    pub fn similarity(&self, other: &Self) -> f64 {
        ratio(&self.0, &other.0)
    }

    /// Whether both texts agree where a single letter matters: in their numbers and their
    /// negations.
    pub fn agrees(&self, other: &Self) -> bool {
        self.turning_points() == other.turning_points()
    }

    fn turning_points(&self) -> Vec<&str> {
        let words = self.0.split_whitespace();
        let words = words.map(|word| word.trim_matches(|letter: char| !letter.is_alphanumeric()));
        let mut points: Vec<&str> = words
            .filter(|word| word.contains(char::is_numeric) || NEGATIONS.contains(word))
            .collect();
        points.sort_unstable();
        points
    }
}

impl Overlap {
    /// Computes the overlap of two lists of names. Each name counts once.
    pub fn of(one: &[String], other: &[String]) -> Self {
        let one: BTreeSet<&String> = one.iter().collect();
        let other: BTreeSet<&String> = other.iter().collect();
        Self {
            shared: one.intersection(&other).count(),
            all: one.union(&other).count(),
        }
    }

    /// Whether the overlap is not a coincidence.
    pub fn is_telling(self) -> bool {
        self.shared >= ENTITIES_MIN
    }

    /// The share of all names that both lists have.
    pub fn jaccard(self) -> f64 {
        match self.all {
            0 => 0.0,
            all => self.shared as f64 / all as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn an_overlap_is_counted_by_names() {
        let overlap = Overlap::of(&names("A B C"), &names("A B X"));
        assert!(overlap.is_telling());
        assert_eq!(overlap.jaccard(), 0.5);
        assert!(!Overlap::of(&names("A A"), &names("A A")).is_telling());
        assert_eq!(Overlap::of(&[], &[]).jaccard(), 0.0);
    }

    #[test]
    fn short_texts_are_never_alike() {
        let short = Wording::of("Churn", "Churn is counted per month here");
        assert!(!short.is_alike(&short, 0.0));
        let long = Wording::of("Churn", "Churn is counted per month over here");
        assert!(long.is_alike(&long, 1.0));
    }

    #[test]
    fn numbers_and_negations_turn_a_statement() {
        let wording = |content| Wording::of("Books", content);
        let books = wording("the books are closed on day 3");
        assert!(books.agrees(&wording("on day 3 we close the books.")));
        assert!(!books.agrees(&wording("the books are closed on day 4")));
        assert!(!books.agrees(&wording("the books are not closed on day 3")));
    }
}
