//! Continues a session that has grown, for processors that export `resumable`.

use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex};

use super::{CallError, Execution, Grants, Processor, SessionInfo, SessionOutput};
use crate::checkpoint::Checkpoint;
use crate::content::Snapshot;
use crate::rows::TableRows;
use crate::sandbox::contract::session_pipeline::processor::types;
use crate::sandbox::contract::{RESUMABLE, VERSION};
use crate::sandbox::{HostState, backtrace_of, fault_of, run_to_end, sha256_hex};

/// The result of continuing a session.
#[derive(Debug)]
pub enum Resumed {
    /// The session was processed to its end. The rows follow those of the checkpoint.
    Completed(Box<Execution>),
    /// The whole session must be processed, for this reason.
    StartOver(String),
}

/// The function `resume` of a component, if it exports one.
pub(super) fn find(component: &Component) -> Option<ComponentExportIndex> {
    let interface = component.get_export_index(None, RESUMABLE)?;
    component.get_export_index(Some(&interface), "resume")
}

impl Processor {
    /// Whether the host stores checkpoints of this processor's sessions. Rows of shared tables are
    /// not recorded per session. The state of a processor whose rows are redacted would contain the
    /// secrets.
    pub fn can_resume(&self) -> bool {
        let mut tables = self.tables.iter();
        self.resume.is_some()
            && !self.manifest.redacts_secrets
            && tables.all(|table| table.shared_key.is_none())
    }

    /// Identifies everything except the transcript on which the rows of a session depend. A
    /// checkpoint is valid only for an equal text.
    pub fn checkpoint_key(&self, session: &SessionInfo) -> String {
        let line_bytes_max = self.limits.line_bytes_max;
        let inputs = (
            VERSION,
            &self.digest,
            &self.settings,
            (&session.key, &session.directory, &session.username),
            &session.user_id,
            line_bytes_max,
        );
        sha256_hex(format!("{inputs:?}").as_bytes())
    }

    /// Continues a session after a checkpoint. The snapshot must be positioned behind its prefix
    /// ([`Snapshot::continue_after`]). Any failure is a reason to process the whole session, which
    /// then decides whether the session fails.
    pub fn resume(
        &self,
        session: &SessionInfo,
        snapshot: Snapshot,
        grants: &Grants,
        from: &Checkpoint,
    ) -> Resumed {
        let execution = match self.execute(session, snapshot, grants, Some(from)) {
            Ok(execution) => execution,
            Err(StartOver) => {
                return Resumed::StartOver("a new line changes settled rows".to_owned());
            }
        };
        match execution.outcome {
            Ok(_) => Resumed::Completed(Box::new(execution)),
            Err(fault) => Resumed::StartOver(fault.to_string()),
        }
    }

    /// Calls `resume`. Returns none if the guest asks for the whole session.
    pub(super) fn call_resume(
        &self,
        store: &mut Store<HostState>,
        info: &types::SessionInfo,
        from: &Checkpoint,
    ) -> Result<Result<Option<types::Summary>, String>, CallError> {
        let Some(resume) = &self.resume else {
            return Ok(Ok(None));
        };
        let deadline = store.data().deadline;
        let call = async {
            let pre = self.pre.instance_pre();
            let instance = pre.instantiate_async(&mut *store).await?;
            let resume = instance.get_typed_func::<
                (&types::SessionInfo, &[u8]),
                (Result<Option<types::Summary>, String>,),
            >(&mut *store, resume)?;
            let (summary,) = resume.call_async(&mut *store, (info, &from.state)).await?;
            Ok(summary)
        };
        run_to_end(deadline, call)?.map_err(|error| CallError {
            fault: fault_of(store, &error),
            backtrace: backtrace_of(&error),
        })
    }
}

/// The guest asks for the whole session.
pub(super) struct StartOver;

impl SessionOutput {
    /// All rows, settled or not, in the order in which they were recorded.
    pub fn all_tables(&self) -> impl Iterator<Item = &TableRows> {
        let settled = self.settled.as_deref();
        let settled = settled.into_iter().flat_map(|new| new.tables.iter());
        settled.chain(&self.tables)
    }
}
