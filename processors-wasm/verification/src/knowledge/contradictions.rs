//! Uses a model to find existing items that a new item contradicts.

use session_pipeline_processor::json::JsonText;
use session_pipeline_processor::llm::{ErrorClass, Request};

use super::{CANDIDATES_MAX, Knowledge};
use crate::ids;
use crate::llm::is_of_the_answer;
use crate::llm::judgement::{self, Candidate};
use crate::tables::{Contradiction, Item};
use crate::verification::{DOMAINS, Verification};

/// A smaller batch is not split, so that a model without valid answers costs few requests.
const SPLIT_ABOVE: usize = judgement::BATCH_ITEMS / 4;

impl Knowledge<'_, '_> {
    /// Asks the model about all candidates, in batches whose answers fit. Sends no request if there
    /// are none.
    ///
    /// # Errors
    /// The model cannot be reached. The session is then retried, and the answers so far come from
    /// the cache. An invalid answer is only logged, and the item is stored without this judgment.
    pub(super) fn judge(&self, id: &str, found: &Verification) -> Result<(), String> {
        let items = self.to_be_judged(id, found)?;
        let new = Candidate {
            id,
            title: &found.title,
            content: &found.content,
            project: self.project.as_deref(),
            said_at: found.source.said_at,
        };
        let candidates: Vec<Candidate<'_>> = items.iter().map(candidate).collect();
        let mut open: Vec<&[Candidate<'_>]> = candidates.chunks(judgement::BATCH_ITEMS).collect();
        while let Some(batch) = open.pop() {
            let request = Request::new(judgement::prompt(new, batch))
                .max_tokens(judgement::ANSWER_TOKENS)
                .json_schema(judgement::SCHEMA);
            let answer = match self.session.llm().complete(&request) {
                Ok(response) => judgement::read(&response.text, batch),
                // A smaller batch has a shorter answer.
                Err(error) if was_too_long(error.class) && batch.len() > SPLIT_ABOVE => {
                    let (first, second) = batch.split_at(batch.len() / 2);
                    open.extend([second, first]);
                    continue;
                }
                Err(error) if is_of_the_answer(error.class) => Err(error.into()),
                Err(error) => return Err(format!("no model judged the item `{id}`: {error}")),
            };
            match answer {
                Ok(judgements) => judgements
                    .into_iter()
                    .try_for_each(|judgement| self.note(id, judgement))?,
                Err(reason) => {
                    let count = batch.len();
                    self.warn(&format!(
                        "the item `{id}` is not compared with {count} items: {reason}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Items of the same domain. If the new item has no domain, all items.
    fn to_be_judged(&self, id: &str, found: &Verification) -> Result<Vec<Item>, String> {
        let mut candidates = self.candidates().not_equal("id", id);
        if let Some(domain) = &found.domain {
            if !DOMAINS.contains(&domain.as_str()) {
                return Ok(Vec::new());
            }
            candidates = candidates.equal("domain", domain.as_str());
        }
        let items = candidates.rows()?;
        let count = items.len();
        if count == CANDIDATES_MAX as usize {
            self.warn(&format!(
                "the item `{id}` is compared with the newest {count}; there may be more"
            ));
        }
        Ok(items)
    }

    fn note(&self, id: &str, judgement: judgement::Judgement) -> Result<(), String> {
        let contradiction_id = ids::contradiction(id, &judgement.candidate_id);
        let by_id = self
            .session
            .lookup::<Contradiction>()
            .equal("id", contradiction_id.as_str());
        if by_id.first()?.is_some() {
            return Ok(());
        }
        self.session.upsert(Contradiction {
            id: contradiction_id,
            item_a_id: id.to_owned(),
            item_b_id: judgement.candidate_id,
            explanation: judgement.explanation,
            severity: judgement.severity,
            suggested_resolution: judgement.suggestion.and_then(JsonText::new),
            resolved: false,
            resolved_by: None,
            resolved_at: None,
            resolution: None,
        });
        Ok(())
    }
}

/// Whether the answer can have been too long. A truncated answer is malformed.
fn was_too_long(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::TooLarge | ErrorClass::Malformed)
}

fn candidate(item: &Item) -> Candidate<'_> {
    Candidate {
        id: &item.id,
        title: &item.title,
        content: &item.content,
        project: item.project.as_deref(),
        said_at: item.said_at,
    }
}
