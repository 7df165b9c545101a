//! Compiles the guests with a cargo of its own, so that a plain `cargo build` of the host has
//! them.
//!
//! The inner cargo has its own target dir, since the outer one holds the lock of its; and an
//! environment without the outer one's settings, or flags and wrappers meant for the host (or
//! clippy's driver) would reach the guests and change their digest. Whether anything is to be
//! built is always its to decide.

#![expect(
    clippy::disallowed_methods,
    reason = "cargo speaks to a build script by the environment, and to no other"
)]

mod kit;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

/// All that guests and the authors' kit are made of, relative to the workspace of the guests.
const SOURCES: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "sdk",
    "usage",
    "verification",
    "faulty",
    "templates",
    "../runtime/wit",
];

/// The processors that ship with the program.
const SHIPPED: &[&str] = &["usage", "verification"];

fn main() {
    if let Err(reason) = build() {
        // One line for people; the inner cargo has said the rest.
        println!("cargo::error={reason}");
    }
}

fn build() -> Result<(), String> {
    let manifest_dir = required("CARGO_MANIFEST_DIR")?;
    let out_dir = PathBuf::from(required("OUT_DIR")?);
    let guests = Path::new(&manifest_dir)
        .parent()
        .ok_or("the guests are beside this crate")?
        .to_path_buf();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", guests.join(source).display());
    }
    require_target(&guests)?;

    // Fetched first: the names of the folders that crates lie in are part of the flags.
    let fetch = ["fetch", "--quiet", "--locked", "--target", TARGET];
    run(inner_cargo(&guests)?.args(fetch))?;
    let target_dir = target_dir(&out_dir);
    let mut cargo = inner_cargo(&guests)?;
    cargo
        .args(["build", "--quiet", "--locked", "--release"])
        .args(["--package", "session-pipeline-usage"])
        .args(["--package", "session-pipeline-verification", "--lib"])
        .args(["--package", "session-pipeline-faulty", "--examples"])
        .args(["--target", TARGET])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&guests)?);
    run(&mut cargo)?;

    let built = target_dir.join(TARGET).join("release");
    for shipped in SHIPPED {
        let component = built.join(format!("session_pipeline_{shipped}.wasm"));
        copy(&component, &out_dir.join(format!("{shipped}.wasm")))?;
    }
    let list = bundle_faulty(&guests, &built.join("examples"), &out_dir)?;
    write(&out_dir.join("faulty.rs"), &list)?;
    write(&out_dir.join("kit.rs"), &kit::gather(&guests, &out_dir)?)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| describe(file, &error))
}

/// Copies the faulty guests, and writes the list of them as Rust.
fn bundle_faulty(guests: &Path, built: &Path, out_dir: &Path) -> Result<String, String> {
    let sources = guests.join("faulty").join("examples");
    let entries = fs::read_dir(&sources).map_err(|error| describe(&sources, &error))?;
    let mut ways = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| describe(&sources, &error))?.path();
        if path.extension() == Some(OsStr::new("rs")) {
            let way = path.file_stem().and_then(OsStr::to_str);
            ways.push(way.ok_or("the name of an example is not UTF-8")?.to_owned());
        }
    }
    ways.sort();
    let mut list = String::from("&[\n");
    for way in ways {
        let file = format!("{way}.wasm");
        copy(&built.join(&file), &out_dir.join(&file))?;
        let bytes = format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\"))");
        writeln!(list, "    (\"{way}\", {bytes}),").map_err(|error| error.to_string())?;
    }
    list.push_str("]\n");
    Ok(list)
}

/// A folder beside the outer profiles, so that all of them share it; within our own output, if
/// the layout is not the known one (`<target>/[<triple>/]<profile>/build/<crate>/out`).
fn target_dir(out_dir: &Path) -> PathBuf {
    let build = out_dir
        .ancestors()
        .find(|folder| folder.file_name() == Some(OsStr::new("build")));
    let outer = build.and_then(|build| build.parent()?.parent());
    outer.unwrap_or(out_dir).join("processors-wasm")
}

fn require_target(guests: &Path) -> Result<(), String> {
    let output = Command::new(required("RUSTC")?)
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(guests)
        .output()
        .map_err(|error| format!("rustc could not be asked for its targets: {error}"))?;
    let libdir = String::from_utf8_lossy(&output.stdout);
    let is_there = output.status.success() && Path::new(libdir.trim()).is_dir();
    is_there
        .then_some(())
        .ok_or_else(|| format!("the guest target is missing; run: rustup target add {TARGET}"))
}

/// The cargo that builds us, in the workspace of the guests and without our settings.
fn inner_cargo(guests: &Path) -> Result<Command, String> {
    let mut cargo = Command::new(required("CARGO")?);
    cargo.current_dir(guests);
    for (name, _) in env::vars_os() {
        if is_of_the_outer_build(&name.to_string_lossy()) {
            cargo.env_remove(name);
        }
    }
    Ok(cargo)
}

/// Whether a variable says how the host is built. Where crates come from holds for the guests
/// too.
fn is_of_the_outer_build(name: &str) -> bool {
    let is_source = name == "CARGO_HOME"
        || [
            "CARGO_HTTP_",
            "CARGO_NET_",
            "CARGO_REGISTR",
            "CARGO_SOURCE_",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    let is_setting = name.starts_with("CARGO")
        || name.starts_with("CLIPPY_")
        || name.starts_with("DEP_")
        || [
            "RUSTC",
            "RUSTDOC",
            "RUSTFLAGS",
            "RUSTDOCFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_LINKER",
            "RUSTC_BOOTSTRAP",
            "MAKEFLAGS",
            "MFLAGS",
            "TARGET",
            "HOST",
            "OUT_DIR",
            "OPT_LEVEL",
            "PROFILE",
            "DEBUG",
            "NUM_JOBS",
        ]
        .contains(&name);
    is_setting && !is_source
}

/// The flags of the guests, joined as cargo wants it.
///
/// Folders of this machine become fixed words, or else the digest of a component would depend
/// on who built it.
fn flags(guests: &Path) -> Result<OsString, String> {
    let mut flags = vec![
        OsString::from("-Ctarget-feature=+simd128"),
        // What a session needs in most cases: growing costs a system call or two each time.
        OsString::from("-Clink-arg=--initial-memory=2097152"),
    ];
    let mut remap = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    };
    remap(guests, "processors-wasm");
    if let Some(cargo_home) = cargo_home() {
        remap(&cargo_home, "cargo");
        // Of several remappings that fit, rustc takes the last.
        for registry in registries(&cargo_home.join("registry").join("src"))? {
            remap(&registry, "crates");
        }
    }
    Ok(flags.join(OsStr::new("\u{1f}")))
}

fn cargo_home() -> Option<PathBuf> {
    let from_environment = env::var_os("CARGO_HOME").map(PathBuf::from);
    from_environment.or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// The folders that hold crates, one a registry and named after it.
fn registries(sources: &Path) -> Result<Vec<PathBuf>, String> {
    // None, if all crates are vendored.
    let Ok(entries) = fs::read_dir(sources) else {
        return Ok(Vec::new());
    };
    let mut folders = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| describe(sources, &error))?;
    folders.sort();
    Ok(folders)
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|error| format!("cargo could not be started for the guests: {error}"))?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| format!("the guests could not be built: cargo ended with {status}"))
}

/// Copies what differs: a file that stays as it is makes no new digest, and no new build.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let bytes = fs::read(from).map_err(|error| describe(from, &error))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(to, bytes).map_err(|error| describe(to, &error))
}

fn required(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"))
}

fn describe(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
