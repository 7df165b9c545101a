//! Tests the project template of one language: creates, builds and tests a project, and runs its
//! processor.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{ProjectsFolder, registry_is_reachable};
use crate::prerequisites::can_start;
use crate::run;
use crate::stages::StageResult;
use crate::workspace::{Workspace, output, remove_crate_variables, status};

/// A language that has a project template.
#[derive(Clone, Copy, PartialEq, Debug, clap::ValueEnum)]
pub enum Language {
    Rust,
    Python,
    Js,
}

impl Language {
    /// The value of `new --lang`.
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Js => "js",
        }
    }

    pub fn stage(self) -> &'static str {
        match self {
            Self::Rust => "new rust",
            Self::Python => "new python",
            Self::Js => "new js",
        }
    }

    /// The programs that the commands of a project need.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &[],
            Self::Python => &["python3"],
            Self::Js => &["node", "npm"],
        }
    }

    /// Whether the toolchain imports WASI even if a processor does not use it.
    fn imports_wasi(self) -> bool {
        self == Self::Rust
    }
}

pub struct Project<'a> {
    workspace: &'a Workspace,
    folder: &'a ProjectsFolder,
    language: Language,
    pub name: String,
}

impl<'a> Project<'a> {
    pub fn new(workspace: &'a Workspace, folder: &'a ProjectsFolder, language: Language) -> Self {
        let name = format!("words-{}", language.name());
        Self {
            workspace,
            folder,
            language,
            name,
        }
    }

    pub fn check(&self) -> Result<StageResult> {
        for program in self.language.programs() {
            if !can_start(program) {
                eprintln!("skipped: `{program}` is not installed");
                return Ok(StageResult::skipped());
            }
        }
        let (project, steps) = self.create()?;
        if !self.install_packages(&project, &steps)? {
            eprintln!("skipped: the packages could not be installed; check the network");
            return Ok(StageResult::skipped());
        }
        let is_built = step(&project, command_named(&steps, "build")?)?;
        if !is_built && self.language == Language::Python && !is_venv_complete(&project) {
            eprintln!("skipped: the packages could not be installed; check the network");
            return Ok(StageResult::skipped());
        }
        if !is_built && self.language == Language::Rust && !registry_is_reachable(self.workspace)? {
            eprintln!("skipped: the packages could not be installed; check the network");
            return Ok(StageResult::skipped());
        }
        ensure!(is_built, "the project could not be built");
        ensure!(
            step(&project, command_named(&steps, "test")?)?,
            "the tests of the project failed"
        );
        let component = project.join(command_named(&steps, "component")?);
        self.inspect(&component)?;
        self.verify(&component)?;
        self.run(&component)?;
        Ok(StageResult::of(true))
    }

    /// Creates the project. Returns its folder and the JSON output of `new`, which lists the
    /// commands of the project.
    fn create(&self) -> Result<(PathBuf, Value)> {
        let project = self.folder.projects.join(self.language.name());
        let mut command = self.workspace.program_on(&self.folder.data_dir);
        command
            .args(["new", &self.name, "--lang", self.language.name(), "--json"])
            .arg("--path")
            .arg(&project);
        Ok((project, serde_json::from_str(&output(command)?)?))
    }

    /// Links the packages and build output of earlier runs into the project, or installs the
    /// packages. Returns whether the packages are available.
    fn install_packages(&self, project: &Path, steps: &Value) -> Result<bool> {
        match self.language {
            Language::Rust => symlink(&self.folder.cargo_target, project.join("target"))?,
            // The build command of the project installs the packages.
            Language::Python => symlink(
                cached(self.language, &project.join("requirements.txt"))?,
                project.join(".venv"),
            )?,
            Language::Js => {
                let manifest = project.join("package.json");
                let packages = cached(self.language, &manifest)?;
                // npm writes this file last.
                if !packages.join("node_modules/.package-lock.json").is_file() {
                    fs::copy(&manifest, packages.join("package.json"))?;
                    if !step(&packages, command_named(steps, "prepare")?)? {
                        return Ok(false);
                    }
                }
                symlink(packages.join("node_modules"), project.join("node_modules"))?;
            }
        }
        Ok(true)
    }

    /// Checks that the component imports only the contract, and WASI if its toolchain always does.
    fn inspect(&self, component: &Path) -> Result<()> {
        let mut command = self.workspace.program_on(&self.folder.data_dir);
        command
            .args(["processors", "inspect", "--json"])
            .arg(component);
        let inspection: Value = serde_json::from_str(&output(command)?)?;
        let described = &inspection["manifest"]["name"];
        ensure!(
            *described == *self.name,
            "the name in the manifest is {described}"
        );
        let imports = inspection["imports"]
            .as_array()
            .context("the inspection lists no imports")?;
        for import in imports {
            let is_expected = import["kind"] == "contract"
                || (import["kind"] == "inert" && self.language.imports_wasi());
            ensure!(is_expected, "unexpected import: {import}");
        }
        Ok(())
    }

    /// Verifies the laws of the contract with few sessions, because interpreters are slow.
    fn verify(&self, component: &Path) -> Result<()> {
        let mut command = self.workspace.program_on(&self.folder.data_dir);
        command
            .args(["processors", "verify", "--cases", "4"])
            .arg(component);
        ensure!(
            status(command)?.success(),
            "the processor breaks a law of the contract"
        );
        Ok(())
    }

    /// Deploys the processor next to those of other languages, and processes the example sessions.
    fn run(&self, component: &Path) -> Result<()> {
        let name = format!("{}.wasm", self.name);
        fs::copy(
            component,
            self.folder.data_dir.join("processors").join(name),
        )?;
        let mut command = self.workspace.program_on(&self.folder.data_dir);
        command
            .arg("--sessions")
            .arg(self.workspace.root.join(run::EXAMPLE_SESSIONS))
            .args(["run", &self.name]);
        ensure!(status(command)?.success(), "the run failed");
        Ok(())
    }
}

/// Runs a command of a project in `folder`. Returns whether it succeeded.
fn step(folder: &Path, command: &str) -> Result<bool> {
    eprintln!("$ {command}");
    let mut words = command.split(' ');
    let mut command = Command::new(words.next().context("an empty command")?);
    command.args(words).current_dir(folder);
    remove_crate_variables(&mut command);
    // The project must not use the target directory of this workspace.
    command.env_remove("CARGO_TARGET_DIR");
    Ok(status(command)?.success())
}

fn command_named<'a>(steps: &'a Value, name: &str) -> Result<&'a str> {
    steps[name]
        .as_str()
        .with_context(|| format!("the output of `new` has no `{name}`: {steps}"))
}

/// The build script of the template writes the file after it has installed all packages.
fn is_venv_complete(project: &Path) -> bool {
    project.join(".venv/requirements.txt").is_file()
}

/// Returns a cache folder outside the clone for the packages in `requirements`.
fn cached(language: Language, requirements: &Path) -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cache")))
        .context("no cache folder: neither XDG_CACHE_HOME nor a home folder is set")?;
    let mut hasher = DefaultHasher::new();
    fs::read(requirements)?.hash(&mut hasher);
    let name = format!("{}-{:016x}", language.name(), hasher.finish());
    let folder = cache.join("session-pipeline/templates").join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    Ok(folder)
}
