//! The command line sends a token only to the server that the token belongs to.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use session_pipeline_harness::DataDir;

use super::serve::ServerProcess;
use super::{CliOutput, program};

/// A well-formed token that does not exist.
const TOKEN: &str = "sp_00112233445566778899aabbccddeeff";

/// A server that returns a fixed response and records all requests.
struct RecordingServer {
    url: String,
    requests: Receiver<String>,
}

impl RecordingServer {
    fn start(response: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (send, requests) = channel();
        let response = response.to_owned();
        // The thread runs until the test process exits.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_millis(200)))
                    .unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(bytes) = stream.read(&mut buffer) {
                    request.extend_from_slice(&buffer[..bytes]);
                    if bytes == 0 || request.windows(4).any(|end| end == b"\r\n\r\n") {
                        break;
                    }
                }
                let _ = send.send(String::from_utf8_lossy(&request).into_owned());
                let _ = stream.write_all(response.as_bytes());
            }
        });
        Self { url, requests }
    }

    /// All requests since the last call.
    fn take_requests(&self) -> String {
        self.requests.try_iter().collect::<Vec<_>>().join("\n")
    }
}

const EMPTY_OBJECT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{}";

fn run_cli_with_env(dir: &DataDir, environment: &[(&str, &str)], arguments: &[&str]) -> CliOutput {
    let mut command = program(dir);
    let data_dir = dir.path().to_str().unwrap().to_owned();
    command
        .envs(environment.iter().copied())
        .args(["--data-dir", &data_dir])
        .args(arguments);
    CliOutput::of(dir, command.output().unwrap())
}

#[test]
fn no_proxy_from_the_environment_receives_a_token() {
    let dir = DataDir::new();
    let server = ServerProcess::start(&dir, &[]);
    let proxy = RecordingServer::start(EMPTY_OBJECT);
    let url = server.url().to_owned();
    let token = fs::read_to_string(dir.path().join("state/admin-token")).unwrap();
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "HTTPS_PROXY",
        "https_proxy",
    ] {
        let environment = [
            (name, proxy.url.as_str()),
            ("SESSION_PIPELINE_TOKEN", token.trim()),
        ];
        for arguments in [
            &["token", "list"][..],
            &["--api", &url, "token", "list"],
            &["run", "usage"],
        ] {
            let output = run_cli_with_env(&dir, &environment, arguments);
            assert_eq!(output.code, 0, "{name} {arguments:?}: {output:?}");
        }
        let output = run_cli_with_env(&dir, &[(name, &proxy.url)], &["token", "list"]);
        assert_eq!(output.code, 0, "{name}: {output:?}");
    }
    assert_eq!(proxy.take_requests(), "");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_stored_token_is_sent_only_to_the_server_of_the_data_dir() {
    let dir = DataDir::new();
    let other = RecordingServer::start(EMPTY_OBJECT);
    let secret = ("SCHEDULER_API_TOKEN", crate::http::SECRET);
    let server = ServerProcess::start(&dir, &[secret]);
    let (own, port) = (
        server.url().to_owned(),
        server.url().rsplit(':').next().unwrap(),
    );
    // The server of the data directory, by its URL.
    for environment in [&[][..], &[secret]] {
        let output = run_cli_with_env(&dir, environment, &["--api", &own, "processors", "list"]);
        assert_eq!(output.code, 0, "{output:?}");
        let path = format!("{own}/");
        assert_eq!(
            run_cli_with_env(&dir, environment, &["--api", &path, "processors", "list"]).code,
            0
        );
    }
    // Any other server, even with a similar URL.
    let address = other.url.strip_prefix("http://").unwrap();
    for url in [
        other.url.clone(),
        format!("http://localhost:{}", address.rsplit(':').next().unwrap()),
        format!("http://localhost:{port}"),
        format!("https://127.0.0.1:{port}"),
        "http://127.0.0.1:1".to_owned(),
    ] {
        for environment in [&[][..], &[secret]] {
            for arguments in [&["token", "list"][..], &["run", "usage"], &["status"]] {
                let output =
                    run_cli_with_env(&dir, environment, &[&["--api", &url], arguments].concat());
                assert_eq!(output.code, 3, "{url}: {output:?}");
                assert!(
                    output.stderr.contains("SESSION_PIPELINE_TOKEN"),
                    "{output:?}"
                );
            }
            let variables = [environment, &[("SESSION_PIPELINE_API", url.as_str())]].concat();
            assert_eq!(
                run_cli_with_env(&dir, &variables, &["status"]).code,
                3,
                "{url}"
            );
        }
    }
    // URLs with credentials are rejected, even if they start like the URL of the server.
    for url in [
        format!("{own}@{address}"),
        format!("http://127.0.0.1:{port}@{address}/"),
        format!("http://user:pw@127.0.0.1:{port}"),
    ] {
        let output = run_cli_with_env(&dir, &[], &["--api", &url, "status"]);
        assert_eq!(output.code, 2, "{url}: {output:?}");
    }
    assert_eq!(other.take_requests(), "");
    // An explicit token is sent to any server.
    let explicit = [("SESSION_PIPELINE_TOKEN", TOKEN), secret];
    run_cli_with_env(&dir, &explicit, &["--api", &other.url, "status"]);
    let requests = other.take_requests();
    assert!(requests.contains(TOKEN), "{requests}");
    assert!(!requests.contains(crate::http::SECRET), "{requests}");
    assert_eq!(server.stop(), 0);
    // After the server stopped, any program can listen on its address.
    let output = run_cli_with_env(&dir, &[], &["--api", &own, "status"]);
    assert!(
        output.stderr.contains("no token for the server"),
        "{output:?}"
    );
}

#[test]
fn a_redirect_sends_no_token_to_another_server() {
    let dir = DataDir::new();
    let other = RecordingServer::start(EMPTY_OBJECT);
    for status in [
        "301 Moved",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let response = format!(
            "HTTP/1.1 {status}\r\nLocation: {}/api/health\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            other.url
        );
        let first = RecordingServer::start(&response);
        for command in [&["status"][..], &["run", "usage"]] {
            let arguments = [&["--api", &first.url], command].concat();
            let output = run_cli_with_env(&dir, &[("SESSION_PIPELINE_TOKEN", TOKEN)], &arguments);
            assert_eq!(output.code, 3, "{status}: {output:?}");
        }
        assert!(first.take_requests().contains(TOKEN));
    }
    assert_eq!(other.take_requests(), "");
}

#[test]
fn plain_http_to_another_machine_prints_a_warning() {
    let dir = DataDir::new();
    let token = [("SESSION_PIPELINE_TOKEN", TOKEN)];
    // Names that never resolve, and addresses without a server.
    for (url, is_warned) in [
        ("http://pipeline.invalid", true),
        ("http://localhost.invalid:80", true),
        ("http://0.0.0.0:1", true),
        ("https://pipeline.invalid", false),
        ("http://127.0.0.1:1", false),
        ("http://127.9.9.9:1", false),
        ("http://[::1]:1", false),
        ("http://localhost:1", false),
    ] {
        let output = run_cli_with_env(&dir, &token, &["--api", url, "status"]);
        assert_eq!(output.code, 3, "{url}: {output:?}");
        let has_warning =
            output.stderr.contains("warning: ") && output.stderr.contains("plain HTTP");
        assert_eq!(has_warning, is_warned, "{url}: {output:?}");
    }
}

#[test]
fn the_released_program_ignores_test_variables() {
    let dir = DataDir::new();
    dir.write(
        "ada/one.jsonl",
        session_pipeline_harness::Transcript::new("s1").user("hello"),
    );
    let program = session_pipeline_harness::program::path().with_file_name("session-pipeline");
    let (record, folder) = (dir.path().join("record"), dir.path().join("compiled"));
    for plan in ["kill:scan done", "kill:1", "record", "nonsense"] {
        let output = std::process::Command::new(&program)
            .env_clear()
            .env(
                "SESSION_PIPELINE_KILL_POINTS",
                format!("{plan}:{}", record.display()),
            )
            .env("SESSION_PIPELINE_COMPILED", &folder)
            .current_dir(dir.path())
            .args(["--data-dir", ".", "migrate"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{plan}: {output:?}");
        assert!(!record.exists() && !folder.exists(), "{plan}");
    }
    // Otherwise, the program under test is the same program.
    let help = |program: &std::path::Path| {
        let output = std::process::Command::new(program).arg("--help").output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(
        help(&program),
        help(&session_pipeline_harness::program::path())
    );
}
