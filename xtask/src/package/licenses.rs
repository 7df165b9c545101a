//! The licenses of the crates in the program, which its package must contain.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use crate::workspace::{Workspace, cargo_path};

/// How the names of such files begin, in capital letters.
const FILE_NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"];

/// Lists each crate that the program contains, then each text of a license once, with the crates that
/// have it.
pub fn text(workspace: &Workspace) -> Result<String> {
    let metadata = MetadataCommand::new()
        .cargo_path(cargo_path())
        .manifest_path(workspace.root.join("Cargo.toml"))
        .other_options(vec![
            "--locked".to_owned(),
            "--filter-platform".to_owned(),
            host()?,
        ])
        .exec()
        .context("cargo cannot describe the dependencies")?;
    let packages = packages(&metadata);
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = String::from("Session Pipeline contains these crates and DuckDB (MIT).\n\n");
    for package in &packages {
        let title = format!("{} {}", package.name, package.version);
        let license = package.license.as_deref().unwrap_or("see below");
        writeln!(list, "{title}: {license}")?;
        if let Some(folder) = package.manifest_path.parent() {
            for text in license_texts(folder.as_std_path()) {
                texts.entry(text).or_default().push(title.clone());
            }
        }
    }
    if let Some(library) = workspace.duckdb()?.library()
        && let Some(folder) = library.parent()
    {
        for text in license_texts(folder) {
            texts.entry(text).or_default().push("DuckDB".to_owned());
        }
    }
    for (text, titles) in texts {
        writeln!(
            list,
            "\n{}\n{}\n\n{}",
            "-".repeat(80),
            titles.join(", "),
            text.trim()
        )?;
    }
    Ok(list)
}

fn host() -> Result<String> {
    let mut rustc =
        std::process::Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--print", "host-tuple"]);
    Ok(crate::workspace::output(rustc)?.trim().to_owned())
}

/// The crates from outside the workspace that the program depends on, without those that only build
/// it, sorted by name and version.
fn packages(metadata: &Metadata) -> Vec<&Package> {
    let Some(resolve) = &metadata.resolve else {
        return Vec::new();
    };
    let program = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "session-pipeline");
    let mut open: Vec<&PackageId> = program.map(|package| &package.id).into_iter().collect();
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !found.insert(id) {
            continue;
        }
        let node = resolve.nodes.iter().find(|node| node.id == *id);
        let dependencies = node.into_iter().flat_map(|node| &node.deps);
        open.extend(
            dependencies
                .filter(|dependency| {
                    dependency
                        .dep_kinds
                        .iter()
                        .any(|kind| kind.kind == DependencyKind::Normal)
                })
                .map(|dependency| &dependency.pkg),
        );
    }
    let mut packages: Vec<_> = metadata
        .packages
        .iter()
        .filter(|package| found.contains(&package.id) && package.source.is_some())
        .collect();
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    packages
}

fn license_texts(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let is_license = |path: &Path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_uppercase();
        FILE_NAMES.iter().any(|start| name.starts_with(start))
    };
    // A file that is not text, or a folder, has no text to show.
    let texts = paths
        .iter()
        .filter(|path| is_license(path))
        .map(fs::read_to_string);
    texts
        .flatten()
        .map(|text| text.replace("\r\n", "\n"))
        .collect()
}
