//! Line 14 of `docs/performance.md`: measures the latency of `/api/health` while four CPU-heavy
//! runs are in progress, and compares it with an idle server.
//!
//! `cargo xtask bench service -- N` uses N sessions. The default is 100. Two of the guests loop
//! until they are stopped, so each of their sessions uses a core for a tenth of a second or more.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use session_pipeline::http::{HttpLimits, Server, ServiceState};
use session_pipeline_bundle::{USAGE, faulty};
use session_pipeline_host::clock::SystemClock;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::run::{Pipeline, RunRequest};
use session_pipeline_pipeline::shipped::ShippedProcessor;
use session_pipeline_pipeline::token::Randomness;

const PROCESSORS: [&str; 4] = [
    "usage",
    "faulty-well-behaved",
    "faulty-loops",
    "faulty-loops-calling",
];
/// The word at which two of the guests start to loop. The other guests ignore it.
const POISON: &str = "misbehave";
const LINES: usize = 2_000;
const IDLE: Duration = Duration::from_secs(3);
/// The pause between two probes. Load balancers pause longer.
const PAUSE: Duration = Duration::from_millis(2);

struct FixedBytes;

impl Randomness for FixedBytes {
    fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
        buffer.fill(7);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let sessions = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(100_usize);
    let folder = tempfile::tempdir()?;
    let config = Config::new(folder.path());
    for session in 0..sessions {
        write_session(&config, session)?;
    }
    let component = |name: &str| match name.strip_prefix("faulty-") {
        Some(way) => faulty(&way.replace('-', "_")).unwrap_or_default(),
        None => USAGE,
    };
    let shipped = PROCESSORS.map(|name| ShippedProcessor::new(name, component(name)));
    let clock = Arc::new(SystemClock::default());
    let pipeline = Arc::new(Pipeline::open(config, clock, Registry::new(shipped))?);
    for name in PROCESSORS {
        pipeline.processor(name)?;
    }
    let service = ServiceState::new(
        Arc::clone(&pipeline),
        None,
        Box::new(FixedBytes),
        HttpLimits::default(),
    )?;
    let server = Server::start(Arc::new(service), "127.0.0.1:0".parse()?)?;

    let over = Arc::new(AtomicBool::new(false));
    let idle = {
        let timer_over = Arc::clone(&over);
        let timer = std::thread::spawn(move || {
            std::thread::sleep(IDLE);
            timer_over.store(true, Ordering::SeqCst);
        });
        let times = probe(server.url(), &over)?;
        timer.join().map_err(|_| "the timer panicked")?;
        times
    };
    over.store(false, Ordering::SeqCst);
    let started = Instant::now();
    let runs = PROCESSORS.map(|name| {
        let pipeline = Arc::clone(&pipeline);
        std::thread::spawn(move || {
            pipeline
                .run(name, &RunRequest::cli(), &())
                .map(|run| run.stats)
        })
    });
    let waiter = {
        let over = Arc::clone(&over);
        std::thread::spawn(move || {
            let results = runs.map(std::thread::JoinHandle::join);
            over.store(true, Ordering::SeqCst);
            results
        })
    };
    let busy = probe(server.url(), &over)?;
    let elapsed = started.elapsed();
    for result in waiter.join().map_err(|_| "a run panicked")? {
        let stats = result.map_err(|_| "a run panicked")??;
        println!(
            "{:<24} {} processed, {} failed",
            stats.processor, stats.processed, stats.errors
        );
    }
    println!(
        "four runs over {sessions} sessions: {:.1} s",
        elapsed.as_secs_f64()
    );
    print_latencies("idle", &idle);
    print_latencies("busy", &busy);
    println!(
        "line 14: p99 during four runs  {:.2} ms   required at most 50, goal 5",
        percentile(&busy, 99)
    );
    server.stop();
    Ok(())
}

fn write_session(config: &Config, session: usize) -> Result<(), Box<dyn Error>> {
    let folder = config.sessions_root.join(format!("user{}", session % 20));
    std::fs::create_dir_all(&folder)?;
    let mut text = String::new();
    for line in 0..LINES {
        writeln!(
            text,
            r#"{{"type":"user","sessionId":"{session}","message":{{"role":"user","content":"line {line}: {POISON}"}}}}"#
        )?;
    }
    std::fs::write(folder.join(format!("{session}.jsonl")), text)?;
    Ok(())
}

/// Sends requests until `over` is set. Returns the latencies in milliseconds, sorted.
fn probe(url: &str, over: &AtomicBool) -> Result<Vec<f64>, Box<dyn Error>> {
    let url = format!("{url}/api/health");
    let agent = ureq::Agent::new_with_defaults();
    let mut times = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let started = Instant::now();
        agent.get(&url).call()?.body_mut().read_to_vec()?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(PAUSE);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(last * percent / 100)
        .copied()
        .unwrap_or(f64::NAN)
}

fn print_latencies(state: &str, times: &[f64]) {
    println!(
        "{state}: {} responses, p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        times.len(),
        percentile(times, 50),
        percentile(times, 99),
        percentile(times, 100)
    );
}
