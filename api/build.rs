//! Tells the programs where they find DuckDB if it is a shared library.

use std::env;

#[expect(
    clippy::disallowed_methods,
    reason = "a build script gets its input from the environment"
)]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Built from source, DuckDB is part of the program.
    if env::var_os("CARGO_FEATURE_BUNDLED").is_some() {
        return;
    }
    let program_dir = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => "@loader_path",
        _ => "$ORIGIN",
    };
    // Next to the program, as in a package; where cargo puts libraries; and as in `/usr/local`. The
    // paths are relative to the program, so the folder can be moved.
    for dir in ["", "/deps", "/../lib"] {
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,{program_dir}{dir}");
    }
}
