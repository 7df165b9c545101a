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

use crate::problem::Class;

/// What every failed request answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The reason, and what to do about it.
    pub detail: String,
    /// The class of the problem; servers of earlier versions do not name it.
    #[serde(default)]
    #[schema(required = true)]
    pub class: Option<Class>,
}

/// Whether the service is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok` only if the database is.
    pub status: Liveness,
    /// Whether the database answers, and in the version that this program writes.
    pub db_schema: SchemaState,
    /// The version that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u32>,
    /// The version that it should have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<u32>,
    /// Why there are no versions to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The word for a service that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// All is well.
    Ok,
    /// It can't do its work.
    Unhealthy,
}

/// The word for a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SchemaState {
    /// It has the version of this program.
    Ok,
    /// It has another one.
    Mismatch,
    /// It does not answer.
    Unreachable,
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
