//! The tables. The host adds the times of creation and of the last change.

use session_pipeline_processor::json::JsonText;
use session_pipeline_processor::{Timestamp, rows};

rows! {
    /// A piece of knowledge. The row also contains decisions by people, so the processor never
    /// overwrites an existing row.
    pub struct Item in shared "items" by id {
        /// [`ids::item`](crate::ids::item).
        id: String,
        /// The subject.
        title: String,
        /// The statement.
        content: String,
        /// Always [`CATEGORY`].
        category: String,
        /// The user of the session in which it was first found.
        source_user: String,
        /// Initially a copy of the entities. People can change them.
        tags: Option<JsonText>,
        /// The names in the statement, as a list.
        entities: Option<JsonText>,
        /// [`PENDING`] until a person decides.
        status: String,
        /// [`confidence::of`](crate::confidence::of).
        confidence: f64,
        /// One of [`DOMAINS`](crate::verification::DOMAINS).
        domain: Option<String>,
        /// Always [`SOURCE_TYPE`].
        source_type: String,
        /// The session in which it was first found.
        source_ref: String,
        /// Initially always [`SENSITIVITY`].
        sensitivity: String,
        /// Whether the item is private to its user. Private items are not sent to a model.
        is_personal: bool,
        /// Whether the item is binding for all users.
        is_required: bool,
        /// The project of the session in which it was first found.
        project: Option<String>,
        /// `fact` or `decision`, if the detector distinguishes them.
        claim: Option<String>,
        /// `product` or `team`, if the detector distinguishes them.
        scope: Option<String>,
        /// When it was first said.
        said_at: Option<Timestamp>,
        /// `uuid` of the line with the first quote, or its number.
        source_place: Option<String>,
        /// Why a person approved or rejected it.
        decision_reason: Option<String>,
    }
}

rows! {
    /// The words of a user that are evidence for an item.
    pub struct Evidence<'a> in "evidence" {
        /// [`ids::evidence`](crate::ids::evidence).
        id: String,
        /// The id of the item.
        item_id: &'a str,
        /// The user of the session.
        source_user: &'a str,
        /// The session.
        source_ref: &'a str,
        /// The type of verification, as named by the detector.
        detection_type: &'a str,
        /// The quote.
        user_quote: &'a str,
        /// `uuid` of the line with the quote.
        line_uuid: Option<&'a str>,
        /// The number of the line.
        line: u64,
        /// The detector that found the quote.
        detector: &'a str,
        /// How likely the statement is worth keeping, in percent.
        score: u32,
        /// When the user said it.
        said_at: Option<Timestamp>,
        /// The project of the session.
        project: Option<&'a str>,
        /// The Git branch at that time.
        branch: Option<&'a str>,
        /// The words of the assistant that the user reacts to.
        assistant_quote: Option<&'a str>,
    }
}

rows! {
    /// Two items that can be duplicates.
    pub struct Relation in shared "relations" by id {
        /// [`ids::relation`](crate::ids::relation).
        id: String,
        /// The item with the smaller id.
        item_a_id: String,
        /// The other item.
        item_b_id: String,
        /// Always [`LIKELY_DUPLICATE`].
        relation_type: String,
        /// The share of names that both items have, or else the similarity of their wording.
        score: f64,
        /// Whether a person has decided.
        resolved: bool,
        /// The person who decided.
        resolved_by: Option<String>,
        /// The time of the decision.
        resolved_at: Option<Timestamp>,
        /// The decision.
        resolution: Option<String>,
    }
}

rows! {
    /// Two contradicting items.
    pub struct Contradiction in shared "contradictions" by id {
        /// [`ids::contradiction`](crate::ids::contradiction).
        id: String,
        /// The new item.
        item_a_id: String,
        /// The existing item.
        item_b_id: String,
        /// The explanation.
        explanation: String,
        /// `hard` or `soft`.
        severity: Option<String>,
        /// The model's suggestion: an object with `action`, `justification` and `merged_content`.
        suggested_resolution: Option<JsonText>,
        /// Whether a person has decided.
        resolved: bool,
        /// The person who decided.
        resolved_by: Option<String>,
        /// The time of the decision.
        resolved_at: Option<Timestamp>,
        /// The decision.
        resolution: Option<String>,
    }
}

/// The category of items.
pub const CATEGORY: &str = "business_logic";
/// The source type of items.
pub const SOURCE_TYPE: &str = "user_verification";
/// The initial sensitivity of items.
pub const SENSITIVITY: &str = "internal";
/// The status of a new item.
pub const PENDING: &str = "pending";
/// The status of an item that a person approved.
pub const APPROVED: &str = "approved";
/// The status of an item that a person rejected.
pub const REJECTED: &str = "rejected";
/// Statuses of inactive items.
pub const ENDED: [&str; 3] = [REJECTED, "revoked", "expired"];
/// The only type of relations.
pub const LIKELY_DUPLICATE: &str = "likely_duplicate";

impl Item {
    /// The names in the item.
    pub fn entities(&self) -> Vec<String> {
        let Some(list) = &self.entities else {
            return Vec::new();
        };
        let names = list.json();
        let names = names.elements().filter_map(|name| name.text());
        names.map(|name| name.decode().into_owned()).collect()
    }
}
