//! Tests of the bytes that are sent for a file.

use std::io::Write as _;

use proptest::prelude::*;

use super::*;

const KEY: &str = "AKIAIOSFODNN7EXAMPL1";

fn source(bytes: &[u8], form: Form) -> Source {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Source::new(file, bytes.len() as u64, form)
}

/// Continues at the position of an earlier run.
fn resume(source: &mut Source, at: &Position) -> Result<bool, SourceError> {
    source.resume(&RecordedPosition {
        read: at.read,
        read_sha256: &Hex::of(&at.read_state.0),
        ends: None,
        sent: at.sent,
        sent_state: &at.sent_state,
    })
}

/// All parts, one after the other.
fn all(source: &mut Source) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let part = source.next_part().unwrap();
        bytes.extend_from_slice(&part.bytes);
        assert_eq!(part.end.sent, bytes.len() as u64);
        assert_eq!(
            Hex::of(&part.end.sent_state.0),
            Hex::of(&Sha256::new_with_prefix(&bytes))
        );
        if part.is_last {
            return bytes;
        }
    }
}

#[test]
fn parts_end_with_a_line_unless_a_line_is_very_long() {
    let line = [vec![b'x'; 3 << 20], b"\n".to_vec()].concat();
    let long = vec![b'y'; LONG_LINE_BYTES + (5 << 20)];
    let bytes = [&line[..], &line, &line, &long, b"\nend"].concat();
    let mut source = source(&bytes, Form::Unchanged);
    let mut lengths = Vec::new();
    let mut sent = Vec::new();
    loop {
        let part = source.next_part().unwrap();
        lengths.push(part.bytes.len());
        sent.extend_from_slice(&part.bytes);
        if part.is_last {
            break;
        }
    }
    assert_eq!(sent, bytes);
    assert_eq!(lengths[0], line.len());
    assert!(
        lengths
            .iter()
            .all(|length| *length <= LONG_LINE_BYTES + PART_BYTES)
    );
}

#[test]
fn long_lines_are_replaced_before_they_are_redacted() {
    let long = vec![b'x'; LINE_BYTES_MAX + (1 << 20)];
    let bytes = [b"{}\n", &long[..], b"\n{\"a\":1}\nrest"].concat();
    let mut source = source(&bytes, Form::RedactedLines);
    let expected = [b"{}\n", LONG_LINE_MARKER, b"\n{\"a\":1}\n"].concat();
    assert_eq!(all(&mut source), expected);
    assert_eq!(source.position().read, bytes.len() as u64 - 4);
    // A long line without an end is not sent yet.
    let mut open = self::source(&[b"{}\n", &long[..]].concat(), Form::RedactedLines);
    assert_eq!(all(&mut open), b"{}\n");
    assert_eq!(open.position().read, 3);
}

#[test]
fn a_truncated_file_is_an_error() {
    let mut source = source(b"{}\n", Form::Unchanged);
    source.length = 10;
    assert!(matches!(source.next_part(), Err(SourceError::Truncated)));
    assert!(matches!(
        source.resume_at(9, Some(&Hex(String::new()))),
        Err(SourceError::Truncated)
    ));
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    let line = prop_oneof![
        Just("{\"a\":1}".to_owned()),
        Just(format!("{{\"text\":\"key {KEY}\"}}")),
        Just(format!("broken {KEY}")),
        Just(String::new()),
        "[a-z]{0,40}",
    ];
    proptest::collection::vec(line, 0..12)
}

#[test]
fn an_unchanged_document_is_not_sent_again() {
    let document = format!("{{\n \"key\": \"{KEY}\"\n}}").into_bytes();
    let mut first = source(&document, Form::RedactedDocument);
    let sent = all(&mut first);
    assert!(!sent.is_empty());
    let at = first.position().clone();
    let resumed = |bytes: &[u8]| {
        let mut second = source(bytes, Form::RedactedDocument);
        let is_resumed = resume(&mut second, &at);
        (is_resumed.unwrap(), all_after(&mut second))
    };
    assert_eq!(resumed(&document), (true, Vec::new()));
    let longer = [&document[..], b"\n"].concat();
    let (is_resumed, again) = resumed(&longer);
    assert!(!is_resumed);
    assert_eq!(again, [&sent[..], b"\n"].concat());
}

proptest! {
    /// What is sent for a file that grows is what is sent for the whole file, in both forms.
    #[test]
    fn what_is_sent_does_not_depend_on_when_it_is_sent(
        lines in lines(),
        cut in 0_usize..400,
        redacts in any::<bool>(),
    ) {
        let form = match redacts { true => Form::RedactedLines, false => Form::Unchanged };
        let bytes = lines.join("\n").into_bytes();
        let whole = all(&mut source(&bytes, form));
        if redacts {
            prop_assert!(!String::from_utf8_lossy(&whole).contains(KEY));
        } else {
            prop_assert_eq!(&whole, &bytes);
        }
        let mut first = source(&bytes[..cut.min(bytes.len())], form);
        let mut sent = all(&mut first);
        let at = first.position().clone();
        // Both with and without the stored state.
        for is_known in [true, false] {
            let mut second = source(&bytes, form);
            let is_resumed = match is_known {
                true => resume(&mut second, &at),
                false => second.resume_at(at.sent, Some(&Hex::of(&at.sent_state.0))),
            };
            prop_assert!(is_resumed.unwrap());
            prop_assert_eq!(second.position(), &at);
            let rest = all_after(&mut second);
            prop_assert_eq!([&sent[..], &rest].concat(), whole.clone());
        }
        // A file that begins with other bytes is sent again.
        if at.read > 0 {
            let mut changed = bytes.clone();
            changed[0] ^= 1;
            let mut third = source(&changed, form);
            prop_assert!(!resume(&mut third, &at).unwrap());
            prop_assert_eq!(third.position(), &Position::start());
        }
        sent.clear();
    }
}

fn all_after(source: &mut Source) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let part = source.next_part().unwrap();
        bytes.extend_from_slice(&part.bytes);
        if part.is_last {
            return bytes;
        }
    }
}
