//! Bodies for operators: processors, the audit log, and sessions marked for reprocessing.

use serde::{Deserialize, Serialize};
use session_pipeline_pipeline::registry::listing::ListedProcessor;
use session_pipeline_pipeline::registry::plan::{FolderPlan, RejectedFile};
use session_pipeline_store::{AuditRow, LoadedComponent};
use utoipa::ToSchema;

/// One page of processors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessorsBody {
    /// Sorted by name.
    pub processors: Vec<ListedProcessor>,
    /// Rejected files in the processors folder, sorted by name.
    pub refused_files: Vec<RejectedFileBody>,
    /// The cursor of the next page. Send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl ProcessorsBody {
    /// Combines the listed processors with the rejected files of the folder.
    pub fn new(listed: Vec<ListedProcessor>, folder: &FolderPlan) -> Self {
        Self {
            processors: listed,
            refused_files: folder.rejected.iter().map(RejectedFileBody::from).collect(),
            next: None,
        }
    }
}

/// A rejected file in the processors folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RejectedFileBody {
    /// The file name.
    pub file: String,
    /// Why the file was rejected.
    pub reason: String,
    /// The processor that still runs an earlier version of this file, or null.
    #[schema(required = true)]
    pub processor: Option<String>,
    /// The version that still runs.
    #[schema(required = true)]
    pub version: Option<u32>,
    /// The SHA-256 of the component that still runs.
    #[schema(required = true)]
    pub digest: Option<String>,
}

impl From<RejectedFileBody> for RejectedFile {
    fn from(rejected: RejectedFileBody) -> Self {
        let parts = (rejected.processor, rejected.version, rejected.digest);
        let active_component = match parts {
            (Some(name), Some(version), Some(digest)) => Some(LoadedComponent {
                name,
                version,
                digest,
            }),
            _ => None,
        };
        Self {
            file: rejected.file,
            reason: rejected.reason,
            active_component,
        }
    }
}

impl From<&RejectedFile> for RejectedFileBody {
    fn from(rejected: &RejectedFile) -> Self {
        let active = rejected.active_component.as_ref();
        Self {
            file: rejected.file.clone(),
            reason: rejected.reason.clone(),
            processor: active.map(|component| component.name.clone()),
            version: active.map(|component| component.version),
            digest: active.map(|component| component.digest.clone()),
        }
    }
}

/// The sessions that a request marked for reprocessing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReprocessBody {
    /// The name of the processor.
    pub processor: String,
    /// The number of marked sessions. Sessions that were never processed are due already and do not
    /// count.
    pub marked: u64,
    /// The number of marked sessions in quarantine. A mark does not release them.
    pub quarantined: u64,
}

/// One page of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditBody {
    /// Newest first.
    pub entries: Vec<AuditRow>,
    /// The cursor of the next page. Send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
