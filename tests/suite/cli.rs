//! The program as people and scripts meet it: what it prints where, and how it ends.

use std::fs;
use std::process::{Output, Stdio};

use assert_cmd::Command;
use serde_json::Value;
use session_pipeline_harness::redact::redact;
use session_pipeline_harness::{DataDir, Session};
use session_pipeline_runtime::store::Store;

use crate::documents::names;
use crate::report::TOTALS;
use crate::usage::examples;

/// The program, in a folder of its own and without anybody's environment.
fn program(dir: &DataDir) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("session-pipeline"));
    command.env_clear().current_dir(dir.path());
    command
}

/// How the program ended: exit code, standard output, standard error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Ended {
    fn of(dir: &DataDir, output: Output) -> Self {
        let text = |bytes| redact(&String::from_utf8(bytes).unwrap(), dir.path());
        Self {
            code: output.status.code().unwrap(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// The one JSON document on standard output of a run that went well.
    pub(super) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs the program on a data dir.
pub(super) fn check(dir: &DataDir, arguments: &[&str]) -> Ended {
    let data_dir = dir.path().to_str().unwrap();
    let mut command = program(dir);
    command.args(["--data-dir", data_dir]).args(arguments);
    Ended::of(dir, command.output().unwrap())
}

/// The same over the examples.
pub(super) fn check_examples(dir: &DataDir, arguments: &[&str]) -> Ended {
    let examples = examples();
    let sessions = ["--sessions", examples.to_str().unwrap()];
    check(dir, &[&sessions, arguments].concat())
}

/// A text in which the words of a table stand, whatever the widths of its columns.
pub(super) fn words(text: &str) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).collect()
}

#[test]
fn run_prints_a_table_and_says_nothing_else() {
    let dir = DataDir::new();
    let ended = check_examples(&dir, &["run", "usage"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    let [header, row] = words(&ended.stdout).try_into().unwrap();
    assert_eq!(
        header,
        "processor scanned processed skipped failed waiting quarantined items read seconds"
    );
    assert!(row.starts_with("usage 5 5 0 0 0 0 "), "{row}");
}

#[test]
fn run_as_json_is_the_body_that_the_endpoint_gives() {
    let dir = DataDir::new();
    let body = check_examples(&dir, &["run", "usage", "--json"]).json();
    assert_eq!(names(&body), ["details", "ok"]);
    assert_eq!(body["ok"], true);
    assert_eq!(
        names(&body["details"]),
        [
            "bytes",
            "capped",
            "duration_ms",
            "errors",
            "errors_detail",
            "fuel",
            "items_extracted",
            "processed",
            "processor",
            "quarantined",
            "scanned",
            "skipped",
            "waiting",
        ]
    );
    assert_eq!(body["details"]["processed"], 5);
    let again = check_examples(&dir, &["run", "usage", "--json"]).json();
    assert_eq!(again["details"]["scanned"], 0, "nothing is new");
}

#[test]
fn run_all_as_json_is_a_list() {
    let dir = DataDir::new();
    let body = check_examples(&dir, &["run", "--all", "--json"]).json();
    let processors: Vec<_> = body
        .as_array()
        .unwrap()
        .iter()
        .map(|body| &body["details"]["processor"])
        .collect();
    assert_eq!(processors, ["usage"]);
}

#[test]
fn a_capped_run_is_done_and_gives_a_hint() {
    let dir = DataDir::new();
    let ended = check_examples(&dir, &["run", "usage", "--max-sessions", "2"]);
    assert_eq!(ended.code, 0);
    assert_eq!(
        ended.stderr,
        "3 sessions are left for the next run, as the caps ask\n"
    );
    let rest = check_examples(&dir, &["run", "usage", "--json"]).json();
    assert_eq!(rest["details"]["processed"], 3);
}

#[test]
fn a_failed_session_ends_the_run_with_1_and_is_named() {
    let dir = DataDir::new();
    dir.write("ada/fine.jsonl", Session::new("s1").user("hello"));
    dir.write("ada/huge.jsonl", "");
    // One byte above the limit, none of it on the disk.
    let file = fs::File::options()
        .write(true)
        .open(dir.session_path("ada/huge.jsonl"))
        .unwrap();
    file.set_len((1 << 30) + 1).unwrap();
    let ended = check(&dir, &["run", "usage"]);
    assert_eq!(ended.code, 1);
    assert_eq!(
        ended.stderr,
        "failed `ada/huge.jsonl`: too-large: the session has 1073741825 bytes; 1073741824 are allowed\n"
    );
    let [_, row] = words(&ended.stdout).try_into().unwrap();
    assert!(row.starts_with("usage 2 1 0 1 0 0 "), "{row}");
    assert_eq!(
        check(&dir, &["run", "usage", "--json"]).code,
        1,
        "for machines too"
    );
}

#[test]
fn an_absent_sessions_root_is_no_failure_and_gives_a_hint() {
    let dir = DataDir::without_sessions_root();
    let ended = check(&dir, &["run", "usage", "--json"]);
    assert_eq!(
        ended.stderr,
        "there is no sessions folder `[data-dir]/user_sessions`; name one with --sessions, for instance ~/.claude/projects\n"
    );
    let body = ended.json();
    for name in ["scanned", "processed", "skipped", "errors"] {
        assert_eq!(body["details"][name], 0, "{name}");
    }
}

#[test]
fn report_as_json_bears_the_names_that_others_rely_on() {
    let dir = DataDir::new();
    assert_eq!(check_examples(&dir, &["run", "usage"]).code, 0);
    for (by, key) in [
        ("day", "2026-01-12"),
        ("model", "claude-haiku-4-5-20251001"),
    ] {
        let document = check(&dir, &["report", "usage", "--by", by, "--json"]).json();
        assert_eq!(names(&document), ["rows", "totals"]);
        assert_eq!(names(&document["totals"]), TOTALS);
        let row = &document["rows"][0];
        assert_eq!(row[by], key);
        let mut expected = [TOTALS.as_slice(), &[by]].concat();
        expected.sort_unstable();
        assert_eq!(names(row), expected);
    }
    let by_default = check(&dir, &["report", "usage", "--json"]).json();
    assert_eq!(by_default["rows"][0]["day"], "2026-01-12");
    assert_eq!(by_default["totals"]["output_tokens"], 4_722);
}

#[test]
fn report_prints_a_table_whose_last_row_is_the_total() {
    let dir = DataDir::new();
    assert_eq!(check_examples(&dir, &["run", "usage"]).code, 0);
    let ended = check(&dir, &["report", "usage"]);
    assert_eq!(ended.code, 0);
    insta::assert_snapshot!(words(&ended.stdout).join("\n"), @"
    day input output cache read cache write cost messages sessions
    2026-01-12 71 2 615 231 870 31 620 $0.40 14 1
    2026-01-13 51 ≥ 1 452 58 200 60 040 ≥ $0.19 8 2
    2026-01-14 15 655 12 400 14 700 $0.11 2 1
    total 137 ≥ 4 722 302 470 106 360 ≥ $0.70 24 4
    ");
    assert!(
        ended
            .stderr
            .starts_with("≥ output: the transcripts never got the final output count"),
        "{ended:?}"
    );
}

#[test]
fn report_of_nothing_is_zeros_and_a_hint() {
    let dir = DataDir::new();
    let ended = check(&dir, &["report", "usage", "--json"]);
    assert_eq!(
        ended.stderr,
        "nothing was processed yet; `session-pipeline run usage` does\n"
    );
    let document = ended.json();
    assert_eq!(document["rows"], Value::Array(Vec::new()));
    assert_eq!(document["totals"]["messages"], 0);
}

#[test]
fn status_tells_what_is_known_of_each_processor() {
    let dir = DataDir::new();
    let never = check(&dir, &["status"]);
    assert_eq!((never.code, never.stderr.as_str()), (0, ""));
    let [header, row] = words(&never.stdout).try_into().unwrap();
    assert_eq!(
        header,
        "processor sessions items due failing quarantined missing last run result"
    );
    assert_eq!(row, "usage 0 0 0 0 0 0 never -");

    assert_eq!(check_examples(&dir, &["run", "usage"]).code, 0);
    let document = check(&dir, &["status", "--json"]).json();
    let [processor] = document["processors"].as_array().unwrap().as_slice() else {
        panic!("one processor: {document}")
    };
    assert_eq!(processor["processor"], "usage");
    assert_eq!(processor["sessions"], 5);
    assert_eq!(processor["last_run"], "ok");
}

#[test]
fn migrate_makes_a_database_and_then_has_nothing_to_do() {
    let dir = DataDir::new();
    let dry = check(&dir, &["migrate", "--dry-run"]);
    assert_eq!(dry.code, 0);
    assert!(
        dry.stdout
            .starts_with("there is no database yet\nwould apply "),
        "{dry:?}"
    );
    assert!(!dir.database_path().exists(), "asking makes nothing");

    let first = check(&dir, &["migrate"]);
    assert_eq!((first.code, first.stderr.as_str()), (0, ""));
    assert!(
        first.stdout.starts_with("from a new database to version "),
        "{first:?}"
    );
    let again = check(&dir, &["migrate"]);
    assert!(
        again
            .stdout
            .starts_with("nothing to do: the database is at version "),
        "{again:?}"
    );
    let dry = check(&dir, &["migrate", "--dry-run"]);
    assert!(dry.stdout.ends_with("; nothing to do\n"), "{dry:?}");
}

#[test]
fn migrate_as_json_names_the_steps() {
    let dir = DataDir::new();
    let dry = check(&dir, &["migrate", "--dry-run", "--json"]).json();
    assert_eq!(names(&dry), ["pending", "renamed", "version_before"]);
    let pending = dry["pending"].as_array().unwrap().len();
    let done = check(&dir, &["migrate", "--json"]).json();
    assert_eq!(
        names(&done),
        ["applied", "copy", "renamed", "version_before"]
    );
    assert_eq!(done["applied"].as_array().unwrap().len(), pending);
}

// Wrong use.

#[test]
fn an_empty_path_is_a_mistake_and_never_the_present_folder() {
    let dir = DataDir::new();
    for flag in ["--data-dir", "--sessions"] {
        let output = program(&dir).args([flag, "", "status"]).output().unwrap();
        let ended = Ended::of(&dir, output);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
        assert!(ended.stderr.contains(flag), "{ended:?}");
        assert!(
            ended
                .stderr
                .contains("it is empty; give the path of a folder"),
            "{ended:?}"
        );
    }
    for (variable, flag) in [
        ("DATA_DIR", "--data-dir"),
        ("SESSION_DATA_DIR", "--sessions"),
    ] {
        let output = program(&dir)
            .env(variable, "")
            .arg("status")
            .output()
            .unwrap();
        let ended = Ended::of(&dir, output);
        assert_eq!(ended.code, 2, "{variable}: {ended:?}");
        assert!(ended.stderr.contains(flag), "{variable}: {ended:?}");
    }
    assert!(!dir.path().join("state").exists());
}

#[test]
fn the_data_dir_comes_from_the_flag_then_the_environment_then_the_present_folder() {
    let dir = DataDir::new();
    let status = |flag: Option<&str>, variable: Option<&str>| {
        let mut command = program(&dir);
        command.args(flag.map(|folder| format!("--data-dir={folder}")));
        command.envs(variable.map(|folder| ("DATA_DIR", folder)));
        command.arg("status").assert().success();
    };
    status(Some("from-flag"), Some("from-environment"));
    assert!(!dir.path().join("from-environment").exists());
    status(None, Some("from-environment"));
    assert!(!dir.path().join("data").exists());
    status(None, None);
    for folder in ["from-flag", "from-environment", "data"] {
        assert!(
            dir.path()
                .join(folder)
                .join("state/system.duckdb")
                .is_file(),
            "{folder}"
        );
    }
}

#[test]
fn an_unknown_processor_is_wrong_use_and_the_known_ones_are_listed() {
    let dir = DataDir::new();
    let ended = check(&dir, &["run", "usgae"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert_eq!(
        ended.stderr,
        "error: Unknown processor `usgae`; known are: usage\n"
    );
    let ended = check(&dir, &["run", "usgae", "--json"]);
    assert_eq!(ended.code, 2);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        document["detail"],
        "Unknown processor `usgae`; known are: usage"
    );
}

#[test]
fn wrong_use_is_told_before_anything_is_made() {
    let dir = DataDir::new();
    for arguments in [
        &[][..],
        &["run"],
        &["run", "usage", "--all"],
        &["run", "usage", "--max-sessions", "0"],
        &["report", "usage", "--by", "moon"],
        &["migrate", "--to", "soon"],
        &["dance"],
    ] {
        let ended = check(&dir, arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(
            ended.stdout.is_empty() && !ended.stderr.is_empty(),
            "{arguments:?}"
        );
    }
    assert!(!dir.path().join("state").exists());
}

#[test]
fn every_command_explains_itself() {
    let dir = DataDir::new();
    for command in [
        &[][..],
        &["run"],
        &["report"],
        &["report", "usage"],
        &["status"],
        &["migrate"],
    ] {
        let arguments = [command, &["--help"]].concat();
        let ended = Ended::of(&dir, program(&dir).args(&arguments).output().unwrap());
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (0, ""),
            "{arguments:?}"
        );
        let usage = ["Usage: session-pipeline", &command.join(" ")].join(" ");
        assert!(
            ended.stdout.contains(usage.trim_end()),
            "{arguments:?}: {}",
            ended.stdout
        );
        assert!(
            !ended.stdout.contains("compile-component"),
            "our own affair"
        );
    }
    let version = Ended::of(&dir, program(&dir).arg("--version").output().unwrap());
    assert_eq!(version.code, 0);
    assert!(
        version.stdout.starts_with("session-pipeline "),
        "{version:?}"
    );
}

// What stands in the way.

#[test]
fn a_data_dir_in_use_is_refused_with_the_name_of_the_process() {
    let dir = DataDir::new();
    let now = session_pipeline_runtime::clock::UtcMicros(0);
    let store = Store::open(&dir.config(), now).unwrap();
    let expected = "error: the data dir `[data-dir]` is in use by process [pid]; wait for it to end, or stop it\n";
    for arguments in [
        &["run", "usage"][..],
        &["report", "usage"],
        &["status"],
        &["migrate"],
    ] {
        let ended = check(&dir, arguments);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (3, expected),
            "{arguments:?}"
        );
    }
    // The number itself is behind the redaction.
    let data_dir = dir.path().to_str().unwrap();
    let output = program(&dir)
        .args(["--data-dir", data_dir, "status"])
        .output()
        .unwrap();
    let process = format!("process {}", std::process::id());
    assert!(String::from_utf8(output.stderr).unwrap().contains(&process));

    drop(store);
    assert_eq!(check(&dir, &["status"]).code, 0);
}

#[test]
fn a_data_dir_that_can_not_be_made_is_named() {
    let dir = DataDir::new();
    fs::write(dir.path().join("occupied"), "a file").unwrap();
    let output = program(&dir)
        .args(["--data-dir", "occupied/data", "status"])
        .output()
        .unwrap();
    let ended = Ended::of(&dir, output);
    assert_eq!(ended.code, 3);
    assert!(
        ended.stderr.starts_with("error: `occupied/data"),
        "{ended:?}"
    );
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let dir = DataDir::new();
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::write(dir.database_path(), "no database").unwrap();
    let ended = check(&dir, &["run", "usage"]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    assert_eq!(fs::read(dir.database_path()).unwrap(), b"no database");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let dir = DataDir::new();
    let data_dir = dir.path().to_str().unwrap();
    for arguments in [&["status"][..], &["report", "usage"], &["--help"]] {
        let mut child =
            std::process::Command::new(assert_cmd::cargo::cargo_bin("session-pipeline"))
                .env_clear()
                .args(["--data-dir", data_dir])
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
        drop(child.stdout.take());
        let ended = Ended::of(&dir, child.wait_with_output().unwrap());
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        assert!(
            !ended.stderr.contains("panicked"),
            "{arguments:?}: {ended:?}"
        );
    }
}

#[test]
fn a_name_that_is_no_text_is_passed_over_with_a_hint() {
    use std::os::unix::ffi::OsStrExt;

    let dir = DataDir::new();
    dir.write("ada/fine.jsonl", Session::new("s1").user("hello"));
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.jsonl");
    fs::write(dir.sessions_root().join("ada").join(name), "{}").unwrap();
    let ended = check(&dir, &["run", "usage"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stderr.starts_with("passed over `ada/caf"),
        "{ended:?}"
    );
}
