//! The generated sessions of a demo: the same bytes for the same options, and everything that a
//! report or a page can show.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use session_pipeline_harness::DataDir;
use session_pipeline_harness::demo::{self, DemoFiles, DemoOptions, RUNAWAYS, UNPRICED_MODEL};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::retry::FAILURES_MAX;

use crate::cli::run_cli;
use crate::database::{cell, rows};

/// A team that is large enough for everything to occur.
const TEAM: DemoOptions = DemoOptions {
    seed: 7,
    users: 12,
    projects: 6,
    days: 40,
    end: demo::DEFAULT_END,
    sessions: 420,
};

fn write(dir: &DataDir, options: &DemoOptions) -> DemoFiles {
    demo::write(dir.path(), options, &mut |_| true)
        .unwrap()
        .unwrap()
}

/// All session files below a folder with their contents, in order.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            let name = path.to_str().unwrap().to_owned();
            files.push((name, fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

/// A hash of all paths and contents.
fn digest(options: &DemoOptions) -> String {
    let dir = DataDir::new();
    write(&dir, options);
    let root = dir.sessions_root();
    let mut hash = Md5::new();
    for (name, content) in files(&root) {
        let name = Path::new(&name).strip_prefix(&root).unwrap();
        hash.update(name.to_str().unwrap());
        hash.update(&content);
    }
    let hash: [u8; 16] = hash.finalize().into();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_same_options_generate_the_same_bytes() {
    let options = DemoOptions {
        sessions: 60,
        ..DemoOptions::default()
    };
    assert_eq!(digest(&options), digest(&options));
    let others = [
        DemoOptions {
            seed: 2,
            ..options.clone()
        },
        DemoOptions {
            end: UtcMicros(options.end.0 - 86_400_000_000),
            ..options.clone()
        },
    ];
    for other in others {
        assert_ne!(digest(&other), digest(&options), "{other:?}");
    }
}

#[test]
fn any_options_generate_the_number_of_files_that_they_ask_for() {
    for (users, projects, days, sessions) in
        [(1, 1, 1, 1), (0, 0, 0, 7), (3, 2, 5, 40), (99, 99, 400, 33)]
    {
        let dir = DataDir::new();
        let options = DemoOptions {
            users,
            projects,
            days,
            sessions,
            ..DemoOptions::default()
        };
        let written = write(&dir, &options);
        let found = files(&dir.sessions_root());
        let bytes: usize = found.iter().map(|(_, content)| content.len()).sum();
        assert_eq!(
            (written.sessions, written.bytes),
            (sessions, bytes as u64),
            "{options:?}"
        );
        assert_eq!(found.len() as u64, sessions);
    }
}

#[test]
fn writing_ends_when_progress_says_so() {
    let dir = DataDir::new();
    let options = DemoOptions::default();
    let written = demo::write(dir.path(), &options, &mut |sessions| sessions < 5).unwrap();
    assert_eq!(written, None);
    assert!(files(&dir.sessions_root()).len() < 15);
}

/// Runs both processors over [`TEAM`] until no session is tried any more.
fn processed() -> DataDir {
    let dir = DataDir::new();
    write(&dir, &TEAM);
    for attempt in 1..=FAILURES_MAX + 1 {
        let run = run_cli(&dir, &["--json", "run", "usage"]);
        let code = i32::from(attempt <= FAILURES_MAX);
        assert_eq!(run.code, code, "attempt {attempt}: {run:?}");
    }
    let run = run_cli(&dir, &["--json", "run", "verification"]).json();
    assert_eq!(
        (&run["details"]["errors"], &run["details"]["processed"]),
        (&json!(0), &json!(TEAM.sessions))
    );
    dir
}

/// The document of a command.
fn document(dir: &DataDir, command: &str) -> Value {
    let arguments: Vec<&str> = command.split(' ').collect();
    run_cli(dir, &[&["--json"], arguments.as_slice()].concat()).json()
}

/// The values of a column of a report.
fn column(report: &Value, name: &str) -> BTreeSet<String> {
    let rows = report["rows"].as_array().unwrap().iter();
    let texts = rows.filter_map(|row| row[name].as_str());
    texts.map(str::to_owned).collect()
}

#[test]
fn every_report_on_a_team_has_rows() {
    let dir = processed();

    // Exactly the runaways fail.
    let quarantined = document(&dir, "quarantine list");
    let quarantined = quarantined["sessions"].as_array().unwrap();
    assert_eq!(quarantined.len(), 1, "a small demo has one of {RUNAWAYS}");
    assert_eq!(quarantined[0]["fault"], "output-limit");

    for (by, least) in [
        ("day", 30),
        ("week", 5),
        ("hour", 40),
        ("session", 100),
        ("user", 10),
        ("model", 7),
        ("project", 6),
        ("branch", 20),
        ("pull-request", 10),
        ("source", 2),
        ("agent-type", 5),
        ("skill", 6),
        ("plugin", 2),
        ("mcp-server", 4),
        ("effort", 4),
        ("entrypoint", 3),
    ] {
        let report = document(&dir, &format!("report usage --by {by}"));
        let rows = report["rows"].as_array().unwrap().len();
        assert!(rows >= least, "{by}: {rows} rows");
        assert_eq!(
            report["totals"]["unknown_models"],
            json!([UNPRICED_MODEL]),
            "{by}"
        );
    }

    let waste = document(&dir, "report waste");
    let kinds = [
        "cache_miss",
        "compaction",
        "failed_retry",
        "long_context",
        "reread",
    ];
    assert_eq!(column(&waste, "kind"), kinds.map(str::to_owned).into());

    let skills = document(&dir, "report skills");
    let kinds = ["agent", "command", "skill"];
    assert_eq!(column(&skills, "kind"), kinds.map(str::to_owned).into());

    let tools = document(&dir, "report tools");
    let mut classes = BTreeSet::new();
    for row in tools["rows"].as_array().unwrap() {
        let errors = row["errors_by_class"].as_object().into_iter().flatten();
        classes.extend(errors.map(|(class, _)| class.as_str()));
    }
    for class in [
        "edit_mismatch",
        "exit_code",
        "file_not_found",
        "file_not_read",
        "hook_denied",
        "mcp_error",
        "permission_denied",
        "rejected",
        "sibling_failed",
        "timeout",
        "too_large",
        "tool_error",
    ] {
        assert!(classes.contains(class), "{class} is not in {classes:?}");
    }

    let knowledge = document(&dir, "knowledge list --status pending");
    let items = knowledge["items"].as_array().unwrap();
    assert!(items.len() >= 20, "{} items", items.len());
    let repeated = items.iter().filter(|item| item["users"].as_u64() > Some(1));
    assert!(repeated.count() >= 3, "several people say the same");
}

#[test]
fn the_figures_of_a_team_are_plausible() {
    let dir = processed();
    let report = document(&dir, "report usage --by session");
    let rows = report["rows"].as_array().unwrap();
    let sorted = |name: &str| {
        let mut figures: Vec<f64> = rows.iter().filter_map(|row| row[name].as_f64()).collect();
        figures.sort_by(f64::total_cmp);
        figures
    };
    let median = |name: &str| {
        let figures = sorted(name);
        figures[figures.len() / 2]
    };
    let (cost, messages) = (median("cost_usd"), median("messages"));
    assert!((0.5..3.0).contains(&cost), "median cost: {cost}");
    assert!(
        (15.0..60.0).contains(&messages),
        "median messages: {messages}"
    );
    let costs = sorted("cost_usd");
    let largest = costs.last().unwrap();
    assert!(*largest > 8.0 * cost, "the tail is heavy: {largest}");

    // The agent counts almost the same, and in some sessions much more.
    let with_drift = rows.iter().filter_map(|row| {
        let is_complete = row["cost_is_lower_bound"] == json!(false);
        let cost = row["cost_usd"].as_f64().filter(|_| is_complete)?;
        Some(row["agent_cost_usd"].as_f64()? / cost - 1.0)
    });
    let drifts: Vec<f64> = with_drift.collect();
    let small = drifts
        .iter()
        .filter(|drift| (-0.001..0.02).contains(*drift));
    let large = drifts.iter().filter(|drift| **drift > 0.04);
    let (small, large) = (small.count(), large.count());
    assert!(small * 10 > drifts.len() * 8, "{small} of {}", drifts.len());
    assert!((1..small / 4).contains(&large), "{large}");

    let totals = &report["totals"];
    for figure in ["open_messages", "unpriced_messages", "unrecorded_runs"] {
        assert!(totals[figure].as_u64() > Some(0), "{figure}");
    }

    let sessions = |condition: &str| -> u64 {
        let sql = format!("SELECT count(*) FROM usage.sessions WHERE {condition}");
        cell(&dir, &sql).parse().unwrap()
    };
    let all = sessions("NOT is_sidechain");
    for (condition, share) in [
        ("is_automated", 4),
        ("compactions > 0", 3),
        ("api_errors > 0", 3),
        ("pull_requests IS NOT NULL", 5),
        ("queued_prompts > 0", 1),
        ("bad_lines > 0", 0),
        ("torn_tail", 0),
    ] {
        let found = sessions(&format!("NOT is_sidechain AND {condition}"));
        assert!(
            found > 0 && found * 100 >= all * share,
            "{condition}: {found} of {all}"
        );
    }
    let unknown = rows_of_unknown_types(&dir);
    assert_eq!(unknown, ["context-pressure", "turn-ledger"]);
    let late = format!("ended_at > make_timestamp({})", TEAM.end.0);
    assert_eq!(sessions(&late), 0, "nothing happens after the end");
    assert_eq!(
        cell(
            &dir,
            "SELECT count(DISTINCT first_uuid) - count(*) FROM usage.sessions"
        ),
        "0",
        "no session looks like a fork of another one"
    );
}

fn rows_of_unknown_types(dir: &DataDir) -> Vec<String> {
    rows(
        dir,
        "SELECT DISTINCT kind FROM usage.unknown_kinds ORDER BY kind",
    )
}
