//! Knowledge that users verified, for the people who decide about it.
//!
//! The processor `verification` adds items and never changes them. This module lists items, shows
//! them with all their evidence, and approves or rejects them. Lists contain items that have
//! evidence or that a person approved. An item without evidence appears again once a session
//! supports it. Personal items are never listed or shown.

mod shown;
mod stored;

use serde::{Deserialize, Serialize};
use serde_json::json;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;
use session_pipeline_store::{Actor, AuditedAction, Store, StoreError};

/// Filters of a list. An item must match all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnowledgeFilter {
    /// The status.
    pub status: Option<String>,
    /// The domain.
    pub domain: Option<String>,
    /// A text that title or content contains, in any case.
    pub text: Option<String>,
    /// The place in the list after which the page starts.
    pub after: Option<KnowledgeCursor>,
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

/// The place of an item in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnowledgeCursor {
    /// Whether a person has decided about the item.
    pub is_decided: bool,
    /// When it was first found.
    pub created_at: UtcMicros,
    /// `kv_` and a hash of title and content.
    pub id: String,
}

impl KnowledgeCursor {
    /// The place of an item.
    pub fn of(item: &KnowledgeItem) -> Self {
        Self {
            is_decided: item.status != "pending",
            created_at: item.created_at,
            id: item.id.clone(),
        }
    }
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
    /// How reliable it is, from 0 to 1.
    pub confidence: f64,
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
    /// Number of unresolved contradictions with other items.
    pub contradictions: u64,
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
    /// `likely_duplicate` or `contradiction`.
    pub kind: String,
    /// The similarity of a duplicate, or the severity of a contradiction.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub measure: Option<String>,
    /// The explanation of a contradiction.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub explanation: Option<String>,
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
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Lists items: undecided before decided ones, then the newest first.
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

/// Approves or rejects an item. Idempotent: an item that already has the status is unchanged.
///
/// # Errors
/// If the item does not exist, or the database fails.
pub fn decide(
    store: Option<&Store>,
    id: &str,
    decision: Decision,
    actor: Actor,
    now: UtcMicros,
) -> Result<KnowledgeItemDetails, KnowledgeError> {
    let shown = show(store, id)?;
    if let Some(store) = store.filter(|_| shown.item.status != decision.status_after()) {
        let audited = AuditedAction {
            action: decision.action(),
            actor,
            now,
        };
        let params = json!({ "before": shown.item.status, "title": printable(&shown.item.title) });
        stored::set_status(store, id, decision.status_after(), audited, &params)?;
    }
    show(store, id)
}
