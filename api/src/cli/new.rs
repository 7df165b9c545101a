//! `new`: the project of a processor that is yet to be written, out of this program alone.

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

/// The package that a project in Rust depends on: in one lock file no other may bear its name.
const SDK: &str = "session-pipeline-processor";

#[derive(Debug, Args)]
#[command(
    after_help = "The project holds all that it needs: the contract, and for Rust the SDK. README.md in it says how to go on."
)]
pub(super) struct NewArgs {
    /// What the processor is called: [a-z][a-z0-9-]{0,62}
    #[arg(value_parser = super::filled)]
    name: String,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = TemplateLanguage::Rust)]
    lang: TemplateLanguage,
    /// Where to make it: a folder that is empty or not there [default: ./<NAME>]
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
    let shown = printable(&path.display().to_string());
    make_room(&path, &shown)?;
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
        print(&people(language, &shown, &steps))?;
    }
    Ok(Exit::Done)
}

fn check(name: &str) -> Result<(), CommandFailure> {
    check_name(name).map_err(|error| CommandFailure::wrong_use(error.to_string()))?;
    if SHIPPED.iter().any(|shipped| shipped.name == name) {
        return Err(CommandFailure::wrong_use(format!(
            "`{name}` is a processor that ships with this program; take another name"
        )));
    }
    if name == SDK {
        return Err(CommandFailure::wrong_use(format!(
            "`{name}` is the name of the SDK that processors are written with; take another"
        )));
    }
    Ok(())
}

/// Makes the folder, or finds it empty: what somebody has written is never written over.
fn make_room(path: &Path, shown: &str) -> Result<(), CommandFailure> {
    let refused = |reason: &str| {
        CommandFailure::wrong_use(format!(
            "`{shown}` {reason}; name another place with --path, or remove it"
        ))
    };
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(refused("is not empty")),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(path).map_err(|error| {
                CommandFailure::could_not_run(format!("`{shown}` can't be made: {error}"))
            })
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => Err(refused("is no folder")),
        Err(error) => Err(CommandFailure::could_not_run(format!(
            "`{shown}` can't be read: {error}"
        ))),
    }
}

fn write(project: &Path, file: &ProjectFile) -> Result<(), CommandFailure> {
    let path = project.join(&file.path);
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        // Whoever else writes here at this moment keeps what is theirs.
        .and_then(|()| fs::File::create_new(&path))
        .and_then(|mut made| made.write_all(file.text.as_bytes()));
    written.map_err(|error| {
        let shown = printable(&path.display().to_string());
        CommandFailure::could_not_run(format!(
            "`{shown}` can't be written: {error}; the project is not whole, so remove it before the next try"
        ))
    })
}

fn people(language: Language, path: &str, steps: &Steps) -> String {
    let mut text = format!("made `{path}`, a processor in {language}; to build and test it:\n");
    let commands = [Some(format!("cd {path}"))].into_iter().chain(
        [steps.prepare, Some(steps.build), Some(steps.test)].map(|step| step.map(str::to_owned)),
    );
    for command in commands.flatten() {
        text.push_str(&format!("\n  {command}"));
    }
    text.push_str(&format!("\n\nthe component is then `{}`", steps.component));
    text
}
