//! Lines 1 and 2 of `docs/performance.md`: compares the sandboxed `usage` processor with the same
//! code as native code, and with MD5 of the same bytes. It also prints the cost of confining the
//! thread.
//!
//! `cargo xtask bench sandbox -- FOLDER` uses that sessions root. The default is the shipped
//! examples. The benchmark measures the CPU time of one thread, in alternating rounds.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use md5::{Digest, Md5};
use rustix::time::{ClockId, clock_gettime};
use session_pipeline_harness::measure::{BenchSessions, Measurement};
use session_pipeline_host::clock::{SystemClock, UtcMicros};
use session_pipeline_host::content::Snapshot;
use session_pipeline_host::limits::Limits;
use session_pipeline_host::processor::SessionInfo;
use session_pipeline_host::sandbox::{FileAccess, confine_thread};
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::run::Pipeline;
use session_pipeline_pipeline::shipped::ShippedProcessor;
use session_pipeline_processor::native::MemoryHost;
use session_pipeline_usage::Usage;

const ROUNDS: usize = 11;
/// Minimum number of bytes per round. Smaller inputs are processed several times.
const ROUND_BYTES_MIN: u64 = 40_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let BenchSessions { root, keys, bytes } = BenchSessions::from_arguments()?;
    let repeats = ROUND_BYTES_MIN.div_ceil(bytes.max(1));
    println!(
        "{} files, {:.1} MB, {repeats} times per round",
        keys.len(),
        bytes as f64 / 1e6
    );

    let data_dir = tempfile::tempdir()?;
    let mut config = Config::new(data_dir.path());
    config.workers = 1;
    let registry = Registry::new([ShippedProcessor::new(
        "usage",
        session_pipeline_bundle::USAGE,
    )]);
    let pipeline = Pipeline::open(config, Arc::new(SystemClock::default()), registry)?;
    let processor = pipeline.processor("usage")?;
    let contents: Vec<(String, Vec<u8>)> = keys
        .iter()
        .map(|key| Ok((key.clone(), std::fs::read(root.path().join(key))?)))
        .collect::<Result<_, std::io::Error>>()?;

    let megabytes = (bytes * repeats) as f64 / 1e6;
    let rate = |time: Duration| megabytes / time.as_secs_f64();
    let (mut native, mut md5, mut reading, mut sandboxed, mut guest, mut confined) = (
        Measurement::default(),
        Measurement::default(),
        Measurement::default(),
        Measurement::default(),
        Measurement::default(),
        Measurement::default(),
    );
    for _ in 0..ROUNDS {
        let native_time = cpu(|| {
            for _ in 0..repeats {
                for (key, content) in &contents {
                    let info = session_pipeline_processor::SessionInfo::new(key.as_str());
                    let summary = MemoryHost::new(content.as_slice()).run::<Usage>(&info);
                    assert!(summary.is_ok(), "{key}: {summary:?}");
                }
            }
        });
        let md5_time = cpu(|| {
            for _ in 0..repeats {
                for (_, content) in &contents {
                    std::hint::black_box(Md5::digest(content));
                }
            }
        });
        let reading_time = cpu(|| {
            for _ in 0..repeats {
                for key in &keys {
                    let mut snapshot = Snapshot::open(&root, key, UtcMicros(0), &Limits::default())
                        .expect("the session exists");
                    snapshot.finish().expect("the session is readable");
                }
            }
        });
        let process_all = || {
            for _ in 0..repeats {
                for key in &keys {
                    let snapshot = Snapshot::open(&root, key, UtcMicros(0), &Limits::default())
                        .expect("the session exists");
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
        let sandboxed_time = cpu(process_all);
        let confined_time = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let access = FileAccess {
                    sessions: Some(root.folder()),
                    ..FileAccess::default()
                };
                confine_thread(access).expect("the kernel supports confinement");
                cpu(process_all)
            });
            thread.join().expect("the thread did not panic")
        });
        native.add(rate(native_time));
        md5.add(rate(md5_time));
        reading.add(rate(reading_time));
        sandboxed.add(rate(sandboxed_time));
        confined.add(rate(confined_time));
        // The rest after reading and hashing: instantiation, guest code and host calls.
        guest.add(rate(sandboxed_time.saturating_sub(reading_time)));
    }
    println!("native usage              {native} MB/s");
    println!("MD5                       {md5} MB/s");
    println!("read and MD5              {reading} MB/s");
    println!("sandboxed, read and MD5   {sandboxed} MB/s");
    println!("sandboxed, confined       {confined} MB/s");
    println!("sandboxed alone           {guest} MB/s");
    println!(
        "line 1: sandboxed / native  {}   required 0.50, goal 0.60",
        guest.ratio_to(&native)
    );
    println!(
        "line 2: sandboxed / MD5     {}   required 0.90, goal 2.0",
        guest.ratio_to(&md5)
    );
    println!(
        "confined / not confined     {}",
        confined.ratio_to(&sandboxed)
    );
    Ok(())
}

/// Returns the CPU time that this thread uses for `work`.
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
