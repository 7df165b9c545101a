//! Knowledge items that users verified, with their evidence.

use serde::{Deserialize, Serialize};
use session_pipeline_pipeline::knowledge::{
    Evidence, ItemRelation, KnowledgeItem, KnowledgeItemDetails,
};
use utoipa::ToSchema;

/// One page of knowledge items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KnowledgeBody {
    /// Pending items come first. Then the order is by score, users, sessions and age, the oldest
    /// first. Likely duplicates of an item follow it directly.
    pub items: Vec<KnowledgeItemBody>,
    /// The minimum score of the pending items, in percent.
    pub score_min: u8,
    /// The number of pending items that match but have a lower score. List them with
    /// `score_min=0`.
    pub below: u64,
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
    /// Confidence by kind and detector, from 0 to 1.
    pub confidence: f64,
    /// How likely the item is worth keeping by its best evidence, in percent.
    pub score: i64,
    /// The project of the session in which the item was found first.
    #[schema(required = true)]
    pub project: Option<String>,
    /// `fact` or `decision`. Null if the detector does not distinguish them.
    #[schema(required = true)]
    pub claim: Option<String>,
    /// `product` or `team`. Null if the detector does not distinguish them.
    #[schema(required = true)]
    pub scope: Option<String>,
    /// The reason of the decision.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// When a user said it first, if the transcript has times.
    #[schema(required = true)]
    pub first_said_at: Option<String>,
    /// When a user said it last.
    #[schema(required = true)]
    pub last_said_at: Option<String>,
    /// In a list, the id of the item that this item follows as its likely duplicate.
    #[schema(required = true)]
    pub similar_to: Option<String>,
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
    /// The number of sessions that the evidence comes from.
    pub sessions: u64,
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
    /// How likely the statement is worth keeping, in percent. Null if an older version recorded it.
    #[schema(required = true)]
    pub score: Option<i64>,
    /// When the user said it, if the transcript has times.
    #[schema(required = true)]
    pub said_at: Option<String>,
    /// The project of the session.
    #[schema(required = true)]
    pub project: Option<String>,
    /// The Git branch at that time.
    #[schema(required = true)]
    pub branch: Option<String>,
    /// The words of the assistant that the user reacts to.
    #[schema(required = true)]
    pub assistant_quote: Option<String>,
}

/// A decision about one or more items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KnowledgeDecisionBody {
    /// What to do with the items.
    pub decision: KnowledgeVerdict,
    /// The ids of 1 to 100 items.
    pub ids: Vec<String>,
    /// The reason, in at most 1,000 characters.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What to do with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KnowledgeVerdict {
    /// Approve it.
    Approve,
    /// Reject it.
    Reject,
}

/// The items after a decision, in the order of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DecidedItemsBody {
    /// The items.
    pub items: Vec<KnowledgeItemBody>,
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
            sessions: item.sessions,
            score: item.score,
            project: item.project.clone(),
            claim: item.claim.clone(),
            scope: item.scope.clone(),
            reason: item.reason.clone(),
            first_said_at: item.first_said_at.map(|at| at.to_string()),
            last_said_at: item.last_said_at.map(|at| at.to_string()),
            similar_to: Some(item.rank.leader.clone()).filter(|_| item.rank.is_follower),
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
            score: evidence.score,
            said_at: evidence.said_at.map(|at| at.to_string()),
            project: evidence.project.clone(),
            branch: evidence.branch.clone(),
            assistant_quote: evidence.assistant_quote.clone(),
        }
    }
}
