//! Sessions as `usage` extracts them, written with SQL, so that tests choose titles, projects and
//! figures without a transcript for each.

use session_pipeline_harness::{DataDir, TestPipeline};

use crate::database::{execute, rows};
use crate::guests::usage;

/// Costs $0.30 with 100,000 input tokens.
const SONNET: &str = "claude-sonnet-4-5-20250929";
/// Has no price.
pub const UNPRICED: &str = "claude-nimbus-1-preview";

/// The session that the others refer to.
pub const FLAKY: &str = "ada/11111111-1111-4111-8111-111111111111.jsonl";
/// The file of its sub-agent.
pub const SUBAGENT: &str = "ada/11111111-1111-4111-8111-111111111111/subagents/agent-a1.jsonl";
/// Its fork, which begins with its lines.
pub const FORK: &str = "ada/44444444-4444-4444-8444-444444444444.jsonl";
/// A session with a hostile title and a secret.
pub const HOSTILE: &str = "bob/22222222-2222-4222-8222-222222222222.jsonl";
/// A session without a title.
pub const UNTITLED: &str = "bob/plain.jsonl";
/// A session that was never processed.
pub const NEW: &str = "carol/new.jsonl";

/// The secret in the title of [`HOSTILE`].
pub const SECRET: &str = "ghp_0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R";

/// A data directory with these sessions. Their last lines are in the future of every clock.
pub fn summaries_dir() -> DataDir {
    let dir = DataDir::new();
    for key in [FLAKY, SUBAGENT, FORK, HOSTILE, UNTITLED, NEW] {
        dir.write(key, "{}\n");
    }
    create_tables(&dir);
    let first = "11111111-1111-4111-8111-111111111111";
    let fork = "44444444-4444-4444-8444-444444444444";
    let hostile = "22222222-2222-4222-8222-222222222222";
    let title = format!("'A ' || chr(27) || '[2J' || chr(10) || '{SECRET} title'");
    let details =
        "'[\"acme/api#7\", \"acme/api#8\"]', 12, 3, 2, 3, '{\"overloaded\":1,\"rate_limit\":2}'";
    for (number, key, id, columns) in [
        (1, FLAKY, first, format!("'Fix the flaky test', '/home/ada/api', '/home/ada/api', 'main', false, 'cli', NULL, 'u1', {details}, '9001-01-05 10:00:00'")),
        (2, SUBAGENT, first, "NULL, '/home/ada/api', '/home/ada/api', 'main', false, 'cli', NULL, 'u2', NULL, 0, 0, 0, 0, NULL, '9001-01-05 10:05:00'".to_owned()),
        (3, FORK, first, "'Another way', '/home/ada/api', '/home/ada/api', 'main', false, 'cli', NULL, 'u1', NULL, 0, 0, 0, 0, NULL, '9001-01-06 10:00:00'".to_owned()),
        (4, HOSTILE, hostile, format!("{title}, 'C:\\work\\web', 'C:\\work\\web', NULL, true, 'sdk-cli', NULL, 'u4', NULL, 0, 0, 0, 0, NULL, '9001-01-07 10:00:00'")),
        (5, UNTITLED, "s5", "NULL, NULL, '/home/bob/tools.worktrees/x', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '9001-01-04 10:00:00'".to_owned()),
    ] {
        let columns = format!("'{id}', {columns}");
        insert(&dir, "sessions", key, number, "session_id, title, project, cwd, git_branch, is_automated, entrypoint, parent_session, first_uuid, pull_requests, lines_added, lines_removed, compactions, api_errors, api_errors_by_class, ended_at", &columns);
        execute(&dir, &format!(
            "INSERT INTO main.session_processor_state (processor_name, session_file, username, session_seq)
             VALUES ('usage', '{key}', 'x', {number})"
        ));
    }
    let message = |number: i64, key: &str, id: &str, model: &str| {
        let columns =
            "session_id, message_id, occurred_at, model, input_tokens, is_final, file_started_at";
        // A copy has the same id of the response. The earliest file has the original.
        let response = if number == 30 { 10 } else { number };
        let file = number / 10;
        insert(
            &dir,
            "messages",
            key,
            file,
            columns,
            &format!(
                "'{id}', 'msg_{response:024}', '2026-01-05 10:00:00', '{model}', 100000, true, '2026-01-0{file} 10:00:00'"
            ),
        );
    };
    message(10, FLAKY, first, SONNET);
    message(20, SUBAGENT, first, SONNET);
    message(30, FORK, first, SONNET);
    message(31, FORK, fork, SONNET);
    message(40, HOSTILE, hostile, SONNET);
    message(41, HOSTILE, hostile, UNPRICED);
    message(42, HOSTILE, hostile, SONNET);
    message(43, HOSTILE, hostile, SONNET);
    insert(
        &dir,
        "agent_runs",
        FLAKY,
        1,
        "session_id, agent_id, agent_type, total_tokens, total_duration_ms, line",
        &format!("'{first}', 'a9', 'Explore', 12345, 1500, 4"),
    );
    dir
}

/// Creates the tables of `usage` with all columns that reports read.
fn create_tables(dir: &DataDir) {
    let pipeline = TestPipeline::open(dir, &[usage()]);
    pipeline.pipeline().processor("usage").unwrap();
}

/// Inserts a row. Other columns that cannot be null are zero, empty or false.
fn insert(dir: &DataDir, table: &str, key: &str, session_seq: i64, columns: &str, values: &str) {
    let given: Vec<&str> = columns
        .split(", ")
        .chain(["session_file", "session_seq"])
        .collect();
    let required = rows(dir, &format!(
        "SELECT column_name, CASE data_type WHEN 'VARCHAR' THEN '''''' WHEN 'BOOLEAN' THEN 'false'
                WHEN 'TIMESTAMP' THEN 'TIMESTAMP ''2026-01-05''' ELSE '0' END
         FROM duckdb_columns() WHERE schema_name = 'usage' AND table_name = '{table}' AND NOT is_nullable"
    ));
    let (mut columns, mut values) = (columns.to_owned(), values.to_owned());
    for line in required {
        let (name, value) = line.split_once(" | ").unwrap();
        if !given.contains(&name) {
            columns.push_str(&format!(", {name}"));
            values.push_str(&format!(", {value}"));
        }
    }
    execute(
        dir,
        &format!(
            "INSERT INTO usage.{table} (session_file, session_seq, {columns}) VALUES ('{key}', {session_seq}, {values})"
        ),
    );
}
