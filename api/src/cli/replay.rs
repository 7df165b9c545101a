//! `replay`: one session through one processor, with all that came of it, and nothing committed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use session_pipeline_harness::subject::session_info;
use session_pipeline_harness::{Invocation, Subject, json_rows, rows};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::Snapshot;
use session_pipeline_host::fault::{Fault, printable};
use session_pipeline_host::manifest::{Manifest, TableSpec};
use session_pipeline_host::processor::{Execution, SessionInfo};
use session_pipeline_host::rows::TableRows;
use session_pipeline_host::sessions::{SessionsRoot, is_key};
use session_pipeline_host::shared::MemoryRows;
use session_pipeline_pipeline::config::Config;

use super::component::{self, LoadedArgument};
use super::table::{bytes, count_of, facts, number, table};
use super::{CommandFailure, Exit, GlobalArgs, print, print_json, verify};

/// Rows of a table that are shown to a person.
const ROWS_SHOWN: usize = 100;
/// Columns that stand beside each other; of more, each has a line of its own.
const COLUMNS_BESIDE: usize = 6;
/// Characters of a cell that are shown to a person.
const CELL_CHARS_SHOWN: usize = 120;

pub(super) const AFTER_HELP: &str = "Nothing is committed, and neither a data dir nor a lock is needed; no language model is within reach. \
     The user is the folder's name, since nobody is asked whose it is.\n\
     Exit codes: 0 the session succeeded; 1 it failed; 2 wrong use; 3 could not run.";

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The name of a processor, or a component file
    #[arg(value_name = "NAME|FILE.wasm", value_parser = super::filled)]
    processor: String,
    /// The key of a session below the sessions root, or a file
    #[arg(value_name = "KEY|FILE.jsonl", value_parser = super::filled)]
    session: String,
    /// JSON file with the rows of the shared tables, as `replay --json` prints them [default: they are empty]
    #[arg(long, value_name = "FILE", value_parser = super::file)]
    shared_from: Option<PathBuf>,
    /// A setting of the operator, as the processor is handed it; may be given several times
    #[arg(long = "settings", value_name = "KEY=VALUE", value_parser = verify::setting)]
    settings: Vec<(String, String)>,
}

pub(super) fn replay(global: &GlobalArgs, arguments: &ReplayArgs) -> Result<Exit, CommandFailure> {
    let config = global.config()?;
    let mut component = component::find(global, &arguments.processor)?;
    component
        .settings
        .extend(arguments.settings.iter().cloned());
    let line_bytes_max = component.limits.line_bytes_max;
    let (session, snapshot) = open(&config, &arguments.session, line_bytes_max)?;
    let subject = load(&config, component, &arguments.processor)?;
    let manifest = subject.manifest();
    let mut shared = match &arguments.shared_from {
        Some(path) => shared_rows(manifest, path)?,
        None => MemoryRows::default(),
    };
    let circumstances = Invocation {
        shared: Some(Arc::new(shared.clone())),
        ..Invocation::default()
    };
    let execution = subject.process_snapshot(&session, snapshot, &circumstances);
    if let Ok(completed) = &execution.outcome {
        shared.commit(manifest, &completed.tables);
    }
    if global.json {
        print_json(&document(manifest, &session, &execution, &shared))?;
    } else {
        print(&people(manifest, &session, &execution))?;
    }
    Ok(match execution.outcome {
        Ok(_) => Exit::Done,
        Err(_) => Exit::Findings,
    })
}

/// Makes a component ready; `given` is what it was called.
pub(super) fn load(
    config: &Config,
    component: LoadedArgument,
    given: &str,
) -> Result<Subject, CommandFailure> {
    let LoadedArgument {
        bytes,
        limits,
        settings,
        ..
    } = component;
    Subject::load(&config.compiler, &limits, settings, &bytes).map_err(|fault| {
        let given = printable(given);
        CommandFailure::could_not_run(format!(
            "`{given}` can't be used: {fault}; `processors inspect {given}` shows what it is"
        ))
    })
}

/// Opens the session that is meant. A key before a file; whoever means a file of that name writes
/// `./ada/one.jsonl`.
fn open(
    config: &Config,
    given: &str,
    line_bytes_max: usize,
) -> Result<(SessionInfo, Snapshot), CommandFailure> {
    let root = SessionsRoot::open(&config.sessions_root).ok().flatten();
    if let Some(root) = root.filter(|_| is_key(given))
        && let Ok(snapshot) = Snapshot::open(&root, given, UtcMicros(0), line_bytes_max)
    {
        return Ok((session_info(given), snapshot));
    }
    let opened = open_file(Path::new(given), line_bytes_max);
    opened.map_err(|error| {
        let (given, root) = (printable(given), config.sessions_root.display().to_string());
        CommandFailure::wrong_use(format!(
            "`{given}` is no session below `{}`, and no file ({error}); `sessions list` shows the keys",
            printable(&root)
        ))
    })
}

/// Opens any regular file as a session.
pub(super) fn open_file(
    path: &Path,
    line_bytes_max: usize,
) -> std::io::Result<(SessionInfo, Snapshot)> {
    let path = path.canonicalize()?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| std::io::Error::other("its name is not UTF-8"))?;
    let root = SessionsRoot::open(folder)?;
    let root = root.ok_or_else(|| std::io::Error::other("its folder is gone"))?;
    let snapshot = Snapshot::open(&root, name, UtcMicros(0), line_bytes_max)?;
    let user = folder.file_name().and_then(|name| name.to_str());
    let key = format!("{}/{name}", user.unwrap_or("nobody"));
    Ok((session_info(&key), snapshot))
}

fn shared_rows(manifest: &Manifest, path: &Path) -> Result<MemoryRows, CommandFailure> {
    let refused = |reason: String| {
        let path = printable(&path.display().to_string());
        CommandFailure::wrong_use(format!(
            "`{path}` holds no shared tables: {reason}; give what `replay --json` prints, or {{\"<table>\": [{{\"<column>\": …}}]}}"
        ))
    };
    let is_file = std::fs::metadata(path).map(|metadata| metadata.is_file());
    if !is_file.map_err(|error| refused(error.to_string()))? {
        return Err(refused("it is no regular file".to_owned()));
    }
    let text = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    let document: Value =
        serde_json::from_slice(&text).map_err(|error| refused(error.to_string()))?;
    let is_replay = document.get("execution").is_some();
    let tables = document.get("shared").filter(|_| is_replay);
    json_rows::parse_shared_rows(manifest, tables.unwrap_or(&document)).map_err(refused)
}

fn document(
    manifest: &Manifest,
    session: &SessionInfo,
    execution: &Execution,
    shared: &MemoryRows,
) -> Value {
    let completed = execution.outcome.as_ref().ok();
    let cost = &execution.cost;
    json!({
        "processor": manifest.name,
        "version": manifest.version,
        "session": session.key,
        "items": completed.map(|completed| completed.items),
        "tables": completed.map(|completed| json_rows::rows_to_json(manifest, &completed.tables)),
        "shared": json_rows::shared_rows_to_json(manifest, shared),
        "execution": {
            "fault": execution.outcome.as_ref().err(),
            "backtrace": execution.backtrace,
            "log": execution.log,
            "hash": execution.hash.map(|hash| hash.to_string()),
            "bytes": cost.bytes,
            "fuel": cost.fuel,
            "peak_memory": cost.peak_memory,
            "cpu_micros": cost.guest_micros,
        },
    })
}

fn people(manifest: &Manifest, session: &SessionInfo, execution: &Execution) -> String {
    let (name, key) = (&manifest.name, printable(&session.key));
    let mut text = match &execution.outcome {
        Ok(completed) => {
            let items = count_of(completed.items, "item", "items");
            let mut text = format!("`{name}` found {items} in {key}");
            for (spec, rows) in manifest.tables.iter().zip(&completed.tables) {
                text.push_str(&format!("\n\n{}", table_text(spec, rows)));
            }
            text
        }
        Err(fault) => failed(name, &key, fault, &execution.backtrace),
    };
    if !execution.log.is_empty() {
        text.push_str("\n\nlog");
        for line in &execution.log {
            let level = format!("{:?}", line.level).to_lowercase();
            text.push_str(&format!("\n  {level:5}  {}", line.message));
        }
    }
    let cost = &execution.cost;
    let whole = |value: u64| number(i64::try_from(value).unwrap_or(i64::MAX));
    let costs = facts(
        "  ",
        &[
            ("fuel", Some(whole(cost.fuel))),
            (
                "memory",
                Some(format!("{} at most", bytes(cost.peak_memory))),
            ),
            (
                "time",
                Some(format!("{} µs of CPU", whole(cost.guest_micros))),
            ),
            ("session", Some(bytes(cost.bytes))),
        ],
    );
    text.push_str(&format!("\n\ncost\n{costs}"));
    text
}

fn failed(name: &str, key: &str, fault: &Fault, backtrace: &[String]) -> String {
    let mut text = format!("`{name}` failed at {key}: {fault}");
    if !backtrace.is_empty() {
        text.push_str("\n\nwhere it was, the innermost first");
        for (place, function) in backtrace.iter().enumerate() {
            text.push_str(&format!("\n  {place:2}  {function}"));
        }
    }
    text
}

fn table_text(spec: &TableSpec, rows: &TableRows) -> String {
    let count = count_of(rows.rows as u64, "row", "rows");
    let owner = match spec.shared_key {
        Some(_) => "shared, ",
        None => "",
    };
    let mut text = format!("table {} ({owner}{count})", spec.name);
    if rows.rows == 0 {
        return text;
    }
    let columns: Vec<Vec<String>> = rows.columns.iter().map(rows::texts).collect();
    let names = || spec.columns.iter().map(|column| column.name.as_str());
    let cells = |row: usize| {
        let cells = columns.iter().filter_map(move |cells| cells.get(row));
        cells.map(|cell| shown(cell))
    };
    let shown_rows = 0..rows.rows.min(ROWS_SHOWN);
    if columns.len() <= COLUMNS_BESIDE {
        let names: Vec<&str> = names().collect();
        let mut beside = table(&names);
        for row in shown_rows {
            beside.add_row(cells(row));
        }
        text.push_str(&format!("\n{}", beside.trim_fmt()));
    } else {
        for row in shown_rows {
            let below: Vec<(&str, Option<String>)> = names().zip(cells(row).map(Some)).collect();
            text.push_str(&format!("\n  row {}\n{}", row + 1, facts("    ", &below)));
        }
    }
    if rows.rows > ROWS_SHOWN {
        let more = count_of((rows.rows - ROWS_SHOWN) as u64, "row", "rows");
        text.push_str(&format!("\n  {more} more; --json has all of them"));
    }
    text
}

/// A cell as it fits on a line.
pub(super) fn shown(cell: &str) -> String {
    let mut text = printable(cell);
    if let Some((end, _)) = text.char_indices().nth(CELL_CHARS_SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}
