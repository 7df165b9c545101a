//! Prints the rows of a session-owned table as the database has them: a line each, cells between
//! tabs, without the columns that differ from run to run.
//!
//! `cargo xtask templates` asks by it whether processors in several languages wrote the same.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use duckdb::{AccessMode, Config, Connection};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [data_dir, processor, table] = arguments.as_slice() else {
        eprintln!("usage: table_rows DATA_DIR PROCESSOR TABLE");
        return ExitCode::from(2);
    };
    match rows(Path::new(data_dir), processor, table) {
        Ok(rows) => {
            rows.iter().for_each(|row| println!("{row}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: the rows of `{processor}.{table}` can't be read: {error}");
            ExitCode::FAILURE
        }
    }
}

fn rows(data_dir: &Path, processor: &str, table: &str) -> duckdb::Result<Vec<String>> {
    let config = Config::default().access_mode(AccessMode::ReadOnly)?;
    let database = data_dir.join("state/system.duckdb");
    let connection = Connection::open_with_flags(database, config)?;
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let mut statement = connection.prepare(&format!(
        "SELECT CAST(COLUMNS(* EXCLUDE (session_seq, recorded_at)) AS VARCHAR) FROM {}.{} ORDER BY session_file, rowid",
        quoted(processor),
        quoted(table),
    ))?;
    let mut rows = statement.query([])?;
    let mut texts = Vec::new();
    while let Some(row) = rows.next()? {
        let columns = row.as_ref().column_count();
        let cells = (0..columns).map(|column| row.get::<_, Option<String>>(column));
        let cells: Vec<Option<String>> = cells.collect::<duckdb::Result<_>>()?;
        let cells = cells
            .into_iter()
            .map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
        texts.push(cells.collect::<Vec<_>>().join("\t"));
    }
    Ok(texts)
}
