//! Where things lie, and how cargo and other programs are called.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use cargo_metadata::{Metadata, MetadataCommand};

/// The clone we stand in.
pub struct Workspace {
    pub root: PathBuf,
    /// Follows `CARGO_TARGET_DIR` and cargo's configuration.
    pub target_dir: PathBuf,
    pub metadata: Metadata,
}

impl Workspace {
    pub fn find() -> Result<Self> {
        let xtask_dir = env::var_os("CARGO_MANIFEST_DIR").context("start it as `cargo xtask`")?;
        let root = Path::new(&xtask_dir)
            .parent()
            .context("the xtask crate has no folder above it")?
            .to_owned();
        let metadata = metadata(&root.join("Cargo.toml"))?;
        Ok(Self {
            target_dir: metadata.target_directory.clone().into(),
            root,
            metadata,
        })
    }

    /// A cargo command in the root of the workspace.
    pub fn cargo<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(cargo_path());
        command.args(args).current_dir(&self.root);
        forget_this_crate(&mut command);
        command
    }

    /// A cargo command for the guests, compiled for this machine so that their own tests can run.
    /// The target dir is their own: two workspaces in one would wait for each other's lock.
    pub fn guest_cargo(&self, subcommand: &str) -> Command {
        let mut command = self.cargo([subcommand, "--manifest-path"]);
        command.arg(self.guest_manifest()).env(
            "CARGO_TARGET_DIR",
            self.target_dir.join("processors-wasm-native"),
        );
        command
    }

    pub fn guest_manifest(&self) -> PathBuf {
        self.root.join("processors-wasm/Cargo.toml")
    }

    /// The program, as `cargo build --workspace` leaves it.
    pub fn program(&self) -> PathBuf {
        let file_name = format!("session-pipeline{}", env::consts::EXE_SUFFIX);
        self.target_dir.join("debug").join(file_name)
    }

    /// The program on that data dir, without what this person has set for a service of theirs.
    pub fn program_on(&self, data_dir: &Path) -> Command {
        let mut command = Command::new(self.program());
        for name in [
            "SESSION_DATA_DIR",
            "SESSION_PIPELINE_API",
            "SCHEDULER_API_TOKEN",
        ] {
            command.env_remove(name);
        }
        command.arg("--data-dir").arg(data_dir);
        command
    }

    /// Builds what both `run` and the tests use.
    /// Always the whole workspace: with fewer packages cargo would choose other features for shared
    /// dependencies, and compile DuckDB's or wasmtime's crates a second time.
    pub fn build(&self) -> Result<bool> {
        status(self.cargo(["build", "--workspace"])).map(|status| status.success())
    }
}

/// Describes the packages of a workspace, without their dependencies and without the network.
pub fn metadata(manifest: &Path) -> Result<Metadata> {
    ensure!(manifest.is_file(), "`{}` is missing", manifest.display());
    MetadataCommand::new()
        .cargo_path(cargo_path())
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .with_context(|| format!("cargo cannot describe `{}`", manifest.display()))
}

/// What `cargo run` says about this crate must not reach the next cargo, or build scripts that look
/// at it run again.
pub fn forget_this_crate(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || ["CARGO_BIN_NAME", "CARGO_CRATE_NAME"].contains(&&*text)
        {
            command.env_remove(&name);
        }
    }
}

/// Runs a command whose output streams through.
pub fn status(mut command: Command) -> Result<ExitStatus> {
    command
        .status()
        .with_context(|| format!("cannot start `{}`", command.get_program().display()))
}

/// Runs a command, and gives what it prints; what it says besides streams through.
pub fn output(mut command: Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "`{}` ended with {}: {text}",
        command.get_program().display(),
        output.status
    );
    Ok(text)
}

pub fn cargo_path() -> PathBuf {
    env::var_os("CARGO")
        .unwrap_or_else(|| "cargo".into())
        .into()
}
