//! Turns a component into a processor: takes its compiled code from the store or compiles it, loads
//! it and describes it.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::processor::Processor;
use session_pipeline_host::sandbox::{Compiled, Engine, Engines};
use session_pipeline_store::ComponentRecord;

use crate::config::Config;
use crate::registry::component_store;

/// The environment for loading processors.
#[derive(Clone, Copy)]
pub(super) struct Loader<'a> {
    pub(super) config: &'a Config,
    pub(super) engines: &'a Engines,
    pub(super) compiling: Compiling<'a>,
}

/// Where a component without compiled code is compiled.
#[derive(Clone, Copy)]
pub(super) enum Compiling<'a> {
    /// In the folder of stored components.
    InStore,
    /// In this folder, because nothing can be written to the data directory.
    In(&'a Path),
    /// Nowhere, because the caller must not wait.
    Never,
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
        digest: &str,
        known: Option<&ComponentRecord>,
        component: impl FnOnce() -> Result<Cow<'c, [u8]>, Fault>,
    ) -> Result<LoadedProcessor, Fault> {
        let limits = Arc::new(self.config.limits_of(name).clone());
        let engine = self.engines.for_limits(&limits)?;
        let compile = |scratch: &Path| {
            let component = component()?;
            let compiled = session_pipeline_host::sandbox::compile(
                &self.config.compiler,
                &limits,
                &component,
                scratch,
            )?;
            Ok::<_, Fault>((compiled, Some(component.into_owned())))
        };
        let (compiled, component) = match component_store::code(self.config, &engine, digest, known)
        {
            Some(compiled) => (compiled, None),
            None => match self.compiling {
                Compiling::InStore => compile(&component_store::scratch(self.config)?)?,
                Compiling::In(scratch) => compile(scratch)?,
                // Not the component's fault. A caller that can wait will compile it.
                Compiling::Never => {
                    return Err(Fault::new(
                        FaultKind::Host,
                        "it is not compiled yet; run it once",
                    ));
                }
            },
        };
        let settings = self.config.settings_of(name);
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
