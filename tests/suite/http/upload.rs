//! Uploads: what is kept, under whose name, and what is refused.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use session_pipeline::http::HttpLimits;
use session_pipeline_harness::{DataDir, Session};
use session_pipeline_runtime::config::Config;

use super::{Answer, SECRET, TestServer};
use crate::database::rows;
use crate::guests::usage;

const UPLOAD: &str = "/api/upload/sessions";

/// A form with one file.
fn form(field: &str, name: &str, content: &[u8]) -> Vec<u8> {
    let mut form = format!(
        "--border\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    form.extend_from_slice(content);
    form.extend_from_slice(b"\r\n--border--\r\n");
    form
}

fn upload(server: &TestServer, token: &str, name: &str, content: &[u8]) -> Answer {
    let kind = "multipart/form-data; boundary=border";
    server.send("POST", UPLOAD, token, kind, &form("file", name, content))
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// The sessions of a data dir with what they hold; hidden files too.
fn kept(dir: &DataDir) -> Vec<(String, String)> {
    let mut kept = Vec::new();
    for user in fs::read_dir(dir.sessions_root()).unwrap() {
        for file in fs::read_dir(user.unwrap().path()).unwrap() {
            let file = file.unwrap();
            let content = fs::read_to_string(file.path()).unwrap();
            kept.push((file.file_name().into_string().unwrap(), content));
        }
    }
    kept.sort();
    kept
}

fn pair(name: &str, content: &str) -> (String, String) {
    (name.to_owned(), content.to_owned())
}

#[test]
fn an_upload_is_a_session_of_the_tokens_user() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[usage()]);
    let transcript = Session::new("s1").user("hello").text();
    let answer = upload(&server, &server.analyst, "s1.jsonl", transcript.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.json(),
        serde_json::json!({ "status": "ok", "filename": "s1.jsonl", "size": transcript.len() })
    );
    assert_eq!(
        server
            .post("/api/admin/run-session-processor?processor=usage")
            .json()["details"]["processed"],
        1
    );
    server.stop();
    assert_eq!(
        rows(&dir, "SELECT username, prompts FROM usage.sessions"),
        ["ada@example.com | 1"]
    );
    let owner = "SELECT count(*) FROM session_processor_state JOIN users ON starts_with(session_file, users.id || '/') WHERE email = 'ada@example.com'";
    assert_eq!(
        rows(&dir, owner),
        ["1"],
        "it lies in the folder of the user's id"
    );
    let audit = "SELECT params, result, email FROM audit_log JOIN users ON users.id = user_id WHERE action = 'session.upload'";
    assert_eq!(
        rows(&dir, audit),
        [format!(
            "{{\"bytes\":{},\"filename\":\"s1.jsonl\"}} | ok | ada@example.com",
            transcript.len()
        )]
    );
}

#[test]
fn a_compressed_upload_is_kept_as_it_was_before() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let answer = upload(&server, &server.analyst, "s1.jsonl.gz", &gzip(b"{}\n"));
    assert_eq!((answer.status, &answer.json()["size"]), (200, &3.into()));
    assert_eq!(kept(&dir), [pair("s1.jsonl", "{}\n")]);
}

#[test]
fn what_is_sent_again_takes_the_place_of_the_one_before() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    for content in ["{}\n", "{}\n{}\n"] {
        assert_eq!(
            upload(&server, &server.analyst, "s1.jsonl", content.as_bytes()).status,
            200
        );
    }
    assert_eq!(kept(&dir), [pair("s1.jsonl", "{}\n{}\n")]);
}

#[test]
fn names_that_lead_astray_or_hide_are_refused() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let long = "a".repeat(201);
    for name in [
        "",
        ".hidden.jsonl",
        "..",
        "../s1.jsonl",
        "a/b.jsonl",
        "a b.jsonl",
        "ü.jsonl",
        ".gz",
        "a%2fb.jsonl",
        &long,
    ] {
        let answer = upload(&server, &server.analyst, name, b"{}\n");
        assert_eq!(answer.status, 400, "{name:?}: {answer:?}");
        answer.refusal();
    }
    assert_eq!(
        upload(&server, &server.analyst, &long[1..], b"{}\n").status,
        200,
        "two hundred are allowed"
    );
    assert_eq!(
        kept(&dir).len(),
        1,
        "and nothing else is left, hidden or not"
    );
}

#[test]
fn what_is_no_complete_gzip_is_refused_and_leaves_nothing() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let whole = gzip(&[b'x'; 10_000]);
    for content in [&b"no gzip"[..], &whole[..whole.len() - 4], b""] {
        let answer = upload(&server, &server.analyst, "s1.jsonl.gz", content);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.refusal().contains("invalid_gzip"), "{answer:?}");
    }
    assert_eq!(kept(&dir), []);
}

#[test]
fn the_limit_holds_for_what_is_kept_and_not_only_for_what_is_sent() {
    let dir = DataDir::new();
    let limits = HttpLimits {
        upload_bytes_max: 1000,
        ..HttpLimits::default()
    };
    let server = TestServer::start_with(&dir, dir.config(), limits, &[]);
    let bomb = gzip(&[b'x'; 100_000]);
    assert!(bomb.len() < 1000);
    for (name, content, status) in [
        ("s1.jsonl.gz", bomb.as_slice(), 413),
        ("s2.jsonl", &[b'x'; 1001], 413),
        ("s3.jsonl", &[b'x'; 200_000], 413),
        ("s4.jsonl", &[b'x'; 1000], 200),
    ] {
        let answer = upload(&server, &server.analyst, name, content);
        assert_eq!(answer.status, status, "{name}: {answer:?}");
    }
    assert_eq!(kept(&dir).len(), 1);
}

#[test]
fn an_upload_needs_a_file_and_somebody_whose_it_is() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let kind = "multipart/form-data; boundary=border";
    let send = |token: &str, kind: &str, body: &[u8]| {
        server.send("POST", UPLOAD, token, kind, body).refusal()
    };
    insta::assert_snapshot!(send(&server.analyst, kind, &form("other", "s1.jsonl", b"{}\n")), @"400: the form has no field `file`");
    insta::assert_snapshot!(send(&server.analyst, "application/json", b"{}"), @"415: Invalid `boundary` for `multipart/form-data` request");
    insta::assert_snapshot!(send(SECRET, kind, &form("file", "s1.jsonl", b"{}\n")), @"403: this token belongs to nobody; upload with one made by `token create --user EMAIL`");
    let cut = &form("file", "s1.jsonl", b"{}\n")[..120];
    assert!(send(&server.analyst, kind, cut).starts_with("400: "));
    assert_eq!(kept(&dir), []);
}

#[test]
fn what_a_crash_left_of_an_upload_is_removed_at_the_next_start() {
    let dir = DataDir::new();
    for name in [".upload-abc", ".hidden", "s1.jsonl"] {
        dir.write(&format!("ada/{name}"), "{}\n");
    }
    let _server = TestServer::start(&dir, &[]);
    assert_eq!(
        kept(&dir),
        [pair(".hidden", "{}\n"), pair("s1.jsonl", "{}\n")]
    );
}

#[test]
fn sessions_that_lie_elsewhere_are_not_ours_to_write() {
    let dir = DataDir::new();
    let elsewhere = DataDir::new();
    let config = Config {
        sessions_root: elsewhere.sessions_root(),
        ..dir.config()
    };
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[]);
    let answer = upload(&server, &server.analyst, "s1.jsonl", b"{}\n");
    assert_eq!(answer.status, 409, "{answer:?}");
    assert_eq!((kept(&elsewhere), kept(&dir)), (Vec::new(), Vec::new()));
}
