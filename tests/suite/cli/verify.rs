//! `processors verify`: the laws of the contract, held against a component.

use std::fs;
use std::path::Path;

use serde_json::Value;
use session_pipeline_bundle::{USAGE, faulty};
use session_pipeline_harness::{DataDir, Transcript};

use super::check;
use crate::documents::names;

/// Puts a guest into the folder that the program runs in.
fn give(dir: &DataDir, way: &str) -> String {
    let file = format!("{way}.wasm");
    fs::write(dir.path().join(&file), faulty(way).unwrap()).unwrap();
    file
}

#[test]
fn a_component_that_passes_all_laws_exits_with_0_and_leaves_no_files() {
    let dir = DataDir::new();
    fs::write(dir.path().join("mine.wasm"), USAGE).unwrap();
    let ended = check(&dir, &["processors", "verify", "mine.wasm", "--cases", "8"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    insta::assert_snapshot!(ended.stdout);
    assert!(!dir.path().join("state").exists(), "nothing is made");
    assert!(!dir.path().join("mine-regressions").exists());
    let ended = check(&dir, &["processors", "verify", "usage", "--cases", "1"]);
    assert_eq!(ended.code, 0, "a shipped one, by its name: {ended:?}");
}

#[test]
fn a_failed_law_exits_with_1_and_saves_the_failing_session() {
    let dir = DataDir::new();
    let file = give(&dir, "reads_once");
    let ended = check(&dir, &["processors", "verify", &file]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let line =
        "failed   chunks            It does not matter in which portions the lines are read.\n";
    assert!(ended.stdout.contains(line), "{ended:?}");
    let kept = ended
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("  kept as "));
    let kept = kept.unwrap();
    assert!(kept.starts_with("reads_once-regressions/chunks-"), "{kept}");
    let session = fs::read(dir.path().join(kept)).unwrap();
    let lines = session.split_inclusive(|byte| *byte == b'\n').count();
    assert_eq!(lines, 2, "{}", String::from_utf8_lossy(&session));
    let replay = format!("replay reads_once.wasm {kept}");
    let advice = format!(
        "1 of 12 laws failed; see what comes of it by `session-pipeline {replay}`; what is kept is tried first the next time\n"
    );
    assert_eq!(ended.stderr, advice);
    let replayed = check(&dir, &replay.split(' ').collect::<Vec<_>>());
    assert!(matches!(replayed.code, 0 | 1), "{replayed:?}");

    // What is kept is found again by a single case of another seed, and told to machines.
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
    let ended = check(&dir, &arguments);
    assert_eq!(ended.code, 1, "{ended:?}");
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
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
    assert_eq!(failed[0]["regressions"][0], kept);
}

#[test]
fn verify_accepts_sessions_settings_and_a_regressions_folder() {
    let dir = DataDir::new();
    let file = give(&dir, "strays_from_its_tables");
    let session = Transcript::new("s1")
        .user("hello")
        .assistant(|m| m.tool("Bash"));
    dir.write("ada/given.jsonl", &session);
    let given = dir.session_path("ada/given.jsonl");
    for sessions in [given.as_path(), dir.sessions_root().as_path()] {
        let ended = check(
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
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(
            ended
                .stdout
                .contains("tables failed: unknown table `calls`"),
            "{ended:?}"
        );
        assert!(ended.stdout.contains("  kept as kept/tables-"), "{ended:?}");
        fs::remove_dir_all(dir.path().join("kept")).unwrap();
    }
    let by = |setting: &str| {
        check(
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
    assert_eq!(by("detector=phrases").code, 0);
    let ended = by("detector=oracle");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended
            .stdout
            .contains("describes-itself failed: component: "),
        "{ended:?}"
    );
    assert!(ended.stdout.contains("oracle"), "{ended:?}");
    assert_eq!(by("detector").code, 2);
    assert!(!Path::new("verification-regressions").exists());
}

#[test]
fn an_invalid_component_fails_and_a_missing_file_is_a_usage_error() {
    let dir = DataDir::new();
    fs::write(dir.path().join("no.wasm"), "no component").unwrap();
    let ended = check(&dir, &["processors", "verify", "no.wasm"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let why = "describes-itself failed: component: the file is not WebAssembly";
    assert!(ended.stdout.contains(why), "{ended:?}");
    let ended = check(&dir, &["processors", "verify", "missing.wasm"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
    let file = give(&dir, "well_behaved");
    let ended = check(
        &dir,
        &["processors", "verify", &file, "--sessions", "nowhere"],
    );
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
    assert!(ended.stderr.starts_with("error: `nowhere`: "), "{ended:?}");
    fs::write(dir.path().join("occupied"), "a file").unwrap();
    let file = give(&dir, "panics_at_damage");
    let ended = check(
        &dir,
        &["processors", "verify", &file, "--regressions", "occupied"],
    );
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stderr.starts_with("error: `occupied`: "), "{ended:?}");
}
