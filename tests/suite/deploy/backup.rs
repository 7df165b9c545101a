//! The commands to back up and restore in `docs/deploy/README.md`, run with a real server. A program
//! named `systemctl` starts and stops it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use session_pipeline_harness::{DataDir, Transcript, compiled, program};

use super::{is_installed, text};
use crate::cli::serve::ServerProcess;

/// The commands in a fenced block of the page, as one script. The data directory and the backup have
/// other paths here.
fn commands(block: &str, dir: &DataDir) -> String {
    let page = text("README.md");
    let (_, rest) = page.split_once(&format!("```sh {block}\n")).unwrap();
    let (script, _) = rest.split_once("```").unwrap();
    assert_eq!(script.lines().count(), 3, "{script}");
    let data_dir = dir.path().to_str().unwrap();
    assert!(script.contains("/var/lib/session-pipeline"), "{script}");
    script.replace("/var/lib/session-pipeline", data_dir)
}

/// Runs the commands of a block, and starts the server again. The first command stops `server`, if one
/// is running.
fn run_commands(
    block: &str,
    dir: &DataDir,
    outside: &DataDir,
    server: Option<ServerProcess>,
) -> ServerProcess {
    let stop = match &server {
        Some(server) => format!(
            "kill -TERM {id}\nwhile kill -0 {id} 2>/dev/null; do sleep 0.05; done\n",
            id = server.id()
        ),
        None => String::new(),
    };
    let systemctl = outside.path().join("systemctl");
    let script = format!(
        "#!/bin/sh\n[ \"$2\" = session-pipeline ] || exit 1\n[ \"$1\" = stop ] || exit 0\n{stop}"
    );
    fs::write(&systemctl, script).unwrap();
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    // Without a parent that waits, a process that ended still has its id.
    let waiting = server.map(|server| std::thread::spawn(move || server.wait()));
    let path = format!("{}:/usr/bin:/bin", outside.path().display());
    let output = Command::new("sh")
        .args(["-e", "-c", &commands(block, dir)])
        .env_clear()
        .env("PATH", path)
        .env("BACKUP", outside.path().join("backup.tar.gz"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // The clock of the test is ahead of that of the machine.
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.lines().all(|line| line.ends_with("in the future")),
        "{output:?}"
    );
    if let Some(waiting) = waiting {
        let (code, stderr) = waiting.join().unwrap();
        assert_eq!(code, 0, "{stderr}");
    }
    ServerProcess::start(dir, &[])
}

/// Runs a command of the program in the data directory and returns its JSON.
fn json(dir: &DataDir, arguments: &[&str]) -> Value {
    let mut command = program::command_with_data_dir(dir);
    command
        .envs(compiled::environment())
        .arg("--json")
        .args(arguments);
    let output = command.output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn session(id: &str) -> Transcript {
    let session = Transcript::new(id).user("hello");
    session.assistant(|message| message.tokens(10, 20))
}

fn messages(dir: &DataDir) -> Value {
    json(dir, &["report", "usage", "--by", "session"])["totals"].clone()
}

#[test]
fn a_backup_restores_the_database_and_keeps_transcripts_that_came_later() {
    if !is_installed("tar", &["--version"]) {
        return;
    }
    let dir = DataDir::new();
    let outside = DataDir::new();
    dir.write("ada/one.jsonl", session("s1"));
    let server = ServerProcess::start(&dir, &[]);
    json(&dir, &["run", "usage"]);
    let before = messages(&dir);

    let server = run_commands("backup", &dir, &outside, Some(server));
    assert_eq!(messages(&dir), before);
    // After the backup: a further session, a longer session, and a token.
    dir.write("ada/two.jsonl", session("s2"));
    json(&dir, &["run", "usage"]);
    let later = messages(&dir);
    assert_ne!(later, before);
    let token = ["token", "create", "--role", "admin", "--label", "later"];
    json(&dir, &token);

    let server = run_commands("restore", &dir, &outside, Some(server));
    // The database is that of the backup, and the program knows that it is older than the last commit.
    assert_eq!(messages(&dir), before);
    let tokens = json(&dir, &["token", "list"]).to_string();
    assert!(!tokens.contains("later"), "{tokens}");
    let status = json(&dir, &["status"]).to_string();
    assert!(status.contains("commits are missing"), "{status}");
    // The session that came after the backup is still there, and is processed again.
    json(&dir, &["run", "usage"]);
    assert_eq!(messages(&dir), later);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_backup_restores_everything_on_a_new_machine() {
    if !is_installed("tar", &["--version"]) {
        return;
    }
    let dir = DataDir::new();
    let outside = DataDir::new();
    dir.write("ada/one.jsonl", session("s1"));
    let server = ServerProcess::start(&dir, &[]);
    json(&dir, &["run", "usage"]);
    let before = messages(&dir);
    let server = run_commands("backup", &dir, &outside, Some(server));
    assert_eq!(server.stop(), 0);

    let new = DataDir::without_sessions_root();
    let server = run_commands("restore", &new, &outside, None);
    assert_eq!(messages(&new), before);
    assert_eq!(new.read("ada/one.jsonl"), dir.read("ada/one.jsonl"));
    // The administrator's token is that of the old machine.
    let token = |dir: &DataDir| fs::read(dir.path().join("state/admin-token")).unwrap();
    assert_eq!(token(&new), token(&dir));
    let stats = json(&new, &["run", "usage"]);
    assert_eq!(stats["details"]["processed"], 0, "{stats}");
    assert_eq!(server.stop(), 0);
}
