//! The list of processors for operators: what each one is, what it can do, and whether it can run.
//!
//! Each component is loaded and described in the sandbox, as for a run, but nothing is written.

use std::path::Path;

use serde::{Deserialize, Serialize};
use session_pipeline_host::inspect::ImportKind;
use session_pipeline_host::manifest::Order;
use session_pipeline_host::model;
use session_pipeline_host::processor::Processor;
use session_pipeline_host::sandbox::Engines;
use session_pipeline_store::{Store, StoreError};

use crate::config::Config;
use crate::registry::{Access, Loader, Registry, RegistryError};
use crate::status;

/// The origin of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessorOrigin {
    /// It ships with the program.
    Shipped,
    /// It is a file in the folder of processors.
    Dropped,
}

impl ProcessorOrigin {
    /// The name in JSON and on the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::Dropped => "dropped",
        }
    }
}

/// One processor in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Processor))]
pub struct ListedProcessor {
    /// Its name.
    pub name: String,
    /// Where it comes from: `shipped` with the program, or `dropped` into the folder of processors.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub origin: ProcessorOrigin,
    /// Its file in the folder of processors, escaped for a terminal. `None`: it ships with the
    /// program.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub file: Option<String>,
    /// The SHA-256 of its component.
    pub digest: String,
    /// Its version. This and all other fields from the manifest are `None` if it is unavailable.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub version: Option<u32>,
    /// A description of one sentence.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub description: Option<String>,
    /// Its cadence in the manifest, in seconds.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub cadence_seconds: Option<u32>,
    /// Whether its sessions can be processed in parallel.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub order: Option<Order>,
    /// Whether it needs a language model with its settings.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub uses_llm: Option<bool>,
    /// The interfaces of the contract that it imports.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub capabilities: Option<Vec<String>>,
    /// Whether the operator permits it to use a language model.
    pub llm_granted: bool,
    /// The operator's schedule, which takes precedence over the cadence.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub schedule: Option<String>,
    /// Why it can't run. `None`: it can.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub unavailable: Option<String>,
    /// The result of its last completed run. `None`: there was none.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub last_run: Option<String>,
    /// When that run ended.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub last_run_at: Option<String>,
    /// When its run in progress started. `None`: there is none.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub running_since: Option<String>,
}

/// Lists the known processors, sorted by name. Components that never ran here are compiled in
/// `scratch`. A processor that needs a language model is available only if `has_model` is set.
///
/// # Errors
/// If the database can't be read. A processor that can't run is not an error.
pub fn list(
    registry: &Registry,
    config: &Config,
    store: Option<&Store>,
    scratch: &Path,
    has_model: bool,
) -> Result<Vec<ListedProcessor>, StoreError> {
    let engines = Engines::new(config.pool_limits(), 0);
    let loader = Loader {
        engines: &engines,
        access: Access::ReadOnly(store, scratch),
    };
    let names = registry.names();
    let known = status::processors(store, &names)?;
    let mut processors = Vec::new();
    for name in &names {
        let (processor, unavailable) = match registry.get(name, config, loader) {
            Ok(processor) => {
                let lacks_model = processor.manifest().uses_llm && !has_model;
                (
                    Some(processor),
                    lacks_model.then(model::missing_model_error),
                )
            }
            Err(RegistryError::Store(error)) => return Err(error),
            Err(RegistryError::Unavailable { fault, .. }) => (None, Some(fault.to_string())),
            Err(
                error @ (RegistryError::Unknown { .. }
                | RegistryError::NeedsModel { .. }
                | RegistryError::Rejected { .. }),
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
            // Shipped processors can use a model by default, others only with the operator's
            // permission.
            llm_granted: config.grants_llm(name, registry.origin(name) == ProcessorOrigin::Shipped),
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
        // The interface `types` has no functions.
        .filter(|name| name != "types")
        .collect()
}

/// The interface in an import: `session-pipeline:processor/records@1.0.0` becomes `records`.
fn short(import: &str) -> String {
    let interface = import.rsplit('/').next().unwrap_or(import);
    let name = interface.split('@').next().unwrap_or(interface);
    name.to_owned()
}
