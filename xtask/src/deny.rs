//! `cargo xtask check deny`: checks licenses, sources and known vulnerabilities of all dependencies
//! with cargo-deny.
//!
//! `deny.toml` contains the rules, and a reason for each exception.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::stages::StageResult;
use crate::workspace::{Workspace, status};

/// The workspaces of the repository. Each has its own lock file.
const MANIFESTS: [&str; 4] = [
    "Cargo.toml",
    "processors-wasm/Cargo.toml",
    "tests/fuzz/Cargo.toml",
    "examples/Cargo.toml",
];

/// Checks every workspace. Without cargo-deny, the whole check is skipped. Advisories are skipped
/// if their database cannot be fetched. Each skip prints a message.
pub fn check(workspace: &Workspace) -> Result<StageResult> {
    let is_installed = {
        let mut version = workspace.cargo(["deny", "--version"]);
        version.stdout(Stdio::null()).stderr(Stdio::null());
        status(version).is_ok_and(|status| status.success())
    };
    if !is_installed {
        eprintln!(
            "skipped: licenses and advisories were not checked, because cargo-deny is not installed; run `cargo install --locked cargo-deny`"
        );
        return Ok(StageResult::skipped());
    }
    let mut is_ok = true;
    for manifest in MANIFESTS {
        eprintln!("{manifest}:");
        let rules = ["bans", "licenses", "sources"];
        is_ok &= status(deny(workspace, manifest, "check", &rules))?.success();
    }
    if status(deny(workspace, MANIFESTS[0], "fetch", &["db"]))?.success() {
        for manifest in MANIFESTS {
            eprintln!("{manifest}:");
            let rules = ["--disable-fetch", "advisories"];
            is_ok &= status(deny(workspace, manifest, "check", &rules))?.success();
        }
    } else {
        eprintln!("skipped: advisories were not checked, because their database cannot be fetched");
    }
    Ok(StageResult::of(is_ok))
}

fn deny(workspace: &Workspace, manifest: &str, subcommand: &str, args: &[&str]) -> Command {
    let mut command = workspace.cargo(["deny", "--manifest-path", manifest, "--locked"]);
    command
        .args([subcommand, "--config", "deny.toml"])
        .args(args);
    command
}
