//! The DuckDB that the workspace links: a prebuilt library, or a build from the sources in the crate.
//!
//! A build from source compiles C++ for most of an hour on two cores. A prebuilt library is linked
//! in seconds. Both kinds can be in one target directory: their crates have different features, so
//! cargo gives them different file names, and neither replaces the other.
//!
//! The choice is made once per command, printed, and passed to each call of cargo that compiles the
//! workspace.

mod compare;
mod library;
mod npm;
mod source_build;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::stages::{StageResult, Stages};
use crate::workspace::Workspace;
pub use library::FILE_NAME;
use source_build::SourceBuild;

/// The version that this workspace needs. The crate `duckdb` has the same version as `1.10506.x`.
pub const VERSION: &str = "1.5.6";

/// Without its default features, no crate of the workspace compiles DuckDB. The suite and the
/// benchmarks need the other defaults.
const FEATURES: [&str; 3] = ["--no-default-features", "--features", "pipeline,under-test"];
const LIB_DIR: &str = "DUCKDB_LIB_DIR";

/// Flags of every command.
#[derive(clap::Args, Clone, Copy, Default)]
pub struct DuckDbFlags {
    /// Compile DuckDB from source, even if a prebuilt library is available
    #[arg(long, global = true, conflicts_with = "prebuilt")]
    from_source: bool,
    /// Use a prebuilt DuckDB, even if the target directory has one that was built from source
    #[arg(long, global = true)]
    prebuilt: bool,
}

/// The DuckDB that the crates of the workspace link.
#[derive(Debug, PartialEq)]
pub enum DuckDb {
    /// The sources in the crate, linked into the program.
    Source {
        /// Why no prebuilt library is used.
        reason: String,
        is_built: bool,
    },
    /// A shared library.
    Library { dir: PathBuf, origin: Origin },
}

/// Where a prebuilt library is from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Origin {
    Variable,
    System,
    Npm,
}

impl DuckDb {
    /// Chooses in this order: `DUCKDB_LIB_DIR`, a build from source that exists, a library of the
    /// system, the npm package, a build from source.
    ///
    /// # Errors
    /// `DUCKDB_LIB_DIR` or `--prebuilt` asks for a library that is missing or has another version.
    pub fn choose(workspace: &Workspace, flags: DuckDbFlags) -> Result<Self> {
        let source_build = SourceBuild::find(workspace);
        let source = |reason: String| Self::Source {
            reason,
            is_built: source_build == SourceBuild::Usable,
        };
        if flags.from_source {
            return Ok(source("`--from-source`".to_owned()));
        }
        if let Some(dir) = std::env::var_os(LIB_DIR).filter(|dir| !dir.is_empty()) {
            let dir = PathBuf::from(dir);
            let version = library::version(&dir.join(FILE_NAME)).with_context(|| {
                format!(
                    "`{LIB_DIR}` is `{}`; set it to the folder of `{FILE_NAME}`, or unset it",
                    dir.display()
                )
            })?;
            ensure!(
                version.as_deref() == Some(VERSION),
                "`{}` is DuckDB {}, and this workspace needs {VERSION}; unset {LIB_DIR}, or set it to the folder of that version",
                dir.join(FILE_NAME).display(),
                version.as_deref().unwrap_or("of an unknown version")
            );
            // Cargo runs in the root of the workspace, wherever xtask was started.
            let dir = std::path::absolute(dir).context("the current directory does not exist")?;
            return Ok(Self::Library {
                dir,
                origin: Origin::Variable,
            });
        }
        if source_build == SourceBuild::Usable && !flags.prebuilt {
            return Ok(source(
                "this target directory has it; `--prebuilt` uses a prebuilt library instead"
                    .to_owned(),
            ));
        }
        if let Some(dir) = library::in_system() {
            return Ok(Self::Library {
                dir,
                origin: Origin::System,
            });
        }
        match npm::library(&workspace.target_dir.join("duckdb")) {
            Ok(dir) => Ok(Self::Library {
                dir,
                origin: Origin::Npm,
            }),
            Err(error) if flags.prebuilt => {
                Err(error.context("there is no prebuilt DuckDB for `--prebuilt`"))
            }
            Err(error) => Ok(source(format!(
                "no prebuilt library is available: {error:#}"
            ))),
        }
    }

    /// Adds the features and the environment of this choice to a call of cargo.
    pub fn prepare(&self, command: &mut Command) {
        match self {
            // The variable has no effect on a build from source.
            Self::Source { .. } => {}
            Self::Library { dir, .. } => {
                command.args(FEATURES).env(LIB_DIR, dir);
            }
        }
    }

    /// Puts the library where the programs and tests of this workspace look for it: in the folder
    /// `deps`, next to the tests and below the programs. `api/build.rs` has the search path.
    pub fn install(&self, target_dir: &Path) -> Result<()> {
        match self {
            // The system's loader finds it.
            Self::Source { .. }
            | Self::Library {
                origin: Origin::System,
                ..
            } => Ok(()),
            Self::Library { dir, .. } => {
                library::copy(&dir.join(FILE_NAME), &target_dir.join("debug/deps"))
            }
        }
    }

    /// Remembers a build from source that succeeded, so that later commands keep it.
    pub fn record(&self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Source { .. } => source_build::record(workspace),
            Self::Library { .. } => Ok(()),
        }
    }

    /// The library to ship next to the program.
    pub fn library(&self) -> Option<PathBuf> {
        match self {
            Self::Source { .. } => None,
            Self::Library { dir, .. } => Some(dir.join(FILE_NAME)),
        }
    }

    /// Whether a build compiles DuckDB's C++ sources.
    pub fn compiles_cxx(&self) -> bool {
        matches!(
            self,
            Self::Source {
                is_built: false,
                ..
            }
        )
    }

    /// What plain cargo needs for the same build, as shell commands.
    fn shell(&self) -> String {
        match self {
            Self::Source { .. } => "cargo build --workspace\n".to_owned(),
            Self::Library { dir, .. } => format!(
                "export {LIB_DIR}='{}'\ncargo build --workspace {}\n",
                dir.display().to_string().replace('\'', r"'\''"),
                FEATURES.join(" ")
            ),
        }
    }
}

impl fmt::Display for DuckDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { reason, .. } => {
                write!(f, "DuckDB {VERSION}, built from source ({reason})")
            }
            Self::Library { dir, origin } => {
                let origin = match origin {
                    Origin::Variable => LIB_DIR,
                    Origin::System => "the system",
                    Origin::Npm => "the official build in its npm package",
                };
                write!(
                    f,
                    "DuckDB {VERSION}, prebuilt library in `{}` ({origin})",
                    dir.display()
                )
            }
        }
    }
}

/// Prepare DuckDB, and print the commands that build the workspace with it
///
/// Other commands prepare DuckDB themselves. This one is for cargo without xtask.
#[derive(clap::Args)]
pub struct Args {
    /// Build the program with both kinds of DuckDB, and compare their reports
    #[arg(long)]
    compare: bool,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<std::process::ExitCode> {
    if args.compare {
        let mut stages = Stages::default();
        stages.run("duckdb", || compare(workspace));
        print!("\n{}", stages.summary());
        return Ok(stages.exit_code());
    }
    print!("{}", workspace.duckdb()?.shell());
    Ok(std::process::ExitCode::SUCCESS)
}

/// Compares the two kinds of build, if the target directory has both. Other machines have no reason to
/// build the second one.
pub fn compare_if_both_exist(workspace: &Workspace) -> Result<StageResult> {
    let has_library = npm::installed(&workspace.target_dir.join("duckdb")).is_some();
    if SourceBuild::find(workspace) != SourceBuild::Usable || !has_library {
        eprintln!(
            "skipped: the target directory has one kind of DuckDB; `cargo xtask duckdb --compare` builds both"
        );
        return Ok(StageResult::skipped());
    }
    let result = compare(workspace);
    // The next stages use the program of the kind that this command chose.
    ensure!(workspace.build_program()?, "the build failed");
    result
}

fn compare(workspace: &Workspace) -> Result<StageResult> {
    let choose = |from_source: bool| {
        let prebuilt = !from_source;
        DuckDb::choose(
            workspace,
            DuckDbFlags {
                from_source,
                prebuilt,
            },
        )
    };
    compare::run(workspace, &choose(true)?, &choose(false)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_crate_in_the_lock_file() {
        let lock = include_str!("../../Cargo.lock");
        let (_, rest) = lock
            .split_once("name = \"libduckdb-sys\"\nversion = \"")
            .unwrap();
        let (version, _) = rest.split_once('"').unwrap();
        let mut parts = version.split('.').skip(1);
        // 10506 is 1.5.6: two digits for each part but the first.
        let number: u32 = parts.next().unwrap().parse().unwrap();
        let expected = format!(
            "{}.{}.{}",
            number / 10_000,
            number / 100 % 100,
            number % 100
        );
        assert_eq!(
            VERSION, expected,
            "update the version, and the packages and checksums in duckdb/npm.rs"
        );
    }

    #[test]
    fn cargo_gets_the_features_and_the_folder_of_a_library_and_nothing_for_a_build_from_source() {
        let mut command = Command::new("cargo");
        let library = DuckDb::Library {
            dir: "/opt/duck's".into(),
            origin: Origin::Variable,
        };
        library.prepare(&mut command);
        assert!(command.get_args().eq(FEATURES));
        assert!(
            command
                .get_envs()
                .eq([(LIB_DIR.as_ref(), Some("/opt/duck's".as_ref()))])
        );
        assert!(
            library
                .shell()
                .starts_with("export DUCKDB_LIB_DIR='/opt/duck'\\''s'\n")
        );

        let mut command = Command::new("cargo");
        let source = DuckDb::Source {
            reason: "x".to_owned(),
            is_built: false,
        };
        source.prepare(&mut command);
        assert_eq!(command.get_args().count() + command.get_envs().count(), 0);
        assert!(source.compiles_cxx());
    }
}
