//! `compare`: where two components differ in what they say of themselves, which sessions' rows do, and
//! what each of them costs.

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

/// Sessions whose difference is shown to a person.
const SHOWN_MAX: usize = 20;
/// Rows around a difference, to know it again.
const ROWS_AROUND: usize = 1;

pub(super) const AFTER_HELP: &str = "Both read the same sessions in the same order: those of --sessions, or of the data dir. \
     Nothing is committed; shared tables begin empty, and no language model is within reach.\n\
     Exit codes: 0 nothing differs; 1 the manifests or some sessions do; 2 wrong use; 3 could not run.";

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// The one that is there: a component file, or the name of a processor
    #[arg(value_name = "OLD.wasm|NAME", value_parser = super::filled)]
    old: String,
    /// The one that is to take its place
    #[arg(value_name = "NEW.wasm|NAME", value_parser = super::filled)]
    new: String,
    /// A setting of the operator, as both are handed it; may be given several times
    #[arg(long = "settings", value_name = "KEY=VALUE", value_parser = verify::setting)]
    settings: Vec<(String, String)>,
}

pub(super) fn compare(
    global: &GlobalArgs,
    arguments: &CompareArgs,
) -> Result<Exit, CommandFailure> {
    let root = global.config()?.sessions_root;
    let sessions = conformance::session_files(&root).map_err(|error| {
        CommandFailure::wrong_use(format!(
            "{error}; name a session, or a folder of them, with --sessions"
        ))
    })?;
    if sessions.is_empty() {
        return Err(CommandFailure::wrong_use(format!(
            "there are no sessions below `{}`; name a folder of them with --sessions",
            printable(&root.display().to_string())
        )));
    }
    let spinner = Spinner::new();
    spinner.say("compiling");
    let mut old = ComparedComponent::load(global, &arguments.old, &arguments.settings)?;
    let mut new = ComparedComponent::load(global, &arguments.new, &arguments.settings)?;
    let mut different = Vec::new();
    for (number, path) in sessions.iter().enumerate() {
        spinner.say(&format!("session {} of {}", number + 1, sessions.len()));
        let (before, after) = (old.rows_of(path)?, new.rows_of(path)?);
        if before != after {
            different.push(SessionDifference {
                session: key(&root, path),
                diff: diff(&before, &after),
            });
        }
    }
    spinner.clear();
    let [before, after] = [&old, &new].map(|side| text_of(side.subject.manifest()));
    let comparison = Comparison {
        manifest: (before != after).then(|| diff(&before, &after)),
        sessions: sessions.len() as u64,
        different,
        old: old.spent,
        new: new.spent,
    };
    if global.json {
        print_json(&comparison)?;
    } else {
        print(&people(&comparison))?;
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
        hint(&format!("{more}; --json shows all"));
    }
    Ok(Exit::Findings)
}

#[derive(Debug, Serialize)]
struct Comparison {
    /// Where they differ in what they say of themselves, as a unified diff.
    manifest: Option<String>,
    /// How many both have read.
    sessions: u64,
    different: Vec<SessionDifference>,
    old: ComponentCost,
    new: ComponentCost,
}

/// A session whose rows are not the same.
#[derive(Debug, Serialize)]
struct SessionDifference {
    session: String,
    /// Unified, a row a line.
    diff: String,
}

/// What one component took for all sessions.
#[derive(Debug, Default, Serialize)]
struct ComponentCost {
    rows: u64,
    failed: u64,
    fuel: u64,
    cpu_micros: u64,
    /// The most that one session took, in bytes.
    peak_memory: u64,
}

/// One of the two components.
struct ComparedComponent {
    subject: Subject,
    /// Read by the session at hand, and added to when that has let go of them.
    shared: Arc<MemoryRows>,
    spent: ComponentCost,
}

impl ComparedComponent {
    fn load(
        global: &GlobalArgs,
        given: &str,
        settings: &[(String, String)],
    ) -> Result<Self, CommandFailure> {
        let mut component = component::find(global, given)?;
        component.settings.extend(settings.iter().cloned());
        Ok(Self {
            subject: replay::load(&global.config()?, component, given)?,
            shared: Arc::default(),
            spent: ComponentCost::default(),
        })
    }

    /// The rows of a session as text, a line each; or why there are none.
    fn rows_of(&mut self, path: &Path) -> Result<String, CommandFailure> {
        let line_bytes_max = self.subject.processor().limits().line_bytes_max;
        let (session, snapshot) = replay::open_file(path, line_bytes_max).map_err(|error| {
            let path = printable(&path.display().to_string());
            CommandFailure::could_not_run(format!("the session `{path}` can't be read: {error}"))
        })?;
        let circumstances = Invocation {
            shared: Some(Arc::clone(&self.shared)),
            ..Invocation::default()
        };
        let execution = self
            .subject
            .process_snapshot(&session, snapshot, &circumstances);
        drop(circumstances);
        let spent = &mut self.spent;
        spent.fuel = spent.fuel.saturating_add(execution.cost.fuel);
        spent.cpu_micros = spent.cpu_micros.saturating_add(execution.cost.guest_micros);
        spent.peak_memory = spent.peak_memory.max(execution.cost.peak_memory);
        Ok(self.text_of(&execution))
    }

    fn text_of(&mut self, execution: &Execution) -> String {
        let completed = match &execution.outcome {
            Ok(completed) => completed,
            Err(fault) => {
                self.spent.failed += 1;
                return format!("failed: {fault}\n");
            }
        };
        let manifest = self.subject.manifest();
        Arc::make_mut(&mut self.shared).commit(manifest, &completed.tables);
        let mut text = format!("items: {}\n", completed.items);
        for (spec, recorded) in manifest.tables.iter().zip(&completed.tables) {
            self.spent.rows += recorded.rows as u64;
            let columns: Vec<Vec<String>> = recorded.columns.iter().map(rows::texts).collect();
            for row in 0..recorded.rows {
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

/// What a component says of itself, a line for each thing that may differ.
fn text_of(manifest: &Manifest) -> String {
    let order = match manifest.order {
        Order::Independent => "any",
        Order::Serial => "one after the other",
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
            Some(key) => format!(", shared by {key}"),
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

/// As a person knows the session: its path below the root.
fn key(root: &Path, path: &Path) -> String {
    // A root that is the session itself leaves nothing below it.
    let below = path.strip_prefix(root).ok();
    let shown = below.filter(|below| !below.as_os_str().is_empty());
    let shown = shown.unwrap_or(path);
    printable(&shown.display().to_string())
}

fn diff(before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(ROWS_AROUND)
        .to_string()
}

fn people(comparison: &Comparison) -> String {
    let mut text = String::new();
    if let Some(manifest) = &comparison.manifest {
        text.push_str(&format!("what they say of themselves\n{manifest}\n"));
    }
    for different in comparison.different.iter().take(SHOWN_MAX) {
        text.push_str(&format!("{}\n{}\n", different.session, different.diff));
    }
    let whole = |value: u64| number(i64::try_from(value).unwrap_or(i64::MAX));
    let mut costs = table(&["component", "rows", "failed", "fuel", "CPU ms", "memory"]);
    for (name, spent) in [("old", &comparison.old), ("new", &comparison.new)] {
        costs.add_row([
            name.to_owned(),
            whole(spent.rows),
            whole(spent.failed),
            whole(spent.fuel),
            format!("{:.1}", spent.cpu_micros as f64 / 1000.0),
            bytes(spent.peak_memory),
        ]);
    }
    text.push_str(&costs.trim_fmt());
    let sessions = count_of(comparison.sessions, "session", "sessions");
    let differ = comparison.different.len();
    text.push_str(&format!("\n\n{differ} of {sessions} differ"));
    text
}
