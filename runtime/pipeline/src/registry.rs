//! Which processors there are, and how one is made ready: compiled once, kept, checked, described,
//! its tables made.
//!
//! Some ship with the program; others lie in the folder of processors, which is looked at again and
//! again. `folder` is what lies there, [`plan`] what comes of it, `look` brings the two together;
//! `kept` is what stays in the data dir, `make` how a component becomes a processor.

mod folder;
mod kept;
pub mod listing;
mod look;
mod make;
pub mod plan;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::{Fault, FaultKind, printable};
use session_pipeline_host::model;
use session_pipeline_host::processor::Processor;
use session_pipeline_host::sandbox::{Engines, sha256_hex};
use session_pipeline_store::{KnownComponent, Store, StoreError};

use crate::config::Config;
use crate::report;
use crate::shipped::{Shipped, VERIFICATION};

use listing::Origin;
use make::{Compiling, Made, Workshop};
use plan::{Plan, Running};

/// Why a processor is not at hand.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is none of that name.
    #[error("Unknown processor `{name}`; known are: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The known ones.
        known: String,
    },
    /// It is known, but no component of it is here.
    #[error("the processor `{name}` is not installed here; installed are: {installed}")]
    NotInstalled {
        /// The name.
        name: String,
        /// Those that are.
        installed: String,
    },
    /// A file is named like it, and refused.
    #[error("the processor `{name}` is not at hand: `{file}` is refused: {reason}")]
    Refused {
        /// The name.
        name: String,
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// Its component can't be used.
    #[error("the processor `{name}` is unavailable: {fault}")]
    Unavailable {
        /// The name.
        name: String,
        /// Why.
        fault: Fault,
    },
    /// Under its settings it asks a language model, and there is none.
    #[error(
        "the processor `{name}` is unavailable: under its present settings it needs a language model; {}",
        model::what_to_set()
    )]
    NeedsModel {
        /// The name.
        name: String,
    },
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RegistryError {
    /// Whether the request is refused because the processor can't run here, which is no failure of
    /// a run: an operator has to name another one, install it, or configure a language model.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Unknown { .. }
            | Self::NotInstalled { .. }
            | Self::Refused { .. }
            | Self::NeedsModel { .. } => true,
            Self::Unavailable { .. } | Self::Store(_) => false,
        }
    }
}

/// The processors of this process.
#[derive(Debug)]
pub struct Registry {
    /// By name, each with its digest.
    shipped: Vec<(Shipped, String)>,
    folder: look::Folder,
    /// How often those components want to run that were made ready, by digest; `None`: one could
    /// not be.
    cadences: Mutex<HashMap<String, Option<Duration>>>,
}

/// Where the component of a processor comes from.
enum Source {
    Shipped(&'static [u8]),
    Dropped(Running),
}

impl Registry {
    /// A registry of these components. What lies in the folder is found by looking there.
    pub fn new(shipped: impl IntoIterator<Item = Shipped>) -> Self {
        let mut shipped: Vec<(Shipped, String)> = shipped
            .into_iter()
            .map(|shipped| (shipped, sha256_hex(shipped.component)))
            .collect();
        shipped.sort_by_key(|(shipped, _)| shipped.name);
        Self {
            shipped,
            folder: look::Folder::default(),
            cadences: Mutex::default(),
        }
    }

    /// The names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.names_and(None)
    }

    /// The names that have an entry in health and a job, sorted: those of the components, and those
    /// that are known without one.
    pub fn known_names(&self) -> Vec<String> {
        self.names_and(Some(VERIFICATION))
    }

    fn names_and(&self, more: Option<&str>) -> Vec<String> {
        let shipped = self.shipped.iter().map(|(shipped, _)| shipped.name);
        let names = shipped.chain(more).map(str::to_owned);
        let mut names: Vec<String> = names.chain(self.plan().running.keys().cloned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What the last look at the folder came to.
    pub fn plan(&self) -> Arc<Plan> {
        self.folder.plan()
    }

    /// Whether a name belongs to the program, so that no file may take it.
    fn is_taken(&self, name: &str) -> bool {
        name == VERIFICATION || self.shipped(name).is_some()
    }

    fn shipped(&self, name: &str) -> Option<&(Shipped, String)> {
        let mut shipped = self.shipped.iter();
        shipped.find(|(shipped, _)| shipped.name == name)
    }

    fn source(&self, name: &str) -> Result<(Source, String), RegistryError> {
        if let Some((shipped, digest)) = self.shipped(name) {
            return Ok((Source::Shipped(shipped.component), digest.clone()));
        }
        let plan = self.plan();
        if let Some(running) = plan.running.get(name) {
            let digest = running.component.digest.clone();
            return Ok((Source::Dropped(running.clone()), digest));
        }
        if name == VERIFICATION {
            return Err(RegistryError::NotInstalled {
                name: name.to_owned(),
                installed: self.names().join(", "),
            });
        }
        let (name, file) = (printable(name), printable(&format!("{name}.wasm")));
        let refused = plan.refused.iter().find(|refused| refused.file == file);
        Err(match refused {
            Some(refused) => RegistryError::Refused {
                name,
                file,
                reason: refused.reason.clone(),
            },
            None => RegistryError::Unknown {
                name,
                known: self.known_names().join(", "),
            },
        })
    }

    /// Whether there is a processor of that name.
    ///
    /// # Errors
    /// When there is none, or the one that is known by it is not installed.
    pub fn check(&self, name: &str) -> Result<(), RegistryError> {
        self.source(name).map(|_| ())
    }

    /// As [`Registry::check`], for those who have not looked into the folder yet: what may lie there
    /// is no error.
    ///
    /// # Errors
    /// When the folder has no files, and there is no other processor of that name.
    pub fn check_unseen(&self, name: &str, config: &Config) -> Result<(), RegistryError> {
        match self.check(name) {
            Err(RegistryError::Unknown { .. }) if folder::has_files(&config.processors_dir()) => {
                Ok(())
            }
            checked => checked,
        }
    }

    /// The digest of the component behind a name; `None` where there is none of that name.
    pub fn digest(&self, name: &str) -> Option<String> {
        self.source(name).ok().map(|(_, digest)| digest)
    }

    /// Where the component behind a name comes from; what there is none of would be dropped.
    pub fn origin(&self, name: &str) -> Origin {
        match self.is_taken(name) {
            true => Origin::Shipped,
            false => Origin::Dropped,
        }
    }

    /// The file in the folder of processors behind a name, fit for a terminal.
    pub fn file(&self, name: &str) -> Option<String> {
        let plan = self.plan();
        Some(printable(&plan.running.get(name)?.file))
    }

    /// The component behind a name.
    ///
    /// # Errors
    /// When there is none of that name, or it can't be read any more.
    pub fn component(
        &self,
        name: &str,
        config: &Config,
    ) -> Result<Cow<'static, [u8]>, RegistryError> {
        let (source, digest) = self.source(name)?;
        let component = source.component(config, &digest);
        component.map_err(|fault| unavailable(name, fault))
    }

    /// Makes a processor ready to run.
    ///
    /// # Errors
    /// When the name is unknown, the component can't be used, or the database refuses.
    pub fn load(
        &self,
        name: &str,
        config: &Config,
        engines: &Engines,
        store: &Store,
        now: UtcMicros,
    ) -> Result<Processor, RegistryError> {
        let workshop = Workshop {
            config,
            engines,
            compiling: Compiling::Beside,
        };
        let made = self.make(name, &workshop, Some(store))?;
        let kept = made.keep(config);
        kept.map_err(|fault| unavailable(name, fault))?;
        record(&made, store, now)?;
        store.register_tables(made.processor.manifest())?;
        if name == "usage" {
            // A price file that can't be used stops reports, which say so, and no run.
            let prices = report::Prices::of(config)
                .unwrap_or_else(|_| report::Prices::shipped(config.data_dir.join("prices.toml")));
            report::register(store, &prices)?;
        }
        Ok(made.processor)
    }

    /// Makes a processor only to look at it: nothing is written, in the data dir or the database.
    /// Where it must be compiled, that is done in `scratch`.
    ///
    /// # Errors
    /// As [`Registry::load`].
    pub fn look_at(
        &self,
        name: &str,
        config: &Config,
        engines: &Engines,
        store: Option<&Store>,
        scratch: &Path,
    ) -> Result<Processor, RegistryError> {
        let workshop = Workshop {
            config,
            engines,
            compiling: Compiling::In(scratch),
        };
        self.make(name, &workshop, store).map(|made| made.processor)
    }

    /// As [`Registry::look_at`], for those who must not wait: `None` also where it would have to be
    /// compiled first, or can't be used.
    pub fn glance_at(
        &self,
        name: &str,
        config: &Config,
        engines: &Engines,
        store: &Store,
    ) -> Option<Processor> {
        let workshop = Workshop {
            config,
            engines,
            compiling: Compiling::Never,
        };
        let made = self.make(name, &workshop, Some(store)).ok()?;
        Some(made.processor)
    }

    /// Makes a processor, and holds its manifest against its name and what ran before.
    fn make(
        &self,
        name: &str,
        workshop: &Workshop<'_>,
        store: Option<&Store>,
    ) -> Result<Made, RegistryError> {
        let config = workshop.config;
        let (source, digest) = self.source(name)?;
        let known = match store {
            Some(store) => store.component(&digest)?,
            None => None,
        };
        let made = workshop.make(name, &digest, known.as_ref(), || {
            source.component(config, &digest)
        });
        self.remember_cadence(&digest, &made);
        let made = made.map_err(|fault| unavailable(name, fault))?;
        let manifest = made.processor.manifest();
        let refused = |detail| unavailable(name, Fault::new(FaultKind::Component, detail));
        if manifest.name != name {
            let detail = format!("the component calls itself `{}`", manifest.name);
            return Err(refused(detail));
        }
        let is_shipped = matches!(source, Source::Shipped(_));
        if let Some(detail) = ungranted(&made.processor, config, is_shipped) {
            return Err(refused(detail));
        }
        // Of a file it was asked when it took over; what runs since then goes on.
        if is_shipped && !config.may_go_back(name) {
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
        Ok(made)
    }

    /// How often processors want to run, by name, as far as their components were asked.
    pub fn cadences(&self) -> HashMap<String, Duration> {
        let names = self.names().into_iter();
        let known = names.filter_map(|name| Some((self.cadence(&name)??, name)));
        known.map(|(cadence, name)| (name, cadence)).collect()
    }

    /// How often a processor wants to run: `None` where its component was not asked yet, and
    /// `Some(None)` where it could not answer.
    pub fn cadence(&self, name: &str) -> Option<Option<Duration>> {
        let digest = self.digest(name)?;
        self.known_cadences().get(&digest).copied()
    }

    fn remember_cadence(&self, digest: &str, made: &Result<Made, Fault>) {
        let cadence = match made {
            Ok(made) => Some(Duration::from_secs(
                made.processor.manifest().cadence_seconds.into(),
            )),
            Err(fault) if fault.kind == FaultKind::Component => None,
            // Our own affair, which may go better the next time.
            Err(_) => return,
        };
        self.known_cadences().insert(digest.to_owned(), cadence);
    }

    fn known_cadences(&self) -> MutexGuard<'_, HashMap<String, Option<Duration>>> {
        self.cadences.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// The component, which for a file is what it was when it was looked at, or nothing.
    fn component(&self, config: &Config, digest: &str) -> Result<Cow<'static, [u8]>, Fault> {
        let running = match self {
            Self::Shipped(component) => return Ok(Cow::Borrowed(component)),
            Self::Dropped(running) => running,
        };
        if let Some(component) = kept::component(config, digest) {
            return Ok(Cow::Owned(component));
        }
        let bytes_max = config
            .limits_of(&running.component.name)
            .component_bytes_max;
        match folder::read(&config.processors_dir(), &running.file, bytes_max) {
            folder::Reading::Read(_, component) if sha256_hex(&component) == digest => {
                Ok(Cow::Owned(component))
            }
            _ => Err(Fault::new(
                FaultKind::Component,
                format!(
                    "its component is gone, from the folder of processors and from `state/components`; \
                     put `{}` there again",
                    running.file
                ),
            )),
        }
    }
}

/// Why a processor may not run that asks for more than the operator grants it.
fn ungranted(processor: &Processor, config: &Config, is_shipped: bool) -> Option<String> {
    let name = &processor.manifest().name;
    let wants = processor.asks_model() && !config.grants_llm(name, is_shipped);
    wants.then(|| {
        format!(
            "it asks for a language model, which it is not granted; set `llm = true` in `[processors.{name}]` to grant it"
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
    /// Removes what was kept of components that others took over from, and what an earlier process
    /// left half done: once in the life of a process that holds the data dir, before any run. What
    /// can't be removed costs room and nothing else.
    pub(crate) fn tidy(&self, config: &Config, store: &Store) -> Result<(), StoreError> {
        let mut superseded = store.superseded_components()?;
        // A name that ships may once have been that of a file.
        superseded.retain(|digest| self.shipped.iter().all(|(_, shipped)| shipped != digest));
        if let Err(error) = kept::discard(config, &superseded) {
            tracing::warn!(%error, "old components can't be removed from the data dir");
        }
        Ok(())
    }
}

/// Records a component that can be used, with its compiled form, where the database does not know
/// that yet.
fn record(made: &Made, store: &Store, now: UtcMicros) -> Result<(), StoreError> {
    let digest = made.processor.digest();
    let manifest = made.processor.manifest();
    let known = store.component(digest)?;
    let compiled_sha256 = known.and_then(|known| known.compiled_sha256);
    if compiled_sha256.as_deref() == Some(made.compiled.sha256.as_str()) {
        return Ok(());
    }
    let component = KnownComponent {
        processor_name: manifest.name.clone(),
        version: manifest.version,
        compiled_sha256: Some(made.compiled.sha256.clone()),
    };
    store.record_component(digest.to_owned(), component, now)
}
