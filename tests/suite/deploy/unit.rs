//! The systemd unit: it is valid, its exposure is low, and the program works with the system calls that
//! it allows.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use session_pipeline_harness::{DataDir, compiled, program};

use super::{file, is_installed, text};
use crate::usage::examples;

/// The exposure that `systemd-analyze security` must not exceed, of 10.
const EXPOSURE_MAX: f64 = 2.0;

#[test]
fn the_exposure_of_the_unit_is_low() {
    // The option exists since systemd 250.
    if !is_installed("systemd-analyze", &["security", "--offline=true", "--help"]) {
        return;
    }
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager"]);
    let output = command
        .arg(file("session-pipeline.service"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, rest) = text
        .rsplit_once("Overall exposure level for session-pipeline.service: ")
        .unwrap();
    let exposure: f64 = rest.split(' ').next().unwrap().parse().unwrap();
    assert!(exposure <= EXPOSURE_MAX, "{text}");
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    if !is_installed("systemd-analyze", &["--version"]) {
        return;
    }
    // The program of the unit is not installed here, which `verify` reports, too.
    let dir = DataDir::new();
    let unit = dir.path().join("session-pipeline.service");
    let installed = text("session-pipeline.service")
        .replace("/opt/session-pipeline/session-pipeline", "/bin/sh");
    assert!(
        installed.contains("ExecStart=/bin/sh --data-dir"),
        "{installed}"
    );
    fs::write(&unit, installed).unwrap();
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let about_unit: Vec<_> = stderr
        .lines()
        .filter(|line| line.contains("session-pipeline"))
        .collect();
    assert!(about_unit.is_empty(), "{stderr}");
}

/// The names of the system calls that the unit allows.
fn allowed_calls() -> BTreeSet<String> {
    let unit = text("session-pipeline.service");
    let mut allowed = BTreeSet::new();
    for line in unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="))
    {
        let (is_denied, names) = match line.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, line),
        };
        for name in names.split(' ').flat_map(calls) {
            if is_denied {
                allowed.remove(&name);
            } else {
                allowed.insert(name);
            }
        }
    }
    allowed
}

/// The system calls of a group such as `@system-service`, or the one of this name.
fn calls(name: &str) -> Vec<String> {
    if !name.starts_with('@') {
        return vec![name.to_owned()];
    }
    let output = Command::new("systemd-analyze")
        .args(["syscall-filter", name])
        .output()
        .unwrap();
    assert!(output.status.success(), "systemd has no group `{name}`");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().skip(1).map(str::trim);
    let names = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    names.flat_map(calls).collect()
}

#[test]
fn the_program_uses_only_system_calls_that_the_unit_allows() {
    if !is_installed("strace", &["-f", "-o", "/dev/null", "true"])
        || !is_installed("systemd-analyze", &["--version"])
    {
        return;
    }
    let dir = DataDir::new();
    let record = dir.path().join("calls");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-o"])
        .arg(&record)
        .arg(program::path())
        .env_clear()
        .envs(compiled::environment())
        .arg("--data-dir")
        .arg(dir.path())
        .arg("--sessions")
        .arg(examples())
        .args(["run", "usage"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let record = fs::read(&record).unwrap();
    let record = String::from_utf8_lossy(&record);
    // `1234 openat(AT_FDCWD, …) = 3`, or `1234 <... futex resumed>) = 0`, or `1234 +++ exited +++`.
    let used: BTreeSet<_> = record
        .lines()
        .filter_map(|line| {
            line.split_whitespace()
                .nth(1)?
                .split_once('(')
                .map(|(name, _)| name)
        })
        // A line can also show a signal or a process that ends.
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    assert!(
        used.contains("openat") && used.contains("landlock_restrict_self"),
        "{used:?}"
    );
    let allowed = allowed_calls();
    let denied: Vec<_> = used
        .iter()
        .filter(|name| !allowed.contains(**name))
        .collect();
    assert!(denied.is_empty(), "the unit denies {denied:?}");
}
