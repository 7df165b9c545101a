//! Loads the component in a command-line argument: a processor name or a component file.

use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use session_pipeline_host::limits::Limits;
use session_pipeline_host::sandbox::Engines;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::registry::{Access, Loader, Refresh};

use super::{CommandFailure, GlobalArgs};

/// A component with its limits and settings.
pub(super) struct LoadedComponent {
    pub(super) bytes: Cow<'static, [u8]>,
    pub(super) limits: Limits,
    pub(super) settings: Vec<(String, String)>,
    /// `None` if the component was given by name.
    pub(super) path: Option<PathBuf>,
}

/// Loads a component by name or path. A name takes precedence. To load a file whose name is also a
/// processor name, use a path such as `./usage`.
pub(super) fn find(global: &GlobalArgs, argument: &str) -> Result<LoadedComponent, CommandFailure> {
    let config = &global.config()?;
    let registry = super::registry();
    if registry.check(argument).is_err() && !Path::new(argument).exists() {
        // The argument can be the name of a component in the folder of processors.
        let (engines, scratch) = (Engines::new(config.pool_limits(), 0), std::env::temp_dir());
        let loader = Loader {
            engines: &engines,
            access: Access::ReadOnly(None, &scratch),
        };
        let waits = false;
        registry.refresh(config, super::now(), Refresh::All { loader, waits })?;
    }
    Ok(match registry.component(argument, config) {
        Ok(bytes) => LoadedComponent {
            bytes,
            limits: config.limits_of(argument).clone(),
            settings: config.settings_of(argument),
            path: None,
        },
        Err(_) => LoadedComponent {
            bytes: read(config, argument, &registry.names())?.into(),
            limits: config.limits.clone(),
            settings: Vec::new(),
            path: Some(argument.into()),
        },
    })
}

/// Reads a component file, up to one byte more than the size limit, so that the loader can detect files
/// that are too large.
fn read(config: &Config, path: &str, known: &[String]) -> Result<Vec<u8>, CommandFailure> {
    let display_path = session_pipeline_host::fault::printable(path);
    let invalid = |reason: String| {
        CommandFailure::usage_error(format!(
            "`{display_path}` is neither a processor nor a readable component file: {reason}; known processors: {}",
            known.join(", ")
        ))
    };
    // Check the type before opening the file, because opening a FIFO waits for a writer.
    let metadata = fs::metadata(Path::new(path)).map_err(|error| invalid(error.to_string()))?;
    if !metadata.is_file() {
        return Err(invalid("not a regular file".to_owned()));
    }
    let mut component = Vec::new();
    fs::File::open(path)
        .and_then(|file| {
            let most = config.limits.component_bytes_max.saturating_add(1);
            file.take(most).read_to_end(&mut component)
        })
        .map_err(|error| invalid(error.to_string()))?;
    Ok(component)
}
