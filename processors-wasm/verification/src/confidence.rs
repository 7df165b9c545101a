//! Computes the initial confidence of an item. The detector does not influence it.

use crate::verification::{Detection, Detector};

/// The confidence in finds of the phrase detector, relative to finds of a model: phrases match
/// words, not their meaning.
const PHRASES_PARTS: (u32, u32) = (2, 3);

/// The confidence of a new item, from 0 to 1. An unknown detection counts like the weakest one.
pub fn of(detection: &str, detector: Detector) -> f64 {
    let percent = match Detection::of(detection) {
        Some(Detection::Correction | Detection::Definition) => 90,
        Some(Detection::Confirmation) | None => 60,
    };
    let percent = match detector {
        Detector::Llm => percent,
        Detector::Phrases => percent * PHRASES_PARTS.0 / PHRASES_PARTS.1,
    };
    f64::from(percent) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_the_documentation() {
        for (detection, by_llm, by_phrases) in [
            ("correction", 0.90, 0.60),
            ("unprompted_definition", 0.90, 0.60),
            ("confirmation", 0.60, 0.40),
            ("revelation", 0.60, 0.40),
        ] {
            assert_eq!(of(detection, Detector::Llm), by_llm, "{detection}");
            assert_eq!(of(detection, Detector::Phrases), by_phrases, "{detection}");
        }
    }
}
