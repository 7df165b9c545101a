//! Rules of the operator for uploads: quotas, and servers that accept only redacted sessions.

use session_pipeline::http::HttpLimits;
use session_pipeline_harness::DataDir;
use session_pipeline_host::redaction::{LINE_BYTES_MAX, redact_line};
use session_pipeline_pipeline::config::{Config, UploadConfig};

use super::{PutResponse, file, put, stored};
use crate::http::TestServer;
use crate::http::upload::upload;

const KEY: &str = "AKIAIOSFODNN7EXAMPL1";

#[test]
fn a_quota_that_is_used_up_gets_413_or_429_and_a_time_to_retry() {
    let dir = DataDir::new();
    let mut config = dir.config();
    config.service.user_bytes_max = 1 << 20;
    config.service.user_files_max = 2;
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[]);
    let status = |response: PutResponse| (response.status, response.retry_after);
    let large = [vec![b'x'; 1_000_000], b"\n".to_vec()].concat();
    assert_eq!(status(put(&server, "a.jsonl", b"", &large)), (200, None));
    // Only the new bytes count.
    assert_eq!(
        status(put(&server, "a.jsonl", &large, b"{}\n")),
        (200, None)
    );
    let content = [&large[..], b"{}\n"].concat();
    assert_eq!(
        status(put(&server, "a.jsonl", &content, &large[..100_000])),
        (413, Some(3600))
    );
    assert_eq!(status(put(&server, "b/b.jsonl", b"", b"{}\n")), (200, None));
    assert_eq!(
        status(put(&server, "c/c.jsonl", b"", b"{}\n")),
        (429, Some(3600))
    );
    // A file that exists needs no further one.
    assert_eq!(status(put(&server, "b/b.jsonl", b"", b"[]\n")), (200, None));
    assert_eq!(
        stored(&dir),
        [file("a.jsonl", &content), file("b/b.jsonl", b"[]\n")]
    );
}

fn start(dir: &DataDir) -> TestServer {
    let config = Config {
        upload: UploadConfig {
            require_redacted: true,
        },
        ..dir.config()
    };
    TestServer::start_with(dir, config, HttpLimits::default(), &[])
}

fn error(response: &PutResponse) -> String {
    let detail = response.body["detail"].as_str().unwrap();
    assert!(!detail.contains(KEY), "{detail}");
    format!("{}: {detail}", response.status)
}

#[test]
fn a_server_that_requires_redaction_rejects_secrets_with_their_number() {
    let dir = DataDir::new();
    let server = start(&dir);
    let text = format!("{{\"text\":\"{KEY}\"}}\n{{\"a\":1}}\n{{\"password\":\"x-9Kq2vLw7\"}}\n");
    let rejected = put(&server, "s1.jsonl", b"", text.as_bytes());
    insta::assert_snapshot!(error(&rejected), @"422: the upload contains 2 values that look like secrets, and this server accepts only redacted sessions; run `session-pipeline-push` with `--redact`");
    let meta = format!("{{\n  \"key\": \"{KEY}\"\n}}");
    assert_eq!(
        put(&server, "s1.meta.json", b"", meta.as_bytes()).status,
        422
    );
    let by_form = upload(&server, &server.analyst, "s1.jsonl", text.as_bytes());
    assert_eq!(by_form.status, 422, "{by_form:?}");
    assert!(!by_form.text().contains(KEY));
    assert_eq!(stored(&dir), []);
    let redacted: Vec<u8> = text
        .split_inclusive('\n')
        .flat_map(|line| redact_line(line.as_bytes()).bytes.into_owned())
        .collect();
    assert_eq!(put(&server, "s1.jsonl", b"", &redacted).status, 200);
    assert_eq!(put(&server, "s1.jsonl", &redacted, b"{}\n").status, 200);
    let more = put(
        &server,
        "s1.jsonl",
        &[&redacted[..], b"{}\n"].concat(),
        text.as_bytes(),
    );
    assert_eq!(more.status, 422);
    let meta = redact_line(meta.as_bytes()).bytes.into_owned();
    assert_eq!(put(&server, "s1.meta.json", b"", &meta).status, 200);
    assert_eq!(
        stored(&dir),
        [
            file("s1.jsonl", &[&redacted[..], b"{}\n"].concat()),
            file("s1.meta.json", &meta)
        ]
    );
}

#[test]
fn a_server_that_requires_redaction_takes_only_whole_lines() {
    let dir = DataDir::new();
    let server = start(&dir);
    let half = put(&server, "s1.jsonl", b"", b"{}\n{\"key\":\"AKIAIOSF");
    insta::assert_snapshot!(error(&half), @"422: the upload ends within a line, and this server accepts only redacted sessions; send whole lines");
    // A file from before the server required redaction.
    assert_eq!(
        upload(&server, &server.analyst, "s2.jsonl", b"{}\n[").status,
        200
    );
    let rest = put(&server, "s2.jsonl", b"{}\n[", b"1]\n");
    insta::assert_snapshot!(error(&rest), @"422: the upload begins within a line or continues a file without lines, and this server accepts only redacted sessions; send whole lines, or the whole file with the offset 0");
    let long = [vec![b'x'; LINE_BYTES_MAX + 2], b"\n".to_vec()].concat();
    let long = put(&server, "s3.jsonl", b"", &long);
    insta::assert_snapshot!(error(&long), @"422: a line is longer than 8388608 bytes, so it cannot be checked for secrets, and this server accepts only redacted sessions; run `session-pipeline-push` with `--redact`");
    assert_eq!(stored(&dir), [file("s2.jsonl", b"{}\n[")]);
}
