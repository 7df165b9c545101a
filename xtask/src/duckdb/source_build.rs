//! Whether the target directory has a DuckDB that was built from source, so that a developer who
//! waited for it once does not pay for another kind of build.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SourceBuild {
    /// There is none, or cargo would build it again.
    None,
    /// As far as xtask knows, cargo uses it without compiling it again.
    Usable,
}

impl SourceBuild {
    pub fn find(workspace: &Workspace) -> Self {
        let is_recorded_for_other_inputs = fs::read_to_string(record_path(workspace))
            .is_ok_and(|recorded| inputs(workspace).is_some_and(|now| now != recorded));
        // Without a record, plain cargo made the build.
        if is_built(workspace) && !is_recorded_for_other_inputs {
            Self::Usable
        } else {
            Self::None
        }
    }
}

/// Records the inputs of a build that succeeded.
pub fn record(workspace: &Workspace) -> Result<()> {
    let path = record_path(workspace);
    let Some(inputs) = inputs(workspace) else {
        return Ok(());
    };
    let folder = workspace.target_dir.join("xtask");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&path, inputs))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

fn record_path(workspace: &Workspace) -> PathBuf {
    workspace.target_dir.join("xtask/duckdb-source-build")
}

/// The build script of libduckdb-sys writes this archive at its end.
fn is_built(workspace: &Workspace) -> bool {
    let Ok(entries) = workspace.target_dir.join("debug/build").read_dir() else {
        return false;
    };
    entries.flatten().any(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .starts_with("libduckdb-sys-")
            && entry.path().join("out/libduckdb.a").is_file()
    })
}

/// Everything that makes cargo compile DuckDB again: the compiler, the crates of its build script,
/// and the profiles. `None` if a tool does not answer, which is no reason to discard a build.
fn inputs(workspace: &Workspace) -> Option<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compiler = Command::new(rustc);
    compiler.arg("-vV");
    let mut crates = workspace.cargo(["tree", "--workspace", "--offline", "--prefix", "none"]);
    crates.args(["--edges", "normal,build", "--package", "libduckdb-sys"]);
    let manifest = fs::read_to_string(workspace.root.join("Cargo.toml")).ok()?;
    Some(format!(
        "{}\n{}\n{}",
        text(compiler)?,
        text(crates)?,
        profiles(&manifest)
    ))
}

fn text(mut command: Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// The lines of the profiles that apply to every crate or to DuckDB, without comments.
fn profiles(manifest: &str) -> String {
    let mut is_relevant = false;
    let mut text = String::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            is_relevant = line.starts_with("[profile.dev")
                && !line.starts_with("[profile.dev.package.session-pipeline");
        }
        if is_relevant && !line.is_empty() && !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_profiles_of_dependencies_make_a_build_outdated() {
        let manifest = "[package]\nname = \"x\"\n\n# Fast.\n[profile.dev]\ndebug = 1\n\n\
             [profile.dev.package.\"*\"]\nopt-level = 2\n\n\
             [profile.dev.package.session-pipeline-host]\nopt-level = 3\n\n[profile.release]\nlto = true\n";
        assert_eq!(
            profiles(manifest),
            "[profile.dev]\ndebug = 1\n[profile.dev.package.\"*\"]\nopt-level = 2\n"
        );
    }
}
