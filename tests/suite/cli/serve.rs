//! `serve`, and the other commands while it holds the data dir.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use session_pipeline_harness::{DataDir, Transcript, compiled, program as real};

use super::{Ended, check, check_examples, program, words};
use crate::database::cell;
use crate::registry::{VERSIONED, versioned};

/// A server in a process of its own.
pub(crate) struct Serving {
    child: Child,
    started: Value,
}

impl Serving {
    pub(crate) fn start(dir: &DataDir, environment: &[(&str, &str)]) -> Self {
        Self::start_with(dir, environment, &[])
    }

    fn start_with(dir: &DataDir, environment: &[(&str, &str)], more: &[&str]) -> Self {
        let program = Command::new(real::path());
        Self::start_by(program, dir, environment, more)
    }

    /// As [`Serving::start`], with the scheduler, which waits for a minute before its first tick.
    pub(crate) fn start_scheduling(dir: &DataDir, environment: &[(&str, &str)]) -> Self {
        Self::spawn(Command::new(real::path()), dir, environment, &[], &[])
    }

    /// Starts it by a command that leads to the program.
    pub(crate) fn start_by(
        command: Command,
        dir: &DataDir,
        environment: &[(&str, &str)],
        more: &[&str],
    ) -> Self {
        Self::spawn(command, dir, environment, more, &["--no-scheduler"])
    }

    fn spawn(
        mut command: Command,
        dir: &DataDir,
        environment: &[(&str, &str)],
        more: &[&str],
        serve: &[&str],
    ) -> Self {
        let data_dir = dir.path().to_str().unwrap();
        let mut child = command
            .env_clear()
            .envs(compiled::environment())
            .envs(environment.iter().copied())
            .current_dir(dir.path())
            .args(["--data-dir", data_dir, "--json"])
            .args(more)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(serve)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let started = loop {
            if stdout.read_line(&mut text).unwrap() == 0 {
                let mut stderr = String::new();
                child
                    .stderr
                    .take()
                    .unwrap()
                    .read_to_string(&mut stderr)
                    .unwrap();
                panic!("it did not start: {text}{stderr}");
            }
            if let Ok(started) = serde_json::from_str(&text) {
                break started;
            }
        };
        Self { child, started }
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> &str {
        self.started["url"].as_str().unwrap()
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end; gives the exit code and what it said.
    pub(crate) fn wait(mut self) -> (i32, String) {
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code().unwrap(), said)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Sends SIGTERM and waits; gives the exit code.
    pub(crate) fn stop(mut self) -> i32 {
        self.signal(Signal::TERM);
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Only where a test failed before it stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serve_says_where_it_is_and_ends_well_when_it_is_told_to() {
    let dir = DataDir::new();
    let serving = Serving::start(&dir, &[]);
    let started = &serving.started;
    let url = started["url"].as_str().unwrap();
    assert!(
        url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"),
        "{url}"
    );
    assert_eq!(started["processors"][0]["name"], "usage");
    assert!(
        started["processors"][0]["cadence_seconds"]
            .as_u64()
            .unwrap()
            > 0
    );
    let token = fs::metadata(started["admin_token"].as_str().unwrap()).unwrap();
    assert_eq!(token.permissions().mode() & 0o777, 0o600);
    let lock = fs::read_to_string(dir.path().join("state/lock")).unwrap();
    assert_eq!(lock, format!("{}\n{url}\n", serving.child.id()));
    assert_eq!(serving.stop(), 0);
    assert_eq!(
        check(&dir, &["status"]).code,
        0,
        "the data dir is free again"
    );
}

#[test]
fn without_json_it_says_the_same_to_people() {
    let dir = DataDir::new();
    let mut child = Command::new(real::path())
        .env_clear()
        .envs(compiled::environment())
        .current_dir(dir.path())
        .args(["--data-dir", "data", "--sessions", "user_sessions"])
        .args(["serve", "--listen", "127.0.0.1:0", "--no-scheduler"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let told: Vec<String> = stdout.lines().map(Result::unwrap).take(6).collect();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let told = told.join("\n");
    let url = told.split_once("http://127.0.0.1:").unwrap().1;
    let port = url.split_once('\n').unwrap().0.trim();
    insta::assert_snapshot!(told.replace(port, "[port]"), @r"
    listens            http://127.0.0.1:[port]
    data dir           data
    sessions           user_sessions
    processors         usage (every 10 min), verification (every 15 min)
    scheduler          off, as asked for
    first admin token  data/state/admin-token
    ");
}

#[test]
fn listening_beyond_this_machine_triggers_a_warning() {
    for (listen, is_warned) in [
        ("127.0.0.1:0", false),
        ("[::1]:0", false),
        ("0.0.0.0:0", true),
    ] {
        let dir = DataDir::new();
        let data_dir = dir.path().to_str().unwrap();
        let mut child = Command::new(real::path())
            .env_clear()
            .envs(compiled::environment())
            .current_dir(dir.path())
            .args([
                "--data-dir",
                data_dir,
                "serve",
                "--no-scheduler",
                "--listen",
                listen,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let mut serving = Serving {
            child,
            started: Value::Null,
        };
        serving.signal(Signal::TERM);
        let mut stderr = String::new();
        let mut pipe = serving.child.stderr.take().unwrap();
        pipe.read_to_string(&mut stderr).unwrap();
        assert_eq!(
            serving.child.wait().unwrap().code(),
            Some(0),
            "{listen}: {stderr}"
        );
        assert_eq!(
            stderr.contains("plain HTTP"),
            is_warned,
            "{listen}: {stderr}"
        );
    }
}

#[test]
fn an_interrupt_ends_it_as_well() {
    let dir = DataDir::new();
    let mut serving = Serving::start(&dir, &[]);
    serving.signal(Signal::INT);
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
}

/// A request that is at work: the server wants its body, and does not get it.
fn hanging_request(serving: &Serving, dir: &DataDir) -> TcpStream {
    let url = serving.started["url"].as_str().unwrap();
    let token = fs::read_to_string(dir.path().join("state/admin-token")).unwrap();
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    let head = format!(
        "POST /api/admin/tokens HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        token.trim()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    stream
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let dir = DataDir::new();
    let mut serving = Serving::start(&dir, &[]);
    let _hanging = hanging_request(&serving, &dir);
    serving.signal(Signal::TERM);
    // One right behind the other would be one signal.
    let mut said = String::new();
    let mut stderr = BufReader::new(serving.child.stderr.take().unwrap());
    while !said.contains("stopping") {
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
    }
    serving.signal(Signal::TERM);
    assert_eq!(serving.child.wait().unwrap().code(), Some(3));
    assert_eq!(check(&dir, &["status"]).code, 0, "what it left is in order");
}

#[test]
fn a_request_that_does_not_end_does_not_keep_it() {
    let dir = DataDir::new();
    let serving = Serving::start(&dir, &[]);
    let _hanging = hanging_request(&serving, &dir);
    assert_eq!(serving.stop(), 0);
}

#[test]
fn the_first_token_is_made_once() {
    let dir = DataDir::new();
    let token = || fs::read_to_string(dir.path().join("state/admin-token")).unwrap();
    Serving::start(&dir, &[]).stop();
    let first = token();
    Serving::start(&dir, &[]).stop();
    assert_eq!(token(), first);
}

#[test]
fn a_first_token_of_which_only_the_file_was_made_is_made_anew() {
    let dir = DataDir::new();
    assert_eq!(check(&dir, &["migrate"]).code, 0);
    let path = dir.path().join("state/admin-token");
    fs::create_dir(&path).unwrap();
    let refused = check(&dir, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("state/admin-token"), "{refused:?}");
    let made = "SELECT count(*) FROM tokens";
    assert_eq!(cell(&dir, made), "0", "none that nobody knows");

    fs::remove_dir(&path).unwrap();
    fs::write(&path, "sp_of_a_process_that_was_killed\n").unwrap();
    let serving = Serving::start(&dir, &[]);
    let token = fs::read_to_string(&path).unwrap();
    assert_ne!(token, "sp_of_a_process_that_was_killed\n");
    let listed = check(&dir, &["token", "list"]);
    assert_eq!(listed.code, 0, "the token in the file opens: {listed:?}");
    assert_eq!(serving.stop(), 0);
}

#[test]
fn a_second_server_is_told_who_is_there_and_what_to_do() {
    let dir = DataDir::new();
    let serving = Serving::start(&dir, &[]);
    let second = check(&dir, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, 3);
    let url = serving.started["url"].as_str().unwrap();
    let said = second.stderr.replace(url, "[url]");
    assert_eq!(
        said,
        "error: the data directory `[data-dir]` is in use by the server at [url] (process [pid]); wait for it to finish or stop it\n"
    );
    assert_eq!(serving.stop(), 0);
}

#[test]
fn a_program_that_has_the_database_open_past_our_lock_is_named() {
    let dir = DataDir::new();
    assert_eq!(check(&dir, &["migrate"]).code, 0);
    // The same file in another data dir, whose lock is another one.
    let other = DataDir::new();
    fs::create_dir(other.path().join("state")).unwrap();
    fs::hard_link(dir.database_path(), other.database_path()).unwrap();
    let serving = Serving::start(&other, &[]);
    let ended = check(&dir, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(ended.code, 3);
    assert!(
        ended
            .stderr
            .starts_with("error: the database `[data-dir]/state/system.duckdb` is open in "),
        "{ended:?}"
    );
    assert!(
        ended.stderr.contains("(PID ") && ended.stderr.ends_with("; close it there and retry\n"),
        "{ended:?}"
    );
    assert_eq!(serving.stop(), 0);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let dir = DataDir::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = check(&dir, &["serve", "--listen", &address]);
    assert_eq!(ended.code, 3);
    assert!(
        ended.stderr.starts_with(&format!(
            "error: cannot listen on `{address}`; choose another address with --listen"
        )),
        "{ended:?}"
    );
}

#[test]
fn a_short_shared_secret_stops_the_server_before_it_starts_and_an_empty_one_is_none() {
    let dir = DataDir::new();
    let data_dir = dir.path().to_str().unwrap();
    let output = program(&dir)
        .env("SCHEDULER_API_TOKEN", "0123456789abcdef0123456789abcde")
        .args(["--data-dir", data_dir, "serve", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    let ended = Ended::of(&dir, output);
    assert_eq!(ended.code, 2);
    assert_eq!(
        ended.stderr,
        "error: `SCHEDULER_API_TOKEN` has 31 characters; use at least 32, or unset it\n"
    );
    assert!(!dir.path().join("state").exists());
    assert_eq!(
        Serving::start(&dir, &[("SCHEDULER_API_TOKEN", "")]).stop(),
        0
    );
}

#[test]
fn the_cap_of_the_environment_is_a_number_or_none() {
    let dir = DataDir::new();
    let status = |cap: &str| {
        let data_dir = dir.path().to_str().unwrap();
        let mut command = program(&dir);
        command.env("SESSION_PROCESSOR_MAX_PER_RUN", cap);
        command
            .args(["--data-dir", data_dir, "status"])
            .output()
            .unwrap()
            .status
            .code()
    };
    for cap in ["", "10", "0", "-3"] {
        assert_eq!(status(cap), Some(0), "{cap:?}");
    }
    for cap in ["many", "1.5"] {
        assert_eq!(status(cap), Some(2), "{cap:?}");
    }
}

// The other commands.

#[test]
fn commands_with_a_route_go_through_the_server_that_holds_the_data_dir() {
    let dir = DataDir::new();
    dir.write(
        "ada/one.jsonl",
        Transcript::new("s1")
            .user("hello")
            .assistant(|m| m.tokens(10, 5)),
    );
    let alone = DataDir::new();
    alone.write("ada/one.jsonl", dir.read("ada/one.jsonl"));
    let serving = Serving::start(&dir, &[]);
    // What differs is when it happened, and how long it took.
    let told = |dir: &DataDir, arguments: &[&str]| {
        let ended = check(dir, arguments);
        let text = ended.stdout.lines().map(|line| {
            let varies = [
                "_ms",
                "fuel",
                "_at",
                "guest_micros",
                "last_run",
                "timestamp",
                "free_bytes",
                "last_processed",
            ];
            if varies.iter().any(|name| line.contains(name)) {
                ""
            } else {
                line
            }
        });
        (ended.code, text.collect::<Vec<_>>().join("\n"))
    };
    for arguments in [
        &["run", "usage", "--json"][..],
        &["run", "--all", "--json"],
        &["report", "usage", "--csv"],
        &["report", "usage", "--by", "tool"],
        &["report", "usage", "--by", "user", "--since", "2020-01-01"],
        &["sessions", "list", "--json"],
        &["sessions", "show", "ada/one.jsonl", "--json"],
        &["sessions", "show", "ada/two.jsonl"],
        &["quarantine", "list", "--json"],
        &["quarantine", "list", "--processor", "usage"],
        &["quarantine", "release", "--all"],
        &["quarantine", "release", "--session", "ada/one.jsonl"],
        &["processors", "list", "--json"],
        &["reprocess", "usage", "--session", "ada/one.jsonl"],
        &["reprocess", "usage", "--json"],
        &["run", "nonsense"],
        &["status", "--json"],
    ] {
        assert_eq!(
            told(&dir, arguments),
            told(&alone, arguments),
            "{arguments:?}"
        );
    }
    assert_eq!(serving.stop(), 0);
}

#[test]
fn a_component_that_is_dropped_is_run_without_a_restart_and_a_broken_one_changes_nothing() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    let serving = Serving::start(&dir, &[]);
    let run = || check(&dir, &["run", VERSIONED, "--json"]).json()["details"]["processed"].clone();
    let list = || check(&dir, &["processors", "list"]);
    dir.drop_processor("theirs.wasm", versioned(1));
    assert_eq!(run(), 1);
    let listed = words(&list().stdout);
    let row = "faulty-versioned 1 dropped every 10 min independent transcript, records yes";
    assert!(listed[1].starts_with(row), "{listed:?}");

    dir.drop_processor("theirs.wasm", "no component");
    let told = "`theirs.wasm` was rejected: the file is not WebAssembly; \
                version 1 of `faulty-versioned` stays in use\n";
    dir.write("ada/two.jsonl", "two\n");
    assert_eq!(run(), 1);
    assert_eq!(list().stderr, told);
    let status = check(&dir, &["status"]);
    assert_eq!(status.code, 1);
    assert!(status.stdout.contains(told.trim_end()), "{status:?}");
    assert_eq!(serving.stop(), 0);

    let serving = Serving::start(&dir, &[]);
    dir.write("ada/three.jsonl", "three\n");
    assert_eq!(run(), 1, "after a restart");
    assert_eq!(list().stderr, told);
    assert_eq!(serving.stop(), 0);

    // And without a server.
    dir.write("ada/four.jsonl", "four\n");
    assert_eq!(run(), 1);
    assert_eq!(list().stderr, told);
    assert_eq!(check(&dir, &["status"]).code, 1);
    dir.drop_processor("theirs.wasm", versioned(2));
    let all = check(&dir, &["run", "--all", "--json"]).json();
    let told: Vec<(&Value, &Value)> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|body| (&body["details"]["processor"], &body["details"]["processed"]))
        .collect();
    assert_eq!(
        told,
        [
            (&VERSIONED.into(), &4.into()),
            (&"usage".into(), &4.into()),
            (&"verification".into(), &4.into()),
        ]
    );
}

#[test]
fn tokens_are_made_listed_and_revoked_through_the_server_and_without() {
    let dir = DataDir::new();
    // Their texts are what a redaction would hide.
    let said = |token: Option<&Value>, arguments: &[&str]| -> (i32, Value) {
        let data_dir = dir.path().to_str().unwrap();
        let mut command = program(&dir);
        let token = token.map(|created| created["token"].as_str().unwrap());
        command.envs(token.map(|token| ("SESSION_PIPELINE_TOKEN", token)));
        command
            .args(["--data-dir", data_dir, "--json"])
            .args(arguments);
        let output = command.output().unwrap();
        let document = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), document)
    };
    let make = [
        "token",
        "create",
        "--role",
        "analyst",
        "--user",
        "ada@example.com",
    ];
    let (code, without) = said(None, &make);
    assert_eq!(code, 0, "{without}");
    assert_eq!(crate::documents::names(&without), ["id", "role", "token"]);
    assert_eq!(without["role"], "analyst");
    // So the server makes none of its own.
    let (_, admin) = said(
        None,
        &["token", "create", "--role", "admin", "--label", "me"],
    );
    let serving = Serving::start(&dir, &[]);
    assert!(!dir.path().join("state/admin-token").exists());
    let (code, through) = said(Some(&admin), &make);
    assert_eq!((code, &through["id"]), (0, &"3".into()));
    assert_eq!(said(Some(&admin), &["token", "revoke", "1"]).0, 0);
    let (_, listed) = said(Some(&admin), &["token", "list"]);
    let tokens = listed["tokens"].as_array().unwrap();
    let revoked: Vec<bool> = tokens
        .iter()
        .map(|token| !token["revoked_at"].is_null())
        .collect();
    assert_eq!(revoked, [true, false, false]);
    let refusal = |token, arguments: &[&str]| {
        let (code, document) = said(Some(token), arguments);
        (code, document["detail"].as_str().unwrap().to_owned())
    };
    let (code, reason) = refusal(&without, &["report", "usage"]);
    assert_eq!(code, 3);
    assert!(reason.contains("this token was revoked"), "{reason}");
    let (code, reason) = refusal(&through, &["run", "usage"]);
    assert_eq!(code, 3);
    assert!(
        reason.contains("this token has the role `analyst`; this request requires `admin`"),
        "{reason}"
    );
    assert_eq!(serving.stop(), 0);
    assert_eq!(refusal(&admin, &["token", "revoke", "9"]).0, 2);
    assert_eq!(
        refusal(
            &admin,
            &["token", "create", "--role", "admin", "--user", "ada"]
        )
        .0,
        2
    );
}

#[test]
fn without_a_token_a_command_says_how_to_get_one() {
    let dir = DataDir::new();
    let serving = Serving::start(&dir, &[]);
    fs::remove_file(dir.path().join("state/admin-token")).unwrap();
    let ended = check(&dir, &["run", "usage"]);
    assert_eq!(ended.code, 3);
    for word in [
        "SESSION_PIPELINE_TOKEN",
        "token create",
        "state/admin-token",
    ] {
        assert!(ended.stderr.contains(word), "{ended:?}");
    }
    assert_eq!(serving.stop(), 0);
}

#[test]
fn a_server_may_be_named_and_one_that_is_not_there_is_told() {
    let dir = DataDir::new();
    let elsewhere = DataDir::new();
    elsewhere.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    let serving = Serving::start(&elsewhere, &[]);
    let token = fs::read_to_string(elsewhere.path().join("state/admin-token")).unwrap();
    let url = serving.started["url"].as_str().unwrap().to_owned();
    let asked = || {
        let mut command = program(&dir);
        command.env("SESSION_PIPELINE_TOKEN", token.trim());
        let arguments = ["--api", url.as_str(), "sessions", "list", "--json"];
        Ended::of(&dir, command.args(arguments).output().unwrap())
    };
    assert_eq!(asked().json()["count"], 1);
    assert_eq!(serving.stop(), 0);
    let gone = asked();
    assert_eq!(gone.code, 3);
    assert!(gone.stderr.contains("can't be reached"), "{gone:?}");
    assert_eq!(check(&dir, &["--api", "example.com", "status"]).code, 2);
}

#[test]
fn what_is_no_address_of_a_server_is_wrong_use() {
    let dir = DataDir::new();
    for address in [
        "",
        "http://",
        "https:///status",
        "127.0.0.1:8080",
        "ftp://x",
    ] {
        let ended = check(&dir, &["--api", address, "status"]);
        assert_eq!(ended.code, 2, "{address}: {ended:?}");
        let remedy = "it is no address; give one like http://127.0.0.1:8080";
        assert!(ended.stderr.contains(remedy), "{address}: {ended:?}");
    }
}

#[test]
fn a_command_without_a_route_says_that_the_server_must_end_first() {
    let dir = DataDir::new();
    let serving = Serving::start(&dir, &[]);
    let ended = check_examples(&dir, &["migrate"]);
    assert_eq!(ended.code, 3);
    assert!(
        ended
            .stderr
            .contains("in use by the server at http://127.0.0.1"),
        "{ended:?}"
    );
    assert_eq!(serving.stop(), 0);
}

#[test]
fn no_token_reaches_the_log_however_much_is_logged() {
    const SECRET: &str = "canary-of-the-scheduler-0123456789abcdef";
    const WRONG: &str = "canary-of-a-stranger-0123456789abcdef";
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    let mut serving = Serving::start_with(&dir, &[("SCHEDULER_API_TOKEN", SECRET)], &["-vvv"]);
    let url = serving.started["url"].as_str().unwrap().to_owned();
    let ask = |method: &str, path: &str, token: &str, body: &str| -> String {
        let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let run = "/api/admin/run-session-processor?processor=usage";
    assert!(ask("POST", run, SECRET, "").starts_with("HTTP/1.1 200"));
    for (path, token) in [
        ("/api/admin/runs", WRONG),
        (&format!("/api/admin/runs?token={SECRET}"), WRONG),
        (&format!("/api/nowhere/{SECRET}"), SECRET),
    ] {
        let answer = ask("GET", path, token, "");
        assert!(answer.starts_with("HTTP/1.1 40"), "{answer}");
    }
    let admin = fs::read_to_string(dir.path().join("state/admin-token")).unwrap();
    let admin = admin.trim();
    let made = ask("POST", "/api/admin/tokens", admin, r#"{"role":"admin"}"#);
    let (_, made) = made.split_once("\r\n\r\n").unwrap();
    let made: Value = serde_json::from_str(made).unwrap();

    serving.signal(Signal::TERM);
    let mut log = String::new();
    let mut stderr = serving.child.stderr.take().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    assert!(log.contains("stopping"), "there is a log to look at: {log}");
    for secret in [SECRET, WRONG, admin, made["token"].as_str().unwrap()] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn the_retention_of_usage_is_that_of_the_environment() {
    const DAYS: &str = "USAGE_EVENTS_RETENTION_DAYS";
    let pruned = |environment: &[(&str, &str)]| {
        let dir = DataDir::new();
        let old = Transcript::new("s1").assistant(|message| message.tool("Bash"));
        dir.write("ada/one.jsonl", old);
        assert_eq!(check(&dir, &["run", "usage"]).code, 0);
        assert_eq!(cell(&dir, "SELECT count(*) FROM usage.events"), "1");
        let age = "UPDATE usage.events SET occurred_at = now()::TIMESTAMP - INTERVAL 10 DAY";
        crate::database::execute(&dir, age);
        let serving = Serving::start(&dir, environment);
        let url = serving.started["url"].as_str().unwrap().to_owned();
        let token = fs::read_to_string(dir.path().join("state/admin-token")).unwrap();
        let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        let request = format!(
            "POST /api/admin/usage/prune HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Connection: close\r\nContent-Length: 0\r\n\r\n",
            token.trim()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(serving.stop(), 0);
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        let left = cell(&dir, "SELECT count(*) FROM usage.events");
        format!("{} {} {left}", body["status"], body["retention_days"])
    };
    assert_eq!(pruned(&[]), r#""skipped" null 1"#);
    assert_eq!(pruned(&[(DAYS, "0")]), r#""skipped" null 1"#);
    assert_eq!(pruned(&[(DAYS, "30")]), r#""ok" 30 1"#);
    assert_eq!(pruned(&[(DAYS, "7")]), r#""ok" 7 0"#);
}

// The documentation.

#[test]
fn the_tour_of_the_api_runs() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, tour) = page.split_once("## A tour with curl").unwrap();
    let (_, tour) = tour.split_once("```sh\n").unwrap();
    let (tour, _) = tour.split_once("```").unwrap();

    let dir = DataDir::new();
    dir.write(
        "ada/one.jsonl",
        Transcript::new("s1")
            .user("hello")
            .assistant(|m| m.tokens(10, 5)),
    );
    let serving = Serving::start(&dir, &[]);
    // A script of its own knows no aliases unless it is told to.
    let script = format!("shopt -s expand_aliases\n{tour}");
    let ran_tour = std::process::Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(dir.path())
        .env("URL", serving.started["url"].as_str().unwrap())
        .env("DATA_DIR", dir.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&ran_tour.stderr);
    assert!(ran_tour.status.success(), "{stderr}");
    let answers = serde_json::Deserializer::from_slice(&ran_tour.stdout).into_iter::<Value>();
    let answers: Vec<Value> = answers.map(Result::unwrap).collect();
    let [health, ran, report, runs, detailed, uploaded, audit] = answers.as_slice() else {
        panic!("an answer to each step: {answers:?}")
    };
    assert_eq!(health["status"], "ok");
    assert_eq!(
        (&ran["ok"], &ran["details"]["processed"]),
        (&true.into(), &1.into())
    );
    assert_eq!(report["totals"]["input_tokens"], 10);
    assert_eq!(runs["runs"][0]["trigger"], "http");
    assert_eq!(detailed["services"]["db_schema"]["db_schema"], "ok");
    assert_eq!(uploaded["filename"], "session.jsonl");
    assert_eq!(audit["entries"][0]["action"], "session.upload");
    assert_eq!(serving.stop(), 0);
}

#[test]
fn a_server_leaves_audit_rows_of_its_start_and_its_end() {
    let dir = DataDir::new();
    let serving = Serving::start(&dir, &[]);
    let url = serving.url().to_owned();
    assert_eq!(serving.stop(), 0);
    let audit = "SELECT action, resource, client_kind, result FROM audit_log
        WHERE action LIKE 'server.%' ORDER BY CAST(id AS INTEGER)";
    assert_eq!(
        crate::database::rows(&dir, audit),
        [
            "server.start | server | system | ok",
            "server.stop | server | system | ok"
        ]
    );
    let params = cell(
        &dir,
        "SELECT params FROM audit_log WHERE action = 'server.start'",
    );
    assert!(params.contains(&url), "{params}");
}

#[test]
fn components_that_come_and_go_leave_audit_rows() {
    let dir = DataDir::new();
    let folder = dir.path().join("processors");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("versioned.wasm"), versioned(1)).unwrap();
    assert_eq!(check(&dir, &["run", VERSIONED]).code, 0);
    fs::write(folder.join("versioned.wasm"), versioned(2)).unwrap();
    assert_eq!(check(&dir, &["run", VERSIONED]).code, 0);
    fs::remove_file(folder.join("versioned.wasm")).unwrap();
    check(&dir, &["run", "--all"]);
    let audit = "SELECT action, resource, client_kind, json_extract_string(params, 'version') FROM audit_log
        WHERE action LIKE 'component.%' ORDER BY CAST(id AS INTEGER)";
    assert_eq!(
        crate::database::rows(&dir, audit),
        [
            "component.take_over | processor-file:versioned.wasm | system | 1",
            "component.take_over | processor-file:versioned.wasm | system | 2",
            "component.remove | processor-file:versioned.wasm | system | -",
        ]
    );
}
