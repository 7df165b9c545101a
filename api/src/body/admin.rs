//! What operators ask about: processors, the audit log, what was marked.

use serde::{Deserialize, Serialize};
use session_pipeline_pipeline::registry::listing::ListedProcessor;
use session_pipeline_pipeline::registry::plan::{FolderPlan, RejectedFile};
use session_pipeline_store::{AuditRow, LoadedComponent};
use utoipa::ToSchema;

/// The processors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessorsBody {
    /// In the order of their names.
    pub processors: Vec<ListedProcessor>,
    /// Files in the folder of processors that are refused, in the order of their names.
    pub refused_files: Vec<RejectedFileBody>,
    /// Where the next page begins: send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl ProcessorsBody {
    /// What was listed, with what the folder came to.
    pub fn new(listed: Vec<ListedProcessor>, folder: &FolderPlan) -> Self {
        Self {
            processors: listed,
            refused_files: folder.rejected.iter().map(RejectedFileBody::from).collect(),
            next: None,
        }
    }
}

/// A file in the folder of processors that does not run as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RejectedFileBody {
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

impl From<RejectedFileBody> for RejectedFile {
    fn from(refused: RejectedFileBody) -> Self {
        let parts = (refused.processor, refused.version, refused.digest);
        let instead = match parts {
            (Some(name), Some(version), Some(digest)) => Some(LoadedComponent {
                name,
                version,
                digest,
            }),
            _ => None,
        };
        Self {
            file: refused.file,
            reason: refused.reason,
            active_component: instead,
        }
    }
}

impl From<&RejectedFile> for RejectedFileBody {
    fn from(refused: &RejectedFile) -> Self {
        let instead = refused.active_component.as_ref();
        Self {
            file: refused.file.clone(),
            reason: refused.reason.clone(),
            processor: instead.map(|component| component.name.clone()),
            version: instead.map(|component| component.version),
            digest: instead.map(|component| component.digest.clone()),
        }
    }
}

/// What was marked to be processed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReprocessBody {
    /// The processor.
    pub processor: String,
    /// Sessions that are due now; those never processed are so anyway, and not counted.
    pub marked: u64,
    /// Sessions in quarantine among them: no mark takes them out of it.
    pub quarantined: u64,
}

/// The latest rows of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AuditBody {
    /// The newest first.
    pub entries: Vec<AuditRow>,
    /// Where the next page begins: send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
