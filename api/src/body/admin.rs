//! What operators ask about: processors, the audit log, what was marked.

use serde::{Deserialize, Serialize};
use session_pipeline_host::manifest::Order;
use session_pipeline_host::redaction::json_without_secrets;
use session_pipeline_pipeline::registry::listing::ListedProcessor;
use session_pipeline_pipeline::registry::plan::{Plan, Refused};
use session_pipeline_store::AuditRow;
use session_pipeline_store::Component;
use utoipa::ToSchema;

/// The processors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Processors {
    /// In the order of their names.
    pub processors: Vec<Processor>,
    /// Files in the folder of processors that are refused, in the order of their names.
    pub refused_files: Vec<RefusedFile>,
    /// Where the next page begins: send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Processors {
    /// What was listed, with what the folder came to.
    pub fn new(listed: Vec<ListedProcessor>, folder: &Plan) -> Self {
        Self {
            processors: listed.into_iter().map(Processor::from).collect(),
            refused_files: folder.refused.iter().map(RefusedFile::from).collect(),
            next: None,
        }
    }
}

/// A file in the folder of processors that does not run as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedFile {
    /// Its name.
    pub file: String,
    /// Why.
    pub reason: String,
    /// The processor that goes on with what the file held before; null where there is none.
    #[schema(required = true)]
    pub processor: Option<String>,
    /// The version in which it goes on.
    #[schema(required = true)]
    pub version: Option<u32>,
    /// The SHA-256 of the component that goes on.
    #[schema(required = true)]
    pub digest: Option<String>,
}

impl From<RefusedFile> for Refused {
    fn from(refused: RefusedFile) -> Self {
        let parts = (refused.processor, refused.version, refused.digest);
        let instead = match parts {
            (Some(name), Some(version), Some(digest)) => Some(Component {
                name,
                version,
                digest,
            }),
            _ => None,
        };
        Self {
            file: refused.file,
            reason: refused.reason,
            instead,
        }
    }
}

impl From<&Refused> for RefusedFile {
    fn from(refused: &Refused) -> Self {
        let instead = refused.instead.as_ref();
        Self {
            file: refused.file.clone(),
            reason: refused.reason.clone(),
            processor: instead.map(|component| component.name.clone()),
            version: instead.map(|component| component.version),
            digest: instead.map(|component| component.digest.clone()),
        }
    }
}

/// One processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Processor {
    /// Its name.
    pub name: String,
    /// Where it comes from: `shipped` with the program, or `dropped` into the folder of processors.
    pub origin: String,
    /// The file in the folder of processors; null where it ships.
    #[schema(required = true)]
    pub file: Option<String>,
    /// The SHA-256 of its component.
    pub digest: String,
    /// Its version; like all that it says of itself null where it is unavailable.
    #[schema(required = true)]
    pub version: Option<u32>,
    /// One sentence.
    #[schema(required = true)]
    pub description: Option<String>,
    /// How often it wants to run.
    #[schema(required = true)]
    pub cadence_seconds: Option<u32>,
    /// Whether its sessions may be processed side by side.
    #[schema(required = true)]
    pub order: Option<ProcessorOrder>,
    /// Whether it needs a language model under its settings.
    #[schema(required = true)]
    pub uses_llm: Option<bool>,
    /// What its component imports of the contract: all that it can do.
    #[schema(required = true)]
    pub capabilities: Option<Vec<String>>,
    /// Whether the operator grants it a language model.
    pub llm_granted: bool,
    /// The operator's schedule, which wins over the cadence.
    #[schema(required = true)]
    pub schedule: Option<String>,
    /// Why it can't run; null where it can.
    #[schema(required = true)]
    pub unavailable: Option<String>,
    /// How its last run ended that has ended; null if there was none.
    #[schema(required = true)]
    pub last_run: Option<String>,
    /// When it ended.
    #[schema(required = true)]
    pub last_run_at: Option<String>,
    /// When its run in progress began; null if there is none.
    #[serde(default)]
    #[schema(required = true)]
    pub running_since: Option<String>,
}

/// Whether sessions may be processed side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProcessorOrder {
    /// In any order, by any worker.
    Independent,
    /// One after the other.
    Serial,
}

impl ProcessorOrder {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::Serial => "serial",
        }
    }
}

impl From<ListedProcessor> for Processor {
    fn from(listed: ListedProcessor) -> Self {
        Self {
            name: listed.name,
            origin: listed.origin.as_str().to_owned(),
            file: listed.file,
            digest: listed.digest,
            version: listed.version,
            description: listed.description,
            cadence_seconds: listed.cadence_seconds,
            order: listed.order.map(|order| match order {
                Order::Independent => ProcessorOrder::Independent,
                Order::Serial => ProcessorOrder::Serial,
            }),
            uses_llm: listed.uses_llm,
            capabilities: listed.capabilities,
            llm_granted: listed.llm_granted,
            schedule: listed.schedule,
            unavailable: listed.unavailable,
            last_run: listed.last_run,
            last_run_at: listed.last_run_at,
            running_since: listed.running_since,
        }
    }
}

/// What was marked to be processed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Marked {
    /// The processor.
    pub processor: String,
    /// Sessions that are due now; those never processed are so anyway, and not counted.
    pub marked: u64,
    /// Sessions in quarantine among them: no mark takes them out of it.
    pub quarantined: u64,
}

/// The latest rows of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Audit {
    /// The newest first.
    pub entries: Vec<AuditLine>,
    /// Where the next page begins: send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Who did what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditLine {
    /// Its number.
    pub id: String,
    /// When it was done.
    pub timestamp: String,
    /// By which user or token; null for whoever sat at the machine.
    #[schema(required = true)]
    pub user_id: Option<String>,
    /// What: `run_session_processor:usage`.
    pub action: String,
    /// To what: `job:session-processor:usage`.
    #[schema(required = true)]
    pub resource: Option<String>,
    /// More of it, as JSON in a text.
    #[schema(required = true)]
    pub params: Option<String>,
    /// How it ended: `ok`, `failed` or `interrupted`.
    #[schema(required = true)]
    pub result: Option<String>,
    /// How long it took.
    #[schema(required = true)]
    pub duration_ms: Option<i64>,
    /// From where.
    #[schema(required = true)]
    pub client_ip: Option<String>,
    /// Through what: `cli`, `web` or `scheduler`.
    #[schema(required = true)]
    pub client_kind: Option<String>,
    /// The run it belongs to.
    #[schema(required = true)]
    pub correlation_id: Option<String>,
}

impl From<AuditRow> for AuditLine {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id,
            timestamp: row.timestamp.to_string(),
            user_id: row.user_id,
            action: row.action,
            resource: row.resource,
            // Rows of earlier versions were written as they came.
            params: row
                .params
                .map(|params| json_without_secrets(&params).into_owned()),
            result: row.result,
            duration_ms: row.duration_ms,
            client_ip: row.client_ip,
            client_kind: row.client_kind,
            correlation_id: row.correlation_id,
        }
    }
}
