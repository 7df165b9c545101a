//! Uploads: storage, file names, gzip, limits, and quotas.

mod obstacles;
mod resumable;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use session_pipeline::http::HttpLimits;
use session_pipeline_harness::{DataDir, Transcript};
use session_pipeline_pipeline::config::Config;

use super::{HttpResponse, SECRET, TestServer};
use crate::database::rows;
use crate::guests::usage;

const UPLOAD: &str = "/api/upload/sessions";

/// A multipart form with one file.
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

fn upload(server: &TestServer, token: &str, name: &str, content: &[u8]) -> HttpResponse {
    let kind = "multipart/form-data; boundary=border";
    server.send("POST", UPLOAD, token, kind, &form("file", name, content))
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// The names and contents of all stored files, including hidden ones, sorted.
fn stored_files(dir: &DataDir) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for user in fs::read_dir(dir.sessions_root()).unwrap() {
        for file in fs::read_dir(user.unwrap().path()).unwrap() {
            let file = file.unwrap();
            let content = fs::read_to_string(file.path()).unwrap();
            files.push((file.file_name().into_string().unwrap(), content));
        }
    }
    files.sort();
    files
}

fn pair(name: &str, content: &str) -> (String, String) {
    (name.to_owned(), content.to_owned())
}

#[test]
fn an_upload_becomes_a_session_of_the_tokens_user() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[usage()]);
    let transcript = Transcript::new("s1").user("hello").text();
    let response = upload(&server, &server.analyst, "s1.jsonl", transcript.as_bytes());
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(
        response.json(),
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
        "the session is in the folder with the id of the user"
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
fn a_compressed_upload_is_stored_decompressed() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    for (name, content) in [
        ("s1.jsonl.gz", gzip(b"{}\n")),
        ("s2.jsonl.zst", zstd(b"{}\n")),
    ] {
        let response = upload(&server, &server.analyst, name, &content);
        assert_eq!(
            (response.status, &response.json()["size"]),
            (200, &3.into()),
            "{name}"
        );
    }
    let stored = [pair("s1.jsonl", "{}\n"), pair("s2.jsonl", "{}\n")];
    assert_eq!(stored_files(&dir), stored);
    let frame = zstd(b"{}\n");
    for damaged in [b"{}\n", &frame[..frame.len() - 1], b""] {
        let response = upload(&server, &server.analyst, "s2.jsonl.zst", damaged);
        assert_eq!(response.status, 400, "{response:?}");
        assert!(response.error().contains("invalid_zstd"), "{response:?}");
    }
    assert_eq!(stored_files(&dir), stored);
}

#[test]
fn an_upload_replaces_an_earlier_upload_with_the_same_name() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    for content in ["{}\n", "{}\n{}\n"] {
        assert_eq!(
            upload(&server, &server.analyst, "s1.jsonl", content.as_bytes()).status,
            200
        );
    }
    assert_eq!(stored_files(&dir), [pair("s1.jsonl", "{}\n{}\n")]);
}

#[test]
fn invalid_and_hidden_file_names_are_rejected() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let long = format!("{}.jsonl", "a".repeat(195));
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
        ".jsonl",
        "s1",
        "s1.json",
        "s1.JSONL",
        "s1.jsonl.",
        "s1.jsonl.gz.gz",
        "s1.gz",
        "s1.zst",
        "s1.jsonl.zst.zst",
        "s1.jsonl.gz.zst",
        "jsonl",
        &long,
    ] {
        let response = upload(&server, &server.analyst, name, b"{}\n");
        assert_eq!(response.status, 400, "{name:?}: {response:?}");
        response.error();
    }
    assert_eq!(
        upload(&server, &server.analyst, &long[1..], b"{}\n").status,
        200,
        "a name of 200 characters is valid"
    );
    assert_eq!(
        stored_files(&dir).len(),
        1,
        "no other file is left, hidden or not"
    );
}

#[test]
fn incomplete_gzip_data_is_rejected_and_leaves_no_file() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let whole = gzip(&[b'x'; 10_000]);
    for content in [&b"no gzip"[..], &whole[..whole.len() - 4], b""] {
        let response = upload(&server, &server.analyst, "s1.jsonl.gz", content);
        assert_eq!(response.status, 400, "{response:?}");
        assert!(response.error().contains("invalid_gzip"), "{response:?}");
    }
    assert_eq!(stored_files(&dir), []);
}

#[test]
fn the_size_limit_applies_to_the_decompressed_size() {
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
        let response = upload(&server, &server.analyst, name, content);
        assert_eq!(response.status, status, "{name}: {response:?}");
    }
    assert_eq!(stored_files(&dir).len(), 1);
}

#[test]
fn an_upload_requires_a_file_and_a_token_with_a_user() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let kind = "multipart/form-data; boundary=border";
    let send = |token: &str, kind: &str, body: &[u8]| {
        server.send("POST", UPLOAD, token, kind, body).error()
    };
    let odd = form("file", "notes.txt", b"{}\n");
    insta::assert_snapshot!(send(&server.analyst, kind, &odd), @"400: invalid file name `notes.txt`: send a name of 1 to 200 characters of A-Z a-z 0-9 . _ - that ends with `.jsonl`, `.jsonl.gz` or `.jsonl.zst` and does not start with a dot");
    insta::assert_snapshot!(send(&server.analyst, kind, &form("other", "s1.jsonl", b"{}\n")), @"400: the form has no field `file`; send the session in this field");
    insta::assert_snapshot!(send(&server.analyst, "application/json", b"{}"), @"415: invalid form (Invalid `boundary` for `multipart/form-data` request); send `multipart/form-data` with the session in the field `file`");
    insta::assert_snapshot!(send(SECRET, kind, &form("file", "s1.jsonl", b"{}\n")), @"403: this token has no user; upload with a token from `token create --user EMAIL`");
    let truncated = &form("file", "s1.jsonl", b"{}\n")[..120];
    insta::assert_snapshot!(send(&server.analyst, kind, truncated), @r#"400: invalid form (field "file" received with incomplete data); send `multipart/form-data` with the session in the field `file`"#);
    assert_eq!(stored_files(&dir), []);
}

#[test]
fn unfinished_uploads_are_removed_at_the_next_start() {
    let dir = DataDir::new();
    for name in [".upload-abc", ".hidden", "s1.jsonl"] {
        dir.write(&format!("ada/{name}"), "{}\n");
    }
    let _server = TestServer::start(&dir, &[]);
    assert_eq!(
        stored_files(&dir),
        [pair(".hidden", "{}\n"), pair("s1.jsonl", "{}\n")]
    );
}

#[test]
fn an_upload_is_rejected_if_the_sessions_root_is_outside_the_data_directory() {
    let dir = DataDir::new();
    let elsewhere = DataDir::new();
    let config = Config {
        sessions_root: elsewhere.sessions_root(),
        ..dir.config()
    };
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[]);
    let response = upload(&server, &server.analyst, "s1.jsonl", b"{}\n");
    assert_eq!(response.status, 409, "{response:?}");
    assert_eq!(
        (stored_files(&elsewhere), stored_files(&dir)),
        (Vec::new(), Vec::new())
    );
}

#[test]
fn a_gzip_file_with_several_members_is_stored_and_processed_completely() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[usage()]);
    let first = Transcript::new("s1").user("hello").text();
    let second = Transcript::new("s1").user("and again").text();
    let members = [
        gzip(first.as_bytes()),
        gzip(b""),
        gzip(second.as_bytes()),
        gzip(b""),
    ];
    let response = upload(&server, &server.analyst, "s1.jsonl.gz", &members.concat());
    let size = (first.len() + second.len()) as u64;
    assert_eq!(
        (response.status, &response.json()["size"]),
        (200, &size.into())
    );
    assert_eq!(
        stored_files(&dir),
        [pair("s1.jsonl", &format!("{first}{second}"))]
    );
    server.post("/api/admin/run-session-processor?processor=usage");
    server.stop();
    assert_eq!(rows(&dir, "SELECT prompts FROM usage.sessions"), ["2"]);
}

#[test]
fn data_after_a_gzip_member_must_be_another_member() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let (one, two) = (gzip(b"{}\n"), gzip(b"[]\n"));
    let truncated = &two[..two.len() - 1];
    let mut wrong_checksum = two.clone();
    let index = wrong_checksum.len() - 8;
    wrong_checksum[index] ^= 1;
    for (name, rest) in [
        ("garbage", &b"garbage"[..]),
        ("one byte", b"x"),
        ("zeros", &[0; 512]),
        ("half a header", &two[..5]),
        ("a truncated member", truncated),
        ("a wrong checksum", &wrong_checksum),
    ] {
        let content = [&one, rest].concat();
        let response = upload(&server, &server.analyst, "s1.jsonl.gz", &content);
        assert_eq!(response.status, 400, "{name}: {response:?}");
        let error = response.error();
        assert!(error.contains("invalid_gzip"), "{name}: {error}");
        assert!(error.contains("after member 1"), "{name}: {error}");
    }
    assert_eq!(stored_files(&dir), []);
}

#[test]
fn the_total_size_and_the_number_of_gzip_members_are_limited() {
    let dir = DataDir::new();
    let limits = HttpLimits {
        upload_bytes_max: 3_000_000,
        ..HttpLimits::default()
    };
    let server = TestServer::start_with(&dir, dir.config(), limits, &[]);
    let member = gzip(&[b'x'; 1_000_000]);
    let bomb = member.repeat(4);
    let response = upload(&server, &server.analyst, "s1.jsonl.gz", &bomb);
    assert_eq!(response.status, 413, "{response:?}");
    let response = upload(&server, &server.analyst, "s1.jsonl.gz", &member.repeat(3));
    assert_eq!(response.status, 200, "{response:?}");
    let empty = gzip(b"");
    let many = empty.repeat(110_000);
    assert!(many.len() < 3_000_000);
    let response = upload(&server, &server.analyst, "s2.jsonl.gz", &many);
    assert_eq!(response.status, 400, "{response:?}");
    assert!(response.error().contains("members"), "{response:?}");
    assert_eq!(stored_files(&dir).len(), 1);
}

/// Sends a raw upload request. Returns the status line.
fn send_raw(server: &TestServer, head: &str, body: impl FnOnce(&mut TcpStream)) -> String {
    let mut stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    let head = format!(
        "POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: multipart/form-data; boundary=border\r\n{head}\r\n\r\n",
        server.analyst
    );
    stream.write_all(head.as_bytes()).unwrap();
    body(&mut stream);
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    let response = String::from_utf8_lossy(&response);
    response.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn an_upload_above_the_limit_gets_413_with_and_without_a_content_length() {
    let dir = DataDir::new();
    let limits = HttpLimits {
        upload_bytes_max: 100_000,
        body_time_max: Duration::from_secs(5),
        ..HttpLimits::default()
    };
    let server = TestServer::start_with(&dir, dir.config(), limits, &[]);
    let large = form("file", "s1.jsonl", &vec![b'x'; 3_000_000]);
    let too_large = "HTTP/1.1 413 Payload Too Large";
    let length = format!("Content-Length: {}\r\nConnection: close", large.len());
    let all = |stream: &mut TcpStream| {
        let _ = stream.write_all(&large);
    };
    assert_eq!(send_raw(&server, &length, all), too_large);
    // The body is never sent.
    assert_eq!(send_raw(&server, &length, |_| {}), too_large);
    // Without a `Content-Length`.
    for size in [1, 1000, 100_000, 3_000_000] {
        let line = send_raw(
            &server,
            "Transfer-Encoding: chunked\r\nConnection: close",
            |stream| {
                let rest = large.chunks(size).take(20_000.max(400_000 / size));
                let mut bytes = Vec::new();
                if size == 1 {
                    // Small chunks after a large chunk that almost reaches the limit.
                    bytes.extend_from_slice(format!("{:x}\r\n", 160_000).as_bytes());
                    bytes.extend_from_slice(&large[..160_000]);
                    bytes.extend_from_slice(b"\r\n");
                }
                for chunk in rest {
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
                let _ = stream.write_all(&bytes);
            },
        );
        assert_eq!(line, too_large, "chunks of {size}");
    }
    assert_eq!(stored_files(&dir), []);
}

#[test]
fn a_form_without_a_file_is_rejected_early() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let head = "Content-Length: 40000000\r\nConnection: close";
    let bad = "HTTP/1.1 400 Bad Request";
    let endless: [(&str, Vec<u8>); 4] = [
        (
            "a header",
            b"--border\r\nContent-Disposition: form-data; name=\"".to_vec(),
        ),
        ("headers", b"--border\r\nX: y\r\n".to_vec()),
        ("a preamble", b"before".to_vec()),
        (
            "another field",
            b"--border\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n".to_vec(),
        ),
    ];
    for (name, start) in endless {
        let line = send_raw(&server, head, |stream| {
            let _ = stream.write_all(&start);
            let _ = stream.write_all(&vec![b'x'; 400_000]);
        });
        assert_eq!(line, bad, "{name}");
    }
    // Short fields before the file are accepted.
    let mut short =
        b"--border\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n".to_vec();
    short.extend_from_slice(&form("file", "s1.jsonl", b"{}\n"));
    let kind = "multipart/form-data; boundary=border";
    let response = server.send("POST", UPLOAD, &server.analyst, kind, &short);
    assert_eq!(response.status, 200, "{response:?}");
}

/// Starts an upload and stops sending in the middle of the file.
fn stalled_upload(server: &TestServer, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    let start = form("file", "slow.jsonl", &[b'x'; 1000]);
    let head = format!(
        "POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: multipart/form-data; boundary=border\r\nContent-Length: 50000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&start[..500]).unwrap();
    stream
}

#[test]
fn stalled_uploads_time_out_and_do_not_block_other_users() {
    let dir = DataDir::new();
    let limits = HttpLimits {
        uploads_max: 2,
        uploads_per_user_max: 3,
        body_time_max: Duration::from_millis(1500),
        ..HttpLimits::default()
    };
    let server = TestServer::start_with(&dir, dir.config(), limits, &[]);
    let mut slow: Vec<TcpStream> = (0..3)
        .map(|_| stalled_upload(&server, &server.analyst))
        .collect();
    super::runs::wait_until("all uploads have started", || {
        dir.sessions_root().read_dir().is_ok_and(|users| {
            let files = users.flat_map(|user| user.unwrap().path().read_dir().unwrap());
            files.count() == 3
        })
    });
    let response = upload(&server, &server.admin, "s1.jsonl", b"{}\n");
    assert_eq!(
        response.status, 200,
        "another user is blocked: {response:?}"
    );
    let response = upload(&server, &server.analyst, "s1.jsonl", b"{}\n");
    assert!([200, 429].contains(&response.status), "{response:?}");
    for stream in &mut slow {
        let mut response = String::new();
        let _ = stream.read_to_string(&mut response);
        assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    }
    let response = upload(&server, &server.analyst, "s2.jsonl", b"{}\n");
    assert_eq!(response.status, 200, "{response:?}");
}

#[test]
fn an_upload_is_not_stored_if_its_token_is_revoked_meanwhile() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut slow = stalled_upload(&server, &server.analyst);
    super::runs::wait_until("the upload has started", || dir.sessions_root().exists());
    let revoked = server.send("DELETE", "/api/admin/tokens/2", &server.admin, "", &[]);
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let start = form("file", "slow.jsonl", &[b'x'; 1000]);
    let mut rest = start[500..].to_vec();
    rest.resize(50_000 - 500, b' ');
    slow.write_all(&rest).unwrap();
    let mut response = String::new();
    slow.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let _ = slow.read_to_string(&mut response);
    assert!(response.starts_with("HTTP/1.1 401 "), "{response}");
    assert_eq!(stored_files(&dir), []);
}

#[test]
fn an_upload_beyond_the_quota_of_its_user_is_rejected() {
    let dir = DataDir::new();
    let mut config = dir.config();
    config.service.user_bytes_max = 10_000;
    config.service.user_files_max = 3;
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[]);
    let send = |token: &str, name: &str, bytes: usize| {
        let response = upload(&server, token, name, &vec![b'x'; bytes]);
        if response.status != 200 {
            response.error();
        }
        response.status
    };
    let ada = server.analyst.as_str();
    assert_eq!(send(ada, "a.jsonl", 6_000), 200);
    assert_eq!(
        send(ada, "b.jsonl", 4_001),
        507,
        "more bytes than the quota has left"
    );
    assert_eq!(
        send(ada, "b.jsonl", 4_000),
        200,
        "the rejected upload does not count"
    );
    assert_eq!(send(ada, "c.jsonl", 1), 507);
    assert_eq!(
        send(ada, "a.jsonl", 6_000),
        200,
        "a replaced file does not count"
    );
    assert_eq!(send(ada, "a.jsonl", 6_001), 507);
    assert_eq!(send(ada, "a.jsonl", 1_000), 200);
    assert_eq!(
        send(ada, "c.jsonl.gz", 5),
        400,
        "a failed upload does not count"
    );
    assert_eq!(send(ada, "c.jsonl", 1_000), 200);
    assert_eq!(
        send(ada, "d.jsonl", 1),
        507,
        "more files than the quota allows"
    );
    assert_eq!(
        send(&server.admin, "a.jsonl", 10_000),
        200,
        "each user has a separate quota"
    );
    // An operator deletes a file. The next count, within a minute, notices it.
    let folder = dir.sessions_root().read_dir().unwrap();
    for user in folder {
        let _ = fs::remove_file(user.unwrap().path().join("b.jsonl"));
    }
    dir.clock().advance(Duration::from_secs(61));
    assert_eq!(send(ada, "d.jsonl", 4_000), 200);
    let bomb = gzip(&[b'x'; 100_000]);
    let response = upload(&server, ada, "a.jsonl.gz", &bomb);
    assert_eq!(
        response.status, 507,
        "the decompressed size counts: {response:?}"
    );
}

#[test]
fn sessions_from_before_the_start_count_towards_the_quota() {
    let dir = DataDir::new();
    let mut config = dir.config();
    config.service.user_bytes_max = 10_000;
    let server = TestServer::start_with(&dir, config.clone(), HttpLimits::default(), &[]);
    assert_eq!(
        upload(&server, &server.analyst, "a.jsonl", &[b'x'; 9_000]).status,
        200
    );
    let token = server.analyst.clone();
    server.stop();
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[]);
    let response = upload(&server, &token, "b.jsonl", &[b'x'; 2_000]);
    assert_eq!(response.status, 507, "{response:?}");
    insta::assert_snapshot!(response.error(), @"507: the quota of 9.8 KiB for one user's sessions is used up; ask an operator to remove old sessions or to raise the quota in the section `[service]` of the config file");
}

#[test]
fn uploads_are_rejected_when_the_disk_is_nearly_full() {
    let dir = DataDir::new();
    let mut config = dir.config();
    config.service.free_space_min = 1 << 60;
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[]);
    let response = upload(&server, &server.analyst, "a.jsonl", b"{}\n");
    insta::assert_snapshot!(response.error(), @"507: the disk of the sessions has less than 1.0 EiB of free space; free some space, or lower `free_space_min` in the section `[service]` of the config file");
    assert_eq!(stored_files(&dir), []);
}
