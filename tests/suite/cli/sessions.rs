//! `sessions`: the list for people and for machines, and one session in full.

use session_pipeline_harness::{DataDir, Transcript};

use super::{check, check_examples, words};
use crate::documents::names;

#[test]
fn the_session_list_works_without_a_database_and_creates_none() {
    let dir = DataDir::new();
    let ended = check_examples(&dir, &["sessions", "list"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    let lines = words(&ended.stdout);
    assert_eq!(lines[0], "session size changed processor state items when");
    assert!(lines[1].starts_with("ada/5c0e7d1a-93b4-4f6e-8a27-1d5b60c2e9f3.jsonl 31.6 KB "));
    assert_eq!(
        lines.last().unwrap(),
        "5 sessions: 10 new",
        "with each of two"
    );
    let shown = check_examples(
        &dir,
        &[
            "sessions",
            "show",
            "chidi/e47a10c9-25bd-4d83-8f16-3b90c5d7a268.jsonl",
        ],
    );
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(!dir.path().join("state").exists(), "asking makes nothing");
}

#[test]
fn the_session_list_has_stable_json_field_names() {
    let dir = DataDir::new();
    assert_eq!(check_examples(&dir, &["run", "usage"]).code, 0);
    let document = check_examples(&dir, &["sessions", "list", "--json"]).json();
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
        check_examples(&dir, &["run", "usage", "--max-sessions", "3"]).code,
        0
    );
    let last_line = |arguments: &[&str]| {
        let ended = check_examples(&dir, &[&["sessions", "list"], arguments].concat());
        assert_eq!(ended.code, 0, "{ended:?}");
        words(&ended.stdout).pop().unwrap()
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
    for wrong in [
        ["--state", "lost"],
        ["--processor", "usgae"],
        ["--user", ""],
    ] {
        let ended = check_examples(&dir, &[&["sessions", "list"], &wrong[..]].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
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
    let ended = check(&dir, &["sessions", "list"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let lengths = ended
        .stdout
        .lines()
        .map(|line| (line.len(), line.contains(&long)));
    for (length, is_long) in lengths {
        assert!(length < if is_long { 600 } else { 200 }, "{ended:?}");
    }
    assert!(ended.stdout.contains(&long), "it is shown whole");
    assert!(
        words(&ended.stdout)
            .last()
            .unwrap()
            .starts_with("51 sessions: ")
    );
}

#[test]
fn sessions_show_prints_all_details_of_a_session() {
    let dir = DataDir::new();
    assert_eq!(check_examples(&dir, &["run", "usage"]).code, 0);
    // What reports keep is no row of the session's.
    assert_eq!(check(&dir, &["report", "usage"]).code, 0);
    let show = [
        "sessions",
        "show",
        "chidi/e47a10c9-25bd-4d83-8f16-3b90c5d7a268.jsonl",
    ];
    let ended = check_examples(&dir, &show);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let lines = words(&ended.stdout);
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

    let document = check_examples(&dir, &[&show[..], &["--json"]].concat()).json();
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
    let ended = check(&dir, &["sessions", "show", "ada/oen.jsonl"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert_eq!(
        ended.stderr,
        "error: unknown session `ada/oen.jsonl`; did you mean `ada/one.jsonl`?\n"
    );
    assert!(!dir.path().join("state").exists());
}

#[test]
fn control_characters_in_names_are_escaped_in_text_output() {
    let dir = DataDir::new();
    let key = "ada/\u{1b}[2Jone\ntwo\u{202e}.jsonl";
    dir.write(key, Transcript::new("s1").user("hello"));
    assert_eq!(check(&dir, &["run", "usage"]).code, 0);
    for arguments in [&["sessions", "list"][..], &["sessions", "show", key]] {
        let ended = check(&dir, arguments);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(
            ended
                .stdout
                .contains("ada/\\u{1b}[2Jone\\ntwo\\u{202e}.jsonl"),
            "{ended:?}"
        );
        assert!(!ended.stdout.contains(['\u{1b}', '\u{202e}']), "{ended:?}");
    }
    let document = check(&dir, &["sessions", "list", "--json"]).json();
    assert_eq!(
        document["sessions"][0]["key"], key,
        "machines get it as it is"
    );
}

#[test]
fn the_session_list_warns_about_a_missing_sessions_root() {
    let dir = DataDir::without_sessions_root();
    let ended = check(&dir, &["sessions", "list"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "0 sessions\n"));
    assert!(
        ended
            .stderr
            .starts_with("there is no sessions folder `[data-dir]/user_sessions`")
    );
}
