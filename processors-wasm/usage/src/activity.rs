//! Computes the working time in a session.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_pipeline_processor::Timestamp;

/// A longer silence ends a block of work: ten minutes, in microseconds.
const SILENCE_MAX: i64 = 600 * 1_000_000;

/// The blocks of work of a transcript.
///
/// The timestamps of lines sometimes go back, so blocks can grow at both ends and merge. Two blocks
/// are always further apart than the longest silence.
#[derive(Default, Serialize, Deserialize)]
pub struct Activity {
    /// The ends of the blocks by their starts, in microseconds.
    blocks: BTreeMap<i64, i64>,
}

impl Activity {
    /// Adds a timestamp.
    pub fn add(&mut self, time: Timestamp) {
        let time = time.micros();

        // Almost all lines continue the last block.
        if let Some(mut latest) = self.blocks.last_entry()
            && time >= *latest.key()
            && time - *latest.get() <= SILENCE_MAX
        {
            let end = latest.get_mut();
            *end = time.max(*end);
            return;
        }
        let mut start = time;
        let mut end = time;
        let before = self.blocks.range_mut(..=time).next_back();
        if let Some((earlier, earlier_end)) = before
            && time - *earlier_end <= SILENCE_MAX
        {
            if time <= *earlier_end {
                return;
            }
            *earlier_end = time;
            start = *earlier;
        }
        let after = self.blocks.range(time + 1..).next();
        if let Some((later, later_end)) = after.map(|(start, end)| (*start, *end))
            && later - time <= SILENCE_MAX
        {
            self.blocks.remove(&later);
            end = later_end;
        }
        self.blocks.insert(start, end);
    }

    /// The total length of all blocks, in whole seconds.
    pub fn seconds(&self) -> i64 {
        let micros: i64 = self.blocks.iter().map(|(start, end)| end - start).sum();
        micros / 1_000_000
    }

    /// The whole seconds from the first timestamp to the last.
    pub fn wall_seconds(&self) -> i64 {
        let range = self.first().zip(self.last());
        range.map_or(0, |(first, last)| {
            (last.micros() - first.micros()) / 1_000_000
        })
    }

    /// The first timestamp.
    pub fn first(&self) -> Option<Timestamp> {
        let (start, _) = self.blocks.first_key_value()?;
        Timestamp::from_micros(*start)
    }

    /// The last timestamp.
    pub fn last(&self) -> Option<Timestamp> {
        let (_, end) = self.blocks.last_key_value()?;
        Timestamp::from_micros(*end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: &[i64], expected: i64) {
        let mut activity = Activity::default();
        for second in seconds {
            activity.add(Timestamp::from_micros(second * 1_000_000).unwrap());
        }
        assert_eq!(activity.seconds(), expected, "{seconds:?}");
    }

    #[test]
    fn a_gap_above_ten_minutes_starts_a_new_block() {
        check(&[], 0);
        check(&[7], 0);
        check(&[0, 300, 1500, 1560], 360);
        check(&[0, 600, 1200], 1200);
        check(&[0, 601], 0);
    }

    #[test]
    fn invariant_the_order_of_the_lines_does_not_matter() {
        let times = [0, 300, 900, 1501, 1501, 2500, 3100, 3101, 9000];
        let expected = 900 + (3101 - 2500);
        for shift in 0..times.len() {
            for step in [1, 2, 4, 5, 7, 8] {
                let order = (0..times.len()).map(|at| times[(at * step + shift) % times.len()]);
                check(&order.collect::<Vec<_>>(), expected);
            }
        }
    }
}
