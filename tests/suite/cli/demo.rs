//! `demo`: the server, its temporary directory, and directories that are not a demo.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use session_pipeline_harness::{DataDir, compiled, program as real};

use super::{CliOutput, program};

/// A folder for temporary directories, inside of the data directory of the test.
fn temporary(dir: &DataDir) -> PathBuf {
    let folder = dir.path().join("tmp");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The program with `demo` and these arguments, separated by spaces.
fn command(dir: &DataDir, arguments: &str) -> Command {
    let mut command = real::command(dir);
    command
        .envs(compiled::environment())
        .env("TMPDIR", temporary(dir))
        .args(["--json", "demo"])
        .args(arguments.split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs `demo` until it exits by itself.
fn run(dir: &DataDir, arguments: &str) -> CliOutput {
    CliOutput::of(dir, command(dir, arguments).output().unwrap())
}

/// A demo in a child process.
struct DemoProcess {
    child: Child,
    message: Value,
}

impl DemoProcess {
    /// Waits until the server is ready.
    fn start(dir: &DataDir, arguments: &str) -> Self {
        let mut child = command(dir, arguments).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        let message = loop {
            if stdout.read_line(&mut text).unwrap() == 0 {
                panic!("the demo did not start: {text}{}", stderr(&mut child));
            }
            if let Ok(message) = serde_json::from_str(&text) {
                break message;
            }
        };
        Self { child, message }
    }

    fn text(&self, pointer: &str) -> &str {
        self.message.pointer(pointer).unwrap().as_str().unwrap()
    }

    /// The status and the body of a route.
    fn get(&self, path: &str, token: &str) -> (u16, String) {
        let url = format!("{}{path}", self.text("/url"));
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent: ureq::Agent = config.build().into();
        let request = agent
            .get(&url)
            .header("Authorization", &format!("Bearer {token}"));
        let mut response = request.call().unwrap();
        let body = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), body)
    }

    /// Sends SIGINT and waits. Returns the exit code and standard error.
    fn interrupt(self) -> (i32, String) {
        self.stop(Signal::INT)
    }

    /// Sends a signal and waits. Returns the exit code and standard error.
    fn stop(mut self, with: Signal) -> (i32, String) {
        send(&self.child, with);
        let text = stderr(&mut self.child);
        (self.child.wait().unwrap().code().unwrap(), text)
    }
}

impl Drop for DemoProcess {
    fn drop(&mut self) {
        // The process is still running only if a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn stderr(child: &mut Child) -> String {
    let mut text = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut text).unwrap();
    text
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn a_demo_serves_its_data_and_removes_them_on_ctrl_c() {
    let dir = DataDir::new();
    let demo = DemoProcess::start(&dir, "--port 0 --session-count 40");
    let data_dir = PathBuf::from(demo.text("/data_dir"));
    assert!(data_dir.starts_with(temporary(&dir)), "{data_dir:?}");
    assert_eq!(demo.message["is_kept"], false);

    let analyst = demo.text("/tokens/analyst");
    let (status, body) = demo.get("/api/usage/summary?by=user", analyst);
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("ada@northwind.example"), "{body}");
    assert_eq!(demo.get("/api/admin/runs", analyst).0, 403);
    let (status, body) = demo.get("/api/admin/quarantine", demo.text("/tokens/admin"));
    assert_eq!(status, 200, "{body}");
    let (_, knowledge) = demo.get("/api/knowledge", analyst);
    assert!(knowledge.contains("\"approved\""), "{knowledge}");

    let (code, stderr) = demo.interrupt();
    assert_eq!(code, 0, "{stderr}");
    assert!(is_empty(&temporary(&dir)), "the directory is removed");
}

#[test]
fn a_demo_in_a_given_directory_is_served_again_with_the_same_tokens() {
    let dir = DataDir::new();
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let arguments = "--data-dir team --port 0 --session-count 30";
        let demo = DemoProcess::start(&dir, arguments);
        let admin = demo.text("/tokens/admin").to_owned();
        assert_eq!(demo.get("/api/admin/runs", &admin).0, 200);
        tokens.push(admin);
        assert_eq!(demo.interrupt().0, 0);
    }
    assert_eq!(tokens[0], tokens[1]);
    let other = run(&dir, "--data-dir team --port 0 --seed 5");
    assert_eq!(other.code, 2, "{other:?}");
    assert!(
        other
            .stderr
            .contains("`team` has a demo with seed 1 and 30 sessions"),
        "{other:?}"
    );
}

#[test]
fn a_directory_with_other_files_is_refused_and_unchanged() {
    let dir = DataDir::new();
    let folder = dir.path().join("mine");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("notes.txt"), "keep").unwrap();
    let refused = run(&dir, "--data-dir mine --port 0");
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("`mine` has files that are not of a demo"),
        "{refused:?}"
    );
    let names = fs::read_dir(&folder).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["notes.txt"]);

    // A file of this name that is not that of a demo.
    fs::write(folder.join("demo.json"), "{}").unwrap();
    let refused = run(&dir, "--data-dir mine --port 0");
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("cannot read `demo.json` in `mine`"),
        "{refused:?}"
    );
}

#[test]
fn a_demo_does_not_use_other_sessions_or_servers() {
    let dir = DataDir::new();
    for (arguments, flag) in [
        ("--sessions elsewhere", "--sessions"),
        ("--config other.toml", "--config"),
        ("--api http://127.0.0.1:1", "--api"),
    ] {
        let refused = run(&dir, arguments);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(
            refused
                .stderr
                .contains(&format!("`demo` generates its own data; omit {flag}")),
            "{refused:?}"
        );
    }
    assert!(is_empty(&temporary(&dir)));
}

#[test]
fn a_signal_before_the_server_is_ready_removes_the_directory() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let dir = DataDir::new();
        let mut child = command(&dir, "--port 0 --session-count 100000")
            .spawn()
            .unwrap();
        let folder = temporary(&dir);
        while is_empty(&folder) {
            std::thread::yield_now();
        }
        send(&child, signal);
        let text = stderr(&mut child);
        let code = child.wait().unwrap().code().unwrap();
        assert_eq!(code, 3, "{signal:?}: {text}");
        assert!(
            text.contains("interrupted before the demo was ready"),
            "{text}"
        );
        assert!(is_empty(&folder), "{signal:?}");
    }
}

#[test]
fn a_closed_terminal_or_a_stop_removes_the_directory() {
    for signal in [Signal::TERM, Signal::HUP] {
        let dir = DataDir::new();
        let demo = DemoProcess::start(&dir, "--port 0 --session-count 5");
        let (code, stderr) = demo.stop(signal);
        assert_eq!(code, 0, "{signal:?}: {stderr}");
        assert!(is_empty(&temporary(&dir)), "{signal:?}");
    }
}

#[test]
fn another_port_is_used_only_if_none_is_given() {
    let dir = DataDir::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let failed = run(&dir, &format!("--port {port} --session-count 5"));
    assert_eq!(failed.code, 3, "{failed:?}");
    assert!(failed.stderr.contains("cannot listen on"), "{failed:?}");
    assert!(failed.stderr.contains("with --port"), "{failed:?}");
    assert!(is_empty(&temporary(&dir)));

    // If this fails, another program has the port, which is as good.
    let default = TcpListener::bind("127.0.0.1:8080");
    let demo = DemoProcess::start(&dir, "--session-count 5");
    assert!(!demo.text("/url").ends_with(":8080"));
    let (code, stderr) = demo.interrupt();
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("port 8080 is in use"), "{stderr}");
    drop(default);
}

#[test]
fn the_text_names_the_url_the_tokens_and_what_to_try() {
    let dir = DataDir::new();
    let mut command = program(&dir);
    command
        .env("TMPDIR", temporary(&dir))
        .args(["demo", "--help"]);
    let help = CliOutput::of(&dir, command.output().unwrap());
    assert_eq!(help.code, 0);
    for text in ["--port <PORT>", "--session-count <N>", "--keep", "Ctrl-C"] {
        assert!(help.stdout.contains(text), "{}", help.stdout);
    }
}

/// Runs a demo on a terminal with a graphical session, whose `xdg-open` writes its argument to a named
/// pipe. Returns the URL that it opened, or `None` if `script` (util-linux), which provides the
/// terminal, is not installed.
fn url_opened_on_a_desktop(dir: &DataDir) -> Option<String> {
    let script = ["/usr/bin/script", "/bin/script"].map(Path::new);
    let script = script.into_iter().find(|path| path.exists())?;
    let pipe = dir.path().join("opened");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let programs = dir.path().join("bin");
    fs::create_dir(&programs).unwrap();
    let opener = programs.join("xdg-open");
    fs::write(
        &opener,
        format!("#!/bin/sh\nprintf '%s' \"$1\" > '{}'\n", pipe.display()),
    )
    .unwrap();
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();

    let line = format!(
        "exec {} demo --port 0 --session-count 5",
        real::path().display()
    );
    let mut command = Command::new(script);
    command
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env_clear()
        .envs(compiled::environment())
        .env("TMPDIR", temporary(dir))
        .env("PATH", &programs)
        .env("WAYLAND_DISPLAY", "wayland-0")
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    // Blocks until `xdg-open` writes.
    let url = fs::read_to_string(&pipe).unwrap();
    // Ctrl-C.
    child.stdin.take().unwrap().write_all(b"\x03").unwrap();
    assert!(child.wait().unwrap().success());
    Some(url)
}

#[test]
fn a_demo_on_a_desktop_opens_the_dashboard_in_the_browser() {
    let dir = DataDir::new();
    let Some(url) = url_opened_on_a_desktop(&dir) else {
        eprintln!("skipped: `script` is not installed");
        return;
    };
    let port = url
        .strip_prefix("http://127.0.0.1:")
        .and_then(|rest| rest.strip_suffix('/'));
    assert!(
        port.is_some_and(|port| port.parse::<u16>().is_ok()),
        "{url}"
    );
    assert!(is_empty(&temporary(&dir)), "the directory is removed");
}
