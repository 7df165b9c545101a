//! `cargo xtask check tidy`: layout rules that the compiler does not check.
//!
//! The rules apply to all files that git tracks or would add. Each rule is a function of paths and
//! texts. Only [`files`] and [`findings`] access the file system.

mod contract;
mod cycles;
mod parity;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::check::Finding;

/// The text files of the project, by path relative to the root, with `/` as the separator.
type TextFiles = BTreeMap<String, String>;

/// All files that git tracks or would add, relative to the root.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("cannot start git to list the files of this project")?;
    ensure!(
        output.status.success(),
        "git cannot list the files: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let paths = names.split_terminator('\0').map(PathBuf::from);
    // git still lists a deleted file until the deletion is committed.
    Ok(paths.filter(|path| root.join(path).is_file()).collect())
}

pub fn findings(root: &Path) -> Result<Vec<Finding>> {
    let mut texts = TextFiles::new();
    for path in files(root)? {
        let bytes = fs::read(root.join(&path))
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        // The rules apply only to text files, not to databases or components.
        if let Ok(text) = String::from_utf8(bytes) {
            texts.insert(path.to_string_lossy().replace('\\', "/"), text);
        }
    }
    Ok(check_texts(&texts))
}

fn check_texts(texts: &TextFiles) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in texts {
        findings.extend(forbidden_name(path));
        findings.extend(machine_path(path, text));
        if path.ends_with(".rs") {
            findings.extend(missing_module_docs(path, text));
            findings.extend(sql_out_of_place(path, text));
            findings.extend(second_opener(path, text));
        }
    }
    findings.extend(unlisted_migrations(texts));
    findings.extend(untested_faulty_guests(texts));
    findings.extend(parity::findings(texts));
    findings.extend(contract::findings(texts));
    findings.extend(cycles::findings(texts));
    findings
}

fn forbidden_name(path: &str) -> Option<Finding> {
    let stems = path.split('/').filter_map(|part| part.split('.').next());
    let forbidden = ["utils", "helpers", "common", "misc", "manager"];
    let name = stems.into_iter().find(|stem| forbidden.contains(stem));
    let reason = match name {
        Some(name) => format!("the name `{name}` does not describe the contents"),
        None if path.ends_with("/mod.rs") => {
            "many files named `mod.rs` are hard to tell apart".to_owned()
        }
        None => return None,
    };
    let help = match name {
        Some(_) => "name it after its subject",
        None => "name it after its module, and put it next to the folder",
    };
    Some(Finding {
        place: path.to_owned(),
        reason,
        help: help.to_owned(),
    })
}

fn missing_module_docs(path: &str, text: &str) -> Option<Finding> {
    if text.starts_with("//!") || text.starts_with("// @generated") {
        return None;
    }
    Some(Finding {
        place: path.to_owned(),
        reason: "the file does not start with `//!`".to_owned(),
        help: "describe the purpose of the module".to_owned(),
    })
}

fn machine_path(path: &str, text: &str) -> Option<Finding> {
    let found = ["/root", "/work"]
        .map(|dir| format!("{dir}/"))
        .into_iter()
        .find(|machine_path| {
            text.match_indices(machine_path.as_str()).any(|(at, _)| {
                // Ignore a folder of this name inside another path.
                let before = text[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-~*})".contains(c))
            })
        })?;
    Some(Finding {
        place: path.to_owned(),
        reason: format!("contains `{found}`, a path of a specific machine"),
        help: "use a path within the project, or an example such as `/home/dev`".to_owned(),
    })
}

/// Finds strings that begin like an SQL statement. This is a heuristic, not a parser.
fn sql_out_of_place(path: &str, text: &str) -> Option<Finding> {
    let allowed = [
        "runtime/store/src/",
        "runtime/pipeline/src/report",
        "runtime/pipeline/src/knowledge",
        "migrations/",
        "xtask/",
    ];
    let is_source = path.contains("src/") && !path.ends_with("tests.rs");
    if !is_source || allowed.iter().any(|prefix| path.starts_with(prefix)) {
        return None;
    }
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let keywords = [
        "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "ATTACH", "COPY",
    ];
    let keyword = keywords.into_iter().find(|keyword| {
        code.match_indices(keyword).any(|(at, _)| {
            let opens_string = code[..at]
                .trim_end_matches(['\\', '\n', ' ', '\t'])
                .ends_with('"');
            opens_string && code[at + keyword.len()..].starts_with([' ', '\n', '\\'])
        })
    })?;
    Some(Finding {
        place: path.to_owned(),
        reason: format!("a string begins with {keyword}, like an SQL statement"),
        help: "move the SQL to runtime/store, to report or knowledge in runtime/pipeline, or to migrations"
            .to_owned(),
    })
}

/// If a process opens the database file a second time and closes that handle, it loses DuckDB's
/// lock.
fn second_opener(path: &str, text: &str) -> Option<Finding> {
    let is_program = path.starts_with("runtime/") || path.starts_with("api/src/");
    if !is_program || path == "runtime/store/src/open.rs" {
        return None;
    }
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let found = ["Connection::open", "\"system.duckdb"]
        .into_iter()
        .find(|found| code.contains(found))?;
    Some(Finding {
        place: path.to_owned(),
        reason: format!("contains `{found}`, so it probably opens the database file"),
        help: "clone the connection of runtime/store/src/open.rs, which opens the file once"
            .to_owned(),
    })
}

fn unlisted_migrations(texts: &TextFiles) -> Vec<Finding> {
    let list: String = texts_below(texts, "migrations/src/")
        .map(|(_, text)| text)
        .collect();
    texts_below(texts, "migrations/sql/")
        .filter(|(path, _)| path.ends_with(".sql"))
        // Require the closing quote, because a name in prose is not an entry of the list.
        .filter(|(path, _)| {
            !list.contains(&format!("{}\"", path.trim_start_matches("migrations/sql/")))
        })
        .map(|(path, _)| Finding {
            place: path.clone(),
            reason: "no list in migrations/src contains this migration".to_owned(),
            help: "add it to the list, or delete the file if it was never released".to_owned(),
        })
        .collect()
}

fn untested_faulty_guests(texts: &TextFiles) -> Vec<Finding> {
    let tests: String = texts_below(texts, "tests/suite/")
        .map(|(_, text)| text)
        .collect();
    texts_below(texts, "processors-wasm/faulty/")
        .filter_map(|(path, _)| Some((path, faulty_guest(path)?)))
        .filter(|(_, guest)| !tests.contains(guest) && !tests.contains(&guest.replace('_', "-")))
        .map(|(path, guest)| Finding {
            place: path.clone(),
            reason: format!("no test in tests/suite names the guest `{guest}`"),
            help: "add a test that shows the effect of this fault".to_owned(),
        })
        .collect()
}

/// The name of a faulty guest, which is the name of its source file.
fn faulty_guest(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("processors-wasm/faulty/")?;
    let file = rest
        .strip_prefix("examples/")
        .or_else(|| rest.strip_prefix("src/bin/"))?;
    file.strip_suffix(".rs").filter(|name| !name.contains('/'))
}

fn texts_below<'a>(
    texts: &'a TextFiles,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a String, &'a str)> {
    let below = texts
        .iter()
        .filter(move |(path, _)| path.starts_with(prefix));
    below.map(|(path, text)| (path, text.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places of the findings in these files.
    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let texts = files
            .iter()
            .map(|&(path, text)| (path.into(), text.into()))
            .collect();
        check_texts(&texts)
            .into_iter()
            .map(|finding| finding.place)
            .collect()
    }

    #[test]
    fn a_source_file_starts_with_module_docs() {
        assert!(check(&[("runtime/pipeline/src/scan.rs", "//! What is on disk.\n")]).is_empty());
        assert!(check(&[("runtime/host/src/bindings.rs", "// @generated\n")]).is_empty());
        assert_eq!(
            check(&[("runtime/pipeline/src/scan.rs", "use std::fs;\n")]),
            ["runtime/pipeline/src/scan.rs"]
        );
    }

    #[test]
    fn generic_file_names_are_found() {
        assert_eq!(
            check(&[("api/src/utils.rs", "//! x")]),
            ["api/src/utils.rs"]
        );
        assert_eq!(
            check(&[("api/src/common/a.rs", "//! x")]),
            ["api/src/common/a.rs"]
        );
        assert_eq!(
            check(&[("api/src/http/mod.rs", "//! x")]),
            ["api/src/http/mod.rs"]
        );
        assert!(check(&[("api/src/commonplace.rs", "//! x")]).is_empty());
    }

    #[test]
    fn every_migration_is_listed() {
        let sql = ("migrations/sql/0028-legacy/01-state.sql", "");
        let listed = r#"//! x include_str!("../sql/0028-legacy/01-state.sql")"#;
        assert!(check(&[sql, ("migrations/src/lib.rs", listed)]).is_empty());
        let prose = "//! 0028-legacy/01-state.sql was never listed.";
        assert_eq!(check(&[sql, ("migrations/src/lib.rs", prose)]), [sql.0]);
    }

    #[test]
    fn every_faulty_guest_is_named_in_a_test() {
        let guest = ("processors-wasm/faulty/examples/loops_forever.rs", "//! x");
        assert!(
            check(&[
                guest,
                ("tests/suite/hostile.rs", "//! faulty(\"loops-forever\")")
            ])
            .is_empty()
        );
        assert!(check(&[guest, ("tests/suite/hostile.rs", "//! loops_forever")]).is_empty());
        assert_eq!(
            check(&[guest, ("tests/suite/hostile.rs", "//! x")]),
            [guest.0]
        );
    }

    #[test]
    fn sql_is_allowed_only_in_the_listed_modules() {
        let sql = "//! x\nlet sql = \"\\\n    SELECT 1\";";
        assert_eq!(
            check(&[("api/src/cli/status.rs", sql)]),
            ["api/src/cli/status.rs"]
        );
        assert!(check(&[("runtime/store/src/state.rs", sql)]).is_empty());
        assert!(check(&[("runtime/pipeline/src/report.rs", sql)]).is_empty());
        assert!(check(&[("tests/suite/crash.rs", sql)]).is_empty());
        let prose = "//! x\n// UPDATE the list\nlet a = \"CREATED\";\n#[cfg(test)]\n\"SELECT 1\"";
        assert!(check(&[("runtime/pipeline/src/run.rs", prose)]).is_empty());
    }

    #[test]
    fn only_the_store_opens_the_database() {
        let open = "//! x\nlet connection = Connection::open(path);";
        let name = "//! x\nlet path = dir.join(\"system.duckdb\");";
        for text in [open, name] {
            let other = "runtime/pipeline/src/health/facts.rs";
            assert_eq!(check(&[(other, text)]), [other]);
            assert!(check(&[("runtime/store/src/open.rs", text)]).is_empty());
            assert!(check(&[("tests/suite/database.rs", text)]).is_empty());
        }
    }

    #[test]
    fn a_path_of_a_specific_machine_is_found() {
        let machine_path = ["/wo", "rk/main"].concat();
        let text = format!("see {machine_path}");
        assert_eq!(check(&[("README.md", text.as_str())]), ["README.md"]);
        let below = format!("see docs{machine_path}");
        assert!(check(&[("README.md", below.as_str())]).is_empty());
    }
}
