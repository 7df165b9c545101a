//! `run`: process the sessions that are new or changed.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use session_pipeline_host::clock::SystemClock;
use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::registry::RegistryError;
use session_pipeline_pipeline::report::Prices;
use session_pipeline_pipeline::run::{Pipeline, RunError, RunRequest};
use session_pipeline_store::LlmUse;

use super::client::{Client, Reach};
use super::progress::Bar;
use super::table::{bytes, number, table};
use super::{Exit, Failure, Global, hint, print, print_json};
use crate::body::admin::Processors;
use crate::body::run::{RunBody, RunStats};

/// Failures shown to a person; `--json` has more.
const ERRORS_SHOWN: usize = 10;
/// Notes shown to a person; `--json` has more.
const NOTES_SHOWN: usize = 10;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The processor, for instance `usage`
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    processor: Option<String>,
    /// Run all processors, one after the other
    #[arg(long)]
    all: bool,
    /// Try at most so many sessions, and leave the others for the next run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_sessions: Option<u64>,
    /// Start no further session after this many seconds, counted from the end of the scan; at least one is tried
    #[arg(long, value_name = "SECONDS")]
    time_budget: Option<u32>,
}

pub(super) fn run(global: &Global, arguments: &RunArgs) -> Result<Exit, Failure> {
    let config = global.config()?;
    if let (Some(name), None) = (&arguments.processor, &global.api) {
        // Before a data dir is made for it, or anything else is said.
        super::registry().check_unseen(name, &config)?;
    }
    let open = || Pipeline::open(config, Arc::new(SystemClock::default()), super::registry());
    let bodies = match global.reach(open)? {
        Reach::Here(pipeline) => run_here(&global.with_language_model(pipeline)?, arguments)?,
        Reach::Server(client) => run_there(&client, arguments)?,
    };
    for body in &bodies {
        failures(&body.details);
    }
    match (global.json, bodies.as_slice()) {
        (true, [body]) if !arguments.all => print_json(body)?,
        (true, bodies) => print_json(&bodies)?,
        (false, bodies) => print(&people(bodies))?,
    }
    let is_ok = bodies.iter().all(|body| body.ok);
    Ok(if is_ok { Exit::Done } else { Exit::Findings })
}

fn run_here(pipeline: &Pipeline, arguments: &RunArgs) -> Result<Vec<RunBody>, Failure> {
    let names = match &arguments.processor {
        Some(name) => vec![name.clone()],
        None => {
            pipeline.look(true)?;
            let registry = pipeline.registry();
            for refused in &registry.plan().refused {
                hint(&format!("passed over: {refused}"));
            }
            registry.names()
        }
    };
    let request = RunRequest {
        max_sessions: arguments.max_sessions,
        time_budget: arguments
            .time_budget
            .map(|seconds| Duration::from_secs(seconds.into())),
        ..RunRequest::cli()
    };
    let has_root = pipeline.sessions_root()?.is_some();
    if !has_root {
        hint(&super::no_sessions_root(pipeline.config()));
    }
    if let Err(error) = Prices::of(pipeline.config()) {
        hint(&format!(
            "sessions are processed, but reports will be refused: {error}"
        ));
    }
    let mut bodies = Vec::new();
    for name in &names {
        let bar = Bar::new(name);
        let report = pipeline.run(name, &request, &bar);
        bar.clear();
        let report = match report {
            Err(RunError::Registry(
                error @ (RegistryError::Unavailable { .. } | RegistryError::NeedsModel { .. }),
            )) if arguments.all => {
                hint(&format!("passed over: {error}"));
                continue;
            }
            report => report?,
        };
        let asked = pipeline.store().llm_use(&report.id)?;
        if asked.calls > 0 {
            hint(&asked_models(name, asked));
        }
        let body = RunBody::from(report);
        // Without a root there is nothing to report but that, which is reported above.
        if has_root {
            notes(&body);
        }
        bodies.push(body);
    }
    if bodies.iter().any(|body| body.details.processed > 0) {
        pipeline.store().checkpoint()?;
    }
    Ok(bodies)
}

fn run_there(client: &Client, arguments: &RunArgs) -> Result<Vec<RunBody>, Failure> {
    let names = match &arguments.processor {
        Some(name) => vec![name.clone()],
        None => {
            let listed: Processors = client.get("/api/admin/processors", &[])?;
            for refused in &listed.refused_files {
                hint(&format!(
                    "passed over: {}",
                    super::processors::refused(refused)
                ));
            }
            let (can_run, others): (Vec<_>, Vec<_>) = listed
                .processors
                .into_iter()
                .partition(|processor| processor.unavailable.is_none());
            for processor in others {
                let reason = processor.unavailable.unwrap_or_default();
                hint(&format!(
                    "passed over: `{}` can't run: {reason}",
                    processor.name
                ));
            }
            can_run
                .into_iter()
                .map(|processor| processor.name)
                .collect()
        }
    };
    let caps = [
        (
            "max_sessions",
            arguments.max_sessions.map(|cap| cap.to_string()),
        ),
        (
            "time_budget",
            arguments.time_budget.map(|cap| cap.to_string()),
        ),
    ];
    let mut bodies = Vec::new();
    for name in &names {
        let mut query = vec![("processor", name.as_str())];
        let given = caps
            .iter()
            .filter_map(|(key, cap)| Some((*key, cap.as_deref()?)));
        query.extend(given);
        let body: RunBody = client.post("/api/admin/run-session-processor", &query)?;
        notes(&body);
        bodies.push(body);
    }
    Ok(bodies)
}

fn people(bodies: &[RunBody]) -> String {
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
    table.trim_fmt()
}

/// What a run asked of language models, and what it paid.
fn asked_models(processor: &str, asked: LlmUse) -> String {
    let requests = if asked.calls == 1 {
        "request"
    } else {
        "requests"
    };
    let cost = match asked.unpriced_calls {
        0 => format!("${}", asked.cost),
        unpriced => format!(
            "${} and what {unpriced} cost that have no price",
            asked.cost
        ),
    };
    format!(
        "`{processor}` sent {} {requests} to the language model: {} tokens in, {} out, {cost}",
        asked.calls, asked.input_tokens, asked.output_tokens
    )
}

/// What a run passed over.
fn notes(body: &RunBody) {
    for note in body.notes.iter().take(NOTES_SHOWN) {
        let (path, reason) = (printable(&note.path), printable(&note.reason));
        hint(&format!("passed over `{path}`: {reason}"));
    }
    if let more @ 1.. = body.notes.len().saturating_sub(NOTES_SHOWN) {
        hint(&format!("and {more} more notes; --json lists them"));
    }
}

/// What a person should know beside the numbers.
fn failures(stats: &RunStats) {
    for error in stats.errors_detail.iter().take(ERRORS_SHOWN) {
        let (session, error) = (printable(&error.session), printable(&error.error));
        hint(&format!("failed `{session}`: {error}"));
    }
    if stats.errors > ERRORS_SHOWN as u64 {
        hint(&format!(
            "and {} more failures; --json lists up to a hundred",
            stats.errors - ERRORS_SHOWN as u64
        ));
    }
    if stats.capped > 0 && stats.capped == stats.scanned {
        hint("no session was tried, although some are due: the run ended before the first");
    } else if stats.capped > 0 {
        hint(&format!(
            "{} sessions are left for the next run, as the caps ask",
            stats.capped
        ));
    }
}
