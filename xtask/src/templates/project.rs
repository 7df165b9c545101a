//! One language's project, from `new` to its processor's rows.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{ProjectsFolder, registry_is_reached};
use crate::prerequisites::can_start;
use crate::run;
use crate::stages::StageResult;
use crate::workspace::{Workspace, forget_this_crate, output, status};

/// What there is a template for.
#[derive(Clone, Copy, PartialEq, Debug, clap::ValueEnum)]
pub enum Language {
    Rust,
    Python,
    Js,
}

impl Language {
    /// As `new --lang` takes it.
    fn word(self) -> &'static str {
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

    /// The programs that its commands start with.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &[],
            Self::Python => &["python3"],
            Self::Js => &["node", "npm"],
        }
    }

    /// Whether its toolchain pulls in WASI whatever a processor does.
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
        let name = format!("words-{}", language.word());
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
                eprintln!("skipped: `{program}` is not here");
                return Ok(StageResult::skipped());
            }
        }
        let (project, steps) = self.make()?;
        if !self.bring_packages(&project, &steps)? {
            eprintln!("skipped: its packages could not be installed; is there a network?");
            return Ok(StageResult::skipped());
        }
        let is_built = step(&project, word(&steps, "build")?)?;
        if !is_built && self.language == Language::Python && !venv_is_whole(&project) {
            eprintln!("skipped: its packages could not be installed; is there a network?");
            return Ok(StageResult::skipped());
        }
        if !is_built && self.language == Language::Rust && !registry_is_reached(self.workspace)? {
            eprintln!("skipped: its packages could not be had; is there a network?");
            return Ok(StageResult::skipped());
        }
        ensure!(is_built, "the project could not be built");
        ensure!(step(&project, word(&steps, "test")?)?, "its tests failed");
        let component = project.join(word(&steps, "component")?);
        self.inspect(&component)?;
        self.verify(&component)?;
        self.run(&component)?;
        Ok(StageResult::of(true))
    }

    /// Makes the project; gives its folder, and what the program says of it.
    fn make(&self) -> Result<(PathBuf, Value)> {
        let project = self.folder.projects.join(self.language.word());
        let mut command = self.workspace.program_on(&self.folder.data_dir);
        command
            .args(["new", &self.name, "--lang", self.language.word(), "--json"])
            .arg("--path")
            .arg(&project);
        Ok((project, serde_json::from_str(&output(command)?)?))
    }

    /// Puts what earlier runs have downloaded or compiled into its place, or gets it; gives
    /// whether it is there.
    fn bring_packages(&self, project: &Path, steps: &Value) -> Result<bool> {
        match self.language {
            Language::Rust => symlink(&self.folder.cargo_target, project.join("target"))?,
            // Its build command fills the environment.
            Language::Python => symlink(
                cached(self.language, &project.join("requirements.txt"))?,
                project.join(".venv"),
            )?,
            Language::Js => {
                let manifest = project.join("package.json");
                let packages = cached(self.language, &manifest)?;
                // npm writes it last.
                if !packages.join("node_modules/.package-lock.json").is_file() {
                    fs::copy(&manifest, packages.join("package.json"))?;
                    if !step(&packages, word(steps, "prepare")?)? {
                        return Ok(false);
                    }
                }
                symlink(packages.join("node_modules"), project.join("node_modules"))?;
            }
        }
        Ok(true)
    }

    /// What it imports is what the contract has; WASI stands there only where it can't be helped.
    fn inspect(&self, component: &Path) -> Result<()> {
        let mut command = self.workspace.program_on(&self.folder.data_dir);
        command
            .args(["processors", "inspect", "--json"])
            .arg(component);
        let inspection: Value = serde_json::from_str(&output(command)?)?;
        let described = &inspection["manifest"]["name"];
        ensure!(*described == *self.name, "it calls itself {described}");
        let imports = inspection["imports"]
            .as_array()
            .context("no imports are told")?;
        for import in imports {
            let is_expected = import["kind"] == "contract"
                || (import["kind"] == "inert" && self.language.imports_wasi());
            ensure!(is_expected, "it imports {import}");
        }
        Ok(())
    }

    /// It keeps the laws of the contract, over few sessions: interpreters take their time.
    fn verify(&self, component: &Path) -> Result<()> {
        let mut command = self.workspace.program_on(&self.folder.data_dir);
        command
            .args(["processors", "verify", "--cases", "4"])
            .arg(component);
        ensure!(
            status(command)?.success(),
            "it breaks a law of the contract"
        );
        Ok(())
    }

    /// Runs it over the example sessions, beside those in other languages.
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

/// Runs one command of a project in its folder; gives whether it went well.
fn step(folder: &Path, command: &str) -> Result<bool> {
    eprintln!("$ {command}");
    let mut words = command.split(' ');
    let mut command = Command::new(words.next().context("an empty command")?);
    command.args(words).current_dir(folder);
    forget_this_crate(&mut command);
    // Where this workspace compiles to is not where a project does.
    command.env_remove("CARGO_TARGET_DIR");
    Ok(status(command)?.success())
}

fn word<'a>(steps: &'a Value, name: &str) -> Result<&'a str> {
    steps[name]
        .as_str()
        .with_context(|| format!("`new` does not say `{name}`: {steps}"))
}

/// The template's build script writes it when all is installed.
fn venv_is_whole(project: &Path) -> bool {
    project.join(".venv/requirements.txt").is_file()
}

/// A folder outside the clone, for the packages that this file asks for.
fn cached(language: Language, asking: &Path) -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cache")))
        .context("there is no cache dir: neither XDG_CACHE_HOME nor a home is known")?;
    let mut hasher = DefaultHasher::new();
    fs::read(asking)?.hash(&mut hasher);
    let name = format!("{}-{:016x}", language.word(), hasher.finish());
    let folder = cache.join("session-pipeline/templates").join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    Ok(folder)
}
