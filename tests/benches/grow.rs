//! Line 8 of `docs/performance.md`: a session of 50 MB that an agent is writing grows by 1 KB. Measures
//! the run that records it, from the start of the process to its end, and the part of it without the
//! process start. Compares both with reading and hashing 50 MB.
//!
//! `cargo xtask bench grow -- MB` uses a session of MB megabytes. The default is 50.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use md5::{Digest, Md5};
use session_pipeline_bundle::USAGE;
use session_pipeline_harness::measure::{Measurement, run_child};
use session_pipeline_harness::{Transcript, program};
use session_pipeline_host::clock::SystemClock;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::run::{Pipeline, RunRequest};
use session_pipeline_pipeline::shipped::ShippedProcessor;

const ROUNDS: usize = 9;
const READ_BYTES: usize = 256 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let megabytes = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(50_usize);
    let folder = tempfile::tempdir()?;
    let session = folder.path().join("user_sessions/ada/live.jsonl");
    if let Some(parent) = session.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut turns = 0;
    let mut file = fs::File::create(&session)?;
    let mut written = 0;
    while written < megabytes * 1_000_000 {
        let bytes = turn(turns);
        file.write_all(&bytes)?;
        written += bytes.len();
        turns += 1;
    }
    drop(file);
    println!("{turns} turns, {written} bytes");

    let mut run = Command::new(program::path());
    run.arg("--data-dir")
        .arg(folder.path())
        .args(["run", "usage"]);
    run_child(&mut run)?;
    let mut grow = || -> Result<(), Box<dyn Error>> {
        let mut file = OpenOptions::new().append(true).open(&session)?;
        turns += 1;
        let mut bytes = turn(turns);
        // One line of the turn: about a kilobyte.
        let end = bytes.iter().position(|byte| *byte == b'\n');
        bytes.truncate(end.map_or(bytes.len(), |end| end + 1));
        file.write_all(&bytes)?;
        Ok(())
    };
    // The first growth makes a checkpoint.
    grow()?;
    run_child(&mut run)?;
    let (mut processes, mut reads) = (Measurement::default(), Measurement::default());
    for _ in 0..ROUNDS {
        grow()?;
        processes.add(run_child(&mut run)?.wall.as_secs_f64());
        reads.add(read_and_hash(&session)?);
    }
    // A server is running anyway.
    let config = Config::new(folder.path());
    let registry = Registry::new([ShippedProcessor::new("usage", USAGE)]);
    let pipeline = Pipeline::open(config, Arc::new(SystemClock::default()), registry)?;
    pipeline.processor("usage")?;
    let (mut ticks, mut reads_between) = (Measurement::default(), Measurement::default());
    for _ in 0..ROUNDS {
        grow()?;
        let started = Instant::now();
        let report = pipeline.run("usage", &RunRequest::cli(), &())?;
        ticks.add(started.elapsed().as_secs_f64());
        if report.stats.processed != 1 {
            return Err(format!("the run processed {} sessions", report.stats.processed).into());
        }
        reads_between.add(read_and_hash(&session)?);
    }
    println!("process that records 1 KB  {processes} s");
    println!("tick that records 1 KB     {ticks} s");
    println!("read + MD5                 {reads_between} s");
    println!("process / read + MD5       {}", processes.ratio_to(&reads));
    println!(
        "line 8: tick / read + MD5  {}   required at most 1.2",
        ticks.ratio_to(&reads_between)
    );
    Ok(())
}

/// A prompt, an answer with a call, and its result with text of the usual length.
fn turn(number: usize) -> Vec<u8> {
    let tool_id = format!("toolu_{number:026}");
    let text = "what a tool prints, and a person reads. ".repeat(100);
    Transcript::new("live")
        .random_uuids(number as u64)
        .user("go on, and keep the tests green. ".repeat(20).as_str())
        .assistant(|message| {
            message
                .id(&format!("msg_{number:028}"))
                .model("claude-opus-4-5")
                .text(&text)
                .tokens(100, 20)
                .tool_use(
                    &tool_id,
                    "Bash",
                    serde_json::json!({ "command": "cargo test" }),
                )
        })
        .tool_result_of(&tool_id, Ok(&text))
        .bytes()
        .to_vec()
}

/// The seconds that reading and hashing take, on one thread.
fn read_and_hash(path: &Path) -> std::io::Result<f64> {
    let started = Instant::now();
    let mut file = fs::File::open(path)?;
    let mut hasher = Md5::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
    std::hint::black_box(hasher.finalize());
    Ok(started.elapsed().as_secs_f64())
}
