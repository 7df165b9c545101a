//! `status`: whether everything works and keeps up, and what is known of each processor.

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;
use session_pipeline_host::fault::printable;
use session_pipeline_host::sandbox::Engines;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::health::{Facts, Report, Sources, SystemDisk};
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::status;
use session_pipeline_store::ProcessorStatus;
use session_pipeline_store::Role;
use session_pipeline_store::{Actor, Audited, Store};

use super::client::Reach;
use super::table::{count_of, number, table};
use super::{Exit, Failure, Global, hint, print, print_json};
use crate::body::health::{Acknowledged, Check, CheckStatus, DetailedHealth, Headline};
use crate::build::build;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Take note of commits that were lost, so that health warns of them no more
    #[arg(long)]
    acknowledge: bool,
}

pub(super) fn status(global: &Global, arguments: &StatusArgs) -> Result<Exit, Failure> {
    let config = &global.config()?;
    let now = super::now();
    let (body, counts) =
        match global.reach(|| Store::open_existing(&config.store_options(), now))? {
            Reach::Here(store) => {
                if let (true, Some(store)) = (arguments.acknowledge, &store) {
                    store.acknowledge_lost_commits(Audited {
                        action: "health.acknowledge",
                        actor: Actor::cli(),
                        now,
                    })?;
                }
                let registry = super::registry();
                registry.notice(config, store.as_ref(), now)?;
                let facts = Facts::gather(Sources {
                    config,
                    registry: &registry,
                    database: store.as_ref().into(),
                    cadences: &cadences(config, &registry, store.as_ref()),
                    // It runs in the server, and there is none: it would hold the data dir.
                    scheduler: None,
                    disk: &SystemDisk,
                    schema: None,
                    now,
                });
                let report = Report::of(&facts).with_model(&config.llm);
                let body = DetailedHealth::of(&report, Role::Admin, &build(now))
                    .map_err(|error| Failure::could_not_run(error.to_string()))?;
                let processors = status::processors(store.as_ref(), registry.names())?;
                (body, Some(counts(&processors)))
            }
            Reach::Server(client) => {
                if arguments.acknowledge {
                    let _: Acknowledged = client.post("/api/admin/health/acknowledge", &[])?;
                }
                (client.get("/api/health/detailed", &[])?, None)
            }
        };
    if global.json {
        print_json(&body)?;
    } else {
        let headline = word(&body.status);
        let parts = [Some(headline), Some(checks(&body)), counts];
        print(&parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n"))?;
        actions(&body);
    }
    Ok(match body.status {
        Headline::Healthy => Exit::Done,
        Headline::Degraded | Headline::Unhealthy => Exit::Findings,
    })
}

/// The cadences of processors that ran here before: nobody waits for a compiler to learn a status.
fn cadences(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
) -> HashMap<String, Duration> {
    let Some(store) = store else {
        return HashMap::new();
    };
    let engines = Engines::new(config.pool_limits(), 0);
    let known = registry.names().into_iter().filter_map(|name| {
        let processor = registry.glance_at(&name, config, &engines, store)?;
        let cadence = Duration::from_secs(processor.manifest().cadence_seconds.into());
        Some((name, cadence))
    });
    known.collect()
}

fn checks(body: &DetailedHealth) -> String {
    let width = body.services.keys().map(String::len).max().unwrap_or(0);
    let lines = body.services.iter().map(|(name, check)| {
        let status = check.status.as_ref().map(word).unwrap_or_default();
        let detail = check.detail.as_deref().map(printable);
        let detail = detail.or_else(|| figure(check)).unwrap_or_default();
        format!("{name:width$}  {status:7}  {detail}")
    });
    let lines: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// The one number that says most, where a check has nothing to tell.
fn figure(check: &Check) -> Option<String> {
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

/// A word as the documents have it.
fn word(word: &impl serde::Serialize) -> String {
    let word = serde_json::to_value(word).unwrap_or_default();
    word.as_str().unwrap_or_default().to_owned()
}

/// What to do about all that is not well.
fn actions(body: &DetailedHealth) {
    for (name, check) in &body.services {
        let is_bad = matches!(
            check.status,
            Some(CheckStatus::Warning | CheckStatus::Error)
        );
        if let Some(action) = check.next_action.as_deref().filter(|_| is_bad) {
            hint(&format!("{name}: {}", printable(action)));
        }
    }
}

fn counts(processors: &[ProcessorStatus]) -> String {
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
    table.trim_fmt()
}
