//! From a component to a processor: its compiled form taken from what is kept or made anew, loaded,
//! and asked what it is.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::processor::Processor;
use session_pipeline_host::sandbox::{Compiled, Engine, Engines};
use session_pipeline_store::KnownComponent;

use crate::config::Config;
use crate::registry::kept;

/// What processors are made with.
#[derive(Clone, Copy)]
pub(super) struct Workshop<'a> {
    pub(super) config: &'a Config,
    pub(super) engines: &'a Engines,
    pub(super) compiling: Compiling<'a>,
}

/// Where a component is compiled that has no compiled form yet.
#[derive(Clone, Copy)]
pub(super) enum Compiling<'a> {
    /// Where the compiled forms are kept.
    Beside,
    /// In this folder, since nothing may be written in the data dir.
    In(&'a Path),
    /// Nowhere: whoever asks must not wait.
    Never,
}

/// A processor, and the code that it was made of.
pub(super) struct Made {
    pub(super) processor: Processor,
    pub(super) compiled: Compiled,
    engine: Arc<Engine>,
    /// The component, where it was compiled now.
    component: Option<Vec<u8>>,
}

impl Workshop<'_> {
    /// Makes a processor under the limits and settings of `name`. `component` is asked only where
    /// there is no compiled form.
    pub(super) fn make<'c>(
        &self,
        name: &str,
        digest: &str,
        known: Option<&KnownComponent>,
        component: impl FnOnce() -> Result<Cow<'c, [u8]>, Fault>,
    ) -> Result<Made, Fault> {
        let limits = Arc::new(self.config.limits_of(name).clone());
        let engine = self.engines.under(&limits)?;
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
        let (compiled, component) = match kept::code(self.config, &engine, digest, known) {
            Some(compiled) => (compiled, None),
            None => match self.compiling {
                Compiling::Beside => compile(&kept::scratch(self.config)?)?,
                Compiling::In(scratch) => compile(scratch)?,
                // No fault of the component's: whoever may wait makes it.
                Compiling::Never => {
                    return Err(Fault::new(
                        FaultKind::Host,
                        "its compiled form is not kept; run it once",
                    ));
                }
            },
        };
        let settings = self.config.settings_of(name);
        let digest = digest.to_owned();
        let processor = Processor::load(&engine, &limits, &compiled, digest, settings)?;
        Ok(Made {
            processor,
            compiled,
            engine,
            component,
        })
    }
}

impl Made {
    /// Keeps what was compiled now; what was kept already stays as it is.
    pub(super) fn keep(&self, config: &Config) -> Result<(), Fault> {
        let Some(component) = &self.component else {
            return Ok(());
        };
        let digest = self.processor.digest();
        kept::keep(config, &self.engine, digest, component, &self.compiled)
    }
}
