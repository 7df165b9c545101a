//! A readable summary of the migrations: the tables and columns that each one changes.

use std::collections::BTreeMap;

use session_pipeline_migrations::{LADDER, describe};

use super::{database, legacy_at_28, migrate_to};

/// The columns and keys of each table.
type Tables = BTreeMap<String, Vec<String>>;

#[test]
fn each_number_changes_these_tables_and_columns() {
    let fresh = steps("");
    let legacy = steps(&legacy_at_28(""));
    let differing = legacy
        .iter()
        .zip(&fresh)
        .filter(|(legacy, fresh)| legacy != fresh);
    let differing: Vec<&str> = differing.map(|(legacy, _)| legacy.as_str()).collect();
    let text = format!(
        "From an empty database:\n{}\nFrom the legacy system, where it differs:\n{}",
        fresh.concat(),
        differing.concat()
    );
    insta::assert_snapshot!(text);
}

/// Returns the changes of each migration to this database.
fn steps(setup: &str) -> Vec<String> {
    let mut connection = database(setup);
    let mut before = tables(&describe(&connection).unwrap());
    let step = |step: &session_pipeline_migrations::Step| {
        migrate_to(&mut connection, Some(step.number)).unwrap();
        let after = tables(&describe(&connection).unwrap());
        let changes = changes(&before, &after);
        before = after;
        format!("{} {}\n{changes}", step.number, step.name)
    };
    LADDER.iter().map(step).collect()
}

/// Parses a description, which consists of `CREATE TABLE` statements with one column or key per
/// line.
fn tables(description: &str) -> Tables {
    let mut tables = Tables::new();
    let mut table = String::new();
    for line in description.lines() {
        if let Some(name) = line.strip_prefix("CREATE TABLE ") {
            name.trim_end_matches(" (").clone_into(&mut table);
            tables.insert(table.clone(), Vec::new());
        } else if let Some(column) = line.strip_prefix("    ") {
            let column = column.trim_end_matches(',').to_owned();
            tables.get_mut(&table).unwrap().push(column);
        } else {
            assert!(["", ");"].contains(&line), "unexpected line: {line}");
        }
    }
    tables
}

/// Returns the names of columns. Other lines, such as keys, are returned in full.
fn names(columns: &[String]) -> String {
    let name = |column: &String| match column.split_once(' ') {
        Some(("PRIMARY", _)) | None => column.clone(),
        Some((name, _)) => name.to_owned(),
    };
    columns.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Returns one line for each added or removed table or column.
fn changes(before: &Tables, after: &Tables) -> String {
    let mut lines = Vec::new();
    for (table, columns) in after {
        match before.get(table) {
            None => lines.push(format!("  + {table}: {}", names(columns))),
            Some(old) => {
                let removed = old.iter().filter(|column| !columns.contains(column));
                lines.extend(removed.map(|column| format!("  {table} - {column}")));
                let new = columns.iter().filter(|column| !old.contains(column));
                lines.extend(new.map(|column| format!("  {table} + {column}")));
            }
        }
    }
    let removed = before.keys().filter(|table| !after.contains_key(*table));
    lines.extend(removed.map(|table| format!("  - {table}")));
    lines.iter().map(|line| format!("{line}\n")).collect()
}
