//! Measurements of the program and of the server with many clients. Run them with
//! `cargo nextest run -E 'test(push::scale)' --run-ignored only --no-capture`.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use session_pipeline_harness::DataDir;
use sha2::{Digest as _, Sha256};

use super::{check_equal, peak_kib, start};
use crate::cli::serve::ServerProcess;

#[test]
#[ignore = "takes minutes"]
fn a_session_of_50_mb_that_grows_line_by_line_is_sent_once() {
    const PUSHES: usize = 2000;
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    machine.write("p/s1.jsonl", "");
    let (mut sent, mut wire, mut requests) = (0, 0, 0);
    let started = Instant::now();
    let mut times = Vec::new();
    for number in 0..PUSHES {
        let text = format!("step {number} changed the function and its tests. ").repeat(600);
        let line = format!("{{\"n\":{number},\"text\":\"{}\"}}\n", &text[..25_600]);
        machine.append("p/s1.jsonl", line);
        let pushed = Instant::now();
        let output = machine.push_all(&server.url, &["--rate", "100 MiB"]);
        times.push(pushed.elapsed());
        sent += output.figure("sent_bytes");
        wire += output.figure("wire_bytes");
        requests += output.figure("requests");
    }
    let added = machine.sources()["claude/p/s1.jsonl"].len() as u64;
    let median = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort();
        times[times.len() / 2]
    };
    let (first, last) = (median(&times[..200]), median(&times[PUSHES - 200..]));
    println!(
        "{PUSHES} pushes of {added} bytes: {sent} sent, {wire} on the wire, {requests} requests, {:?}; a push: median {:?}, of the first 200 {first:?}, of the last 200 {last:?}, slowest {:?}",
        started.elapsed(),
        median(&times),
        times.iter().max(),
    );
    check_equal(&dir, &machine);
    assert_eq!(sent, added);
    // An interrupted request would add to them.
    assert!(requests <= PUSHES as u64 + 1, "{requests}");
    // To hash 50 MB would take several times as long.
    assert!(
        last < first * 3,
        "a push takes longer for a longer session: {first:?}, {last:?}"
    );
}

#[test]
#[ignore = "opens thousands of connections"]
fn a_thousand_clients_at_once_lose_nothing() {
    const CLIENTS: usize = 1000;
    const ROUNDS: usize = 5;
    let dir = DataDir::new();
    let server = ServerProcess::start(&dir, &[]);
    let admin = fs::read_to_string(dir.path().join("state/admin-token")).unwrap();
    let agent = || {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        config.build().new_agent()
    };
    let setup = agent();
    let tokens: Vec<String> = (0..CLIENTS)
        .map(|number| {
            let body =
                serde_json::json!({ "role": "member", "user": format!("u{number}@example.com") });
            let mut response = setup
                .post(format!("{}/api/admin/tokens", server.url()))
                .header("Authorization", format!("Bearer {}", admin.trim()))
                .header("Content-Type", "application/json")
                .send(body.to_string())
                .unwrap();
            let text = response.body_mut().read_to_string().unwrap();
            let created: serde_json::Value = serde_json::from_str(&text).unwrap();
            created["token"].as_str().unwrap().to_owned()
        })
        .collect();
    let before = peak_kib(server.id()).unwrap();
    let (retries, started) = (AtomicU64::new(0), Instant::now());
    let contents: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let clients: Vec<_> = tokens
            .iter()
            .enumerate()
            .map(|(number, token)| {
                let (retries, url) = (&retries, server.url());
                let agent = agent();
                scope.spawn(move || {
                    let mut content = Vec::new();
                    for round in 0..ROUNDS {
                        let text =
                            format!("{{\"client\":{number},\"round\":{round}}}\n").repeat(300);
                        loop {
                            let hash: [u8; 32] = Sha256::digest(&content).into();
                            let hash = hash.iter().map(|byte| format!("{byte:02x}"));
                            let sent = agent
                                .put(format!("{url}/api/upload/sessions/claude/p/s1.jsonl"))
                                .header("Authorization", format!("Bearer {token}"))
                                .header("Upload-Offset", content.len().to_string())
                                .header("Upload-Prefix-SHA256", hash.collect::<String>())
                                .send(&text[..]);
                            match sent.map(|response| response.status().as_u16()) {
                                Ok(200) => break,
                                // The response of an earlier attempt was lost.
                                Ok(409) if retries.load(Ordering::SeqCst) > 0 => break,
                                Ok(status @ 400..=500) => panic!("{status}"),
                                _ => {
                                    retries.fetch_add(1, Ordering::SeqCst);
                                    std::thread::sleep(Duration::from_millis(200));
                                }
                            }
                        }
                        content.extend_from_slice(text.as_bytes());
                    }
                    content
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    let after = peak_kib(server.id()).unwrap();
    println!(
        "{CLIENTS} clients, {ROUNDS} uploads each: {:?}, {} retries, server from {before} to {after} KiB",
        started.elapsed(),
        retries.load(Ordering::SeqCst),
    );
    let mut expected = contents;
    expected.sort();
    let users = fs::read_dir(dir.sessions_root()).unwrap();
    let mut found: Vec<Vec<u8>> = users
        .map(|user| fs::read(user.unwrap().path().join("claude/p/s1.jsonl")).unwrap())
        .collect();
    found.sort();
    assert!(found == expected, "a byte was lost or stored twice");
    assert!(after - before < 256 << 10, "{before} to {after} KiB");
    assert_eq!(server.stop(), 0);
}
