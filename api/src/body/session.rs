//! Sessions and their processing state.

mod summary;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::redaction::without_secrets;
use session_pipeline_host::sessions::FileStat;
use session_pipeline_pipeline::listing::{
    ListedSession, ProcessorState, SessionDetails, SessionWithDetails,
};
use session_pipeline_store::money::Usd;
use utoipa::ToSchema;

pub use summary::{SessionBackgroundBody, SessionSummaryBody, SubagentRunBody};

/// How a session stands with a processor.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// Never processed
    New,
    /// Processed, and unchanged since then
    Processed,
    /// Processed by the next run
    Due,
    /// Failed, and waiting for a retry
    Waiting,
    /// Failed too often, and not retried
    Quarantined,
    /// Processed before, but the file is gone
    Missing,
}

impl SessionState {
    /// The name of the state in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        use session_pipeline_pipeline::listing::ProcessingState;
        match self {
            Self::New => ProcessingState::New.as_str(),
            Self::Processed => ProcessingState::Processed.as_str(),
            Self::Due => ProcessingState::Due.as_str(),
            Self::Waiting => ProcessingState::Waiting.as_str(),
            Self::Quarantined => ProcessingState::Quarantined.as_str(),
            Self::Missing => ProcessingState::Missing.as_str(),
        }
    }
}

impl From<SessionState> for session_pipeline_pipeline::listing::ProcessingState {
    fn from(state: SessionState) -> Self {
        match state {
            SessionState::New => Self::New,
            SessionState::Processed => Self::Processed,
            SessionState::Due => Self::Due,
            SessionState::Waiting => Self::Waiting,
            SessionState::Quarantined => Self::Quarantined,
            SessionState::Missing => Self::Missing,
        }
    }
}

impl From<session_pipeline_pipeline::listing::ProcessingState> for SessionState {
    fn from(state: session_pipeline_pipeline::listing::ProcessingState) -> Self {
        use session_pipeline_pipeline::listing::ProcessingState;
        match state {
            ProcessingState::New => Self::New,
            ProcessingState::Processed => Self::Processed,
            ProcessingState::Due => Self::Due,
            ProcessingState::Waiting => Self::Waiting,
            ProcessingState::Quarantined => Self::Quarantined,
            ProcessingState::Missing => Self::Missing,
        }
    }
}

/// The number of sessions in each state. A session with different states for two processors counts
/// in both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateCounts {
    /// Never processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<u64>,
    /// Processed, and unchanged since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed: Option<u64>,
    /// Processed by the next run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<u64>,
    /// Failed, and waiting for a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// Failed too often, and not retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<u64>,
    /// Processed before, but the file is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
}

impl StateCounts {
    /// Counts the sessions of a list.
    pub fn of(sessions: &[SessionBody]) -> Self {
        let mut counts = Self::default();
        counts.add(sessions);
        counts
    }

    /// Adds the sessions of another list.
    pub fn add(&mut self, sessions: &[SessionBody]) {
        for processor in sessions.iter().flat_map(|session| &session.processors) {
            let count = match processor.state {
                SessionState::New => &mut self.new,
                SessionState::Processed => &mut self.processed,
                SessionState::Due => &mut self.due,
                SessionState::Waiting => &mut self.waiting,
                SessionState::Quarantined => &mut self.quarantined,
                SessionState::Missing => &mut self.missing,
            };
            *count.get_or_insert(0) += 1;
        }
    }

    /// The states that have sessions, by name, with the number of sessions.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            (SessionState::New, self.new),
            (SessionState::Processed, self.processed),
            (SessionState::Due, self.due),
            (SessionState::Waiting, self.waiting),
            (SessionState::Quarantined, self.quarantined),
            (SessionState::Missing, self.missing),
        ]
        .into_iter()
        .filter_map(|(state, count)| Some((state.as_str(), count?)))
    }
}

/// One page of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionsBody {
    /// In the order that was requested, by default by key.
    pub sessions: Vec<SessionBody>,
    /// The number of entries in `sessions`.
    pub count: usize,
    /// The number of entries in `sessions`, by state.
    pub states: StateCounts,
    /// The cursor of the next page. Send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Why there are no sessions: a filter has a value that no session has. With suggestions. Absent
    /// if there are sessions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

impl From<Vec<SessionBody>> for SessionsBody {
    fn from(sessions: Vec<SessionBody>) -> Self {
        Self {
            count: sessions.len(),
            states: StateCounts::of(&sessions),
            sessions,
            next: None,
            notices: Vec::new(),
        }
    }
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionBody {
    /// The path of the file below the sessions root.
    pub key: String,
    /// The first folder of the key.
    pub user: String,
    /// The size of the file. Null if the file is gone.
    #[schema(required = true)]
    pub bytes: Option<u64>,
    /// When the file last changed. Null if the file is gone.
    #[schema(required = true)]
    pub modified_at: Option<String>,
    /// What its transcript contains.
    #[serde(flatten)]
    pub summary: SessionSummaryBody,
    /// Cost in US dollars of its messages and those of its sub-agents. Absent for the file of a
    /// sub-agent, and if no model has a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub cost_usd: Option<Usd>,
    /// How it stands, in the order of the processors' names.
    pub processors: Vec<ProcessorStateBody>,
}

/// The state of a session for one processor, with its last failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessorStateBody {
    /// The name of the processor.
    pub processor: String,
    /// The state.
    pub state: SessionState,
    /// The number of extracted items. Null if the session was not processed.
    #[schema(required = true)]
    pub items: Option<i64>,
    /// When the session was read for the rows that are stored now.
    #[schema(required = true)]
    pub processed_at: Option<String>,
    /// When a run first found the file missing, or null.
    #[schema(required = true)]
    pub missing_since: Option<String>,
    /// The last failure. Null if the last attempt succeeded.
    #[schema(required = true)]
    pub failure: Option<LastFailureBody>,
}

/// A session with its details for each processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionDetailsBody {
    /// The path of the file below the sessions root.
    pub key: String,
    /// The first folder of the key.
    pub user: String,
    /// The size of the file. Null if the file is gone.
    #[schema(required = true)]
    pub bytes: Option<u64>,
    /// When the file last changed. Null if the file is gone.
    #[schema(required = true)]
    pub modified_at: Option<String>,
    /// What its transcript contains.
    #[serde(flatten)]
    pub summary: SessionSummaryBody,
    /// Cost in US dollars of its messages and those of its sub-agents. Absent for the file of a
    /// sub-agent, and if no model has a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub cost_usd: Option<Usd>,
    /// What else its transcript contains.
    #[serde(flatten)]
    pub background: SessionBackgroundBody,
    /// How it stands, in the order of the processors' names.
    pub processors: Vec<ProcessorDetailsBody>,
}

/// The state of a session for one processor, with the details that lists omit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessorDetailsBody {
    /// The same fields as in a list.
    #[serde(flatten)]
    pub summary: ProcessorStateBody,
    /// Fields that lists do not have.
    #[serde(flatten)]
    pub details: StateDetails,
}

/// A page of sessions, or the details of the session that `key` names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SessionsOrDetails {
    /// A page of sessions.
    List(SessionsBody),
    /// One.
    One(Box<SessionDetailsBody>),
}

/// The last failure of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastFailureBody {
    /// The kind of the fault.
    pub fault: String,
    /// The message of the fault.
    pub detail: String,
    /// The number of consecutive failures.
    pub attempts: u32,
    /// When the last attempt was made.
    pub last_attempt_at: String,
    /// Scheduled runs do not retry the session before this time.
    #[schema(required = true)]
    pub next_attempt_at: Option<String>,
    /// When the session was quarantined, or null.
    #[schema(required = true)]
    pub quarantined_at: Option<String>,
}

/// Details of a session that lists omit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateDetails {
    /// The user name in the rows of the session.
    #[schema(required = true)]
    pub username: Option<String>,
    /// The MD5 of the content that was processed.
    #[schema(required = true)]
    pub hash: Option<String>,
    /// Whether the session is marked for reprocessing.
    pub due: bool,
    /// The SHA-256 of the component that wrote the rows.
    #[schema(required = true)]
    pub component: Option<String>,
    /// The version of that component.
    #[schema(required = true)]
    pub version: Option<u32>,
    /// The cost of the last attempt.
    #[schema(required = true)]
    pub cost: Option<AttemptCost>,
    /// The number of rows, by table.
    pub rows: BTreeMap<String, u64>,
}

/// The resources that an attempt used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptCost {
    /// The id of the run.
    pub run: String,
    /// Fuel consumed.
    pub fuel: u64,
    /// Peak memory, in bytes.
    pub peak_memory: u64,
    /// The size of the session, in bytes.
    pub bytes: u64,
    /// CPU time, in microseconds.
    pub guest_micros: u64,
}

impl From<&ListedSession> for SessionBody {
    fn from(session: &ListedSession) -> Self {
        Self {
            key: session.key.clone(),
            user: session.key.split('/').next().unwrap_or_default().to_owned(),
            bytes: session.file.map(|file| file.size),
            modified_at: session.file.map(|file| modified_at(&file).to_string()),
            summary: SessionSummaryBody::default(),
            cost_usd: None,
            processors: session
                .processors
                .iter()
                .map(ProcessorStateBody::from)
                .collect(),
        }
    }
}

impl From<&SessionWithDetails> for SessionDetailsBody {
    fn from(source: &SessionWithDetails) -> Self {
        let session = SessionBody::from(&source.listed);
        let processors = session.processors.into_iter().map(|summary| {
            let details = source.details.get(&summary.processor);
            ProcessorDetailsBody {
                details: details.map(StateDetails::from).unwrap_or_default(),
                summary,
            }
        });
        Self {
            processors: processors.collect(),
            key: session.key,
            user: session.user,
            bytes: session.bytes,
            modified_at: session.modified_at,
            summary: session.summary,
            cost_usd: session.cost_usd,
            background: SessionBackgroundBody::default(),
        }
    }
}

/// The log of a failure, for a caller who cannot read texts of the session.
const HIDDEN_LOG: &str = "the log of a session of another user requires the role `admin`";

impl ProcessorStateBody {
    /// Replaces the log of the last failure. A processor can write words of the transcript into it.
    pub fn remove_log(&mut self) {
        if let Some(failure) = &mut self.failure {
            HIDDEN_LOG.clone_into(&mut failure.detail);
        }
    }
}

fn modified_at(file: &FileStat) -> UtcMicros {
    UtcMicros(file.mtime_ns.div_euclid(1000))
}

impl From<&ProcessorState> for ProcessorStateBody {
    fn from(source: &ProcessorState) -> Self {
        let text = |at: Option<UtcMicros>| at.map(|at| at.to_string());
        Self {
            processor: source.processor.to_string(),
            state: source.state.into(),
            items: source.items,
            processed_at: text(source.processed_at),
            missing_since: text(source.missing_since),
            failure: source.failure.as_ref().map(|failure| LastFailureBody {
                fault: failure.fault.kind.as_str().to_owned(),
                // Earlier versions stored details without removing secrets.
                detail: without_secrets(&failure.fault.detail).into_owned(),
                attempts: failure.failures.attempts,
                last_attempt_at: failure.last_attempt_at.to_string(),
                next_attempt_at: text(failure.failures.next_attempt_at),
                quarantined_at: text(failure.failures.quarantined_at),
            }),
        }
    }
}

impl From<&SessionDetails> for StateDetails {
    fn from(details: &SessionDetails) -> Self {
        let state = details.state.as_ref();
        Self {
            username: state.map(|state| state.username.clone()),
            hash: state.and_then(|state| Some(state.known.hash?.to_string())),
            due: state.is_some_and(|state| state.known.is_due),
            component: details.component.clone(),
            version: details.version,
            cost: details.cost.as_ref().map(|cost| AttemptCost {
                run: cost.run_id.clone(),
                fuel: cost.cost.fuel,
                peak_memory: cost.cost.peak_memory,
                bytes: cost.cost.bytes,
                guest_micros: cost.cost.guest_micros,
            }),
            rows: details.rows.iter().cloned().collect(),
        }
    }
}
