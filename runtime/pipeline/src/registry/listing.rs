//! The processors as an operator sees them: what each is, what it may do, and whether it can run.
//!
//! Each is asked in the sandbox what it is, as for a run, but nothing is written.

use std::path::Path;

use serde::{Deserialize, Serialize};
use session_pipeline_host::inspect::ImportKind;
use session_pipeline_host::manifest::Order;
use session_pipeline_host::model;
use session_pipeline_host::processor::Processor;
use session_pipeline_host::sandbox::Engines;
use session_pipeline_store::{Store, StoreError};

use crate::config::Config;
use crate::registry::{Registry, RegistryError};
use crate::status;

/// Where a processor comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It ships with the program.
    Shipped,
    /// It lies in the folder of processors.
    Dropped,
}

impl Origin {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::Dropped => "dropped",
        }
    }
}

/// One processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Processor))]
pub struct ListedProcessor {
    /// Its name.
    pub name: String,
    /// Where it comes from: `shipped` with the program, or `dropped` into the folder of processors.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub origin: Origin,
    /// The file in the folder of processors; null where it ships.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub file: Option<String>,
    /// The SHA-256 of its component.
    pub digest: String,
    /// Its version; like all that it says of itself null where it is unavailable.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub version: Option<u32>,
    /// One sentence.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub description: Option<String>,
    /// How often it wants to run.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub cadence_seconds: Option<u32>,
    /// Whether its sessions may be processed side by side.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub order: Option<Order>,
    /// Whether it needs a language model under its settings.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub uses_llm: Option<bool>,
    /// What its component imports of the contract: all that it can do.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub capabilities: Option<Vec<String>>,
    /// Whether the operator grants it a language model.
    pub llm_granted: bool,
    /// The operator's schedule, which wins over the cadence.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub schedule: Option<String>,
    /// Why it can't run; null where it can.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub unavailable: Option<String>,
    /// How its last run ended that has ended; null if there was none.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub last_run: Option<String>,
    /// When it ended.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub last_run_at: Option<String>,
    /// When its run in progress began; null if there is none.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub running_since: Option<String>,
}

/// Lists the processors, in the order of their names, as far as looks into the folder of processors
/// have found them. One that never ran here is compiled in `scratch`; one that needs a language model
/// can run only if there is one (`has_model`).
///
/// # Errors
/// When the database can't be read. A processor that can't run is no error.
pub fn list(
    registry: &Registry,
    config: &Config,
    store: Option<&Store>,
    scratch: &Path,
    has_model: bool,
) -> Result<Vec<ListedProcessor>, StoreError> {
    let engines = Engines::new(config.pool_limits(), 0);
    let names = registry.names();
    let known = status::processors(store, &names)?;
    let mut processors = Vec::new();
    for name in &names {
        let (processor, unavailable) =
            match registry.look_at(name, config, &engines, store, scratch) {
                Ok(processor) => {
                    let lacks_model = processor.manifest().uses_llm && !has_model;
                    (Some(processor), lacks_model.then(model::what_to_set))
                }
                Err(RegistryError::Store(error)) => return Err(error),
                Err(RegistryError::Unavailable { fault, .. }) => (None, Some(fault.to_string())),
                Err(
                    error @ (RegistryError::Unknown { .. }
                    | RegistryError::NotInstalled { .. }
                    | RegistryError::NeedsModel { .. }
                    | RegistryError::Refused { .. }),
                ) => (None, Some(error.to_string())),
            };
        let manifest = processor.as_ref().map(Processor::manifest);
        let own = config.processors.get(name);
        let counts = known.iter().find(|status| status.processor == *name);
        processors.push(ListedProcessor {
            name: name.to_owned(),
            origin: registry.origin(name),
            file: registry.file(name),
            digest: registry.digest(name).unwrap_or_default(),
            version: manifest.map(|manifest| manifest.version),
            description: manifest.map(|manifest| manifest.description.clone()),
            cadence_seconds: manifest.map(|manifest| manifest.cadence_seconds),
            order: manifest.map(|manifest| manifest.order),
            uses_llm: manifest.map(|manifest| manifest.uses_llm),
            capabilities: processor.as_ref().map(capabilities),
            // What ships is granted a model unless the operator says no, what does not only where
            // they say so (ARCHITECTURE.md §4).
            llm_granted: config.grants_llm(name, registry.origin(name) == Origin::Shipped),
            schedule: own
                .and_then(|own| own.schedule.as_ref())
                .map(ToString::to_string),
            unavailable,
            last_run: counts.and_then(|status| status.last_run.clone()),
            last_run_at: counts.and_then(|status| status.last_run_at.clone()),
            running_since: counts.and_then(|status| status.running_since.clone()),
        });
    }
    Ok(processors)
}

fn capabilities(processor: &Processor) -> Vec<String> {
    processor
        .imports()
        .iter()
        .filter(|name| ImportKind::of(name) == ImportKind::Contract)
        .map(|name| short(name))
        // The types are how both sides speak, and give nothing.
        .filter(|name| name != "types")
        .collect()
}

/// `session-pipeline:processor/records@1.0.0` as `records`.
fn short(import: &str) -> String {
    let interface = import.rsplit('/').next().unwrap_or(import);
    let name = interface.split('@').next().unwrap_or(interface);
    name.to_owned()
}
