//! Uploads that continue a stored file: offsets, hashes, encodings, paths, quotas and races.

mod appends;
mod paths;
mod rules;

use std::fs;
use std::io::Write as _;

use serde_json::{Value, json};
use session_pipeline::http::HttpLimits;
use session_pipeline_harness::{DataDir, Transcript};
use session_pipeline_pipeline::upload::{
    FileDigest, UploadChange, UploadError, UploadPart, UploadPath, Uploads, resume,
};
use sha2::{Digest as _, Sha256};
use ureq::http::Request;

use super::{form, gzip, upload};
use crate::database::rows;
use crate::guests::usage;
use crate::http::{TestServer, user_folder};

const PATH: &str = "claude/-home-dev-app/s1.jsonl";

/// A response to an upload: the status, the offset, `Retry-After` and the body.
#[derive(Debug)]
struct PutResponse {
    status: u16,
    offset: Option<u64>,
    retry_after: Option<u64>,
    body: Value,
}

fn sha256(bytes: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    FileDigest(digest).to_string()
}

/// Sends an upload with these fields.
fn put_with(
    server: &TestServer,
    token: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> PutResponse {
    let mut request = Request::builder()
        .method("PUT")
        .uri(format!("{}/api/upload/sessions/{path}", server.url))
        .header("Authorization", format!("Bearer {token}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let mut response = server.run(request.body(body.to_vec()).unwrap());
    let number = |name: &str| {
        let value = response.headers().get(name)?;
        value.to_str().unwrap().parse().ok()
    };
    let (offset, retry_after) = (number("upload-offset"), number("retry-after"));
    let text = response.body_mut().read_to_vec().unwrap();
    PutResponse {
        status: response.status().as_u16(),
        offset,
        retry_after,
        body: serde_json::from_slice(&text).unwrap(),
    }
}

/// Sends the bytes after a prefix.
fn put(server: &TestServer, path: &str, prefix: &[u8], body: &[u8]) -> PutResponse {
    let (offset, hash) = (prefix.len().to_string(), sha256(prefix));
    let fields = [
        ("Upload-Offset", offset.as_str()),
        ("Upload-Prefix-SHA256", hash.as_str()),
    ];
    put_with(server, &server.analyst, path, &fields, body)
}

fn manifest(server: &TestServer, entries: &Value) -> Value {
    let response = server.send(
        "POST",
        "/api/upload/manifest",
        &server.analyst,
        "application/json",
        entries.to_string().as_bytes(),
    );
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["files"].clone()
}

/// All files below the sessions root, by path without the user, including hidden ones.
fn stored(dir: &DataDir) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![dir.sessions_root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(dir.sessions_root()).unwrap();
                let below: std::path::PathBuf = below.components().skip(1).collect();
                let content = fs::read(&path).unwrap_or_default();
                files.push((below.to_str().unwrap().to_owned(), content));
            }
        }
    }
    files.sort();
    files
}

fn file(path: &str, content: &[u8]) -> (String, Vec<u8>) {
    (path.to_owned(), content.to_vec())
}

#[test]
fn a_session_is_continued_processed_and_recorded_once() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[usage()]);
    let text = Transcript::new("s1").user("hello").user("and again").text();
    let bytes = text.as_bytes();
    let (first, rest) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap() + 4);
    assert_eq!(
        manifest(&server, &json!([{ "path": PATH, "size": first.len() }])),
        json!([{ "path": PATH }])
    );
    let created = put(&server, PATH, b"", first);
    assert_eq!(
        (created.status, created.offset),
        (200, Some(first.len() as u64))
    );
    assert_eq!(
        created.body,
        json!({ "path": PATH, "size": first.len(), "sha256": sha256(first) })
    );
    let appended = put(&server, PATH, first, rest);
    assert_eq!(
        (appended.status, &appended.body["sha256"]),
        (200, &json!(sha256(bytes))),
        "{appended:?}"
    );
    assert_eq!(
        manifest(&server, &json!([{ "path": PATH, "size": bytes.len() }])),
        json!([{ "path": PATH, "stored": { "size": bytes.len(), "sha256": sha256(bytes) } }])
    );
    let replaced = put(&server, PATH, b"", bytes);
    assert_eq!(replaced.status, 200);
    assert_eq!(stored(&dir), [file(PATH, bytes)]);
    server.post("/api/admin/run-session-processor?processor=usage");
    server.stop();
    assert_eq!(rows(&dir, "SELECT prompts FROM usage.sessions"), ["2"]);
    let audit = "SELECT params FROM audit_log WHERE action = 'session.upload' ORDER BY id";
    let entry = |bytes: usize| format!("{{\"bytes\":{bytes},\"filename\":\"{PATH}\"}}");
    assert_eq!(
        rows(&dir, audit),
        [entry(first.len()), entry(bytes.len())],
        "an append is not recorded"
    );
}

#[test]
fn a_file_that_differs_gets_409_with_what_is_stored() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let text = b"{\"a\":1}\n";
    // Nothing is stored, and no folder is created.
    let missing = put(&server, PATH, text, b"{}\n");
    assert_eq!(missing.status, 409);
    assert_eq!(
        missing.body["stored"],
        json!({ "size": 0, "sha256": sha256(b"") })
    );
    assert_eq!(stored(&dir), []);
    assert_eq!(put(&server, PATH, b"", text).status, 200);
    for prefix in [&b"{\"a\":2}\n"[..], b"{\"a\"", b"{\"a\":1}\n{}\n"] {
        let differs = put(&server, PATH, prefix, b"{}\n");
        assert_eq!(differs.status, 409, "{differs:?}");
        assert_eq!(differs.body["class"], "conflict");
        assert_eq!(
            differs.body["stored"],
            json!({ "size": text.len(), "sha256": sha256(text) })
        );
    }
    // A file that an operator changed is read again, even if its size is the same.
    fs::write(user_folder(&dir).join(PATH), "{\"b\":1}\n").unwrap();
    assert_eq!(put(&server, PATH, text, b"{}\n").status, 409);
    assert_eq!(put(&server, PATH, b"{\"b\":1}\n", b"{}\n").status, 200);
    assert_eq!(stored(&dir), [file(PATH, b"{\"b\":1}\n{}\n")]);
}

#[test]
fn an_incomplete_upload_stores_only_whole_lines() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let send = |prefix: &[u8], complete: &str, body: &[u8]| {
        let (offset, hash) = (prefix.len().to_string(), sha256(prefix));
        let fields = [
            ("Upload-Offset", offset.as_str()),
            ("Upload-Prefix-SHA256", hash.as_str()),
            ("Upload-Complete", complete),
        ];
        put_with(&server, &server.analyst, PATH, &fields, body)
    };
    let part = send(b"", "?0", b"{}\n{\"half");
    assert_eq!((part.status, part.offset), (200, Some(3)));
    assert_eq!(part.body["sha256"], sha256(b"{}\n"));
    let nothing = send(b"{}\n", "?0", b"{\"half");
    assert_eq!((nothing.status, nothing.offset), (200, Some(3)));
    assert_eq!(stored(&dir), [file(PATH, b"{}\n")]);
    let end = send(b"{}\n", "?1", b"{\"half");
    assert_eq!((end.status, end.offset), (200, Some(9)));
    let rest = send(b"{}\n{\"half", "?0", b"\":1}\n[]\n[");
    assert_eq!((rest.status, rest.offset), (200, Some(17)));
    assert_eq!(stored(&dir), [file(PATH, b"{}\n{\"half\":1}\n[]\n")]);
    // A line that no processor reads cannot end progress.
    let long = vec![b'x'; 16 << 20];
    let prefix = b"{}\n{\"half\":1}\n[]\n";
    let part = send(prefix, "?0", &long);
    assert_eq!(part.offset, Some((prefix.len() + long.len()) as u64));
}

#[test]
fn an_empty_file_can_be_created_and_can_replace_another() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    assert_eq!(put(&server, PATH, b"", b"").status, 200);
    assert_eq!(stored(&dir), [file(PATH, b"")]);
    assert_eq!(put(&server, PATH, b"", b"{}\n").status, 200);
    let same = put(&server, PATH, b"{}\n", b"");
    assert_eq!((same.status, same.offset), (200, Some(3)));
    assert_eq!(put(&server, PATH, b"", b"").status, 200);
    assert_eq!(stored(&dir), [file(PATH, b"")]);
}

#[test]
fn compressed_uploads_are_decompressed_within_limits() {
    let dir = DataDir::new();
    let limits = HttpLimits {
        upload_bytes_max: 1_000_000,
        ..HttpLimits::default()
    };
    let server = TestServer::start_with(&dir, dir.config(), limits, &[]);
    let send = |coding: &str, body: &[u8]| {
        let fields = [("Upload-Offset", "0"), ("Content-Encoding", coding)];
        put_with(&server, &server.analyst, PATH, &fields, body)
    };
    let text = b"{\"a\":1}\n".repeat(1000);
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let window = |log: u32| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap()
    };
    let halves = text.split_at(text.len() / 2);
    for (coding, body) in [
        ("gzip", gzip(&text)),
        ("gzip", [gzip(halves.0), gzip(halves.1)].concat()),
        ("zstd", zstd(&text)),
        ("zstd", [zstd(halves.0), zstd(halves.1)].concat()),
        ("zstd", window(23)),
        ("identity", text.clone()),
    ] {
        let response = send(coding, &body);
        assert_eq!(response.status, 200, "{coding}: {response:?}");
        assert_eq!(stored(&dir), [file(PATH, &text)], "{coding}");
    }
    let bomb = vec![0; 50_000_000];
    for (name, coding, body, status) in [
        ("gzip bomb", "gzip", gzip(&bomb), 413),
        ("zstd bomb", "zstd", zstd(&bomb), 413),
        ("large body", "identity", vec![b'x'; 1_000_001], 413),
        ("large window", "zstd", window(27), 400),
        ("cut gzip", "gzip", gzip(&text)[..40].to_vec(), 400),
        ("cut zstd", "zstd", zstd(&text)[..20].to_vec(), 400),
        ("empty zstd", "zstd", Vec::new(), 400),
        (
            "garbage after zstd",
            "zstd",
            [zstd(&text), b"garbage".to_vec()].concat(),
            400,
        ),
        ("wrong coding", "zstd", gzip(&text), 400),
        ("unknown coding", "br", text.clone(), 415),
        ("two codings", "gzip, zstd", text.clone(), 415),
    ] {
        let response = send(coding, &body);
        assert_eq!(response.status, status, "{name}: {response:?}");
    }
    assert_eq!(stored(&dir), [file(PATH, &text)], "nothing else is left");
}

#[test]
fn invalid_fields_are_rejected_with_their_value() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let error = |fields: &[(&str, &str)]| {
        let response = put_with(&server, &server.analyst, PATH, fields, b"{}\n");
        let detail = response.body["detail"].as_str().unwrap().to_owned();
        format!("{}: {detail}", response.status)
    };
    insta::assert_snapshot!(error(&[]), @"400: the field `Upload-Offset` is missing; send the number of bytes before the body");
    insta::assert_snapshot!(error(&[("Upload-Offset", "-1")]), @"400: invalid field `Upload-Offset: -1`; send a number of bytes");
    insta::assert_snapshot!(error(&[("Upload-Offset", "99999999999999999999")]), @"400: invalid field `Upload-Offset: 99999999999999999999`; send a number of bytes");
    insta::assert_snapshot!(error(&[("Upload-Offset", "0"), ("Upload-Complete", "true")]), @"400: invalid field `Upload-Complete: true`; send `?1` or `?0`");
    insta::assert_snapshot!(error(&[("Upload-Offset", "3")]), @"400: the field `Upload-Prefix-SHA256` is missing; send the SHA-256 of the bytes before the offset");
    insta::assert_snapshot!(error(&[("Upload-Offset", "3"), ("Upload-Prefix-SHA256", "abc")]), @"400: invalid field `Upload-Prefix-SHA256: abc`; send 64 hexadecimal digits");
    assert_eq!(stored(&dir), []);
}

#[test]
fn of_two_uploads_to_one_path_one_wins_and_the_other_gets_409() {
    let dir = DataDir::new();
    let (config, uploads) = (dir.config(), Uploads::default());
    let path = UploadPath::parse(PATH).unwrap();
    let now = session_pipeline_host::clock::UtcMicros(0);
    let begin = |offset, prefix: &[u8]| {
        let digest: [u8; 32] = Sha256::digest(prefix).into();
        let part = UploadPart {
            offset,
            prefix: Some(FileDigest(digest)),
            is_complete: true,
        };
        resume(&config, &uploads, "ada", &path, part, now)
    };
    // Both create the file, then both append to it, then one replaces it meanwhile.
    for (first, second) in [(0, 0), (3, 3), (0, 6)] {
        let content = stored(&dir).pop().map(|file| file.1).unwrap_or_default();
        let mut one = begin(first, &content[..first as usize]).unwrap();
        let mut two = begin(second, &content[..second as usize]).unwrap();
        two.write_all(b"[]\n").unwrap();
        one.write_all(b"{}\n").unwrap();
        let finished = one.finish(&uploads).unwrap();
        assert_ne!(finished.change, UploadChange::Unchanged);
        match two.finish(&uploads) {
            Err(UploadError::Mismatch { stored, .. }) => assert_eq!(stored.size, finished.size),
            other => panic!("{first} and {second}: {other:?}"),
        }
    }
    assert_eq!(
        stored(&dir),
        [file(PATH, b"{}\n")],
        "no hidden file is left"
    );
}

#[test]
fn a_form_that_replaces_the_file_ends_an_upload_that_continues_it() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    assert_eq!(
        upload(&server, &server.analyst, "s1.jsonl", b"{}\n").status,
        200
    );
    assert_eq!(put(&server, "s1.jsonl", b"{}\n", b"[]\n").status, 200);
    let kind = "multipart/form-data; boundary=border";
    let again = form("file", "s1.jsonl", b"{\"a\":1}\n");
    assert_eq!(
        server
            .send("POST", super::UPLOAD, &server.analyst, kind, &again)
            .status,
        200
    );
    assert_eq!(put(&server, "s1.jsonl", b"{}\n[]\n", b"1\n").status, 409);
    assert_eq!(put(&server, "s1.jsonl", b"{\"a\":1}\n", b"1\n").status, 200);
    assert_eq!(stored(&dir), [file("s1.jsonl", b"{\"a\":1}\n1\n")]);
}
