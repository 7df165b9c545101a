//! `cargo xtask examples`: builds and tests the processors in `examples` like an author outside
//! this repository.

use anyhow::Result;

use crate::stages::StageResult;
use crate::test;
use crate::workspace::Workspace;

/// Builds the examples and runs their tests, which build the components.
///
/// They have a separate target directory. It is not emptied, so later runs take seconds. The target
/// directory of the workspace would save nothing: its dependencies have other features.
pub fn check(workspace: &Workspace) -> Result<StageResult> {
    let mut command = workspace.cargo(["test", "--workspace", "--tests", "--locked"]);
    command.current_dir(workspace.root.join("examples")).env(
        "CARGO_TARGET_DIR",
        workspace.target_dir.join("xtask/examples"),
    );
    test::counted(command)
}
