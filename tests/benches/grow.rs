//! Line 8 of `docs/performance.md`: a session of 50 MB that an agent is writing grows by 1 KB. Measures
//! the run that records it, and compares it with reading and hashing 50 MB.
//!
//! `cargo xtask bench grow -- MB` uses a session of MB megabytes. The default is 50.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use md5::{Digest, Md5};
use session_pipeline_bundle::USAGE;
use session_pipeline_harness::Transcript;
use session_pipeline_harness::measure::Measurement;
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
    // A server is running anyway.
    let config = Config::new(folder.path());
    let registry = Registry::new([ShippedProcessor::new("usage", USAGE)]);
    let pipeline = Pipeline::open(config, Arc::new(SystemClock::default()), registry)?;
    let run = || -> Result<f64, Box<dyn Error>> {
        let started = Instant::now();
        let report = pipeline.run("usage", &RunRequest::cli(), &())?;
        match report.stats.processed {
            1 => Ok(started.elapsed().as_secs_f64()),
            count => Err(format!("the run processed {count} sessions").into()),
        }
    };
    run()?;
    grow()?;
    println!("whole session              {:.3} s", run()?);
    let (mut ticks, mut reads) = (Measurement::default(), Measurement::default());
    for _ in 0..ROUNDS {
        grow()?;
        ticks.add(run()?);
        reads.add(read_and_hash(&session)?);
    }
    println!("tick that records 1 KB     {ticks} s");
    println!("read + MD5                 {reads} s");
    println!(
        "line 8: tick / read + MD5  {}   required at most 1.2",
        ticks.ratio_to(&reads)
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
