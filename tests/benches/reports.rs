//! Lines 4 and 13 of `docs/performance.md`: measures reports after the first one, over ten million messages
//! in the database. Also compares reports over one gigabyte of transcripts with `ccusage`, which
//! reads the transcripts each time.
//!
//! Arguments after `cargo xtask bench reports --`:
//!
//! - `N`: the number of messages
//! - `--ccusage=PATH`: the `ccusage` program, if it is not on the path
//! - `--like=FOLDER`: builds the gigabyte from copies of the transcripts in this folder. Each copy
//!   has its own ids. By default, transcripts are generated with long tool results and short
//!   messages, which is the fastest case for a program that only looks for usage.

#[path = "data/transcripts.rs"]
mod transcripts;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use duckdb::Connection;
use session_pipeline_harness::measure::{
    Measurement, run_child, run_child_tracking_memory, version_of,
};
use session_pipeline_harness::program;
use session_pipeline_host::clock::SystemClock;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::listing::ListRange;
use session_pipeline_pipeline::listing::overview::{
    self, OverviewPages, SessionQuery, SessionSort, SessionSource,
};
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::report::{
    self, DayRange, PriceTable, ReportFilter, ReportGrouping, ToolGrouping, UsageGrouping,
    WasteGrouping,
};
use session_pipeline_pipeline::run::Pipeline;
use session_pipeline_pipeline::shipped::ShippedProcessor;

const ROUNDS: usize = 3;
const DEFAULT_MESSAGES: u64 = 10_000_000;
const LARGE_BYTES: usize = 1_000_000_000;

/// 100 messages per session with one tool call each, three models, 1,000 users and one year. Every
/// 50th session is a fork that repeats the messages of another session.
///
/// A session uses eight tools, like real sessions of this length: five that all sessions use, and
/// three of 35 others. The first of them makes a third of the calls. The durations of one tool differ
/// by a factor of five.
const NUMBERS: &str = "
    SELECT number, number // 100 AS session, number % 100 AS line, 'user' || session % 1000 AS user_name,
        user_name || '/' || md5(CAST(session AS VARCHAR)) || '.jsonl' AS file,
        CASE WHEN session % 50 = 49 THEN number - 4900 ELSE number END AS message,
        TIMESTAMP '2026-01-01' + to_seconds((message // 100) * 300 + line * 7) AS occurred_at,
        CAST(floor(8 * pow(hash(message) % 1000 / 1000.0, 2)) AS BIGINT) AS place,
        CASE WHEN place < 5 THEN place ELSE 5 + CAST(hash(message // 100 + place) % 35 AS BIGINT) END AS tool
    FROM range(CAST(? AS BIGINT)) AS numbers(number)
    ORDER BY session, line";
const MESSAGE_ROWS: &str = "
SELECT session + 1 AS session_seq, file AS session_file, TIMESTAMP '2026-12-31' AS recorded_at,
    md5(CAST(session AS VARCHAR)) AS session_id, user_name AS username, line * 3 AS line,
    'msg_01' || left(md5('m' || message), 22) AS message_id, 'req_011' || left(md5('r' || message), 20) AS request_id,
    occurred_at,
    ['claude-opus-4-5-20251101', 'claude-sonnet-4-5-20250929', 'claude-haiku-4-5-20251001'][1 + CAST(hash(message) % 3 AS BIGINT)] AS model,
    hash(message) % 20 AS input_tokens, hash(message + 1) % 2000 AS output_tokens,
    hash(message + 2) % 100000 AS cache_read_tokens, hash(message + 3) % 8000 AS cache_creation_5m_tokens,
    CASE WHEN message % 7 = 0 THEN hash(message + 4) % 20000 ELSE 0 END AS cache_creation_1h_tokens,
    false AS is_sidechain, line % 50 <> 0 AS is_final, '2.1.42' AS agent_version,
    '/home/dev/project' || session % 300 AS cwd, ['main', 'fix', 'feature'][1 + session % 3] AS git_branch,
    TIMESTAMP '2026-01-01' + to_seconds(session * 300) AS file_started_at,
    TIMESTAMP '2026-01-01' + to_seconds(session * 300 + 700) AS file_ended_at, true AS is_own_session, 1 AS first_run,
    false AS is_superseded, 0 AS web_searches, CASE WHEN session % 5 = 0 THEN 'subagent' ELSE 'main' END AS source,
    CASE WHEN session % 5 = 0 THEN md5(file) END AS agent_id,
    CASE WHEN session % 5 = 0 THEN ['Explore', 'Plan', 'general-purpose'][1 + session % 3] END AS agent_type,
    CASE WHEN message % 10 = 0 THEN 'skill-' || session % 20 END AS skill,
    ['low', 'medium', 'high'][1 + session % 3] AS effort, 'cli' AS entrypoint, false AS is_automated,
    CASE WHEN session % 4 = 0 THEN 'team/app#' || session % 1000 END AS pull_request,
    '/home/dev/project' || session % 300 AS project";
const EVENT_ROWS: &str = "
SELECT session + 1 AS session_seq, file AS session_file, TIMESTAMP '2026-12-31' AS recorded_at,
    md5(CAST(session AS VARCHAR)) AS session_id, user_name AS username, line * 3 AS line, 'tool_use' AS event_type,
    'toolu_01' || left(md5('t' || message), 22) AS tool_id, 'Tool' || tool AS tool_name, CASE WHEN tool >= 30 THEN 'server-' || tool % 5 END AS mcp_server,
    CASE WHEN tool = 29 THEN 'skill-' || session % 20 END AS skill_name,
    'builtin' AS source, message % 20 = 0 AS is_error, CASE WHEN message % 20 = 0 THEN 'exit_code' END AS error_class,
    CAST(pow(2, tool % 12) * (1 + hash(message + 5) % 400 / 100.0) AS BIGINT) AS duration_ms, occurred_at,
    4 AS processor_version, TIMESTAMP '2026-01-01' + to_seconds(session * 300) AS file_started_at,
    true AS is_own_session, 1 AS first_run, false AS is_superseded";
/// Every twentieth message wasted something.
const WASTE_ROWS: &str = "
SELECT session + 1 AS session_seq, file AS session_file, TIMESTAMP '2026-12-31' AS recorded_at,
    md5(CAST(session AS VARCHAR)) AS session_id, user_name AS username, line * 3 AS line,
    ['failed_retry', 'reread', 'long_context', 'cache_miss'][1 + CAST(hash(message) % 4 AS BIGINT)] AS kind, occurred_at,
    'claude-sonnet-4-5-20250929' AS model, 1 AS instances, 0 AS input_tokens, 0 AS output_tokens,
    -5000 AS cache_read_tokens, 5000 AS cache_creation_5m_tokens, 0 AS cache_creation_1h_tokens,
    'waste-' || message AS waste_key, false AS is_sidechain,
    TIMESTAMP '2026-01-01' + to_seconds(session * 300) AS file_started_at, true AS is_own_session, 1 AS first_run,
    false AS is_superseded";
const SESSION_ROWS: &str = "
SELECT DISTINCT session + 1 AS session_seq, file AS session_file, TIMESTAMP '2026-12-31' AS recorded_at,
    md5(CAST(session AS VARCHAR)) AS session_id, user_name AS username, TIMESTAMP '2026-01-01' + to_seconds(session * 300) AS started_at,
    TIMESTAMP '2026-01-01' + to_seconds(session * 300 + 700) AS ended_at, hash(session) % 3600 AS active_seconds,
    hash(session + 1) % 20 AS prompts, 100 AS messages, 100 AS tool_calls, hash(session + 2) % 10 AS tool_errors, false AS is_sidechain, '2.1.42' AS agent_version,
    '/home/dev/project' || session % 300 AS cwd, ['main', 'fix', 'feature'][1 + session % 3] AS git_branch, 4 AS processor_version,
    'Session number ' || session AS title, '/home/dev/project' || session % 300 AS project, 'cli' AS entrypoint, false AS is_automated";
const STATE_ROWS: &str = "
SELECT DISTINCT 'usage' AS processor_name, file AS session_file, user_name AS username,
    TIMESTAMP '2026-12-31' AS processed_at, 200 AS items_extracted, md5(file) AS file_hash, session + 1 AS session_seq";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let messages = arguments.iter().find_map(|argument| argument.parse().ok());
    let ccusage = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("--ccusage="))
        .unwrap_or("ccusage");
    let like = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("--like="));
    many_messages(messages.unwrap_or(DEFAULT_MESSAGES))?;
    large_data(ccusage, like.map(Path::new))
}

fn open(data_dir: &Path) -> Result<Pipeline, Box<dyn Error>> {
    let registry = Registry::new([ShippedProcessor::new(
        "usage",
        session_pipeline_bundle::USAGE,
    )]);
    let clock = Arc::new(SystemClock::default());
    Ok(Pipeline::open(Config::new(data_dir), clock, registry)?)
}

fn many_messages(messages: u64) -> Result<(), Box<dyn Error>> {
    let data_dir = tempfile::tempdir()?;
    let pipeline = open(data_dir.path())?;
    pipeline.processor("usage")?;
    drop(pipeline);
    let started = Instant::now();
    let database = data_dir.path().join("state/system.duckdb");
    let connection = Connection::open(&database)?;
    let mut generated_rows = 0;
    for (table, rows, only) in [
        ("usage.messages BY NAME", MESSAGE_ROWS, "true"),
        ("usage.events BY NAME", EVENT_ROWS, "true"),
        ("usage.waste BY NAME", WASTE_ROWS, "number % 20 = 0"),
        ("usage.sessions BY NAME", SESSION_ROWS, "true"),
        ("main.session_processor_state BY NAME", STATE_ROWS, "true"),
    ] {
        generated_rows += connection.execute(
            &format!("INSERT INTO {table} {rows} FROM ({NUMBERS}) WHERE {only}"),
            [messages],
        )?;
        connection.execute_batch("CHECKPOINT")?;
    }
    drop(connection);
    let bytes = fs::metadata(&database)?.len() as f64;
    println!(
        "{messages} messages, {generated_rows} rows, {:.0} MB, generated in {:.0} s",
        bytes / 1e6,
        started.elapsed().as_secs_f64()
    );
    println!(
        "line 13: {:.1} bytes per row   required at most 60, goal 35",
        bytes / generated_rows as f64
    );
    let pipeline = open(data_dir.path())?;
    let prices = PriceTable::load(pipeline.config())?;
    let report = || {
        report::usage(
            pipeline.store(),
            &prices,
            ReportGrouping::Day,
            DayRange::default(),
            pipeline.clock(),
        )
    };
    let started = Instant::now();
    report()?;
    println!(
        "first report, which aggregates all messages: {:.2} s",
        started.elapsed().as_secs_f64()
    );
    for by in ReportGrouping::ALL {
        let mut seconds = Measurement::default();
        let mut rows = 0;
        for _ in 0..ROUNDS {
            let started = Instant::now();
            let report = report::usage(
                pipeline.store(),
                &prices,
                by,
                DayRange::default(),
                pipeline.clock(),
            )?;
            seconds.add(started.elapsed().as_secs_f64());
            rows = report.map_or(0, |report| report.rows.len());
        }
        println!("by {:<12} {seconds} s, {rows} rows", by.key());
    }
    let mut seconds = Measurement::default();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        report::tools(
            pipeline.store(),
            &prices,
            ToolGrouping::Tool,
            DayRange::default(),
            pipeline.clock(),
        )?;
        seconds.add(started.elapsed().as_secs_f64());
    }
    println!("by tool         {seconds} s");
    let filter = ReportFilter::default().in_zone("Europe/Berlin");
    let filter = filter.ok_or("the time zone is unknown")?;
    let mut zone = Measurement::default();
    let mut skills = Measurement::default();
    let mut waste = Measurement::default();
    for _ in 0..ROUNDS {
        let (store, clock) = (pipeline.store(), pipeline.clock());
        let started = Instant::now();
        report::usage(store, &prices, ReportGrouping::Hour, filter.clone(), clock)?;
        zone.add(started.elapsed().as_secs_f64());
        let started = Instant::now();
        report::skills(store, &prices, &filter, clock)?;
        skills.add(started.elapsed().as_secs_f64());
        let started = Instant::now();
        report::waste(store, &prices, WasteGrouping::Kind, &filter, clock)?;
        waste.add(started.elapsed().as_secs_f64());
    }
    println!("by hour, Berlin {zone} s");
    println!("skills          {skills} s");
    println!("waste           {waste} s");
    let mut split = Measurement::default();
    let mut quality = Measurement::default();
    for _ in 0..ROUNDS {
        let (store, clock) = (pipeline.store(), pipeline.clock());
        let grouping = UsageGrouping {
            by: ReportGrouping::Day,
            split: Some(ReportGrouping::Model),
        };
        let started = Instant::now();
        report::usage(store, &prices, grouping, filter.clone(), clock)?;
        split.add(started.elapsed().as_secs_f64());
        let started = Instant::now();
        report::quality(store, &prices, ReportFilter::default(), clock)?;
        quality.add(started.elapsed().as_secs_f64());
    }
    println!("by day, model   {split} s");
    println!("quality         {quality} s");
    for sort in [
        SessionSort::Key,
        SessionSort::Recent,
        SessionSort::Cost,
        SessionSort::Title,
    ] {
        let query = SessionQuery {
            sort,
            ..SessionQuery::default()
        };
        let mut seconds = Measurement::default();
        for _ in 0..ROUNDS {
            let started = Instant::now();
            first_page(&pipeline, &prices, &query)?;
            seconds.add(started.elapsed().as_secs_f64());
        }
        println!("first 50 sessions by {sort:?} {seconds} s");
    }
    drop(pipeline);
    let mut command = Command::new(program::path());
    command
        .arg("--data-dir")
        .arg(data_dir.path())
        .args(["report", "usage"]);
    let cost = run_child_tracking_memory(&mut command)?;
    println!(
        "whole process: {:.2} s, {:.0} MB peak",
        cost.wall.as_secs_f64(),
        cost.peak_memory as f64 / 1e6
    );
    Ok(())
}

/// Reads the first page of the list of sessions, as the service does.
fn first_page(
    pipeline: &Pipeline,
    prices: &PriceTable,
    query: &SessionQuery,
) -> Result<usize, Box<dyn Error>> {
    const PAGE: usize = 50;
    let source = SessionSource {
        config: pipeline.config(),
        registry: pipeline.registry(),
        store: Some(pipeline.store()),
        prices: Some(prices),
        clock: pipeline.clock(),
    };
    if query.is_by_key() {
        return Ok(overview::first_by_key(source, &query.filter, None, PAGE)?.len());
    }
    let mut pages = OverviewPages::open(source, &query.filter, ListRange::default())?;
    Ok(overview::sorted(&mut pages, query, None, Some(PAGE))?.len())
}

fn large_data(ccusage: &str, like: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let root = scratch.path().join("agent/projects");
    transcripts::write(&root, like, LARGE_BYTES)?;
    let data_dir = scratch.path().join("data");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(program::path());
        command
            .arg("--data-dir")
            .arg(&data_dir)
            .arg("--sessions")
            .arg(&root)
            .args(arguments);
        command
    };
    let first = run_child(&mut command(&["run", "usage"]))?;
    println!(
        "one gigabyte, processed in {:.1} s",
        first.wall.as_secs_f64()
    );
    let mut ccusage_command = Command::new(ccusage);
    ccusage_command
        .args(["claude", "daily", "--offline", "--json", "-z", "UTC"])
        .env("CLAUDE_CONFIG_DIR", scratch.path().join("agent"));
    let (mut report, mut query, mut other) = (
        Measurement::default(),
        Measurement::default(),
        Measurement::default(),
    );
    for _ in 0..3 * ROUNDS {
        report.add(
            run_child(&mut command(&["report", "usage", "--json"]))?
                .wall
                .as_secs_f64(),
        );
        match run_child(&mut ccusage_command) {
            Ok(cost) => other.add(cost.wall.as_secs_f64()),
            Err(error) => println!("`{ccusage}` did not run: {error}"),
        }
    }
    let pipeline = open(&data_dir)?;
    let prices = PriceTable::load(pipeline.config())?;
    for _ in 0..3 * ROUNDS {
        let started = Instant::now();
        report::usage(
            pipeline.store(),
            &prices,
            ReportGrouping::Day,
            DayRange::default(),
            pipeline.clock(),
        )?;
        query.add(started.elapsed().as_secs_f64());
    }
    println!("report, whole process  {report} s");
    println!("report, in a server    {query} s");
    println!("ccusage                {other} s; {}", version_of(ccusage));
    println!(
        "line 4: ccusage / report  {} as a process, {} in a server   required 100, goal 1,000",
        other.ratio_to(&report),
        other.ratio_to(&query)
    );
    Ok(())
}
