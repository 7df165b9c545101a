//! Numbers in the files of agents.

use crate::json::Json;

/// A single response cannot have a larger count.
const REQUEST_MAX: i64 = 100_000_000;

/// The sums of a session cannot be larger.
const TOTAL_MAX: i64 = 1_000_000_000_000_000;

/// Reads the token counts of a request. Remembers whether one of them could not be read, in which
/// case the others are a lower bound.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CountReader {
    pub(super) is_incomplete: bool,
}

impl CountReader {
    /// A count of one request. 0 if it is absent or null.
    pub(super) fn read(&mut self, json: Option<Json<'_>>) -> i64 {
        self.read_up_to(json, REQUEST_MAX)
    }

    /// A sum over a session. 0 if it is absent or null.
    pub(super) fn read_total(&mut self, json: Option<Json<'_>>) -> i64 {
        self.read_up_to(json, TOTAL_MAX)
    }

    fn read_up_to(&mut self, json: Option<Json<'_>>, most: i64) -> i64 {
        let Some(json) = json.filter(|json| !json.is_null()) else {
            return 0;
        };
        let count = json.s64().filter(|count| (0..=most).contains(count));
        self.is_incomplete |= count.is_none();
        count.unwrap_or(0)
    }
}

/// A hash that never changes between versions, for identities that are stored. FNV-1a.
pub(super) fn stable_hash(numbers: &[i64]) -> u64 {
    hash_bytes(numbers.iter().flat_map(|number| number.to_le_bytes()))
}

/// The hash of a text. Also the same in every run, unlike that of the standard library.
pub(super) fn text_hash(text: &str) -> u64 {
    hash_bytes(text.bytes())
}

fn hash_bytes(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Whether an id is counted up within a session, such as `call_12` or `functions.shell:0`, so that
/// calls of other sessions have it too: a name, a separator and at most seven digits.
pub(super) fn is_counted_up(id: &str) -> bool {
    let name = id.trim_end_matches(|last: char| last.is_ascii_digit());
    let digits = id.len() - name.len();
    let Some(name) = name.strip_suffix([':', '_', '-']) else {
        return false;
    };
    let is_name = |part: char| part.is_ascii_alphabetic() || matches!(part, '.' | '_' | '-');
    (1..=7).contains(&digits) && !name.is_empty() && name.chars().all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_counted_up_are_recognized() {
        for id in ["call_12", "functions.shell:0", "call_160668", "tool-1"] {
            assert!(is_counted_up(id), "{id}");
        }
        for id in [
            "",
            "12",
            "_1",
            "call",
            "call_",
            "call_12345678",
            "call_254fe7c335e24bcb040fede4",
            "call1",
            "a1_2",
        ] {
            assert!(!is_counted_up(id), "{id}");
        }
    }

    #[test]
    fn a_count_that_cannot_be_read_makes_the_others_a_lower_bound() {
        for (text, count, is_incomplete) in [
            ("7", 7, false),
            ("null", 0, false),
            ("-1", 0, true),
            ("1.5", 0, true),
            ("100000001", 0, true),
            (r#""7""#, 0, true),
        ] {
            let mut counts = CountReader::default();
            assert_eq!(counts.read(Json::parse(text)), count, "{text}");
            assert_eq!(counts.is_incomplete, is_incomplete, "{text}");
        }
        assert_eq!(CountReader::default().read(None), 0);
    }

    /// Identities are stored, so the hash must not change.
    #[test]
    fn the_hash_is_stable() {
        assert_eq!(stable_hash(&[]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(stable_hash(&[1, 2]), stable_hash(&[1, 2]));
        assert_ne!(stable_hash(&[1, 2]), stable_hash(&[2, 1]));
    }
}
