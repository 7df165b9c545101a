//! `replay`: processes one session without a commit, and prints its rows, log and cost.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use session_pipeline_harness::subject::session_info;
use session_pipeline_harness::{Invocation, Subject, json_rows, rows};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::Snapshot;
use session_pipeline_host::fault::{Fault, printable};
use session_pipeline_host::limits::Limits;
use session_pipeline_host::manifest::{Manifest, TableSpec};
use session_pipeline_host::processor::{Execution, SessionInfo};
use session_pipeline_host::rows::TableRows;
use session_pipeline_host::sessions::{COMPRESSED_SUFFIX, SessionsRoot, is_key};
use session_pipeline_host::shared::MemoryRows;
use session_pipeline_pipeline::config::Config;

use super::component::{self, LoadedComponent};
use super::table::{bytes, count_of, field_list, number, table};
use super::{CommandFailure, Exit, GlobalArgs, print, print_json, verify};

/// Maximum number of rows per table in the text output.
const ROWS_SHOWN: usize = 100;
/// Maximum number of columns of a text table. Wider rows are printed with one column per line.
const TABLE_COLUMNS_MAX: usize = 6;
/// Maximum number of characters of a cell in the text output.
const CELL_CHARS_SHOWN: usize = 120;

pub(super) const AFTER_HELP: &str = "Nothing is committed. No data directory or lock is needed. No language model is available. \
     The user is the name of the session's folder, because user accounts are not looked up.\n\
     Exit codes: 0 the session succeeded; 1 the session failed; 2 usage error; 3 could not run.";

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Name of a processor, or component file
    #[arg(value_name = "NAME|FILE.wasm", value_parser = super::non_empty)]
    processor: String,
    /// Key of a session below the sessions root, or session file
    #[arg(value_name = "KEY|FILE.jsonl", value_parser = super::non_empty)]
    session: String,
    /// JSON file with rows for the shared tables, in the format of `replay --json` [default: empty tables]
    #[arg(long, value_name = "FILE", value_parser = super::file)]
    shared_from: Option<PathBuf>,
    /// Setting for the processor; can be repeated
    #[arg(long = "settings", value_name = "KEY=VALUE", value_parser = verify::setting)]
    settings: Vec<(String, String)>,
}

pub(super) fn replay(global: &GlobalArgs, arguments: &ReplayArgs) -> Result<Exit, CommandFailure> {
    let config = global.config()?;
    let mut component = component::find(global, &arguments.processor)?;
    component
        .settings
        .extend(arguments.settings.iter().cloned());
    let (session, snapshot) = open(&config, &arguments.session, &component.limits)?;
    let subject = load(&config, component, &arguments.processor)?;
    let manifest = subject.manifest();
    let mut shared = match &arguments.shared_from {
        Some(path) => shared_rows(manifest, path)?,
        None => MemoryRows::default(),
    };
    let invocation = Invocation {
        shared: Some(Arc::new(shared.clone())),
        ..Invocation::default()
    };
    let execution = subject.process_snapshot(&session, snapshot, &invocation);
    if let Ok(completed) = &execution.outcome {
        shared.commit(manifest, &completed.tables);
    }
    if global.json {
        print_json(&document(manifest, &session, &execution, &shared))?;
    } else {
        print(&render(manifest, &session, &execution))?;
    }
    Ok(match execution.outcome {
        Ok(_) => Exit::Done,
        Err(_) => Exit::Findings,
    })
}

/// Compiles and loads a component. `argument` is the name or file that the user passed.
pub(super) fn load(
    config: &Config,
    component: LoadedComponent,
    argument: &str,
) -> Result<Subject, CommandFailure> {
    let LoadedComponent {
        bytes,
        limits,
        settings,
        ..
    } = component;
    Subject::load(&config.compiler, &limits, settings, &bytes).map_err(|fault| {
        let argument = printable(argument);
        CommandFailure::could_not_run(format!(
            "cannot use `{argument}`: {fault}; run `session-pipeline processors inspect {argument}` for details"
        ))
    })
}

/// Opens a session by key or path. A key takes precedence. To open a file whose path is also a key, use
/// a path such as `./ada/one.jsonl`.
fn open(
    config: &Config,
    argument: &str,
    limits: &Limits,
) -> Result<(SessionInfo, Snapshot), CommandFailure> {
    let root = SessionsRoot::open(&config.sessions_root).ok().flatten();
    if let Some(root) = root.filter(|_| is_key(argument))
        && let Ok(snapshot) = Snapshot::open(&root, argument, UtcMicros(0), limits)
    {
        return Ok((session_info(argument), snapshot));
    }
    let opened = open_file(Path::new(argument), limits);
    opened.map_err(|error| {
        let (argument, root) = (printable(argument), config.sessions_root.display().to_string());
        CommandFailure::usage_error(format!(
            "`{argument}` is neither a session below `{}` nor a readable file: {error}; run `session-pipeline sessions list` for the keys",
            printable(&root)
        ))
    })
}

/// Opens any regular file as a session. A file `*.jsonl.zst` is decompressed.
pub(super) fn open_file(path: &Path, limits: &Limits) -> std::io::Result<(SessionInfo, Snapshot)> {
    let path = path.canonicalize()?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| std::io::Error::other("the file name is not UTF-8"))?;
    let root = SessionsRoot::open(folder)?;
    let root = root.ok_or_else(|| std::io::Error::other("the folder does not exist"))?;
    let plain = name.strip_suffix(COMPRESSED_SUFFIX);
    let name = plain
        .filter(|plain| plain.ends_with(".jsonl"))
        .unwrap_or(name);
    let snapshot = Snapshot::open(&root, name, UtcMicros(0), limits)?;
    let user = folder.file_name().and_then(|name| name.to_str());
    let key = format!("{}/{name}", user.unwrap_or("nobody"));
    Ok((session_info(&key), snapshot))
}

fn shared_rows(manifest: &Manifest, path: &Path) -> Result<MemoryRows, CommandFailure> {
    let invalid = |reason: String| {
        let path = printable(&path.display().to_string());
        CommandFailure::usage_error(format!(
            "cannot read shared tables from `{path}`: {reason}; use the output of `replay --json`, or {{\"<table>\": [{{\"<column>\": …}}]}}"
        ))
    };
    let is_file = std::fs::metadata(path).map(|metadata| metadata.is_file());
    if !is_file.map_err(|error| invalid(error.to_string()))? {
        return Err(invalid("not a regular file".to_owned()));
    }
    let text = std::fs::read(path).map_err(|error| invalid(error.to_string()))?;
    let document: Value =
        serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
    let is_replay = document.get("execution").is_some();
    let tables = document.get("shared").filter(|_| is_replay);
    json_rows::parse_shared_rows(manifest, tables.unwrap_or(&document)).map_err(invalid)
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

fn render(manifest: &Manifest, session: &SessionInfo, execution: &Execution) -> String {
    let (name, key) = (&manifest.name, printable(&session.key));
    let mut text = match &execution.outcome {
        Ok(completed) => {
            let items = count_of(completed.items, "item", "items");
            let mut text = format!("`{name}` extracted {items} from {key}");
            for (spec, rows) in manifest.tables.iter().zip(&completed.tables) {
                text.push_str(&format!("\n\n{}", table_text(spec, rows)));
            }
            text
        }
        Err(fault) => render_failure(name, &key, fault, &execution.backtrace),
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
    let costs = field_list(
        "  ",
        &[
            ("fuel", Some(whole(cost.fuel))),
            ("memory", Some(format!("{} peak", bytes(cost.peak_memory)))),
            ("time", Some(format!("{} µs CPU", whole(cost.guest_micros)))),
            ("session", Some(bytes(cost.bytes))),
        ],
    );
    text.push_str(&format!("\n\ncost\n{costs}"));
    text
}

fn render_failure(name: &str, key: &str, fault: &Fault, backtrace: &[String]) -> String {
    let mut text = format!("`{name}` failed on {key}: {fault}");
    if !backtrace.is_empty() {
        text.push_str("\n\nbacktrace, innermost frame first");
        for (frame, function) in backtrace.iter().enumerate() {
            text.push_str(&format!("\n  {frame:2}  {function}"));
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
        cells.map(|cell| truncated(cell))
    };
    let shown_rows = 0..rows.rows.min(ROWS_SHOWN);
    if columns.len() <= TABLE_COLUMNS_MAX {
        let names: Vec<&str> = names().collect();
        let mut table = table(&names).with_shortened(&names);
        for row in shown_rows {
            table.add_row(cells(row));
        }
        text.push_str(&format!("\n{}", table.render()));
    } else {
        for row in shown_rows {
            let fields: Vec<(&str, Option<String>)> = names().zip(cells(row).map(Some)).collect();
            text.push_str(&format!(
                "\n  row {}\n{}",
                row + 1,
                field_list("    ", &fields)
            ));
        }
    }
    if rows.rows > ROWS_SHOWN {
        let more = count_of((rows.rows - ROWS_SHOWN) as u64, "more row", "more rows");
        text.push_str(&format!("\n  {more}; use --json to list all"));
    }
    text
}

/// The start of a cell, safe to print.
fn truncated(cell: &str) -> String {
    let mut text = printable(cell);
    if let Some((end, _)) = text.char_indices().nth(CELL_CHARS_SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}
