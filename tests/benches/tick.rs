//! Lines 5 and 6 of `docs/performance.md`: compares a run without new sessions, including process
//! start, with `find` over the same files.
//!
//! `cargo xtask bench tick -- N` uses N sessions. The default is 100,000.

use std::error::Error;
use std::fs;
use std::process::Command;

use session_pipeline_harness::measure::{Measurement, run_child, run_child_tracking_memory};
use session_pipeline_harness::program;

const ROUNDS: usize = 9;
const FILES_PER_FOLDER: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let sessions = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(100_000_usize);
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("sessions");
    for user in 0..sessions.div_ceil(FILES_PER_FOLDER) {
        let user_dir = root.join(format!("-home-user-{user:06}-project"));
        fs::create_dir_all(&user_dir)?;
        for file in 0..FILES_PER_FOLDER.min(sessions - user * FILES_PER_FOLDER) {
            fs::write(
                user_dir.join(format!("{user:08x}-0000-4000-8000-{file:012x}.jsonl")),
                "{}\n",
            )?;
        }
    }
    let mut run = Command::new(program::path());
    run.arg("--data-dir")
        .arg(folder.path().join("data"))
        .arg("--sessions")
        .arg(&root)
        .args(["run", "usage"]);
    let mut find = Command::new("find");
    find.arg(&root)
        .args(["-type", "f", "-name", "*.jsonl", "-printf", "%s %T@ %p\\n"]);

    let first = run_child(&mut run)?;
    println!(
        "first run: {sessions} sessions in {:.1} s",
        first.wall.as_secs_f64()
    );
    let (mut ticks, mut finds) = (Measurement::default(), Measurement::default());
    for _ in 0..ROUNDS {
        ticks.add(run_child(&mut run)?.wall.as_secs_f64());
        finds.add(run_child(&mut find)?.wall.as_secs_f64());
    }
    let memory = run_child_tracking_memory(&mut run)?.peak_memory;
    println!("run without new sessions  {ticks} s");
    println!("find                      {finds} s");
    println!(
        "line 5: run / find  {}   required at most 1.2 with a million sessions, goal 0.75",
        ticks.ratio_to(&finds)
    );
    println!("line 6: peak memory {:.0} MB", memory as f64 / 1e6);
    Ok(())
}
