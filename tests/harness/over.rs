//! One component over all sessions of a data dir, without a database: what it gave, what it said and
//! what it took, session by session.

use std::sync::Arc;

use session_pipeline_host::content::Snapshot;
use session_pipeline_host::fault::Fault;
use session_pipeline_host::manifest::Manifest;
use session_pipeline_host::processor::{Cost, Execution};
use session_pipeline_host::sessions::SessionsRoot;
use session_pipeline_host::shared::MemoryRows;

use crate::data_dir::DataDir;
use crate::rows::rows_of;
use crate::subject::{Invocation, Subject, session_of};

/// What came of every session, in the order of their keys.
///
/// ```
/// use session_pipeline_bundle::USAGE;
/// use session_pipeline_harness::{DataDir, Guest, Session};
///
/// let dir = DataDir::new();
/// dir.write("ada/one.jsonl", Session::new("s1").user("hello"));
/// dir.write("bob/two.jsonl", Session::new("s2").user("go on").user("stop"));
/// let over = Guest::load(USAGE).over(&dir);
/// assert_eq!(
///     over.rows("sessions", "session_id prompts"),
///     ["ada/one.jsonl | s1 | 1", "bob/two.jsonl | s2 | 2"]
/// );
/// assert!(over.log().is_empty() && over.faults().is_empty());
/// assert!(over.cost().fuel > 0);
/// ```
#[derive(Debug)]
pub struct Over {
    manifest: Manifest,
    /// Each session's key, with what came of it.
    pub sessions: Vec<(String, Execution)>,
    /// What its shared tables hold in the end.
    pub shared: MemoryRows,
}

impl Over {
    /// Gives a component all sessions that lie in a data dir. As in a run of a serial processor, each
    /// finds what those before it upserted; a session that fails leaves nothing.
    ///
    /// # Panics
    /// When the sessions can't be read.
    pub fn of(subject: &Subject, dir: &DataDir) -> Self {
        let root = SessionsRoot::open(&dir.sessions_root()).expect("the sessions can be listed");
        let mut keys = Vec::new();
        if let Some(root) = root {
            root.walk(|key, _| keys.push(key.to_owned()))
                .expect("the sessions can be listed");
        }
        keys.sort();
        let line_bytes_max = subject.processor().limits().line_bytes_max;
        let mut shared = Arc::new(MemoryRows::default());
        let give = |key: String| {
            let snapshot = Snapshot::from_bytes(&dir.read(&key), line_bytes_max)
                .expect("a session can be laid down");
            let circumstances = Invocation {
                shared: Some(Arc::clone(&shared)),
                ..Invocation::default()
            };
            let execution = subject.process_snapshot(&session_of(&key), snapshot, &circumstances);
            drop(circumstances);
            if let Ok(completed) = &execution.outcome {
                Arc::make_mut(&mut shared).commit(subject.manifest(), &completed.tables);
            }
            (key, execution)
        };
        Self {
            sessions: keys.into_iter().map(give).collect(),
            manifest: subject.manifest().clone(),
            shared: Arc::unwrap_or_clone(shared),
        }
    }

    /// The rows of a table, one text each: the session's key, then these columns, joined with ` | `,
    /// nulls as `-`.
    pub fn rows(&self, table: &str, columns: &str) -> Vec<String> {
        let succeeded = self.sessions.iter().filter_map(|(key, execution)| {
            let completed = execution.outcome.as_ref().ok()?;
            let rows = rows_of(&self.manifest, completed, table, columns);
            Some(rows.into_iter().map(move |row| format!("{key} | {row}")))
        });
        succeeded.flatten().collect()
    }

    /// What it said, one text each: the session's key, the level and the message.
    pub fn log(&self) -> Vec<String> {
        let said = self.sessions.iter().flat_map(|(key, execution)| {
            let lines = execution.log.iter();
            lines.map(move |line| format!("{key} | {:?} | {}", line.level, line.message))
        });
        said.collect()
    }

    /// The sessions that failed, and why.
    pub fn faults(&self) -> Vec<(&str, &Fault)> {
        let failed = self.sessions.iter().filter_map(|(key, execution)| {
            let fault = execution.outcome.as_ref().err()?;
            Some((key.as_str(), fault))
        });
        failed.collect()
    }

    /// What all of them took together; of memory, the most that one did.
    pub fn cost(&self) -> Cost {
        let costs = self.sessions.iter().map(|(_, execution)| &execution.cost);
        costs.fold(Cost::default(), |sum, cost| Cost {
            fuel: sum.fuel + cost.fuel,
            peak_memory: sum.peak_memory.max(cost.peak_memory),
            bytes: sum.bytes + cost.bytes,
            guest_micros: sum.guest_micros + cost.guest_micros,
        })
    }
}
