//! Ids of rows. They are hashes of the content, so that the same knowledge has the same id,
//! whichever session contains it and however often.

use sha2::{Digest, Sha256};

/// Number of hexadecimal digits in an id.
const DIGITS: usize = 12;

/// The id of an item: a hash of its exact title and content.
///
/// ```
/// use session_pipeline_verification::ids;
///
/// assert_eq!(ids::item("Churn metric", "MRR based"), "kv_7749166c74f0");
/// ```
pub fn item(title: &str, content: &str) -> String {
    // Existing deployments have ids with this separator. Titles can contain it, too.
    id("kv_", Sha256::digest(format!("{title}:{content}")))
}

/// The id of a piece of evidence. The same words in a session are evidence for an item only once.
/// `place` is the uuid of the line, or its substitute.
pub fn evidence(session_key: &str, item_id: &str, place: &str, detection: &str) -> String {
    of_parts("ev_", &[session_key, item_id, place, detection])
}

/// The id of a relation between two items. Independent of their order.
pub fn relation(one: &str, other: &str, relation_type: &str) -> String {
    of_parts("kr_", &[one.min(other), one.max(other), relation_type])
}

/// The id of a contradiction between a new item and an existing item.
pub fn contradiction(new_item: &str, existing_item: &str) -> String {
    of_parts("kc_", &[new_item, existing_item])
}

/// Prefixes every part with its length, so that different lists of parts have different hashes.
fn of_parts(prefix: &str, parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    id(prefix, hasher.finalize())
}

fn id(prefix: &str, hash: impl AsRef<[u8]>) -> String {
    let bytes = &hash.as_ref()[..DIGITS / 2];
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_items_id_is_that_of_its_text() {
        assert_eq!(item("Churn metric", "MRR based"), "kv_7749166c74f0");
        assert_eq!(
            item("Churn metric", "MRR based"),
            item("Churn metric", "MRR based")
        );
        assert_ne!(
            item("Churn metric", "MRR based"),
            item("Churn metric", "ARR based")
        );
        assert_ne!(
            item("Churn metric", "MRR based"),
            item("churn metric", "MRR based")
        );
    }

    #[test]
    fn ids_of_other_rows_tell_their_parts_apart() {
        assert_eq!(relation("a", "b", "t"), relation("b", "a", "t"));
        assert_ne!(contradiction("a", "b"), contradiction("b", "a"));
        assert_ne!(evidence("s", "ab", "c", "t"), evidence("s", "a", "bc", "t"));
        assert!(evidence("s", "i", "l", "t").starts_with("ev_"));
        assert_eq!(evidence("s", "i", "l", "t").len(), 15);
    }
}
