//! Slow clients, large requests, and too many connections.
//!
//! Most of these tests do not measure time: each client waits until the server disconnects it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use session_pipeline::http::HttpLimits;
use session_pipeline_harness::DataDir;

use super::{SECRET, TestServer};

fn start_with_limits(dir: &DataDir, limits: HttpLimits) -> TestServer {
    TestServer::start_with(dir, dir.config(), limits, &[])
}

fn connect(server: &TestServer) -> TcpStream {
    let stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
}

/// Sends a byte every few milliseconds until the server disconnects. Returns the response.
fn send_slowly(mut stream: TcpStream, byte: u8) -> String {
    stream
        .set_read_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    let mut received = Vec::new();
    for _ in 0..12_000 {
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer) {
            Ok(0) => return String::from_utf8_lossy(&received).into_owned(),
            Ok(read) => received.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return String::from_utf8_lossy(&received).into_owned(),
        }
        // Fails once the server has disconnected.
        let _ = stream.write_all(&[byte]);
    }
    panic!(
        "the server did not disconnect: {}",
        String::from_utf8_lossy(&received)
    );
}

#[test]
fn a_client_that_sends_headers_too_slowly_is_disconnected() {
    let dir = DataDir::new();
    let server = start_with_limits(
        &dir,
        HttpLimits {
            header_time_max: Duration::from_millis(100),
            ..HttpLimits::default()
        },
    );
    let mut stream = connect(&server);
    stream
        .write_all(b"GET /api/health HTTP/1.1\r\nX-Slow: ")
        .unwrap();
    send_slowly(stream, b'a');
    let silent = connect(&server);
    read_to_end(silent);
    assert_eq!(
        server.get("/api/health").status,
        200,
        "other clients are served"
    );
}

fn read_to_end(mut stream: TcpStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

#[test]
fn a_client_that_sends_a_body_too_slowly_gets_408() {
    let dir = DataDir::new();
    let limits = HttpLimits {
        body_time_max: Duration::from_millis(100),
        upload_time_max: Duration::from_millis(100),
        ..HttpLimits::default()
    };
    let server = start_with_limits(&dir, limits);
    let head = |path: &str, kind: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: {kind}\r\nContent-Length: 50000\r\n\r\n",
            server.admin
        )
    };
    let mut stream = connect(&server);
    stream
        .write_all(head("/api/admin/tokens", "application/json").as_bytes())
        .unwrap();
    let received = send_slowly(stream, b' ');
    assert!(received.starts_with("HTTP/1.1 408 "), "{received}");
    assert!(
        received.contains(
            r#"{"detail":"the request body arrived too slowly; send it within 0.1 s, or an upload within 0.1 s and at no less than 8192 bytes per second","class":"request_timeout"}"#
        ),
        "{received}"
    );
    let mut stream = connect(&server);
    let form = "multipart/form-data; boundary=border";
    stream
        .write_all(head("/api/upload/sessions", form).as_bytes())
        .unwrap();
    stream.write_all(b"--border\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n").unwrap();
    let received = send_slowly(stream, b'a');
    assert!(received.starts_with("HTTP/1.1 408 "), "{received}");
    let left = std::fs::read_dir(dir.sessions_root()).unwrap();
    for user in left {
        assert_eq!(
            std::fs::read_dir(user.unwrap().path()).unwrap().count(),
            0,
            "the upload must leave no file"
        );
    }
}

#[test]
fn headers_above_the_limit_are_rejected() {
    let dir = DataDir::new();
    let server = start_with_limits(
        &dir,
        HttpLimits {
            header_bytes_max: 8192,
            ..HttpLimits::default()
        },
    );
    let mut stream = connect(&server);
    let head = format!(
        "GET /api/health HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n\r\n",
        "a".repeat(20_000)
    );
    // The server can disconnect before everything is sent.
    let _ = stream.write_all(head.as_bytes());
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received);
    let received = String::from_utf8_lossy(&received);
    assert!(
        received.is_empty() || received.starts_with("HTTP/1.1 431 "),
        "{received}"
    );
    assert_eq!(server.get("/api/health").status, 200);
}

#[test]
fn connections_above_the_limit_wait_for_a_slot() {
    let dir = DataDir::new();
    let server = start_with_limits(
        &dir,
        HttpLimits {
            connections_max: 1,
            header_time_max: Duration::from_millis(200),
            ..HttpLimits::default()
        },
    );
    let idle = connect(&server);
    // Served as soon as the server disconnects the idle client.
    let mut next = connect(&server);
    next.write_all(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut received = String::new();
    next.read_to_string(&mut received).unwrap();
    assert!(received.starts_with("HTTP/1.1 200 "), "{received}");
    drop(idle);
}

/// The head of an upload. The test never sends the body.
fn upload_head(token: &str) -> String {
    format!(
        "POST /api/upload/sessions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: multipart/form-data; boundary=border\r\nContent-Length: 50000\r\n\r\n"
    )
}

/// Reads the first line and nothing after it.
fn first_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap_or(0) == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

#[test]
fn a_rejection_is_sent_before_the_body_arrives_and_closes_the_connection() {
    let dir = DataDir::new();
    let server = start_with_limits(&dir, HttpLimits::default());
    let started = Instant::now();
    let post = |path: &str, token: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: 50000\r\n\r\n"
        )
    };
    let heads = [
        (upload_head("sp_unknown"), 401),
        (upload_head(""), 401),
        (upload_head(SECRET), 403),
        (post("/api/admin/tokens", "sp_unknown"), 401),
        (post("/api/admin/tokens", &server.analyst), 403),
        (post("/nowhere", "sp_unknown"), 404),
        (post("/nowhere", &server.admin), 404),
        (post("/api/health", &server.admin), 405),
    ];
    let mut streams = Vec::new();
    for (head, status) in heads {
        let mut stream = connect(&server);
        stream.write_all(head.as_bytes()).unwrap();
        let line = first_line(&mut stream);
        assert!(
            line.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head}: {line}"
        );
        streams.push(stream);
    }
    let time_to_responses = started.elapsed();
    assert!(
        time_to_responses < Duration::from_secs(2),
        "{time_to_responses:?}"
    );
    for mut stream in streams {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    let time_to_close = started.elapsed();
    assert!(time_to_close < Duration::from_secs(5), "{time_to_close:?}");
}

#[test]
fn uploads_without_a_body_lock_no_one_out() {
    let dir = DataDir::new();
    let limits = HttpLimits {
        connections_max: 20,
        health_connections_max: 2,
        ..HttpLimits::default()
    };
    let server = start_with_limits(&dir, limits);
    let idle: Vec<TcpStream> = (0..60)
        .map(|number| {
            let mut stream = connect(&server);
            if number % 2 == 0 {
                stream
                    .write_all(upload_head("sp_unknown").as_bytes())
                    .unwrap();
            }
            stream
        })
        .collect();
    let started = Instant::now();
    assert_eq!(server.get("/api/health").status, 200);
    assert_eq!(server.get("/api/admin/tokens").status, 200);
    let waited = started.elapsed();
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    drop(idle);
}

/// Starts an upload whose body never comes.
fn slow_upload(server: &TestServer, token: &str) -> TcpStream {
    let mut stream = connect(server);
    let head = upload_head(token).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(first_line(&mut stream), "HTTP/1.1 100 Continue");
    stream
}

/// The status line of a request of the admin on a connection of its own.
fn status_line(server: &TestServer, path: &str) -> String {
    let mut stream = connect(server);
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        server.admin
    );
    stream.write_all(head.as_bytes()).unwrap();
    let line = first_line(&mut stream);
    read_to_end(stream);
    line
}

#[test]
fn one_caller_cannot_occupy_all_connections() {
    let dir = DataDir::new();
    let limits = HttpLimits {
        connections_max: 4,
        health_connections_max: 1,
        ..HttpLimits::default()
    };
    let server = start_with_limits(&dir, limits);
    let busy = [(); 4].map(|()| slow_upload(&server, &server.analyst));
    for _ in 0..3 {
        assert_eq!(status_line(&server, "/api/admin/tokens"), "HTTP/1.1 200 OK");
    }
    drop(busy);
}

#[test]
fn health_responds_while_all_connections_are_busy() {
    let dir = DataDir::new();
    let limits = HttpLimits {
        connections_max: 4,
        health_connections_max: 1,
        ..HttpLimits::default()
    };
    let server = start_with_limits(&dir, limits);
    // Each serves a caller with a token, so none of them can be evicted.
    let busy: Vec<TcpStream> = [
        &server.analyst,
        &server.admin,
        &server.analyst,
        &server.admin,
    ]
    .map(|token| slow_upload(&server, token))
    .into();
    let status_line = |path: &str| status_line(&server, path);
    assert_eq!(status_line("/api/health"), "HTTP/1.1 200 OK");
    assert_eq!(status_line("/api/version"), "HTTP/1.1 200 OK");
    assert_eq!(
        status_line("/api/admin/tokens"),
        "HTTP/1.1 503 Service Unavailable"
    );
    drop(busy);
    super::runs::wait_until("the busy connections are closed", || {
        status_line("/api/admin/tokens") == "HTTP/1.1 200 OK"
    });
}
