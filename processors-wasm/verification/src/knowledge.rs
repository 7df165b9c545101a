//! Merges the statements of a session into the stored knowledge: adds new items, evidence for
//! existing items, and relations.
//!
//! An existing item is never overwritten, because its row contains decisions by people. Items,
//! relations and contradictions are only added if they do not exist.

mod alike;
mod contradictions;
mod gate;

use std::collections::BTreeSet;

use session_pipeline_processor::json::JsonText;
use session_pipeline_processor::shared::Lookup;
use session_pipeline_processor::{Level, Session};

use crate::tables::{
    CATEGORY, ENDED, Evidence, Item, LIKELY_DUPLICATE, PENDING, Relation, SENSITIVITY, SOURCE_TYPE,
};
use crate::turns::Conversation;
use crate::verification::{Detection, Detector, Verification};
use crate::{confidence, ids};

/// Maximum number of items that a new item is compared with.
pub const CANDIDATES_MAX: u32 = 100;

/// The stored knowledge, as a session sees it and adds to it.
pub struct Knowledge<'s, 'h> {
    session: &'s Session<'h>,
    detector: Detector,
    /// Evidence that this session has added so far.
    evidence: BTreeSet<String>,
    session_id: String,
    project: Option<String>,
}

impl<'s, 'h> Knowledge<'s, 'h> {
    /// Loads the stored knowledge for a session with this conversation.
    pub fn new(session: &'s Session<'h>, detector: Detector, conversation: Conversation) -> Self {
        Self {
            session,
            detector,
            evidence: BTreeSet::new(),
            session_id: session_id(session, &conversation),
            project: conversation.project,
        }
    }

    fn session_id(&self) -> &str {
        &self.session_id
    }

    /// Stores a verification. Returns whether it is a new item.
    ///
    /// # Errors
    /// The stored knowledge cannot be read, or a required model does not answer.
    pub fn keep(&mut self, found: &Verification) -> Result<bool, String> {
        let id = ids::item(&found.title, &found.content);
        let by_id = self.session.lookup::<Item>().equal("id", id.as_str());
        let known = match by_id.first()? {
            Some(item) => Some(item),
            None => match self.rejected_before(found)? {
                Some(item) => Some(item),
                None => self.restated(found)?,
            },
        };
        if let Some(item) = known {
            self.give_evidence(&item.id, found);
            return Ok(false);
        }
        self.create(&id, found);
        self.give_evidence(&id, found);
        self.relate(&id, found)?;
        if self.detector == Detector::Llm {
            self.judge(&id, found)?;
        }
        Ok(true)
    }

    /// The existing item that says the same in other words, if there is one.
    ///
    /// A correction can overturn an existing item and be worded almost like it. Therefore, it is
    /// only compared with earlier statements of the same session.
    fn restated(&self, found: &Verification) -> Result<Option<Item>, String> {
        match Detection::of(&found.detection) {
            Some(Detection::Correction) => self.said_before(found),
            _ => self.known_alike(found),
        }
    }

    fn create(&self, id: &str, found: &Verification) {
        let entities = (!found.entities.is_empty()).then(|| JsonText::strings(&found.entities));
        self.session.upsert(Item {
            id: id.to_owned(),
            title: found.title.clone(),
            content: found.content.clone(),
            category: CATEGORY.to_owned(),
            source_user: self.session.info().username.clone(),
            tags: entities.clone(),
            entities,
            status: PENDING.to_owned(),
            confidence: confidence::of(&found.detection, self.detector),
            domain: found.domain.clone(),
            source_type: SOURCE_TYPE.to_owned(),
            source_ref: self.session_id.clone(),
            sensitivity: SENSITIVITY.to_owned(),
            is_personal: false,
            is_required: false,
            project: self.project.clone(),
            claim: found.claim.map(|claim| claim.name().to_owned()),
            scope: found.scope.map(|scope| scope.name().to_owned()),
            said_at: found.source.said_at,
            source_place: Some(found.source.place()),
            decision_reason: None,
        });
    }

    /// Adds the user's words as evidence for an item, once per line and type.
    fn give_evidence(&mut self, item_id: &str, found: &Verification) {
        let info = self.session.info();
        let source = &found.source;
        let id = ids::evidence(&info.key, item_id, &source.place(), &found.detection);
        if !self.evidence.insert(id.clone()) {
            return;
        }
        self.session.table().insert(Evidence {
            id,
            item_id,
            source_user: &info.username,
            source_ref: &self.session_id,
            detection_type: &found.detection,
            user_quote: &found.quote,
            line_uuid: source.line_uuid.as_deref(),
            line: source.line,
            detector: self.detector.name(),
            score: found.score,
            said_at: source.said_at,
            project: self.project.as_deref(),
            branch: source.branch.as_deref(),
            assistant_quote: found.assistant_quote.as_deref(),
        });
    }

    /// Records items that a person should check for duplicates: they share enough entities, or
    /// their wording is similar.
    fn relate(&self, id: &str, found: &Verification) -> Result<(), String> {
        for (item, score) in self.likely_duplicates(id, found)? {
            let relation_id = ids::relation(id, &item, LIKELY_DUPLICATE);
            let by_id = self
                .session
                .lookup::<Relation>()
                .equal("id", relation_id.as_str());
            if by_id.first()?.is_some() {
                continue;
            }
            self.session.upsert(Relation {
                id: relation_id,
                item_a_id: id.min(item.as_str()).to_owned(),
                item_b_id: id.max(item.as_str()).to_owned(),
                relation_type: LIKELY_DUPLICATE.to_owned(),
                score,
                resolved: false,
                resolved_by: None,
                resolved_at: None,
                resolution: None,
            });
        }
        Ok(())
    }

    /// Active items, newest first: not rejected, not ended and not personal.
    fn candidates(&self) -> Lookup<'h, Item> {
        let mut items = self.session.lookup::<Item>().equal("is_personal", false);
        for status in ENDED {
            items = items.not_equal("status", status);
        }
        items.newest_first().limit(CANDIDATES_MAX)
    }

    fn warn(&self, message: &str) {
        self.session.log(Level::Warn, message);
    }
}

/// The name of a session in prompts and as a source: `session-<id>-<user>`. The id is the name of
/// the file for Claude Code, and if the file states none. Some agents give all files one name.
pub fn session_id(session: &Session<'_>, conversation: &Conversation) -> String {
    let info = session.info();
    let name = info.key.rsplit('/').next().unwrap_or_default();
    let mut ends = [".jsonl", ".json"].into_iter();
    let stem = ends.find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    let id = conversation.session_id.as_deref().unwrap_or(stem);
    format!("session-{id}-{}", info.username)
}
