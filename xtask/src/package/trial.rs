//! Runs the program of an archive like on a machine that has nothing else: unpacked in an empty
//! directory, without environment variables and, where the system allows it, in a root directory
//! with the C library and nothing more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::run::EXAMPLE_SESSIONS;
use crate::workspace::{Workspace, output, status};

/// Libraries that every Linux system with the GNU C library and a C++ runtime has. A package must not
/// need others.
const SYSTEM_LIBRARIES: [&str; 8] = [
    "ld-linux-",
    "libc.so.",
    "libm.so.",
    "libdl.so.",
    "libpthread.so.",
    "librt.so.",
    "libgcc_s.so.",
    "libstdc++.so.",
];

/// Makes `$1` the root directory and runs the rest of the arguments there.
const IN_ROOT: &str = r#"root=$1; shift
mount --rbind /proc "$root/proc" && mount --rbind /dev "$root/dev" && exec chroot "$root" "$@""#;

/// Unpacks an archive, and runs the program in it over the example sessions.
pub fn run(workspace: &Workspace, archive: &Path, name: &str) -> Result<()> {
    let root = workspace.target_dir.join("package/trial");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot empty `{}`", root.display()))?;
    }
    for folder in ["opt", "data", "tmp", "proc", "dev"] {
        fs::create_dir_all(root.join(folder))
            .with_context(|| format!("cannot create `{}`", root.display()))?;
    }
    let mut tar = Command::new("tar");
    tar.arg("--extract")
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(root.join("opt"));
    ensure!(
        status(tar)?.success(),
        "tar cannot unpack `{}`",
        archive.display()
    );
    let mut sessions = Command::new("cp");
    sessions
        .arg("-R")
        .arg(workspace.root.join(EXAMPLE_SESSIONS))
        .arg(root.join("sessions"));
    ensure!(
        status(sessions)?.success(),
        "cannot copy the example sessions"
    );

    let program = Path::new("opt").join(name).join("session-pipeline");
    let libraries = needed_libraries(&root.join(&program))?;
    let is_alone = can_change_root();
    if is_alone {
        install_libraries(&root, &libraries)?;
    } else {
        println!(
            "SKIPPED: this system has no user namespaces (`unshare --user --mount`), so the package is tried with the libraries of this system"
        );
    }
    let execute = |arguments: &[&str]| -> Result<String> {
        let mut command = if is_alone {
            let mut command = Command::new("unshare");
            command.args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                IN_ROOT,
                "sh",
            ]);
            command.arg(&root).arg(Path::new("/").join(&program));
            command
        } else {
            Command::new(root.join(&program))
        };
        let base = if is_alone { Path::new("/") } else { &root };
        command
            .env_clear()
            // For `unshare` and `sh`. The program does not read it.
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir(root.join("data"))
            .stdin(Stdio::null())
            .arg("--data-dir")
            .arg(base.join("data"))
            .arg("--sessions")
            .arg(base.join("sessions"))
            .args(arguments);
        output(command)
    };
    let version = execute(&["--version"])?;
    execute(&["run", "usage"])?;
    let report = execute(&["report", "usage", "--by", "model"])?;
    ensure!(
        report.contains("total"),
        "the report of the example sessions has no total:\n{report}"
    );
    println!(
        "{}: runs {} and reports the example sessions",
        version.trim(),
        if is_alone {
            "with its package and the C library only"
        } else {
            "in an empty directory"
        }
    );
    let _ = fs::remove_dir_all(&root);
    Ok(())
}

/// The libraries of the system that a program loads. Libraries of the package are next to it.
fn needed_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program).env_remove("LD_LIBRARY_PATH");
    let text = output(ldd)?;
    let folder = program.parent().unwrap_or(program);
    let mut libraries = Vec::new();
    for line in text.lines().map(str::trim) {
        ensure!(!line.contains("not found"), "a library is missing: {line}");
        // `libm.so.6 => /lib/libm.so.6 (0x…)`, or the loader, which has a path only.
        let path = line
            .rsplit("=> ")
            .next()
            .unwrap_or(line)
            .split(" (")
            .next()
            .unwrap_or(line);
        if !path.starts_with('/') || Path::new(path).starts_with(folder) {
            continue;
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        ensure!(
            SYSTEM_LIBRARIES.iter().any(|known| name.starts_with(known)),
            "the program needs `{path}`, which is neither in the package nor on every system"
        );
        libraries.push(PathBuf::from(path));
    }
    Ok(libraries)
}

/// Copies libraries of the system to the same places in another root directory.
fn install_libraries(root: &Path, libraries: &[PathBuf]) -> Result<()> {
    for library in libraries {
        let target = root.join(library.strip_prefix("/").unwrap_or(library));
        let copied = || -> std::io::Result<()> {
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::copy(library, &target).map(drop)
        };
        copied().with_context(|| format!("cannot copy `{}`", library.display()))?;
    }
    Ok(())
}

fn can_change_root() -> bool {
    Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
