//! `status`: prints the health checks and the session counts of each processor.

use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::health::{CheckStatus, OverallStatus};
use session_pipeline_pipeline::run::Progress;
use session_pipeline_store::ProcessorStatus;

use super::client::{OpenMode, RouteCall};
use super::table::{count_of, number, table};
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};
use crate::body::health::{AcknowledgmentBody, DetailedHealth, HealthCheckBody};
use crate::http::{Listener, LocalReport};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Acknowledge missing commits, so that health stops warning about them
    #[arg(long)]
    acknowledge: bool,
}

pub(super) fn status(global: &GlobalArgs, arguments: &StatusArgs) -> Result<Exit, CommandFailure> {
    let client = global.connect(OpenMode::Existing)?;
    if arguments.acknowledge {
        let _: AcknowledgmentBody =
            client.call(&RouteCall::post("/api/admin/health/acknowledge"))?;
    }
    let counts = Arc::new(ProcessorCounts::default());
    let call = RouteCall::get("/api/health/detailed").with_listener(Arc::clone(&counts) as _);
    let body: DetailedHealth = client.call(&call)?;
    if global.json {
        print_json(&body)?;
    } else {
        let headline = json_name(&body.status);
        let parts = [Some(headline), Some(checks(&body)), counts.take()];
        print(&parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n"))?;
        print_actions(&body);
    }
    Ok(match body.status {
        OverallStatus::Healthy => Exit::Done,
        OverallStatus::Degraded | OverallStatus::Unhealthy => Exit::Findings,
    })
}

/// The table of counts per processor. A server does not report them.
#[derive(Default)]
struct ProcessorCounts(Mutex<Option<String>>);

impl ProcessorCounts {
    fn take(&self) -> Option<String> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.take()
    }
}

impl Listener for ProcessorCounts {
    fn receive(&self, report: LocalReport<'_>) -> bool {
        if let LocalReport::Counts(processors) = report {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *counts = Some(table_of(processors));
        }
        true
    }
}

impl Progress for ProcessorCounts {
    fn planned(&self, _: u64, _: u64) {}
    fn advanced(&self, _: u64) {}
}

fn checks(body: &DetailedHealth) -> String {
    let width = body.services.keys().map(String::len).max().unwrap_or(0);
    let lines = body.services.iter().map(|(name, check)| {
        let status = check.status.as_ref().map(json_name).unwrap_or_default();
        let detail = check.detail.as_deref().map(printable);
        let detail = detail.or_else(|| main_count(check)).unwrap_or_default();
        format!("{name:width$}  {status:7}  {detail}")
    });
    let lines: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// The most useful count of a check that has no detail.
fn main_count(check: &HealthCheckBody) -> Option<String> {
    let session_files = check
        .session_files
        .map(|files| count_of(files, "session file", "session files"));
    let users = || check.count.map(|users| count_of(users, "user", "users"));
    let free = || {
        let bytes = check.free_bytes?;
        Some(format!("{} free", super::table::bytes(bytes)))
    };
    let failing = || {
        let sessions = check.failing?;
        Some(count_of(sessions, "session failing", "sessions failing"))
    };
    session_files.or_else(users).or_else(free).or_else(failing)
}

/// The name of an enum value in JSON.
fn json_name(value: &impl serde::Serialize) -> String {
    let name = serde_json::to_value(value).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

/// Prints the next action for each check with a warning or an error.
fn print_actions(body: &DetailedHealth) {
    for (name, check) in &body.services {
        let needs_action = matches!(
            check.status,
            Some(CheckStatus::Warning | CheckStatus::Error)
        );
        if let Some(action) = check.next_action.as_deref().filter(|_| needs_action) {
            hint(&format!("{name}: {}", printable(action)));
        }
    }
}

fn table_of(processors: &[ProcessorStatus]) -> String {
    let mut table = table(&[
        "processor",
        "sessions",
        "items",
        "due",
        "failing",
        "quarantined",
        "missing",
        "last run",
        "result",
    ]);
    for status in processors {
        table.add_row([
            status.processor.clone(),
            number(status.sessions),
            number(status.items_extracted),
            number(status.due),
            number(status.failing),
            number(status.quarantined),
            number(status.missing),
            status
                .last_run_at
                .clone()
                .unwrap_or_else(|| "never".to_owned()),
            status.last_run.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.render()
}
