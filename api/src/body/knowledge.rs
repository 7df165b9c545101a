//! Knowledge items that users verified, with their evidence.

use serde::{Deserialize, Serialize};
use session_pipeline_pipeline::knowledge::{
    Evidence, ItemRelation, KnowledgeItem, KnowledgeItemDetails,
};
use utoipa::ToSchema;

/// One page of knowledge items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KnowledgeBody {
    /// Pending items first, then newest first.
    pub items: Vec<KnowledgeItemBody>,
    /// The cursor of the next page. Send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A knowledge item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KnowledgeItemBody {
    /// The id of the item.
    pub id: String,
    /// The title.
    pub title: String,
    /// The statement.
    pub content: String,
    /// `pending` until an admin decides, then `approved`, `rejected`, `revoked` or `expired`.
    pub status: String,
    /// The domain, such as `finance`. Null if no known domain fits.
    #[schema(required = true)]
    pub domain: Option<String>,
    /// Confidence, from 0 to 1.
    pub confidence: f64,
    /// The entities that the item names.
    pub entities: Vec<String>,
    /// The user in whose session the item was found first.
    pub source_user: String,
    /// When the item was found.
    pub created_at: String,
    /// When the item was last changed.
    pub updated_at: String,
    /// The number of pieces of evidence.
    pub evidence_count: u64,
    /// The number of users that the evidence comes from.
    pub users: u64,
    /// The number of unresolved contradictions with other items.
    pub contradictions: u64,
}

/// A knowledge item with its evidence and its related items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KnowledgeDetailsBody {
    /// The item.
    #[serde(flatten)]
    pub item: KnowledgeItemBody,
    /// The evidence, sorted by session and line.
    pub evidence: Vec<EvidenceBody>,
    /// Unresolved relations to other items.
    pub related: Vec<ItemRelation>,
}

/// A quote of a user that supports an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceBody {
    /// The id of the evidence.
    pub id: String,
    /// The key of the session.
    pub session: String,
    /// The line number of the quote in the session.
    pub line: i64,
    /// The `uuid` of that line, or null.
    #[schema(required = true)]
    pub line_uuid: Option<String>,
    /// The user who wrote it.
    pub user: String,
    /// The quoted text.
    pub quote: String,
    /// How the user verified the item: `correction`, `confirmation` or `unprompted_definition`.
    pub detection_type: String,
    /// The detector that found it: `phrases` or `llm`.
    pub detector: String,
    /// When the evidence was recorded.
    pub recorded_at: String,
}

impl From<&KnowledgeItem> for KnowledgeItemBody {
    fn from(item: &KnowledgeItem) -> Self {
        // A value that is not a JSON list, such as after a manual edit, counts as empty.
        let entities = item.entities.as_deref().map(serde_json::from_str);
        Self {
            id: item.id.clone(),
            title: item.title.clone(),
            content: item.content.clone(),
            status: item.status.clone(),
            domain: item.domain.clone(),
            confidence: item.confidence,
            entities: entities.and_then(Result::ok).unwrap_or_default(),
            source_user: item.source_user.clone(),
            created_at: item.created_at.to_string(),
            updated_at: item.updated_at.to_string(),
            evidence_count: item.evidence,
            users: item.users,
            contradictions: item.contradictions,
        }
    }
}

impl From<&KnowledgeItemDetails> for KnowledgeDetailsBody {
    fn from(shown: &KnowledgeItemDetails) -> Self {
        Self {
            item: KnowledgeItemBody::from(&shown.item),
            evidence: shown.evidence.iter().map(EvidenceBody::from).collect(),
            related: shown.ties.clone(),
        }
    }
}

impl From<&Evidence> for EvidenceBody {
    fn from(evidence: &Evidence) -> Self {
        Self {
            id: evidence.id.clone(),
            session: evidence.session.clone(),
            line: evidence.line,
            line_uuid: evidence.line_uuid.clone(),
            user: evidence.user.clone(),
            quote: evidence.quote.clone(),
            detection_type: evidence.detection.clone(),
            detector: evidence.detector.clone(),
            recorded_at: evidence.recorded_at.to_string(),
        }
    }
}
