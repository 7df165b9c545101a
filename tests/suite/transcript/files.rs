//! Files that are not as a transcript should be: keys and paths that lead elsewhere, files that
//! change or disappear, and any bytes.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use session_pipeline_harness::fuzz::mutated;
use session_pipeline_harness::{DataDir, cases};
use session_pipeline_pipeline::transcript::{EntryPart, UnreadableReason};

use super::{KEY, encoded, kinds, marks, page, part, session, whole};
use crate::hostile::without_root_privileges;
use crate::http::TestServer;

#[test]
fn no_key_leads_out_of_the_sessions_root() {
    let dir = DataDir::new();
    dir.write(KEY, session().user("inside"));
    let outside = dir.path().join("outside.jsonl");
    fs::write(&outside, session().user("outside")).unwrap();
    symlink(&outside, dir.session_path("ada/link.jsonl")).unwrap();
    symlink(dir.path(), dir.session_path("ada/out")).unwrap();
    fs::create_dir(dir.session_path("ada/folder.jsonl")).unwrap();
    let fifo = dir.session_path("ada/fifo.jsonl");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let server = TestServer::start(&dir, &[]);
    let long = format!("ada/{}.jsonl", "x".repeat(5000));
    let deep = format!("{}a.jsonl", "a/".repeat(3000));
    for key in [
        "",
        "one.jsonl",
        "ada/two.jsonl",
        "ada/one",
        "../outside.jsonl",
        "ada/../../outside.jsonl",
        "ada/./one.jsonl",
        "ada//one.jsonl",
        "/ada/one.jsonl",
        "ada/out/outside.jsonl",
        "ada/link.jsonl",
        "ada/folder.jsonl",
        "ada/fifo.jsonl",
        "ada/one.jsonl\0",
        "ada/one.jsonl/one.jsonl",
        "ada/\u{202e}.jsonl",
        outside.to_str().unwrap(),
        &long,
        &deep,
    ] {
        let key = encoded(key);
        for path in [
            format!("?session={key}"),
            format!("/entry?session={key}&line=1"),
            format!("/marks?session={key}"),
        ] {
            let response = server.get(&format!("/api/admin/transcript{path}"));
            assert_eq!(response.status, 404, "{path}: {response:?}");
            assert!(!response.text().contains("outside\\n"), "{response:?}");
        }
    }
}

#[test]
fn a_deleted_file_is_not_found_and_an_unreadable_one_is_reported() {
    let dir = DataDir::new();
    dir.write(KEY, session().user("x"));
    let server = TestServer::start(&dir, &[]);
    whole(&server, KEY);
    dir.delete(KEY);
    let response = server.get(&format!("/api/admin/transcript?session={KEY}"));
    insta::assert_snapshot!(response.error(), @"404: no transcript `ada/one.jsonl`: its file was deleted, or the key is wrong; `session-pipeline sessions list` lists all sessions");
    drop(server);
    dir.write(KEY, session().user("x"));
    fs::set_permissions(dir.session_path(KEY), fs::Permissions::from_mode(0o000)).unwrap();
    without_root_privileges(|| {
        let server = TestServer::start(&dir, &[]);
        let response = server.get(&format!("/api/admin/transcript?session={KEY}"));
        insta::assert_snapshot!(response.error(), @"500: cannot read the transcript `ada/one.jsonl`; check its permissions: Permission denied (os error 13)");
    });
}

#[test]
fn a_file_that_was_replaced_or_rewritten_is_read_again() {
    let dir = DataDir::new();
    let prompts = |word: &str, count: usize| {
        (0..count).fold(session(), |session, number| {
            session.user(&format!("{word} {number}"))
        })
    };
    dir.write(KEY, prompts("old", 300));
    let server = TestServer::start(&dir, &[]);
    assert_eq!(
        kinds(&page(&server, KEY, 200, 1).entries[0]),
        ["prompt old 200"]
    );
    // In place and longer, with other line lengths.
    dir.write(KEY, prompts("rewritten", 400));
    assert_eq!(
        kinds(&page(&server, KEY, 200, 1).entries[0]),
        ["prompt rewritten 200"]
    );
    assert_eq!(marks(&server, KEY).prompts.total, 400);
    // Shorter.
    dir.write(KEY, prompts("short", 3));
    assert_eq!(whole(&server, KEY).lines, 3);
    assert!(page(&server, KEY, 200, 1).entries.is_empty());
    // By another file.
    let other = dir.session_path("ada/other");
    fs::write(&other, prompts("renamed", 10)).unwrap();
    fs::rename(&other, dir.session_path(KEY)).unwrap();
    assert_eq!(
        kinds(&page(&server, KEY, 9, 1).entries[0]),
        ["prompt renamed 9"]
    );
    // Only the middle, while lines are added: the beginning and the end of the old part are equal.
    let before = prompts("equal", 300);
    dir.write(KEY, &before);
    whole(&server, KEY);
    let text = before
        .text()
        .replace("equal 150", "\n\n equal 150")
        .replace("equal 151", "qual 151")
        .replace("equal 152", "ual 152");
    assert_eq!(text.len(), before.bytes().len());
    dir.write(KEY, text + "{}\n");
    for line in 0..301 {
        assert_eq!(page(&server, KEY, line, 1).entries.len(), 1);
    }
}

#[test]
fn a_line_of_60_mb_is_shown_in_part_and_lines_after_it_open_at_once() {
    let dir = DataDir::new();
    dir.write(KEY, session().user("before"));
    let before = fs::metadata(dir.session_path(KEY)).unwrap().len();
    let mut file = File::options()
        .write(true)
        .open(dir.session_path(KEY))
        .unwrap();
    file.seek(SeekFrom::Start(before)).unwrap();
    file.write_all(br#"{"type":"user","message":{"content":"xx"#)
        .unwrap();
    file.seek(SeekFrom::Start(before + 60_000_000)).unwrap();
    file.write_all(b"\n").unwrap();
    file.write_all(session().user("after").bytes()).unwrap();
    drop(file);
    let server = TestServer::start(&dir, &[]);
    let body = whole(&server, KEY);
    assert_eq!((body.lines, body.entries.len()), (3, 3));
    assert_eq!(body.entries[1].bytes, 60_000_000);
    let [EntryPart::Unreadable { reason, text }] = &body.entries[1].parts[..] else {
        panic!("{:?}", body.entries[1]);
    };
    assert_eq!(
        (*reason, text.bytes),
        (UnreadableReason::TooLong, 60_000_000)
    );
    assert!(text.text.starts_with(r#"{"type":"user""#) && text.is_truncated);
    assert_eq!(kinds(&body.entries[2]), ["prompt after"]);
    assert_eq!(
        kinds(&page(&server, KEY, 2, 1).entries[0]),
        ["prompt after"]
    );
    assert_eq!(marks(&server, KEY).prompts.lines, [1, 3]);
    let beginning = part(&server, KEY, 2, 0);
    assert_eq!(
        (beginning.kind.as_str(), beginning.text.bytes),
        ("unreadable", 60_000_000)
    );
    assert!(beginning.text.is_truncated);
}

#[test]
fn damaged_lines_cost_only_themselves() {
    let dir = DataDir::new();
    let prompt = session().user("fine").text();
    let prompt = prompt.trim_end();
    let deep = format!(
        r#"{{"type":"user","x":{}1{}}}"#,
        "[".repeat(9999),
        "]".repeat(9999)
    );
    let lines: [&[u8]; 9] = [
        prompt.as_bytes(),
        b"\r",
        &[prompt.as_bytes(), b"\r"].concat(),
        b"\0\0\0\0",
        b"{\"type\":\"user\",\"message\":{\"content\":\"\xff\xfe\"}}",
        b"{\"type\":\"user\",\"message\":{\"content\":\"\\ud800 \\u0000\"}}",
        &[b"\0\0", prompt.as_bytes()].concat(),
        deep.as_bytes(),
        prompt.as_bytes(),
    ];
    dir.write(KEY, lines.join(&b"\n"[..]));
    let server = TestServer::start(&dir, &[]);
    let body = whole(&server, KEY);
    let shown: Vec<String> = body
        .entries
        .iter()
        .map(|entry| kinds(entry).join(" "))
        .collect();
    let expected = [
        "prompt fine",
        "",
        "prompt fine",
        r"unreadable Invalid \u{0}\u{0}\u{0}\u{0}",
        "prompt \u{fffd}\u{fffd}",
        "prompt \u{fffd}\u{fffd}\u{fffd} \\u{0}",
    ];
    assert_eq!(shown[..6], expected);
    assert!(shown[6].starts_with(r"unreadable Invalid \u{0}"));
    assert_eq!(shown[7..], ["other user", "prompt fine"]);
}

#[test]
fn a_line_with_very_many_parts_is_cut() {
    let dir = DataDir::new();
    let blocks: Vec<_> = (0..1000)
        .map(|_| json!({ "type": "text", "text": "x" }))
        .collect();
    let line = json!({ "type": "assistant", "message": { "content": blocks } });
    dir.write(KEY, session().line(&line));
    let server = TestServer::start(&dir, &[]);
    let entry = &whole(&server, KEY).entries[0];
    assert_eq!((entry.parts.len(), entry.has_more_parts), (64, true));
}

/// Lines with everything that the parser knows.
const VALID: [&[u8]; 5] = [
    br#"{"type":"user","uuid":"u1","parentUuid":null,"timestamp":"2026-01-05T09:00:00Z","isSidechain":true,"agentId":"a1","isMeta":false,"message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","is_error":true,"content":[{"type":"text","text":"x"},{"type":"image","source":{"media_type":"image/png"}}]}]},"toolUseResult":{"agentId":"a1"}}
{"type":"user","message":{"content":"<command-name>/x</command-name><command-args>y</command-args>"}}
"#,
    br#"{"type":"assistant","isApiErrorMessage":true,"apiErrorStatus":529,"message":{"id":"m","model":"c","usage":{"input_tokens":1,"output_tokens":2.5},"content":[{"type":"thinking","thinking":"a"},{"type":"tool_use","id":"t1","name":"Task","input":{"subagent_type":"E","prompt":"p\n"}},{"type":"text","text":"b"}]}}
"#,
    br#"{"type":"progress","parentToolUseID":"t1","data":{"type":"agent_progress","agentId":"a1","message":{"type":"assistant","message":{"content":"x"}}}}
"#,
    br#"{"type":"system","subtype":"compact_boundary","content":"c","compactMetadata":{"trigger":"auto","preTokens":1}}
{"type":"system","subtype":"api_error","error":{"status":1}}
{"type":"user","isCompactSummary":true,"message":{"content":"s"}}
"#,
    b"{\"type\":\"attachment\",\"attachment\":{\"type\":\"queued_command\",\"commandMode\":\"prompt\",\"prompt\":\"q\"}}\r\n\0\n\xff\n{",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_no_bytes_cause_an_internal_error(
        files in prop::collection::vec(mutated(VALID.map(<[u8]>::to_vec).to_vec(), &["\\ud800", "\n", "\0", "\"", "null", "[{", "\u{1b}[31m"]), 1..8),
    ) {
        let dir = DataDir::new();
        let server = TestServer::start(&dir, &[]);
        for bytes in files {
            dir.write(KEY, &bytes);
            let newlines = bytes.iter().filter(|byte| **byte == b'\n').count();
            let tail = usize::from(bytes.last().is_some_and(|byte| *byte != b'\n'));
            let body = whole(&server, KEY);
            prop_assert_eq!(body.lines, (newlines + tail) as u64);
            prop_assert_eq!(body.entries.len() as u64, body.lines);
            for entry in &body.entries {
                for (number, _) in (0..).zip(&entry.parts) {
                    part(&server, KEY, entry.line, number);
                }
            }
            marks(&server, KEY);
            let html = session_pipeline::dashboard::transcript::entries(&body, false).into_string();
            super::html::assert_safe(&html);
        }
    }
}
