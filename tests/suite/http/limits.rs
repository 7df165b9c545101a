//! Clients that send too slowly, too much, or too many at once.
//!
//! Nothing here measures time: each client waits until the server has had enough of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use session_pipeline::http::HttpLimits;
use session_pipeline_harness::DataDir;

use super::TestServer;

fn impatient(dir: &DataDir, limits: HttpLimits) -> TestServer {
    TestServer::start_with(dir, dir.config(), limits, &[])
}

fn connect(server: &TestServer) -> TcpStream {
    let stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
}

/// Sends a byte now and then until the server hangs up; gives what it said.
fn drip(mut stream: TcpStream, byte: u8) -> String {
    stream
        .set_read_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    let mut said = Vec::new();
    for _ in 0..12_000 {
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer) {
            Ok(0) => return String::from_utf8_lossy(&said).into_owned(),
            Ok(read) => said.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return String::from_utf8_lossy(&said).into_owned(),
        }
        // Once the server has hung up, there is nobody to send to.
        let _ = stream.write_all(&[byte]);
    }
    panic!(
        "the server still listens: {}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn a_client_whose_headers_drip_is_sent_away() {
    let dir = DataDir::new();
    let server = impatient(
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
    drip(stream, b'a');
    let silent = connect(&server);
    drip_nothing(silent);
    assert_eq!(server.get("/api/health").status, 200, "others are served");
}

fn drip_nothing(mut stream: TcpStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

#[test]
fn a_client_whose_body_drips_is_sent_away_with_a_reason() {
    let dir = DataDir::new();
    let limits = HttpLimits {
        body_time_max: Duration::from_millis(100),
        upload_time_max: Duration::from_millis(100),
        ..HttpLimits::default()
    };
    let server = impatient(&dir, limits);
    let head = |path: &str, kind: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {}\r\nContent-Type: {kind}\r\nContent-Length: 50000\r\n\r\n",
            server.admin
        )
    };
    let mut stream = connect(&server);
    stream
        .write_all(head("/api/admin/tokens", "application/json").as_bytes())
        .unwrap();
    let said = drip(stream, b' ');
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!(
        said.contains(
            r#"{"detail":"the body did not come within 0.1 s; send it faster, or less of it"}"#
        ),
        "{said}"
    );
    let mut stream = connect(&server);
    let form = "multipart/form-data; boundary=border";
    stream
        .write_all(head("/api/upload/sessions", form).as_bytes())
        .unwrap();
    stream.write_all(b"--border\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n").unwrap();
    let said = drip(stream, b'a');
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    let left = std::fs::read_dir(dir.sessions_root()).unwrap();
    for user in left {
        assert_eq!(
            std::fs::read_dir(user.unwrap().path()).unwrap().count(),
            0,
            "nothing is left of it"
        );
    }
}

#[test]
fn headers_beyond_their_limit_are_refused() {
    let dir = DataDir::new();
    let server = impatient(
        &dir,
        HttpLimits {
            header_bytes_max: 8192,
            ..HttpLimits::default()
        },
    );
    let mut stream = connect(&server);
    let head = format!(
        "GET /api/health HTTP/1.1\r\nX-Large: {}\r\n\r\n",
        "a".repeat(20_000)
    );
    // It may hang up before all of it is sent.
    let _ = stream.write_all(head.as_bytes());
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 431 "),
        "{said}"
    );
    assert_eq!(server.get("/api/health").status, 200);
}

#[test]
fn connections_beyond_their_limit_wait_for_their_turn() {
    let dir = DataDir::new();
    let server = impatient(
        &dir,
        HttpLimits {
            connections_max: 1,
            header_time_max: Duration::from_millis(200),
            ..HttpLimits::default()
        },
    );
    let idle = connect(&server);
    // Answered as soon as the idle one is sent away.
    let mut next = connect(&server);
    next.write_all(b"GET /api/health HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut said = String::new();
    next.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    drop(idle);
}
