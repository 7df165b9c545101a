//! Recognizes text that repeats what the model or a tool said earlier in the session.
//!
//! People paste parts of an answer or of an output into a prompt. Those are not their words. The
//! texts are remembered as hashes of runs of words, so a session of any length needs bounded memory.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// The number of consecutive words that are not equal by coincidence.
pub const RUN_WORDS: usize = 8;
/// The share of words in repeated runs, in percent, from which a line counts as repeated.
pub const REPEATED_PERCENT: usize = 80;
/// Maximum number of bytes of one text that are remembered. A person copies from what the terminal
/// shows, which is the beginning of a long output.
const TEXT_BYTES: usize = 16 * 1024;
/// Maximum number of runs in each of the two generations.
const RUNS_MAX: usize = 300_000;

/// The hashes are already uniform, so they are used as they are.
#[derive(Default)]
struct Unchanged(u64);

impl Hasher for Unchanged {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

type Runs = HashSet<u64, BuildHasherDefault<Unchanged>>;

/// The texts of the model and the tools so far. If there are too many, the oldest are forgotten.
#[derive(Default)]
pub struct Repeats {
    recent: Runs,
    older: Runs,
}

impl Repeats {
    /// Remembers a text of the model or of a tool.
    pub fn remember(&mut self, text: &str) {
        let text = &text[..text.floor_char_boundary(TEXT_BYTES)];
        for run in runs(&word_hashes(text)) {
            if self.recent.len() == RUNS_MAX {
                self.older = std::mem::take(&mut self.recent);
            }
            self.recent.insert(run);
        }
    }

    /// Whether a line consists of words that were said before. A line with fewer than
    /// [`RUN_WORDS`] words is never a repetition.
    pub fn has(&self, line: &str) -> bool {
        let words = word_hashes(line);
        let mut repeated = vec![false; words.len()];
        for (at, run) in runs(&words).enumerate() {
            if self.recent.contains(&run) || self.older.contains(&run) {
                repeated[at..at + RUN_WORDS].fill(true);
            }
        }
        let count = repeated.iter().filter(|is_repeated| **is_repeated).count();
        count > 0 && count * 100 >= words.len() * REPEATED_PERCENT
    }
}

/// The hashes of the runs of words.
fn runs(words: &[u64]) -> impl Iterator<Item = u64> + '_ {
    words.windows(RUN_WORDS).map(|run| {
        run.iter().fold(0_u64, |hash, word| {
            (hash ^ word).wrapping_mul(PRIME).rotate_left(23)
        })
    })
}

/// The hashes of the words, ignoring case, punctuation and marks.
fn word_hashes(text: &str) -> Vec<u64> {
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words
        .map(|word| {
            word.bytes().fold(BASIS, |hash, byte| {
                (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(PRIME)
            })
        })
        .collect()
}

/// The constants of FNV-1a.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
/// See [`BASIS`].
const PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str =
        "Churn is counted once per month, from the billing export of the *finance* team.";

    #[test]
    fn a_line_that_was_said_before_is_a_repetition() {
        let mut repeats = Repeats::default();
        assert!(!repeats.has(SAID));
        repeats.remember(&format!("Here is the rule.\n{SAID}\nShall I go on?"));
        for line in [
            SAID,
            "churn is counted once per month from the billing export",
            "> Churn is counted once per month, from the **billing** export of the finance team",
        ] {
            assert!(repeats.has(line), "{line}");
        }
        for line in [
            "",
            "churn is counted once per month",
            "no, churn is counted once per week, from the billing export of the sales team",
            "you wrote that churn is counted once per month, from the billing export, and we agreed on \
             it last week with the whole sales team",
        ] {
            assert!(!repeats.has(line), "{line}");
        }
    }

    #[test]
    fn the_oldest_texts_are_forgotten_and_the_latest_never() {
        let mut repeats = Repeats::default();
        repeats.remember(SAID);
        for text in 0..200 {
            let words: Vec<String> = (0..2_500).map(|word| format!("{text}x{word}")).collect();
            repeats.remember(&words.join(" "));
            assert!(repeats.recent.len() <= RUNS_MAX && repeats.older.len() <= RUNS_MAX);
        }
        repeats.remember("The books are closed on day three of the month by finance.");
        assert!(repeats.has("the books are closed on day three of the month"));
        assert!(!repeats.has("199x0 199x1 199x2"));
    }
}
