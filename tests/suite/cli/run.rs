//! `run`: output on both streams, and exit codes.

use std::fs;

use session_pipeline_harness::{DataDir, Transcript};

use super::{run_cli, run_cli_on_examples, table_lines};
use crate::documents::{STATS, names};

#[test]
fn run_prints_only_a_table() {
    let dir = DataDir::new();
    let output = run_cli_on_examples(&dir, &["run", "usage"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    let [header, row] = table_lines(&output.stdout).try_into().unwrap();
    assert_eq!(
        header,
        "processor scanned processed skipped failed waiting quarantined items read seconds"
    );
    assert!(row.starts_with("usage 5 5 0 0 0 0 "), "{row}");
}

#[test]
fn run_as_json_prints_the_body_of_the_endpoint() {
    let dir = DataDir::new();
    let body = run_cli_on_examples(&dir, &["run", "usage", "--json"]).json();
    assert_eq!(names(&body), ["details", "ok"]);
    assert_eq!(body["ok"], true);
    assert_eq!(names(&body["details"]), STATS);
    assert_eq!(body["details"]["processed"], 5);
    let again = run_cli_on_examples(&dir, &["run", "usage", "--json"]).json();
    assert_eq!(again["details"]["scanned"], 0, "no session is new");
}

#[test]
fn run_all_as_json_is_a_list() {
    let dir = DataDir::new();
    let body = run_cli_on_examples(&dir, &["run", "--all", "--json"]).json();
    let processors: Vec<_> = body
        .as_array()
        .unwrap()
        .iter()
        .map(|body| &body["details"]["processor"])
        .collect();
    assert_eq!(processors, ["usage", "verification"]);
}

#[test]
fn a_capped_run_succeeds_with_a_hint() {
    let dir = DataDir::new();
    let output = run_cli_on_examples(&dir, &["run", "usage", "--max-sessions", "2"]);
    assert_eq!(output.code, 0);
    assert_eq!(
        output.stderr,
        "3 sessions are left for the next run because of the limits of this run\n"
    );
    let rest = run_cli_on_examples(&dir, &["run", "usage", "--json"]).json();
    assert_eq!(rest["details"]["processed"], 3);
}

#[test]
fn a_run_past_its_time_budget_starts_no_new_session() {
    let dir = DataDir::new();
    let output = run_cli_on_examples(&dir, &["run", "usage", "--time-budget", "0", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let details = &output.json()["details"];
    let counts = (&details["processed"], &details["capped"]);
    assert_eq!(counts, (&1.into(), &4.into()), "every run makes progress");
    let rest =
        run_cli_on_examples(&dir, &["run", "usage", "--time-budget", "600", "--json"]).json();
    assert_eq!(rest["details"]["processed"], 4);
}

#[test]
fn a_run_with_a_failed_session_exits_with_1_and_names_it() {
    let dir = DataDir::new();
    dir.write("ada/fine.jsonl", Transcript::new("s1").user("hello"));
    dir.write("ada/huge.jsonl", "");
    // A sparse file, one byte larger than the limit.
    let file = fs::File::options()
        .write(true)
        .open(dir.session_path("ada/huge.jsonl"))
        .unwrap();
    file.set_len((1 << 30) + 1).unwrap();
    let output = run_cli(&dir, &["run", "usage"]);
    assert_eq!(output.code, 1);
    assert_eq!(
        output.stderr,
        "failed `ada/huge.jsonl`: too-large: the session has 1073741825 bytes; the limit is 1073741824\n"
    );
    let [_, row] = table_lines(&output.stdout).try_into().unwrap();
    assert!(row.starts_with("usage 2 1 0 1 0 0 "), "{row}");
    assert_eq!(
        run_cli(&dir, &["run", "usage", "--json"]).code,
        1,
        "the exit code is the same with --json"
    );
}

#[test]
fn a_missing_sessions_root_prints_a_hint_and_is_not_an_error() {
    let dir = DataDir::without_sessions_root();
    let output = run_cli(&dir, &["run", "usage", "--json"]);
    assert_eq!(
        output.stderr,
        "sessions folder `[data-dir]/user_sessions` does not exist; set it with --sessions, for example ~/.claude/projects\n"
    );
    let body = output.json();
    for name in ["scanned", "processed", "skipped", "errors"] {
        assert_eq!(body["details"][name], 0, "{name}");
    }
}

#[test]
fn a_sessions_root_that_was_chosen_and_does_not_exist_is_an_error() {
    let dir = DataDir::new();
    let missing = ["--sessions", "/nonexistent/sessions"];
    for command in [
        &["run", "usage"][..],
        &["run", "--all"],
        &["sessions", "list"],
        &["sessions", "show", "ada/a.jsonl"],
    ] {
        let output = run_cli(&dir, &[&missing, command].concat());
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
        assert_eq!(
            output.stderr,
            "error: sessions folder `/nonexistent/sessions` does not exist; create it, or choose another one with --sessions, for example ~/.claude/projects\n"
        );
    }
    assert!(!dir.path().join("state").exists(), "nothing was created");
    let config = "sessions = \"/nonexistent/configured\"\n";
    fs::write(dir.path().join("config.toml"), config).unwrap();
    let output = run_cli(&dir, &["run", "usage"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(
        output.stderr.contains("`/nonexistent/configured`"),
        "{output:?}"
    );
}

#[test]
fn a_file_name_that_is_not_utf8_is_skipped_with_a_hint() {
    use std::os::unix::ffi::OsStrExt;

    let dir = DataDir::new();
    dir.write("ada/fine.jsonl", Transcript::new("s1").user("hello"));
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.jsonl");
    fs::write(dir.sessions_root().join("ada").join(name), "{}").unwrap();
    let output = run_cli(&dir, &["run", "usage"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.starts_with("skipped `ada/caf"), "{output:?}");
}

#[test]
fn an_unknown_processor_is_the_only_error_even_without_a_sessions_root() {
    let dir = DataDir::without_sessions_root();
    let output = run_cli(&dir, &["run", "nonsense"]);
    assert_eq!(output.code, 2);
    assert_eq!(
        output.stderr,
        "error: unknown processor `nonsense`; known processors: usage, verification\n"
    );
    assert!(
        !dir.path().join("state").exists(),
        "usage errors create nothing"
    );
}

#[test]
fn corrections_by_users_are_extracted_listed_and_approved() {
    let dir = DataDir::new();
    let text = "No, churn is counted per month from MRR.";
    dir.write("ada/one.jsonl", Transcript::new("s1").user(text));
    let output = run_cli(&dir, &["run", "verification", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(output.json()["details"]["items_extracted"], 1);
    let listed = run_cli(&dir, &["knowledge", "list", "--json"]).json();
    let item = &listed["items"][0];
    assert_eq!(item["title"], "Churn is counted per month from MRR");
    let id = item["id"].as_str().unwrap();
    let shown = run_cli(&dir, &["knowledge", "show", id]);
    let lines = table_lines(&shown.stdout);
    for line in [
        format!("quote {text}"),
        "session ada/one.jsonl, line 1".to_owned(),
        "detector phrases".to_owned(),
    ] {
        assert!(lines.contains(&line), "{line}: {shown:?}");
    }
    let approved = run_cli(
        &dir,
        &["knowledge", "approve", id, "--reason", "as in the handbook"],
    );
    assert_eq!(
        approved.stdout,
        format!("{id} is approved: Churn is counted per month from MRR\n")
    );
    let pending = run_cli(&dir, &["knowledge", "list", "--status", "pending"]);
    assert_eq!((pending.code, pending.stdout.as_str()), (0, "0 items\n"));
    let shown = run_cli(&dir, &["knowledge", "show", id]);
    assert!(table_lines(&shown.stdout).contains(&"reason as in the handbook".to_owned()));
    let exported = run_cli(&dir, &["knowledge", "export", "--format", "markdown"]);
    assert!(
        exported
            .stdout
            .contains("\n- **Churn is counted per month from MRR**: "),
        "{exported:?}"
    );
    let unknown = run_cli(&dir, &["knowledge", "reject", id, "kv_000000000000"]);
    assert_eq!(unknown.code, 2);
}

/// A session with one message, 100 input tokens and 10 output tokens.
fn one_message(id: &str) -> String {
    Transcript::new(id)
        .assistant(|message| {
            let message = message
                .id(&format!("msg-{id}"))
                .model("claude-sonnet-4-5-20250929");
            message.tokens(100, 10)
        })
        .text()
        .to_owned()
}

#[test]
fn links_are_skipped_and_named_by_run_and_status() {
    use std::os::unix::fs::symlink;
    let dir = DataDir::new();
    let shared = DataDir::new();
    shared.write("lee/s2.jsonl", one_message("two"));
    // The root itself can be a link.
    fs::rename(dir.sessions_root(), dir.path().join("elsewhere")).unwrap();
    symlink(dir.path().join("elsewhere"), dir.sessions_root()).unwrap();
    dir.write("kim/s.jsonl", one_message("one"));
    symlink(shared.session_path("lee"), dir.session_path("lee")).unwrap();
    symlink(
        shared.session_path("lee/s2.jsonl"),
        dir.session_path("kim/linked.jsonl"),
    )
    .unwrap();
    let output = run_cli(&dir, &["run", "usage", "--json"]);
    let body = output.json();
    assert_eq!(body["details"]["processed"], 1);
    let skipped_paths = |body: &serde_json::Value| -> Vec<String> {
        let notes = body["notes"].as_array().unwrap().iter();
        notes
            .map(|note| note["path"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(skipped_paths(&body), ["kim/linked.jsonl", "lee"]);
    for path in ["`kim/linked.jsonl`", "`lee`"] {
        assert!(
            output
                .stderr
                .contains(&format!("skipped {path}: links are not followed")),
            "{}",
            output.stderr
        );
    }
    let report = run_cli(&dir, &["report", "usage", "--json"]).json();
    let total = report["totals"].to_string();
    assert!(
        total.contains("\"input_tokens\":100,") && total.contains("\"output_tokens\":10,"),
        "{total}"
    );
    // The same in text output, in a run without new sessions, and in a run on a server.
    let again = run_cli(&dir, &["run", "usage"]);
    assert_eq!(again.code, 0);
    assert!(again.stderr.contains("skipped `lee`"), "{}", again.stderr);
    let status = run_cli(&dir, &["status"]);
    assert_eq!(status.code, 0, "{status:?}");
    let line = table_lines(&status.stdout)
        .into_iter()
        .find(|line| line.starts_with("sessions "));
    insta::assert_snapshot!(line.unwrap(), @"sessions info links are not followed, so sessions behind them are not processed: `kim/linked.jsonl`, `lee`");
    let json = run_cli(&dir, &["status", "--json"]).json();
    let entry = &json["services"]["sessions"];
    assert_eq!(
        (&entry["links"], &entry["session_files"]),
        (&2.into(), &1.into())
    );
    let server = super::serve::ServerProcess::start(&dir, &[]);
    let remote = run_cli(&dir, &["run", "usage", "--json"]);
    assert_eq!(skipped_paths(&remote.json()), ["kim/linked.jsonl", "lee"]);
    assert!(remote.stderr.contains("skipped `lee`"), "{}", remote.stderr);
    assert_eq!(server.stop(), 0);
}
