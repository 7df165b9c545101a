//! The tables. When a row was made and last changed is the host's to say.

use session_pipeline_processor::json::JsonText;
use session_pipeline_processor::{Timestamp, rows};

rows! {
    /// A piece of knowledge. What people decide about it stands in the same row, so a row that is
    /// there is never written again by the processor.
    pub struct Item in shared "items" by id {
        /// [`ids::item`](crate::ids::item).
        id: String,
        /// What it is about.
        title: String,
        /// What is known.
        content: String,
        /// Always [`CATEGORY`].
        category: String,
        /// Of whose session it was first found.
        source_user: String,
        /// The entities once more: people may change these.
        tags: Option<JsonText>,
        /// What it names, as a list.
        entities: Option<JsonText>,
        /// [`PENDING`] until a person decides.
        status: String,
        /// [`confidence::of`](crate::confidence::of).
        confidence: f64,
        /// One of [`DOMAINS`](crate::verification::DOMAINS).
        domain: Option<String>,
        /// Always [`SOURCE_TYPE`].
        source_type: String,
        /// In which session it was first found.
        source_ref: String,
        /// Always [`SENSITIVITY`] at first.
        sensitivity: String,
        /// Personal items are nobody else's business: not a model's either.
        is_personal: bool,
        /// Whether it binds everybody.
        is_required: bool,
    }
}

rows! {
    /// The words of a user that show an item.
    pub struct Evidence<'a> in "evidence" {
        /// [`ids::evidence`](crate::ids::evidence).
        id: String,
        /// The item.
        item_id: &'a str,
        /// Whose session it was.
        source_user: &'a str,
        /// Which session.
        source_ref: &'a str,
        /// How the item was verified, in the detector's word.
        detection_type: &'a str,
        /// The words.
        user_quote: &'a str,
        /// `uuid` of the line that holds them.
        line_uuid: Option<&'a str>,
        /// The line's number.
        line: u64,
        /// Which detector found them.
        detector: &'a str,
    }
}

rows! {
    /// Two items that may be the same.
    pub struct Relation in shared "relations" by id {
        /// [`ids::relation`](crate::ids::relation).
        id: String,
        /// The item with the smaller id.
        item_a_id: String,
        /// The other one.
        item_b_id: String,
        /// Always [`LIKELY_DUPLICATE`].
        relation_type: String,
        /// How much of what they name is the same.
        score: f64,
        /// Whether a person has decided.
        resolved: bool,
        /// Who.
        resolved_by: Option<String>,
        /// When.
        resolved_at: Option<Timestamp>,
        /// What.
        resolution: Option<String>,
    }
}

rows! {
    /// Two items that can't both be right.
    pub struct Contradiction in shared "contradictions" by id {
        /// [`ids::contradiction`](crate::ids::contradiction).
        id: String,
        /// The item that was new.
        item_a_id: String,
        /// The item that was there.
        item_b_id: String,
        /// Why.
        explanation: String,
        /// `hard` or `soft`.
        severity: Option<String>,
        /// What the model would do: an object of `action`, `justification`, `merged_content`.
        suggested_resolution: Option<JsonText>,
        /// Whether a person has decided.
        resolved: bool,
        /// Who.
        resolved_by: Option<String>,
        /// When.
        resolved_at: Option<Timestamp>,
        /// What.
        resolution: Option<String>,
    }
}

/// What kind of knowledge it is.
pub const CATEGORY: &str = "business_logic";
/// Where it comes from.
pub const SOURCE_TYPE: &str = "user_verification";
/// Who may see it.
pub const SENSITIVITY: &str = "internal";
/// The status of a new item.
pub const PENDING: &str = "pending";
/// The status of an item that a person took over.
pub const APPROVED: &str = "approved";
/// Statuses of items that count no more.
pub const ENDED: [&str; 3] = ["rejected", "revoked", "expired"];
/// The one type of relations.
pub const LIKELY_DUPLICATE: &str = "likely_duplicate";

impl Item {
    /// What the item names.
    pub fn entities(&self) -> Vec<String> {
        let Some(list) = &self.entities else {
            return Vec::new();
        };
        let names = list.json();
        let names = names.elements().filter_map(|name| name.text());
        names.map(|name| name.decode().into_owned()).collect()
    }
}
