//! `run`: processes new and changed sessions.

mod watch;

use std::sync::Arc;

use clap::Args;
use session_pipeline_host::fault::printable;
use session_pipeline_store::RunStats;

use super::client::{Client, OpenMode, RouteCall};
use super::table::{bytes, count_of, number, table};
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};
use crate::body::admin::ProcessorsBody;
use crate::body::run::RunBody;

use watch::RunProgress;

/// Maximum number of failures in the text output.
const ERRORS_SHOWN: usize = 10;
/// Maximum number of notes in the text output.
const NOTES_SHOWN: usize = 10;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Name of the processor, such as `usage`
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    processor: Option<String>,
    /// Run all processors in sequence
    #[arg(long)]
    all: bool,
    /// Process at most N sessions, and leave the rest for the next run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_sessions: Option<u64>,
    /// Start no new session after this many seconds, measured from the end of the scan; at least one session is processed
    #[arg(long, value_name = "SECONDS")]
    time_budget: Option<u32>,
}

pub(super) fn run(global: &GlobalArgs, arguments: &RunArgs) -> Result<Exit, CommandFailure> {
    let config = global.config()?;
    if let (Some(name), None) = (&arguments.processor, &global.api) {
        // Report an unknown name before creating a data directory or printing anything else.
        super::registry().check_before_examination(name, &config)?;
    }
    global.check_sessions_root()?;
    let client = global.connect(OpenMode::Pipeline)?;
    let names = match &arguments.processor {
        Some(name) => vec![name.clone()],
        None => names(&client)?,
    };
    let no_root = super::no_sessions_root(&config);
    let mut bodies = Vec::new();
    for name in &names {
        bodies.push(run_one(
            &client,
            arguments,
            name,
            &no_root,
            bodies.is_empty(),
        )?);
    }
    for body in &bodies {
        failures(&body.details);
    }
    match (global.json, bodies.as_slice()) {
        (true, [body]) if !arguments.all => print_json(body)?,
        (true, bodies) => print_json(&bodies)?,
        (false, bodies) => print(&render(bodies))?,
    }
    let is_ok = bodies.iter().all(|body| body.ok);
    Ok(if is_ok { Exit::Done } else { Exit::Findings })
}

/// Runs one processor without limits, and without hints about the data directory.
pub(super) fn run_without_limits(client: &Client, name: &str) -> Result<RunBody, CommandFailure> {
    let arguments = RunArgs {
        processor: Some(name.to_owned()),
        all: false,
        max_sessions: None,
        time_budget: None,
    };
    run_one(client, &arguments, name, "", false)
}

/// Runs one processor. Hints about the data directory are printed only for the first one.
fn run_one(
    client: &Client,
    arguments: &RunArgs,
    name: &str,
    no_root: &str,
    is_first: bool,
) -> Result<RunBody, CommandFailure> {
    let max_sessions = arguments.max_sessions.map(|cap| cap.to_string());
    let time_budget = arguments.time_budget.map(|cap| cap.to_string());
    let progress = Arc::new(RunProgress::new(name, no_root, is_first));
    let call = RouteCall::post("/api/admin/run-session-processor")
        .query([("processor", name)])
        .optional("max_sessions", max_sessions.as_deref())
        .optional("time_budget", time_budget.as_deref())
        .with_listener(Arc::clone(&progress) as _);
    let body = client.call(&call);
    progress.clear();
    let body: RunBody = body?;
    // A missing root was already reported.
    if progress.has_root() {
        notes(&body);
    }
    Ok(body)
}

/// The processors that can run.
fn names(client: &Client) -> Result<Vec<String>, CommandFailure> {
    let listed: ProcessorsBody = super::pages::all(client, super::processors::PATH, &[])?;
    for file in &listed.refused_files {
        hint(&format!("skipped: {}", super::processors::rejection(file)));
    }
    let (can_run, others): (Vec<_>, Vec<_>) = listed
        .processors
        .into_iter()
        .partition(|processor| processor.unavailable.is_none());
    for processor in others {
        let reason = processor.unavailable.unwrap_or_default();
        hint(&format!(
            "skipped: `{}` cannot run: {reason}",
            processor.name
        ));
    }
    let names = can_run.into_iter().map(|processor| processor.name);
    Ok(names.collect())
}

fn render(bodies: &[RunBody]) -> String {
    let mut table = table(&[
        "processor",
        "scanned",
        "processed",
        "skipped",
        "failed",
        "waiting",
        "quarantined",
        "items",
        "read",
        "seconds",
    ]);
    for RunBody { details: stats, .. } in bodies {
        let count = |value: u64| number(i64::try_from(value).unwrap_or(i64::MAX));
        table.add_row([
            stats.processor.clone(),
            count(stats.scanned),
            count(stats.processed),
            count(stats.skipped),
            count(stats.errors),
            count(stats.waiting),
            count(stats.quarantined),
            count(stats.items_extracted),
            bytes(stats.bytes),
            format!("{:.1}", stats.duration_ms as f64 / 1000.0),
        ]);
    }
    table.render()
}

/// Prints the paths that the run skipped.
fn notes(body: &RunBody) {
    for note in body.notes.iter().take(NOTES_SHOWN) {
        let (path, reason) = (printable(&note.path), printable(&note.reason));
        hint(&format!("skipped `{path}`: {reason}"));
    }
    if let more @ 1.. = body.notes.len().saturating_sub(NOTES_SHOWN) {
        let more = count_of(more as u64, "more note", "more notes");
        hint(&format!("{more}; use --json to list them"));
    }
}

/// Prints failed sessions, and whether the run stopped early.
fn failures(stats: &RunStats) {
    for error in stats.errors_detail.iter().take(ERRORS_SHOWN) {
        let (session, error) = (printable(&error.session), printable(&error.error));
        hint(&format!("failed `{session}`: {error}"));
    }
    if stats.errors > ERRORS_SHOWN as u64 {
        hint(&format!(
            "{}; use --json to list up to 100",
            count_of(
                stats.errors - ERRORS_SHOWN as u64,
                "more failure",
                "more failures"
            )
        ));
    }
    if stats.capped > 0 && stats.capped == stats.scanned {
        hint("no session was processed: the run stopped before the first one");
    } else if stats.capped > 0 {
        hint(&format!(
            "{} left for the next run because of the limits of this run",
            count_of(stats.capped, "session is", "sessions are")
        ));
    }
}
