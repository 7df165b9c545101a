//! `sessions`: the list as text and JSON, and the details of one session.

use session_pipeline_harness::{DataDir, Transcript};

use super::{run_cli, run_cli_on_examples, table_lines};
use crate::documents::names;

#[test]
fn the_session_list_works_without_a_database_and_creates_none() {
    let dir = DataDir::new();
    let output = run_cli_on_examples(&dir, &["sessions", "list"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    let lines = table_lines(&output.stdout);
    assert_eq!(lines[0], "session size changed processor state items when");
    assert!(lines[1].starts_with("ada/5c0e7d1a-93b4-4f6e-8a27-1d5b60c2e9f3.jsonl 31.6 KB "));
    assert_eq!(
        lines.last().unwrap(),
        "5 sessions: 10 new",
        "each session is new for two processors"
    );
    let details = run_cli_on_examples(
        &dir,
        &[
            "sessions",
            "show",
            "chidi/e47a10c9-25bd-4d83-8f16-3b90c5d7a268.jsonl",
        ],
    );
    assert_eq!(details.code, 0, "{details:?}");
    assert!(
        !dir.path().join("state").exists(),
        "read-only commands create nothing"
    );
}

#[test]
fn the_session_list_has_stable_json_field_names() {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    let document = run_cli_on_examples(&dir, &["sessions", "list", "--json"]).json();
    assert_eq!(names(&document), ["count", "sessions", "states"]);
    assert_eq!(document["count"], 5);
    assert_eq!(document["states"]["processed"], 5);
    let session = &document["sessions"][4];
    assert_eq!(
        names(session),
        ["bytes", "key", "modified_at", "processors", "user"]
    );
    assert_eq!(session["user"], "chidi");
    let state = &session["processors"][0];
    assert_eq!(
        names(state),
        [
            "failure",
            "items",
            "missing_since",
            "processed_at",
            "processor",
            "state"
        ]
    );
    assert_eq!(
        (&state["state"], &state["items"]),
        (&"processed".into(), &1.into())
    );
}

#[test]
fn the_session_list_can_be_filtered() {
    let dir = DataDir::new();
    assert_eq!(
        run_cli_on_examples(&dir, &["run", "usage", "--max-sessions", "3"]).code,
        0
    );
    let last_line = |arguments: &[&str]| {
        let output = run_cli_on_examples(&dir, &[&["sessions", "list"], arguments].concat());
        assert_eq!(output.code, 0, "{output:?}");
        table_lines(&output.stdout).pop().unwrap()
    };
    assert_eq!(last_line(&[]), "5 sessions: 7 new, 3 processed");
    let of_usage = ["--processor", "usage", "--state", "new"];
    assert_eq!(last_line(&of_usage), "2 sessions: 2 new");
    assert_eq!(
        last_line(&[
            "--state",
            "new",
            "--state",
            "processed",
            "--processor",
            "usage"
        ]),
        "5 sessions: 2 new, 3 processed"
    );
    assert_eq!(last_line(&["--user", "nobody"]), "0 sessions");
    assert!(last_line(&["--user", "bob"]).starts_with("1 session: "));
    for invalid in [
        ["--state", "lost"],
        ["--processor", "usgae"],
        ["--user", ""],
    ] {
        let output = run_cli_on_examples(&dir, &[&["sessions", "list"], &invalid[..]].concat());
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
    }
}

#[test]
fn one_long_key_does_not_widen_every_row() {
    let dir = DataDir::new();
    let long = format!("ada/{}/{}.jsonl", "x".repeat(200), "y".repeat(200));
    dir.write(&long, "{}\n");
    for number in 0..50 {
        dir.write(&format!("bob/{number}.jsonl"), "{}\n");
    }
    let output = run_cli(&dir, &["sessions", "list"]);
    assert_eq!(output.code, 0, "{output:?}");
    let lengths = output
        .stdout
        .lines()
        .map(|line| (line.len(), line.contains(&long)));
    for (length, is_long) in lengths {
        assert!(length < if is_long { 600 } else { 200 }, "{output:?}");
    }
    assert!(
        output.stdout.contains(&long),
        "the long key is not truncated"
    );
    assert!(
        table_lines(&output.stdout)
            .last()
            .unwrap()
            .starts_with("51 sessions: ")
    );
}

#[test]
fn sessions_show_prints_all_details_of_a_session() {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    // The rollups of the report are not rows of the session.
    assert_eq!(run_cli(&dir, &["report", "usage"]).code, 0);
    let show = [
        "sessions",
        "show",
        "chidi/e47a10c9-25bd-4d83-8f16-3b90c5d7a268.jsonl",
    ];
    let output = run_cli_on_examples(&dir, &show);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let lines = table_lines(&output.stdout);
    assert_eq!(
        lines[0],
        "session chidi/e47a10c9-25bd-4d83-8f16-3b90c5d7a268.jsonl"
    );
    assert_eq!(lines[2], "file 2.8 KB, changed [time]");
    assert_eq!(
        lines[4..7],
        ["usage", "state processed", "processed [time]"]
    );
    assert!(lines.contains(&"rows events 1, messages 2, sessions 1".to_owned()));
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("cost ") && line.ends_with(" in run 1"))
    );

    let document = run_cli_on_examples(&dir, &[&show[..], &["--json"]].concat()).json();
    let processor = &document["processors"][0];
    assert_eq!(
        names(processor),
        [
            "component",
            "cost",
            "due",
            "failure",
            "hash",
            "items",
            "missing_since",
            "processed_at",
            "processor",
            "rows",
            "state",
            "username",
            "version",
        ]
    );
    assert_eq!(processor["rows"]["messages"], 2);
    assert_eq!(
        names(&processor["cost"]),
        ["bytes", "fuel", "guest_micros", "peak_memory", "run"]
    );
}

#[test]
fn an_unknown_session_is_a_usage_error_that_suggests_similar_keys() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}\n");
    let output = run_cli(&dir, &["sessions", "show", "ada/oen.jsonl"]);
    assert_eq!((output.code, output.stdout.as_str()), (2, ""));
    assert_eq!(
        output.stderr,
        "error: unknown session `ada/oen.jsonl`; did you mean `ada/one.jsonl`?\n"
    );
    assert!(!dir.path().join("state").exists());
}

#[test]
fn control_characters_in_names_are_escaped_in_text_output() {
    let dir = DataDir::new();
    let key = "ada/\u{1b}[2Jone\ntwo\u{202e}.jsonl";
    dir.write(key, Transcript::new("s1").user("hello"));
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
    for arguments in [&["sessions", "list"][..], &["sessions", "show", key]] {
        let output = run_cli(&dir, arguments);
        assert_eq!(output.code, 0, "{output:?}");
        assert!(
            output
                .stdout
                .contains("ada/\\u{1b}[2Jone\\ntwo\\u{202e}.jsonl"),
            "{output:?}"
        );
        assert!(
            !output.stdout.contains(['\u{1b}', '\u{202e}']),
            "{output:?}"
        );
    }
    let document = run_cli(&dir, &["sessions", "list", "--json"]).json();
    assert_eq!(
        document["sessions"][0]["key"], key,
        "JSON has the original key"
    );
}

#[test]
fn the_session_list_warns_about_a_missing_sessions_root() {
    let dir = DataDir::without_sessions_root();
    let output = run_cli(&dir, &["sessions", "list"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "0 sessions\n"));
    assert!(
        output
            .stderr
            .starts_with("sessions folder `[data-dir]/user_sessions` does not exist")
    );
}
