//! The check of the law about sessions that are continued after a checkpoint.

use session_pipeline_host::checkpoint::Checkpoint;
use session_pipeline_host::fault::Fault;
use session_pipeline_host::processor::{Resumed, SessionOutput};
use session_pipeline_host::rows::TableRows;

use super::checks::{LawFailure, check_same, outcome};
use super::laws::LawInput;
use crate::subject::{Invocation, Subject};

/// The largest state of a checkpoint: what hosts store by default.
const STATE_BYTES_MAX: usize = 8 << 20;

/// A session that is continued as it grows, as a host would store it.
struct StoredSession {
    settled: Vec<TableRows>,
    checkpoint: Option<Checkpoint>,
}

impl StoredSession {
    fn new(subject: &Subject) -> Self {
        let tables = subject.manifest().tables.iter();
        Self {
            settled: tables.map(TableRows::new).collect(),
            checkpoint: None,
        }
    }

    /// Stores the checkpoint of an output. Returns the output with all rows of the session.
    fn store(&mut self, output: SessionOutput) -> SessionOutput {
        if let Some(new) = output.settled {
            for (settled, rows) in self.settled.iter_mut().zip(&new.tables) {
                settled.append(rows);
            }
            self.checkpoint = Some(new.checkpoint);
        }
        let mut tables = self.settled.clone();
        for (all, rows) in tables.iter_mut().zip(&output.tables) {
            all.append(rows);
        }
        SessionOutput {
            tables,
            settled: None,
            items: output.items,
        }
    }
}

pub(super) fn resumes_exactly(subject: &Subject, input: &LawInput) -> Result<(), LawFailure> {
    if !subject.processor().can_resume() {
        return Ok(());
    }
    let with_checkpoint = Invocation {
        checkpoint_bytes_max: STATE_BYTES_MAX,
        ..Invocation::default()
    };
    let mut stored = StoredSession::new(subject);
    for version in &input.sessions {
        let whole = outcome(subject.process(version, &Invocation::default()))?;
        let resumed = stored.checkpoint.as_ref();
        let resumed = resumed.and_then(|from| subject.resume(version, &with_checkpoint, from));
        let (output, when): (Result<SessionOutput, Fault>, _) = match resumed {
            Some(Resumed::Completed(execution)) => (outcome(*execution)?, "where it was continued"),
            Some(Resumed::StartOver(_)) | None => {
                stored = StoredSession::new(subject);
                let execution = subject.process(version, &with_checkpoint);
                (outcome(execution)?, "with a checkpoint")
            }
        };
        let output = output.map(|output| stored.store(output));
        check_same(subject, &whole, &output, when)?;
        if output.is_err() {
            stored = StoredSession::new(subject);
        }
    }
    Ok(())
}
