//! `compare`: compares the manifests, rows and costs of two components on the same sessions.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use session_pipeline_harness::{Invocation, Subject, conformance, rows};
use session_pipeline_host::fault::printable;
use session_pipeline_host::manifest::{Manifest, Order};
use session_pipeline_host::processor::Execution;
use session_pipeline_host::shared::MemoryRows;
use similar::TextDiff;

use super::progress::Spinner;
use super::table::{bytes, count_of, number, table};
use super::{CommandFailure, Exit, GlobalArgs, component, hint, print, print_json, replay, verify};

/// Maximum number of differing sessions in the text output.
const SHOWN_MAX: usize = 20;
/// Context rows around a difference.
const CONTEXT_ROWS: usize = 1;

pub(super) const AFTER_HELP: &str = "Both components process the same sessions in the same order: those in --sessions, or those in the data directory. \
     Nothing is committed. Shared tables start empty. No language model is available.\n\
     Exit codes: 0 no differences; 1 the manifests or some sessions differ; 2 usage error; 3 could not run.";

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Current component: a component file, or the name of a processor
    #[arg(value_name = "OLD.wasm|NAME", value_parser = super::non_empty)]
    old: String,
    /// Replacement: a component file, or the name of a processor
    #[arg(value_name = "NEW.wasm|NAME", value_parser = super::non_empty)]
    new: String,
    /// Setting for both components; can be repeated
    #[arg(long = "settings", value_name = "KEY=VALUE", value_parser = verify::setting)]
    settings: Vec<(String, String)>,
}

pub(super) fn compare(
    global: &GlobalArgs,
    arguments: &CompareArgs,
) -> Result<Exit, CommandFailure> {
    let root = global.config()?.sessions_root;
    let sessions = conformance::session_files(&root).map_err(|error| {
        CommandFailure::usage_error(format!(
            "{error}; pass a session file or a folder of sessions with --sessions"
        ))
    })?;
    if sessions.is_empty() {
        return Err(CommandFailure::usage_error(format!(
            "no sessions in `{}`; pass a folder of sessions with --sessions",
            printable(&root.display().to_string())
        )));
    }
    let spinner = Spinner::new();
    spinner.set_message("compiling");
    let mut old = ComparedComponent::load(global, &arguments.old, &arguments.settings)?;
    let mut new = ComparedComponent::load(global, &arguments.new, &arguments.settings)?;
    let mut different = Vec::new();
    for (number, path) in sessions.iter().enumerate() {
        spinner.set_message(&format!("session {} of {}", number + 1, sessions.len()));
        let (before, after) = (old.rows_of(path)?, new.rows_of(path)?);
        if before != after {
            different.push(SessionDifference {
                session: key(&root, path),
                diff: diff(&before, &after),
            });
        }
    }
    spinner.clear();
    let [before, after] = [&old, &new].map(|side| manifest_text(side.subject.manifest()));
    let comparison = Comparison {
        manifest: (before != after).then(|| diff(&before, &after)),
        sessions: sessions.len() as u64,
        different,
        old: old.cost,
        new: new.cost,
    };
    if global.json {
        print_json(&comparison)?;
    } else {
        print(&render(&comparison))?;
    }
    if comparison.manifest.is_none() && comparison.different.is_empty() {
        return Ok(Exit::Done);
    }
    let hidden = comparison.different.len().saturating_sub(SHOWN_MAX);
    if hidden > 0 && !global.json {
        let more = count_of(
            hidden as u64,
            "more session differs",
            "more sessions differ",
        );
        hint(&format!("{more}; use --json to list all"));
    }
    Ok(Exit::Findings)
}

#[derive(Debug, Serialize)]
struct Comparison {
    /// Unified diff of the manifests. `None` if they are equal.
    manifest: Option<String>,
    /// The number of sessions that both components processed.
    sessions: u64,
    different: Vec<SessionDifference>,
    old: ComponentCost,
    new: ComponentCost,
}

/// A session whose rows differ.
#[derive(Debug, Serialize)]
struct SessionDifference {
    session: String,
    /// Unified diff with one line per row.
    diff: String,
}

/// The cost of one component over all sessions.
#[derive(Debug, Default, Serialize)]
struct ComponentCost {
    rows: u64,
    failed: u64,
    fuel: u64,
    cpu_micros: u64,
    /// The peak of all sessions, in bytes.
    peak_memory: u64,
}

/// One of the two components.
struct ComparedComponent {
    subject: Subject,
    /// The rows of the shared tables. They grow after each session.
    shared: Arc<MemoryRows>,
    cost: ComponentCost,
}

impl ComparedComponent {
    fn load(
        global: &GlobalArgs,
        argument: &str,
        settings: &[(String, String)],
    ) -> Result<Self, CommandFailure> {
        let mut component = component::find(global, argument)?;
        component.settings.extend(settings.iter().cloned());
        Ok(Self {
            subject: replay::load(&global.config()?, component, argument)?,
            shared: Arc::default(),
            cost: ComponentCost::default(),
        })
    }

    /// The rows of a session as text with one line per row, or its fault.
    fn rows_of(&mut self, path: &Path) -> Result<String, CommandFailure> {
        let limits = self.subject.processor().limits();
        let (session, snapshot) = replay::open_file(path, limits).map_err(|error| {
            let path = printable(&path.display().to_string());
            CommandFailure::could_not_run(format!("cannot read session `{path}`: {error}"))
        })?;
        let invocation = Invocation {
            shared: Some(Arc::clone(&self.shared)),
            ..Invocation::default()
        };
        let execution = self
            .subject
            .process_snapshot(&session, snapshot, &invocation);
        // Drop the second reference, so that the commit does not copy the shared rows.
        drop(invocation);
        let cost = &mut self.cost;
        cost.fuel = cost.fuel.saturating_add(execution.cost.fuel);
        cost.cpu_micros = cost.cpu_micros.saturating_add(execution.cost.guest_micros);
        cost.peak_memory = cost.peak_memory.max(execution.cost.peak_memory);
        Ok(self.commit_as_text(&execution))
    }

    /// Adds the rows to the shared tables and formats them.
    fn commit_as_text(&mut self, execution: &Execution) -> String {
        let completed = match &execution.outcome {
            Ok(completed) => completed,
            Err(fault) => {
                self.cost.failed += 1;
                return format!("failed: {fault}\n");
            }
        };
        let manifest = self.subject.manifest();
        Arc::make_mut(&mut self.shared).commit(manifest, &completed.tables);
        let mut text = format!("items: {}\n", completed.items);
        for (spec, table) in manifest.tables.iter().zip(&completed.tables) {
            self.cost.rows += table.rows as u64;
            let columns: Vec<Vec<String>> = table.columns.iter().map(rows::texts).collect();
            for row in 0..table.rows {
                let cells = spec
                    .columns
                    .iter()
                    .zip(&columns)
                    .filter_map(|(column, cells)| {
                        let cell = cells.get(row)?;
                        Some(format!("{}={}", column.name, printable(cell)))
                    });
                let cells: Vec<String> = cells.collect();
                text.push_str(&format!("{}: {}\n", spec.name, cells.join(", ")));
            }
        }
        text
    }
}

/// The manifest as text with one line per property, for the diff.
fn manifest_text(manifest: &Manifest) -> String {
    let order = match manifest.order {
        Order::Independent => "independent",
        Order::Serial => "serial",
    };
    let Manifest {
        name,
        version,
        description,
        cadence_seconds,
        uses_llm,
        ..
    } = manifest;
    let mut text = format!(
        "name: {name}\nversion: {version}\ndescription: {}\ncadence: {cadence_seconds} s\norder: {order}\nlanguage model: {}\n",
        printable(description),
        if *uses_llm { "yes" } else { "no" },
    );
    for table in &manifest.tables {
        let shared = match &table.shared_key {
            Some(key) => format!(", shared, key {key}"),
            None => String::new(),
        };
        text.push_str(&format!("table {}{shared}\n", table.name));
        for column in &table.columns {
            let (name, kind) = (&column.name, column.kind.name());
            text.push_str(&format!("column {}.{name}: {kind}\n", table.name));
        }
    }
    text
}

/// The path of a session relative to the root.
fn key(root: &Path, path: &Path) -> String {
    // If the root is the session file itself, the relative path is empty.
    let relative = path.strip_prefix(root).ok();
    let relative = relative.filter(|relative| !relative.as_os_str().is_empty());
    printable(&relative.unwrap_or(path).display().to_string())
}

fn diff(before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(CONTEXT_ROWS)
        .to_string()
}

fn render(comparison: &Comparison) -> String {
    let mut text = String::new();
    if let Some(manifest) = &comparison.manifest {
        text.push_str(&format!("manifest\n{manifest}\n"));
    }
    for different in comparison.different.iter().take(SHOWN_MAX) {
        text.push_str(&format!("{}\n{}\n", different.session, different.diff));
    }
    let whole = |value: u64| number(i64::try_from(value).unwrap_or(i64::MAX));
    let mut costs = table(&["component", "rows", "failed", "fuel", "CPU ms", "memory"]);
    for (name, cost) in [("old", &comparison.old), ("new", &comparison.new)] {
        costs.add_row([
            name.to_owned(),
            whole(cost.rows),
            whole(cost.failed),
            whole(cost.fuel),
            format!("{:.1}", cost.cpu_micros as f64 / 1000.0),
            bytes(cost.peak_memory),
        ]);
    }
    text.push_str(&costs.render());
    let sessions = count_of(comparison.sessions, "session", "sessions");
    let differ = comparison.different.len();
    text.push_str(&format!("\n\n{differ} of {sessions} differ"));
    text
}
