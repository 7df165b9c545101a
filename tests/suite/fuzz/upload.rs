//! Uploads: their paths, fields, bodies and manifests.

mod laws;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::Value;
use session_pipeline::http::HttpLimits;
use session_pipeline_harness::DataDir;
use session_pipeline_harness::fuzz::{fuzz, mutated, mutated_text};
use sha2::{Digest as _, Sha256};
use ureq::http::{HeaderValue, Request};

use self::decoder::ContentCoding;
use crate::http::TestServer;

/// The decoder of the server. In `tests/fuzz`, this module is its source.
mod decoder {
    pub use session_pipeline::http::{BodyDecoder, ContentCoding};
}

const TEXT: &[u8] = b"{\"a\":1}\n{\"b\":\"caf\xc3\xa9\"}\n{\"half";
const CODINGS: [ContentCoding; 3] = [
    ContentCoding::Identity,
    ContentCoding::Gzip,
    ContentCoding::Zstd,
];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd_with_window(bytes: &[u8], log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(log).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bodies of each coding, with bombs.
fn bodies() -> Vec<Vec<u8>> {
    let bomb = vec![0; laws::DECODED_MAX + 1];
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    vec![
        TEXT.to_vec(),
        Vec::new(),
        gzip(TEXT),
        gzip(b""),
        [gzip(TEXT), gzip(TEXT)].concat(),
        gzip(&bomb),
        zstd(TEXT),
        zstd(b""),
        [zstd(TEXT), zstd_with_window(TEXT, 23)].concat(),
        zstd_with_window(TEXT, 27),
        // A skippable frame.
        [&b"\x50\x2a\x4d\x18\x02\0\0\0xx"[..], &zstd(TEXT)].concat(),
        zstd(&bomb),
    ]
}

fn coding() -> impl Strategy<Value = ContentCoding> {
    prop::sample::select(CODINGS.to_vec())
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    mutated(bodies(), &["\n", "\x1f", "(", "\0\0\0\0"])
}

#[test]
fn invariant_a_body_is_decoded_in_the_same_way_in_any_chunks_and_within_the_limit() {
    // Check the seeds that coverage-guided fuzzing found, without mutations.
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/upload");
    for seed in fs::read_dir(seeds).unwrap() {
        let seed = fs::read(seed.unwrap().path()).unwrap();
        let [coding, chunk_bytes, body @ ..] = &seed[..] else {
            panic!("a seed begins with its coding and the size of its chunks");
        };
        let coding = CODINGS[usize::from(*coding % 3)];
        laws::check_body(coding, body, usize::from(*chunk_bytes)).unwrap();
    }
    let inputs = (coding(), body(), 1_usize..200);
    fuzz(file!(), &inputs, |(coding, body, chunk_bytes)| {
        laws::check_body(coding, &body, chunk_bytes).map_err(TestCaseError::fail)
    });
}

#[test]
fn a_body_that_is_cut_anywhere_is_incomplete() {
    let zstd = zstd::encode_all(TEXT, 3).unwrap();
    for (coding, body) in [
        (ContentCoding::Gzip, gzip(TEXT)),
        (ContentCoding::Zstd, zstd),
    ] {
        assert_eq!(laws::decode(coding, &body, 7), (TEXT.to_vec(), true));
        for length in 0..body.len() {
            let (_, is_complete) = laws::decode(coding, &body[..length], 7);
            assert!(!is_complete, "{coding:?}: {length} of {} bytes", body.len());
        }
        let garbage = [&body[..], b"garbage"].concat();
        assert!(!laws::decode(coding, &garbage, 7).1, "{coding:?}: garbage");
    }
}

/// A request to upload something. `None`: without the field.
#[derive(Clone, Debug)]
struct UploadRequest {
    path: String,
    /// `None`: the size of the stored file, with its hash.
    offset: Option<String>,
    prefix: Option<String>,
    complete: Option<String>,
    coding: Option<String>,
    body: Vec<u8>,
}

fn request() -> impl Strategy<Value = UploadRequest> {
    let paths = [
        "p/a.jsonl",
        "p/s/agent-1.meta.json",
        "a.jsonl",
        "chats/a.json",
    ];
    let words = ["/", "..", ".", "%2f", "\0", "\\", ".jsonl", "é", "\n", " "];
    let numbers = ["0", "33", "18446744073709551615", "-1", "+1", "0x1", ""];
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    (
        mutated_text(&paths, &words),
        prop::option::of(mutated_text(&numbers, &["9", " ", "e"])),
        prop::option::of(mutated_text(&[hash], &["A", "g"])),
        prop::option::of(mutated_text(&["?0", "?1", "?1"], &[";", "?"])),
        prop::option::of(mutated_text(&["gzip", "zstd", "identity"], &[",", "br"])),
        body(),
    )
        .prop_map(
            |(path, offset, prefix, complete, coding, body)| UploadRequest {
                path,
                offset,
                prefix,
                complete,
                coding,
                body,
            },
        )
}

fn encode(path: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'/' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    path.bytes().map(byte).collect()
}

fn sha256(bytes: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All files in the data directory but those of the state, by path.
fn files(dir: &DataDir) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path != dir.path().join("state") {
                folders.push(path);
            } else if path.is_file() {
                let name = path.strip_prefix(dir.path()).unwrap().to_str().unwrap();
                files.insert(name.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// The lines that end.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    &bytes[..end.map_or(0, |at| at + 1)]
}

#[test]
fn invariant_a_request_stores_exactly_what_it_sent_or_nothing() {
    let dir = DataDir::new();
    let limits = HttpLimits {
        upload_bytes_max: laws::DECODED_MAX as u64,
        ..HttpLimits::default()
    };
    let server = TestServer::start_with(&dir, dir.config(), limits, &[]);
    let token = server.token("member", "mia@example.com");
    let users = server.pipeline.store().users().unwrap();
    let user = users.iter().find(|user| user.email == "mia@example.com");
    let id = &user.unwrap().id;
    fuzz(file!(), &request(), |upload| {
        let before = files(&dir);
        let key = format!("user_sessions/{id}/{}", upload.path);
        let current = before.get(&key).cloned().unwrap_or_default();
        let (offset, prefix) = match upload.offset {
            Some(offset) => (offset, upload.prefix),
            None => (current.len().to_string(), Some(sha256(&current))),
        };
        let mut request = Request::builder()
            .method("PUT")
            .uri(format!(
                "{}/api/upload/sessions/{}",
                server.url,
                encode(&upload.path)
            ))
            .header("Authorization", format!("Bearer {token}"));
        for (name, value) in [
            ("Upload-Offset", Some(&offset)),
            ("Upload-Prefix-SHA256", prefix.as_ref()),
            ("Upload-Complete", upload.complete.as_ref()),
            ("Content-Encoding", upload.coding.as_ref()),
        ] {
            // Other values cannot be sent.
            if let Some(Ok(value)) = value.map(|value| HeaderValue::from_bytes(value.as_bytes())) {
                request = request.header(name, value);
            }
        }
        let headers = request.headers_ref().unwrap().clone();
        let field = |name: &str| headers.get(name).map(|value| value.as_bytes().to_vec());
        let mut response = server.run(request.body(upload.body.clone()).unwrap());
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().unwrap();
        let after = files(&dir);
        if status != 200 {
            prop_assert!(
                [400, 404, 405, 409, 413, 415, 422].contains(&status),
                "{status}: {text}"
            );
            prop_assert_eq!(after, before, "{}", text);
            return Ok(());
        }
        let coding = field("content-encoding").map_or(ContentCoding::Identity, |value| {
            ContentCoding::parse(&value).unwrap()
        });
        let (decoded, is_complete) = laws::decode(coding, &upload.body, usize::MAX);
        prop_assert!(is_complete, "an incomplete body was stored");
        let stored = match field("upload-complete").as_deref() {
            Some(b"?0") => whole_lines(&decoded),
            _ => &decoded,
        };
        let is_kept = field("upload-offset").is_some_and(|offset| offset != b"0");
        let expected = match is_kept {
            true => [&current[..], stored].concat(),
            false => stored.to_vec(),
        };
        let mut all = before;
        // Without a whole line, nothing is stored, and nothing is replaced.
        if !stored.is_empty() || (field("upload-complete").as_deref() != Some(b"?0") && !is_kept) {
            all.insert(key, expected);
        }
        prop_assert_eq!(after, all, "{}", text);
        Ok(())
    });
}

#[test]
fn invariant_a_manifest_gets_an_answer_for_each_file_or_is_rejected() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let valid = [
        "[]",
        r#"[{"path":"a.jsonl","size":1}]"#,
        r#"[{"path":"p/a.jsonl","size":0},{"path":"../b.jsonl","size":18446744073709551615}]"#,
    ];
    let words = [
        "{", "}", "[", ",", "null", "1e9", "-1", "\"path\"", "\\u0000", "\\ud800", "/",
    ];
    fuzz(file!(), &mutated_text(&valid, &words), |text| {
        let json = "application/json";
        let path = "/api/upload/manifest";
        let response = server.send("POST", path, &server.analyst, json, text.as_bytes());
        if response.status != 200 {
            let is_rejected = [400, 413, 422].contains(&response.status);
            prop_assert!(is_rejected, "{response:?}");
            return Ok(());
        }
        let sent: Vec<Value> = serde_json::from_str(&text).unwrap();
        let paths = |files: &[Value]| {
            files
                .iter()
                .map(|file| file["path"].clone())
                .collect::<Vec<_>>()
        };
        let answered = response.json()["files"].as_array().unwrap().clone();
        prop_assert_eq!(paths(&answered), paths(&sent));
        Ok(())
    });
}
