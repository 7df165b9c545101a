//! Continues a session that has grown after its checkpoint, instead of processing all of it again.
//!
//! Everything unexpected leads to the whole session: the result is the same, and only takes longer.

use session_pipeline_host::content::Snapshot;
use session_pipeline_host::fault::printable;
use session_pipeline_host::processor::{Execution, Grants, Resumed, SessionInfo};
use session_pipeline_store::{ContentChange, ResumePoint};

use crate::run::work::Pass;
use crate::scan::Candidate;

/// A new checkpoint replaces an older one once the session has grown by this part of it. It bounds
/// the number of checkpoints, and with it the number of parts in which the rows of a session are
/// stored.
const GROWTH_PART: u64 = 16;

/// A processed or continued session.
pub(super) struct Attempted {
    pub(super) execution: Execution,
    /// The number of the settled rows after which it was continued.
    pub(super) resumed_from: Option<i64>,
}

impl Pass<'_> {
    /// Continues a session after its checkpoint if it has one, or processes the whole session.
    pub(super) fn process_or_resume(
        &self,
        candidate: &Candidate,
        session: &SessionInfo,
        snapshot: Snapshot,
        grants: &Grants,
    ) -> Attempted {
        let is_live = self.can_have_checkpoint(candidate, &snapshot);
        let mut snapshot = match is_live {
            true => snapshot.with_checkpoint(),
            false => snapshot,
        };
        let resumed = match is_live {
            true => self.resume(candidate, session, &snapshot, grants),
            false => None,
        };
        if let Some(resumed) = resumed {
            return resumed;
        }
        if is_live {
            // If this fails, reading fails too, and the session with it.
            let _ = snapshot.rewind();
        }
        let grants = self.with_checkpoint(grants, is_live);
        Attempted {
            execution: self
                .processor
                .process_with_grants(session, snapshot, &grants),
            resumed_from: None,
        }
    }

    /// Continues a session after its checkpoint. Returns `None` if it has no valid one, or must be
    /// processed as a whole. The snapshot is then unchanged.
    fn resume(
        &self,
        candidate: &Candidate,
        session: &SessionInfo,
        snapshot: &Snapshot,
        grants: &Grants,
    ) -> Option<Attempted> {
        let point = self.resume_point(candidate, session)?;
        let prefix = &point.checkpoint.prefix;
        let mut grown = snapshot.duplicate()?;
        let key = printable(&candidate.key);
        match grown.continue_after(prefix) {
            Ok(true) => {}
            Ok(false) => {
                tracing::debug!(session = %key, "the lines before the checkpoint changed");
                return None;
            }
            // The attempt with the whole session reports it.
            Err(_) => return None,
        }
        let growth = snapshot.size().saturating_sub(prefix.bytes);
        let growth_min = (prefix.bytes / GROWTH_PART)
            .max(self.processor.limits().checkpoint_session_bytes_min / GROWTH_PART);
        let grants = self.with_checkpoint(grants, growth >= growth_min);
        let resumed = self
            .processor
            .resume(session, grown, &grants, &point.checkpoint);
        let execution = match resumed {
            Resumed::Completed(execution) => execution,
            Resumed::StartOver(reason) => {
                tracing::debug!(session = %key, reason, "the whole session is processed");
                return None;
            }
        };
        // Rows of lines that are gone must be kept, including settled ones.
        let hash = execution.hash?;
        let change = candidate.change(hash, execution.prefix_hash);
        (change != ContentChange::Rewritten).then_some(Attempted {
            execution: *execution,
            resumed_from: Some(point.settled_seq),
        })
    }

    /// The stored checkpoint, if this processing has the same inputs.
    fn resume_point(&self, candidate: &Candidate, session: &SessionInfo) -> Option<ResumePoint> {
        let known = candidate.known?;
        // A request to process the session again means the whole session.
        if known.is_due || known.session_seq.is_none() || !candidate.is_same_component {
            return None;
        }
        let processor = &self.processor.manifest().name;
        let point = match self.pipeline.store.resume_point(processor, &candidate.key) {
            Ok(point) => point?,
            Err(error) => {
                tracing::warn!(session = %printable(&candidate.key), %error, "the whole session is processed");
                return None;
            }
        };
        (point.inputs == self.processor.checkpoint_key(session)).then_some(point)
    }

    /// Whether a checkpoint of this session is worth its cost. Most sessions never grow after they
    /// were processed, so the first processing makes none.
    fn can_have_checkpoint(&self, candidate: &Candidate, snapshot: &Snapshot) -> bool {
        let limits = self.processor.limits();
        let has_rows = candidate
            .known
            .is_some_and(|known| known.session_seq.is_some());
        has_rows
            && candidate.is_same_component
            && limits.checkpoint_bytes_max > 0
            && snapshot.size() >= limits.checkpoint_session_bytes_min
            && !snapshot.observed().is_compressed
            && self.processor.can_resume()
    }

    /// The grants, with or without a checkpoint.
    fn with_checkpoint(&self, grants: &Grants, is_granted: bool) -> Grants {
        let limits = self.processor.limits();
        // The state crosses the border to the guest in one call.
        let bytes_max = limits.checkpoint_bytes_max.min(limits.call_bytes_max / 2);
        Grants {
            checkpoint_bytes_max: if is_granted { bytes_max } else { 0 },
            ..grants.clone()
        }
    }
}
