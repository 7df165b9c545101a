//! Snapshots of sessions: complete lines in order, the hash of all bytes, and no later changes.

use std::sync::Arc;

use md5::{Digest as _, Md5};
use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::{DataDir, cases, strategies};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::{
    Chunk, ContentHash, HashedAhead, Hasher, ReadError, Snapshot,
};
use session_pipeline_host::limits::Limits;
use session_pipeline_host::sessions::SessionsRoot;

const KEY: &str = "ada/one.jsonl";
const LINE_BYTES_MAX: usize = 16 << 20;

/// The default limits, with this limit of lines.
fn lines_of(line_bytes_max: usize) -> Limits {
    Limits {
        line_bytes_max,
        ..Limits::default()
    }
}

/// Writes a session and opens a snapshot of it.
fn snapshot(dir: &DataDir, bytes: &[u8], line_bytes_max: usize) -> Snapshot {
    dir.write(KEY, bytes);
    let root = SessionsRoot::open(&dir.sessions_root()).unwrap().unwrap();
    Snapshot::open(&root, KEY, UtcMicros(7), &lines_of(line_bytes_max)).unwrap()
}

/// Reads all chunks of a snapshot with these sizes in turn. The last chunk is empty.
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

/// Reads bytes as lines. Returns one text per chunk, and the hash.
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
fn the_hash_is_the_md5_of_the_bytes_in_lowercase_hexadecimal() {
    let vectors = [
        ("hello world", "5eb63bbbe01eeed093cb22bb8f5acdc3"),
        ("{}\n", "8a80554c91d9fca8acb82f023de02f11"),
        ("", "d41d8cd98f00b204e9800998ecf8427e"),
    ];
    for (text, hash) in vectors {
        assert_eq!(check(text.as_bytes(), LINE_BYTES_MAX).1, hash, "{text:?}");
    }
}

/// The end of the file ends a line. A reader that waits for a newline would wait indefinitely.
#[test]
fn a_last_line_without_a_newline_that_is_longer_than_a_chunk_is_complete() {
    let dir = DataDir::new();
    let line = vec![b'x'; 5_000];
    let mut snapshot = snapshot(&dir, &line, LINE_BYTES_MAX);
    let chunks = chunks(&mut snapshot, &[4_096]);
    assert_eq!(chunks.len(), 2, "the line and the end");
    assert_eq!(chunks[0].bytes, line);
}

#[test]
fn a_hash_is_parsed_only_from_its_hexadecimal_text() {
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
fn lines_are_in_order_and_the_last_chunk_is_empty() {
    let (chunks, _) = check(b"one\ntwo\n", LINE_BYTES_MAX);
    assert_eq!(chunks, ["1:0:\"one\\ntwo\\n\"", "end:0"]);
}

#[test]
fn a_last_line_without_a_newline_is_read() {
    let (chunks, _) = check(b"one\n{\"torn", LINE_BYTES_MAX);
    assert_eq!(chunks[0], "1:0:\"one\\n{\\\"torn\"");
}

#[test]
fn an_empty_session_has_only_the_empty_chunk() {
    let (chunks, _) = check(b"", LINE_BYTES_MAX);
    assert_eq!(chunks, ["end:0"]);
}

#[test]
fn a_line_longer_than_the_limit_is_skipped_and_counted() {
    let (chunks, hash) = check(b"one\nmuch longer\ntwo\n", 4);
    assert_eq!(
        chunks,
        ["1:0:\"one\\n\"", "3:1:\"two\\n\"", "end:0"],
        "the next chunk counts the skipped line, and line numbers include it"
    );
    assert_eq!(hash, md5_of(b"one\nmuch longer\ntwo\n").to_string());
}

#[test]
fn a_line_of_exactly_the_limit_is_not_skipped() {
    let (chunks, _) = check(b"1234\n12345\n1234", 4);
    assert_eq!(chunks, ["1:0:\"1234\\n\"", "3:1:\"1234\"", "end:0"]);
}

#[test]
fn skipped_lines_at_the_end_are_counted_in_the_last_chunk() {
    let (chunks, _) = check(b"one\nmuch longer\nlonger still", 4);
    assert_eq!(chunks, ["1:0:\"one\\n\"", "end:2"]);
}

#[test]
fn a_line_of_several_megabytes_is_skipped() {
    let mut bytes = vec![b'x'; 3 << 20];
    bytes.extend_from_slice(b"\nshort\n");
    let (chunks, hash) = check(&bytes, 1 << 20);
    assert_eq!(chunks, ["2:1:\"short\\n\"", "end:0"]);
    assert_eq!(hash, md5_of(&bytes).to_string());
}

#[test]
fn bytes_appended_during_the_read_are_not_in_the_snapshot() {
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
fn a_file_that_replaces_the_session_during_the_read_is_not_in_the_snapshot() {
    let dir = DataDir::new();
    let before = "a line\n".repeat(2000);
    let mut snapshot = snapshot(&dir, before.as_bytes(), LINE_BYTES_MAX);
    snapshot.next_chunk(0).unwrap();
    dir.write("ada/new.jsonl", "other\n".repeat(2000));
    dir.rename("ada/new.jsonl", KEY);
    assert_eq!(snapshot.finish().unwrap(), md5_of(before.as_bytes()));
}

#[test]
fn a_file_that_is_truncated_during_the_read_is_an_error() {
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
fn a_snapshot_can_be_rewound_after_the_hash() {
    let dir = DataDir::new();
    let bytes = b"one\ntwo\n";
    let mut snapshot = snapshot(&dir, bytes, LINE_BYTES_MAX);
    assert_eq!(snapshot.finish().unwrap(), md5_of(bytes));
    snapshot.rewind().unwrap();
    assert_eq!(chunks(&mut snapshot, &[0])[0].bytes, bytes);
    assert_eq!(snapshot.finish().unwrap(), md5_of(bytes));
}

/// Bytes with few or many newlines. Some lines are longer than the read buffer.
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

/// The expected lines: the number, the bytes with the newline, and whether the line is within the
/// limit.
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
    fn invariant_chunks_have_the_lines_within_the_limit_with_their_numbers(
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
            let mut skipped = 0;
            while rest.next_if(|(_, _, fits)| !fits).is_some() {
                skipped += 1;
            }
            prop_assert_eq!(chunk.skipped_lines, skipped);
            if let Some((number, _, _)) = rest.peek() {
                prop_assert_eq!(chunk.first_line, *number);
            }
            for line in chunk.bytes.split_inclusive(|byte| *byte == b'\n') {
                let expected = rest.next().map(|(_, line, fits)| (*line, *fits));
                prop_assert_eq!(Some((line, true)), expected);
            }
        }
        prop_assert!(rest.next().is_none(), "all lines are read");
        prop_assert_eq!(snapshot.finish().unwrap(), md5_of(&bytes));
    }

    #[test]
    fn invariant_the_hash_covers_all_bytes_after_any_reads(
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
        prop_assert_eq!(snapshot.finish().unwrap(), md5_of(&bytes), "a second call returns the same hash");
    }

    #[test]
    fn invariant_a_snapshot_has_the_bytes_of_the_file_at_open(versions in strategies::growing_transcript()) {
        let dir = DataDir::new();
        for pair in versions.windows(2) {
            let mut snapshot = snapshot(&dir, &pair[0], LINE_BYTES_MAX);
            dir.append(KEY, &pair[1][pair[0].len()..]);
            let read: Vec<u8> = chunks(&mut snapshot, &[0]).into_iter().flat_map(|chunk| chunk.bytes).collect();
            prop_assert_eq!(&read, &pair[0]);
            prop_assert_eq!(snapshot.finish().unwrap(), md5_of(&pair[0]));
        }
    }
}

const NEXT: &str = "ada/two.jsonl";

/// Reads a session together with a later one. Returns the hash of the first, and the later one.
fn read_with_next(dir: &DataDir, bytes: &[u8], next: &[u8]) -> (ContentHash, Arc<HashedAhead>) {
    dir.write(NEXT, next);
    let root = SessionsRoot::open(&dir.sessions_root()).unwrap().unwrap();
    let ahead = Arc::new(HashedAhead::open(&root, NEXT).unwrap().unwrap());
    let companions = vec![Arc::clone(&ahead)];
    let mut snapshot = snapshot(dir, bytes, LINE_BYTES_MAX).with_companions(companions);
    chunks(&mut snapshot, &[1 << 20]);
    (snapshot.finish().unwrap(), ahead)
}

fn open_next(dir: &DataDir) -> Snapshot {
    let root = SessionsRoot::open(&dir.sessions_root()).unwrap().unwrap();
    Snapshot::open(&root, NEXT, UtcMicros(7), &Limits::default()).unwrap()
}

#[test]
fn a_session_that_changed_after_it_was_hashed_ahead_is_not_read() {
    let dir = DataDir::new();
    let (_, ahead) = read_with_next(&dir, &[b'a'; 5000], &[b'b'; 3000]);
    let beginning = ahead.take();
    assert_eq!(beginning.as_ref().map(|known| known.bytes()), Some(3000));
    assert!(ahead.take().is_none(), "a hash is taken once");
    let mut changed = vec![b'b'; 4000];
    changed[1500] = b'c';
    dir.write(NEXT, &changed);
    let mut snapshot = open_next(&dir).with_hashed_beginning(beginning);
    for _ in 0..2 {
        assert!(matches!(snapshot.next_chunk(0), Err(ReadError::Changed)));
        assert!(matches!(snapshot.finish(), Err(ReadError::Changed)));
    }
    snapshot.rewind().unwrap();
    assert_eq!(
        snapshot.finish().unwrap(),
        md5_of(&changed),
        "hashed as a whole"
    );
}

#[test]
fn a_session_that_became_shorter_than_what_was_hashed_is_hashed_as_a_whole() {
    let dir = DataDir::new();
    let (_, ahead) = read_with_next(&dir, &[b'a'; 5000], &[b'b'; 3000]);
    dir.write(NEXT, b"bb");
    let mut snapshot = open_next(&dir).with_hashed_beginning(ahead.take());
    assert_eq!(snapshot.finish().unwrap(), md5_of(b"bb"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() * 4))]

    #[test]
    fn invariant_two_hashers_together_hash_like_each_alone(
        parts in vec((vec(any::<u8>(), 0..300), vec(any::<u8>(), 0..300)), 0..8),
    ) {
        let (mut left, mut right) = (Hasher::default(), Hasher::default());
        for (at, (own, other)) in parts.iter().enumerate() {
            match at % 3 {
                0 => left.update_pair(own, &mut right, other),
                1 => right.update_pair(other, &mut left, own),
                _ => {
                    left.update(own);
                    right.update(other);
                }
            }
            let so_far = parts.get(..=at).unwrap_or_default();
            let owns: Vec<u8> = so_far.iter().flat_map(|(own, _)| own).copied().collect();
            let others: Vec<u8> = so_far.iter().flat_map(|(_, other)| other).copied().collect();
            prop_assert_eq!(left.finish(), md5_of(&owns));
            prop_assert_eq!(right.finish(), md5_of(&others));
            // A stored state continues in the same way.
            left = Hasher::from_state(&left.state()).unwrap();
            prop_assert!(Hasher::from_state(left.state().split_last().unwrap().1).is_none());
        }
    }

    #[test]
    fn invariant_sessions_have_the_same_hash_if_they_are_hashed_ahead(
        bytes in lines(),
        next in lines(),
        more in vec(any::<u8>(), 0..200),
    ) {
        let dir = DataDir::new();
        let (hash, ahead) = read_with_next(&dir, &bytes, &next);
        prop_assert_eq!(hash, md5_of(&bytes));
        dir.append(NEXT, &more);
        let mut snapshot = open_next(&dir).with_hashed_beginning(ahead.take());
        let read: Vec<u8> = chunks(&mut snapshot, &[1 << 20]).into_iter().flat_map(|chunk| chunk.bytes).collect();
        let grown = [next, more].concat();
        prop_assert_eq!(&read, &grown);
        prop_assert_eq!(snapshot.finish().unwrap(), md5_of(&grown));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// A snapshot that continues after the whole lines of an earlier one.
    #[test]
    fn invariant_continuing_equals_reading_at_once(
        before in strategies::transcript(),
        after in strategies::transcript(),
        sizes in vec(1_usize..100_000, 1..4),
    ) {
        let dir = DataDir::new();
        let mut first = snapshot(&dir, &before, LINE_BYTES_MAX).with_checkpoint();
        prop_assert_eq!(first.whole_lines(), None, "not before the end");
        chunks(&mut first, &sizes);
        let prefix = first.whole_lines().cloned();
        let end = before.iter().rposition(|byte| *byte == b'\n').map(|newline| newline + 1);
        prop_assert_eq!(prefix.as_ref().map(|prefix| prefix.bytes), end.map(|end| end as u64));
        let Some(prefix) = prefix else { return Ok(()) };
        let grown = [before.as_slice(), &after].concat();
        let mut whole = snapshot(&dir, &grown, LINE_BYTES_MAX).with_checkpoint();
        let all = chunks(&mut whole, &[usize::MAX]);
        let mut continued = snapshot(&dir, &grown, LINE_BYTES_MAX)
            .with_checkpoint()
            .with_prefix_hash(Some(before.len() as u64));
        prop_assert!(continued.continue_after(&prefix).unwrap());
        let rest = chunks(&mut continued, &sizes);
        let bytes = |chunks: &[Chunk]| chunks.iter().flat_map(|chunk| chunk.bytes.clone()).collect::<Vec<u8>>();
        prop_assert_eq!(&bytes(&all)[end.unwrap()..], bytes(&rest));
        if let Some(chunk) = rest.first().filter(|chunk| !chunk.bytes.is_empty()) {
            prop_assert_eq!(chunk.first_line, prefix.lines + 1);
        }
        prop_assert_eq!(continued.finish().unwrap(), md5_of(&grown));
        prop_assert_eq!(continued.prefix_hash(), Some(md5_of(&before)));
        prop_assert_eq!(continued.whole_lines(), whole.whole_lines());
        // A change of any byte of the prefix is noticed, and the snapshot begins at its first byte.
        let mut changed = grown.clone();
        changed[sizes[0] % end.unwrap()] ^= 1;
        let mut other = snapshot(&dir, &changed, LINE_BYTES_MAX);
        prop_assert!(!other.continue_after(&prefix).unwrap());
        prop_assert_eq!(other.finish().unwrap(), md5_of(&changed));
    }
}
