//! `processors verify`: checks a component against the laws of the contract.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use session_pipeline_harness::Subject;
use session_pipeline_harness::conformance::{
    self, CASES, ConformanceReport, LAWS, LawResult, Options, Verdict, VerifyError,
};
use session_pipeline_host::fault::{FaultKind, printable};

use super::component::{self, LoadedComponent};
use super::progress::Spinner;
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};

pub(super) const AFTER_HELP: &str = "Sessions are generated. --sessions adds a session file, or all sessions in a folder. \
     No data directory or server is needed. Nothing is committed. No language model is available.\n\
     Exit codes: 0 all laws hold; 1 a law failed; 2 usage error; 3 could not run.";

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Component file, or name of a processor
    #[arg(value_name = "FILE|NAME", value_parser = super::non_empty)]
    component: String,
    /// Number of generated sessions per law
    #[arg(long, value_name = "N", default_value_t = CASES, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    cases: u32,
    /// Seed of the generated sessions; the same seed generates the same sessions
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Setting for the processor; can be repeated
    #[arg(long = "settings", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Folder for the sessions that broke a law; later checks try them first [default: <FILE without .wasm>-regressions]
    #[arg(long, value_name = "DIR", value_parser = super::folder)]
    regressions: Option<PathBuf>,
}

/// Parses `KEY=VALUE`, split at the first `=`.
pub(super) fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("not a setting; use KEY=VALUE, such as detector=phrases".to_owned()),
    }
}

pub(super) fn verify(global: &GlobalArgs, arguments: &VerifyArgs) -> Result<Exit, CommandFailure> {
    let config = global.config()?;
    let mut component = component::find(global, &arguments.component)?;
    component
        .settings
        .extend(arguments.settings.iter().cloned());
    let sessions = match &global.sessions {
        Some(path) => conformance::session_files(path).map_err(|error| {
            CommandFailure::usage_error(format!(
                "{error}; pass a session file or a folder of sessions with --sessions"
            ))
        })?,
        None => Vec::new(),
    };
    let regressions = arguments.regressions.clone();
    let options = Options {
        cases: arguments.cases,
        seed: arguments.seed,
        sessions,
        regressions: Some(
            regressions
                .unwrap_or_else(|| default_regressions_folder(&component, &arguments.component)),
        ),
    };
    let LoadedComponent {
        bytes,
        limits,
        settings,
        ..
    } = component;
    let spinner = Spinner::new();
    spinner.set_message("compiling");
    let report = match Subject::load(&config.compiler, &limits, settings, &bytes) {
        Ok(subject) => {
            let mut begin = |law: &conformance::Law| spinner.set_message(law.name);
            conformance::verify(&subject, &options, &mut begin)?
        }
        Err(fault) if fault.kind == FaultKind::Host => {
            return Err(CommandFailure::could_not_run(fault.to_string()));
        }
        Err(fault) => conformance::rejection_report(&fault, &options),
    };
    spinner.clear();
    if global.json {
        print_json(&document(&report))?;
    } else {
        print(&report.to_string())?;
    }
    if report.holds() {
        return Ok(Exit::Done);
    }
    hint(&advice(&report, &arguments.component));
    Ok(Exit::Findings)
}

/// A folder next to the component file, or in the current folder if the component was given by name.
fn default_regressions_folder(component: &LoadedComponent, argument: &str) -> PathBuf {
    match &component.path {
        Some(path) => {
            let stem = path.file_stem().unwrap_or(path.as_os_str());
            let mut name = stem.to_owned();
            name.push("-regressions");
            path.with_file_name(name)
        }
        None => format!("{argument}-regressions").into(),
    }
}

fn document(report: &ConformanceReport) -> Value {
    let law = |result: &LawResult| {
        let failure = match &result.verdict {
            Verdict::Failed(failure) => Some(failure),
            Verdict::Held | Verdict::Untried => None,
        };
        let text = |path: &Path| path.display().to_string();
        json!({
            "law": result.law.name,
            "says": result.law.statement,
            "verdict": result.verdict_name(),
            "sessions": result.sessions,
            "unanswered": result.unanswered,
            "why": failure.map(|failure| &failure.reason),
            "given": failure.and_then(|failure| failure.source.as_deref()).map(text),
            "regressions": failure.map(|failure| {
                let sessions = failure.saved.iter();
                sessions.map(|path| text(path)).collect::<Vec<_>>()
            }),
        })
    };
    json!({
        "holds": report.holds(),
        "component": report.component.as_ref().map(|manifest| json!({
            "name": manifest.name,
            "version": manifest.version,
        })),
        "seed": report.seed,
        "cases": report.cases,
        "laws": report.laws.iter().map(law).collect::<Vec<_>>(),
    })
}

/// The number of failed laws, and how to process the first saved session.
fn advice(report: &ConformanceReport, component: &str) -> String {
    let session = report.laws.iter().find_map(|result| match &result.verdict {
        Verdict::Failed(failure) => failure.saved.first(),
        Verdict::Held | Verdict::Untried => None,
    });
    let next_step = session.map_or_else(String::new, |session| {
        let (component, session) = (
            shell_quote(component),
            shell_quote(&session.display().to_string()),
        );
        format!(
            "; run `session-pipeline replay {component} {session}` to process the saved session; `verify` tries saved sessions first"
        )
    });
    format!(
        "{} of {} laws failed{next_step}",
        report.failed().len(),
        LAWS.len()
    )
}

/// Quotes an argument for a shell, if necessary.
fn shell_quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", printable(word).replace('\'', "'\\''")),
    }
}

impl From<VerifyError> for CommandFailure {
    fn from(error: VerifyError) -> Self {
        Self::could_not_run(error.to_string())
    }
}
