//! Knowledge: what users verified, and what speaks for it.

use serde::{Deserialize, Serialize};
use session_pipeline_pipeline::knowledge::{
    Evidence, ItemRelation, KnowledgeItem, KnowledgeItemDetails,
};
use utoipa::ToSchema;

/// The items that were asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KnowledgeBody {
    /// Those that wait for a person first, then the newest first.
    pub items: Vec<KnowledgeItemBody>,
    /// Where the next page begins: send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One piece of knowledge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KnowledgeItemBody {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// What is known.
    pub content: String,
    /// `pending` until a person decides, then `approved`, `rejected`, `revoked` or `expired`.
    pub status: String,
    /// The domain it belongs to; null where it is none of those that there are.
    #[schema(required = true)]
    pub domain: Option<String>,
    /// How far it is to be trusted, from 0 to 1.
    pub confidence: f64,
    /// What it names.
    pub entities: Vec<String>,
    /// Of whose session it was first found.
    pub source_user: String,
    /// When it was first found.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
    /// How many pieces of evidence there are.
    pub evidence_count: u64,
    /// How many users gave them.
    pub users: u64,
    /// How many contradictions with others nobody has resolved.
    pub contradictions: u64,
}

/// All that is known of an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KnowledgeDetailsBody {
    /// The item.
    #[serde(flatten)]
    pub item: KnowledgeItemBody,
    /// What shows it, in the order of sessions and lines.
    pub evidence: Vec<EvidenceBody>,
    /// What it has to do with, unresolved.
    pub related: Vec<ItemRelation>,
}

/// A user's words that show an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceBody {
    /// Its id.
    pub id: String,
    /// The session's key.
    pub session: String,
    /// The number of the line that holds the words.
    pub line: i64,
    /// `uuid` of that line; null where it has none.
    #[schema(required = true)]
    pub line_uuid: Option<String>,
    /// Whose words they are.
    pub user: String,
    /// The words.
    pub quote: String,
    /// How the item was verified by them: `correction`, `confirmation`, `unprompted_definition`.
    pub detection_type: String,
    /// Which detector found them: `phrases` or `llm`.
    pub detector: String,
    /// When.
    pub recorded_at: String,
}

impl From<&KnowledgeItem> for KnowledgeItemBody {
    fn from(item: &KnowledgeItem) -> Self {
        // A list by the contract; where somebody made it something else, it names nothing.
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
