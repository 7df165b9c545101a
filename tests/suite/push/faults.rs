//! Kills of the server and of the program, and a network that cuts connections.

mod hour;
mod proxy;
mod uploads;

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use session_pipeline_harness::{DataDir, TestPipeline, cases, counted, tally};
use session_pipeline_host::sessions::SessionsRoot;
use session_pipeline_pipeline::config::Config;
use session_pipeline_store::kill_point::UPLOAD_POINTS;

use self::proxy::Proxy;
use super::{Machine, check_equal, start, stored, wait_for};
use crate::cli::serve::ServerProcess;
use crate::database::rows;
use crate::guests::{WELL_BEHAVED, lines_of, well_behaved};
use crate::http::user_folder;

/// The size of a part, which a cut connection can lose.
const PART_BYTES: u64 = 4 << 20;

/// A token of a member of a server that is not running.
fn member_token(dir: &DataDir) -> String {
    token_of(dir, "ada@example.com")
}

fn token_of(dir: &DataDir, email: &str) -> String {
    let mut command = session_pipeline_harness::program::command_with_data_dir(dir);
    command.args([
        "token", "create", "--role", "member", "--user", email, "--json",
    ]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let created: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    created["token"].as_str().unwrap().to_owned()
}

/// The sizes of the sessions that a reader can see.
fn check_readers_see_whole_lines(dir: &DataDir) {
    let Some(root) = SessionsRoot::open(&dir.sessions_root()).unwrap() else {
        return;
    };
    let mut keys = Vec::new();
    root.walk(|key, _| keys.push(key.to_owned())).unwrap();
    for key in keys {
        let (_, stat) = root.open_session(&key).unwrap();
        let content = fs::read(dir.session_path(&key)).unwrap();
        let seen = &content[..usize::try_from(stat.size).unwrap()];
        assert!(
            seen.is_empty() || seen.ends_with(b"\n"),
            "`{key}` ends within a line"
        );
    }
}

fn lines(count: usize, length: usize) -> String {
    let line = |number: usize| format!("{{\"n\":{number},\"text\":\"{}\"}}\n", "x".repeat(length));
    (0..count).map(line).collect()
}

#[test]
fn a_server_killed_at_any_point_of_an_upload_loses_and_repeats_nothing() {
    for point in UPLOAD_POINTS {
        let dir = DataDir::new();
        let machine = Machine::new(&member_token(&dir));
        machine.write("p/s1.jsonl", lines(10, 1000));
        if point.starts_with("append") {
            // A first version, so that the next upload appends.
            let server = ServerProcess::start(&dir, &[]);
            machine.push_all(server.url(), &[]);
            assert_eq!(server.stop(), 0);
            machine.append("p/s1.jsonl", lines(300, 1000));
        }
        let record = dir.path().join("killed-at");
        let plan = format!("kill:{point}:{}", record.display());
        let server = ServerProcess::start(&dir, &[("SESSION_PIPELINE_KILL_POINTS", &plan)]);
        let proxy = Proxy::start(server.url());
        let pushing = machine.command(&proxy.url, &[]).spawn().unwrap();
        wait_for(|| fs::read_to_string(&record).is_ok_and(|text| text.contains(point)));
        drop(server);
        tally(&format!("server killed at: {point}"), 1);
        // Other processes, such as `run`, can read the sessions before the next start.
        check_readers_see_whole_lines(&dir);
        let server = ServerProcess::start(&dir, &[]);
        // The start has completed or removed what the dead process left.
        check_readers_see_whole_lines(&dir);
        proxy.set_upstream(server.url());
        let output = pushing.wait_with_output().unwrap();
        assert!(output.status.success(), "{point}: {output:?}");
        let size: usize = machine.sources().values().map(Vec::len).sum();
        // At most the upload that was killed is sent twice.
        assert!(
            proxy.uploaded() < 2 * size as u64 + 64_000,
            "{point}: {}",
            proxy.uploaded()
        );
        machine.push_all(&proxy.url, &[]);
        check_equal(&dir, &machine);
        assert_eq!(server.stop(), 0);
    }
}

#[test]
fn other_processes_never_process_a_part_of_an_append_of_a_killed_server() {
    let (dir, other) = (DataDir::new(), DataDir::new());
    let machine = Machine::new(&member_token(&dir));
    machine.write("p/s1.jsonl", lines(10, 1000));
    let server = ServerProcess::start(&dir, &[]);
    machine.push_all(server.url(), &[]);
    assert_eq!(server.stop(), 0);
    machine.append("p/s1.jsonl", lines(300, 1000));
    let record = dir.path().join("killed-at");
    let plan = format!("kill:append half written:{}", record.display());
    let server = ServerProcess::start(&dir, &[("SESSION_PIPELINE_KILL_POINTS", &plan)]);
    let mut pushing = machine.command(server.url(), &[]).spawn().unwrap();
    wait_for(|| fs::read_to_string(&record).is_ok_and(|text| !text.is_empty()));
    drop(server);
    pushing.kill().unwrap();
    pushing.wait().unwrap();
    let size = |dir: &DataDir| {
        fs::metadata(user_folder(dir).join("claude/p/s1.jsonl"))
            .unwrap()
            .len()
    };
    let half = size(&dir);
    let sessions_root = dir.sessions_root();
    // The same data directory, and one that reads the sessions of the first.
    let processed = |dir: &DataDir| {
        let config = Config {
            sessions_root: sessions_root.clone(),
            ..dir.config()
        };
        let pipeline = TestPipeline::open_with(dir, config, &[well_behaved()]);
        pipeline.run(WELL_BEHAVED);
        drop(pipeline);
        rows(dir, &lines_of(WELL_BEHAVED)).len()
    };
    assert_eq!([processed(&dir), processed(&other)], [10, 10]);
    assert_eq!(size(&dir), half, "a reader changes nothing");
    let server = ServerProcess::start(&dir, &[]);
    machine.push_all(server.url(), &[]);
    check_equal(&dir, &machine);
    assert_eq!(server.stop(), 0);
    assert_eq!([processed(&dir), processed(&other)], [310, 310]);
}

/// Writes lines to several sessions.
fn grow(machine: &Machine, round: usize, length: usize) {
    for session in 0..4 {
        let path = format!("p/s{session}.jsonl");
        if !machine.projects().join(&path).exists() {
            machine.write(&path, "");
        }
        machine.append(&path, lines(1 + (round + session) % 5, length));
    }
}

fn state_has_files(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

proptest! {
    #![proptest_config(counted(cases().div_ceil(8)))]

    #[test]
    fn invariant_kills_of_the_program_lose_and_repeat_nothing(
        kills in proptest::collection::vec(0_u64..60, 4..20),
        length in 10_usize..100_000,
    ) {
        let dir = DataDir::new();
        let (server, machine) = start(&dir);
        let proxy = Proxy::start(&server.url);
        let mut killed = 0;
        for (round, millis) in kills.iter().enumerate() {
            grow(&machine, round, length);
            let mut child = machine.command(&proxy.url, &[]).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(*millis));
            killed += u64::from(child.try_wait().unwrap().is_none());
            let _ = child.kill();
            child.wait().unwrap();
        }
        tally("program killed", killed);
        machine.push_all(&proxy.url, &[]);
        check_equal(&dir, &machine);
        prop_assert!(state_has_files(&machine.state()));
        let size: usize = machine.sources().values().map(Vec::len).sum();
        // A kill loses at most the part of one session that was sent last.
        let longest = 6 * (length + 30) as u64;
        let limit = size as u64 + killed * longest.min(PART_BYTES) + 4_000 * (kills.len() as u64 + 1) * 5;
        prop_assert!(proxy.uploaded() <= limit, "{} of {limit}", proxy.uploaded());
    }

    #[test]
    fn invariant_kills_of_the_server_lose_nothing(
        kills in proptest::collection::vec(0_u64..400, 2..5),
        length in 10_usize..50_000,
    ) {
        let dir = DataDir::new();
        let machine = Machine::new(&member_token(&dir));
        let proxy = Proxy::start("http://127.0.0.1:1");
        grow(&machine, 0, length);
        let mut pushing = machine.command(&proxy.url, &["--watch"]).spawn().unwrap();
        for (round, millis) in kills.iter().enumerate() {
            let server = ServerProcess::start(&dir, &[]);
            check_readers_see_whole_lines(&dir);
            proxy.set_upstream(server.url());
            grow(&machine, round, length);
            std::thread::sleep(Duration::from_millis(*millis));
            // Without a chance to end its uploads.
            drop(server);
            tally("server killed", 1);
        }
        let server = ServerProcess::start(&dir, &[]);
        proxy.set_upstream(server.url());
        wait_for(|| stored(&dir) == machine.sources());
        pushing.kill().unwrap();
        pushing.wait().unwrap();
        prop_assert_eq!(server.stop(), 0);
    }

    #[test]
    fn invariant_a_network_that_cuts_connections_loses_nothing(
        cuts in proptest::collection::vec(1_u64..60_000, 1..6),
        length in 10_usize..30_000,
    ) {
        let dir = DataDir::new();
        let (server, machine) = start(&dir);
        let proxy = Proxy::start(&server.url);
        let count = cuts.len() as u64;
        proxy.cut_after(cuts);
        for round in 0..3 {
            grow(&machine, round, length);
            // Each attempt can be cut once or several times. Six in a row end a run.
            for _ in 0..4 {
                if machine.push(&proxy.url, &[]).code == 0 {
                    break;
                }
            }
        }
        machine.push_all(&proxy.url, &[]);
        check_equal(&dir, &machine);
        tally("connections cut", count);
    }
}
