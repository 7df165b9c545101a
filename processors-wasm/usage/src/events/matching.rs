//! Assigns results to calls.
//!
//! A result refers to its call by id. Some gateways start their ids over, so an id can belong to
//! several calls. A result then answers the nearest earlier call with its id that has no result.

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use session_pipeline_processor::Timestamp;
use session_pipeline_processor::json::Text;

use crate::errors::ErrorClass;
use crate::events::Record;
use crate::events::timing::AgentRun;
use crate::identity::is_unique;
use crate::index;
use crate::strings::{Span, Strings, hash};

/// The ids of calls, which results refer to.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct CallIds {
    ids: Vec<CallId>,
    #[serde(with = "crate::index")]
    by_id: HashTable<usize>,
}

/// The calls with an id. Usually one, unless the ids start over.
#[derive(Serialize, Deserialize)]
struct CallId {
    id: Span,
    /// The latest unanswered call with this id. The others are linked by
    /// [`Record::next_unanswered`].
    unanswered: Option<usize>,
    /// The latest call that a result has answered.
    answered: Option<usize>,
    /// The result came first. It answers the next call.
    early: Option<Answer>,
}

/// The result of a call.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Answer {
    /// `uuid` of the line. Another copy of the line answers no other call.
    pub(super) uuid: Option<Span>,
    pub(super) failure: Option<ErrorClass>,
    /// The number of the line.
    pub(super) line: u64,
    pub(super) finished_at: Option<Timestamp>,
    /// The run of a sub-agent, if the call started one and the result reports it.
    pub(super) run: Option<AgentRun>,
}

/// The result of a call, borrowed from the line.
pub(super) struct CallResult<'a> {
    /// The id of the call.
    pub(super) id: Option<Text<'a>>,
    /// `uuid` of the line.
    pub(super) uuid: Option<Text<'a>>,
    pub(super) failure: Option<ErrorClass>,
    /// The number of the line.
    pub(super) line: u64,
    /// The timestamp of the line.
    pub(super) finished_at: Option<Timestamp>,
    /// Whether the id belongs to one call only. `None` if its length decides.
    pub(super) is_unique: Option<bool>,
}

impl CallIds {
    /// Whether a call has this id, and not only a result.
    pub(super) fn is_called(&self, strings: &Strings, id: &str) -> bool {
        self.find(strings, id)
            .is_some_and(|at| self.ids[at].unanswered.is_some() || self.ids[at].answered.is_some())
    }

    /// Links the latest record to the calls with its id.
    pub(super) fn call(&mut self, strings: &mut Strings, records: &mut [Record], id: &str) {
        let Some((record, earlier)) = records.split_last_mut() else {
            return;
        };
        let at = earlier.len();
        let call_id = self.id_of(strings, id);
        let call_id = &mut self.ids[call_id];
        if let Some(answer) = call_id.early.take() {
            record.answer = Some(answer);
            call_id.answered = Some(at);
        } else {
            record.next_unanswered = call_id.unanswered;
            call_id.unanswered = Some(at);
        }
    }

    /// A result answers the nearest unanswered call with its id. Returns that call.
    pub(super) fn answer(
        &mut self,
        strings: &mut Strings,
        records: &mut [Record],
        result: &CallResult<'_>,
    ) -> Option<usize> {
        let failure = result.failure;
        let id = result.id.filter(|id| !id.is_empty())?.decode();
        // If no call is waiting, an id that starts over is ambiguous.
        let is_unique = result.is_unique.unwrap_or_else(|| is_unique(&id));
        let call_id = self.id_of(strings, &id);
        let uuid = result.uuid.filter(|uuid| !uuid.is_empty());
        let call_id = &mut self.ids[call_id];
        let answered = call_id.answered.and_then(|at| records.get_mut(at));
        if let Some(answer) = answered.and_then(|record| record.answer.as_mut()) {
            let known = answer.uuid.map(|uuid| strings.get(uuid));
            let is_copy = known.is_some_and(|known| uuid.is_some_and(|uuid| uuid == known));
            if is_copy || call_id.unanswered.is_none() {
                if is_copy || is_unique {
                    // Only one of the copies can report how the call ended.
                    answer.failure = answer.failure.or(failure);
                }
                return None;
            }
        }
        let answer = Answer {
            uuid: strings.keep_text(uuid),
            failure,
            line: result.line,
            finished_at: result.finished_at,
            run: None,
        };
        let Some(at) = call_id.unanswered else {
            if is_unique {
                let early = call_id.early.get_or_insert(answer);
                early.failure = early.failure.or(failure);
            }
            return None;
        };
        let record = &mut records[at];
        record.answer = Some(answer);
        call_id.unanswered = record.next_unanswered.take();
        call_id.answered = Some(at);
        Some(at)
    }

    /// Completes ids that were loaded from a state.
    pub(super) fn rebuild_index(&mut self, strings: &Strings) {
        let ids = &self.ids;
        index::rebuild(&mut self.by_id, |at| hash(strings.get(ids[*at].id)));
    }

    fn find(&self, strings: &Strings, id: &str) -> Option<usize> {
        let is_same = |at: &usize| strings.get(self.ids[*at].id) == id;
        self.by_id.find(hash(id), is_same).copied()
    }

    /// The calls with an id, created if needed.
    fn id_of(&mut self, strings: &mut Strings, id: &str) -> usize {
        if let Some(at) = self.find(strings, id) {
            return at;
        }
        let at = self.ids.len();
        self.ids.push(CallId {
            id: strings.keep(id),
            unanswered: None,
            answered: None,
            early: None,
        });
        let ids = &self.ids;
        let rehash = |at: &usize| hash(strings.get(ids[*at].id));
        self.by_id.insert_unique(hash(id), at, rehash);
        at
    }
}
