//! Compares the two kinds of build: the program with DuckDB from source, and the program with a
//! prebuilt library, return the same reports for the same sessions.
//!
//! The official library has more extensions than the build from source, such as ICU, which changes
//! what DuckDB does with local times. So the reports are also compared in other time zones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::DuckDb;
use crate::run::EXAMPLE_SESSIONS;
use crate::stages::StageResult;
use crate::workspace::{Workspace, output};

/// Time zones of the environment. The default of DuckDB with ICU is that of the system.
const ZONES: [&str; 3] = ["UTC", "America/St_Johns", "Pacific/Kiritimati"];
const GROUPINGS: [&str; 9] = [
    "day", "week", "month", "hour", "session", "user", "model", "project", "source",
];

/// The program of one kind of build, with its own data directory.
struct Kind {
    program: PathBuf,
    data_dir: PathBuf,
}

/// Builds both programs, and compares their reports on the example sessions.
pub fn run(workspace: &Workspace, source: &DuckDb, library: &DuckDb) -> Result<StageResult> {
    let kinds = [("source", source), ("prebuilt", library)];
    let mut built = Vec::new();
    for (name, duckdb) in kinds {
        eprintln!("{duckdb}");
        duckdb.install(&workspace.target_dir)?;
        ensure!(
            workspace.build_program_with(duckdb)?,
            "the build with DuckDB from {name} failed"
        );
        built.push(Kind::new(workspace, name)?);
    }
    let [source, library] = built.as_slice() else {
        return Ok(StageResult::of(false));
    };
    let sessions = workspace.root.join(EXAMPLE_SESSIONS);
    for kind in [source, library] {
        kind.execute(
            &kind.data_dir,
            "UTC",
            &["--sessions", &sessions.to_string_lossy(), "run", "usage"],
        )?;
    }
    let mut is_ok = true;
    let mut count = 0;
    for zone in ZONES {
        for arguments in reports() {
            let expected = source.execute(&source.data_dir, zone, &arguments)?;
            // The rows that the other program wrote, and the same file in the other program.
            for (case, kind, data_dir) in [
                ("its own database", library, &library.data_dir),
                ("the database of the other", library, &source.data_dir),
                ("the database of the other", source, &library.data_dir),
            ] {
                count += 1;
                let found = kind.execute(data_dir, zone, &arguments)?;
                if found != expected {
                    is_ok = false;
                    println!(
                        "`{}` differs in the zone {zone}, with {case}:\n- {expected}\n+ {found}",
                        arguments.join(" ")
                    );
                }
            }
        }
    }
    println!("{count} reports of both kinds of build compared");
    Ok(StageResult::of(is_ok))
}

impl Kind {
    /// Keeps the program that was just built under another name, next to its library.
    fn new(workspace: &Workspace, name: &str) -> Result<Self> {
        let program = workspace
            .program()
            .with_file_name(format!("session-pipeline-{name}"));
        let data_dir = workspace.target_dir.join("xtask/duckdb-compare").join(name);
        if data_dir.exists() {
            fs::remove_dir_all(&data_dir)
                .with_context(|| format!("cannot empty `{}`", data_dir.display()))?;
        }
        let _ = fs::remove_file(&program);
        fs::hard_link(workspace.program(), &program)
            .or_else(|_| fs::copy(workspace.program(), &program).map(drop))
            .with_context(|| format!("cannot create `{}`", program.display()))?;
        Ok(Self { program, data_dir })
    }

    /// Runs the program and returns its standard output, without the time of the report.
    fn execute(&self, data_dir: &Path, zone: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("TZ", zone)
            .arg("--data-dir")
            .arg(data_dir)
            .args(arguments);
        let text = output(command)?;
        // The time of the report.
        let lines = text.lines().filter(|line| !line.contains("\"as_of\""));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }
}

fn reports() -> Vec<Vec<&'static str>> {
    let mut reports: Vec<_> = GROUPINGS
        .iter()
        .map(|grouping| vec!["--json", "report", "usage", "--by", grouping])
        .collect();
    reports.extend(["tools", "skills", "waste"].map(|name| vec!["--json", "report", name]));
    reports.push(vec!["report", "usage", "--csv"]);
    reports
}
