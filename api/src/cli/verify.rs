//! `processors verify`: whether a component keeps the laws of the contract.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use session_pipeline_harness::Subject;
use session_pipeline_harness::conformance::{
    self, CASES, ConformanceReport, LAWS, LawResult, Options, Verdict, VerifyError,
};
use session_pipeline_host::fault::{FaultKind, printable};

use super::component::{self, LoadedArgument};
use super::progress::Spinner;
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};

pub(super) const AFTER_HELP: &str = "Sessions are generated; those of --sessions (a file, or all below a folder) are tried too. \
     Neither a data dir nor a server is needed, nothing is committed, and no language model is within reach.\n\
     Exit codes: 0 all laws hold; 1 a law failed; 2 wrong use; 3 could not run.";

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// A component file, or the name of a processor
    #[arg(value_name = "FILE|NAME", value_parser = super::filled)]
    component: String,
    /// Generated sessions for each law
    #[arg(long, value_name = "N", default_value_t = CASES, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    cases: u32,
    /// Number from which the generated sessions follow: the same one tries the same
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// A setting of the operator, as the processor is handed it; may be given several times
    #[arg(long = "settings", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Folder that keeps the sessions for which a law failed, and gives them again the next time [default: <FILE without .wasm>-regressions]
    #[arg(long, value_name = "DIR", value_parser = super::folder)]
    regressions: Option<PathBuf>,
}

/// A setting: what stands before and after the first `=`.
pub(super) fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is no setting; give one like detector=phrases".to_owned()),
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
            CommandFailure::wrong_use(format!(
                "{error}; name a session, or a folder of them, with --sessions"
            ))
        })?,
        None => Vec::new(),
    };
    let regressions = arguments.regressions.clone();
    let options = Options {
        cases: arguments.cases,
        seed: arguments.seed,
        sessions,
        regressions: Some(regressions.unwrap_or_else(|| beside(&component, &arguments.component))),
    };
    let LoadedArgument {
        bytes,
        limits,
        settings,
        ..
    } = component;
    let spinner = Spinner::new();
    spinner.say("compiling");
    let report = match Subject::load(&config.compiler, &limits, settings, &bytes) {
        Ok(subject) => {
            let mut begin = |law: &conformance::Law| spinner.say(law.name);
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

/// Beside the component, or in the present folder where it was given by its name.
fn beside(component: &LoadedArgument, given: &str) -> PathBuf {
    match &component.path {
        Some(path) => {
            let stem = path.file_stem().unwrap_or(path.as_os_str());
            let mut name = stem.to_owned();
            name.push("-regressions");
            path.with_file_name(name)
        }
        None => format!("{given}-regressions").into(),
    }
}

fn document(report: &ConformanceReport) -> Value {
    let law = |judged: &LawResult| {
        let failure = match &judged.verdict {
            Verdict::Failed(failure) => Some(failure),
            Verdict::Held | Verdict::Untried => None,
        };
        let shown = |path: &Path| path.display().to_string();
        json!({
            "law": judged.law.name,
            "says": judged.law.statement,
            "verdict": judged.verdict_name(),
            "sessions": judged.sessions,
            "unanswered": judged.unanswered,
            "why": failure.map(|failure| &failure.reason),
            "given": failure.and_then(|failure| failure.source.as_deref()).map(shown),
            "regressions": failure.map(|failure| {
                let kept = failure.saved.iter();
                kept.map(|path| shown(path)).collect::<Vec<_>>()
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

/// How many laws failed, how to see what went on, and what becomes of the sessions for which they did.
fn advice(report: &ConformanceReport, component: &str) -> String {
    let kept = report.laws.iter().find_map(|judged| match &judged.verdict {
        Verdict::Failed(failure) => failure.saved.first(),
        Verdict::Held | Verdict::Untried => None,
    });
    let kept = kept.map_or_else(String::new, |session| {
        let (component, session) = (quoted(component), quoted(&session.display().to_string()));
        format!(
            "; see what comes of it by `session-pipeline replay {component} {session}`; what is kept is tried first the next time"
        )
    });
    format!(
        "{} of {} laws failed{kept}",
        report.failed().len(),
        LAWS.len()
    )
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
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
