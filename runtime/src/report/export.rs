//! Events as a file, for other programs (BEHAVIOUR.md 8.8).
//!
//! The database writes it, into the one folder that it may write to; whoever asked reads it from
//! there and removes it.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::views::with_names;
use crate::clock::UtcMicros;
use crate::config::Config;
use crate::store::{self, Store, StoreError};

/// What kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values, with a header.
    Csv,
    /// One JSON object a line.
    Json,
    /// Parquet.
    Parquet,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// From this instant on.
    pub since: Option<UtcMicros>,
    /// Before this one.
    pub until: Option<UtcMicros>,
    /// Only of this user: their e-mail, or the folder of sessions that are no user's.
    pub username: Option<String>,
    /// Only of this source.
    pub source: Option<String>,
}

/// An export, removed when it is dropped: whoever opened the file before can still read it.
#[derive(Debug)]
pub struct Exported {
    /// The file.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
}

impl Drop for Exported {
    fn drop(&mut self) {
        // What is left behind is removed at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// Columns of text, which a spreadsheet could take for formulas.
const TEXTS: [&str; 18] = [
    "session_file",
    "session_id",
    "username",
    "event_uuid",
    "parent_uuid",
    "event_type",
    "tool_id",
    "tool_name",
    "skill_name",
    "subagent_type",
    "command_name",
    "plugin",
    "mcp_server",
    "source",
    "error_class",
    "model",
    "cwd",
    "git_branch",
];

/// Writes the events that fit, in the order in which they occurred. Their first column is the hash
/// of what tells events apart: session, uuid, tool id, type, tool and command.
///
/// # Errors
/// When the database or the disk refuses.
pub fn export(
    store: &Store,
    config: &Config,
    format: Format,
    filter: &Filter,
) -> Result<Exported, StoreError> {
    static EXPORTS: AtomicU64 = AtomicU64::new(0);
    let folder = config.export_dir();
    let io = |path: &PathBuf| {
        let path = path.clone();
        move |source| StoreError::Io { path, source }
    };
    fs::create_dir_all(&folder).map_err(io(&folder))?;
    let number = EXPORTS.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(
        "{}{}-{number}",
        store::EXPORT_PREFIX,
        std::process::id()
    ));
    // From here on it is removed on every way out.
    let mut exported = Exported { path, rows: 0 };
    let kind = match format {
        Format::Csv => "FORMAT csv, HEADER",
        Format::Json => "FORMAT json",
        Format::Parquet => "FORMAT parquet",
    };
    let mut columns = String::new();
    for name in TEXTS {
        columns.push_str(&match format {
            // A cell that begins like a formula is text to whoever opens it.
            Format::Csv => format!(
                "CASE WHEN regexp_matches({name}, '^[=+@\\t\\r-]') THEN '''' || {name} ELSE {name} END AS {name}, "
            ),
            Format::Json | Format::Parquet => format!("{name}, "),
        });
    }
    let sql = format!(
        "COPY (
            SELECT sha256(concat_ws('|', session_id, coalesce(event_uuid, ''), coalesce(tool_id, ''), event_type,
                coalesce(tool_name, ''), coalesce(command_name, ''))) AS id,
                {columns} line, is_error, is_sidechain, agent_version, occurred_at, processor_version, recorded_at
            FROM ({}) WHERE {} ORDER BY occurred_at NULLS LAST, session_file, line, id
        ) TO {} ({kind})",
        with_names("FROM usage.events"),
        condition(filter),
        literal(&exported.path.to_string_lossy()),
    );
    let rows = store
        .reader()?
        .execute(&sql, [])
        .map_err(StoreError::database("an export"))?;
    exported.rows = rows as u64;
    Ok(exported)
}

fn condition(filter: &Filter) -> String {
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

/// A text as SQL: COPY takes no parameters.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', "''"))
}
