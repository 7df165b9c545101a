//! `new`: creates a processor project from templates in the program.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;
use session_pipeline_bundle::kit::{Language, ProjectFile, Steps};
use session_pipeline_host::fault::printable;
use session_pipeline_host::manifest::check_name;

use crate::shipped::SHIPPED;

use super::{CommandFailure, Exit, GlobalArgs, print, print_json};

/// The package that Rust projects depend on. A project cannot have the same name, because both are in
/// one lock file.
const SDK: &str = "session-pipeline-processor";

#[derive(Debug, Args)]
#[command(
    after_help = "The project includes the contract and, for Rust, the SDK. Its README.md describes the next steps."
)]
pub(super) struct NewArgs {
    /// Name of the processor: [a-z][a-z0-9-]{0,62}
    #[arg(value_parser = super::non_empty)]
    name: String,
    /// Programming language
    #[arg(long, value_enum, default_value_t = TemplateLanguage::Rust)]
    lang: TemplateLanguage,
    /// Folder for the project, which must be empty or not exist [default: ./<NAME>]
    #[arg(long, value_name = "DIR", value_parser = super::folder)]
    path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TemplateLanguage {
    Rust,
    Js,
    Python,
}

impl From<TemplateLanguage> for Language {
    fn from(lang: TemplateLanguage) -> Self {
        match lang {
            TemplateLanguage::Rust => Self::Rust,
            TemplateLanguage::Js => Self::JavaScript,
            TemplateLanguage::Python => Self::Python,
        }
    }
}

pub(super) fn new(global: &GlobalArgs, arguments: &NewArgs) -> Result<Exit, CommandFailure> {
    let name = &arguments.name;
    let language = Language::from(arguments.lang);
    check(name)?;
    let path = arguments.path.clone().unwrap_or_else(|| name.into());
    let display_path = printable(&path.display().to_string());
    create_folder(&path, &display_path)?;
    let files = language.project(name);
    for file in &files {
        write(&path, file)?;
    }
    let steps = language.steps(name);
    if global.json {
        print_json(&json!({
            "name": name,
            "path": path,
            "files": files.iter().map(|file| &file.path).collect::<Vec<_>>(),
            "prepare": steps.prepare,
            "build": steps.build,
            "test": steps.test,
            "component": steps.component,
        }))?;
    } else {
        print(&render(language, &display_path, &steps))?;
    }
    Ok(Exit::Done)
}

fn check(name: &str) -> Result<(), CommandFailure> {
    check_name(name).map_err(|error| CommandFailure::usage_error(error.to_string()))?;
    if SHIPPED.iter().any(|shipped| shipped.name == name) {
        return Err(CommandFailure::usage_error(format!(
            "`{name}` is a processor that ships with this program; choose another name"
        )));
    }
    if name == SDK {
        return Err(CommandFailure::usage_error(format!(
            "`{name}` is the name of the processor SDK; choose another name"
        )));
    }
    Ok(())
}

/// Creates the folder. An existing folder must be empty, so that no file is overwritten.
fn create_folder(path: &Path, display_path: &str) -> Result<(), CommandFailure> {
    let rejected = |reason: &str| {
        CommandFailure::usage_error(format!(
            "`{display_path}` {reason}; choose another folder with --path, or remove it"
        ))
    };
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(rejected("is not empty")),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(path).map_err(|error| {
                CommandFailure::could_not_run(format!("cannot create `{display_path}`: {error}"))
            })
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => Err(rejected("is not a folder")),
        Err(error) => Err(CommandFailure::could_not_run(format!(
            "cannot read `{display_path}`: {error}"
        ))),
    }
}

fn write(project: &Path, file: &ProjectFile) -> Result<(), CommandFailure> {
    let path = project.join(&file.path);
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        // Fails if another process created the file in the meantime.
        .and_then(|()| fs::File::create_new(&path))
        .and_then(|mut created| created.write_all(file.text.as_bytes()));
    written.map_err(|error| {
        let display_path = printable(&path.display().to_string());
        CommandFailure::could_not_run(format!(
            "cannot write `{display_path}`: {error}; the project is incomplete, so remove it before you retry"
        ))
    })
}

fn render(language: Language, path: &str, steps: &Steps) -> String {
    let mut text = format!("created `{path}`, a processor in {language}; to build and test it:\n");
    let commands = [Some(format!("cd {path}"))].into_iter().chain(
        [steps.prepare, Some(steps.build), Some(steps.test)].map(|step| step.map(str::to_owned)),
    );
    for command in commands.flatten() {
        text.push_str(&format!("\n  {command}"));
    }
    text.push_str(&format!(
        "\n\nthe build writes the component to `{}`",
        steps.component
    ));
    text
}
