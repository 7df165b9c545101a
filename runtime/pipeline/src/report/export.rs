//! Exports events to a file for other programs.
//!
//! The file is written to the only folder that the database can write to. The caller reads and
//! removes it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use duckdb::arrow::array::{Array as _, StringArray};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::{EXPORT_PREFIX, Store, StoreError, private_folder};

use crate::config::Config;
use crate::csv::{self, CsvCell};

/// The file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Comma-separated values, with a header.
    Csv,
    /// One JSON object per line.
    Json,
    /// Parquet.
    Parquet,
}

/// The selection of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Events at or after this time.
    pub since: Option<UtcMicros>,
    /// Events before this time.
    pub until: Option<UtcMicros>,
    /// Events of this user: the e-mail address, or the folder of sessions without a user.
    pub username: Option<String>,
    /// Events of this source.
    pub source: Option<String>,
}

/// An exported file. It is removed on drop. A file that is already open stays readable.
#[derive(Debug)]
pub struct ExportFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The number of rows.
    pub rows: u64,
}

impl Drop for ExportFile {
    fn drop(&mut self) {
        // Leftover files are removed at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// A column of an export.
struct ExportColumn {
    name: &'static str,
    is_number: bool,
}

const fn text(name: &'static str) -> ExportColumn {
    let is_number = false;
    ExportColumn { name, is_number }
}

const fn number(name: &'static str) -> ExportColumn {
    let is_number = true;
    ExportColumn { name, is_number }
}

/// The columns after `id`.
const COLUMNS: [ExportColumn; 26] = [
    text("session_file"),
    text("session_id"),
    text("username"),
    text("event_uuid"),
    text("parent_uuid"),
    text("event_type"),
    text("tool_id"),
    text("tool_name"),
    text("skill_name"),
    text("subagent_type"),
    text("command_name"),
    text("plugin"),
    text("mcp_server"),
    text("source"),
    text("error_class"),
    text("model"),
    text("cwd"),
    text("git_branch"),
    number("line"),
    text("is_error"),
    text("is_sidechain"),
    text("agent_version"),
    text("occurred_at"),
    number("processor_version"),
    text("recorded_at"),
    text("agent"),
];

/// Size of the write buffer for CSV.
const PIECE_BYTES: usize = 1 << 20;

/// Exports the selected events, ordered by time. The first column, `id`, is the hash of the fields
/// that identify an event: session, uuid, tool id, type, tool and command.
///
/// # Errors
/// If the database or the disk fails.
pub fn export(
    store: &Store,
    config: &Config,
    format: ExportFormat,
    filter: &EventFilter,
) -> Result<ExportFile, StoreError> {
    static EXPORTS: AtomicU64 = AtomicU64::new(0);
    let folder = config.export_dir();
    private_folder(&folder)?;
    let number = EXPORTS.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("{}{}-{number}", EXPORT_PREFIX, std::process::id()));
    // Create the file with a private mode before anything is written. The database keeps the mode.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| StoreError::Io {
            path: path.clone(),
            source,
        })?;
    // Dropping this value removes the file on every error path.
    let mut exported = ExportFile { path, rows: 0 };
    exported.rows = match format {
        ExportFormat::Csv => write_csv(store, filter, file).map_err(|error| match error {
            CsvError::Store(error) => error,
            CsvError::Io(source) => StoreError::Io {
                path: exported.path.clone(),
                source,
            },
        })?,
        ExportFormat::Json => copy(store, filter, &exported.path, "FORMAT json")?,
        ExportFormat::Parquet => copy(store, filter, &exported.path, "FORMAT parquet")?,
    };
    Ok(exported)
}

/// Exports with DuckDB's own writer.
fn copy(
    store: &Store,
    filter: &EventFilter,
    path: &Path,
    options: &str,
) -> Result<u64, StoreError> {
    let columns = COLUMNS.map(|column| column.name).join(", ");
    // A temporary file would get the default mode.
    let sql = format!(
        "COPY ({}) TO {} ({options}, USE_TMP_FILE false)",
        select(&columns, filter),
        literal(&path.to_string_lossy()),
    );
    let rows = store.reader()?.execute(&sql, []);
    Ok(rows.map_err(StoreError::database("export data"))? as u64)
}

enum CsvError {
    Store(StoreError),
    Io(std::io::Error),
}

/// Exports as CSV through [`csv::line`], streaming: there can be millions of rows.
fn write_csv(store: &Store, filter: &EventFilter, file: File) -> Result<u64, CsvError> {
    let refused = |error| CsvError::Store(StoreError::database("export data")(error));
    let columns = COLUMNS.map(|column| format!("CAST({0} AS VARCHAR) AS {0}", column.name));
    let connection = store.reader().map_err(CsvError::Store)?;
    let mut statement = connection
        .prepare(&select(&columns.join(", "), filter))
        .map_err(refused)?;
    let mut file = file;
    let mut out = String::new();
    let names = COLUMNS.iter().map(|column| column.name);
    csv::line(
        &mut out,
        std::iter::once("id").chain(names).map(CsvCell::Text),
    );
    let mut rows = 0;
    for batch in statement.stream_arrow([]).map_err(refused)? {
        let texts: Vec<Option<&StringArray>> = batch
            .columns()
            .iter()
            .map(|column| column.as_any().downcast_ref())
            .collect();
        for row in 0..batch.num_rows() {
            let cells = texts.iter().enumerate().map(|(index, column)| {
                let value = column.filter(|column| column.is_valid(row));
                let value = value.map_or("", |column| column.value(row));
                let column = index.checked_sub(1).and_then(|index| COLUMNS.get(index));
                match column {
                    Some(column) if column.is_number => CsvCell::Number(value),
                    _ => CsvCell::Text(value),
                }
            });
            csv::line(&mut out, cells);
            if out.len() >= PIECE_BYTES {
                file.write_all(out.as_bytes()).map_err(CsvError::Io)?;
                out.clear();
            }
        }
        rows += batch.num_rows() as u64;
    }
    file.write_all(out.as_bytes()).map_err(CsvError::Io)?;
    Ok(rows)
}

fn select(columns: &str, filter: &EventFilter) -> String {
    format!(
        "SELECT sha256(concat_ws('|', session_id, coalesce(event_uuid, ''), coalesce(tool_id, ''), event_type,
            coalesce(tool_name, ''), coalesce(command_name, ''))) AS id, {columns}
        FROM ({}) WHERE {} ORDER BY occurred_at NULLS LAST, session_file, line, id",
        "FROM usage.distinct_events",
        condition(filter),
    )
}

fn condition(filter: &EventFilter) -> String {
    let mut conditions = vec!["true".to_owned()];
    let texts = [("username", &filter.username), ("source", &filter.source)];
    for (column, wanted) in texts {
        conditions.extend(
            wanted
                .as_deref()
                .map(|text| format!("{column} = {}", literal(text))),
        );
    }
    for (comparison, bound) in [(">=", filter.since), ("<", filter.until)] {
        conditions.extend(
            bound.map(|bound| format!("occurred_at {comparison} make_timestamp({})", bound.0)),
        );
    }
    conditions.join(" AND ")
}

/// A string literal in SQL. COPY does not accept parameters.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', "''"))
}
