//! `docs/write-a-processor.md`, done as it says: its commands and files, in their order, as one script.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{ProjectsFolder, registry_is_reached, table_rows};
use crate::stages::StageResult;
use crate::workspace::{Workspace, forget_this_crate, status};

const TUTORIAL: &str = "docs/write-a-processor.md";
/// The processor that it makes, and its table.
const PROCESSOR: &str = "tool-calls";
const TABLE: &str = "calls";

pub fn check(workspace: &Workspace, folder: &ProjectsFolder) -> Result<StageResult> {
    let text = fs::read_to_string(workspace.root.join(TUTORIAL))
        .with_context(|| format!("cannot read `{TUTORIAL}`"))?;
    let target = folder
        .cargo_target
        .to_str()
        .context("the target dir is not UTF-8")?;
    let script = script(&text, target)?;
    let place = folder.projects.join("tutorial");
    fs::create_dir_all(&place).with_context(|| format!("cannot make `{}`", place.display()))?;

    let program = workspace.program();
    let programs = program.parent().context("the program lies in no folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path));
    let mut command = Command::new("sh");
    command
        .args(["-euxc", &script])
        .current_dir(&place)
        .env("PATH", std::env::join_paths(path)?)
        // A snapshot that differs is a finding here, and not one to be taken over.
        .env("INSTA_UPDATE", "no")
        .env_remove("CARGO_TARGET_DIR");
    forget_this_crate(&mut command);
    if !status(command)?.success() {
        ensure!(
            !registry_is_reached(workspace)?,
            "`{TUTORIAL}` does not do what it says"
        );
        eprintln!("skipped: its packages could not be had; is there a network?");
        return Ok(StageResult::skipped());
    }

    let rows = table_rows(
        workspace,
        &place.join(PROCESSOR).join("data"),
        PROCESSOR,
        TABLE,
    )?;
    ensure!(
        rows.lines().count() == 2,
        "the tutorial's processor wrote other rows: {rows}"
    );
    Ok(StageResult::of(true))
}

/// The blocks of a page that are commands (`sh`) or files (`file=`), as one script. What a project
/// compiles goes to where earlier runs have compiled the same.
fn script(page: &str, target: &str) -> Result<String> {
    let mut script = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let block = block.join("\n");
        if info == "sh" {
            for command in block.lines() {
                writeln!(script, "{command}")?;
                if let Some(name) = command.strip_prefix("session-pipeline new ") {
                    writeln!(script, "ln -s '{target}' {name}/target")?;
                }
            }
        } else if let Some((_, file)) = info.split_once(" file=") {
            ensure!(
                !block.contains("END_OF_FILE"),
                "`{file}` holds the end mark"
            );
            writeln!(script, "cat > {file} <<'END_OF_FILE'\n{block}\nEND_OF_FILE")?;
        }
    }
    ensure!(!script.is_empty(), "`{TUTORIAL}` has no commands");
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_files_become_a_script_and_the_rest_does_not() {
        let page = "Text.\n\n```sh\nsession-pipeline new a-b\ncd a-b\n```\n\n```rust file=src/lib.rs\n//! $x\n```\n\n```toml\nx = 1\n```\n\n```sh\ncat <<'E'\nx\nE\n```\n";
        let expected = "session-pipeline new a-b\nln -s '/t' a-b/target\ncd a-b\ncat > src/lib.rs <<'END_OF_FILE'\n//! $x\nEND_OF_FILE\ncat <<'E'\nx\nE\n";
        assert_eq!(script(page, "/t").unwrap(), expected);
        assert!(script("no blocks", "/t").is_err());
    }
}
