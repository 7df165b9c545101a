//! Transcripts: the chunks of a snapshot, and the transcript reader of the SDK.

mod laws;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use md5::{Digest as _, Md5};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use session_pipeline_harness::fuzz::{fuzz, mutated, mutated_text};
use session_pipeline_harness::{DataDir, Transcript};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::{ContentHash, Snapshot};
use session_pipeline_host::limits::Limits;
use session_pipeline_host::sessions::SessionsRoot;

const KEY: &str = "ada/one.jsonl";

fn conversation() -> Transcript {
    Transcript::new("s1")
        .user("naïve, \u{1}, \"quoted\" and 日本")
        .assistant(|m| m.model("claude-opus-4-5").tokens(100, 20).tool("Bash"))
        .tool_result(Err("exit code 1"))
        .progress(|m| m.tokens(1, 2))
        .slash_command("/clear")
}

/// The lines of a snapshot by their numbers, the number of skipped lines, and the hash.
type SnapshotContent = (BTreeMap<u64, Vec<u8>>, u64, ContentHash);

fn read_snapshot(root: &SessionsRoot, sizes: &[usize], line_bytes_max: usize) -> SnapshotContent {
    let limits = Limits {
        line_bytes_max,
        ..Limits::default()
    };
    let mut snapshot = Snapshot::open(root, KEY, UtcMicros(0), &limits).unwrap();
    let (mut lines, mut skipped) = (BTreeMap::new(), 0);
    for size in sizes.iter().cycle() {
        let chunk = snapshot.next_chunk(*size).unwrap();
        skipped += u64::from(chunk.skipped_lines);
        if chunk.bytes.is_empty() {
            break;
        }
        for (number, line) in
            (chunk.first_line..).zip(chunk.bytes.split_inclusive(|byte| *byte == b'\n'))
        {
            assert!(
                lines.insert(number, line.to_vec()).is_none(),
                "line {number} was read twice"
            );
        }
    }
    (lines, skipped, snapshot.finish().unwrap())
}

#[test]
fn invariant_the_content_of_a_snapshot_does_not_depend_on_the_chunk_sizes() {
    let dir = DataDir::new();
    dir.write(KEY, "");
    let root = SessionsRoot::open(&dir.sessions_root()).unwrap().unwrap();
    // Lines around the minimum chunk size, and around the size of the read buffer.
    let long = [
        b"x".repeat(4095),
        b"\n".to_vec(),
        b"y".repeat(4097),
        b"\n\r\n".to_vec(),
    ]
    .concat();
    let longer = ["z".repeat(1 << 18), "\n".to_owned(), "w".repeat(300)]
        .concat()
        .into_bytes();
    let valid = vec![
        conversation().bytes().to_vec(),
        long,
        longer,
        b"\n\n\n".to_vec(),
        Vec::new(),
    ];
    let bytes = mutated(valid, &["\n", "\r\n", "\n\n", "\0", "\u{feff}", "{}\n"]);
    let sizes = || {
        vec(
            prop_oneof![Just(0_usize), 1..10_000_usize, Just(usize::MAX)],
            1..4,
        )
    };
    let line_bytes_max = prop_oneof![1..20_usize, 20..5000_usize, Just(64 << 20)];
    fuzz(
        file!(),
        &(bytes, sizes(), sizes(), line_bytes_max),
        |(bytes, first, second, line_bytes_max)| {
            fs::write(dir.session_path(KEY), &bytes).unwrap();
            let (lines, skipped, hash) = read_snapshot(&root, &first, line_bytes_max);
            let again = read_snapshot(&root, &second, line_bytes_max);
            prop_assert_eq!(&again, &(lines.clone(), skipped, hash));
            prop_assert_eq!(hash, ContentHash(Md5::digest(&bytes).into()));
            let expected = (1_u64..).zip(bytes.split_inclusive(|byte| *byte == b'\n'));
            let (fitting, others): (Vec<_>, Vec<_>) = expected.partition(|(_, line)| {
                line.strip_suffix(b"\n").unwrap_or(line).len() <= line_bytes_max
            });
            let fitting: BTreeMap<u64, Vec<u8>> = fitting
                .into_iter()
                .map(|(number, line)| (number, line.to_vec()))
                .collect();
            prop_assert_eq!(lines, fitting);
            prop_assert_eq!(skipped, others.len() as u64);
            Ok(())
        },
    );
}

#[test]
fn invariant_a_line_is_parsed_like_serde_json_does() {
    let text = conversation().text().to_owned();
    let mut valid: Vec<&str> = text.lines().collect();
    valid.extend([
        r#"{"a":"\ud83d\ude00 \u00e9","n":-1.5e-3,"ok":[true,null,{}],"a":1}"#,
        r#"[0,-0,1e5,9223372036854775807,-9223372036854775808,1E+2,0.1]"#,
        r#"{"type":"assistant","message":{"content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":1}}}"#,
    ]);
    let words = [
        "\"",
        "\\",
        "\\u",
        "\\ud800",
        "\\udc00",
        "\\n",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "null",
        "true",
        "1e400",
        "-",
        "0",
        "\"type\":",
        "\"message\":",
        "\"content\":",
        "\"data\":",
        "\t",
        "\u{feff}",
    ];
    fuzz(file!(), &mutated_text(&valid, &words), |line| {
        laws::check_line(&line).map_err(TestCaseError::fail)
    });
}

#[test]
fn invariant_a_transcript_has_an_entry_for_each_object_with_its_line_number() {
    // Check the seeds that coverage-guided fuzzing found, without mutations.
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/transcript");
    let seeds = fs::read_dir(seeds).unwrap();
    let mut valid: Vec<Vec<u8>> = seeds
        .map(|seed| fs::read(seed.unwrap().path()).unwrap())
        .collect();
    for seed in &valid {
        laws::check_transcript(seed).unwrap();
    }
    valid.push(conversation().bytes().to_vec());
    let words = [
        "\n", "\r\n", "{}", "[]", "\"", "\\", "{\"", "}", "1", " ", "\u{feff}", "\0",
    ];
    fuzz(file!(), &mutated(valid, &words), |bytes| {
        laws::check_transcript(&bytes).map_err(TestCaseError::fail)
    });
}
