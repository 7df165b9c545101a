//! The paths of the workspace, and calls of cargo and other programs.

use std::cell::OnceCell;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::duckdb::{DuckDb, DuckDbFlags};

/// The clone that contains this crate.
pub struct Workspace {
    pub root: PathBuf,
    /// Follows `CARGO_TARGET_DIR` and cargo's configuration.
    pub target_dir: PathBuf,
    pub metadata: Metadata,
    duckdb_flags: DuckDbFlags,
    duckdb: OnceCell<DuckDb>,
}

impl Workspace {
    pub fn find(duckdb_flags: DuckDbFlags) -> Result<Self> {
        let xtask_dir = env::var_os("CARGO_MANIFEST_DIR")
            .context("CARGO_MANIFEST_DIR is not set; run `cargo xtask`")?;
        let root = Path::new(&xtask_dir)
            .parent()
            .context("the folder of the xtask crate has no parent")?
            .to_owned();
        let metadata = metadata(&root.join("Cargo.toml"))?;
        Ok(Self {
            target_dir: metadata.target_directory.clone().into(),
            root,
            metadata,
            duckdb_flags,
            duckdb: OnceCell::new(),
        })
    }

    /// The DuckDB that this command links. The first call chooses it, prints the choice and puts a
    /// library into the target directory.
    pub fn duckdb(&self) -> Result<&DuckDb> {
        if let Some(duckdb) = self.duckdb.get() {
            return Ok(duckdb);
        }
        let duckdb = DuckDb::choose(self, self.duckdb_flags)?;
        eprintln!("{duckdb}");
        duckdb.install(&self.target_dir)?;
        Ok(self.duckdb.get_or_init(|| duckdb))
    }

    /// Returns a cargo command that runs in the root of the workspace.
    pub fn cargo<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(cargo_path());
        command.args(args).current_dir(&self.root);
        remove_crate_variables(&mut command);
        command
    }

    /// Returns a cargo command that compiles all crates of the workspace, with the DuckDB that this
    /// command links.
    ///
    /// # Errors
    /// The chosen DuckDB cannot be used.
    pub fn workspace_cargo<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Command> {
        let mut command = self.cargo(args);
        command.arg("--workspace");
        self.duckdb()?.prepare(&mut command);
        Ok(command)
    }

    /// Returns a cargo command for the guests, compiled for this machine so that their tests can
    /// run. It has a separate target directory, because two workspaces in one would wait for its
    /// lock.
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

    /// The program that `cargo build --workspace` builds.
    pub fn program(&self) -> PathBuf {
        let file_name = format!("session-pipeline{}", env::consts::EXE_SUFFIX);
        self.target_dir.join("debug").join(file_name)
    }

    /// Returns a command for the program with this data directory, without the environment
    /// variables of a service of the developer.
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

    /// Builds all programs and libraries of the workspace. Returns whether the build succeeded.
    ///
    /// It always selects the whole workspace. For fewer packages, cargo selects other features of
    /// shared dependencies, and compiles the crates of DuckDB or wasmtime again.
    pub fn build(&self) -> Result<bool> {
        self.build_targets(self.duckdb()?, &[])
    }

    /// Builds only the program, with the same features as [`Self::build`].
    pub fn build_program(&self) -> Result<bool> {
        self.build_program_with(self.duckdb()?)
    }

    /// Like [`Self::build_program`], with another DuckDB than the one that this command chose.
    pub fn build_program_with(&self, duckdb: &DuckDb) -> Result<bool> {
        self.build_targets(duckdb, &["--bin", "session-pipeline"])
    }

    fn build_targets(&self, duckdb: &DuckDb, targets: &[&str]) -> Result<bool> {
        let mut command = self.cargo(["build", "--workspace"]);
        duckdb.prepare(&mut command);
        command.args(targets);
        let is_ok = status(command)?.success();
        if is_ok {
            duckdb.record(self)?;
            self.compile_shipped()?;
        }
        Ok(is_ok)
    }

    /// The folder next to the program in which it finds the compiled code of the shipped processors.
    pub fn compiled_folder(&self) -> PathBuf {
        self.program().with_file_name("compiled")
    }

    /// Lets the program compile the shipped processors, so that its first run does not. A build
    /// script could do that only with a second build of wasmtime. The program does nothing if the
    /// code is there.
    fn compile_shipped(&self) -> Result<()> {
        let mut command = Command::new(self.program());
        command.arg("compile-shipped").arg(self.compiled_folder());
        ensure!(
            status(command)?.success(),
            "the program cannot compile the shipped processors"
        );
        Ok(())
    }
}

/// Reads the metadata of the packages of a workspace, without their dependencies and without
/// network access.
pub fn metadata(manifest: &Path) -> Result<Metadata> {
    ensure!(manifest.is_file(), "`{}` is missing", manifest.display());
    MetadataCommand::new()
        .cargo_path(cargo_path())
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .with_context(|| format!("cargo cannot describe `{}`", manifest.display()))
}

/// Removes the variables that `cargo run` sets for this crate. A nested cargo would inherit them,
/// and build scripts that depend on them would run again.
pub fn remove_crate_variables(command: &mut Command) {
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

/// Runs a command. Its output goes to the terminal.
pub fn status(mut command: Command) -> Result<ExitStatus> {
    command
        .status()
        .with_context(|| format!("cannot start `{}`", command.get_program().display()))
}

/// Runs a command and returns its standard output. Its standard error goes to the terminal.
pub fn output(mut command: Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "`{}` exited with {}: {text}",
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
