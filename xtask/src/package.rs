//! `cargo xtask package`: puts the program and everything that it needs into an archive, and runs
//! the program from the unpacked archive.
//!
//! The release workflow calls the same command, so this is its dry run.

mod licenses;
mod trial;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::prerequisites;
use crate::workspace::{Workspace, output, status};

/// Files of the repository that are part of the package: the source and the place in the package.
const FILES: [(&str, &str); 8] = [
    ("LICENSE", "LICENSE"),
    ("README.md", "README.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("docs/config.example.toml", "config.example.toml"),
    ("docs/deploy/README.md", "deploy/README.md"),
    (
        "docs/deploy/session-pipeline.service",
        "deploy/session-pipeline.service",
    ),
    (
        "docs/deploy/session-pipeline.sysusers.conf",
        "deploy/session-pipeline.sysusers.conf",
    ),
    ("docs/deploy/healthcheck", "deploy/healthcheck"),
];

/// Build an archive of the program, and run the program from it in an empty directory
///
/// The archive and its SHA-256 are in `package` in the target directory. A shared library of DuckDB
/// is part of the archive.
#[derive(clap::Args)]
pub struct Args {
    /// Put the contents of the package into this folder, and create no archive
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    prerequisites::ensure(workspace)?;
    ensure!(workspace.build_program()?, "the build failed");
    if let Some(folder) = &args.folder {
        let is_empty = folder
            .read_dir()
            .map_or(true, |mut entries| entries.next().is_none());
        ensure!(
            is_empty,
            "`{}` is not empty; name a new folder",
            folder.display()
        );
        assemble(workspace, folder)?;
        println!("{}", folder.display());
        return Ok(ExitCode::SUCCESS);
    }
    let archive = create(workspace)?;
    println!("{}", archive.display());
    println!("{}", checksum_path(&archive).display());
    Ok(ExitCode::SUCCESS)
}

/// Creates the archive of the program that was built, tries it, and returns its path.
pub fn create(workspace: &Workspace) -> Result<PathBuf> {
    let name = name(workspace)?;
    let parent = workspace.target_dir.join("package");
    let folder = parent.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty `{}`", folder.display()))?;
    }
    assemble(workspace, &folder)?;
    let archive = pack(workspace, &parent, &name)?;
    let trial = trial::run(workspace, &archive, &name);
    // The archive is the product. Its contents would take as much space again.
    let _ = fs::remove_dir_all(&folder);
    trial.context("the package does not work")?;
    Ok(archive)
}

/// The name of the archive without its extension, and of the folder in it. `cargo binstall` expects
/// this form.
fn name(workspace: &Workspace) -> Result<String> {
    let package = workspace
        .metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "session-pipeline")
        .context("the workspace has no package `session-pipeline`")?;
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--print", "host-tuple"]);
    let target = output(rustc)?;
    Ok(format!(
        "session-pipeline-v{}-{}",
        package.version,
        target.trim()
    ))
}

/// Puts the contents of the package into a folder.
fn assemble(workspace: &Workspace, folder: &Path) -> Result<()> {
    copy(&workspace.program(), &folder.join("session-pipeline"))?;
    strip(&folder.join("session-pipeline"));
    if let Some(library) = workspace.duckdb()?.library() {
        let name = library
            .file_name()
            .context("the library has no file name")?;
        copy(&library, &folder.join(name))?;
    }
    let compiled = workspace.compiled_folder();
    let entries =
        fs::read_dir(&compiled).with_context(|| format!("cannot read `{}`", compiled.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read `{}`", compiled.display()))?;
        copy(
            &entry.path(),
            &folder.join("compiled").join(entry.file_name()),
        )?;
    }
    for (source, place) in FILES {
        copy(&workspace.root.join(source), &folder.join(place))?;
    }
    let text = licenses::text(workspace)?;
    let path = folder.join("THIRD-PARTY-LICENSES");
    fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Copies a file. It keeps only whether the file is executable, so that an archive does not depend on
/// the umask of the clone.
fn copy(source: &Path, target: &Path) -> Result<()> {
    let copied = || -> std::io::Result<()> {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(source, target)?;
        let is_executable = fs::metadata(source)?.permissions().mode() & 0o100 != 0;
        let mode = if is_executable { 0o755 } else { 0o644 };
        fs::set_permissions(target, fs::Permissions::from_mode(mode))
    };
    copied().with_context(|| {
        format!(
            "cannot copy `{}` to `{}`",
            source.display(),
            target.display()
        )
    })
}

/// Removes debug information, which is more than half of the program. The names of functions stay, for
/// the backtrace of a panic. Without the tool, the program is only larger.
fn strip(program: &Path) {
    let is_stripped = Command::new("strip")
        .arg("--strip-debug")
        .arg(program)
        .status();
    if !is_stripped.is_ok_and(|status| status.success()) {
        eprintln!("`strip` does not work, so the program has debug information; install binutils");
    }
}

/// Creates `parent/name.tar.gz` from the folder `parent/name`, and its checksum file. The same contents
/// produce the same archive: files are sorted, and have no owner and the time of the commit.
fn pack(workspace: &Workspace, parent: &Path, name: &str) -> Result<PathBuf> {
    let archive = parent.join(format!("{name}.tar.gz"));
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"])
        .current_dir(&workspace.root);
    // Without git, as in a container, the archive has times of 1970.
    let time = output(git).unwrap_or_else(|_| "0".to_owned());
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        // Without the time at which it was compressed.
        "--use-compress-program=gzip -n",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ])
    .arg(format!("--mtime=@{}", time.trim()))
    .arg("--file")
    .arg(&archive)
    .arg("--directory")
    .arg(parent)
    .arg(name);
    ensure!(
        status(tar)?.success(),
        "tar cannot create `{}`",
        archive.display()
    );
    let bytes =
        fs::read(&archive).with_context(|| format!("cannot read `{}`", archive.display()))?;
    let path = checksum_path(&archive);
    fs::write(&path, checksum_line(&bytes, name))
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(archive)
}

/// A line that `sha256sum --check` reads.
fn checksum_line(bytes: &[u8], name: &str) -> String {
    let mut line = String::new();
    for byte in Sha256::digest(bytes) {
        write!(line, "{byte:02x}").expect("writing to a string cannot fail");
    }
    format!("{line}  {name}.tar.gz\n")
}

fn checksum_path(archive: &Path) -> PathBuf {
    let mut path = archive.as_os_str().to_owned();
    path.push(".sha256");
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_file_names_the_archive() {
        assert_eq!(
            checksum_line(b"abc", "x-v1"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  x-v1.tar.gz\n"
        );
        assert_eq!(
            checksum_path(Path::new("a/x.tar.gz")),
            Path::new("a/x.tar.gz.sha256")
        );
    }
}
