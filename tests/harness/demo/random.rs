//! A random number generator that is the same on every machine.

use crate::session::uuid::mix;

/// A distribution by its quantiles, in the order of [`SHARES`]. Values between two quantiles are
/// equally likely.
pub(super) type Spread = [u64; SHARES.len()];

/// The shares of values below each quantile, per mille.
const SHARES: [u64; 8] = [0, 100, 250, 500, 750, 900, 970, 1_000];

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The stream with this number. Streams of the same seed do not overlap in practice.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self(mix(mix(seed) ^ stream))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    /// A number below `end`. Zero if `end` is zero.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A number from `first` to `last`.
    pub(super) fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last.saturating_sub(first) + 1)
    }

    /// Whether an event with this probability occurs.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Whether an event with this probability occurs.
    pub(super) fn per_mille(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// An element of a list that is not empty.
    pub(super) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    /// An index, with a probability in proportion to its weight.
    pub(super) fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        0
    }

    /// A value of a distribution.
    pub(super) fn spread(&mut self, spread: &Spread) -> u64 {
        let share = self.below(1_000);
        let at = SHARES[1..].partition_point(|quantile| *quantile <= share);
        let (low, high) = (spread[at], spread[at + 1]);
        let width = SHARES[at + 1] - SHARES[at];
        low + (high - low) * (share - SHARES[at]) / width
    }

    /// A text of letters and digits, as in the ids of the API.
    pub(super) fn letters(&mut self, count: usize) -> String {
        const LETTERS: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
        (0..count).map(|_| char::from(self.pick(LETTERS))).collect()
    }
}
