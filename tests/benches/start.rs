//! Line 11 of `docs/performance.md`: compares the start of `status` and `report` with a process that
//! only opens the database, and measures the first run with a new data directory.
//!
//! `cargo xtask bench start -- N` uses a database with N sessions. The default is 20,000.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

use duckdb::Connection;
use session_pipeline_harness::measure::{Measurement, run_child};
use session_pipeline_harness::program;
use session_pipeline_pipeline::config::Config;

const ROUNDS: usize = 9;
const FILES_PER_FOLDER: usize = 100;
/// The argument with which this program is the yardstick.
const OPEN: &str = "open";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, data_dir] = arguments.as_slice()
        && command == OPEN
    {
        return open(Path::new(data_dir));
    }
    let sessions = arguments
        .iter()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(20_000_usize);
    let folder = tempfile::tempdir()?;
    let (many, one) = (folder.path().join("many"), folder.path().join("one"));
    write_sessions(&many, sessions)?;
    write_sessions(&one, 1)?;
    let data_dir = folder.path().join("data");
    let command = |data_dir: &Path, sessions: &Path, arguments: &[&str]| {
        let mut command = Command::new(program::path());
        command.arg("--data-dir").arg(data_dir);
        command.arg("--sessions").arg(sessions).args(arguments);
        command
    };
    // `status` fails if a processor has never run.
    for processor in ["usage", "verification"] {
        run_child(&mut command(&data_dir, &many, &["run", processor]))?;
    }

    let mut opening = Command::new(std::env::current_exe()?);
    opening.arg(OPEN).arg(&data_dir);
    let [mut opens, mut statuses, mut reports, mut firsts] =
        [(); 4].map(|()| Measurement::default());
    for round in 0..ROUNDS {
        opens.add(run_child(&mut opening)?.wall.as_secs_f64());
        let mut status = command(&data_dir, &many, &["status"]);
        statuses.add(run_child(&mut status)?.wall.as_secs_f64());
        let mut report = command(&data_dir, &many, &["report", "usage"]);
        reports.add(run_child(&mut report)?.wall.as_secs_f64());
        let new = folder.path().join(format!("new-{round}"));
        firsts.add(
            run_child(&mut command(&new, &one, &["run", "usage"]))?
                .wall
                .as_secs_f64(),
        );
    }
    println!("open and select 1         {opens} s");
    println!("status                    {statuses} s");
    println!("report usage              {reports} s");
    println!("first run, one session    {firsts} s");
    println!(
        "line 11: status / open      {}   required at most 3, goal 1.5, with a million sessions",
        statuses.ratio_to(&opens)
    );
    println!("line 11: report / open      {}", reports.ratio_to(&opens));
    println!("line 11: first run / open   {}", firsts.ratio_to(&opens));
    Ok(())
}

/// Opens the database with the settings of the program, and selects 1.
fn open(data_dir: &Path) -> Result<(), Box<dyn Error>> {
    let options = Config::new(data_dir).store_options();
    let settings = session_pipeline_store::settings(&options, options.memory_bytes)?;
    let path = options.state_dir().join("system.duckdb");
    let connection = Connection::open_with_flags(path, settings)?;
    connection.query_row("SELECT 1", [], |row| row.get::<_, i32>(0))?;
    Ok(())
}

fn write_sessions(root: &Path, sessions: usize) -> std::io::Result<()> {
    for user in 0..sessions.div_ceil(FILES_PER_FOLDER) {
        let folder = root.join(format!("-home-user-{user:06}-project"));
        fs::create_dir_all(&folder)?;
        for file in 0..FILES_PER_FOLDER.min(sessions - user * FILES_PER_FOLDER) {
            let name = format!("{user:08x}-0000-4000-8000-{file:012x}.jsonl");
            fs::write(folder.join(name), "{}\n")?;
        }
    }
    Ok(())
}
