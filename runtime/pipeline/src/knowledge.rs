//! Knowledge that users verified, for the people who decide about it.
//!
//! The processor `verification` adds items and never changes them. This module lists items, shows
//! them with all their evidence, approves or rejects them, and exports approved ones. Lists contain
//! items that have evidence or that a person approved. An item without evidence appears again once
//! a session supports it. Personal items are never listed or shown.

mod columns;
mod export;
mod shown;
mod stored;

pub use export::{ExportFilter, markdown};

use serde::{Deserialize, Serialize};
use serde_json::json;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;
use session_pipeline_store::{Actor, AuditedAction, Store, StoreError};

use stored::StatusChange;

/// Maximum number of characters in the reason of a decision.
const REASON_CHARS_MAX: usize = 1_000;

/// Filters of a list. An item must match all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnowledgeFilter {
    /// The status.
    pub status: Option<String>,
    /// The domain.
    pub domain: Option<String>,
    /// The project in which it was first found.
    pub project: Option<String>,
    /// A text that title or content contains, in any case.
    pub text: Option<String>,
    /// The minimum score of pending items, in percent. Decided items are listed with any score.
    pub score_min: u8,
    /// The rank after which the page starts.
    pub after: Option<KnowledgeRank>,
    /// Maximum number of items.
    pub limit: u32,
}

impl KnowledgeFilter {
    fn text_is_in(&self, item: &KnowledgeItem) -> bool {
        let text = format!("{} {}", item.title, item.content).to_lowercase();
        let wanted = self.text.as_ref().map(|wanted| wanted.to_lowercase());
        wanted.is_none_or(|wanted| text.contains(&wanted))
    }
}

/// The rank of an item in the list: the figures of the best item among its likely duplicates, and
/// its own place after that item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnowledgeRank {
    /// Whether a person has decided about the item.
    pub is_decided: bool,
    /// The score of the best item, in percent. A higher score comes first.
    pub score: i64,
    /// The number of users who support the best item. More users come first.
    pub users: i64,
    /// The number of sessions that support the best item. More sessions come first.
    pub sessions: i64,
    /// When the best item was first found. The oldest comes first.
    pub created_at: UtcMicros,
    /// The id of the best item.
    pub leader: String,
    /// Whether the item is a likely duplicate of the best item, and not the best item itself.
    pub is_follower: bool,
    /// The id of the item.
    pub id: String,
}

/// One piece of knowledge.
#[derive(Clone, Debug, PartialEq)]
pub struct KnowledgeItem {
    /// `kv_` and a hash of title and content.
    pub id: String,
    /// A short title.
    pub title: String,
    /// The knowledge itself.
    pub content: String,
    /// `pending` until a person decides.
    pub status: String,
    /// The domain.
    pub domain: Option<String>,
    /// How reliable it is by its kind and detector, from 0 to 1.
    pub confidence: f64,
    /// How likely it is worth keeping by its best evidence, in percent.
    pub score: i64,
    /// The project in which it was first found.
    pub project: Option<String>,
    /// `fact` or `decision`, if the detector distinguishes them.
    pub claim: Option<String>,
    /// `product` or `team`, if the detector distinguishes them.
    pub scope: Option<String>,
    /// Why a person approved or rejected it.
    pub reason: Option<String>,
    /// When a user first said it.
    pub first_said_at: Option<UtcMicros>,
    /// When a user last said it.
    pub last_said_at: Option<UtcMicros>,
    /// The entities that it names, as a JSON list.
    pub entities: Option<String>,
    /// The user in whose session it was first found.
    pub source_user: String,
    /// When it was first found.
    pub created_at: UtcMicros,
    /// When it was last updated.
    pub updated_at: UtcMicros,
    /// Number of pieces of evidence.
    pub evidence: u64,
    /// Number of users who provided evidence.
    pub users: u64,
    /// Number of sessions with evidence.
    pub sessions: u64,
    /// Number of unresolved contradictions with other items.
    pub contradictions: u64,
    /// The rank in the list.
    pub rank: KnowledgeRank,
}

/// A quote of a user that supports an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// `ev_` and a hash.
    pub id: String,
    /// The session's key.
    pub session: String,
    /// The line in the session, from 1.
    pub line: i64,
    /// The `uuid` of the line.
    pub line_uuid: Option<String>,
    /// The user.
    pub user: String,
    /// The quote.
    pub quote: String,
    /// How the user verified the item.
    pub detection: String,
    /// The detector that found the quote.
    pub detector: String,
    /// When it was recorded.
    pub recorded_at: UtcMicros,
    /// How likely it is worth keeping, in percent. `None`: an older version recorded it.
    pub score: Option<i64>,
    /// When the user said it.
    pub said_at: Option<UtcMicros>,
    /// The project of the session.
    pub project: Option<String>,
    /// The Git branch at that time.
    pub branch: Option<String>,
    /// The words of the assistant that the user reacts to.
    pub assistant_quote: Option<String>,
}

/// An unresolved relation to another item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Related))]
pub struct ItemRelation {
    /// The id of the other item.
    #[serde(rename = "id")]
    pub item: String,
    /// The title of the other item.
    pub title: String,
    /// The statement of the other item.
    pub content: String,
    /// The status of the other item.
    pub status: String,
    /// `likely_duplicate` or `contradiction`.
    pub kind: String,
    /// The similarity of a duplicate, or the severity of a contradiction.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub measure: Option<String>,
    /// The explanation of a contradiction.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub explanation: Option<String>,
    /// What the model suggests to do about a contradiction.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub suggestion: Option<SuggestedResolution>,
}

/// What a model suggests to do about a contradiction, from the point of view of the shown item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SuggestedResolution {
    /// `keep_this`, `keep_other`, `merge` or `keep_both`.
    pub action: String,
    /// The reason.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub justification: Option<String>,
    /// The statement that replaces both items, for `merge`.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub merged_content: Option<String>,
}

impl SuggestedResolution {
    /// Parses the stored suggestion. `is_newer`: the shown item is the newer one, which the model
    /// called A. `None` if it has no known action.
    fn parse(stored: &str, is_newer: bool) -> Option<Self> {
        let stored: serde_json::Value = serde_json::from_str(stored).ok()?;
        let text = |name: &str| {
            let text = stored.get(name)?.as_str()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        let action = match (text("action")?.as_str(), is_newer) {
            ("kept_a", true) | ("kept_b", false) => "keep_this",
            ("kept_a", false) | ("kept_b", true) => "keep_other",
            ("merge", _) => "merge",
            ("both_valid", _) => "keep_both",
            _ => return None,
        };
        Some(Self {
            action: action.to_owned(),
            justification: text("justification"),
            merged_content: text("merged_content"),
        })
    }
}

/// An item with its evidence and relations.
#[derive(Clone, Debug, PartialEq)]
pub struct KnowledgeItemDetails {
    /// The item.
    pub item: KnowledgeItem,
    /// Its evidence, ordered by session and line.
    pub evidence: Vec<Evidence>,
    /// Its unresolved relations.
    pub ties: Vec<ItemRelation>,
}

/// A decision about an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Approve it.
    Approve,
    /// Reject it.
    Reject,
}

impl Decision {
    /// The resulting status.
    pub fn status_after(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Reject => "rejected",
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::Approve => "knowledge.approve",
            Self::Reject => "knowledge.reject",
        }
    }
}

/// Why knowledge can't be listed, shown or decided.
#[derive(Debug, thiserror::Error)]
pub enum KnowledgeError {
    /// There is no such item.
    #[error("unknown item `{0}`; `session-pipeline knowledge list` lists all items")]
    Unknown(String),
    /// The reason of a decision is too long.
    #[error("the reason is too long; shorten it to {REASON_CHARS_MAX} characters")]
    LongReason,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Lists items: pending before decided ones, then by score, users, sessions and age, the oldest
/// first. Likely duplicates of an item follow it.
///
/// # Errors
/// If the database can't be read.
pub fn list(
    store: Option<&Store>,
    wanted: &KnowledgeFilter,
) -> Result<Vec<KnowledgeItem>, KnowledgeError> {
    match store {
        Some(store) => {
            let items = stored::items(store, wanted)?.into_iter();
            let items = items.map(shown::item);
            // The search uses redacted texts. Otherwise it could reveal what was removed.
            Ok(items.filter(|item| wanted.text_is_in(item)).collect())
        }
        None => Ok(Vec::new()),
    }
}

/// Shows one item with its evidence and relations.
///
/// # Errors
/// If the item does not exist, or the database can't be read.
pub fn show(store: Option<&Store>, id: &str) -> Result<KnowledgeItemDetails, KnowledgeError> {
    let unknown = || KnowledgeError::Unknown(printable(id));
    let store = store.ok_or_else(unknown)?;
    let item = stored::item(store, id)?.ok_or_else(unknown)?;
    Ok(shown::all(KnowledgeItemDetails {
        evidence: stored::evidence(store, id)?,
        ties: stored::ties(store, id)?,
        item,
    }))
}

/// The number of pending items that match a filter, but whose score is below its minimum.
///
/// # Errors
/// If the database can't be read.
pub fn count_below(store: Option<&Store>, wanted: &KnowledgeFilter) -> Result<u64, KnowledgeError> {
    match store {
        Some(store) => Ok(stored::count_below(store, wanted)?),
        None => Ok(0),
    }
}

/// Approves or rejects items, all or none. Idempotent: an item that already has the status is
/// unchanged.
///
/// # Errors
/// If one of the items does not exist, the reason is too long, or the database fails.
pub fn decide(
    store: Option<&Store>,
    ids: &[String],
    decision: Decision,
    reason: Option<&str>,
    actor: Actor,
    now: UtcMicros,
) -> Result<Vec<KnowledgeItemDetails>, KnowledgeError> {
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX) {
        return Err(KnowledgeError::LongReason);
    }
    let mut changes: Vec<StatusChange> = Vec::new();
    for id in ids {
        let shown = show(store, id)?;
        let is_new = changes.iter().all(|change| change.id != shown.item.id);
        if shown.item.status != decision.status_after() && is_new {
            let title = printable(&shown.item.title);
            changes.push(StatusChange {
                status: decision.status_after(),
                params: json!({ "before": shown.item.status, "title": title, "reason": reason }),
                id: shown.item.id,
            });
        }
    }
    if let Some(store) = store.filter(|_| !changes.is_empty()) {
        let audited = AuditedAction {
            action: decision.action(),
            actor,
            now,
        };
        stored::set_status(store, changes, reason.map(str::to_owned), audited)?;
    }
    ids.iter().map(|id| show(store, id)).collect()
}
