//! Lines 16 and 17 of `docs/performance.md`: the cost of reading the same conversation in the format
//! of each coding agent, compared with that of Claude Code.
//!
//! `cargo xtask bench agents`. The measure is fuel, which is the same on every machine.

use std::error::Error;
use std::sync::Arc;

use session_pipeline_harness::agent_sessions::agent_sessions;
use session_pipeline_host::clock::{SystemClock, UtcMicros};
use session_pipeline_host::content::Snapshot;
use session_pipeline_host::limits::Limits;
use session_pipeline_host::processor::SessionInfo;
use session_pipeline_host::sessions::SessionsRoot;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::run::Pipeline;
use session_pipeline_pipeline::shipped::ShippedProcessor;

const TURNS: u64 = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let data_dir = tempfile::tempdir()?;
    let sessions = tempfile::tempdir()?;
    let registry = Registry::new([ShippedProcessor::new(
        "usage",
        session_pipeline_bundle::USAGE,
    )]);
    let config = Config::new(data_dir.path());
    let pipeline = Pipeline::open(config, Arc::new(SystemClock::default()), registry)?;
    let processor = pipeline.processor("usage")?;
    let mut baseline = None;
    let (mut most_per_turn, mut most_per_byte) = (0.0_f64, 0.0_f64);
    println!("{TURNS} turns: a prompt, an answer, a call and its result");
    for session in agent_sessions(TURNS) {
        let path = sessions.path().join(session.key);
        std::fs::create_dir_all(path.parent().ok_or("a key has a folder")?)?;
        std::fs::write(&path, &session.content)?;
        let root = SessionsRoot::open(sessions.path())?.ok_or("the folder exists")?;
        let snapshot = Snapshot::open(&root, session.key, UtcMicros(0), &Limits::default())?;
        let info = SessionInfo {
            key: session.key.to_owned(),
            username: "ada".to_owned(),
            directory: "ada".to_owned(),
            user_id: None,
        };
        let execution = processor.process(&info, snapshot);
        let outcome = execution.outcome.map_err(|fault| format!("{fault:?}"))?;
        assert!(outcome.items >= TURNS, "{}", session.agent);
        let fuel = execution.cost.fuel as f64;
        let (per_turn, per_byte) = (fuel / TURNS as f64, fuel / session.content.len() as f64);
        let (turn, byte) = *baseline.get_or_insert((per_turn, per_byte));
        println!(
            "{:8} {per_turn:7.0} fuel per turn ({:.2} of Claude), {per_byte:5.1} per byte ({:.2} of Claude)",
            session.agent,
            per_turn / turn,
            per_byte / byte,
        );
        most_per_turn = most_per_turn.max(per_turn / turn);
        most_per_byte = most_per_byte.max(per_byte / byte);
    }
    println!(
        "line 16: fuel per turn / Claude's, largest  {most_per_turn:.2}   required at most 2.0"
    );
    println!("line 17: fuel per byte / Claude's, largest  {most_per_byte:.2}");
    Ok(())
}
