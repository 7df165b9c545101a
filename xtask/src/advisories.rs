//! Known vulnerabilities in dependencies, as cargo-audit reports them for every lock file.

use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::check::{Finding, print_findings};
use crate::stages::Outcome;
use crate::workspace::{Workspace, status};

/// Every lock file of the repository.
const LOCK_FILES: [&str; 3] = [
    "Cargo.lock",
    "processors-wasm/Cargo.lock",
    "tests/fuzz/Cargo.lock",
];

/// Audits all lock files; skipped with a message where cargo-audit is not installed, or where its
/// database can't be reached and no copy of it is on this machine.
pub fn check(workspace: &Workspace) -> Result<Outcome> {
    let is_installed = {
        let mut version = workspace.cargo(["audit", "--version"]);
        version.stdout(Stdio::null()).stderr(Stdio::null());
        status(version).is_ok_and(|status| status.success())
    };
    if !is_installed {
        eprintln!(
            "advisories were not checked: cargo-audit is not installed; run `cargo install --locked cargo-audit`"
        );
        return Ok(Outcome::skipped());
    }
    let mut findings = Vec::new();
    for file in LOCK_FILES {
        // First with the newest database, then with the copy of an earlier check.
        let report = match audit(workspace, file, &[])? {
            Some(report) => Some(report),
            None => audit(workspace, file, &["--no-fetch"])?,
        };
        let Some(report) = report else {
            eprintln!(
                "advisories were not checked: the advisory database can't be reached, and there is no copy of it here"
            );
            return Ok(Outcome::skipped());
        };
        findings.extend(findings_in(file, &report));
    }
    Ok(print_findings(findings))
}

/// The report on one lock file; `None` where there is no database. The exit code does not tell the
/// two apart from a finding.
fn audit(workspace: &Workspace, file: &str, options: &[&str]) -> Result<Option<Value>> {
    let mut command = workspace.cargo(["audit", "--json", "--file", file]);
    let output = command
        .args(options)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context("cargo-audit cannot be run")?;
    Ok(serde_json::from_slice(&output.stdout).ok())
}

fn findings_in(file: &str, report: &Value) -> Vec<Finding> {
    let list = report.pointer("/vulnerabilities/list");
    let vulnerabilities = list.and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value, pointer: &str| {
        let text = value.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or("?").to_owned()
    };
    let finding = |vulnerability: &Value| {
        let package = text(vulnerability, "/package/name");
        let version = text(vulnerability, "/package/version");
        let id = text(vulnerability, "/advisory/id");
        let title = text(vulnerability, "/advisory/title");
        Finding {
            place: format!("{file}: {package} {version}"),
            reason: format!("{id}: {title}"),
            remedy: format!(
                "run `cargo update {package}`, or see https://rustsec.org/advisories/{id}"
            ),
        }
    };
    vulnerabilities.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vulnerability_of_a_report_is_a_finding() {
        let report = serde_json::json!({ "vulnerabilities": { "found": true, "count": 1, "list": [{
            "advisory": { "id": "RUSTSEC-2020-0001", "title": "a hole" },
            "package": { "name": "holey", "version": "1.0.0" },
        }] } });
        let findings = findings_in("Cargo.lock", &report);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, "Cargo.lock: holey 1.0.0");
        assert_eq!(findings[0].reason, "RUSTSEC-2020-0001: a hole");
        let clean = serde_json::json!({ "vulnerabilities": { "found": false, "list": [] } });
        assert_eq!(findings_in("Cargo.lock", &clean), []);
    }
}
