//! Lines 7 and 12 of `docs/performance.md`: measures the rate for many new small sessions, and the
//! peak memory for one gigabyte of sessions. Each measurement includes process start and uses a new
//! database.
//!
//! `cargo xtask bench backfill -- FOLDER` builds the gigabyte from copies of that sessions root.
//! The default is the shipped examples.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use session_pipeline_harness::measure::{
    BenchSessions, Measurement, run_child, run_child_tracking_memory,
};
use session_pipeline_harness::program;

const ROUNDS: usize = 3;
const SMALL_SESSIONS: usize = 20_000;
/// Rows per small session: its messages, and one row for the session itself.
const ROWS: usize = 20;
const LARGE_BYTES: u64 = 1_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let program = program::path();
    small_sessions(&program)?;
    large_data(&program)
}

fn small_sessions(program: &Path) -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let root = scratch.path().join("sessions");
    let mut bytes = 0;
    for session in 0..SMALL_SESSIONS {
        let user_dir = root.join(format!("user{:03}", session / 100));
        fs::create_dir_all(&user_dir)?;
        let mut text = String::new();
        for message in 1..ROWS {
            writeln!(
                text,
                r#"{{"type":"assistant","message":{{"id":"{session}-{message}","usage":{{"input_tokens":7,"output_tokens":9}}}}}}"#
            )?;
        }
        bytes += text.len();
        fs::write(user_dir.join(format!("{session:08}.jsonl")), text)?;
    }
    println!(
        "{SMALL_SESSIONS} new sessions of {} bytes and {ROWS} rows",
        bytes / SMALL_SESSIONS
    );
    let mut rates = Measurement::default();
    for round in 0..ROUNDS {
        let mut run = Command::new(program);
        run.arg("--data-dir")
            .arg(scratch.path().join(format!("data{round}")))
            .arg("--sessions")
            .arg(&root)
            .args(["run", "usage"]);
        rates.add(SMALL_SESSIONS as f64 / run_child(&mut run)?.wall.as_secs_f64());
    }
    println!("line 7: {rates} sessions/s   required 2,000, goal 6,000");
    Ok(())
}

fn large_data(program: &Path) -> Result<(), Box<dyn Error>> {
    let BenchSessions { root, keys, bytes } = BenchSessions::from_arguments()?;
    let copies = LARGE_BYTES.div_ceil(bytes.max(1));
    let scratch = tempfile::tempdir()?;
    let copies_root = scratch.path().join("sessions");
    for copy in 0..copies {
        for key in &keys {
            let to = copies_root.join(format!("copy{copy}")).join(key);
            fs::create_dir_all(to.parent().ok_or("a key without a folder")?)?;
            fs::copy(root.path().join(key), to)?;
        }
    }
    let mut run = Command::new(program);
    run.arg("--data-dir")
        .arg(scratch.path().join("data"))
        .arg("--sessions")
        .arg(&copies_root)
        .args(["run", "usage"]);
    let cost = run_child_tracking_memory(&mut run)?;
    let megabytes = (bytes * copies) as f64 / 1e6;
    let seconds = cost.wall.as_secs_f64();
    println!(
        "{} sessions, {megabytes:.0} MB in {seconds:.1} s: {:.0} MB/s",
        keys.len() as u64 * copies,
        megabytes / seconds
    );
    println!(
        "line 12: peak memory {:.0} MB   required at most 300 MB plus 64 MB per worker",
        cost.peak_memory as f64 / 1e6
    );
    Ok(())
}
