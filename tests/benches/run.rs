//! Lines 3 and 10 of `docs/performance.md`: measures the first run over new sessions, as a whole
//! process with a new database. It reads, hashes, processes in the sandbox, and commits. Line 3
//! compares its CPU time on one core with that of `ccusage`, which only reads. Line 10 compares two
//! workers with one.
//!
//! Arguments after `cargo xtask bench run --`:
//!
//! - `N`: megabytes of transcripts. The default is 350.
//! - `--ccusage=PATH`: the `ccusage` program, if it is not on the path
//! - `--like=FOLDER`: copies the transcripts in this folder instead of generating them

#[path = "data/transcripts.rs"]
mod transcripts;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use session_pipeline_harness::measure::{ChildCost, Measurement, run_child, version_of};
use session_pipeline_harness::program;

const ROUNDS: usize = 5;
const DEFAULT_MEGABYTES: usize = 350;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        arguments
            .iter()
            .find_map(|argument| argument.strip_prefix(name))
    };
    let megabytes = arguments
        .iter()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(DEFAULT_MEGABYTES);
    let like = option("--like=").map(Path::new);
    let ccusage = option("--ccusage=").unwrap_or("ccusage");

    let scratch = tempfile::tempdir()?;
    let root = scratch.path().join("agent/projects");
    transcripts::write(&root, like, megabytes * 1_000_000)?;
    println!("{megabytes} MB of transcripts; {}", version_of(ccusage));
    let run = |workers: usize| first_run(scratch.path(), &root, workers);
    let other = || {
        let mut command = Command::new(ccusage);
        command
            .args(["claude", "daily", "--offline", "--json", "-z", "UTC"])
            .env("CLAUDE_CONFIG_DIR", scratch.path().join("agent"));
        run_child(&mut command)
    };

    let all = sched_getaffinity(None)?;
    let (mut own_cpu, mut other_cpu) = (Measurement::default(), Measurement::default());
    on_one_core(&all)?;
    for _ in 0..ROUNDS {
        own_cpu.add(run(1)?.cpu.as_secs_f64());
        match other() {
            Ok(cost) => other_cpu.add(cost.cpu.as_secs_f64()),
            Err(error) => println!("`{ccusage}` did not run: {error}"),
        }
    }
    sched_setaffinity(None, &all)?;
    println!("run, CPU on one core      {own_cpu} s");
    println!("ccusage, CPU on one core  {other_cpu} s");
    println!(
        "line 3: ccusage / run  {}   required 0.55, goal 1.0",
        other_cpu.ratio_to(&own_cpu)
    );

    let (mut one, mut two, mut others) = (
        Measurement::default(),
        Measurement::default(),
        Measurement::default(),
    );
    for _ in 0..ROUNDS {
        one.add(run(1)?.wall.as_secs_f64());
        two.add(run(2)?.wall.as_secs_f64());
        if let Ok(cost) = other() {
            others.add(cost.wall.as_secs_f64());
        }
    }
    println!("run, one worker           {one} s");
    println!("run, two workers          {two} s");
    println!("ccusage, all cores        {others} s");
    println!(
        "line 10: one worker / two  {}   required 1.6, goal 1.9",
        one.ratio_to(&two)
    );
    Ok(())
}

/// Restricts this process and the programs that it starts to one of these cores.
fn on_one_core(all: &CpuSet) -> Result<(), Box<dyn Error>> {
    let last = (0..CpuSet::MAX_CPU).rev().find(|core| all.is_set(*core));
    let mut one = CpuSet::new();
    one.set(last.ok_or("this process has no core")?);
    Ok(sched_setaffinity(None, &one)?)
}

/// Runs `usage` with a new database.
fn first_run(scratch: &Path, root: &Path, workers: usize) -> Result<ChildCost, Box<dyn Error>> {
    let data_dir = scratch.join("data");
    if data_dir.exists() {
        fs::remove_dir_all(&data_dir)?;
    }
    fs::create_dir_all(&data_dir)?;
    fs::write(
        data_dir.join("config.toml"),
        format!("workers = {workers}\n"),
    )?;
    let mut command = Command::new(program::path());
    command
        .arg("--data-dir")
        .arg(&data_dir)
        .arg("--sessions")
        .arg(root)
        .args(["run", "usage"]);
    let cost = run_child(&mut command)?;
    if cost.cpu == Duration::ZERO {
        return Err("this system does not report the CPU time of a program".into());
    }
    Ok(cost)
}
