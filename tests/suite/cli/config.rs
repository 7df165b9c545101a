//! The config file as the program reads it: found, named, and refused before anything begins.

use std::fs;

use session_pipeline_harness::{DataDir, Transcript};

use super::{Ended, check, check_compiling, program};
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
        let ended = check(&dir, arguments);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (2, ""),
            "{arguments:?}"
        );
        assert_eq!(ended.stderr, expected, "{arguments:?}");
    }
    let ended = check(&dir, &["status", "--json"]);
    assert_eq!(ended.code, 2);
    let document: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(names(&document), ["detail"], "for machines too");
    assert!(!dir.path().join("state").exists());
}

#[test]
fn a_missing_config_file_is_a_usage_error() {
    let dir = DataDir::new();
    let ended = check(&dir, &["--config", "nowhere.toml", "status"]);
    assert_eq!(ended.code, 2);
    assert_eq!(
        ended.stderr,
        "error: cannot read config file `nowhere.toml`; check its path and permissions: \
         No such file or directory (os error 2)\n"
    );
    let ended = check(&dir, &["--config", "", "status"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended
            .stderr
            .contains("it is empty; give the path of a file"),
        "{ended:?}"
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
        Ended::of(&dir, command.output().unwrap()).json()["count"].clone()
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
    // Another stack is another engine; what was compiled for one runs on all.
    let config = "workers = 3\n[limits]\nstack_bytes_max = \"2 MiB\"\nmemory_bytes_max = \"512 MiB\"\n\
                  [processors.usage.limits]\nsession_bytes_max = 10\n";
    fs::write(dir.path().join("config.toml"), config).unwrap();
    let ended = check_compiling(&dir, &["run", "usage"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("the limit is 10"), "{ended:?}");
    assert!(ended.stderr.contains("ada/one.jsonl") && !ended.stderr.contains("ada/two.jsonl"));
    fs::remove_file(dir.path().join("config.toml")).unwrap();
    assert_eq!(check_compiling(&dir, &["run", "usage"]).code, 0);
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
        let ended = Ended::of(&dir, command.output().unwrap());
        assert_eq!(ended.code, 2, "{ended:?}");
        let expected = format!("error: `{name}` is not a valid key");
        assert!(ended.stderr.starts_with(&expected), "{ended:?}");
        assert!(!format!("{ended:?}").contains("CANARY"), "{ended:?}");
    }
    let mut command = program(&dir);
    command
        .env("ANTHROPIC_API_KEY", "sk-CANARY")
        .args(["-vv", "run", "usage", "--data-dir", "."]);
    let ended = Ended::of(&dir, command.output().unwrap());
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!format!("{ended:?}").contains("CANARY"), "{ended:?}");
}
