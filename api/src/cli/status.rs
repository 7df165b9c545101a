//! `status`: whether everything works and keeps up, and what is known of each processor.

use std::collections::HashMap;
use std::time::Duration;

use session_pipeline_runtime::clock::UtcMicros;
use session_pipeline_runtime::config::Config;
use session_pipeline_runtime::fault::printable;
use session_pipeline_runtime::health::{
    Build, Facts, Figures, Headline, Report, Role, Sources, Status, SystemDisk,
};
use session_pipeline_runtime::registry::Registry;
use session_pipeline_runtime::sandbox::Engines;
use session_pipeline_runtime::status::{self, ProcessorStatus};
use session_pipeline_runtime::store::Store;

use super::table::{count_of, number, table};
use super::{Exit, Failure, Global, hint, print, print_json};

pub(super) fn status(global: &Global) -> Result<Exit, Failure> {
    let config = &global.config()?;
    let registry = super::registry();
    let now = super::now();
    let store = Store::open_existing(config, now)?;
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
    let report = Report::of(&facts);
    if global.json {
        print_json(&report.body(Role::Admin, &build(now)))?;
    } else {
        let processors = status::processors(store.as_ref(), registry.names())?;
        let (checks, counts) = (checks(&report), counts(&processors));
        print(&format!(
            "{}\n\n{checks}\n\n{counts}",
            report.headline().as_str()
        ))?;
        actions(&report);
    }
    Ok(match report.headline() {
        Headline::Healthy => Exit::Done,
        Headline::Degraded | Headline::Unhealthy => Exit::Findings,
    })
}

/// What the program says of itself; `now` is when it started.
fn build(now: UtcMicros) -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION"),
        channel: option_env!("RELEASE_CHANNEL").unwrap_or("dev"),
        image_tag: option_env!("IMAGE_TAG").unwrap_or("unknown"),
        commit_sha: option_env!("COMMIT_SHA").unwrap_or("unknown"),
        deployed_at: now,
    }
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
    let known = registry.names().filter_map(|name| {
        let processor = registry.glance_at(name, config, &engines, store)?;
        let cadence = Duration::from_secs(processor.manifest().cadence_seconds.into());
        Some((name.to_owned(), cadence))
    });
    known.collect()
}

fn checks(report: &Report) -> String {
    let entries = report.entries.iter();
    let width = entries.clone().map(|(name, _)| name.len()).max();
    let width = width.unwrap_or(0);
    let lines = entries.map(|(name, entry)| {
        let figure = figure(&entry.figures);
        let detail = entry.detail.as_deref().map(printable).or(figure);
        let detail = detail.unwrap_or_default();
        format!("{name:width$}  {:7}  {detail}", entry.status.as_str())
    });
    let lines: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// The one number that says most, where a check has nothing to tell.
fn figure(figures: &Figures) -> Option<String> {
    Some(match figures {
        Figures::Backlog(figures) => {
            count_of(figures.session_files?, "session file", "session files")
        }
        Figures::Users(figures) => count_of(figures.count, "user", "users"),
        Figures::Disk(figures) => format!("{} free", super::table::bytes(figures.free_bytes)),
        Figures::Quarantine(figures) => {
            count_of(figures.failing, "session failing", "sessions failing")
        }
        Figures::None {} | Figures::Schema(_) | Figures::Scheduler(_) => return None,
    })
}

/// What to do about all that is not well.
fn actions(report: &Report) {
    for (name, entry) in &report.entries {
        let is_bad = matches!(entry.status, Status::Warning | Status::Error);
        if let Some(action) = entry.next_action.as_deref().filter(|_| is_bad) {
            hint(&format!("{name}: {action}"));
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
