//! Implements the contract's `resumption` interface, through which a guest settles rows.

use crate::checkpoint::{Checkpoint, NewCheckpoint};
use crate::content::HashedPrefix;
use crate::fault::FaultKind;
use crate::rows::TableRows;
use crate::sandbox::contract::session_pipeline::processor::resumption;
use crate::sandbox::host::{FUEL_PER_BYTE, HostState};

/// A checkpoint, until the session has been hashed.
pub(crate) struct SettledRows {
    tables: Vec<TableRows>,
    rows: u64,
    row_bytes: u64,
    state: Vec<u8>,
}

impl SettledRows {
    /// Completes the checkpoint with the lines that it covers.
    pub(crate) fn into_new_checkpoint(self, prefix: HashedPrefix) -> NewCheckpoint {
        NewCheckpoint {
            checkpoint: Checkpoint {
                prefix,
                rows: self.rows,
                row_bytes: self.row_bytes,
                state: self.state,
            },
            tables: self.tables,
        }
    }
}

impl resumption::Host for HostState {
    fn state_bytes_max(&mut self) -> wasmtime::Result<u64> {
        let grant = self.granted("resumption.state-bytes-max")?;
        Ok(grant.checkpoint_bytes_max as u64)
    }

    fn checkpoint(&mut self, state: Vec<u8>) -> wasmtime::Result<()> {
        self.owe((state.len() as u64).saturating_mul(FUEL_PER_BYTE));
        let (rows, row_bytes) = (self.rows_recorded, self.bytes_recorded);
        let grant = self.granted("resumption.checkpoint")?;
        let problem = match (&grant.settled, grant.snapshot.is_read()) {
            (Some(_), _) => Some("the guest called `checkpoint` twice"),
            (None, false) => {
                Some("the guest called `checkpoint` before it read the transcript to its end")
            }
            (None, true) => None,
        };
        if let Some(problem) = problem {
            return Err(self.fail(FaultKind::BadRecord, problem));
        }
        // Without a prefix, the rows stay where they are.
        if state.len() > grant.checkpoint_bytes_max || grant.snapshot.whole_lines().is_none() {
            return Ok(());
        }
        let tables = grant.tables.iter().map(TableRows::new).collect();
        grant.settled = Some(SettledRows {
            tables: std::mem::replace(&mut grant.rows, tables),
            rows,
            row_bytes,
            state,
        });
        Ok(())
    }
}
