//! `cargo xtask examples`: the processors in `examples`, as an author outside this repository builds and tests them.

use anyhow::Result;

use crate::stages::StageResult;
use crate::test;
use crate::workspace::Workspace;

/// Builds the examples outside the workspace, and runs their tests, which build the components.
///
/// The target directory is their own: with the features of this workspace, their dependencies would be compiled a
/// second time in any case. It stays, so that later runs take seconds.
pub fn check(workspace: &Workspace) -> Result<StageResult> {
    let mut command = workspace.cargo(["test", "--workspace", "--tests", "--locked"]);
    command.current_dir(workspace.root.join("examples")).env(
        "CARGO_TARGET_DIR",
        workspace.target_dir.join("xtask/examples"),
    );
    test::counted(command)
}
