//! To whom the command line shows a token: to the server that it belongs to, by no detour.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use session_pipeline_harness::DataDir;

use super::serve::Serving;
use super::{Ended, program};

/// Looks like a token, and is one that nobody made.
const TOKEN: &str = "sp_00112233445566778899aabbccddeeff";

/// A stranger's server, which answers everything with one answer and tells what it was sent.
struct Stranger {
    url: String,
    heard: Receiver<String>,
}

impl Stranger {
    fn start(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, heard) = channel();
        let answer = answer.to_owned();
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_millis(200)))
                    .unwrap();
                let mut heard = Vec::new();
                let mut piece = [0; 4096];
                while let Ok(bytes) = stream.read(&mut piece) {
                    heard.extend_from_slice(&piece[..bytes]);
                    if bytes == 0 || heard.windows(4).any(|end| end == b"\r\n\r\n") {
                        break;
                    }
                }
                let _ = tell.send(String::from_utf8_lossy(&heard).into_owned());
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { url, heard }
    }

    /// All that it was sent so far.
    fn heard(&self) -> String {
        self.heard.try_iter().collect::<Vec<_>>().join("\n")
    }
}

const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{}";

fn asked(dir: &DataDir, environment: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let mut command = program(dir);
    let data_dir = dir.path().to_str().unwrap().to_owned();
    command
        .envs(environment.iter().copied())
        .args(["--data-dir", &data_dir])
        .args(arguments);
    Ended::of(dir, command.output().unwrap())
}

#[test]
fn no_proxy_from_the_environment_receives_a_token() {
    let dir = DataDir::new();
    let serving = Serving::start(&dir, &[]);
    let proxy = Stranger::start(EMPTY);
    let url = serving.url().to_owned();
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
            let ended = asked(&dir, &environment, arguments);
            assert_eq!(ended.code, 0, "{name} {arguments:?}: {ended:?}");
        }
        let ended = asked(&dir, &[(name, &proxy.url)], &["token", "list"]);
        assert_eq!(ended.code, 0, "{name}: {ended:?}");
    }
    assert_eq!(proxy.heard(), "");
    assert_eq!(serving.stop(), 0);
}

#[test]
fn a_stored_token_is_sent_only_to_the_server_of_the_data_dir() {
    let dir = DataDir::new();
    let stranger = Stranger::start(EMPTY);
    let secret = ("SCHEDULER_API_TOKEN", crate::http::SECRET);
    let serving = Serving::start(&dir, &[secret]);
    let (own, port) = (
        serving.url().to_owned(),
        serving.url().rsplit(':').next().unwrap(),
    );
    // Its own server, by its address.
    for environment in [&[][..], &[secret]] {
        let ended = asked(&dir, environment, &["--api", &own, "processors", "list"]);
        assert_eq!(ended.code, 0, "{ended:?}");
        let path = format!("{own}/");
        assert_eq!(
            asked(&dir, environment, &["--api", &path, "processors", "list"]).code,
            0
        );
    }
    // Every other one, however much it looks like it.
    let address = stranger.url.strip_prefix("http://").unwrap();
    for url in [
        stranger.url.clone(),
        format!("http://localhost:{}", address.rsplit(':').next().unwrap()),
        format!("http://localhost:{port}"),
        format!("https://127.0.0.1:{port}"),
        "http://127.0.0.1:1".to_owned(),
    ] {
        for environment in [&[][..], &[secret]] {
            for arguments in [&["token", "list"][..], &["run", "usage"], &["status"]] {
                let ended = asked(&dir, environment, &[&["--api", &url], arguments].concat());
                assert_eq!(ended.code, 3, "{url}: {ended:?}");
                assert!(ended.stderr.contains("SESSION_PIPELINE_TOKEN"), "{ended:?}");
            }
            let variables = [environment, &[("SESSION_PIPELINE_API", url.as_str())]].concat();
            assert_eq!(asked(&dir, &variables, &["status"]).code, 3, "{url}");
        }
    }
    // Names that only begin like its own are no addresses, or others'.
    for url in [
        format!("{own}@{address}"),
        format!("http://127.0.0.1:{port}@{address}/"),
        format!("http://user:pw@127.0.0.1:{port}"),
    ] {
        let ended = asked(&dir, &[], &["--api", &url, "status"]);
        assert_eq!(ended.code, 2, "{url}: {ended:?}");
    }
    assert_eq!(stranger.heard(), "");
    // An explicit token goes where it is told to.
    let explicit = [("SESSION_PIPELINE_TOKEN", TOKEN), secret];
    asked(&dir, &explicit, &["--api", &stranger.url, "status"]);
    let heard = stranger.heard();
    assert!(heard.contains(TOKEN), "{heard}");
    assert!(!heard.contains(crate::http::SECRET), "{heard}");
    assert_eq!(serving.stop(), 0);
    // The address of a server that is gone is anybody's.
    let ended = asked(&dir, &[], &["--api", &own, "status"]);
    assert!(
        ended.stderr.contains("no token for the server"),
        "{ended:?}"
    );
}

#[test]
fn a_redirect_sends_no_token_to_another_server() {
    let dir = DataDir::new();
    let other = Stranger::start(EMPTY);
    for status in [
        "301 Moved",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let answer = format!(
            "HTTP/1.1 {status}\r\nLocation: {}/api/health\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            other.url
        );
        let first = Stranger::start(&answer);
        for command in [&["status"][..], &["run", "usage"]] {
            let arguments = [&["--api", &first.url], command].concat();
            let ended = asked(&dir, &[("SESSION_PIPELINE_TOKEN", TOKEN)], &arguments);
            assert_eq!(ended.code, 3, "{status}: {ended:?}");
        }
        assert!(first.heard().contains(TOKEN));
    }
    assert_eq!(other.heard(), "");
}

#[test]
fn plain_http_to_another_machine_prints_a_warning() {
    let dir = DataDir::new();
    let token = [("SESSION_PIPELINE_TOKEN", TOKEN)];
    // Names that never resolve, and addresses that lead nowhere.
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
        let ended = asked(&dir, &token, &["--api", url, "status"]);
        assert_eq!(ended.code, 3, "{url}: {ended:?}");
        let warned = ended.stderr.contains("warning: ") && ended.stderr.contains("plain HTTP");
        assert_eq!(warned, is_warned, "{url}: {ended:?}");
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
    // What the suite starts is the same program but for that.
    let help = |program: &std::path::Path| {
        let output = std::process::Command::new(program).arg("--help").output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(
        help(&program),
        help(&session_pipeline_harness::program::path())
    );
}
