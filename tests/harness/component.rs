//! Builds the component of a processor for a test in the processor's own crate.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Builds the crate in `manifest_dir` for `wasm32-wasip2` and returns its component.
///
/// Cargo rebuilds the crate if its source changed, so the component is never outdated.
///
/// ```no_run
/// use session_pipeline_harness::{Guest, component};
///
/// let guest = Guest::load(&component::build(env!("CARGO_MANIFEST_DIR")));
/// ```
///
/// # Panics
/// The build fails, or the crate has no `cdylib`.
pub fn build(manifest_dir: impl AsRef<Path>) -> Vec<u8> {
    let output = Command::new("cargo")
        .args(["build", "--release", "--lib", "--target", "wasm32-wasip2"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(&manifest_dir)
        // Cargo set these variables for the crate under test. If they reached the inner cargo,
        // build scripts that read them would run again.
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("CARGO_MANIFEST_PATH")
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "cargo failed to build the component"
    );
    let manifest = manifest_dir.as_ref().join("Cargo.toml");
    let messages = String::from_utf8_lossy(&output.stdout);
    let path = messages.lines().find_map(|line| component(line, &manifest));
    let path = path.unwrap_or_else(|| panic!("`{}` has no cdylib", manifest.display()));
    std::fs::read(&path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
}

/// Returns the path of the component in a cargo message, if the message is about this manifest.
fn component(message: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_ours = Path::new(message["manifest_path"].as_str()?) == manifest;
    let mut files = message["filenames"].as_array()?.iter();
    let file = files.find_map(|file| file.as_str().filter(|file| file.ends_with(".wasm")))?;
    is_ours.then(|| PathBuf::from(file))
}
