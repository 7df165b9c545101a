//! The program that collects sessions, as a process, against a real server over HTTP.
//!
//! The law of all tests: every file on the server equals its source, and nothing is sent twice but
//! what a kill or a cut connection lost.

mod faults;
mod files;
mod front;
mod kills;
mod responses;
mod rules;
mod scale;
mod setup;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use session_pipeline_harness::{DataDir, program};
use session_pipeline_host::redaction::redact_line;
use tempfile::TempDir;

use crate::http::{TestServer, user_folder};

/// A developer's machine: a home directory, and the token of its user.
pub struct Machine {
    home: TempDir,
    token: String,
}

/// The result of a run.
#[derive(Debug)]
pub struct PushOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl PushOutput {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A figure of a run with `--json`.
    pub fn figure(&self, name: &str) -> u64 {
        self.json()[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {self:?}"))
    }
}

impl From<Output> for PushOutput {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Machine {
    pub fn new(token: &str) -> Self {
        let machine = Self {
            home: tempfile::tempdir().unwrap(),
            token: token.to_owned(),
        };
        fs::create_dir_all(machine.projects()).unwrap();
        machine
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The folder in which the agent stores its sessions.
    pub fn projects(&self) -> PathBuf {
        self.home().join(".claude/projects")
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.projects().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn append(&self, path: &str, content: impl AsRef<[u8]>) {
        use std::io::Write as _;
        let path = self.projects().join(path);
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(content.as_ref()).unwrap();
    }

    /// The program, without the token.
    pub fn program(&self) -> Command {
        let mut command = Command::new(program::push_path());
        command
            .env_clear()
            .env("HOME", self.home())
            .current_dir(self.home())
            .stdin(Stdio::null());
        command
    }

    /// The program with the token and a server.
    pub fn command(&self, url: &str, args: &[&str]) -> Command {
        let mut command = self.program();
        command
            .env("SESSION_PIPELINE_TOKEN", &self.token)
            .args(["--to", url, "--json"])
            .args(args);
        command
    }

    pub fn push(&self, url: &str, args: &[&str]) -> PushOutput {
        self.command(url, args).output().unwrap().into()
    }

    /// Runs the program, which must send everything.
    pub fn push_all(&self, url: &str, args: &[&str]) -> PushOutput {
        let output = self.push(url, args);
        assert_eq!(output.code, 0, "{output:?}");
        output
    }

    /// The folder with what was sent.
    pub fn state(&self) -> PathBuf {
        self.home().join(".local/state/session-pipeline-push")
    }

    /// The local files, by path on the server.
    pub fn sources(&self) -> BTreeMap<String, Vec<u8>> {
        files_below(&self.projects())
            .into_iter()
            .map(|(path, content)| (format!("claude/{path}"), content))
            .collect()
    }
}

/// The regular files below a folder that are sent, by path.
pub fn files_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            let path = entry.path();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let below = path
                    .strip_prefix(folder)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                if below.ends_with(".jsonl") || below.ends_with(".meta.json") {
                    // A hidden file of an upload can vanish meanwhile.
                    if let Ok(content) = fs::read(&path) {
                        files.insert(below, content);
                    }
                }
            }
        }
    }
    files
}

/// The files of the only user on the server. Uploads in progress are hidden.
pub fn stored(dir: &DataDir) -> BTreeMap<String, Vec<u8>> {
    let mut files = all_stored(dir);
    files.retain(|path, _| !path.contains("/."));
    files
}

fn all_stored(dir: &DataDir) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for user in fs::read_dir(dir.sessions_root()).unwrap() {
        files.extend(files_below(&user.unwrap().path()));
    }
    files
}

/// Checks that the server has what the machine has, and that no upload has left a hidden file.
pub fn check_equal(dir: &DataDir, machine: &Machine) {
    let (stored, sources) = (all_stored(dir), machine.sources());
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&stored), names(&sources));
    for (path, content) in &sources {
        assert!(stored[path] == *content, "`{path}` differs");
    }
}

/// What is sent of a session if secrets are removed.
pub fn redacted(content: &[u8]) -> Vec<u8> {
    let lines = content.split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| line.ends_with(b"\n"))
        .flat_map(|line| redact_line(line).bytes.into_owned())
        .collect()
}

/// Changes times in the status of the state, in seconds since the epoch.
pub fn set_times(machine: &Machine, names: &[&str], time: u64) {
    for state in fs::read_dir(machine.state()).unwrap() {
        let status = state.unwrap().path().join("status.json");
        let text = fs::read_to_string(&status).unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        for name in names {
            value[name] = time.into();
        }
        fs::write(&status, value.to_string()).unwrap();
    }
}

/// Makes the next run compare all files with the server, as it does once a day.
pub fn expect_comparison(machine: &Machine) {
    set_times(machine, &["compared_at"], 1);
}

/// Waits until something holds, at most a minute.
pub fn wait_for(mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("timeout after a minute");
}

/// A server with a member, and the machine of that member.
pub fn start(dir: &DataDir) -> (TestServer, Machine) {
    let server = TestServer::start(dir, &[]);
    let machine = Machine::new(&server.token("member", "ada@example.com"));
    (server, machine)
}

#[test]
fn sessions_sub_agents_and_their_descriptions_arrive_and_are_sent_once() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    machine.write("-home-dev-app/s1.jsonl", "{\"a\":1}\n{\"half");
    machine.write("-home-dev-app/s1/subagents/agent-1.jsonl", "{\"a\":2}\n");
    machine.write(
        "-home-dev-app/s1/subagents/agent-1.meta.json",
        "{\"type\":\"x\"}",
    );
    machine.write("-home-dev-app/s1/notes.txt", "not a session");
    machine.write("-home-dev-app/empty.jsonl", "");
    let dry = machine.push_all(&server.url, &["--dry-run"]);
    assert_eq!(
        (dry.figure("pending_files"), dry.figure("requests")),
        (4, 0)
    );
    assert!(files_below(&dir.sessions_root()).is_empty());
    let first = machine.push_all(&server.url, &[]);
    let size: usize = machine.sources().values().map(Vec::len).sum();
    assert_eq!(first.figure("sent_bytes"), size as u64);
    check_equal(&dir, &machine);
    std::thread::sleep(std::time::Duration::from_millis(150));
    machine.append("-home-dev-app/s1.jsonl", "\":1}\n");
    let second = machine.push_all(&server.url, &[]);
    assert_eq!(
        (second.figure("sent_bytes"), second.figure("sent_files")),
        (5, 1)
    );
    check_equal(&dir, &machine);
    std::thread::sleep(std::time::Duration::from_millis(150));
    machine.push_all(&server.url, &[]);
    let idle = machine.push_all(&server.url, &[]);
    assert_eq!(idle.figure("requests"), 0);
}

#[test]
fn without_its_state_nothing_is_sent_again() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    for number in 0..30 {
        machine.write(
            &format!("p/{number}.jsonl"),
            format!("{{\"n\":{number}}}\n"),
        );
    }
    machine.push_all(&server.url, &[]);
    fs::remove_dir_all(machine.state()).unwrap();
    machine.append("p/7.jsonl", "{}\n");
    let again = machine.push_all(&server.url, &[]);
    assert_eq!(
        (again.figure("sent_bytes"), again.figure("requests")),
        (3, 2)
    );
    check_equal(&dir, &machine);
    // The same sessions with redaction, and then without.
    let redacted = machine.push_all(&server.url, &["--redact"]);
    assert_eq!(redacted.figure("sent_bytes"), 0);
}

#[test]
fn a_server_that_lost_files_gets_them_again() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    machine.write("p/a.jsonl", "{\"a\":1}\n{\"a\":2}\n");
    machine.write("p/b.jsonl", "{\"b\":1}\n");
    machine.push_all(&server.url, &[]);
    // As after a restored backup: one file is shorter, one is missing.
    let user = user_folder(&dir);
    fs::write(user.join("claude/p/a.jsonl"), "{\"a\":1}\n").unwrap();
    fs::remove_file(user.join("claude/p/b.jsonl")).unwrap();
    // A file that grows finds out by itself.
    machine.append("p/a.jsonl", "{\"a\":3}\n");
    machine.push_all(&server.url, &[]);
    let expected = fs::read(machine.projects().join("p/a.jsonl")).unwrap();
    assert_eq!(stored(&dir)["claude/p/a.jsonl"], expected);
    // All others are compared once a day.
    expect_comparison(&machine);
    machine.push_all(&server.url, &[]);
    check_equal(&dir, &machine);
}

#[test]
fn a_growing_session_is_sent_once_byte_by_byte() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    machine.write("p/s1.jsonl", "");
    let (mut sent, mut wire) = (0, 0);
    for number in 0..20 {
        let line = format!("{{\"n\":{number},\"text\":\"{}\"}}\n", "word ".repeat(100));
        machine.append("p/s1.jsonl", &line);
        let output = machine.push_all(&server.url, &[]);
        sent += output.figure("sent_bytes");
        wire += output.figure("wire_bytes");
    }
    check_equal(&dir, &machine);
    let added = machine.sources()["claude/p/s1.jsonl"].len() as u64;
    assert_eq!(sent, added);
    assert!(wire < added, "{wire} of {added} bytes on the wire");
}

/// The peak memory of a process, in KiB, from the output of `time -f %M` or the kernel.
fn peak_kib(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn memory_is_limited_for_any_file() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    // Lines of all lengths, and one that is longer than any part.
    let mut content = Vec::new();
    for number in 0..60_usize {
        let line = format!(
            "{{\"text\":\"{}\"}}\n",
            "abcdefgh ".repeat(1 + number * 4_000)
        );
        content.extend_from_slice(line.as_bytes());
    }
    content.extend_from_slice(&vec![b'x'; 30 << 20]);
    content.extend_from_slice(b"\n{}\n");
    machine.write("p/large.jsonl", &content);
    for args in [
        &["--rate", "100 MiB"][..],
        &["--rate", "100 MiB", "--redact"],
    ] {
        let mut child = machine
            .command(&server.url, args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut peak = 0;
        while child.try_wait().unwrap().is_none() {
            peak = peak.max(peak_kib(child.id()).unwrap_or(0));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let output: PushOutput = child.wait_with_output().unwrap().into();
        assert_eq!(output.code, 0, "{output:?}");
        println!("{args:?}: {peak} KiB");
        assert!(peak > 0 && peak <= 64 << 10, "{args:?}: {peak} KiB");
        if args.len() == 2 {
            check_equal(&dir, &machine);
        }
    }
}
