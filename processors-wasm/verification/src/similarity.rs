//! How alike two texts are: the ratio of Ratcliff and Obershelp.
//!
//! Twice the characters that match, over all characters; what matches is the longest common
//! block, and, on either side of it, what matches there. It is what Python's `SequenceMatcher`
//! computes with its `autojunk` off: that heuristic ignores frequent characters of texts from
//! 200 on, and finds hardly anything alike in them.

use std::collections::HashMap;

/// How many characters of a text are compared: far above what a title and its content have, and
/// the work grows with the square of it.
pub const CHARS_COMPARED: usize = 2_000;

/// Title and content as they are compared: in lower case, on one line.
pub fn normalize(title: &str, content: &str) -> String {
    let text = format!("{title}\n{content}").to_lowercase();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How alike two texts are, from 0 to 1.
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

/// Whether two texts are at least so alike. Most are not, and most of those are told by their
/// lengths and letters alone.
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

/// How many characters match whatever their order: never fewer than really match.
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

/// How many characters match.
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
    // A stack of our own: the texts are somebody's, and recursion could follow their depth.
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
    /// Where each letter stands in the second text.
    places: HashMap<char, Vec<usize>>,
    /// At `place + 1`: how long the block is that ends at the place, of the row at hand.
    lengths: Vec<usize>,
    /// Which of them are not 0.
    touched: Vec<usize>,
}

impl Blocks<'_> {
    /// The longest block that both spans hold: where it begins in each, and how long it is. Of
    /// several the earliest in the first text, then the earliest in the second.
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
        // Of two blocks of one length the earlier counts, so the order of the texts matters.
        check("tide", "diet", "0.250000");
        check("diet", "tide", "0.500000");
    }

    /// With the heuristic, which ignores the frequent letters of a text from 200 characters on,
    /// these two would be alike by 0.090253.
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
