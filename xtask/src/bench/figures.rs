//! The figures of benchmarks in `docs/performance.md`: what a benchmark printed, with the command
//! and the machine.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::workspace::Workspace;

const DOCUMENT: &str = "docs/performance.md";

/// Replaces the figures of a benchmark with its output.
///
/// # Errors
/// The document has no place for this benchmark, or the output has no figures.
pub(super) fn record(
    workspace: &Workspace,
    name: &str,
    args: &[OsString],
    output: &str,
) -> Result<()> {
    let path = workspace.root.join(DOCUMENT);
    let document = fs::read_to_string(&path)?;
    let figures = figures(name, args, output, &circumstances(workspace))?;
    let document = replaced(&document, name, &figures)?;
    fs::write(path, document)?;
    eprintln!("recorded in {DOCUMENT}");
    Ok(())
}

fn figures(name: &str, args: &[OsString], output: &str, machine: &str) -> Result<String> {
    ensure!(!output.trim().is_empty(), "the benchmark printed nothing");
    let mut command = format!("cargo xtask bench {name}");
    for (at, arg) in args.iter().enumerate() {
        command += if at == 0 { " -- " } else { " " };
        command += &without_folders(&arg.to_string_lossy());
    }
    let output = output.trim_end();
    Ok(format!("{machine}:\n\n```\n$ {command}\n{output}\n```\n"))
}

/// An argument in which only the name of a path is left. Others have their files in other places.
fn without_folders(arg: &str) -> String {
    let (option, value) = match arg.split_once('=') {
        Some((option, value)) => (format!("{option}="), value),
        None => (String::new(), arg),
    };
    let name = Path::new(value).file_name().unwrap_or_default();
    format!("{option}{}", name.to_string_lossy())
}

/// The document with other figures between the two marks of a benchmark.
fn replaced(document: &str, name: &str, figures: &str) -> Result<String> {
    let start = format!("<!-- figures of {name} -->\n");
    let (before, rest) = document
        .split_once(&start)
        .with_context(|| format!("{DOCUMENT} has no line `{}`", start.trim_end()))?;
    let end = "<!-- end of figures -->";
    let at = rest
        .find(end)
        .with_context(|| format!("{DOCUMENT} has no line `{end}` after the figures of {name}"))?;
    let after = rest.split_at(at).1;
    Ok(format!("{before}{start}\n{figures}\n{after}"))
}

/// The measured commit and the machine.
fn circumstances(workspace: &Workspace) -> String {
    let mut git = Command::new("git");
    let git = git.args(["describe", "--always", "--dirty"]);
    let commit = git.current_dir(&workspace.root).output();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let commit = commit.unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |name| {
            name.trim_start_matches(['\t', ' ', ':'])
        });
    let system = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system = match system.trim() {
        "" => std::env::consts::OS.to_owned(),
        release => format!("Linux {release}"),
    };
    format!("Commit {commit}, {processor}, {cores} cores, {system}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str =
        "Before.\n\n<!-- figures of tick -->\n\nold\n\n<!-- end of figures -->\nAfter.\n";

    #[test]
    fn figures_replace_those_before_them() {
        let args = [
            OsString::from("350"),
            OsString::from("--like=/data/a b/sessions"),
        ];
        let figures = figures("tick", &args, "line 5: 0.7\n\n", "a machine").unwrap();
        let document = replaced(DOCUMENT, "tick", &figures).unwrap();
        assert_eq!(
            document,
            "Before.\n\n<!-- figures of tick -->\n\na machine:\n\n```\n$ cargo xtask bench tick -- 350 --like=sessions\nline 5: 0.7\n```\n\n<!-- end of figures -->\nAfter.\n"
        );
        assert_eq!(replaced(&document, "tick", &figures).unwrap(), document);
    }

    #[test]
    fn a_document_without_a_place_for_the_figures_is_not_changed() {
        assert!(replaced(DOCUMENT, "run", "new").is_err());
        assert!(replaced("<!-- figures of run -->\n", "run", "new").is_err());
        assert!(figures("run", &[], "\n", "a machine").is_err());
    }
}
