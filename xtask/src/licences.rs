//! Under which licences what we ship may stand, judged from what every crate says of itself.
//!
//! The program contains all of them, so each must be one that lets people use, change and pass on
//! the whole under Apache-2.0.

use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{CargoOpt, Metadata, MetadataCommand, Package};
use spdx::{Expression, Licensee, ParseMode};

use crate::check::{Finding, print_findings};
use crate::stages::Outcome;
use crate::workspace::{Workspace, cargo_path};

/// Licences that ask for no more than a notice.
const ACCEPTED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    // The list of certificate authorities, which is data.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// Judges the licences of all dependencies of both workspaces.
pub fn check(workspace: &Workspace) -> Result<Outcome> {
    let mut findings = Vec::new();
    for manifest in [
        workspace.root.join("Cargo.toml"),
        workspace.guest_manifest(),
    ] {
        findings.extend(findings_of(&dependencies(&manifest)?)?);
    }
    findings.dedup();
    Ok(print_findings(findings))
}

/// All packages that a workspace is built from on any platform, as its lock file has them.
fn dependencies(manifest: &Path) -> Result<Metadata> {
    MetadataCommand::new()
        .cargo_path(cargo_path())
        .manifest_path(manifest)
        .features(CargoOpt::AllFeatures)
        .other_options(["--locked".to_owned()])
        .exec()
        .with_context(|| {
            format!(
                "cargo cannot list the dependencies of `{}`",
                manifest.display()
            )
        })
}

fn findings_of(metadata: &Metadata) -> Result<Vec<Finding>> {
    let accepted = accepted()?;
    let judged = metadata.packages.iter().filter_map(|package| {
        let reason = judge(package.license.as_deref(), &accepted).err()?;
        Some(finding(package, reason))
    });
    Ok(judged.collect())
}

fn accepted() -> Result<Vec<Licensee>> {
    let parse =
        |text: &&str| Licensee::parse(text).with_context(|| format!("`{text}` is no licence"));
    ACCEPTED.iter().map(parse).collect()
}

fn finding(package: &Package, reason: String) -> Finding {
    Finding {
        place: format!("{} {}", package.name, package.version),
        reason,
        remedy: "do without it, or accept its licence in xtask/src/licences.rs with a reason"
            .to_owned(),
    }
}

fn judge(licence: Option<&str>, accepted: &[Licensee]) -> Result<(), String> {
    let Some(licence) = licence else {
        return Err("it does not say under which licence it stands".to_owned());
    };
    // Older crates write `MIT/Apache-2.0`.
    let expression = Expression::parse_mode(licence, ParseMode::LAX)
        .map_err(|error| format!("its licence `{licence}` can't be read: {}", error.reason))?;
    let is_accepted =
        expression.evaluate(|wanted| accepted.iter().any(|licensee| licensee.satisfies(wanted)));
    if is_accepted {
        Ok(())
    } else {
        Err(format!(
            "its licence `{licence}` asks for more than a notice"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(licence: Option<&str>) -> Result<(), String> {
        judge(licence, &accepted().unwrap())
    }

    #[test]
    fn one_accepted_choice_is_enough_and_all_that_hold_together_are_needed() {
        assert_eq!(check(Some("GPL-3.0-only OR MIT")), Ok(()));
        assert_eq!(check(Some("MIT/Apache-2.0")), Ok(()));
        assert!(
            check(Some("MIT AND GPL-3.0-only"))
                .unwrap_err()
                .contains("more than a notice")
        );
        assert!(check(Some("AGPL-3.0-or-later")).is_err());
    }

    #[test]
    fn a_crate_without_a_readable_licence_is_a_finding() {
        assert!(check(None).is_err());
        assert!(
            check(Some("see LICENSE"))
                .unwrap_err()
                .contains("can't be read")
        );
    }
}
