//! Runs one component on all sessions of a data directory, without a database.

use std::sync::Arc;

use session_pipeline_host::content::Snapshot;
use session_pipeline_host::fault::Fault;
use session_pipeline_host::manifest::Manifest;
use session_pipeline_host::processor::{Cost, Execution};
use session_pipeline_host::sessions::SessionsRoot;
use session_pipeline_host::shared::MemoryRows;

use crate::data_dir::DataDir;
use crate::rows::rows_of;
use crate::subject::{Invocation, Subject, session_info};

/// The executions of all sessions, in the order of their keys.
///
/// ```
/// use session_pipeline_bundle::USAGE;
/// use session_pipeline_harness::{DataDir, Guest, Transcript};
///
/// let dir = DataDir::new();
/// dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
/// dir.write("bob/two.jsonl", Transcript::new("s2").user("go on").user("stop"));
/// let executions = Guest::load(USAGE).process_all(&dir);
/// assert_eq!(
///     executions.rows("sessions", "session_id prompts"),
///     ["ada/one.jsonl | s1 | 1", "bob/two.jsonl | s2 | 2"]
/// );
/// assert!(executions.log().is_empty() && executions.faults().is_empty());
/// assert!(executions.cost().fuel > 0);
/// ```
#[derive(Debug)]
pub struct Executions {
    manifest: Manifest,
    /// The key and the execution of each session.
    pub sessions: Vec<(String, Execution)>,
    /// The final rows of the shared tables.
    pub shared: MemoryRows,
}

impl Executions {
    /// Processes all sessions of a data directory. As in a run of a serial processor, each session
    /// reads the rows that earlier sessions upserted. A failed session upserts nothing.
    ///
    /// # Panics
    /// The sessions cannot be read.
    pub fn run(subject: &Subject, dir: &DataDir) -> Self {
        let root = SessionsRoot::open(&dir.sessions_root()).expect("the sessions root opens");
        let mut keys = Vec::new();
        if let Some(root) = root {
            root.walk(|key, _| keys.push(key.to_owned()))
                .expect("the sessions are listed");
        }
        keys.sort();
        let line_bytes_max = subject.processor().limits().line_bytes_max;
        let mut shared = Arc::new(MemoryRows::default());
        let process = |key: String| {
            let snapshot = Snapshot::from_bytes(&dir.read(&key), line_bytes_max)
                .expect("the snapshot is created");
            let invocation = Invocation {
                shared: Some(Arc::clone(&shared)),
                ..Invocation::default()
            };
            let execution = subject.process_snapshot(&session_info(&key), snapshot, &invocation);
            drop(invocation);
            if let Ok(completed) = &execution.outcome {
                Arc::make_mut(&mut shared).commit(subject.manifest(), &completed.tables);
            }
            (key, execution)
        };
        Self {
            sessions: keys.into_iter().map(process).collect(),
            manifest: subject.manifest().clone(),
            shared: Arc::unwrap_or_clone(shared),
        }
    }

    /// The rows of a table. Each row is a text with the session key and the values of `columns`,
    /// joined with ` | `. Nulls are `-`.
    pub fn rows(&self, table: &str, columns: &str) -> Vec<String> {
        let succeeded = self.sessions.iter().filter_map(|(key, execution)| {
            let completed = execution.outcome.as_ref().ok()?;
            let rows = rows_of(&self.manifest, completed, table, columns);
            Some(rows.into_iter().map(move |row| format!("{key} | {row}")))
        });
        succeeded.flatten().collect()
    }

    /// The log lines. Each is a text with the session key, the level and the message.
    pub fn log(&self) -> Vec<String> {
        let lines = self.sessions.iter().flat_map(|(key, execution)| {
            let lines = execution.log.iter();
            lines.map(move |line| format!("{key} | {:?} | {}", line.level, line.message))
        });
        lines.collect()
    }

    /// The keys and faults of the failed sessions.
    pub fn faults(&self) -> Vec<(&str, &Fault)> {
        let failed = self.sessions.iter().filter_map(|(key, execution)| {
            let fault = execution.outcome.as_ref().err()?;
            Some((key.as_str(), fault))
        });
        failed.collect()
    }

    /// The total cost of all sessions, with the maximum of their peak memory.
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
