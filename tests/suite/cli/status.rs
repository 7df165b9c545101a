//! `status`: whether everything works and keeps up, for people and for machines.

use std::time::Duration;

use session_pipeline_harness::{DataDir, Transcript};

use super::{Ended, check, check_examples, program, words};
use crate::documents::names;

/// The lines about single checks; how full this machine's disk is, is none of ours.
fn checks(ended: &Ended) -> String {
    let lines = words(&ended.stdout).into_iter();
    let lines: Vec<String> = lines.filter(|line| !line.starts_with("disk ")).collect();
    lines.join("\n")
}

#[test]
fn a_new_data_dir_is_healthy_and_status_creates_no_files() {
    let dir = DataDir::new();
    let ended = check(&dir, &["status"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    insta::assert_snapshot!(checks(&ended), @"
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
    assert_eq!(check(&dir, &["status", "--json"]).code, 0);
    assert!(!dir.path().join("state").exists());
    let mut command = program(&dir);
    command.args(["--data-dir", "not/there", "status"]);
    command.assert().success();
    assert!(!dir.path().join("not").exists());
}

#[test]
fn status_as_json_prints_the_detailed_health_document() {
    let dir = DataDir::new();
    let document = check(&dir, &["status", "--json"]).json();
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
    assert_eq!(check(&dir, &["migrate"]).code, 0);
    dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    // By the clock of this machine, as the program goes by.
    let file = std::fs::File::open(dir.session_path("ada/one.jsonl")).unwrap();
    let changed_at = std::time::SystemTime::now() - Duration::from_secs(86_400);
    file.set_modified(changed_at).unwrap();
    let ended = check(&dir, &["status"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.starts_with("degraded\n"), "{ended:?}");
    assert!(ended.stdout.contains("extraction backlog"), "{ended:?}");
    assert_eq!(
        ended.stderr,
        "session_pipeline: session-pipeline run verification\n"
    );
    let json = check(&dir, &["status", "--json"]);
    assert_eq!(json.code, 1, "for machines too");
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["status"], "degraded");
}

#[test]
fn status_prints_the_counts_of_each_processor() {
    let dir = DataDir::new();
    let never = words(&check(&dir, &["status"]).stdout);
    for processor in ["usage", "verification"] {
        let row = format!("{processor} 0 0 0 0 0 0 never -");
        assert!(never.contains(&row), "{never:?}");
    }
    assert!(never.contains(
        &"processor sessions items due failing quarantined missing last run result".to_owned()
    ));
    assert_eq!(check_examples(&dir, &["run", "usage"]).code, 0);
    let rows = words(&check_examples(&dir, &["status"]).stdout);
    let row = rows.iter().find(|row| row.starts_with("usage ")).unwrap();
    assert!(
        row.starts_with("usage 5 ") && row.ends_with(" [time] ok"),
        "{row}"
    );
}

#[test]
fn an_invalid_stuck_file_grace_in_the_environment_is_a_usage_error() {
    let dir = DataDir::new();
    assert_eq!(check(&dir, &["migrate"]).code, 0);
    let status = |seconds: &str| {
        let mut command = program(&dir);
        command.args(["--data-dir", ".", "status"]);
        command.env("SESSION_PIPELINE_STUCK_FILE_GRACE_SECONDS", seconds);
        Ended::of(&dir, command.output().unwrap())
    };
    assert_eq!(status("60").code, 0);
    for bad in ["", "0", "-5", "abc", "1.5", "+5"] {
        let ended = status(bad);
        assert_eq!(ended.code, 2, "{bad:?}: {ended:?}");
        assert_eq!(
            ended.stderr,
            format!(
                "error: invalid value `{bad}` for environment variable `SESSION_PIPELINE_STUCK_FILE_GRACE_SECONDS`: \
                 expected a whole number of seconds from 1 to 31622400; unset it to use the default\n"
            )
        );
    }
}

// What the environment changes.

/// How the entry `session_pipeline` stands in an environment.
fn session_pipeline(dir: &DataDir, environment: &[(&str, &str)]) -> serde_json::Value {
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

/// A session that was last changed so long ago, by the clock of this machine.
fn changed(dir: &DataDir, key: &str, seconds_ago: u64) {
    dir.write(key, "{}\n");
    let file = std::fs::File::open(dir.session_path(key)).unwrap();
    let changed_at = std::time::SystemTime::now() - Duration::from_secs(seconds_ago);
    file.set_modified(changed_at).unwrap();
}

#[test]
fn the_stuck_file_grace_is_read_from_the_environment() {
    const GRACE: &str = "SESSION_PIPELINE_STUCK_FILE_GRACE_SECONDS";
    let dir = DataDir::new();
    assert_eq!(check(&dir, &["migrate"]).code, 0);
    changed(&dir, "x/five_min_old.jsonl", 300);
    changed(&dir, "x/fresh.jsonl", 10);
    crate::database::execute(
        &dir,
        "INSERT INTO session_processor_state
            (processor_name, session_file, username, processed_at, items_extracted, file_hash)
         VALUES ('verification', 'x/fresh.jsonl', 'x', make_timestamp(epoch_us(now())), 0, 'deadbeef')",
    );
    assert_eq!(session_pipeline(&dir, &[])["status"], "ok");
    assert_eq!(session_pipeline(&dir, &[(GRACE, "600")])["status"], "ok");
    let stuck = session_pipeline(&dir, &[(GRACE, "60")]);
    assert_eq!(stuck["status"], "info", "{stuck}");
    assert_eq!(stuck["stuck_file"], "x/five_min_old.jsonl");
}

#[test]
fn the_verification_interval_in_the_environment_applies_to_health_and_the_scheduler() {
    const INTERVAL: &str = "SCHEDULER_VERIFICATION_DETECTOR_INTERVAL";
    let dir = DataDir::new();
    assert_eq!(check(&dir, &["migrate"]).code, 0);
    changed(&dir, "x/old.jsonl", 3000);
    assert_eq!(
        session_pipeline(&dir, &[])["status"],
        "warning",
        "900 s, twice"
    );
    assert_eq!(
        session_pipeline(&dir, &[(INTERVAL, "1200")])["status"],
        "warning"
    );
    assert_eq!(
        session_pipeline(&dir, &[(INTERVAL, "1800")])["status"],
        "ok"
    );
    let schedule = |environment: &[(&str, &str)]| {
        let serving = super::serve::Serving::start_scheduling(&dir, environment);
        let jobs = check(&dir, &["status", "--json"]);
        let document: serde_json::Value = serde_json::from_str(&jobs.stdout).unwrap();
        assert_eq!(serving.stop(), 0);
        let jobs = document["services"]["scheduler"]["jobs"].clone();
        let jobs = jobs.as_array().unwrap().iter();
        let mut ours = jobs.filter(|job| job["name"] == "session-processor:verification");
        ours.next().unwrap()["schedule"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(schedule(&[]), "every 15m");
    assert_eq!(schedule(&[(INTERVAL, "1200")]), "every 20m");
}
