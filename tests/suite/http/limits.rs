//! Clients that send too slowly, too much, or too many at once.
//!
//! Nothing here measures time: each client waits until the server has had enough of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use session_pipeline::http::HttpLimits;
use session_pipeline_harness::DataDir;

use super::{SECRET, TestServer};

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
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: {kind}\r\nContent-Length: 50000\r\n\r\n",
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
            r#"{"detail":"the request body did not arrive in time: send it within 0.1 s, an upload within 0.1 s and at 8192 bytes a second or more","class":"request_timeout"}"#
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
        "GET /api/health HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n\r\n",
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
    next.write_all(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut said = String::new();
    next.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    drop(idle);
}

/// The head of an upload whose body never comes.
fn announced(token: &str) -> String {
    format!(
        "POST /api/upload/sessions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: multipart/form-data; boundary=border\r\nContent-Length: 50000\r\n\r\n"
    )
}

/// Reads until the first line is there, and no further.
fn first_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap_or(0) == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

#[test]
fn a_rejection_is_sent_before_the_body_and_its_connection_ends_soon_after() {
    let dir = DataDir::new();
    let server = impatient(&dir, HttpLimits::default());
    let began = Instant::now();
    let post = |path: &str, token: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: 50000\r\n\r\n"
        )
    };
    let heads = [
        (announced("sp_unknown"), 401),
        (announced(""), 401),
        (announced(SECRET), 403),
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
    let answered = began.elapsed();
    assert!(answered < Duration::from_secs(2), "{answered:?}");
    for mut stream in streams {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    let ended = began.elapsed();
    assert!(ended < Duration::from_secs(5), "{ended:?}");
}

#[test]
fn uploads_that_are_only_announced_lock_no_one_out() {
    let dir = DataDir::new();
    let limits = HttpLimits {
        connections_max: 20,
        health_connections_max: 2,
        ..HttpLimits::default()
    };
    let server = impatient(&dir, limits);
    let idle: Vec<TcpStream> = (0..60)
        .map(|number| {
            let mut stream = connect(&server);
            if number % 2 == 0 {
                stream
                    .write_all(announced("sp_unknown").as_bytes())
                    .unwrap();
            }
            stream
        })
        .collect();
    let began = Instant::now();
    assert_eq!(server.get("/api/health").status, 200);
    assert_eq!(server.get("/api/admin/tokens").status, 200);
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    drop(idle);
}

#[test]
fn health_is_answered_where_all_connections_are_busy() {
    let dir = DataDir::new();
    let limits = HttpLimits {
        connections_max: 3,
        health_connections_max: 1,
        ..HttpLimits::default()
    };
    let server = impatient(&dir, limits);
    // Each is at work for a caller with a token, so none of them is closed for another one.
    let busy: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = connect(&server);
            let head = announced(&server.analyst);
            let head = head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            assert_eq!(first_line(&mut stream), "HTTP/1.1 100 Continue");
            stream
        })
        .collect();
    let ask = |path: &str| {
        let mut stream = connect(&server);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            server.admin
        );
        stream.write_all(head.as_bytes()).unwrap();
        let line = first_line(&mut stream);
        drip_nothing(stream);
        line
    };
    assert_eq!(ask("/api/health"), "HTTP/1.1 200 OK");
    assert_eq!(ask("/api/version"), "HTTP/1.1 200 OK");
    assert_eq!(ask("/api/admin/tokens"), "HTTP/1.1 503 Service Unavailable");
    drop(busy);
    super::runs::wait_until("the others are gone", || {
        ask("/api/admin/tokens") == "HTTP/1.1 200 OK"
    });
}
