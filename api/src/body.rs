//! The types of request and response bodies. `--json` prints the same types.
//!
//! Domain types have no serialization of their own. These types define the names, the order and the
//! schema that clients rely on. Instants are RFC 3339 text in UTC.

pub mod admin;
pub mod grouping;
pub mod health;
pub mod knowledge;
pub mod quarantine;
pub mod run;
pub mod session;
pub mod token;
pub mod transcript;
pub mod upload;
pub mod usage;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::upload::StoredFileBody;
use crate::problem::ProblemClass;

/// The body of every error response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The cause, and how to fix it.
    pub detail: String,
    /// The class of the problem. Servers of earlier versions do not send it.
    #[serde(default)]
    #[schema(required = true)]
    pub class: Option<ProblemClass>,
    /// What is stored of the file that an upload continues. Only in a 409 for an upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub stored: Option<StoredFileBody>,
}

/// The version of the running server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The version of the program.
    pub version: String,
    /// The release channel.
    pub channel: String,
    /// The tag of the container image.
    pub image_tag: String,
    /// The schema version that this program writes.
    pub schema_version: u32,
    /// The start time of this process.
    pub deployed_at: String,
}
