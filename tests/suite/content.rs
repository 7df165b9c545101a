//! The snapshot: whole lines in order, the hash of all bytes, and nothing that came later.

use md5::{Digest as _, Md5};
use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::{DataDir, cases, strategies};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::{Chunk, ContentHash, ReadError, Snapshot};
use session_pipeline_host::sessions::SessionsRoot;

const KEY: &str = "ada/one.jsonl";
const LINE_BYTES_MAX: usize = 16 << 20;

/// A snapshot of a session that holds these bytes.
fn snapshot(dir: &DataDir, bytes: &[u8], line_bytes_max: usize) -> Snapshot {
    dir.write(KEY, bytes);
    let root = SessionsRoot::open(&dir.sessions_root()).unwrap().unwrap();
    Snapshot::open(&root, KEY, UtcMicros(7), line_bytes_max).unwrap()
}

/// All chunks of a snapshot, asked for with these sizes in turn; the last one is the empty one.
fn chunks(snapshot: &mut Snapshot, sizes: &[usize]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for size in sizes.iter().cycle() {
        let chunk = snapshot.next_chunk(*size).unwrap();
        let is_end = chunk.bytes.is_empty();
        chunks.push(chunk);
        if is_end {
            break;
        }
    }
    chunks
}

/// Reads bytes as lines; gives one text for each chunk, and the hash.
fn check(bytes: &[u8], line_bytes_max: usize) -> (Vec<String>, String) {
    let dir = DataDir::new();
    let mut snapshot = snapshot(&dir, bytes, line_bytes_max);
    let texts = chunks(&mut snapshot, &[1 << 20])
        .iter()
        .map(|chunk| {
            if chunk.bytes.is_empty() {
                return format!("end:{}", chunk.skipped_lines);
            }
            let text = String::from_utf8_lossy(&chunk.bytes).into_owned();
            format!("{}:{}:{text:?}", chunk.first_line, chunk.skipped_lines)
        })
        .collect();
    (texts, snapshot.finish().unwrap().to_string())
}

fn md5_of(bytes: &[u8]) -> ContentHash {
    ContentHash(Md5::digest(bytes).into())
}

#[test]
fn the_hash_is_the_md5_of_the_bytes_in_lowercase() {
    let vectors = [
        ("hello world", "5eb63bbbe01eeed093cb22bb8f5acdc3"),
        ("{}\n", "8a80554c91d9fca8acb82f023de02f11"),
        ("", "d41d8cd98f00b204e9800998ecf8427e"),
    ];
    for (text, hash) in vectors {
        assert_eq!(check(text.as_bytes(), LINE_BYTES_MAX).1, hash, "{text:?}");
    }
}

/// The end of the file ends a line too: whoever waited for a newline behind it would wait for ever.
#[test]
fn a_last_line_without_a_newline_that_is_longer_than_a_chunk_comes_whole() {
    let dir = DataDir::new();
    let line = vec![b'x'; 5_000];
    let mut snapshot = snapshot(&dir, &line, LINE_BYTES_MAX);
    let chunks = chunks(&mut snapshot, &[4_096]);
    assert_eq!(chunks.len(), 2, "and the end");
    assert_eq!(chunks[0].bytes, line);
}

#[test]
fn a_hash_is_read_back_from_its_text_and_from_nothing_else() {
    let hash = md5_of(b"hello world");
    assert_eq!(ContentHash::from_hex(&hash.to_string()), Some(hash));
    for text in [
        "",
        "5eb63bbbe01eeed093cb22bb8f5acdc",
        "5eb63bbbe01eeed093cb22bb8f5acdc33",
        "5eb63bbbe01eeed093cb22bb8f5acdcg",
        "+eb63bbbe01eeed093cb22bb8f5acdc3",
        "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
    ] {
        assert_eq!(ContentHash::from_hex(text), None, "{text:?}");
    }
}

#[test]
fn lines_come_in_order_and_the_end_is_empty() {
    let (chunks, _) = check(b"one\ntwo\n", LINE_BYTES_MAX);
    assert_eq!(chunks, ["1:0:\"one\\ntwo\\n\"", "end:0"]);
}

#[test]
fn a_last_line_without_newline_is_delivered_too() {
    let (chunks, _) = check(b"one\n{\"torn", LINE_BYTES_MAX);
    assert_eq!(chunks[0], "1:0:\"one\\n{\\\"torn\"");
}

#[test]
fn an_empty_session_has_only_an_end() {
    let (chunks, _) = check(b"", LINE_BYTES_MAX);
    assert_eq!(chunks, ["end:0"]);
}

#[test]
fn a_line_above_the_limit_is_passed_over_and_counted() {
    let (chunks, hash) = check(b"one\nmuch longer\ntwo\n", 4);
    assert_eq!(
        chunks,
        ["1:0:\"one\\n\"", "3:1:\"two\\n\"", "end:0"],
        "the chunk after it tells of it, and its number is kept free"
    );
    assert_eq!(hash, md5_of(b"one\nmuch longer\ntwo\n").to_string());
}

#[test]
fn a_line_of_just_the_limit_is_kept() {
    let (chunks, _) = check(b"1234\n12345\n1234", 4);
    assert_eq!(chunks, ["1:0:\"1234\\n\"", "3:1:\"1234\"", "end:0"]);
}

#[test]
fn lines_passed_over_at_the_end_are_told_with_the_end() {
    let (chunks, _) = check(b"one\nmuch longer\nlonger still", 4);
    assert_eq!(chunks, ["1:0:\"one\\n\"", "end:2"]);
}

#[test]
fn a_line_of_many_megabytes_is_passed_over_without_being_kept() {
    let mut bytes = vec![b'x'; 3 << 20];
    bytes.extend_from_slice(b"\nshort\n");
    let (chunks, hash) = check(&bytes, 1 << 20);
    assert_eq!(chunks, ["2:1:\"short\\n\"", "end:0"]);
    assert_eq!(hash, md5_of(&bytes).to_string());
}

#[test]
fn what_is_appended_while_it_is_read_is_not_seen() {
    let dir = DataDir::new();
    let before = "a line\n".repeat(2000);
    let mut snapshot = snapshot(&dir, before.as_bytes(), LINE_BYTES_MAX);
    let first = snapshot.next_chunk(0).unwrap();
    dir.append(KEY, "later\n");
    let mut bytes = first.bytes;
    for chunk in chunks(&mut snapshot, &[0]) {
        bytes.extend(chunk.bytes);
    }
    assert_eq!(String::from_utf8(bytes).unwrap(), before);
    assert_eq!(snapshot.finish().unwrap(), md5_of(before.as_bytes()));
    assert_eq!(snapshot.observed().size, before.len() as u64);
    assert_eq!(snapshot.read_at(), UtcMicros(7));
}

#[test]
fn what_is_put_in_its_place_while_it_is_read_is_not_seen() {
    let dir = DataDir::new();
    let before = "a line\n".repeat(2000);
    let mut snapshot = snapshot(&dir, before.as_bytes(), LINE_BYTES_MAX);
    snapshot.next_chunk(0).unwrap();
    dir.write("ada/new.jsonl", "other\n".repeat(2000));
    dir.rename("ada/new.jsonl", KEY);
    assert_eq!(snapshot.finish().unwrap(), md5_of(before.as_bytes()));
}

#[test]
fn a_file_that_becomes_shorter_while_it_is_read_is_an_error() {
    let dir = DataDir::new();
    let mut snapshot = snapshot(&dir, &b"a line\n".repeat(2000), LINE_BYTES_MAX);
    snapshot.next_chunk(0).unwrap();
    dir.write(KEY, "short\n");
    assert!(matches!(snapshot.finish(), Err(ReadError::Truncated)));

    let mut snapshot = self::snapshot(&dir, &b"a line\n".repeat(2000), LINE_BYTES_MAX);
    dir.write(KEY, "");
    assert!(matches!(snapshot.next_chunk(0), Err(ReadError::Truncated)));
}

#[test]
fn after_the_hash_it_can_be_read_from_its_beginning() {
    let dir = DataDir::new();
    let bytes = b"one\ntwo\n";
    let mut snapshot = snapshot(&dir, bytes, LINE_BYTES_MAX);
    assert_eq!(snapshot.finish().unwrap(), md5_of(bytes));
    snapshot.rewind().unwrap();
    assert_eq!(chunks(&mut snapshot, &[0])[0].bytes, bytes);
    assert_eq!(snapshot.finish().unwrap(), md5_of(bytes));
}

/// Bytes with few and many newlines, some lines longer than what is read at once.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let runs = vec(
        (
            prop::sample::select(vec![b'\n', b'\n', b'x', b'\r', b'\0', 0xff]),
            prop_oneof![6 => 1..8_usize, 2 => 8..200_usize, 1 => 200..9000_usize],
        ),
        0..40,
    );
    let runs = runs.prop_map(|runs| {
        runs.into_iter()
            .flat_map(|(byte, count)| {
                std::iter::repeat_n(byte, if byte == b'\n' { count.min(3) } else { count })
            })
            .collect()
    });
    prop_oneof![runs.boxed(), strategies::transcript().boxed()]
}

/// A line as it should come: its number, its bytes with the newline, and whether it fits.
fn expected_lines(bytes: &[u8], line_bytes_max: usize) -> Vec<(u64, &[u8], bool)> {
    (1..)
        .zip(bytes.split_inclusive(|byte| *byte == b'\n'))
        .map(|(number, line)| {
            let length = line.strip_suffix(b"\n").unwrap_or(line).len();
            (number, line, length <= line_bytes_max)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() * 4))]

    #[test]
    fn invariant_chunks_are_the_lines_within_the_limit_with_their_numbers(
        bytes in lines(),
        sizes in vec(prop_oneof![Just(0_usize), 1..10_000_usize, Just(1 << 20), Just(usize::MAX)], 1..4),
        line_bytes_max in prop_oneof![1..20_usize, 20..5000_usize, Just(LINE_BYTES_MAX)],
    ) {
        let dir = DataDir::new();
        let mut snapshot = snapshot(&dir, &bytes, line_bytes_max);
        let chunks = chunks(&mut snapshot, &sizes);
        let expected = expected_lines(&bytes, line_bytes_max);
        let mut rest = expected.iter().peekable();
        for chunk in &chunks {
            let mut passed_over = 0;
            while rest.next_if(|(_, _, fits)| !fits).is_some() {
                passed_over += 1;
            }
            prop_assert_eq!(chunk.skipped_lines, passed_over);
            if let Some((number, _, _)) = rest.peek() {
                prop_assert_eq!(chunk.first_line, *number);
            }
            for line in chunk.bytes.split_inclusive(|byte| *byte == b'\n') {
                let expected = rest.next().map(|(_, line, fits)| (*line, *fits));
                prop_assert_eq!(Some((line, true)), expected);
            }
        }
        prop_assert!(rest.next().is_none(), "nothing is left");
        prop_assert_eq!(snapshot.finish().unwrap(), md5_of(&bytes));
    }

    #[test]
    fn invariant_the_hash_is_that_of_all_bytes_however_far_was_read(
        bytes in lines(),
        reads in vec(0..20_000_usize, 0..6),
        line_bytes_max in prop_oneof![1..20_usize, Just(LINE_BYTES_MAX)],
    ) {
        let dir = DataDir::new();
        let mut snapshot = snapshot(&dir, &bytes, line_bytes_max);
        for size in reads {
            snapshot.next_chunk(size).unwrap();
        }
        prop_assert_eq!(snapshot.finish().unwrap(), md5_of(&bytes));
        prop_assert_eq!(snapshot.finish().unwrap(), md5_of(&bytes), "asking twice changes nothing");
    }

    #[test]
    fn invariant_a_snapshot_is_the_file_as_it_was_at_open(moments in strategies::growing_transcript()) {
        let dir = DataDir::new();
        for pair in moments.windows(2) {
            let mut snapshot = snapshot(&dir, &pair[0], LINE_BYTES_MAX);
            dir.append(KEY, &pair[1][pair[0].len()..]);
            let read: Vec<u8> = chunks(&mut snapshot, &[0]).into_iter().flat_map(|chunk| chunk.bytes).collect();
            prop_assert_eq!(&read, &pair[0]);
            prop_assert_eq!(snapshot.finish().unwrap(), md5_of(&pair[0]));
        }
    }
}
