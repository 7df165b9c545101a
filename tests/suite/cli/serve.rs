//! `serve`, and the other commands while a server has the data directory open.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use session_pipeline_harness::{DataDir, Transcript, compiled, program as real};

use super::{CliOutput, program, run_cli, run_cli_on_examples, table_lines};
use crate::database::cell;
use crate::registry::{VERSIONED, versioned};

/// A server in a child process.
pub(crate) struct ServerProcess {
    child: Child,
    start_message: Value,
}

impl ServerProcess {
    pub(crate) fn start(dir: &DataDir, environment: &[(&str, &str)]) -> Self {
        Self::start_with(dir, environment, &[])
    }

    fn start_with(dir: &DataDir, environment: &[(&str, &str)], options: &[&str]) -> Self {
        let program = Command::new(real::path());
        Self::start_by(program, dir, environment, options)
    }

    /// Like [`ServerProcess::start`], with the scheduler. Its first tick is after a minute.
    pub(crate) fn start_scheduling(dir: &DataDir, environment: &[(&str, &str)]) -> Self {
        Self::spawn(Command::new(real::path()), dir, environment, &[], &[])
    }

    /// Starts the server with a command that runs the program, such as a wrapper.
    pub(crate) fn start_by(
        command: Command,
        dir: &DataDir,
        environment: &[(&str, &str)],
        options: &[&str],
    ) -> Self {
        Self::spawn(command, dir, environment, options, &["--no-scheduler"])
    }

    fn spawn(
        mut command: Command,
        dir: &DataDir,
        environment: &[(&str, &str)],
        options: &[&str],
        serve_options: &[&str],
    ) -> Self {
        let data_dir = dir.path().to_str().unwrap();
        let mut child = command
            .env_clear()
            .envs(compiled::environment())
            .envs(environment.iter().copied())
            .current_dir(dir.path())
            .args(["--data-dir", data_dir, "--json"])
            .args(options)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(serve_options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let start_message = loop {
            if stdout.read_line(&mut text).unwrap() == 0 {
                let mut stderr = String::new();
                child
                    .stderr
                    .take()
                    .unwrap()
                    .read_to_string(&mut stderr)
                    .unwrap();
                panic!("the server did not start: {text}{stderr}");
            }
            if let Ok(start_message) = serde_json::from_str(&text) {
                break start_message;
            }
        };
        Self {
            child,
            start_message,
        }
    }

    pub(crate) fn url(&self) -> &str {
        self.start_message["url"].as_str().unwrap()
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the process to exit. Returns the exit code and standard error.
    pub(crate) fn wait(mut self) -> (i32, String) {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code().unwrap(), text)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Sends SIGTERM and waits. Returns the exit code.
    pub(crate) fn stop(mut self) -> i32 {
        self.signal(Signal::TERM);
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // The process is still running only if a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serve_prints_its_url_and_exits_with_0_on_sigterm() {
    let dir = DataDir::new();
    let server = ServerProcess::start(&dir, &[]);
    let start_message = &server.start_message;
    let url = start_message["url"].as_str().unwrap();
    assert!(
        url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"),
        "{url}"
    );
    assert_eq!(start_message["processors"][0]["name"], "usage");
    assert!(
        start_message["processors"][0]["cadence_seconds"]
            .as_u64()
            .unwrap()
            > 0
    );
    let token = fs::metadata(start_message["admin_token"].as_str().unwrap()).unwrap();
    assert_eq!(token.permissions().mode() & 0o777, 0o600);
    let lock = fs::read_to_string(dir.path().join("state/lock")).unwrap();
    assert_eq!(lock, format!("{}\n{url}\n", server.child.id()));
    assert_eq!(server.stop(), 0);
    assert_eq!(
        run_cli(&dir, &["status"]).code,
        0,
        "the server released the data directory"
    );
}

#[test]
fn serve_prints_its_url_and_schedules_as_text() {
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
    let lines: Vec<String> = stdout.lines().map(Result::unwrap).take(6).collect();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let text = lines.join("\n");
    let url = text.split_once("http://127.0.0.1:").unwrap().1;
    let port = url.split_once('\n').unwrap().0.trim();
    insta::assert_snapshot!(text.replace(port, "[port]"), @r"
    listening on      http://127.0.0.1:[port]
    data directory    data
    sessions          user_sessions
    processors        usage (every 10 min), verification (every 15 min)
    scheduler         off (--no-scheduler)
    admin token file  data/state/admin-token
    ");
}

#[test]
fn listening_beyond_loopback_prints_a_warning() {
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
        let mut server = ServerProcess {
            child,
            start_message: Value::Null,
        };
        server.signal(Signal::TERM);
        let mut stderr = String::new();
        let mut pipe = server.child.stderr.take().unwrap();
        pipe.read_to_string(&mut stderr).unwrap();
        assert_eq!(
            server.child.wait().unwrap().code(),
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
fn sigint_stops_the_server_too() {
    let dir = DataDir::new();
    let mut server = ServerProcess::start(&dir, &[]);
    server.signal(Signal::INT);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

/// A request in progress: the server waits for a body that never arrives.
fn hanging_request(server: &ServerProcess, dir: &DataDir) -> TcpStream {
    let url = server.start_message["url"].as_str().unwrap();
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
fn a_second_signal_stops_the_server_immediately() {
    let dir = DataDir::new();
    let mut server = ServerProcess::start(&dir, &[]);
    let _hanging = hanging_request(&server, &dir);
    server.signal(Signal::TERM);
    // Wait for the first signal to be handled. The system can merge two pending signals into one.
    let mut log = String::new();
    let mut stderr = BufReader::new(server.child.stderr.take().unwrap());
    while !log.contains("stopping") {
        assert_ne!(stderr.read_line(&mut log).unwrap(), 0, "{log}");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.child.wait().unwrap().code(), Some(3));
    assert_eq!(
        run_cli(&dir, &["status"]).code,
        0,
        "the data directory is usable"
    );
}

#[test]
fn a_hanging_request_does_not_prevent_the_stop() {
    let dir = DataDir::new();
    let server = ServerProcess::start(&dir, &[]);
    let _hanging = hanging_request(&server, &dir);
    assert_eq!(server.stop(), 0);
}

#[test]
fn the_first_admin_token_is_created_once() {
    let dir = DataDir::new();
    let token = || fs::read_to_string(dir.path().join("state/admin-token")).unwrap();
    ServerProcess::start(&dir, &[]).stop();
    let first = token();
    ServerProcess::start(&dir, &[]).stop();
    assert_eq!(token(), first);
}

#[test]
fn a_first_token_that_exists_only_as_a_file_is_created_again() {
    let dir = DataDir::new();
    assert_eq!(run_cli(&dir, &["migrate"]).code, 0);
    let path = dir.path().join("state/admin-token");
    fs::create_dir(&path).unwrap();
    let failed = run_cli(&dir, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(failed.code, 3, "{failed:?}");
    assert!(failed.stderr.contains("state/admin-token"), "{failed:?}");
    let count = "SELECT count(*) FROM tokens";
    assert_eq!(
        cell(&dir, count),
        "0",
        "no token was created without its file"
    );

    fs::remove_dir(&path).unwrap();
    fs::write(&path, "sp_of_a_process_that_was_killed\n").unwrap();
    let server = ServerProcess::start(&dir, &[]);
    let token = fs::read_to_string(&path).unwrap();
    assert_ne!(token, "sp_of_a_process_that_was_killed\n");
    let listed = run_cli(&dir, &["token", "list"]);
    assert_eq!(listed.code, 0, "the token in the file is valid: {listed:?}");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_second_server_fails_and_names_the_first_one() {
    let dir = DataDir::new();
    let server = ServerProcess::start(&dir, &[]);
    let second = run_cli(&dir, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, 3);
    let url = server.start_message["url"].as_str().unwrap();
    let stderr = second.stderr.replace(url, "[url]");
    assert_eq!(
        stderr,
        "error: the data directory `[data-dir]` is in use by the server at [url] (process [pid]); wait for it to finish or stop it\n"
    );
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_program_that_opened_the_database_without_our_lock_is_named() {
    let dir = DataDir::new();
    assert_eq!(run_cli(&dir, &["migrate"]).code, 0);
    // The same file in another data directory, which has a different lock.
    let other = DataDir::new();
    fs::create_dir(other.path().join("state")).unwrap();
    fs::hard_link(dir.database_path(), other.database_path()).unwrap();
    let server = ServerProcess::start(&other, &[]);
    let output = run_cli(&dir, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.code, 3);
    assert!(
        output
            .stderr
            .starts_with("error: the database `[data-dir]/state/system.duckdb` is open in "),
        "{output:?}"
    );
    assert!(
        output.stderr.contains("(PID ") && output.stderr.ends_with("; close it there and retry\n"),
        "{output:?}"
    );
    assert_eq!(server.stop(), 0);
}

#[test]
fn an_address_in_use_is_named_in_the_error() {
    let dir = DataDir::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let output = run_cli(&dir, &["serve", "--listen", &address]);
    assert_eq!(output.code, 3);
    assert!(
        output
            .stderr
            .starts_with(&format!("error: cannot listen on `{address}`: "))
            && output.stderr.contains("choose another one with --listen"),
        "{output:?}"
    );
}

#[test]
fn a_short_scheduler_secret_is_rejected_and_an_empty_one_is_ignored() {
    let dir = DataDir::new();
    let data_dir = dir.path().to_str().unwrap();
    let output = program(&dir)
        .env("SCHEDULER_API_TOKEN", "0123456789abcdef0123456789abcde")
        .args(["--data-dir", data_dir, "serve", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    let output = CliOutput::of(&dir, output);
    assert_eq!(output.code, 2);
    assert_eq!(
        output.stderr,
        "error: `SCHEDULER_API_TOKEN` has 31 characters; use at least 32, or unset it\n"
    );
    assert!(!dir.path().join("state").exists());
    assert_eq!(
        ServerProcess::start(&dir, &[("SCHEDULER_API_TOKEN", "")]).stop(),
        0
    );
}

#[test]
fn the_session_limit_in_the_environment_is_a_whole_number_or_empty() {
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

// Other commands.

#[test]
fn commands_with_a_route_use_the_server_that_has_the_data_dir_open() {
    let dir = DataDir::new();
    dir.write(
        "ada/one.jsonl",
        Transcript::new("s1")
            .user("hello")
            .assistant(|m| m.tokens(10, 5)),
    );
    let without_server = DataDir::new();
    without_server.write("ada/one.jsonl", dir.read("ada/one.jsonl"));
    let server = ServerProcess::start(&dir, &[]);
    // Lines with times and durations vary, so they are blanked.
    let stable_output = |dir: &DataDir, arguments: &[&str]| {
        let output = run_cli(dir, arguments);
        let text = output.stdout.lines().map(|line| {
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
        (output.code, text.collect::<Vec<_>>().join("\n"))
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
            stable_output(&dir, arguments),
            stable_output(&without_server, arguments),
            "{arguments:?}"
        );
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_dropped_component_runs_without_a_restart_and_a_broken_one_is_ignored() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    let server = ServerProcess::start(&dir, &[]);
    let run =
        || run_cli(&dir, &["run", VERSIONED, "--json"]).json()["details"]["processed"].clone();
    let list = || run_cli(&dir, &["processors", "list"]);
    dir.drop_processor("theirs.wasm", versioned(1));
    assert_eq!(run(), 1);
    let listed = table_lines(&list().stdout);
    let row = "faulty-versioned 1 dropped every 10 min independent transcript, records yes";
    assert!(listed[1].starts_with(row), "{listed:?}");

    dir.drop_processor("theirs.wasm", "no component");
    let rejection = "`theirs.wasm` was rejected: the file is not WebAssembly; \
                version 1 of `faulty-versioned` stays in use\n";
    dir.write("ada/two.jsonl", "two\n");
    assert_eq!(run(), 1);
    assert_eq!(list().stderr, rejection);
    let status = run_cli(&dir, &["status"]);
    assert_eq!(status.code, 1);
    assert!(status.stdout.contains(rejection.trim_end()), "{status:?}");
    assert_eq!(server.stop(), 0);

    let server = ServerProcess::start(&dir, &[]);
    dir.write("ada/three.jsonl", "three\n");
    assert_eq!(
        run(),
        1,
        "the last working version also runs after a restart"
    );
    assert_eq!(list().stderr, rejection);
    assert_eq!(server.stop(), 0);

    // The same without a server.
    dir.write("ada/four.jsonl", "four\n");
    assert_eq!(run(), 1);
    assert_eq!(list().stderr, rejection);
    assert_eq!(run_cli(&dir, &["status"]).code, 1);
    dir.drop_processor("theirs.wasm", versioned(2));
    let all = run_cli(&dir, &["run", "--all", "--json"]).json();
    let processed: Vec<(&Value, &Value)> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|body| (&body["details"]["processor"], &body["details"]["processed"]))
        .collect();
    assert_eq!(
        processed,
        [
            (&VERSIONED.into(), &4.into()),
            (&"usage".into(), &4.into()),
            (&"verification".into(), &4.into()),
        ]
    );
}

#[test]
fn tokens_are_created_listed_and_revoked_with_and_without_a_server() {
    let dir = DataDir::new();
    // Uses raw output, because the helper redacts tokens.
    let run_with_token = |token: Option<&Value>, arguments: &[&str]| -> (i32, Value) {
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
    let create = [
        "token",
        "create",
        "--role",
        "analyst",
        "--user",
        "ada@example.com",
    ];
    let (code, without) = run_with_token(None, &create);
    assert_eq!(code, 0, "{without}");
    assert_eq!(crate::documents::names(&without), ["id", "role", "token"]);
    assert_eq!(without["role"], "analyst");
    // With an admin token in the database, the server creates no first token.
    let (_, admin) = run_with_token(
        None,
        &["token", "create", "--role", "admin", "--label", "me"],
    );
    let server = ServerProcess::start(&dir, &[]);
    assert!(!dir.path().join("state/admin-token").exists());
    let (code, through) = run_with_token(Some(&admin), &create);
    assert_eq!((code, &through["id"]), (0, &"3".into()));
    assert_eq!(run_with_token(Some(&admin), &["token", "revoke", "1"]).0, 0);
    let (_, listed) = run_with_token(Some(&admin), &["token", "list"]);
    let tokens = listed["tokens"].as_array().unwrap();
    let revoked: Vec<bool> = tokens
        .iter()
        .map(|token| !token["revoked_at"].is_null())
        .collect();
    assert_eq!(revoked, [true, false, false]);
    let rejection = |token, arguments: &[&str]| {
        let (code, document) = run_with_token(Some(token), arguments);
        (code, document["detail"].as_str().unwrap().to_owned())
    };
    let (code, reason) = rejection(&without, &["report", "usage"]);
    assert_eq!(code, 3);
    assert!(reason.contains("this token was revoked"), "{reason}");
    let (code, reason) = rejection(&through, &["run", "usage"]);
    assert_eq!(code, 3);
    assert!(
        reason.contains("this token has the role `analyst`; this request requires `admin`"),
        "{reason}"
    );
    assert_eq!(server.stop(), 0);
    assert_eq!(rejection(&admin, &["token", "revoke", "9"]).0, 2);
    assert_eq!(
        rejection(
            &admin,
            &["token", "create", "--role", "admin", "--user", "ada"]
        )
        .0,
        2
    );
    let (code, reason) = rejection(&admin, &["token", "create", "--role", "member"]);
    assert_eq!(code, 2);
    assert!(
        reason.contains("a token with the role `member` needs a user"),
        "{reason}"
    );
}

#[test]
fn a_command_without_a_token_explains_how_to_get_one() {
    let dir = DataDir::new();
    let server = ServerProcess::start(&dir, &[]);
    fs::remove_file(dir.path().join("state/admin-token")).unwrap();
    let output = run_cli(&dir, &["run", "usage"]);
    assert_eq!(output.code, 3);
    for word in [
        "SESSION_PIPELINE_TOKEN",
        "token create",
        "state/admin-token",
    ] {
        assert!(output.stderr.contains(word), "{output:?}");
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn the_api_option_selects_a_server_and_an_unreachable_one_is_an_error() {
    let dir = DataDir::new();
    let elsewhere = DataDir::new();
    elsewhere.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    let server = ServerProcess::start(&elsewhere, &[]);
    let token = fs::read_to_string(elsewhere.path().join("state/admin-token")).unwrap();
    let url = server.start_message["url"].as_str().unwrap().to_owned();
    let list_sessions = || {
        let mut command = program(&dir);
        command.env("SESSION_PIPELINE_TOKEN", token.trim());
        let arguments = ["--api", url.as_str(), "sessions", "list", "--json"];
        CliOutput::of(&dir, command.args(arguments).output().unwrap())
    };
    assert_eq!(list_sessions().json()["count"], 1);
    assert_eq!(server.stop(), 0);
    let unreachable = list_sessions();
    assert_eq!(unreachable.code, 3);
    assert!(
        unreachable.stderr.contains("cannot reach the server at "),
        "{unreachable:?}"
    );
    assert_eq!(run_cli(&dir, &["--api", "example.com", "status"]).code, 2);
}

#[test]
fn an_invalid_server_url_is_a_usage_error() {
    let dir = DataDir::new();
    for address in [
        "",
        "http://",
        "https:///status",
        "127.0.0.1:8080",
        "ftp://x",
    ] {
        let output = run_cli(&dir, &["--api", address, "status"]);
        assert_eq!(output.code, 2, "{address}: {output:?}");
        let remedy = "not a server URL; use a URL such as http://127.0.0.1:8080";
        assert!(output.stderr.contains(remedy), "{address}: {output:?}");
    }
}

#[test]
fn a_command_without_a_route_fails_while_a_server_runs() {
    let dir = DataDir::new();
    let server = ServerProcess::start(&dir, &[]);
    let output = run_cli_on_examples(&dir, &["migrate"]);
    assert_eq!(output.code, 3);
    assert!(
        output
            .stderr
            .contains("in use by the server at http://127.0.0.1"),
        "{output:?}"
    );
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_server_raises_its_limit_of_open_files_as_far_as_allowed() {
    // The soft and the hard limit, and the resulting soft limit.
    for (soft, hard, expected) in [(256, 8192, 8192), (256, 4096, 4096)] {
        let dir = DataDir::new();
        let mut limited = Command::new("/bin/sh");
        let script = format!("ulimit -n {hard}; ulimit -S -n {soft}; exec \"$0\" \"$@\"");
        limited.arg("-c").arg(script).arg(real::path());
        let server = ServerProcess::start_by(limited, &dir, &[], &[]);
        let limits = fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let values: Vec<&str> = line.unwrap().split_whitespace().collect();
        assert_eq!(
            values[3..5],
            [expected.to_string(), hard.to_string()],
            "{limits}"
        );
        assert_eq!(server.stop(), 0);
    }
}

#[test]
fn no_token_is_logged_at_any_log_level() {
    const SECRET: &str = "canary-of-the-scheduler-0123456789abcdef";
    const WRONG: &str = "canary-of-a-stranger-0123456789abcdef";
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    let mut server = ServerProcess::start_with(&dir, &[("SCHEDULER_API_TOKEN", SECRET)], &["-vvv"]);
    let url = server.start_message["url"].as_str().unwrap().to_owned();
    let request = |method: &str, path: &str, token: &str, body: &str| -> String {
        let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    };
    let run = "/api/admin/run-session-processor?processor=usage";
    assert!(request("POST", run, SECRET, "").starts_with("HTTP/1.1 200"));
    for (path, token) in [
        ("/api/admin/runs", WRONG),
        (&format!("/api/admin/runs?token={SECRET}"), WRONG),
        (&format!("/api/nowhere/{SECRET}"), SECRET),
    ] {
        let response = request("GET", path, token, "");
        assert!(response.starts_with("HTTP/1.1 40"), "{response}");
    }
    let admin = fs::read_to_string(dir.path().join("state/admin-token")).unwrap();
    let admin = admin.trim();
    let created = request("POST", "/api/admin/tokens", admin, r#"{"role":"admin"}"#);
    let (_, created) = created.split_once("\r\n\r\n").unwrap();
    let created: Value = serde_json::from_str(created).unwrap();

    server.signal(Signal::TERM);
    let mut log = String::new();
    let mut stderr = server.child.stderr.take().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    assert!(log.contains("stopping"), "the log is not empty: {log}");
    for secret in [SECRET, WRONG, admin, created["token"].as_str().unwrap()] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn the_usage_retention_is_read_from_the_environment() {
    const DAYS: &str = "USAGE_EVENTS_RETENTION_DAYS";
    let prune = |environment: &[(&str, &str)]| {
        let dir = DataDir::new();
        let old = Transcript::new("s1").assistant(|message| message.tool("Bash"));
        dir.write("ada/one.jsonl", old);
        assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
        assert_eq!(cell(&dir, "SELECT count(*) FROM usage.events"), "1");
        let age = "UPDATE usage.events SET occurred_at = now()::TIMESTAMP - INTERVAL 10 DAY";
        crate::database::execute(&dir, age);
        let server = ServerProcess::start(&dir, environment);
        let url = server.start_message["url"].as_str().unwrap().to_owned();
        let token = fs::read_to_string(dir.path().join("state/admin-token")).unwrap();
        let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        let request = format!(
            "POST /api/admin/usage/prune HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Connection: close\r\nContent-Length: 0\r\n\r\n",
            token.trim()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert_eq!(server.stop(), 0);
        let (_, body) = response.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        let left = cell(&dir, "SELECT count(*) FROM usage.events");
        format!("{} {} {left}", body["status"], body["retention_days"])
    };
    assert_eq!(prune(&[]), r#""skipped" null 1"#);
    assert_eq!(prune(&[(DAYS, "0")]), r#""skipped" null 1"#);
    assert_eq!(prune(&[(DAYS, "30")]), r#""ok" 30 1"#);
    assert_eq!(prune(&[(DAYS, "7")]), r#""ok" 7 0"#);
}

// The documentation.

#[test]
fn the_api_tour_in_the_docs_runs() {
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
    let server = ServerProcess::start(&dir, &[]);
    // Aliases are off in scripts by default.
    let script = format!("shopt -s expand_aliases\n{tour}");
    let output = std::process::Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(dir.path())
        .env("URL", server.start_message["url"].as_str().unwrap())
        .env("DATA_DIR", dir.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let responses = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let responses: Vec<Value> = responses.map(Result::unwrap).collect();
    let [health, run, report, runs, detailed, upload, audit] = responses.as_slice() else {
        panic!("expected one response per step: {responses:?}")
    };
    assert_eq!(health["status"], "ok");
    assert_eq!(
        (&run["ok"], &run["details"]["processed"]),
        (&true.into(), &1.into())
    );
    assert_eq!(report["totals"]["input_tokens"], 10);
    assert_eq!(runs["runs"][0]["trigger"], "http");
    assert_eq!(detailed["services"]["db_schema"]["db_schema"], "ok");
    assert_eq!(upload["filename"], "session.jsonl");
    assert_eq!(audit["entries"][0]["action"], "session.upload");
    assert_eq!(server.stop(), 0);
}

#[test]
fn server_starts_and_stops_are_audited() {
    let dir = DataDir::new();
    let server = ServerProcess::start(&dir, &[]);
    let url = server.url().to_owned();
    assert_eq!(server.stop(), 0);
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
fn component_changes_are_audited() {
    let dir = DataDir::new();
    let folder = dir.path().join("processors");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("versioned.wasm"), versioned(1)).unwrap();
    assert_eq!(run_cli(&dir, &["run", VERSIONED]).code, 0);
    fs::write(folder.join("versioned.wasm"), versioned(2)).unwrap();
    assert_eq!(run_cli(&dir, &["run", VERSIONED]).code, 0);
    fs::remove_file(folder.join("versioned.wasm")).unwrap();
    run_cli(&dir, &["run", "--all"]);
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
