//! The registry of processors: which exist, and how a component becomes a processor that can run.
//!
//! Some processors ship with the program. Others are files in the folder of processors, which is
//! checked repeatedly. `folder` lists and reads files. [`plan`] decides which of them run. `look`
//! combines the two. `component_store` stores components and their compiled code in the data
//! directory. `loader` compiles and loads a component.

mod component_store;
mod folder;
pub mod listing;
mod loader;
mod look;
pub mod plan;

pub use loader::{Access, Loader};
pub use look::Refresh;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::{Fault, FaultKind, printable};
use session_pipeline_host::model;
use session_pipeline_host::processor::Processor;
use session_pipeline_host::sandbox::{Engines, sha256_hex};
use session_pipeline_store::{ComponentRecord, Store, StoreError};

use crate::config::Config;
use crate::report;
use crate::shipped::ShippedProcessor;

use listing::ProcessorOrigin;
use loader::LoadedProcessor;
use plan::{ActiveProcessor, FolderPlan};

/// Why a processor can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no processor with this name.
    #[error("unknown processor `{name}`; known processors: {known}")]
    Unknown {
        /// The requested name.
        name: String,
        /// The known names, separated by commas.
        known: String,
    },
    /// A file with this name was rejected.
    #[error("the processor `{name}` is unavailable: `{file}` was rejected: {reason}")]
    Rejected {
        /// The requested name.
        name: String,
        /// The file.
        file: String,
        /// The reason, with what to do.
        reason: String,
    },
    /// The component can't be used.
    #[error("the processor `{name}` is unavailable: {fault}")]
    Unavailable {
        /// The requested name.
        name: String,
        /// The fault of its component.
        fault: Fault,
    },
    /// With its settings it needs a language model, and none is configured.
    #[error(
        "the processor `{name}` is unavailable: with its current settings it needs a language model; {}",
        model::missing_model_error()
    )]
    NeedsModel {
        /// The requested name.
        name: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RegistryError {
    /// Whether the request is rejected because the processor can't run here. This is not a failed
    /// run: an operator has to use another name, install the processor, or configure a language
    /// model.
    pub fn is_rejection(&self) -> bool {
        match self {
            Self::Unknown { .. } | Self::Rejected { .. } | Self::NeedsModel { .. } => true,
            Self::Unavailable { .. } | Self::Store(_) => false,
        }
    }
}

/// The processors of this process.
#[derive(Debug)]
pub struct Registry {
    /// Sorted by name, each with the digest of its component.
    shipped: Vec<(ShippedProcessor, String)>,
    folder: look::ProcessorsFolder,
    /// Cadences of loaded components, by digest. `None`: the component could not be loaded.
    cadences: Mutex<HashMap<String, Option<Duration>>>,
}

/// The source of a processor's component.
enum ComponentSource {
    Shipped(&'static [u8]),
    Dropped(ActiveProcessor),
}

impl Registry {
    /// A registry with these shipped components. Call [`Registry::refresh`] to find those in the
    /// folder.
    pub fn new(shipped: impl IntoIterator<Item = ShippedProcessor>) -> Self {
        let mut shipped: Vec<(ShippedProcessor, String)> = shipped
            .into_iter()
            .map(|shipped| (shipped, sha256_hex(shipped.component)))
            .collect();
        shipped.sort_by_key(|(shipped, _)| shipped.name);
        Self {
            shipped,
            folder: look::ProcessorsFolder::default(),
            cadences: Mutex::default(),
        }
    }

    /// The names of all processors, sorted.
    pub fn names(&self) -> Vec<String> {
        let names = self.shipped.iter().map(|(shipped, _)| shipped.name);
        let names = names.map(str::to_owned);
        let mut names: Vec<String> = names.chain(self.plan().running.keys().cloned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The result of the last check of the folder.
    pub fn plan(&self) -> Arc<FolderPlan> {
        self.folder.plan()
    }

    /// Whether the name belongs to the program, so that no file can use it.
    fn is_taken(&self, name: &str) -> bool {
        self.shipped(name).is_some()
    }

    /// The shipped processor with this name.
    pub(crate) fn shipped(&self, name: &str) -> Option<&(ShippedProcessor, String)> {
        let mut shipped = self.shipped.iter();
        shipped.find(|(shipped, _)| shipped.name == name)
    }

    fn source(&self, name: &str) -> Result<(ComponentSource, String), RegistryError> {
        if let Some((shipped, digest)) = self.shipped(name) {
            return Ok((ComponentSource::Shipped(shipped.component), digest.clone()));
        }
        let plan = self.plan();
        if let Some(running) = plan.running.get(name) {
            let digest = running.component.digest.clone();
            return Ok((ComponentSource::Dropped(running.clone()), digest));
        }
        let (name, file) = (printable(name), printable(&format!("{name}.wasm")));
        let refused = plan.rejected.iter().find(|refused| refused.file == file);
        Err(match refused {
            Some(refused) => RegistryError::Rejected {
                name,
                file,
                reason: refused.reason.clone(),
            },
            None => RegistryError::Unknown {
                name,
                known: self.names().join(", "),
            },
        })
    }

    /// Checks that a processor with this name exists.
    ///
    /// # Errors
    /// If it does not exist or is not installed.
    pub fn check(&self, name: &str) -> Result<(), RegistryError> {
        self.source(name).map(|_| ())
    }

    /// Like [`Registry::check`], but before any [`Registry::refresh`]: any name could be that of a
    /// file.
    ///
    /// # Errors
    /// If the name is unknown and the folder contains no files.
    pub fn check_before_examination(
        &self,
        name: &str,
        config: &Config,
    ) -> Result<(), RegistryError> {
        match self.check(name) {
            Err(RegistryError::Unknown { .. }) if folder::has_files(&config.processors_dir()) => {
                Ok(())
            }
            checked => checked,
        }
    }

    /// The digest of the processor's component. `None`: the processor does not exist.
    pub fn digest(&self, name: &str) -> Option<String> {
        self.source(name).ok().map(|(_, digest)| digest)
    }

    /// The origin of the processor's component. An unknown name counts as dropped.
    pub fn origin(&self, name: &str) -> ProcessorOrigin {
        match self.is_taken(name) {
            true => ProcessorOrigin::Shipped,
            false => ProcessorOrigin::Dropped,
        }
    }

    /// The processor's file in the folder of processors, escaped for a terminal.
    pub fn file(&self, name: &str) -> Option<String> {
        let plan = self.plan();
        Some(printable(&plan.running.get(name)?.file))
    }

    /// The processor's component.
    ///
    /// # Errors
    /// If the processor does not exist, or its component can't be read.
    pub fn component(
        &self,
        name: &str,
        config: &Config,
    ) -> Result<Cow<'static, [u8]>, RegistryError> {
        let (source, digest) = self.source(name)?;
        let component = source.component(config, &digest);
        component.map_err(|fault| unavailable(name, fault))
    }

    /// Loads a processor. With full access, also stores its component, records it and creates its
    /// tables, as a run needs.
    ///
    /// # Errors
    /// If the name is unknown, the component can't be used, or the database fails. With
    /// [`Access::Compiled`], also if it is not compiled yet.
    pub fn get(
        &self,
        name: &str,
        config: &Config,
        loader: Loader<'_>,
    ) -> Result<Processor, RegistryError> {
        let loaded = self.load_checked(name, config, loader)?;
        let Access::Full(store, now) = loader.access else {
            return Ok(loaded.processor);
        };
        let stored = loaded.keep(config);
        stored.map_err(|fault| unavailable(name, fault))?;
        record(&loaded, store, now)?;
        store.register_tables(loaded.processor.manifest())?;
        if name == "usage" {
            // An invalid price file must not stop a run. Reports return the error.
            let prices = report::PriceTable::load(config).unwrap_or_else(|_| {
                report::PriceTable::shipped(config.data_dir.join("prices.toml"))
            });
            report::register(store, &prices)?;
        }
        Ok(loaded.processor)
    }

    /// Changes the tables and views of `usage` to those of this version, if an earlier version wrote
    /// the database. A run does that too, but a report can come first.
    ///
    /// # Errors
    /// Same as [`Registry::get`].
    pub fn upgrade_usage(
        &self,
        config: &Config,
        store: &Store,
        now: UtcMicros,
    ) -> Result<(), RegistryError> {
        if report::is_outdated(store)? {
            let engines = Engines::new(config.pool_limits(), 0);
            let loader = Loader {
                engines: &engines,
                access: Access::Full(store, now),
            };
            self.get("usage", config, loader)?;
        }
        Ok(())
    }

    /// Loads a processor and checks its manifest against its name, the operator's grants and the
    /// versions that ran before.
    fn load_checked(
        &self,
        name: &str,
        config: &Config,
        loader: Loader<'_>,
    ) -> Result<LoadedProcessor, RegistryError> {
        let store = loader.access.store();
        let (source, digest) = self.source(name)?;
        let known = match store {
            Some(store) => store.component(&digest)?,
            None => None,
        };
        let loaded = loader.load(name, config, &digest, known.as_ref(), || {
            source.component(config, &digest)
        });
        self.remember_cadence(&digest, &loaded);
        let loaded = loaded.map_err(|fault| unavailable(name, fault))?;
        let manifest = loaded.processor.manifest();
        let refused = |detail| unavailable(name, Fault::new(FaultKind::Component, detail));
        if manifest.name != name {
            let detail = format!("the component reports the name `{}`", manifest.name);
            return Err(refused(detail));
        }
        let is_shipped = matches!(source, ComponentSource::Shipped(_));
        if let Some(detail) = ungranted(&loaded.processor, config, is_shipped) {
            return Err(refused(detail));
        }
        // The version of a file was checked when it took over.
        if is_shipped && !config.allows_lower_version(name) {
            let versions = match store {
                Some(store) => store.component_versions(name)?,
                None => HashMap::new(),
            };
            let highest = versions.into_values().max();
            if let Some(highest) = highest.filter(|&highest| highest > manifest.version) {
                return Err(refused(plan::lower_version(
                    name,
                    manifest.version,
                    highest,
                )));
            }
        }
        Ok(loaded)
    }

    /// The cadences of all processors whose components have been loaded, by name.
    pub fn cadences(&self) -> HashMap<String, Duration> {
        let names = self.names().into_iter();
        let known = names.filter_map(|name| Some((self.cadence(&name)??, name)));
        known.map(|(cadence, name)| (name, cadence)).collect()
    }

    /// The cadence of a processor. `None`: its component was not loaded yet. `Some(None)`: it could
    /// not be loaded.
    pub fn cadence(&self, name: &str) -> Option<Option<Duration>> {
        let digest = self.digest(name)?;
        self.known_cadences().get(&digest).copied()
    }

    fn remember_cadence(&self, digest: &str, loaded: &Result<LoadedProcessor, Fault>) {
        let cadence = match loaded {
            Ok(loaded) => Some(Duration::from_secs(
                loaded.processor.manifest().cadence_seconds.into(),
            )),
            Err(fault) if fault.kind == FaultKind::Component => None,
            // An error of this machine, which could succeed next time.
            Err(_) => return,
        };
        self.known_cadences().insert(digest.to_owned(), cadence);
    }

    fn known_cadences(&self) -> MutexGuard<'_, HashMap<String, Option<Duration>>> {
        self.cadences.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ComponentSource {
    /// The component. For a file, only bytes with the digest that was examined are returned.
    fn component(&self, config: &Config, digest: &str) -> Result<Cow<'static, [u8]>, Fault> {
        let running = match self {
            Self::Shipped(component) => return Ok(Cow::Borrowed(component)),
            Self::Dropped(running) => running,
        };
        if let Some(component) = component_store::component(config, digest) {
            return Ok(Cow::Owned(component));
        }
        let bytes_max = config
            .limits_of(&running.component.name)
            .component_bytes_max;
        match folder::read(&config.processors_dir(), &running.file, bytes_max) {
            folder::ReadResult::Read(_, component) if sha256_hex(&component) == digest => {
                Ok(Cow::Owned(component))
            }
            _ => Err(Fault::new(
                FaultKind::Component,
                format!(
                    "its component is missing from the folder of processors and from `state/components`; \
                     put `{}` back into the folder",
                    running.file
                ),
            )),
        }
    }
}

/// Why the operator's grants do not allow the processor to run, if they don't.
fn ungranted(processor: &Processor, config: &Config, is_shipped: bool) -> Option<String> {
    let name = &processor.manifest().name;
    let wants = processor.imports_llm() && !config.grants_llm(name, is_shipped);
    wants.then(|| {
        format!(
            "it uses a language model, which is not permitted; set `llm = true` in `[processors.{name}]` to permit it"
        )
    })
}

fn unavailable(name: &str, fault: Fault) -> RegistryError {
    RegistryError::Unavailable {
        name: name.to_owned(),
        fault,
    }
}

impl Registry {
    /// Removes stored components that were replaced, and files that an earlier process left
    /// incomplete. Call it once per process that holds the data directory, before any run. Files
    /// that can't be removed only take up space.
    pub(crate) fn tidy(&self, config: &Config, store: &Store) -> Result<(), StoreError> {
        let mut superseded = store.replaced_components()?;
        // A name that now ships could earlier have been that of a file.
        superseded.retain(|digest| self.shipped.iter().all(|(_, shipped)| shipped != digest));
        if let Err(error) = component_store::discard(config, &superseded) {
            tracing::warn!(%error, "cannot remove old components from the data directory");
        }
        Ok(())
    }
}

/// Records a usable component and the hash of its compiled code, if the database does not have them
/// yet.
fn record(loaded: &LoadedProcessor, store: &Store, now: UtcMicros) -> Result<(), StoreError> {
    let digest = loaded.processor.digest();
    let manifest = loaded.processor.manifest();
    let known = store.component(digest)?;
    let compiled_sha256 = known.and_then(|known| known.compiled_sha256);
    if compiled_sha256.as_deref() == Some(loaded.compiled.sha256.as_str()) {
        return Ok(());
    }
    let component = ComponentRecord {
        processor_name: manifest.name.clone(),
        version: manifest.version,
        compiled_sha256: Some(loaded.compiled.sha256.clone()),
    };
    store.record_component(digest.to_owned(), component, now)
}
