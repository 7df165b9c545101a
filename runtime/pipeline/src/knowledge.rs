//! What users verified, for the people who decide about it.
//!
//! The processor `verification` adds items and never writes one again; here they are listed, shown
//! with all that speaks for them, approved and rejected. Listed is what has evidence, or what a
//! person approved: an item that no session shows any more waits for one that does. Personal items
//! are nobody else's business, and are found by none of these.

mod shown;
mod stored;

use serde::{Deserialize, Serialize};
use serde_json::json;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;
use session_pipeline_store::{Actor, Audited, Store, StoreError};

/// Which items are wanted: all conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only of this status.
    pub status: Option<String>,
    /// Only of this domain.
    pub domain: Option<String>,
    /// Only with this text in title or content, in any case.
    pub text: Option<String>,
    /// Only those after this place of the list.
    pub after: Option<ListPlace>,
    /// So many at most.
    pub limit: u32,
}

impl Wanted {
    fn text_is_in(&self, item: &KnownItem) -> bool {
        let text = format!("{} {}", item.title, item.content).to_lowercase();
        let wanted = self.text.as_ref().map(|wanted| wanted.to_lowercase());
        wanted.is_none_or(|wanted| text.contains(&wanted))
    }
}

/// Where an item is in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPlace {
    /// Whether a person has decided about the item.
    pub is_decided: bool,
    /// When it was first found.
    pub created_at: UtcMicros,
    /// Its id.
    pub id: String,
}

impl ListPlace {
    /// The place of an item.
    pub fn of(item: &KnownItem) -> Self {
        Self {
            is_decided: item.status != "pending",
            created_at: item.created_at,
            id: item.id.clone(),
        }
    }
}

/// One piece of knowledge.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownItem {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// What is known.
    pub content: String,
    /// `pending` until a person decides.
    pub status: String,
    /// The domain it belongs to.
    pub domain: Option<String>,
    /// How far it is to be trusted, from 0 to 1.
    pub confidence: f64,
    /// What it names, as a JSON list.
    pub entities: Option<String>,
    /// Of whose session it was first found.
    pub source_user: String,
    /// When it was first found.
    pub created_at: UtcMicros,
    /// When it was last changed.
    pub updated_at: UtcMicros,
    /// How many pieces of evidence there are.
    pub evidence: u64,
    /// How many users gave them.
    pub users: u64,
    /// How many contradictions with others nobody has resolved.
    pub contradictions: u64,
}

/// A user's words that show an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownEvidence {
    /// Its id.
    pub id: String,
    /// The session's key.
    pub session: String,
    /// The number of the line.
    pub line: i64,
    /// `uuid` of the line.
    pub line_uuid: Option<String>,
    /// Whose words they are.
    pub user: String,
    /// The words.
    pub quote: String,
    /// How the item was verified by them.
    pub detection: String,
    /// Which detector found them.
    pub detector: String,
    /// When.
    pub recorded_at: UtcMicros,
}

/// Another item that one has to do with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Related))]
pub struct Tie {
    /// The other item.
    #[serde(rename = "id")]
    pub item: String,
    /// What it is about.
    pub title: String,
    /// `likely_duplicate` or `contradiction`.
    pub kind: String,
    /// Of a duplicate how alike, of a contradiction `hard` or `soft`; null where nobody says.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub measure: Option<String>,
    /// Of a contradiction why.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub explanation: Option<String>,
}

/// All that is known of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownItem {
    /// The item.
    pub item: KnownItem,
    /// What shows it, in the order of sessions and lines.
    pub evidence: Vec<KnownEvidence>,
    /// What it has to do with, unresolved.
    pub ties: Vec<Tie>,
}

/// What a person decides about an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It holds.
    Approve,
    /// It does not.
    Reject,
}

impl Decision {
    /// The status that it gives an item.
    pub fn status(self) -> &'static str {
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

/// Why nothing is shown or decided.
#[derive(Debug, thiserror::Error)]
pub enum KnowledgeError {
    /// There is no such item.
    #[error("there is no item `{0}`; `session-pipeline knowledge list` shows those that there are")]
    Unknown(String),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Lists items: the unresolved before the decided, then the newest first.
///
/// # Errors
/// When the database can't be read.
pub fn list(store: Option<&Store>, wanted: &Wanted) -> Result<Vec<KnownItem>, KnowledgeError> {
    match store {
        Some(store) => {
            let items = stored::items(store, wanted)?.into_iter();
            let items = items.map(shown::item);
            // What was removed must not be found either: a search would tell what it was.
            Ok(items.filter(|item| wanted.text_is_in(item)).collect())
        }
        None => Ok(Vec::new()),
    }
}

/// Shows one item with all that speaks for it and against it.
///
/// # Errors
/// When there is no such item, or the database can't be read.
pub fn show(store: Option<&Store>, id: &str) -> Result<ShownItem, KnowledgeError> {
    let unknown = || KnowledgeError::Unknown(printable(id));
    let store = store.ok_or_else(unknown)?;
    let item = stored::item(store, id)?.ok_or_else(unknown)?;
    Ok(shown::all(ShownItem {
        evidence: stored::evidence(store, id)?,
        ties: stored::ties(store, id)?,
        item,
    }))
}

/// Approves or rejects an item; what is decided so already is not decided again.
///
/// # Errors
/// When there is no such item, or the database refuses.
pub fn decide(
    store: Option<&Store>,
    id: &str,
    decision: Decision,
    actor: Actor,
    now: UtcMicros,
) -> Result<ShownItem, KnowledgeError> {
    let shown = show(store, id)?;
    if let Some(store) = store.filter(|_| shown.item.status != decision.status()) {
        let audited = Audited {
            action: decision.action(),
            actor,
            now,
        };
        let params = json!({ "before": shown.item.status, "title": printable(&shown.item.title) });
        stored::set_status(store, id, decision.status(), audited, &params)?;
    }
    show(store, id)
}
