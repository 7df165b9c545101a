//! Tests the tutorial `docs/write-a-processor.md`: runs its commands and writes its files, in
//! order, as one script.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{ProjectsFolder, registry_is_reachable, table_rows};
use crate::stages::StageResult;
use crate::workspace::{Workspace, remove_crate_variables, status};

const TUTORIAL: &str = "docs/write-a-processor.md";
/// The processor that the tutorial creates.
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
    fs::create_dir_all(&place).with_context(|| format!("cannot create `{}`", place.display()))?;

    let program = workspace.program();
    let programs = program
        .parent()
        .context("the path of the program has no parent folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path));
    let mut command = Command::new("sh");
    command
        .args(["-euxc", &script])
        .current_dir(&place)
        .env("PATH", std::env::join_paths(path)?)
        // A snapshot that differs must fail the test, not be updated.
        .env("INSTA_UPDATE", "no")
        .env_remove("CARGO_TARGET_DIR");
    remove_crate_variables(&mut command);
    if !status(command)?.success() {
        ensure!(
            !registry_is_reachable(workspace)?,
            "the commands in `{TUTORIAL}` failed"
        );
        eprintln!("skipped: the packages could not be installed; check the network");
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
        "the processor of the tutorial wrote unexpected rows: {rows}"
    );
    Ok(StageResult::of(true))
}

/// Converts the commands (`sh` blocks) and files (blocks with `file=`) of a page to one script.
/// Each project uses the target directory of earlier runs.
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
                "`{file}` contains the end marker of the here-document"
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
    fn a_script_consists_of_the_commands_and_files_of_a_page() {
        let page = "Text.\n\n```sh\nsession-pipeline new a-b\ncd a-b\n```\n\n```rust file=src/lib.rs\n//! $x\n```\n\n```toml\nx = 1\n```\n\n```sh\ncat <<'E'\nx\nE\n```\n";
        let expected = "session-pipeline new a-b\nln -s '/t' a-b/target\ncd a-b\ncat > src/lib.rs <<'END_OF_FILE'\n//! $x\nEND_OF_FILE\ncat <<'E'\nx\nE\n";
        assert_eq!(script(page, "/t").unwrap(), expected);
        assert!(script("no blocks", "/t").is_err());
    }
}
