//! Responses of servers and proxies that accept nothing, or not yet, and URLs that lead through a proxy.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use session_pipeline::http::HttpLimits;
use session_pipeline_harness::DataDir;

use super::front::{Front, Tunnels};
use super::{Machine, check_equal, set_times, start, stored};
use crate::http::TestServer;

#[test]
fn a_path_prefix_of_the_url_is_part_of_every_request() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    machine.write("p/s1.jsonl", "{}\n");
    let front = Front::start(&server.url, "/team/pipeline");
    for end in ["", "/"] {
        machine.push_all(&format!("{}/team/pipeline{end}", front.url), &[]);
        machine.append("p/s1.jsonl", "{\"a\":1}\n");
    }
    machine.push_all(&server.url, &[]);
    check_equal(&dir, &machine);
    let requests = front.requests();
    assert_eq!(requests.len(), 3, "{requests:?}");
    for request in &requests {
        assert!(request.contains(" /team/pipeline/api/upload/"), "{request}");
    }
    let without = machine.push(&front.url, &[]);
    assert_eq!(without.code, 3, "{without:?}");
    assert!(without.stderr.contains("check the URL"), "{without:?}");
}

#[test]
fn a_redirect_is_reported_and_the_token_is_not_sent_to_another_server() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    machine.write("p/s1.jsonl", "{}\n");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let front = Front::start(&server.url, "");
    let location = format!("Location: http://{}/\r\n", other.local_addr().unwrap());
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
    ] {
        front.answer(status, &location);
        let output = machine.push(&front.url, &[]);
        assert_eq!(output.code, 3, "{output:?}");
        assert!(
            output.stderr.contains("redirects to another URL"),
            "{output:?}"
        );
    }
    assert!(other.accept().is_err(), "the program followed the redirect");
    machine.push_all(&front.url, &[]);
    check_equal(&dir, &machine);
}

#[test]
fn a_busy_server_gets_the_pause_that_it_asks_for() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    machine.write("p/s1.jsonl", "{}\n");
    let front = Front::start(&server.url, "");
    // Two seconds after the time of the proxy, whose clock is wrong.
    let date =
        "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nRetry-After: Mon, 01 Jan 2024 00:00:02 GMT\r\n";
    for (status, headers) in [
        ("503 Service Unavailable", "Retry-After: 2\r\n"),
        ("429 Too Many Requests", date),
    ] {
        front.answer(status, headers);
        let started = Instant::now();
        let output = machine.push_all(&front.url, &[]);
        assert!(started.elapsed() >= Duration::from_secs(2), "{output:?}");
        assert!(output.stderr.contains("retrying in"), "{output:?}");
        check_equal(&dir, &machine);
        machine.append("p/s1.jsonl", "{\"a\":1}\n");
    }
    // A pause that is too long for a run that does not watch.
    front.answer("503 Service Unavailable", "Retry-After: 99999999999999\r\n");
    let started = Instant::now();
    let output = machine.push(&front.url, &[]);
    assert_eq!(output.code, 3, "{output:?}");
    assert!(
        output.stderr.contains("is sent the next time"),
        "{output:?}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    // A proxy that accepts only small requests.
    front.answer("413 Payload Too Large", "");
    let output = machine.push(&front.url, &[]);
    assert_eq!(output.code, 3, "{output:?}");
    assert!(
        output.stderr.contains("limits the size of requests"),
        "{output:?}"
    );
    machine.push_all(&front.url, &[]);
    check_equal(&dir, &machine);
}

#[test]
fn proxies_of_the_environment_are_used_and_never_see_the_token() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    machine.write("p/s1.jsonl", "{}\n");
    let tunnels = Tunnels::start();
    let push = |name: &str, value: &str, no_proxy: &str| {
        let mut command = machine.command(&server.url, &[]);
        command.env(name, value).env("NO_PROXY", no_proxy);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    push("HTTP_PROXY", &tunnels.url, "");
    check_equal(&dir, &machine);
    let opened = tunnels.opened();
    let address = server.url.strip_prefix("http://").unwrap();
    assert!(!opened.is_empty(), "the proxy was not used");
    for head in &opened {
        assert!(head.starts_with(&format!("CONNECT {address} ")), "{head}");
        assert!(!head.contains("sp_") && !head.contains("Bearer"), "{head}");
    }
    machine.append("p/s1.jsonl", "{\"a\":1}\n");
    push("ALL_PROXY", &tunnels.url, "127.0.0.1");
    check_equal(&dir, &machine);
    assert_eq!(tunnels.opened().len(), opened.len(), "NO_PROXY was ignored");
}

#[test]
fn an_expired_token_stops_sending_and_a_new_one_continues() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let token = |expires_at: Value| {
        let body = json!({ "role": "member", "user": "ada@example.com", "expires_at": expires_at });
        let created = server.post_json("/api/admin/tokens", &body).json();
        created["token"].as_str().unwrap().to_owned()
    };
    let mut machine = Machine::new(&token("2100-01-02T00:00:00Z".into()));
    machine.write("p/s1.jsonl", "{}\n");
    machine.push_all(&server.url, &[]);
    dir.clock().advance(Duration::from_secs(24 * 3600));
    machine.append("p/s1.jsonl", "{\"a\":1}\n");
    for args in [&[][..], &["--watch"]] {
        let output = machine.push(&server.url, args);
        assert_eq!(output.code, 3, "{output:?}");
        let is_reported = output
            .stderr
            .contains("rejected the token: this token has expired");
        assert!(is_reported, "{output:?}");
    }
    assert_eq!(stored(&dir)["claude/p/s1.jsonl"], b"{}\n");
    machine.token = token(Value::Null);
    let output = machine.push_all(&server.url, &[]);
    assert_eq!(output.figure("sent_bytes"), 8);
    check_equal(&dir, &machine);
}

#[test]
fn a_full_disk_of_the_server_delays_uploads_and_loses_nothing() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    machine.write("p/s1.jsonl", "{}\n");
    machine.push_all(&server.url, &[]);
    server.stop();
    let mut config = dir.config();
    config.service.free_space_min = 1 << 50;
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[]);
    machine.append("p/s1.jsonl", "{\"a\":1}\n");
    machine.write("p/s2.jsonl", "{}\n");
    let output = machine.push(&server.url, &[]);
    assert_eq!(output.code, 3, "{output:?}");
    assert_eq!(output.figure("pending_files"), 2);
    let is_reported = output.stderr.contains("free space") && output.stderr.contains("507");
    assert!(is_reported, "{output:?}");
    assert_eq!(stored(&dir).len(), 1);
    server.stop();
    let server = TestServer::start(&dir, &[]);
    machine.push_all(&server.url, &[]);
    check_equal(&dir, &machine);
}

#[test]
fn clocks_that_jump_neither_repeat_nor_delay_anything() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    machine.write("p/s1.jsonl", "{\"a\":1}\n");
    machine.write("p/s2.jsonl", "{\"b\":1}\n");
    machine.push_all(&server.url, &[]);
    // Everything that was recorded is in the future, as after a clock that was wrong for a while.
    let names = ["attempted_at", "succeeded_at", "compared_at"];
    set_times(&machine, &names, 4_102_444_800);
    let day = Duration::from_secs(24 * 3600);
    for (path, modified) in [
        ("p/s1.jsonl", SystemTime::now() + 365 * day),
        ("p/s2.jsonl", SystemTime::UNIX_EPOCH + day),
    ] {
        machine.append(path, "{\"c\":1}\n");
        let file = fs::File::open(machine.projects().join(path)).unwrap();
        file.set_modified(modified).unwrap();
    }
    let output = machine.push_all(&server.url, &[]);
    assert_eq!(output.figure("sent_bytes"), 16);
    check_equal(&dir, &machine);
    std::thread::sleep(Duration::from_millis(150));
    machine.push_all(&server.url, &[]);
    let idle = machine.push_all(&server.url, &[]);
    assert_eq!(idle.figure("requests"), 0);
}
