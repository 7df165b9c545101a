//! `sessions`: the list for people and for machines, and one session in full.

use session_pipeline_harness::{DataDir, Transcript};

use super::serve::ServerProcess;
use super::{run_cli, run_cli_on_examples, table_lines};
use crate::documents::names;
use crate::summaries::{FLAKY, FORK, HOSTILE, NEW, SECRET, SUBAGENT, UNTITLED, summaries_dir};

#[test]
fn the_session_list_works_without_a_database_and_creates_none() {
    let dir = DataDir::new();
    let ended = run_cli_on_examples(&dir, &["sessions", "list"]);
    let note = "1 sub-agent file is hidden; the cost is in the sessions that started them. `--all` lists them\n";
    assert_eq!((ended.code, ended.stderr.as_str()), (0, note), "{ended:?}");
    let lines = table_lines(&ended.stdout);
    assert_eq!(lines[0], "title project user agent age cost messages state");
    let first = "(5c0e7d1a-93b4-4f6e-8a27-1d5b60c2e9f3) - ada - ";
    assert!(
        lines.iter().any(|line| line.starts_with(first)),
        "{ended:?}"
    );
    assert_eq!(
        lines.last().unwrap(),
        "4 sessions: 8 new",
        "with each of two"
    );
    let all = run_cli_on_examples(&dir, &["sessions", "list", "--all"]);
    assert_eq!((all.code, all.stderr.as_str()), (0, ""));
    assert_eq!(
        table_lines(&all.stdout).last().unwrap(),
        "5 sessions: 10 new"
    );
    let shown = run_cli_on_examples(
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
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    let document = run_cli_on_examples(&dir, &["sessions", "list", "--json"]).json();
    assert_eq!(names(&document), ["count", "sessions", "states"]);
    assert_eq!(document["count"], 5);
    assert_eq!(document["states"]["processed"], 5);
    let sessions = document["sessions"].as_array().unwrap();
    let session = sessions.iter().find(|session| session["user"] == "chidi");
    let session = session.unwrap();
    for name in ["bytes", "key", "modified_at", "processors", "user"] {
        assert!(names(session).contains(&name), "{name}: {session}");
    }
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
        let ended =
            run_cli_on_examples(&dir, &[&["sessions", "list", "--all"], arguments].concat());
        assert_eq!(ended.code, 0, "{ended:?}");
        table_lines(&ended.stdout).pop().unwrap()
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
        ["--search", ""],
        ["--sort", "size"],
        ["--automated", "maybe"],
        ["--since", "yesterday"],
    ] {
        let ended = run_cli_on_examples(&dir, &[&["sessions", "list"], &wrong[..]].concat());
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
    let ended = run_cli(&dir, &["sessions", "list", "--keys"]);
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
        table_lines(&ended.stdout)
            .last()
            .unwrap()
            .starts_with("51 sessions: ")
    );
}

#[test]
fn the_table_shows_what_people_recognize_and_the_keys_on_request() {
    let dir = summaries_dir();
    let ended = run_cli(&dir, &["sessions", "list", "--processor", "usage"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.stdout.contains(['\u{1b}', '\u{7}']), "{ended:?}");
    assert!(!ended.stdout.contains(SECRET), "{ended:?}");
    let lines = table_lines(&ended.stdout);
    assert_eq!(lines[0], "title project user agent age cost messages state");
    assert!(lines[1].starts_with("A \\u{1b}[2J\\n"), "{}", lines[1]);
    assert!(
        lines[1].ends_with(" web bob claude now ≥ $0.90 4 due"),
        "{}",
        lines[1]
    );
    assert_eq!(
        lines[2..],
        [
            "Another way api ada claude now $0.30 1 due",
            "Fix the flaky test api ada claude now ≥ $0.60 2 due",
            "(plain) tools bob claude now $0.00 0 due",
            "(new) - carol - now - - new",
            "5 sessions: 1 new, 4 due",
        ]
    );
    let sorted = ["sessions", "list", "--sort", "cost", "--reverse", "--keys"];
    let lines = table_lines(&run_cli(&dir, &sorted).stdout);
    assert_eq!(
        lines[0],
        "title project user agent age cost messages state key"
    );
    assert!(lines[1].starts_with("(plain) "), "{lines:?}");
    assert!(lines[2].ends_with(FORK), "{lines:?}");
    let found = run_cli(&dir, &["sessions", "list", "--search", "FLAKY", "--csv"]);
    assert_eq!(found.code, 0, "{found:?}");
    let lines: Vec<&str> = found.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{found:?}");
    assert!(lines[0].starts_with("key,title,project,user,last_activity_at,cost_usd,"));
    let row = format!("{FLAKY},Fix the flaky test,/home/ada/api,ada,[time],0.6,true,2,");
    assert!(lines[1].starts_with(&row), "{}", lines[1]);
    let wrong = [
        "sessions",
        "list",
        "--since",
        "2026-02-01",
        "--until",
        "2026-01-01",
    ];
    let ended = run_cli(&dir, &wrong);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (
            2,
            "error: `--until 2026-01-01` is before `--since 2026-02-01`; swap them\n"
        )
    );
}

#[test]
fn a_list_through_a_server_equals_a_list_without_one() {
    let dir = summaries_dir();
    let lists = [
        &["--keys"][..],
        &["--all", "--sort", "title"],
        &["--sort", "key", "--reverse", "--json"],
        &["--csv", "--user", "bob", "--sort", "cost"],
        &[
            "--project",
            "api",
            "--automated",
            "no",
            "--until",
            "9001-01-05",
        ],
        &["--state", "due", "--state", "new", "--sort", "messages"],
    ];
    let listed = || -> Vec<(i32, String)> {
        let arguments = lists.map(|more| [&["sessions", "list"], more].concat());
        let ended = arguments.map(|arguments| run_cli(&dir, &arguments));
        ended.map(|ended| (ended.code, ended.stdout)).to_vec()
    };
    let alone = listed();
    assert!(alone.iter().all(|(code, _)| *code == 0), "{alone:?}");
    let serving = ServerProcess::start(&dir, &[]);
    assert_eq!(listed(), alone);
    assert_eq!(serving.stop(), 0);
}

#[test]
fn an_unusable_price_file_leaves_the_list_without_costs() {
    let dir = summaries_dir();
    std::fs::write(dir.path().join("prices.toml"), "nonsense").unwrap();
    let ended = run_cli(&dir, &["sessions", "list"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("no costs: "), "{ended:?}");
    let flaky = "Fix the flaky test api ada claude now - ";
    assert!(
        table_lines(&ended.stdout)
            .iter()
            .any(|line| line.starts_with(flaky))
    );
    let by_cost = run_cli(&dir, &["sessions", "list", "--sort", "cost"]);
    assert_eq!(
        (by_cost.code, by_cost.stdout.as_str()),
        (2, ""),
        "{by_cost:?}"
    );
}

#[test]
fn a_session_is_shown_with_what_its_transcript_contains() {
    let dir = summaries_dir();
    let ended = run_cli(&dir, &["sessions", "show", FLAKY]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    let lines = table_lines(&ended.stdout);
    let about: Vec<&str> = lines[2..].iter().map(String::as_str).collect();
    let end = about.iter().position(|line| *line == "usage").unwrap();
    insta::assert_snapshot!(about[1..end].join("\n"));
    let hostile = run_cli(&dir, &["sessions", "show", HOSTILE]);
    assert!(!hostile.stdout.contains(['\u{1b}']), "{hostile:?}");
    assert!(!hostile.stdout.contains(SECRET), "{hostile:?}");
    let title = "title A \\u{1b}[2J\\n";
    assert!(
        table_lines(&hostile.stdout)
            .iter()
            .any(|line| line.starts_with(title))
    );

    let document = run_cli(&dir, &["sessions", "show", FORK, "--json"]).json();
    assert_eq!(
        document["parent_session"],
        "11111111-1111-4111-8111-111111111111"
    );
    assert_eq!(
        document["session_id"],
        "44444444-4444-4444-8444-444444444444"
    );
    assert_eq!(
        (&document["cost_usd"], &document["input_tokens"]),
        (&0.3.into(), &100_000.into())
    );
    let document = run_cli(&dir, &["sessions", "show", SUBAGENT, "--json"]).json();
    assert_eq!(
        document["parent_session"],
        "11111111-1111-4111-8111-111111111111"
    );
    assert_eq!(
        (&document["is_subagent"], &document["cost_usd"]),
        (&true.into(), &().into())
    );
}

#[test]
fn sessions_show_prints_all_details_of_a_session() {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    // What reports keep is no row of the session's.
    assert_eq!(run_cli(&dir, &["report", "usage"]).code, 0);
    let show = [
        "sessions",
        "show",
        "chidi/e47a10c9-25bd-4d83-8f16-3b90c5d7a268.jsonl",
    ];
    let ended = run_cli_on_examples(&dir, &show);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let lines = table_lines(&ended.stdout);
    assert_eq!(
        lines[0],
        "session chidi/e47a10c9-25bd-4d83-8f16-3b90c5d7a268.jsonl"
    );
    assert_eq!(lines[2], "file 2.8 KB, changed [time]");
    let usage = ["usage", "state processed", "processed [time]"];
    assert!(lines.windows(3).any(|lines| lines == usage), "{lines:?}");
    assert!(lines.contains(&"rows agent_runs 0, agent_totals 0, events 1, messages 2, sessions 1, unknown_kinds 0, waste 0".to_owned()));
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
    let ended = run_cli(&dir, &["sessions", "show", "ada/oen.jsonl"]);
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
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
    for arguments in [
        &["sessions", "list", "--keys"][..],
        &["sessions", "show", key],
    ] {
        let ended = run_cli(&dir, arguments);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(
            ended
                .stdout
                .contains("ada/\\u{1b}[2Jone\\ntwo\\u{202e}.jsonl"),
            "{ended:?}"
        );
        assert!(!ended.stdout.contains(['\u{1b}', '\u{202e}']), "{ended:?}");
    }
    let document = run_cli(&dir, &["sessions", "list", "--json"]).json();
    assert_eq!(
        document["sessions"][0]["key"], key,
        "machines get it as it is"
    );
}

#[test]
fn the_session_list_warns_about_a_missing_sessions_root() {
    let dir = DataDir::without_sessions_root();
    let ended = run_cli(&dir, &["sessions", "list"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "0 sessions\n"));
    assert!(
        ended
            .stderr
            .starts_with("sessions folder `[data-dir]/user_sessions` does not exist")
    );
}

#[test]
fn a_session_is_found_by_what_reports_and_file_managers_show_of_it() {
    let dir = summaries_dir();
    let shown = |given: &str| {
        let ended = run_cli(&dir, &["sessions", "show", given, "--json"]);
        assert_eq!(ended.code, 0, "{given}: {ended:?}");
        ended.json()["key"].as_str().unwrap().to_owned()
    };
    for (given, key) in [
        (FLAKY, FLAKY),
        // The id in reports, which is also in the files of its sub-agent and its fork.
        ("11111111-1111-4111-8111-111111111111", FLAKY),
        ("44444444-4444-4444-8444-444444444444.jsonl", FORK),
        ("444444444444", FORK),
        ("agent-a1", SUBAGENT),
        ("subagents/agent-a1.jsonl", SUBAGENT),
        ("new", NEW),
        // The id of a session whose file has another name.
        ("s5", UNTITLED),
    ] {
        assert_eq!(shown(given), key, "{given}");
    }
    // The end of a word is not the end of a name.
    for unknown in ["ew", "1111", "5", "s", ".jsonl"] {
        let ended = run_cli(&dir, &["sessions", "show", unknown]);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (2, ""),
            "{unknown}: {ended:?}"
        );
        assert!(ended.stderr.contains("unknown session"), "{ended:?}");
    }
    dir.write("ada/new.jsonl", "{}\n");
    let ambiguous = run_cli(&dir, &["sessions", "show", "new"]);
    assert_eq!(ambiguous.code, 2, "{ambiguous:?}");
    assert_eq!(
        ambiguous.stderr,
        "error: `new` matches 2 sessions; use one of these keys: `ada/new.jsonl`, `carol/new.jsonl`\n"
    );
    let due = run_cli(&dir, &["reprocess", "usage", "--session", "plain"]);
    assert!(due.stdout.starts_with("marked 1 session"), "{due:?}");
}

#[test]
fn the_list_can_be_cut_off_and_filtered_by_agent() {
    let dir = summaries_dir();
    let keys = |arguments: &[&str]| -> Vec<String> {
        let ended = run_cli(&dir, &[&["sessions", "list", "--json"], arguments].concat());
        let document = ended.json();
        let sessions = document["sessions"].as_array().unwrap();
        assert_eq!(document["count"], sessions.len());
        let keys = sessions
            .iter()
            .map(|session| session["key"].as_str().unwrap());
        keys.map(str::to_owned).collect()
    };
    let by_cost = keys(&["--sort", "cost"]);
    assert_eq!(keys(&["--sort", "cost", "--top", "2"]), by_cost[..2]);
    assert_eq!(
        keys(&["--sort", "key", "--top", "1000"]).len(),
        by_cost.len()
    );
    assert_eq!(keys(&["--agent", "claude"]).len(), 5);
    assert_eq!(keys(&["--agent", "codex"]), [""; 0]);
    let table = run_cli(&dir, &["sessions", "list", "--sort", "key", "--top", "1"]);
    let lines = table_lines(&table.stdout);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[2].starts_with("1 session: "), "{lines:?}");
    let refused = run_cli(&dir, &["sessions", "list", "--top", "0"]);
    assert_eq!(refused.code, 2, "{refused:?}");
}

#[test]
fn an_unknown_value_of_a_filter_of_the_list_is_reported() {
    let dir = summaries_dir();
    let cases = [
        (
            &["--user", "caroll"][..],
            "no session matches user `caroll`; did you mean `carol`?",
        ),
        (
            &["--project", "tool"],
            "no session matches project `tool`; did you mean `tools`?",
        ),
        (&["--agent", "codex"], "no session matches agent `codex`"),
        (
            &["--user", "ada", "--project", "web"],
            "no session matches all filters, although each name is known",
        ),
    ];
    let check = || {
        for (filter, notice) in cases {
            for sort in ["key", "cost"] {
                let list = [&["sessions", "list", "--sort", sort], filter].concat();
                let ended = run_cli(&dir, &list);
                assert_eq!(ended.code, 0, "{ended:?}");
                assert_eq!(ended.stderr, format!("{notice}\n"), "{list:?}");
                let document = run_cli(&dir, &[&list[..], &["--json"]].concat()).json();
                assert_eq!(document["notices"][0], notice);
            }
        }
        let known = run_cli(&dir, &["sessions", "list", "--user", "ada", "--json"]).json();
        assert_eq!(known.get("notices"), None);
        let days = ["sessions", "list", "--until", "1990-01-01"];
        assert_eq!(run_cli(&dir, &days).stderr, "");
    };
    check();
    let serving = ServerProcess::start(&dir, &[]);
    check();
    assert_eq!(serving.stop(), 0);
}

#[test]
fn tokens_that_the_agent_did_not_record_are_a_lower_bound_in_the_list() {
    let dir = summaries_dir();
    let cost = || {
        let list = ["sessions", "list", "--user", "bob", "--search", "plain"];
        let lines = table_lines(&run_cli(&dir, &list).stdout);
        lines[1].clone()
    };
    assert!(cost().contains(" $0.00 0 "), "{}", cost());
    crate::database::execute(
        &dir,
        &format!(
            "UPDATE usage.sessions SET unrecorded_requests = 1 WHERE session_file = '{UNTITLED}'"
        ),
    );
    assert!(cost().contains(" ≥ $0.00 0 "), "{}", cost());
}

/// Runs a command on a terminal of this width. `None` if `script` (util-linux), which provides the
/// terminal, is not installed.
fn on_terminal(dir: &DataDir, columns: u16, arguments: &str) -> Option<String> {
    let script = ["/usr/bin/script", "/bin/script"].map(std::path::Path::new);
    let script = script.into_iter().find(|path| path.exists())?;
    let line = format!(
        "stty cols {columns} rows 24; exec {} --data-dir {} {arguments} 2>/dev/null",
        session_pipeline_harness::program::path().display(),
        dir.path().display()
    );
    let output = std::process::Command::new(script)
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(session_pipeline_harness::compiled::environment())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    Some(String::from_utf8(output.stdout).unwrap().replace('\r', ""))
}

#[test]
fn tables_fit_into_the_terminal_and_are_complete_elsewhere() {
    let dir = DataDir::new();
    let path = "/home/ada/a/very/long/way/to/the/repository";
    let session = Transcript::new("s1")
        .cwd(path)
        .assistant(|message| message.tokens(1_234_567, 0));
    let key = format!("ada/{}.jsonl", "long-name-".repeat(8));
    dir.write(&key, session);
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
    let report = "report usage --by project";
    let Some(narrow) = on_terminal(&dir, 90, report) else {
        eprintln!("skipped: `script` is not installed");
        return;
    };
    let width = |text: &str| text.lines().map(|line| line.chars().count()).max();
    assert!(width(&narrow) <= Some(90), "{narrow}");
    assert!(narrow.contains("…") && !narrow.contains(path), "{narrow}");
    assert!(
        narrow.contains(" 1 234 567 ") && narrow.contains("$6.17"),
        "{narrow}"
    );
    let wide = on_terminal(&dir, 200, report).unwrap();
    assert!(wide.contains(path), "{wide}");
    let list = on_terminal(&dir, 100, "sessions list --keys").unwrap();
    assert!(width(&list) <= Some(100), "{list}");
    let piped = run_cli(&dir, &["sessions", "list", "--keys"]);
    assert!(piped.stdout.contains(&key), "{piped:?}");
    let piped = run_cli(&dir, &["report", "usage", "--by", "project"]);
    assert!(piped.stdout.contains(path), "{piped:?}");
}
