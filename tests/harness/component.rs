//! The component of a processor's own crate, built for a test of that crate.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Builds the crate in this folder for `wasm32-wasip2` and returns its component.
///
/// Cargo rebuilds only what changed, so a test never sees a component that is older than its source.
///
/// ```no_run
/// use session_pipeline_harness::{Guest, component};
///
/// let guest = Guest::load(&component::build(env!("CARGO_MANIFEST_DIR")));
/// ```
///
/// # Panics
/// If the build fails, or if the crate has no `cdylib`.
pub fn build(manifest_dir: impl AsRef<Path>) -> Vec<u8> {
    let output = Command::new("cargo")
        .args(["build", "--release", "--lib", "--target", "wasm32-wasip2"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(&manifest_dir)
        // What cargo says about the crate under test must not reach another cargo: build scripts that read it
        // would run again.
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("CARGO_MANIFEST_PATH")
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "the component was not built");
    let manifest = manifest_dir.as_ref().join("Cargo.toml");
    let messages = String::from_utf8_lossy(&output.stdout);
    let path = messages.lines().find_map(|line| component(line, &manifest));
    let path = path.unwrap_or_else(|| panic!("`{}` has no cdylib", manifest.display()));
    std::fs::read(&path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
}

/// The component that a message of cargo names, if it is the one of this manifest.
fn component(message: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_ours = Path::new(message["manifest_path"].as_str()?) == manifest;
    let mut files = message["filenames"].as_array()?.iter();
    let file = files.find_map(|file| file.as_str().filter(|file| file.ends_with(".wasm")))?;
    is_ours.then(|| PathBuf::from(file))
}
