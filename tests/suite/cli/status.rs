//! `status`: health checks and counts, as text and JSON.

use std::time::Duration;

use session_pipeline_harness::{DataDir, Transcript};

use super::{CliOutput, program, run_cli, run_cli_on_examples, table_lines};
use crate::documents::names;

/// The text output without the line about the disk, which depends on the machine.
fn without_disk(output: &CliOutput) -> String {
    let lines = table_lines(&output.stdout).into_iter();
    let lines: Vec<String> = lines.filter(|line| !line.starts_with("disk ")).collect();
    lines.join("\n")
}

#[test]
fn a_new_data_dir_is_healthy_and_status_creates_no_files() {
    let dir = DataDir::new();
    let output = run_cli(&dir, &["status"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    insta::assert_snapshot!(without_disk(&output), @"
    healthy

    duckdb_state info there is no database yet
    processors ok
    quarantine ok 0 sessions failing
    scheduler info the scheduler is off, so nothing runs automatically
    session_pipeline ok there are no session files yet
    session_pipeline:usage ok there are no session files yet
    sessions ok 0 session files
    users ok 0 users

    processor sessions items due failing quarantined missing last run result
    usage 0 0 0 0 0 0 never -
    verification 0 0 0 0 0 0 never -
    ");
    assert_eq!(run_cli(&dir, &["status", "--json"]).code, 0);
    assert!(!dir.path().join("state").exists());
    let mut command = program(&dir);
    command.args(["--data-dir", "not/there", "status"]);
    command.assert().success();
    assert!(!dir.path().join("not").exists());
}

#[test]
fn status_as_json_prints_the_detailed_health_document() {
    let dir = DataDir::new();
    let document = run_cli(&dir, &["status", "--json"]).json();
    assert_eq!(
        names(&document),
        [
            "caller_role",
            "channel",
            "commit_sha",
            "deployed_at",
            "image_tag",
            "overall_analyst",
            "schema_version",
            "services",
            "status",
            "timestamp",
            "version",
        ]
    );
    assert_eq!(document["status"], "healthy");
    assert_eq!(document["caller_role"], "admin");
    assert_eq!(
        names(&document["services"]),
        [
            "disk",
            "duckdb_state",
            "processors",
            "quarantine",
            "scheduler",
            "session_pipeline",
            "session_pipeline:usage",
            "sessions",
            "users",
        ]
    );
}

#[test]
fn a_backlog_is_reported_with_the_next_action_and_exits_with_1() {
    let dir = DataDir::new();
    assert_eq!(run_cli(&dir, &["migrate"]).code, 0);
    dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    // Relative to the system clock, because the program uses it.
    let file = std::fs::File::open(dir.session_path("ada/one.jsonl")).unwrap();
    let changed_at = std::time::SystemTime::now() - Duration::from_secs(86_400);
    file.set_modified(changed_at).unwrap();
    let output = run_cli(&dir, &["status"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stdout.starts_with("degraded\n"), "{output:?}");
    assert!(output.stdout.contains("extraction backlog"), "{output:?}");
    assert_eq!(
        output.stderr,
        "session_pipeline: session-pipeline run verification\n"
    );
    let json = run_cli(&dir, &["status", "--json"]);
    assert_eq!(json.code, 1, "the exit code is the same with --json");
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["status"], "degraded");
}

#[test]
fn status_prints_the_counts_of_each_processor() {
    let dir = DataDir::new();
    let before = table_lines(&run_cli(&dir, &["status"]).stdout);
    for processor in ["usage", "verification"] {
        let row = format!("{processor} 0 0 0 0 0 0 never -");
        assert!(before.contains(&row), "{before:?}");
    }
    assert!(before.contains(
        &"processor sessions items due failing quarantined missing last run result".to_owned()
    ));
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    let rows = table_lines(&run_cli_on_examples(&dir, &["status"]).stdout);
    let row = rows.iter().find(|row| row.starts_with("usage ")).unwrap();
    assert!(
        row.starts_with("usage 5 ") && row.ends_with(" [time] ok"),
        "{row}"
    );
}

#[test]
fn an_invalid_stuck_file_grace_in_the_environment_is_a_usage_error() {
    let dir = DataDir::new();
    assert_eq!(run_cli(&dir, &["migrate"]).code, 0);
    let status = |seconds: &str| {
        let mut command = program(&dir);
        command.args(["--data-dir", ".", "status"]);
        command.env("SESSION_PIPELINE_STUCK_FILE_GRACE_SECONDS", seconds);
        CliOutput::of(&dir, command.output().unwrap())
    };
    assert_eq!(status("60").code, 0);
    for invalid in ["", "0", "-5", "abc", "1.5", "+5"] {
        let output = status(invalid);
        assert_eq!(output.code, 2, "{invalid:?}: {output:?}");
        assert_eq!(
            output.stderr,
            format!(
                "error: invalid value `{invalid}` for environment variable `SESSION_PIPELINE_STUCK_FILE_GRACE_SECONDS`: \
                 expected a whole number of seconds from 1 to 31622400; unset it to use the default\n"
            )
        );
    }
}

// Environment variables.

/// The health check `session_pipeline` with these environment variables.
fn session_pipeline_check(dir: &DataDir, environment: &[(&str, &str)]) -> serde_json::Value {
    let mut command = program(dir);
    command.args([
        "--data-dir",
        dir.path().to_str().unwrap(),
        "status",
        "--json",
    ]);
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    document["services"]["session_pipeline"].clone()
}

/// Writes a session with a modification time in the past.
fn write_old_session(dir: &DataDir, key: &str, seconds_ago: u64) {
    dir.write(key, "{}\n");
    let file = std::fs::File::open(dir.session_path(key)).unwrap();
    let changed_at = std::time::SystemTime::now() - Duration::from_secs(seconds_ago);
    file.set_modified(changed_at).unwrap();
}

#[test]
fn the_stuck_file_grace_is_read_from_the_environment() {
    const GRACE: &str = "SESSION_PIPELINE_STUCK_FILE_GRACE_SECONDS";
    let dir = DataDir::new();
    assert_eq!(run_cli(&dir, &["migrate"]).code, 0);
    write_old_session(&dir, "x/five_min_old.jsonl", 300);
    write_old_session(&dir, "x/fresh.jsonl", 10);
    crate::database::execute(
        &dir,
        "INSERT INTO session_processor_state
            (processor_name, session_file, username, processed_at, items_extracted, file_hash)
         VALUES ('verification', 'x/fresh.jsonl', 'x', make_timestamp(epoch_us(now())), 0, 'deadbeef')",
    );
    assert_eq!(session_pipeline_check(&dir, &[])["status"], "ok");
    assert_eq!(
        session_pipeline_check(&dir, &[(GRACE, "600")])["status"],
        "ok"
    );
    let stuck = session_pipeline_check(&dir, &[(GRACE, "60")]);
    assert_eq!(stuck["status"], "info", "{stuck}");
    assert_eq!(stuck["stuck_file"], "x/five_min_old.jsonl");
}

#[test]
fn the_verification_interval_in_the_environment_applies_to_health_and_the_scheduler() {
    const INTERVAL: &str = "SCHEDULER_VERIFICATION_DETECTOR_INTERVAL";
    let dir = DataDir::new();
    assert_eq!(run_cli(&dir, &["migrate"]).code, 0);
    write_old_session(&dir, "x/old.jsonl", 3000);
    assert_eq!(
        session_pipeline_check(&dir, &[])["status"],
        "warning",
        "the default allows twice 900 s"
    );
    assert_eq!(
        session_pipeline_check(&dir, &[(INTERVAL, "1200")])["status"],
        "warning"
    );
    assert_eq!(
        session_pipeline_check(&dir, &[(INTERVAL, "1800")])["status"],
        "ok"
    );
    let schedule = |environment: &[(&str, &str)]| {
        let server = super::serve::ServerProcess::start_scheduling(&dir, environment);
        let status = run_cli(&dir, &["status", "--json"]);
        let document: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
        assert_eq!(server.stop(), 0);
        let jobs = document["services"]["scheduler"]["jobs"].clone();
        let jobs = jobs.as_array().unwrap().iter();
        let mut verification = jobs.filter(|job| job["name"] == "session-processor:verification");
        verification.next().unwrap()["schedule"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(schedule(&[]), "every 15m");
    assert_eq!(schedule(&[(INTERVAL, "1200")]), "every 20m");
}
