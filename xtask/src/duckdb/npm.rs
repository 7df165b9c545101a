//! The official build of DuckDB in its npm package, installed by the npm client.
//!
//! npm downloads and unpacks the package. It compares the package with the checksum in the lock file
//! that this module writes, so that neither a registry nor a mirror can deliver anything else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::{FILE_NAME, VERSION};

/// A version of a package, and what npm must receive for it.
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    /// SHA-512 of the package file, in the notation of npm.
    integrity: &'a str,
    /// Where npm finds it, if not in its registry.
    resolved: Option<&'a str>,
}

/// The version of the packages. It begins with that of DuckDB.
const PACKAGE_VERSION: &str = "1.5.6-r.1";

/// The packages by system and architecture, as `std::env::consts` names them, with their checksums.
/// The Linux packages need the GNU C library.
const PACKAGES: [(&str, &str, &str, &str); 4] = [
    (
        "linux",
        "x86_64",
        "@duckdb/node-bindings-linux-x64",
        "sha512-IXcrZJE6kEqM0Z4wwdVnGBHX/frOS33VPNAwDXQ/Q+Fs84b058Qe94chrCCIcNJlG8Y3UHIUU4eBeCQxW5mN1Q==",
    ),
    (
        "linux",
        "aarch64",
        "@duckdb/node-bindings-linux-arm64",
        "sha512-3jnUaDil1BrF/6vAZwVaInJ1xoBaWGHB4PDiUnzJWKCo8a8TLx9j7/gPyPl/UGRBftrYIuTihRZSfF4mWMgtWA==",
    ),
    (
        "macos",
        "aarch64",
        "@duckdb/node-bindings-darwin-arm64",
        "sha512-KFT/J/pyouuAD1jftAIfcWVRdorg+c/yVR/BJL8LJKrST+mYC4d7QSuQ+iXSYbFpHENUAeZUagXrMPtZT8Xzsg==",
    ),
    (
        "macos",
        "x86_64",
        "@duckdb/node-bindings-darwin-x64",
        "sha512-tVwUZNvdQoaPJhrh3q2e6jxm1MhahNHJQK/pvCyco46NX0mEuGzlw9i0n2MArgsyzccdCwScOK9ctbyr+3oMbQ==",
    ),
];

/// Returns the folder of the library, below `folder`. Installs it there if it is missing.
///
/// # Errors
/// There is no package for this system, npm is not installed, it cannot reach its registry, or the
/// checksum is wrong.
pub fn library(folder: &Path) -> Result<PathBuf> {
    if let Some(folder) = installed(folder) {
        return Ok(folder);
    }
    let package = package_for(std::env::consts::OS, std::env::consts::ARCH)?;
    let target = target(folder);
    eprintln!(
        "Installing DuckDB {VERSION}: npm package `{}`, about 25 MB",
        package.name
    );
    install(&package, folder, &target)?;
    ensure!(
        target.join(FILE_NAME).is_file(),
        "the npm package `{}` does not contain `{FILE_NAME}`",
        package.name
    );
    Ok(target)
}

/// The folder of a library that was installed before.
pub fn installed(folder: &Path) -> Option<PathBuf> {
    // It appears only when it is complete.
    Some(target(folder)).filter(|target| target.join(FILE_NAME).is_file())
}

fn target(folder: &Path) -> PathBuf {
    folder.join(format!("{VERSION}-{}", std::env::consts::ARCH))
}

fn package_for(system: &str, architecture: &str) -> Result<Package<'static>> {
    let found = PACKAGES
        .iter()
        .find(|package| (package.0, package.1) == (system, architecture));
    match found {
        Some((_, _, name, integrity)) if !cfg!(target_env = "musl") => Ok(Package {
            name,
            version: PACKAGE_VERSION,
            integrity,
            resolved: None,
        }),
        _ => bail!("DuckDB has no npm package for this system ({system}, {architecture})"),
    }
}

/// Installs a package as the folder `target`, in one step. `folder` is its parent.
fn install(package: &Package<'_>, folder: &Path, target: &Path) -> Result<()> {
    let project = folder.join(format!(".install-{}", std::process::id()));
    let result = install_in(package, &project, target);
    // What remains is a download that failed, or an empty project.
    let _ = fs::remove_dir_all(&project);
    result
}

fn install_in(package: &Package<'_>, project: &Path, target: &Path) -> Result<()> {
    let Package {
        name,
        version,
        integrity,
        resolved,
    } = package;
    let manifest = json!({ "private": true, "dependencies": { *name: version } });
    let mut locked = json!({ "version": version, "integrity": integrity });
    if let Some(resolved) = resolved {
        locked["resolved"] = json!(resolved);
    }
    let place = format!("node_modules/{name}");
    let lock = json!({
        "lockfileVersion": 3,
        "requires": true,
        "packages": { "": { "dependencies": { *name: version } }, place.clone(): locked },
    });
    fs::create_dir_all(project)
        .and_then(|()| fs::write(project.join("package.json"), manifest.to_string()))
        .and_then(|()| fs::write(project.join("package-lock.json"), lock.to_string()))
        .with_context(|| format!("cannot write to `{}`", project.display()))?;
    let output = Command::new("npm")
        .args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ])
        // Without a network, the build from source should start soon.
        .args(["--fetch-retries=1", "--fetch-timeout=60000"])
        .current_dir(project)
        .stdin(Stdio::null())
        .output()
        .context("npm does not start; install Node.js with npm")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let reason: Vec<_> = text
            .lines()
            .map(|line| line.trim_start_matches("npm error "))
            .take(2)
            .collect();
        bail!("npm cannot install `{name}`: {}", reason.join(", "));
    }
    if target.exists() {
        fs::remove_dir_all(target)
            .with_context(|| format!("cannot remove `{}`", target.display()))?;
    }
    fs::rename(project.join(place), target)
        .with_context(|| format!("cannot create `{}`", target.display()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;
    use crate::prerequisites::can_start;

    #[test]
    fn the_packages_have_the_version_of_duckdb_and_other_systems_have_none() {
        assert!(PACKAGE_VERSION.starts_with(&format!("{VERSION}-")));
        for (system, architecture, name, integrity) in PACKAGES {
            assert_eq!(package_for(system, architecture).unwrap().name, name);
            // 512 bits in base64.
            assert_eq!(
                integrity.strip_prefix("sha512-").unwrap().len(),
                88,
                "{name}"
            );
        }
        let error = package_for("freebsd", "x86_64").err().unwrap();
        assert!(error.to_string().contains("freebsd"), "{error}");
    }

    /// Serves a file over HTTP until the process ends, like a mirror.
    fn serve(file: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/lib-x-1.0.0.tgz", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut connection in listener.incoming().flatten() {
                let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
                while lines
                    .next()
                    .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
                {}
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    file.len()
                );
                // A client that closes early is not an error of the test.
                let _ = connection.write_all(head.as_bytes());
                let _ = connection.write_all(&file);
            }
        });
        url
    }

    #[test]
    fn a_package_with_another_checksum_is_rejected_and_leaves_nothing() {
        if !can_start("npm") {
            eprintln!("skipped: npm is not installed");
            return;
        }
        let folder =
            std::env::temp_dir().join(format!("session-pipeline-npm-{}", std::process::id()));
        let source = folder.join("source");
        fs::create_dir_all(&source).unwrap();
        fs::write(
            source.join("package.json"),
            r#"{"name":"lib-x","version":"1.0.0"}"#,
        )
        .unwrap();
        fs::write(source.join(FILE_NAME), "library").unwrap();
        let packed = Command::new("npm")
            .args(["pack", "--json"])
            .current_dir(&source)
            .output()
            .unwrap();
        let packed: serde_json::Value = serde_json::from_slice(&packed.stdout).unwrap();
        let integrity = packed[0]["integrity"].as_str().unwrap();
        let tarball = fs::read(source.join("lib-x-1.0.0.tgz")).unwrap();
        let url = serve(tarball);

        let target = folder.join("installed");
        let package = |integrity| Package {
            name: "lib-x",
            version: "1.0.0",
            integrity,
            resolved: Some(&url),
        };
        // Not the checksum of another package, which npm could take from its cache.
        let digest = integrity.strip_prefix("sha512-").unwrap();
        let first = if digest.starts_with('A') { "B" } else { "A" };
        let wrong = format!("sha512-{first}{}", &digest[1..]);
        let error = install(&package(&wrong), &folder, &target)
            .unwrap_err()
            .to_string();
        assert!(error.contains("EINTEGRITY"), "{error}");
        let names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["source"]);

        install(&package(integrity), &folder, &target).unwrap();
        assert_eq!(
            fs::read_to_string(target.join(FILE_NAME)).unwrap(),
            "library"
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
