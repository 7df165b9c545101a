//! `run`: process the sessions that are new or changed.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use session_pipeline_runtime::run::{RunReport, RunRequest};

use super::progress::Bar;
use super::table::{bytes, number, table};
use super::{Exit, Failure, Global, hint, print, print_json};

/// Failures shown to a person; `--json` has more.
const ERRORS_SHOWN: usize = 10;

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
    /// Begin no further session after so many seconds
    #[arg(long, value_name = "SECONDS")]
    time_budget: Option<u32>,
}

pub(super) fn run(global: &Global, arguments: &RunArgs) -> Result<Exit, Failure> {
    if let Some(name) = &arguments.processor {
        // Before a data dir is made for it, or anything else is said.
        super::registry().component(name)?;
    }
    let pipeline = global.pipeline()?;
    let names: Vec<String> = match &arguments.processor {
        Some(name) => vec![name.clone()],
        None => pipeline.registry().names().map(str::to_owned).collect(),
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
    let mut reports = Vec::new();
    for name in &names {
        let bar = Bar::new(name);
        let report = pipeline.run(name, &request, &bar);
        bar.clear();
        let report = report?;
        // Without a root there is nothing to tell but that, which is told above.
        if has_root {
            notes(&report);
        }
        reports.push(report);
    }
    if reports.iter().any(|report| report.stats.processed > 0) {
        pipeline.store().checkpoint()?;
    }
    let body =
        |report: &RunReport| json!({ "ok": report.stats.errors == 0, "details": report.stats });
    match (global.json, reports.as_slice()) {
        (true, [report]) if !arguments.all => print_json(&body(report))?,
        (true, reports) => print_json(&reports.iter().map(body).collect::<Vec<_>>())?,
        (false, reports) => print(&people(reports))?,
    }
    let has_errors = reports.iter().any(|report| report.stats.errors > 0);
    Ok(if has_errors {
        Exit::Findings
    } else {
        Exit::Done
    })
}

fn people(reports: &[RunReport]) -> String {
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
    for RunReport { stats, .. } in reports {
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

/// What a person should know beside the numbers.
fn notes(report: &RunReport) {
    for note in report.notes.iter().take(ERRORS_SHOWN) {
        hint(&format!("passed over `{}`: {}", note.path, note.reason));
    }
    let stats = &report.stats;
    for error in stats.errors_detail.iter().take(ERRORS_SHOWN) {
        hint(&format!("failed `{}`: {}", error.session, error.error));
    }
    if stats.errors > ERRORS_SHOWN as u64 {
        hint(&format!(
            "and {} more failures; --json lists up to a hundred",
            stats.errors - ERRORS_SHOWN as u64
        ));
    }
    if stats.capped > 0 {
        hint(&format!(
            "{} sessions are left for the next run, as the caps ask",
            stats.capped
        ));
    }
}
