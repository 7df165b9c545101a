//! Tests values that a person wrote to the database: they cause no panic, and no escape code
//! reaches a terminal.

use session_pipeline_harness::{DataDir, Transcript, compiled, program};

use crate::database::{execute, rows};

/// The exit code, and the output on both streams.
fn check(dir: &DataDir, arguments: &[&str]) -> (i32, String) {
    let mut command = program::command_with_data_dir(dir);
    command.envs(compiled::environment());
    let output = command.args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let text = text.concat();
    assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    (output.status.code().unwrap(), text)
}

/// A data directory with rows in all tables.
fn populated_dir() -> DataDir {
    let dir = DataDir::new();
    dir.write(
        "ada/one.jsonl",
        Transcript::new("s1").assistant(|m| m.tokens(10, 5).tool("Bash")),
    );
    assert_eq!(check(&dir, &["run", "usage"]).0, 0);
    assert_eq!(check(&dir, &["token", "create", "--role", "admin"]).0, 0);
    dir
}

const COMMANDS: [&[&str]; 13] = [
    &["run", "usage"],
    &["run", "--all", "--json"],
    &["token", "create", "--role", "analyst"],
    &["token", "list"],
    &["status"],
    &["status", "--json"],
    &["sessions", "list"],
    &["sessions", "show", "ada/one.jsonl"],
    &["report", "usage"],
    &["report", "usage", "--by", "tool"],
    &["quarantine", "list"],
    &["reprocess", "usage"],
    &["run", "usage", "--json"],
];

#[test]
fn a_counter_that_cannot_be_incremented_is_reported() {
    for value in [i64::MAX, i64::MAX - 1, i64::MIN, -1] {
        let dir = populated_dir();
        execute(&dir, &format!("UPDATE main.counters SET value = {value}"));
        let mut is_reported = false;
        for arguments in COMMANDS {
            let (code, text) = check(&dir, arguments);
            assert!([0, 1, 3].contains(&code), "{arguments:?}: {text}");
            is_reported |= text.contains("the counter `") && text.contains("cannot be incremented");
        }
        assert!(is_reported, "{value}");
    }
}

#[test]
fn extreme_numbers_in_any_table_cause_no_panic() {
    let dir = populated_dir();
    let columns = rows(
        &dir,
        "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns
         JOIN information_schema.tables USING (table_schema, table_name)
         WHERE table_type = 'BASE TABLE' AND table_name <> 'counters' AND table_schema IN ('main', 'usage')
         AND table_name NOT LIKE '%migration%' ORDER BY ALL",
    );
    let mut updated = 0;
    for extreme in 0..2 {
        let dir = populated_dir();
        for column in &columns {
            let parts: Vec<&str> = column.split(" | ").collect();
            let value = match (parts[3], extreme) {
                ("BIGINT", 0) => "9223372036854775807",
                ("BIGINT", _) => "-9223372036854775808",
                ("INTEGER", 0) => "2147483647",
                ("INTEGER", _) => "-2147483648",
                ("TIMESTAMP", 0) => "'9999-12-31 23:59:59.999999'",
                ("TIMESTAMP", _) => "'-0300-01-01 00:00:00'",
                _ => continue,
            };
            let update = format!(
                "UPDATE {}.{} SET \"{}\" = {value}",
                parts[0], parts[1], parts[2]
            );
            // A constraint can reject the value. Then the database cannot contain it.
            let connection = duckdb::Connection::open(dir.database_path()).unwrap();
            updated += usize::from(connection.execute_batch(&update).is_ok());
        }
        for arguments in COMMANDS {
            let (code, text) = check(&dir, arguments);
            assert!([0, 1, 3].contains(&code), "{arguments:?}: {text}");
        }
    }
    assert!(updated > 20, "{updated}");
}

#[test]
fn escape_codes_in_token_ids_and_labels_are_escaped() {
    let dir = populated_dir();
    let escapes = "\u{1b}[2J\u{9b}31m\u{202e}\r\n\t";
    execute(
        &dir,
        &format!("UPDATE main.tokens SET id = '{escapes}', label = '{escapes}'"),
    );
    for arguments in [&["token", "list"][..], &["token", "list", "--json"]] {
        let (code, text) = check(&dir, arguments);
        assert_eq!(code, 0, "{text}");
        let raw = text
            .chars()
            .find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(raw, None, "{text:?}");
    }
    let (_, text) = check(&dir, &["token", "list"]);
    assert!(text.contains(r"\u{1b}[2J"), "{text}");
}
