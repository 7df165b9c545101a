//! Sessions that are compressed with zstd, as Codex CLI does with idle ones: their keys, hashes and
//! rows are those of the plain files, and damaged ones fail alone.

use proptest::prelude::*;
use session_pipeline_harness::{DataDir, TestPipeline, cases, strategies};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::{ReadError, Snapshot};
use session_pipeline_host::limits::Limits;
use session_pipeline_host::sessions::SessionsRoot;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::transcript::{TranscriptError, TranscriptIndexes};

use crate::database::rows;
use crate::guests::{WELL_BEHAVED, lines_of, well_behaved};

const KEY: &str = "ada/codex/one.jsonl";
const FILE: &str = "ada/codex/one.jsonl.zst";

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// Data with a window of this many bytes, as a power of two.
fn zstd_window(bytes: &[u8], log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(log).unwrap();
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

fn root(dir: &DataDir) -> SessionsRoot {
    SessionsRoot::open(&dir.sessions_root()).unwrap().unwrap()
}

fn snapshot(dir: &DataDir, limits: &Limits) -> std::io::Result<Snapshot> {
    Snapshot::open(&root(dir), KEY, UtcMicros(7), limits)
}

/// The lines of a snapshot and its hash.
fn content(snapshot: &mut Snapshot, chunk: usize) -> Result<(Vec<u8>, String), ReadError> {
    let mut bytes = Vec::new();
    loop {
        let chunk = snapshot.next_chunk(chunk)?;
        if chunk.bytes.is_empty() {
            return Ok((bytes, snapshot.finish()?.to_string()));
        }
        bytes.extend_from_slice(&chunk.bytes);
    }
}

/// Data that is not a complete compressed session, with a word of its error.
fn damaged() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let frame = zstd(&b"{}\n".repeat(10_000));
    vec![
        ("empty", Vec::new(), "incomplete"),
        ("plain", b"{}\n".to_vec(), "frame"),
        ("cut", frame[..frame.len() - 1].to_vec(), "incomplete"),
        ("cut early", frame[..6].to_vec(), "incomplete"),
        ("garbage", [&frame[..], b"garbage"].concat(), "frame"),
        ("window", zstd_window(&b"{}\n".repeat(10_000), 27), "memory"),
    ]
}

#[test]
fn a_compressed_session_has_the_key_of_the_plain_file_which_takes_precedence() {
    let dir = DataDir::new();
    for file in [
        FILE,
        "ada/both.jsonl",
        "ada/both.jsonl.zst",
        "ada/a.json.zst",
        "ada/chats/a.json.zst",
        "ada/a.zst",
        "ada/.hidden.jsonl.zst",
        "ada/A.jsonl.ZST",
        "ada/two.jsonl.zst.zst",
        "stray.jsonl.zst",
    ] {
        dir.write(file, zstd(b"{}\n"));
    }
    std::fs::create_dir(dir.session_path("ada/folder.jsonl")).unwrap();
    dir.write("ada/folder.jsonl.zst", "");
    std::os::unix::fs::symlink("/elsewhere", dir.session_path("ada/link.jsonl.zst")).unwrap();
    let root = root(&dir);
    let mut found = Vec::new();
    let report = root
        .walk(|key, stat| found.push((key.to_owned(), stat)))
        .unwrap();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["ada/both.jsonl", KEY]);
    assert_eq!(report.found, 2);
    assert_eq!(report.links.paths, ["ada/link.jsonl.zst"]);
    for (key, stat) in &found {
        assert_eq!(stat.is_compressed, key == KEY);
        assert_eq!(root.stat(key), Some(*stat));
        assert_eq!(root.open_session(key).unwrap().1, *stat);
    }
    assert!(root.open_session("ada/folder.jsonl").is_err());
}

#[test]
fn the_metadata_of_a_compressed_file_survives_the_database() {
    let dir = DataDir::new();
    dir.write(FILE, zstd(b"{}\n"));
    dir.write("ada/plain.jsonl", "{}\n");
    for key in [KEY, "ada/plain.jsonl"] {
        let stat = root(&dir).stat(key).unwrap();
        let (size, mtime_ns, ctime_ns) = stat.columns();
        let stored =
            session_pipeline_host::sessions::FileStat::from_columns(size, mtime_ns, ctime_ns);
        assert_eq!(stored, stat);
        assert_eq!(size == stat.size as i64, !stat.is_compressed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Frames, windows and chunks have no effect on the lines and the hash of a session.
    #[test]
    fn a_compressed_session_has_the_content_of_the_plain_file(
        bytes in strategies::transcript(),
        cut in 0..2_000_usize,
        chunk in 1..100_000_usize,
    ) {
        let plain = DataDir::new();
        plain.write(KEY, &bytes);
        let compressed = DataDir::new();
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        compressed.write(FILE, [zstd(first), zstd_window(second, 23)].concat());
        let limits = Limits::default();
        let mut expected = snapshot(&plain, &limits).unwrap();
        let mut found = snapshot(&compressed, &limits).unwrap().with_prefix_hash(Some(first.len() as u64));
        prop_assert_eq!(found.size(), bytes.len() as u64);
        let expected = content(&mut expected, chunk).unwrap();
        prop_assert_eq!(content(&mut found, chunk).unwrap(), expected.clone());
        let is_prefix_read = !first.is_empty();
        prop_assert!(found.prefix_hash().is_some() || !is_prefix_read);
        found.rewind().unwrap();
        prop_assert_eq!(content(&mut found, 1 << 20).unwrap(), expected);
    }
}

#[test]
fn damaged_data_is_rejected_when_it_is_opened() {
    for (what, bytes, word) in damaged() {
        let dir = DataDir::new();
        dir.write(FILE, bytes);
        let error = snapshot(&dir, &Limits::default()).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("the file is not complete zstd data") && error.contains(word),
            "{what}: {error}"
        );
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error_and_not_an_endless_read() {
    let dir = DataDir::new();
    let text = b"{\"a\":1}\n".repeat(100_000);
    for (change, is_truncated) in [
        (zstd(&text[..text.len() / 2]), true),
        (b"garbage".to_vec(), false),
    ] {
        dir.write(FILE, zstd(&text));
        let mut snapshot = snapshot(&dir, &Limits::default()).unwrap();
        std::fs::write(dir.session_path(FILE), change).unwrap();
        let error = content(&mut snapshot, 4096).unwrap_err();
        assert_eq!(
            matches!(error, ReadError::Truncated),
            is_truncated,
            "{error}"
        );
    }
}

#[test]
fn a_session_is_not_processed_again_when_its_agent_compresses_it() {
    let dir = DataDir::new();
    dir.write(KEY, "one\ntwo\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    let before = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    dir.delete(KEY);
    dir.write(FILE, zstd(b"one\ntwo\n"));
    let run = pipeline.run(WELL_BEHAVED);
    assert_eq!(
        (run.stats.processed, run.opens),
        (0, 1),
        "hashed, not processed"
    );
    let after = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    assert_eq!(
        (after.hash, after.session_seq),
        (before.hash, before.session_seq)
    );
    assert_eq!(
        pipeline.run(WELL_BEHAVED).opens,
        0,
        "a stable file is not opened"
    );
    // The agent continues the session.
    dir.delete(FILE);
    dir.write(KEY, "one\ntwo\nthree\n");
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.items_extracted, 3);
    drop(pipeline);
    let rows = rows(&dir, &lines_of(WELL_BEHAVED));
    assert_eq!(rows.len(), 3, "{rows:?}");
}

#[test]
fn a_compressed_session_is_processed_like_a_plain_one() {
    let dir = DataDir::new();
    dir.write(FILE, zstd(b"one\ntwo\n"));
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    assert_eq!(pipeline.run(WELL_BEHAVED).opens, 0);
    dir.write(FILE, [zstd(b"one\ntwo\n"), zstd(b"three\n")].concat());
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    drop(pipeline);
    insta::assert_snapshot!(rows(&dir, &lines_of(WELL_BEHAVED)).join("\n"), @r"
    ada/codex/one.jsonl | 1 | one
    ada/codex/one.jsonl | 2 | two
    ada/codex/one.jsonl | 3 | three
    ");
}

#[test]
fn a_damaged_session_fails_alone_and_recovers_when_it_is_complete() {
    for (what, bytes, word) in damaged() {
        let dir = DataDir::new();
        dir.write(FILE, bytes);
        dir.write("bob/fine.jsonl", "fine\n");
        let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
        let stats = pipeline.run(WELL_BEHAVED).stats;
        assert_eq!((stats.processed, stats.errors), (1, 1), "{what}");
        let error = &stats.errors_detail[0];
        assert_eq!(
            (error.session.as_str(), error.fault.as_str()),
            (KEY, "input")
        );
        assert!(error.error.contains(word), "{what}: {}", error.error);
        let failure = pipeline.failure(WELL_BEHAVED, KEY).unwrap();
        assert_eq!(failure.failures.attempts, 1, "{what}");
        dir.write(FILE, zstd(b"one\n"));
        assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1, "{what}");
        assert_eq!(pipeline.failure(WELL_BEHAVED, KEY), None, "{what}");
    }
}

#[test]
fn a_bomb_is_too_large_and_its_size_is_not_stored() {
    let dir = DataDir::new();
    let bomb = zstd(&vec![b'x'; 64 << 20]);
    assert!(bomb.len() < 10_000);
    dir.write(FILE, bomb);
    dir.write("bob/fine.jsonl", "fine\n");
    let limits = Limits {
        session_bytes_max: 1 << 20,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &[well_behaved()]);
    let stats = pipeline.run(WELL_BEHAVED).stats;
    assert_eq!((stats.processed, stats.errors), (1, 1));
    assert_eq!(
        stats.errors_detail[0].error,
        "too-large: the session has more than 1048576 bytes, decompressed; this is the limit"
    );
}

#[test]
fn a_compressed_transcript_has_the_pages_of_the_plain_one() {
    let (plain, compressed) = (DataDir::new(), DataDir::new());
    let lines: String = (0..500)
        .map(|number| {
            format!("{{\"type\":\"user\",\"message\":{{\"content\":\"prompt {number}\"}}}}\n")
        })
        .collect();
    plain.write(KEY, &lines);
    compressed.write(FILE, zstd(lines.as_bytes()));
    let indexes = (TranscriptIndexes::default(), TranscriptIndexes::default());
    let roots = (plain.sessions_root(), compressed.sessions_root());
    for (after, limit) in [(0, 10), (495, 10), (130, 200), (0, 500)] {
        let expected = indexes.0.page(&roots.0, KEY, after, limit).unwrap();
        let found = indexes.1.page(&roots.1, KEY, after, limit).unwrap();
        assert_eq!(found, expected);
        assert!(!found.entries.is_empty());
    }
    let expected = indexes.0.marks(&roots.0, KEY).unwrap();
    assert_eq!(indexes.1.marks(&roots.1, KEY).unwrap(), expected);
    // The pages are those of the new content.
    compressed.write(FILE, zstd(b"{\"type\":\"user\"}\n"));
    assert_eq!(indexes.1.page(&roots.1, KEY, 0, 10).unwrap().lines, 1);
    for (what, bytes, word) in damaged() {
        compressed.write(FILE, bytes);
        let error = indexes.1.page(&roots.1, KEY, 0, 10).unwrap_err();
        assert!(
            matches!(error, TranscriptError::Compressed { .. }),
            "{what}"
        );
        assert!(error.to_string().contains(word), "{what}: {error}");
    }
}
