//! The config file: its location, its precedence, and invalid values.

use std::fs;

use session_pipeline_harness::{DataDir, Transcript};

use super::{CliOutput, program, run_cli, run_cli_without_cache};
use crate::documents::names;

const COMMANDS: [&[&str]; 10] = [
    &["run", "usage"],
    &["report", "usage"],
    &["status"],
    &["migrate", "--dry-run"],
    &["sessions", "list"],
    &["sessions", "show", "ada/one.jsonl"],
    &["processors", "list"],
    &["processors", "inspect", "usage"],
    &["reprocess", "usage"],
    &["completions", "bash"],
];

#[test]
fn an_invalid_value_stops_every_command_before_it_creates_files() {
    let dir = DataDir::new();
    fs::write(
        dir.path().join("config.toml"),
        "[limits]\nrows_max = \"many\"\n",
    )
    .unwrap();
    let expected = "error: [data-dir]/config.toml:2:12: invalid value `\"many\"` for `limits.rows_max`: \
                    expected a whole number from 1 to 100000000\n";
    for arguments in COMMANDS {
        let output = run_cli(&dir, arguments);
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (2, ""),
            "{arguments:?}"
        );
        assert_eq!(output.stderr, expected, "{arguments:?}");
    }
    let output = run_cli(&dir, &["status", "--json"]);
    assert_eq!(output.code, 2);
    let document: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        names(&document),
        ["detail"],
        "the error is also printed as JSON"
    );
    assert!(!dir.path().join("state").exists());
}

#[test]
fn a_missing_config_file_is_a_usage_error() {
    let dir = DataDir::new();
    let output = run_cli(&dir, &["--config", "nowhere.toml", "status"]);
    assert_eq!(output.code, 2);
    assert_eq!(
        output.stderr,
        "error: cannot read config file `nowhere.toml`; check its path and permissions: \
         No such file or directory (os error 2)\n"
    );
    let output = run_cli(&dir, &["--config", "", "status"]);
    assert_eq!(output.code, 2);
    assert!(
        output
            .stderr
            .contains("the path is empty; pass the path of a file"),
        "{output:?}"
    );
    assert!(!dir.path().join("state").exists());
}

#[test]
fn a_flag_takes_precedence_over_the_environment_and_the_environment_over_the_file() {
    let dir = DataDir::new();
    for (root, sessions) in [("flag", 1), ("environment", 2), ("file", 3)] {
        for number in 0..sessions {
            let folder = dir.path().join(root).join("ada");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("{number}.jsonl")), "{}\n").unwrap();
        }
    }
    fs::write(
        dir.path().join("c.toml"),
        "sessions = \"file\"\ndata_dir = \"data-of-file\"\n",
    )
    .unwrap();
    let count = |flag: bool, environment: bool| {
        let mut command = program(&dir);
        command.args(["--config", "c.toml", "sessions", "list", "--json"]);
        command.args(flag.then_some("--sessions=flag"));
        command.envs(environment.then_some(("SESSION_DATA_DIR", "environment")));
        CliOutput::of(&dir, command.output().unwrap()).json()["count"].clone()
    };
    assert_eq!(count(true, true), 1);
    assert_eq!(count(false, true), 2);
    assert_eq!(count(false, false), 3);

    let mut command = program(&dir);
    command
        .args(["--config", "c.toml", "run", "usage"])
        .assert()
        .success();
    assert!(
        dir.path()
            .join("data-of-file/state/system.duckdb")
            .is_file()
    );
}

#[test]
fn limits_in_the_file_apply_to_components_that_a_child_compiles() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    dir.write("ada/two.jsonl", "{}\n");
    // A different stack size requires a different engine. Compiled code runs on all of them.
    let config = "workers = 3\n[limits]\nstack_bytes_max = \"2 MiB\"\nmemory_bytes_max = \"512 MiB\"\n\
                  [processors.usage.limits]\nsession_bytes_max = 10\n";
    fs::write(dir.path().join("config.toml"), config).unwrap();
    let output = run_cli_without_cache(&dir, &["run", "usage"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("the limit is 10"), "{output:?}");
    assert!(output.stderr.contains("ada/one.jsonl") && !output.stderr.contains("ada/two.jsonl"));
    fs::remove_file(dir.path().join("config.toml")).unwrap();
    assert_eq!(run_cli_without_cache(&dir, &["run", "usage"]).code, 0);
}

#[test]
fn an_invalid_api_key_stops_the_run_and_is_never_printed() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", Transcript::new("one").user("hi"));
    for (name, value) in [
        ("ANTHROPIC_API_KEY", ""),
        ("ANTHROPIC_API_KEY", "CANARY of two words"),
        ("LLM_API_KEY", "CANARY\n2"),
    ] {
        let mut command = program(&dir);
        command
            .env(name, value)
            .args(["run", "usage", "--data-dir", "."]);
        let output = CliOutput::of(&dir, command.output().unwrap());
        assert_eq!(output.code, 2, "{output:?}");
        let expected = format!("error: `{name}` is not a valid key");
        assert!(output.stderr.starts_with(&expected), "{output:?}");
        assert!(!format!("{output:?}").contains("CANARY"), "{output:?}");
    }
    let mut command = program(&dir);
    command
        .env("ANTHROPIC_API_KEY", "sk-CANARY")
        .args(["-vv", "run", "usage", "--data-dir", "."]);
    let output = CliOutput::of(&dir, command.output().unwrap());
    assert_eq!(output.code, 0, "{output:?}");
    assert!(!format!("{output:?}").contains("CANARY"), "{output:?}");
}
