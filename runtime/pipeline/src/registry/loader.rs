//! Turns a component into a processor: takes its compiled code from the store or compiles it, loads
//! it and describes it.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::processor::Processor;
use session_pipeline_host::sandbox::{Compiled, Engine, Engines};
use session_pipeline_store::{ComponentRecord, Store};

use crate::config::Config;
use crate::registry::component_store;

/// How processors are loaded.
#[derive(Clone, Copy)]
pub struct Loader<'a> {
    /// The engines that run them.
    pub engines: &'a Engines,
    /// What can be compiled and written.
    pub access: Access<'a>,
}

/// What the registry can compile and write.
#[derive(Clone, Copy)]
pub enum Access<'a> {
    /// Compiles in the data directory. Stores and records components at this time, and creates
    /// their tables.
    Full(&'a Store, UtcMicros),
    /// Compiles in this folder. Writes nothing to the data directory or the database.
    ReadOnly(Option<&'a Store>, &'a Path),
    /// Compiles and writes nothing, so the caller never waits for the compiler.
    Compiled(&'a Store),
}

impl<'a> Access<'a> {
    pub(super) fn store(self) -> Option<&'a Store> {
        match self {
            Self::Full(store, _) | Self::Compiled(store) => Some(store),
            Self::ReadOnly(store, _) => store,
        }
    }
}

/// A processor and its compiled code.
pub(super) struct LoadedProcessor {
    pub(super) processor: Processor,
    pub(super) compiled: Compiled,
    engine: Arc<Engine>,
    /// The component, if it was compiled just now.
    component: Option<Vec<u8>>,
}

impl Loader<'_> {
    /// Loads a processor with the limits and settings of `name`. `component` is called only if
    /// there is no compiled code.
    pub(super) fn load<'c>(
        &self,
        name: &str,
        config: &Config,
        digest: &str,
        known: Option<&ComponentRecord>,
        component: impl FnOnce() -> Result<Cow<'c, [u8]>, Fault>,
    ) -> Result<LoadedProcessor, Fault> {
        let limits = Arc::new(config.limits_of(name).clone());
        let engine = self.engines.for_limits(&limits)?;
        let compile = |scratch: &Path| {
            let component = component()?;
            let compiled = session_pipeline_host::sandbox::compile(
                &config.compiler,
                &limits,
                &component,
                scratch,
            )?;
            Ok::<_, Fault>((compiled, Some(component.into_owned())))
        };
        let (compiled, component) = match component_store::code(config, &engine, digest, known) {
            Some(compiled) => (compiled, None),
            None => match self.access {
                Access::Full(..) => compile(&component_store::scratch(config)?)?,
                Access::ReadOnly(_, scratch) => compile(scratch)?,
                // Not the component's fault. A caller that can wait will compile it.
                Access::Compiled(_) => {
                    return Err(Fault::new(
                        FaultKind::Host,
                        "it is not compiled yet; run it once",
                    ));
                }
            },
        };
        let settings = config.settings_of(name);
        let digest = digest.to_owned();
        let processor = Processor::load(&engine, &limits, &compiled, digest, settings)?;
        Ok(LoadedProcessor {
            processor,
            compiled,
            engine,
            component,
        })
    }
}

impl LoadedProcessor {
    /// Stores a newly compiled component. Does nothing if it was already stored.
    pub(super) fn keep(&self, config: &Config) -> Result<(), Fault> {
        let Some(component) = &self.component else {
            return Ok(());
        };
        let digest = self.processor.digest();
        component_store::keep(config, &self.engine, digest, component, &self.compiled)
    }
}
