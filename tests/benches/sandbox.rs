//! Lines 1 and 2: the sandboxed `usage` against the same code native, and against MD5 of the same
//! bytes. It also prints the cost of confining the thread.
//!
//! `cargo xtask bench sandbox -- FOLDER` measures over a sessions root; without one over the
//! examples that ship. CPU time of one thread, in alternating rounds.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use md5::{Digest, Md5};
use rustix::time::{ClockId, clock_gettime};
use session_pipeline_harness::measure::{BenchSessions, Measurement};
use session_pipeline_host::clock::{SystemClock, UtcMicros};
use session_pipeline_host::content::Snapshot;
use session_pipeline_host::processor::SessionInfo;
use session_pipeline_host::sandbox::{FileAccess, confine_thread};
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::run::Pipeline;
use session_pipeline_pipeline::shipped::ShippedProcessor;
use session_pipeline_processor::native::MemoryHost;
use session_pipeline_usage::Usage;

const ROUNDS: usize = 11;
/// Below this the files are gone over several times in a round.
const ROUND_BYTES_MIN: u64 = 40_000_000;
const LINE_BYTES_MAX: usize = 16 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let BenchSessions { root, keys, bytes } = BenchSessions::from_arguments()?;
    let repeats = ROUND_BYTES_MIN.div_ceil(bytes.max(1));
    println!(
        "{} files, {:.1} MB, {repeats} times a round",
        keys.len(),
        bytes as f64 / 1e6
    );

    let data_dir = tempfile::tempdir()?;
    let mut config = Config::new(data_dir.path());
    config.workers = 1;
    let registry = Registry::new([ShippedProcessor {
        name: "usage",
        component: session_pipeline_bundle::USAGE,
    }]);
    let pipeline = Pipeline::open(config, Arc::new(SystemClock::default()), registry)?;
    let processor = pipeline.processor("usage")?;
    let contents: Vec<(String, Vec<u8>)> = keys
        .iter()
        .map(|key| Ok((key.clone(), std::fs::read(root.path().join(key))?)))
        .collect::<Result<_, std::io::Error>>()?;

    let megabytes = (bytes * repeats) as f64 / 1e6;
    let rate = |took: Duration| megabytes / took.as_secs_f64();
    let (mut native, mut md5, mut reading, mut sandboxed, mut guest, mut confined) = (
        Measurement::default(),
        Measurement::default(),
        Measurement::default(),
        Measurement::default(),
        Measurement::default(),
        Measurement::default(),
    );
    for _ in 0..ROUNDS {
        let native_took = cpu(|| {
            for _ in 0..repeats {
                for (key, content) in &contents {
                    let info = session_pipeline_processor::SessionInfo::new(key.as_str());
                    let summary = MemoryHost::new(content.as_slice()).run::<Usage>(&info);
                    assert!(summary.is_ok(), "{key}: {summary:?}");
                }
            }
        });
        let md5_took = cpu(|| {
            for _ in 0..repeats {
                for (_, content) in &contents {
                    std::hint::black_box(Md5::digest(content));
                }
            }
        });
        let reading_took = cpu(|| {
            for _ in 0..repeats {
                for key in &keys {
                    let mut snapshot = Snapshot::open(&root, key, UtcMicros(0), LINE_BYTES_MAX)
                        .expect("it is there");
                    snapshot.finish().expect("it can be read");
                }
            }
        });
        let whole = || {
            for _ in 0..repeats {
                for key in &keys {
                    let snapshot = Snapshot::open(&root, key, UtcMicros(0), LINE_BYTES_MAX)
                        .expect("it is there");
                    let directory = key.split('/').next().unwrap_or_default().to_owned();
                    let info = SessionInfo {
                        key: key.clone(),
                        username: directory.clone(),
                        directory,
                        user_id: None,
                    };
                    let execution = processor.process(&info, snapshot);
                    assert!(
                        execution.outcome.is_ok(),
                        "{key}: {:?}",
                        execution.outcome.err()
                    );
                }
            }
        };
        let whole_took = cpu(whole);
        let confined_took = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let reach = FileAccess {
                    sessions: Some(root.folder()),
                    ..FileAccess::default()
                };
                confine_thread(reach).expect("what the kernel has can be used");
                cpu(whole)
            });
            thread.join().expect("no panic")
        });
        native.add(rate(native_took));
        md5.add(rate(md5_took));
        reading.add(rate(reading_took));
        sandboxed.add(rate(whole_took));
        confined.add(rate(confined_took));
        // What is left of a session once it is read and hashed: instance, guest, host calls.
        guest.add(rate(whole_took.saturating_sub(reading_took)));
    }
    println!("native usage              {native} MB/s");
    println!("MD5                       {md5} MB/s");
    println!("read and MD5              {reading} MB/s");
    println!("sandboxed, read and MD5   {sandboxed} MB/s");
    println!("the same, confined        {confined} MB/s");
    println!("sandboxed alone           {guest} MB/s");
    println!(
        "line 1: sandboxed / native  {}   must be 0.50, goal 0.60",
        guest.ratio_to(&native)
    );
    println!(
        "line 2: sandboxed / MD5     {}   must be 0.90, goal 2.0",
        guest.ratio_to(&md5)
    );
    println!(
        "confined / not confined     {}",
        confined.ratio_to(&sandboxed)
    );
    Ok(())
}

/// CPU time of this thread.
fn cpu(work: impl FnOnce()) -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(
            time.tv_sec.try_into().unwrap_or(0),
            time.tv_nsec.try_into().unwrap_or(0),
        )
    };
    let before = now();
    work();
    now().saturating_sub(before)
}
