//! Sessions: how each stands with every processor, and all that is known of one.

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
pub enum SessionStateWord {
    /// Never processed
    New,
    /// Processed as they are now
    Processed,
    /// Looked at by the next run
    Due,
    /// Failed, and waiting to be tried again
    Waiting,
    /// Failed too often, and not tried any more
    Quarantined,
    /// Known, but their file is gone
    Missing,
}

impl SessionStateWord {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        use session_pipeline_pipeline::listing::ProcessingState as Known;
        match self {
            Self::New => Known::New.as_str(),
            Self::Processed => Known::Processed.as_str(),
            Self::Due => Known::Due.as_str(),
            Self::Waiting => Known::Waiting.as_str(),
            Self::Quarantined => Known::Quarantined.as_str(),
            Self::Missing => Known::Missing.as_str(),
        }
    }
}

impl From<SessionStateWord> for session_pipeline_pipeline::listing::ProcessingState {
    fn from(state: SessionStateWord) -> Self {
        match state {
            SessionStateWord::New => Self::New,
            SessionStateWord::Processed => Self::Processed,
            SessionStateWord::Due => Self::Due,
            SessionStateWord::Waiting => Self::Waiting,
            SessionStateWord::Quarantined => Self::Quarantined,
            SessionStateWord::Missing => Self::Missing,
        }
    }
}

impl From<session_pipeline_pipeline::listing::ProcessingState> for SessionStateWord {
    fn from(state: session_pipeline_pipeline::listing::ProcessingState) -> Self {
        use session_pipeline_pipeline::listing::ProcessingState as Known;
        match state {
            Known::New => Self::New,
            Known::Processed => Self::Processed,
            Known::Due => Self::Due,
            Known::Waiting => Self::Waiting,
            Known::Quarantined => Self::Quarantined,
            Known::Missing => Self::Missing,
        }
    }
}

/// How many sessions stand how; one that stands in two ways with two processors counts in both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateCounts {
    /// Never processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<u64>,
    /// Processed as they are now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed: Option<u64>,
    /// Looked at by the next run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<u64>,
    /// Failed, and waiting to be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// Failed too often, and not tried any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<u64>,
    /// Known, but their file is gone.
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

    /// Counts further sessions.
    pub fn add(&mut self, sessions: &[SessionBody]) {
        for known in sessions.iter().flat_map(|session| &session.processors) {
            let count = match known.state {
                SessionStateWord::New => &mut self.new,
                SessionStateWord::Processed => &mut self.processed,
                SessionStateWord::Due => &mut self.due,
                SessionStateWord::Waiting => &mut self.waiting,
                SessionStateWord::Quarantined => &mut self.quarantined,
                SessionStateWord::Missing => &mut self.missing,
            };
            *count.get_or_insert(0) += 1;
        }
    }

    /// Those that are there, with their words.
    pub fn words(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            (SessionStateWord::New, self.new),
            (SessionStateWord::Processed, self.processed),
            (SessionStateWord::Due, self.due),
            (SessionStateWord::Waiting, self.waiting),
            (SessionStateWord::Quarantined, self.quarantined),
            (SessionStateWord::Missing, self.missing),
        ]
        .into_iter()
        .filter_map(|(state, count)| Some((state.as_str(), count?)))
    }
}

/// The sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionsBody {
    /// In the order that was requested, by default by key.
    pub sessions: Vec<SessionBody>,
    /// How many they are; of a page, how many are on it.
    pub count: usize,
    /// How they stand; of a page, how those on it do.
    pub states: StateCounts,
    /// Where the next page begins: send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl From<Vec<SessionBody>> for SessionsBody {
    fn from(sessions: Vec<SessionBody>) -> Self {
        Self {
            count: sessions.len(),
            states: StateCounts::of(&sessions),
            sessions,
            next: None,
        }
    }
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionBody {
    /// Its path below the sessions root.
    pub key: String,
    /// The first folder of that.
    pub user: String,
    /// Its size; null where its file is gone.
    #[schema(required = true)]
    pub bytes: Option<u64>,
    /// When its file last changed; null where it is gone.
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

/// How a session stands with one processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessorStateBody {
    /// The processor.
    pub processor: String,
    /// In a word.
    pub state: SessionStateWord,
    /// How many items were extracted, where it was processed.
    #[schema(required = true)]
    pub items: Option<i64>,
    /// When the content was read that its rows come from.
    #[schema(required = true)]
    pub processed_at: Option<String>,
    /// Since when a run knows that its file is gone.
    #[schema(required = true)]
    pub missing_since: Option<String>,
    /// Its last failure.
    #[schema(required = true)]
    pub failure: Option<LastFailureBody>,
}

/// All that is known of one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionDetailsBody {
    /// Its path below the sessions root.
    pub key: String,
    /// The first folder of that.
    pub user: String,
    /// Its size; null where its file is gone.
    #[schema(required = true)]
    pub bytes: Option<u64>,
    /// When its file last changed; null where it is gone.
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

/// How a session stands with one processor, with all that goes beyond the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessorDetailsBody {
    /// As in the list.
    #[serde(flatten)]
    pub standing: ProcessorStateBody,
    /// What goes beyond it.
    #[serde(flatten)]
    pub details: StateDetails,
}

/// The sessions, or the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SessionsOrDetails {
    /// All of them.
    List(SessionsBody),
    /// One.
    One(Box<SessionDetailsBody>),
}

/// The last failure of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastFailureBody {
    /// The fault's word.
    pub fault: String,
    /// What happened.
    pub detail: String,
    /// Failures in a row.
    pub attempts: u32,
    /// When it was last tried.
    pub last_attempt_at: String,
    /// Before that no scheduled run tries it again.
    #[schema(required = true)]
    pub next_attempt_at: Option<String>,
    /// Since when it is not tried any more.
    #[schema(required = true)]
    pub quarantined_at: Option<String>,
}

/// What goes beyond the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateDetails {
    /// The name that its rows bear.
    #[schema(required = true)]
    pub username: Option<String>,
    /// The MD5 of the content that its rows come from.
    #[schema(required = true)]
    pub hash: Option<String>,
    /// Whether somebody asked for it to be processed again.
    pub due: bool,
    /// The digest of the component that wrote its rows.
    #[schema(required = true)]
    pub component: Option<String>,
    /// That component's version.
    #[schema(required = true)]
    pub version: Option<u32>,
    /// What its last attempt took.
    #[schema(required = true)]
    pub cost: Option<AttemptCost>,
    /// How many rows it has, by table.
    pub rows: BTreeMap<String, u64>,
}

/// What an attempt took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptCost {
    /// The run.
    pub run: String,
    /// Fuel burned.
    pub fuel: u64,
    /// The most memory that it held.
    pub peak_memory: u64,
    /// Bytes of the session.
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
            modified_at: session.file.map(|file| modified(&file).to_string()),
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
    fn from(shown: &SessionWithDetails) -> Self {
        let session = SessionBody::from(&shown.listed);
        let processors = session.processors.into_iter().map(|standing| {
            let details = shown.details.get(&standing.processor);
            ProcessorDetailsBody {
                details: details.map(StateDetails::from).unwrap_or_default(),
                standing,
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

fn modified(file: &FileStat) -> UtcMicros {
    UtcMicros(file.mtime_ns.div_euclid(1000))
}

impl From<&ProcessorState> for ProcessorStateBody {
    fn from(known: &ProcessorState) -> Self {
        let text = |at: Option<UtcMicros>| at.map(|at| at.to_string());
        Self {
            processor: known.processor.to_string(),
            state: known.state.into(),
            items: known.items,
            processed_at: text(known.processed_at),
            missing_since: text(known.missing_since),
            failure: known.failure.as_ref().map(|failure| LastFailureBody {
                fault: failure.fault.kind.as_str().to_owned(),
                // Rows of earlier versions were written as they came.
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
