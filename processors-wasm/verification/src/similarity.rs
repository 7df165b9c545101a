//! Text similarity, by the algorithm of Ratcliff and Obershelp.
//!
//! The ratio is twice the number of matching characters divided by the number of all characters.
//! Matching characters are the longest common block and, recursively, the matching characters on
//! either side of it. The result equals Python's `SequenceMatcher` with `autojunk` off. That
//! heuristic ignores frequent characters in texts of 200 characters or more, and would find almost
//! no similarity.

use std::collections::HashMap;

/// Maximum number of characters that are compared. Far above the length of a title and its content.
/// The run time grows with the square of the length.
pub const CHARS_COMPARED: usize = 2_000;

/// Title and content for comparison: in lower case, on one line.
pub fn normalize(title: &str, content: &str) -> String {
    let text = format!("{title}\n{content}").to_lowercase();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The similarity of two texts, from 0 to 1.
///
/// ```
/// use session_pipeline_verification::similarity::ratio;
///
/// assert_eq!(ratio("abcd", "bcde"), 0.75);
/// ```
pub fn ratio(first: &str, second: &str) -> f64 {
    let (first, second) = (chars(first), chars(second));
    share(matching(&first, &second), first.len() + second.len())
}

/// Whether two texts have at least this similarity. Most do not, and for most of those, comparing
/// lengths and letters is sufficient.
pub fn is_at_least(first: &str, second: &str, threshold: f64) -> bool {
    let (first, second) = (chars(first), chars(second));
    let total = first.len() + second.len();
    share(first.len().min(second.len()), total) >= threshold
        && share(letters_in_common(&first, &second), total) >= threshold
        && share(matching(&first, &second), total) >= threshold
}

fn chars(text: &str) -> Vec<char> {
    text.chars().take(CHARS_COMPARED).collect()
}

fn share(matching: usize, total: usize) -> f64 {
    match total {
        0 => 1.0,
        _ => 2.0 * matching as f64 / total as f64,
    }
}

/// The number of characters that match in any order, which is an upper bound for the matching
/// characters.
fn letters_in_common(first: &[char], second: &[char]) -> usize {
    let mut left: HashMap<char, usize> = HashMap::new();
    for letter in second {
        *left.entry(*letter).or_default() += 1;
    }
    let mut common = 0;
    for letter in first {
        if let Some(count) = left.get_mut(letter).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    common
}

/// The number of matching characters.
fn matching(first: &[char], second: &[char]) -> usize {
    let mut places: HashMap<char, Vec<usize>> = HashMap::new();
    for (place, letter) in second.iter().enumerate() {
        places.entry(*letter).or_default().push(place);
    }
    let mut blocks = Blocks {
        first,
        places,
        lengths: vec![0; second.len() + 1],
        touched: Vec::new(),
    };
    let mut matched = 0;
    // Use an explicit stack, because recursion could be as deep as the untrusted texts are long.
    let mut open = vec![(0..first.len(), 0..second.len())];
    while let Some((ours, theirs)) = open.pop() {
        let (start, other_start, length) = blocks.longest(&ours, &theirs);
        if length > 0 {
            matched += length;
            open.push((ours.start..start, theirs.start..other_start));
            open.push((start + length..ours.end, other_start + length..theirs.end));
        }
    }
    matched
}

type Span = std::ops::Range<usize>;

struct Blocks<'a> {
    first: &'a [char],
    /// The positions of each letter in the second text.
    places: HashMap<char, Vec<usize>>,
    /// At `place + 1`: the length of the common block that ends at this place in the current row.
    lengths: Vec<usize>,
    /// The indexes of nonzero lengths.
    touched: Vec<usize>,
}

impl Blocks<'_> {
    /// The longest common block of two spans: its start in each, and its length. Of several blocks,
    /// the earliest in the first text, then the earliest in the second.
    fn longest(&mut self, ours: &Span, theirs: &Span) -> (usize, usize, usize) {
        let mut best = (ours.start, theirs.start, 0);
        let mut row: Vec<(usize, usize)> = Vec::new();
        for at in ours.clone() {
            row.clear();
            if let Some(places) = self.places.get(&self.first[at]) {
                let from = places.partition_point(|place| *place < theirs.start);
                for &place in places[from..]
                    .iter()
                    .take_while(|place| **place < theirs.end)
                {
                    let length = self.lengths[place] + 1;
                    row.push((place + 1, length));
                    if length > best.2 {
                        best = (at + 1 - length, place + 1 - length, length);
                    }
                }
            }
            for cell in self.touched.drain(..) {
                self.lengths[cell] = 0;
            }
            for &(cell, length) in &row {
                self.lengths[cell] = length;
                self.touched.push(cell);
            }
        }
        for cell in self.touched.drain(..) {
            self.lengths[cell] = 0;
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(first: &str, second: &str, expected: &str) {
        assert_eq!(format!("{:.6}", ratio(first, second)), expected);
    }

    #[test]
    fn the_ratio_is_that_of_the_known_vectors() {
        check(
            "private thread; currentthread",
            "private volatile thread; currentthread",
            "0.865672",
        );
        check("abcd", "bcde", "0.750000");
        check("", "abc", "0.000000");
        check("", "", "1.000000");
        check("abc", "abc", "1.000000");
        // Of two blocks with the same length, the earlier one is used, so the order of the texts
        // matters.
        check("tide", "diet", "0.250000");
        check("diet", "tide", "0.500000");
    }

    /// With the heuristic, which ignores frequent letters in texts of 200 characters or more, the
    /// similarity would be 0.090253.
    #[test]
    fn long_texts_are_compared_as_short_ones_are() {
        let first = "churn is counted per month from the billing export, and a customer who pauses \
             is kept; the finance team reads the list on the third day, takes out the test \
             accounts, and adds up the lost recurring revenue of the rest, before any discount, in \
             the currency that the contract names.";
        let second = "churn gets counted each month by the billing export, but a client that \
             pauses is kept; our finance team reads that list on a third day, leaves out all test \
             accounts, then adds up all lost recurring revenue of the rest, before a discount, in \
             a currency which the contract has.";
        assert!(first.len() > 200 && second.len() > 200);
        check(first, second, "0.841155");
        check(second, first, "0.841155");
        assert!(is_at_least(first, second, 0.82));
        assert!(!is_at_least(first, second, 0.85));
    }

    #[test]
    fn a_threshold_is_met_exactly_where_the_ratio_meets_it() {
        let texts = [
            "abcd",
            "bcde",
            "dcba",
            "",
            "a",
            "churn is monthly",
            "churn is monthly, not weekly",
        ];
        for first in texts {
            for second in texts {
                for threshold in [0.0, 0.25, 0.5, 0.65, 0.75, 0.82, 1.0] {
                    let expected = ratio(first, second) >= threshold;
                    assert_eq!(
                        is_at_least(first, second, threshold),
                        expected,
                        "{first} {second}"
                    );
                }
            }
        }
    }

    #[test]
    fn case_and_white_space_are_no_difference() {
        assert_eq!(
            normalize("Churn  Metric", "MRR\n\tbased "),
            "churn metric mrr based"
        );
    }
}
