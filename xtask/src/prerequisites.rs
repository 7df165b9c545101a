//! Checks the prerequisites of a build besides cargo: the target of the guests, a C++ compiler and
//! make. Also checks the browser, which only some tests need.
//!
//! A missing prerequisite is reported in one line, before cargo fails with a long message.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::{Workspace, status};

const GUEST_TARGET: &str = "wasm32-wasip2";

/// Installs the guest target if it is missing, chooses DuckDB, and reports other missing
/// prerequisites and how long a first build takes.
pub fn ensure(workspace: &Workspace) -> Result<()> {
    ensure_guest_target()?;
    let duckdb = workspace.duckdb()?;
    let is_first_build = !workspace.target_dir.join("debug/deps").is_dir() || duckdb.compiles_cxx();
    if !is_first_build {
        return Ok(());
    }
    if duckdb.compiles_cxx() {
        ensure_cxx_compiler()?;
    }
    ensure!(
        can_start("make"),
        "the memory allocator needs make, and `make` does not start; install it"
    );
    let duration = if duckdb.compiles_cxx() {
        "about 45 minutes on two cores, because it compiles DuckDB"
    } else {
        "about 10 minutes on two cores"
    };
    eprintln!(
        "First build in `{}`: {duration}. Later builds take seconds.",
        workspace.target_dir.display()
    );
    Ok(())
}

fn ensure_guest_target() -> Result<()> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    // Query rustc, because a toolchain of a distribution can have the target without rustup.
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", GUEST_TARGET])
        .output()
        .context("cannot start rustc")?;
    if output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
    {
        return Ok(());
    }
    ensure!(
        can_start("rustup"),
        "the Rust target `{GUEST_TARGET}` is missing, and rustup is not installed; install rustup (https://rustup.rs), or the package of your distribution for this target"
    );
    eprintln!("Installing the target of the guests: rustup target add {GUEST_TARGET}");
    let mut command = Command::new("rustup");
    command.args(["target", "add", GUEST_TARGET]);
    ensure!(
        status(command)?.success(),
        "`rustup target add {GUEST_TARGET}` failed"
    );
    Ok(())
}

fn ensure_cxx_compiler() -> Result<()> {
    let compiler = env::var("CXX").unwrap_or_default();
    // `CXX` can contain flags. The first word is the program.
    let program = compiler.split_whitespace().next().unwrap_or("c++");
    if can_start(program) {
        return Ok(());
    }
    bail!(
        "DuckDB needs a C++ compiler, and `{program}` does not start; install g++ or clang, or set CXX to a compiler"
    );
}

/// Whether `program --version` succeeds.
pub fn can_start(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The program that the tests in a browser need and that is not installed.
pub fn missing_browser() -> Option<&'static str> {
    // The driver finds Chromium, and also Chrome, under these names.
    let browsers = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    if !can_start("chromedriver") {
        Some("chromedriver")
    } else if !browsers.into_iter().any(can_start) {
        Some("Chromium")
    } else {
        None
    }
}
