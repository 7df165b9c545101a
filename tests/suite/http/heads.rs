//! Ambiguous request heads (request smuggling), and foreign host names (DNS rebinding).

use std::io::{Read, Write};
use std::net::TcpStream;

use session_pipeline::http::HttpLimits;
use session_pipeline_harness::DataDir;

use super::TestServer;

/// Sends a raw request. Returns the status line after the server closes the connection.
fn send_raw(server: &TestServer, request: &str) -> String {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    let _ = stream.read_to_string(&mut response);
    response.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn an_ambiguous_head_is_rejected() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let auth = format!("Authorization: Bearer {}\r\n", server.admin);
    let get = "GET /api/admin/tokens HTTP/1.1\r\n";
    let host = "Connection: close\r\nHost: localhost\r\n";
    assert_eq!(
        send_raw(&server, &format!("{get}{host}{auth}\r\n")),
        "HTTP/1.1 200 OK"
    );
    for request in [
        format!("{get}{host}{auth}{auth}\r\n"),
        format!("{get}{host}{auth}Authorization: Bearer other\r\n\r\n"),
        format!("{get}{auth}\r\n"),
        format!("{get}{host}{host}{auth}\r\n"),
        format!("{get}{host}Host: elsewhere.example\r\n{auth}\r\n"),
        format!("{get}Host: \r\n{auth}\r\n"),
        format!("{get}Host: ada@localhost\r\n{auth}\r\n"),
        format!("{get}Host: local host\r\n{auth}\r\n"),
        format!("{get}{host}{auth}\r\n").replace("\r\n", "\n"),
        format!("{get}{host}{}\r\n", auth.replace("\r\n", "\n")),
        format!("{get}{host}{auth}\n"),
        format!(
            "{get}{host}{auth}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        format!("{get}{host}{auth}Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let line = send_raw(&server, &request);
        assert_eq!(line, "HTTP/1.1 400 Bad Request", "{request}");
    }
    let old = format!("GET /api/admin/tokens HTTP/1.0\r\n{auth}\r\n");
    assert_eq!(
        send_raw(&server, &old),
        "HTTP/1.0 200 OK",
        "HTTP/1.0 has no Host header"
    );
}

#[test]
fn only_host_names_of_the_server_are_accepted() {
    let dir = DataDir::new();
    let mut config = dir.config();
    config.service.hosts = vec!["pipeline.example.com".to_owned(), "192.0.2.7".to_owned()];
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[]);
    let get = |host: &str| {
        send_raw(
            &server,
            &format!("GET /api/version HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        )
    };
    for own in [
        "localhost",
        "LOCALHOST:8080",
        "localhost.",
        "app.localhost:1",
        "127.0.0.1",
        "127.0.0.1:8080",
        "127.8.9.10",
        "[::1]:8080",
        "[::1]",
        "pipeline.example.com",
        "Pipeline.Example.com.:443",
        "192.0.2.7:80",
    ] {
        assert_eq!(get(own), "HTTP/1.1 200 OK", "{own}");
    }
    for foreign in [
        "attacker.example",
        "attacker.example:8080",
        "localhost.attacker.example",
        "127.0.0.1.attacker.example",
        "example.com",
        "evil-pipeline.example.com",
        "192.0.2.8",
        "0.0.0.0",
        "[2001:db8::1]:8080",
        "2130706433",
    ] {
        assert_eq!(
            get(foreign),
            "HTTP/1.1 421 Misdirected Request",
            "{foreign}"
        );
    }
    let absolute = "GET http://attacker.example/api/version HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(
        send_raw(&server, absolute),
        "HTTP/1.1 421 Misdirected Request"
    );
}
