//! `processors verify`: checks components against the laws of the contract.

use std::fs;
use std::path::Path;

use serde_json::Value;
use session_pipeline_bundle::{USAGE, faulty};
use session_pipeline_harness::{DataDir, Transcript};

use super::run_cli;
use crate::documents::names;

/// Writes a faulty component to the data directory and returns its file name.
fn write_component(dir: &DataDir, fault: &str) -> String {
    let file = format!("{fault}.wasm");
    fs::write(dir.path().join(&file), faulty(fault).unwrap()).unwrap();
    file
}

#[test]
fn a_component_that_passes_all_laws_exits_with_0_and_leaves_no_files() {
    let dir = DataDir::new();
    fs::write(dir.path().join("mine.wasm"), USAGE).unwrap();
    let output = run_cli(&dir, &["processors", "verify", "mine.wasm", "--cases", "8"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    insta::assert_snapshot!(output.stdout);
    assert!(
        !dir.path().join("state").exists(),
        "verify creates no data directory"
    );
    assert!(!dir.path().join("mine-regressions").exists());
    let output = run_cli(&dir, &["processors", "verify", "usage", "--cases", "1"]);
    assert_eq!(output.code, 0, "a shipped processor by name: {output:?}");
}

#[test]
fn a_failed_law_exits_with_1_and_saves_the_failing_session() {
    let dir = DataDir::new();
    let file = write_component(&dir, "reads_once");
    let output = run_cli(&dir, &["processors", "verify", &file]);
    assert_eq!(output.code, 1, "{output:?}");
    let line =
        "failed   chunks            It does not matter in which portions the lines are read.\n";
    assert!(output.stdout.contains(line), "{output:?}");
    let saved = output
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("  kept as "));
    let saved = saved.unwrap();
    assert!(
        saved.starts_with("reads_once-regressions/chunks-"),
        "{saved}"
    );
    let session = fs::read(dir.path().join(saved)).unwrap();
    let lines = session.split_inclusive(|byte| *byte == b'\n').count();
    assert_eq!(lines, 2, "{}", String::from_utf8_lossy(&session));
    let replay = format!("replay reads_once.wasm {saved}");
    let advice = format!(
        "1 of 13 laws failed; run `session-pipeline {replay}` to process the saved session; `verify` tries saved sessions first\n"
    );
    assert_eq!(output.stderr, advice);
    let replayed = run_cli(&dir, &replay.split(' ').collect::<Vec<_>>());
    assert!(matches!(replayed.code, 0 | 1), "{replayed:?}");

    // A single case with another seed fails on the saved session. JSON output names the session too.
    let arguments = [
        "processors",
        "verify",
        &file,
        "--json",
        "--cases",
        "1",
        "--seed",
        "9",
    ];
    let output = run_cli(&dir, &arguments);
    assert_eq!(output.code, 1, "{output:?}");
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        names(&document),
        ["cases", "component", "holds", "laws", "seed"]
    );
    assert_eq!(
        (&document["holds"], &document["seed"]),
        (&false.into(), &9.into())
    );
    let laws = document["laws"].as_array().unwrap();
    let failed: Vec<&Value> = laws
        .iter()
        .filter(|law| law["verdict"] == "failed")
        .collect();
    assert_eq!(failed.len(), 1, "{document}");
    assert_eq!(
        names(failed[0]),
        [
            "given",
            "law",
            "regressions",
            "says",
            "sessions",
            "unanswered",
            "verdict",
            "why"
        ]
    );
    assert_eq!(
        (&failed[0]["law"], &failed[0]["sessions"]),
        (&"chunks".into(), &1.into())
    );
    assert_eq!(failed[0]["regressions"][0], saved);
}

#[test]
fn verify_accepts_sessions_settings_and_a_regressions_folder() {
    let dir = DataDir::new();
    let file = write_component(&dir, "strays_from_its_tables");
    let session = Transcript::new("s1")
        .user("hello")
        .assistant(|m| m.tool("Bash"));
    dir.write("ada/given.jsonl", &session);
    let given = dir.session_path("ada/given.jsonl");
    for sessions in [given.as_path(), dir.sessions_root().as_path()] {
        let output = run_cli(
            &dir,
            &[
                "processors",
                "verify",
                &file,
                "--sessions",
                sessions.to_str().unwrap(),
                "--cases",
                "1",
                "--regressions",
                "kept",
            ],
        );
        assert_eq!(output.code, 1, "{output:?}");
        assert!(
            output
                .stdout
                .contains("tables failed: unknown table `calls`"),
            "{output:?}"
        );
        assert!(
            output.stdout.contains("  kept as kept/tables-"),
            "{output:?}"
        );
        fs::remove_dir_all(dir.path().join("kept")).unwrap();
    }
    let verify_with = |setting: &str| {
        run_cli(
            &dir,
            &[
                "processors",
                "verify",
                "verification",
                "--cases",
                "1",
                "--settings",
                setting,
            ],
        )
    };
    assert_eq!(verify_with("detector=phrases").code, 0);
    let output = verify_with("detector=oracle");
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output
            .stdout
            .contains("describes-itself failed: component: "),
        "{output:?}"
    );
    assert!(output.stdout.contains("oracle"), "{output:?}");
    assert_eq!(verify_with("detector").code, 2);
    assert!(!Path::new("verification-regressions").exists());
}

#[test]
fn an_invalid_component_fails_and_a_missing_file_is_a_usage_error() {
    let dir = DataDir::new();
    fs::write(dir.path().join("no.wasm"), "no component").unwrap();
    let output = run_cli(&dir, &["processors", "verify", "no.wasm"]);
    assert_eq!(output.code, 1, "{output:?}");
    let reason = "describes-itself failed: component: the file is not WebAssembly";
    assert!(output.stdout.contains(reason), "{output:?}");
    let output = run_cli(&dir, &["processors", "verify", "missing.wasm"]);
    assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
    let file = write_component(&dir, "well_behaved");
    let output = run_cli(
        &dir,
        &["processors", "verify", &file, "--sessions", "nowhere"],
    );
    assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
    assert!(
        output.stderr.starts_with("error: `nowhere`: "),
        "{output:?}"
    );
    fs::write(dir.path().join("occupied"), "a file").unwrap();
    let file = write_component(&dir, "panics_at_damage");
    let output = run_cli(
        &dir,
        &["processors", "verify", &file, "--regressions", "occupied"],
    );
    assert_eq!(output.code, 3, "{output:?}");
    assert!(
        output.stderr.starts_with("error: `occupied`: "),
        "{output:?}"
    );
}
