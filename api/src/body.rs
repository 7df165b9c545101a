//! What goes over the wire, and what `--json` prints: one type for both.
//!
//! Domain types stay plain; these have the names, the order and the schema that clients rely on.
//! Instants are text in UTC, as RFC 3339 has them.

pub mod admin;
pub mod health;
pub mod knowledge;
pub mod quarantine;
pub mod run;
pub mod session;
pub mod token;
pub mod usage;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::ProblemClass;

/// What every failed request answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The reason, and what to do about it.
    pub detail: String,
    /// The class of the problem; servers of earlier versions do not name it.
    #[serde(default)]
    #[schema(required = true)]
    pub class: Option<ProblemClass>,
}

/// What serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The version of the program.
    pub version: String,
    /// The channel that it was released on.
    pub channel: String,
    /// The image that it was packed in.
    pub image_tag: String,
    /// The version of the database that it writes.
    pub schema_version: u32,
    /// When this process began to serve.
    pub deployed_at: String,
}
