//! Which processors there are, and how one is made ready: compiled once, kept, checked, described,
//! its tables made.

pub mod listing;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::UtcMicros;
use crate::config::{Config, Limits};
use crate::fault::{Fault, FaultKind};
use crate::processor::Processor;
use crate::report;
use crate::sandbox::{self, Compiled, Engine, Engines, sha256_hex};
use crate::store::{KnownComponent, Store, StoreError};

/// The processor that is known by name whether or not its component is there: health has its entry,
/// and the scheduler its job (BEHAVIOUR.md A13).
pub const VERIFICATION: &str = "verification";

/// A component and the name it goes by.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// The processor's name.
    pub name: &'static str,
    /// The component.
    pub component: &'static [u8],
}

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
    /// Its component can't be used.
    #[error("the processor `{name}` is unavailable: {fault}")]
    Unavailable {
        /// The name.
        name: String,
        /// Why.
        fault: Fault,
    },
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The processors of this process.
#[derive(Debug)]
pub struct Registry {
    shipped: Vec<Shipped>,
}

impl Registry {
    /// A registry of these components.
    pub fn new(shipped: impl IntoIterator<Item = Shipped>) -> Self {
        let mut shipped: Vec<Shipped> = shipped.into_iter().collect();
        shipped.sort_by_key(|shipped| shipped.name);
        Self { shipped }
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.shipped.iter().map(|shipped| shipped.name)
    }

    /// The names that have an entry in health and a job, sorted: those of the components, and those
    /// that are known without one.
    pub fn known_names(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.names().chain([VERIFICATION]).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The digest of the component behind a name; `None` where there is none of that name.
    pub fn digest(&self, name: &str) -> Option<String> {
        self.component(name).ok().map(sha256_hex)
    }

    /// The component behind a name.
    ///
    /// # Errors
    /// When there is none of that name, or the one that is known by it is not installed.
    pub fn component(&self, name: &str) -> Result<&'static [u8], RegistryError> {
        let shipped = self.shipped.iter().find(|shipped| shipped.name == name);
        shipped.map(|shipped| shipped.component).ok_or_else(|| {
            let joined = |names: Vec<&str>| names.join(", ");
            if name == VERIFICATION {
                RegistryError::NotInstalled {
                    name: name.to_owned(),
                    installed: joined(self.names().collect()),
                }
            } else {
                RegistryError::Unknown {
                    name: crate::fault::printable(name),
                    known: joined(self.known_names()),
                }
            }
        })
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
        let component = self.component(name)?;
        let digest = sha256_hex(component);
        let known = store.component(&digest)?;
        let (processor, compiled_sha256) = self.make(
            name,
            config,
            engines,
            Some(store),
            known.as_ref(),
            Keep::Kept,
        )?;
        let manifest = processor.manifest();
        if known
            .as_ref()
            .and_then(|known| known.compiled_sha256.as_deref())
            != Some(compiled_sha256.as_str())
        {
            let component = KnownComponent {
                processor_name: name.to_owned(),
                version: manifest.version,
                compiled_sha256: Some(compiled_sha256),
            };
            store.record_component(digest, component, now)?;
        }
        store.register_tables(manifest)?;
        if name == "usage" {
            // A price file that can't be used stops reports, which say so, and no run.
            let prices = report::Prices::of(config)
                .unwrap_or_else(|_| report::Prices::shipped(config.data_dir.join("prices.toml")));
            report::register(store, &prices)?;
        }
        Ok(processor)
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
        let digest = sha256_hex(self.component(name)?);
        let known = match store {
            Some(store) => store.component(&digest)?,
            None => None,
        };
        self.make(
            name,
            config,
            engines,
            store,
            known.as_ref(),
            Keep::Nothing { scratch },
        )
        .map(|(processor, _)| processor)
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
        let known = store.component(&self.digest(name)?).ok()??;
        self.make(
            name,
            config,
            engines,
            Some(store),
            Some(&known),
            Keep::OnlyKept,
        )
        .map(|(processor, _)| processor)
        .ok()
    }

    /// Compiles or takes what is kept, loads, and holds the manifest against what ran before.
    fn make(
        &self,
        name: &str,
        config: &Config,
        engines: &Engines,
        store: Option<&Store>,
        known: Option<&KnownComponent>,
        keep: Keep<'_>,
    ) -> Result<(Processor, String), RegistryError> {
        let component = self.component(name)?;
        let digest = sha256_hex(component);
        let unavailable = |fault| RegistryError::Unavailable {
            name: name.to_owned(),
            fault,
        };
        let limits = Arc::new(config.limits_of(name).clone());
        let engine = engines.under(&limits).map_err(unavailable)?;
        let compiled = match kept(config, &engine, &digest, known) {
            Some(compiled) => compiled,
            None => match keep {
                Keep::Kept => compile(config, &limits, &engine, &digest, component),
                Keep::Nothing { scratch } => compile_aside(config, &limits, component, scratch),
                Keep::OnlyKept => Err(Fault::new(
                    FaultKind::Component,
                    "its compiled form is not kept; run it once",
                )),
            }
            .map_err(unavailable)?,
        };
        let settings = config.settings_of(name);
        let processor =
            Processor::load(&engine, &limits, &compiled, digest, settings).map_err(unavailable)?;
        let manifest = processor.manifest();
        let refused = |detail: String| unavailable(Fault::new(FaultKind::Component, detail));
        if manifest.name != name {
            return Err(refused(format!(
                "the component calls itself `{}`",
                manifest.name
            )));
        }
        // All that is known by a name here ships with the program.
        if processor.asks_model() && !config.grants_llm(name, true) {
            return Err(refused(format!(
                "it asks for a language model, which it is not granted; set `llm = true` in `[processors.{name}]` to grant it"
            )));
        }
        let versions = match store {
            Some(store) => store.component_versions(name)?,
            None => Default::default(),
        };
        if let Some(highest) = versions
            .values()
            .max()
            .filter(|&&version| version > manifest.version)
        {
            return Err(refused(format!(
                "its version {} is lower than {highest}, which ran here before; use the newer component",
                manifest.version
            )));
        }
        Ok((processor, compiled.sha256))
    }
}

/// Whether a component and its compiled form are kept in the data dir.
#[derive(Clone, Copy, Debug)]
enum Keep<'a> {
    Kept,
    Nothing {
        scratch: &'a Path,
    },
    /// Nothing is compiled at all.
    OnlyKept,
}

fn code_path(config: &Config, engine: &Engine, digest: &str) -> PathBuf {
    config
        .state_dir()
        .join("components")
        .join(format!("{digest}-{}.code", engine.fingerprint()))
}

/// The compiled form that is kept, if it is the one that we wrote.
fn kept(
    config: &Config,
    engine: &Engine,
    digest: &str,
    known: Option<&KnownComponent>,
) -> Option<Compiled> {
    let sha256 = known?.compiled_sha256.as_deref()?;
    let code = fs::read(code_path(config, engine, digest)).ok()?;
    let compiled = Compiled::from_kept(code);
    (compiled.sha256 == sha256).then_some(compiled)
}

/// Compiles a component and keeps nothing; `scratch` is for what goes between us and the child.
pub(crate) fn compile_aside(
    config: &Config,
    limits: &Limits,
    component: &[u8],
    scratch: &Path,
) -> Result<Compiled, Fault> {
    sandbox::compile(&config.compiler, limits, component, scratch).map_err(|error| {
        use std::error::Error as _;
        let cause = error
            .source()
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        Fault::new(FaultKind::Component, format!("{error}{cause}"))
    })
}

fn compile(
    config: &Config,
    limits: &Limits,
    engine: &Engine,
    digest: &str,
    component: &[u8],
) -> Result<Compiled, Fault> {
    let folder = config.state_dir().join("components");
    make_private(&folder)?;
    let compiled = compile_aside(config, limits, component, &folder)?;
    keep(&folder, &format!("{digest}.wasm"), component)?;
    keep_at(&folder, &code_path(config, engine, digest), &compiled.code)?;
    Ok(compiled)
}

fn make_private(folder: &Path) -> Result<(), Fault> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| unwritable(folder, &error))
}

fn keep(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Fault> {
    keep_at(folder, &folder.join(name), bytes)
}

/// Writes a file that is complete or not there at all.
fn keep_at(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(
        FaultKind::Host,
        format!(
            "`{}` can't be written: {error}; check permissions and free space",
            path.display()
        ),
    )
}
