//! The files in `docs/deploy`: the service unit, the containers, the health check, and the commands
//! to back up and restore.

mod backup;
mod containers;
mod unit;

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The path of a file in `docs/deploy`.
fn file(name: &str) -> PathBuf {
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    repository.join("docs/deploy").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

/// Whether a tool runs with these arguments. Prints why the test is skipped if it does not.
fn is_installed(tool: &str, arguments: &[&str]) -> bool {
    let status = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let is_installed = status.is_ok_and(|status| status.success());
    if !is_installed {
        println!("SKIPPED: `{tool} {}` does not work", arguments.join(" "));
    }
    is_installed
}
