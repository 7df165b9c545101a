//! A component that a command is given: a file, or one that is known by its name.

use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use session_pipeline_host::limits::Limits;
use session_pipeline_host::sandbox::Engines;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::registry::{Access, Loader, Refresh};

use super::{CommandFailure, GlobalArgs};

/// A component with what holds for it.
pub(super) struct LoadedArgument {
    pub(super) bytes: Cow<'static, [u8]>,
    pub(super) limits: Limits,
    pub(super) settings: Vec<(String, String)>,
    /// Where it lies, unless it was given by its name.
    pub(super) path: Option<PathBuf>,
}

/// Finds the component that is meant. A name before a file; whoever means a file of that name
/// writes `./usage`.
pub(super) fn find(global: &GlobalArgs, given: &str) -> Result<LoadedArgument, CommandFailure> {
    let config = &global.config()?;
    let registry = super::registry();
    if registry.check(given).is_err() && !Path::new(given).exists() {
        // Perhaps the name of one that lies in the folder of processors.
        let (engines, scratch) = (Engines::new(config.pool_limits(), 0), std::env::temp_dir());
        let loader = Loader {
            engines: &engines,
            access: Access::ReadOnly(None, &scratch),
        };
        let waits = false;
        registry.refresh(config, super::now(), Refresh::All { loader, waits })?;
    }
    Ok(match registry.component(given, config) {
        Ok(bytes) => LoadedArgument {
            bytes,
            limits: config.limits_of(given).clone(),
            settings: config.settings_of(given),
            path: None,
        },
        Err(_) => LoadedArgument {
            bytes: read(config, given, &registry.names())?.into(),
            limits: config.limits.clone(),
            settings: Vec::new(),
            path: Some(given.into()),
        },
    })
}

/// Reads a component file, and no more of it than one byte above what is allowed.
fn read(config: &Config, path: &str, known: &[String]) -> Result<Vec<u8>, CommandFailure> {
    let shown = session_pipeline_host::fault::printable(path);
    let refused = |reason: String| {
        CommandFailure::wrong_use(format!(
            "`{shown}` is no component file ({reason}) and no processor; known are: {}",
            known.join(", ")
        ))
    };
    // Asked before it is opened: opening a FIFO would wait for whoever writes to it.
    let metadata = fs::metadata(Path::new(path)).map_err(|error| refused(error.to_string()))?;
    if !metadata.is_file() {
        return Err(refused("it is no regular file".to_owned()));
    }
    let mut component = Vec::new();
    fs::File::open(path)
        .and_then(|file| {
            let most = config.limits.component_bytes_max.saturating_add(1);
            file.take(most).read_to_end(&mut component)
        })
        .map_err(|error| refused(error.to_string()))?;
    Ok(component)
}
