//! Line 15 of `docs/performance.md`: sessions per minute of `verification` with a language model
//! that takes half a second for each answer, one session after the other and 16 at once.
//!
//! `cargo xtask bench models -- N` uses N sessions. The default is 96.
//!
//! - *few findings*: every eighth session has a statement that the model extracts, in one of six
//!   domains in turn. The others have nothing new, like most sessions.
//! - *all conflict*: every session has a statement of the same domain, so that each has to be
//!   compared with the items of all earlier ones, and no two can be processed independently.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duckdb::Connection;
use serde_json::{Value, json};
use session_pipeline_bundle::VERIFICATION;
use session_pipeline_harness::{DataDir, LlmServer, TestPipeline, Transcript};
use session_pipeline_pipeline::config::Provider;
use session_pipeline_pipeline::llm::{self, ApiKey, LlmSecrets};

const DEFAULT_SESSIONS: usize = 96;
const AT_ONCE: usize = 16;
const ANSWER_TIME: Duration = Duration::from_millis(500);
const DOMAINS: [&str; 6] = [
    "finance",
    "engineering",
    "product",
    "data",
    "operations",
    "infrastructure",
];

#[derive(Clone, Copy, PartialEq)]
enum Case {
    FewFindings,
    AllConflict,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FewFindings => "few findings",
            Self::AllConflict => "all conflict",
        })
    }
}

impl Case {
    /// What the user of a session says. Words after the colon make each statement a different one.
    fn prompt(self, session: usize) -> String {
        let domain = match self {
            Self::FewFindings if !session.is_multiple_of(8) => {
                return format!("please continue with step {session}");
            }
            Self::FewFindings => DOMAINS[session / 8 % DOMAINS.len()],
            Self::AllConflict => DOMAINS[0],
        };
        format!("no, {domain}: figure{session} comes from table{session} by job{session}")
    }
}

/// Extracts prompts that begin with "no, DOMAIN: …", and finds no contradictions.
fn answer(prompt: &str) -> String {
    if prompt.contains("as a JSON list:\n") {
        return json!({ "contradictions": [] }).to_string();
    }
    let turns = prompt.rfind("[\n").map(|start| &prompt[start..]);
    let turns: Vec<Value> = turns
        .and_then(|turns| serde_json::from_str(turns).ok())
        .unwrap_or_default();
    let found = turns.iter().filter_map(|turn| {
        let text = turn["parts"][0]["typed"].as_str()?;
        let (domain, statement) = text.strip_prefix("no, ")?.split_once(": ")?;
        Some(json!({
            "detection_type": "correction", "status": "fact", "scope": "team", "assistant_quote": null,
            "title": statement, "content": statement, "user_quote": text, "domain": domain, "entities": [],
        }))
    });
    json!({ "verifications": found.collect::<Vec<_>>() }).to_string()
}

/// The time of a run over all sessions, and its rows.
fn run(
    case: Case,
    sessions: usize,
    at_once: usize,
) -> Result<(Duration, Vec<String>), Box<dyn Error>> {
    let dir = DataDir::new();
    for session in 0..sessions {
        let transcript = Transcript::new(&format!("s{session}")).user(&case.prompt(session));
        dir.write(
            &format!("user{}/{session:05}.jsonl", session % 10),
            transcript,
        );
    }
    let mut config = dir.config();
    let server = LlmServer::start(Provider::Anthropic);
    server.set_fallback(|request| {
        std::thread::sleep(ANSWER_TIME);
        answer(request.prompt())
    });
    config.llm = server.config();
    config.llm.concurrency = at_once;
    for budget in [&mut config.llm.budgets.run, &mut config.llm.budgets.day] {
        budget.calls_max = u64::MAX;
        budget.tokens_max = u64::MAX;
    }
    let own = config.processors.entry("verification".to_owned());
    let settings = &mut own.or_default().settings;
    settings.insert("detector".to_owned(), "llm".to_owned());
    let pipeline = TestPipeline::open_with(&dir, config.clone(), &[("verification", VERIFICATION)]);
    let secrets = LlmSecrets {
        key: ApiKey::new("a-key-of-this-benchmark"),
    };
    let (clock, store) = (Arc::clone(dir.clock()), pipeline.pipeline().shared_store());
    let model = llm::from_config(&config, secrets, clock, store)?;
    let pipeline = pipeline.with_language_model(model.ok_or("there is no provider")?);
    // Compiles the component, which is not what this measures.
    pipeline.pipeline().processor("verification")?;
    let started = Instant::now();
    let stats = pipeline.run("verification").stats;
    let elapsed = started.elapsed();
    let requests = server.requests().len();
    println!("{case}, {at_once} at once: {requests} requests");
    if stats.processed != sessions as u64 {
        return Err(format!(
            "{} sessions failed: {:?}",
            stats.errors, stats.errors_detail
        )
        .into());
    }
    drop(pipeline);
    let connection = Connection::open(dir.database_path())?;
    let mut rows = Vec::new();
    for sql in [
        "SELECT CAST(COLUMNS(* EXCLUDE (created_at, updated_at)) AS VARCHAR) FROM verification.items ORDER BY ALL",
        "SELECT CAST(COLUMNS(* EXCLUDE (session_seq, recorded_at)) AS VARCHAR) FROM verification.evidence ORDER BY ALL",
    ] {
        let mut statement = connection.prepare(sql)?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let columns = row.as_ref().column_count();
            let cells = (0..columns).map(|index| row.get::<_, Option<String>>(index));
            rows.push(format!("{:?}", cells.collect::<Result<Vec<_>, _>>()?));
        }
    }
    Ok((elapsed, rows))
}

fn main() -> Result<(), Box<dyn Error>> {
    let sessions = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(DEFAULT_SESSIONS);
    for case in [Case::FewFindings, Case::AllConflict] {
        let (alone, expected) = run(case, sessions, 1)?;
        let (together, rows) = run(case, sessions, AT_ONCE)?;
        if rows != expected {
            return Err(format!(
                "{case}: the rows differ from those of one session after the other"
            )
            .into());
        }
        let per_minute = |elapsed: Duration| sessions as f64 * 60.0 / elapsed.as_secs_f64();
        println!(
            "{case}: {sessions} sessions, {} equal rows; one after the other {:.1} s ({:.0} per minute), {AT_ONCE} at once {:.1} s ({:.0} per minute)",
            rows.len(),
            alone.as_secs_f64(),
            per_minute(alone),
            together.as_secs_f64(),
            per_minute(together),
        );
        let required = match case {
            Case::FewFindings => 12,
            Case::AllConflict => 1,
        };
        println!(
            "line 15: {AT_ONCE} at once / one after the other, {case}  {:.1}   required {required}",
            alone.as_secs_f64() / together.as_secs_f64()
        );
    }
    Ok(())
}
