//! `setup`, `remove`, `doctor`, and the hook.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use session_pipeline_harness::DataDir;

use super::{Machine, PushOutput, start, stored};

fn settings(machine: &Machine) -> PathBuf {
    machine.home().join(".claude/settings.json")
}

fn run(machine: &Machine, args: &[&str]) -> PushOutput {
    machine.program().args(args).output().unwrap().into()
}

fn setup(machine: &Machine, url: &str, args: &[&str]) -> PushOutput {
    let mut command = machine.program();
    command.env("SESSION_PIPELINE_TOKEN", &machine.token);
    let command = command.args(["setup", "--to", url, "--yes"]).args(args);
    command.output().unwrap().into()
}

#[test]
fn setup_adds_hooks_and_remove_restores_every_byte() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    let file = settings(&machine);
    let before = "{\n\t\"model\" : \"x\",\n\n\t\"hooks\": { \"Stop\": [ {\"hooks\":[]} ] } }";
    for text in [Some(before), Some("{}"), Some(""), None] {
        match text {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let output = setup(&machine, &server.url, &[]);
        assert_eq!(output.code, 0, "{output:?}");
        assert!(
            output.stdout.contains("SessionEnd"),
            "the diff is shown: {output:?}"
        );
        let value: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        for event in ["Stop", "SessionEnd"] {
            let command = value["hooks"][event].as_array().unwrap().last().unwrap();
            let command = command["hooks"][0]["command"].as_str().unwrap();
            assert!(command.ends_with("session-pipeline-push hook"), "{command}");
        }
        let again = setup(&machine, &server.url, &["--redact"]);
        assert!(
            again.code == 0 && again.stdout.contains("has the hooks already"),
            "{again:?}"
        );
        assert_eq!(run(&machine, &["remove", "--yes"]).code, 0);
        assert_eq!(fs::read_to_string(&file).ok().as_deref(), text);
        assert!(
            !machine
                .home()
                .join(".config/session-pipeline-push")
                .exists()
        );
    }
}

#[test]
fn remove_keeps_what_the_user_and_the_agent_changed_since() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    let file = settings(&machine);
    fs::write(&file, "{\"model\": \"x\"}\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(setup(&machine, &server.url, &[]).code, 0);
    let mut value: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    value["theme"] = json!("dark");
    value["hooks"]["Stop"].as_array_mut().unwrap().insert(
        0,
        json!({ "hooks": [{ "type": "command", "command": "say done" }] }),
    );
    fs::write(&file, value.to_string()).unwrap();
    assert_eq!(run(&machine, &["remove", "--yes"]).code, 0);
    let value: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        value,
        json!({ "model": "x", "theme": "dark", "hooks": { "Stop": [{ "hooks": [{ "type": "command", "command": "say done" }] }] } })
    );
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn setup_changes_nothing_without_a_confirmation_a_valid_token_or_a_valid_file() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    let file = settings(&machine);
    let unchanged = |text: &str, output: &PushOutput| {
        assert!(output.code >= 2, "{output:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        assert!(
            !machine
                .home()
                .join(".config/session-pipeline-push")
                .exists()
        );
    };
    fs::write(&file, "{}").unwrap();
    let mut command = machine.program();
    command.env("SESSION_PIPELINE_TOKEN", &machine.token);
    command.args(["setup", "--to", &server.url]);
    unchanged("{}", &command.output().unwrap().into());
    let wrong = Machine::new("sp_wrong");
    let output = setup(&wrong, &server.url, &[]);
    assert!(
        output.code == 3 && output.stderr.contains("rejected the token"),
        "{output:?}"
    );
    assert!(!settings(&wrong).exists());
    for bad in ["[]", "{", "{\"hooks\": []}"] {
        fs::write(&file, bad).unwrap();
        let output = setup(&machine, &server.url, &[]);
        unchanged(bad, &output);
    }
}

/// Calls the hook as the agent does, through a shell. Returns how long it took.
fn call_hook(machine: &Machine, event: &Value) -> Duration {
    let text = fs::read(settings(machine)).unwrap();
    let value: Value = serde_json::from_slice(&text).unwrap();
    let command = value["hooks"]["Stop"][0]["hooks"][0]["command"]
        .as_str()
        .unwrap()
        .to_owned();
    let started = Instant::now();
    let mut child = Command::new("/bin/sh")
        .args(["-c", &command])
        .env_clear()
        .env("HOME", machine.home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(event.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let took = started.elapsed();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
    took
}

#[test]
fn a_hook_sends_the_session_and_returns_at_once() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    assert_eq!(setup(&machine, &server.url, &[]).code, 0);
    machine.write("-home-dev-app/s1.jsonl", "{\"a\":1}\n");
    let event = json!({
        "session_id": "s1",
        "transcript_path": machine.projects().join("-home-dev-app/s1.jsonl"),
        "cwd": "/home/dev/app",
        "hook_event_name": "Stop",
    });
    let took = call_hook(&machine, &event);
    println!("the hook returned after {took:?}");
    super::wait_for(|| stored(&dir) == machine.sources());
    let is_sent = |doctor: &PushOutput| doctor.stdout.contains("everything was sent");
    super::wait_for(|| is_sent(&run(&machine, &["doctor"])));
    let doctor = run(&machine, &["doctor"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    for text in [
        "accepts the token",
        "an agent called the hook",
        "everything was sent",
    ] {
        assert!(doctor.stdout.contains(text), "{text}: {doctor:?}");
    }
    // Several hooks at the same time, while the session grows.
    for number in 0..8 {
        machine.append("-home-dev-app/s1.jsonl", format!("{{\"n\":{number}}}\n"));
        call_hook(&machine, &event);
    }
    super::wait_for(|| stored(&dir) == machine.sources());
    // And exactly at the same time, as with several sessions of the agent.
    for session in 0..4 {
        machine.write(&format!("-home-dev-app/t{session}.jsonl"), "{}\n");
    }
    let longest = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| call_hook(&machine, &event)))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).max()
    });
    println!("the slowest of 8 hooks at the same time returned after {longest:?}");
    super::wait_for(|| stored(&dir) == machine.sources());
    super::wait_for(|| is_sent(&run(&machine, &["doctor"])));
    // Neither the settings of the agent nor the log has the token.
    for file in [settings(&machine), machine.state().join("log")] {
        let text = fs::read_to_string(file).unwrap();
        assert!(!text.contains(&machine.token), "{text}");
    }
}

#[test]
fn a_hook_never_fails_and_doctor_reports_why_nothing_is_sent() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    let doctor = run(&machine, &["doctor"]);
    assert!(
        doctor.code == 1 && doctor.stdout.contains("nothing is set up"),
        "{doctor:?}"
    );
    assert_eq!(setup(&machine, &server.url, &[]).code, 0);
    let elsewhere = json!({ "transcript_path": "/srv/elsewhere/s1.jsonl", "session_id": "s1" });
    call_hook(&machine, &elsewhere);
    let doctor = run(&machine, &["doctor"]);
    assert!(
        doctor.stdout.contains("is in none of the folders"),
        "{doctor:?}"
    );
    for event in [json!(null), json!("x"), json!({ "transcript_path": 1 })] {
        call_hook(&machine, &event);
    }
    // Without a home directory, with further arguments, and without an event.
    let mut command = machine.program();
    let output = command
        .env_remove("HOME")
        .args(["hook", "--bad"])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    machine.write("p/s1.jsonl", "{}\n");
    server.stop();
    call_hook(&machine, &json!({}));
    let token = machine.home().join(".config/session-pipeline-push/token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    call_hook(&machine, &json!({}));
    let doctor = run(&machine, &["doctor", "--json"]);
    assert_eq!(doctor.code, 1);
    assert!(
        doctor.stdout.contains("others can read the token"),
        "{doctor:?}"
    );
    assert!(!doctor.stdout.contains(&machine.token));
}
