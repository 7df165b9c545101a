//! Lines that someone wrote to do harm, and sessions that lost lines or have them twice.

use crate::damaged::{Numbers, SESSIONS};
use crate::harness::{FileRows, Sums, check_laws};

/// The line in which a session of lines first shows its agent. Before it, another line decides.
const FIRST: usize = 1;

/// Lines without anything that an agent records.
fn hostile_lines() -> Vec<Vec<u8>> {
    let texts = [
        // Nested more deeply than any parser can recurse.
        format!("{{\"type\":{}", "[".repeat(10_000)),
        format!(
            "{{\"a\":{}1{}}}",
            "{\"a\":".repeat(10_000),
            "}".repeat(10_000)
        ),
        // Numbers that no type can store.
        format!(
            "{{\"timestamp\":{},\"tokens\":{{\"input\":-1e99999}}}}",
            "9".repeat(5_000)
        ),
        // The same field many times. The last one counts, and it has no shape.
        format!("{{{}\"type\":[]}}", "\"type\":\"session\",".repeat(5_000)),
        // More values than are indexed.
        format!("{{\"zeros\":[{}0]}}", "0,".repeat(70_000)),
        // A long name, and a long text.
        format!(
            "{{\"{}\":\"{}\"}}",
            "n".repeat(20_000),
            "\\u0000".repeat(20_000)
        ),
        "{\"type\":\"\\ud800\",\"message\":{\"content\":\"half a line".to_owned(),
        "}{\"".to_owned(),
        "[{\"type\":\"session\"}]".to_owned(),
        "\"type\"".to_owned(),
        "null".to_owned(),
        "\u{feff}".to_owned(),
    ];
    let mut lines: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    lines.push(b"{\"type\":\"\xff\xfe\",\"payload\":\"\xc3".to_vec());
    lines.push(vec![0; 4_096]);
    lines
}

/// The sessions of lines, without documents of one object.
fn sessions_of_lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    SESSIONS
        .into_iter()
        .filter(|(key, _)| key.ends_with(".jsonl"))
}

/// The session with another line after its first line, in its middle, and after its last line.
fn with_line_between<'a>(session: &'a str, line: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let lines: Vec<&'a str> = session.lines().collect();
    let places = [FIRST, lines.len() / 2, lines.len()];
    places.into_iter().map(move |at| {
        let (before, after) = lines.split_at(at);
        let before = before.iter().map(|line| line.as_bytes());
        let after = after.iter().map(|line| line.as_bytes());
        before
            .chain([line])
            .chain(after)
            .collect::<Vec<_>>()
            .join(&b'\n')
    })
}

fn tokens(rows: &FileRows) -> Vec<[i64; 7]> {
    rows.messages.iter().map(|row| row.tokens()).collect()
}

#[test]
fn a_hostile_line_costs_no_other_line() {
    for (key, session) in sessions_of_lines() {
        let whole = FileRows::of(key, session.as_bytes());
        assert!(!whole.messages.is_empty(), "{key}");
        for line in hostile_lines() {
            for file in with_line_between(session, &line) {
                let rows = FileRows::of(key, &file);
                let shown = String::from_utf8_lossy(&line[..line.len().min(60)]);
                assert_eq!(rows.identities(), whole.identities(), "{key}: {shown}");
                assert_eq!(tokens(&rows), tokens(&whole), "{key}: {shown}");
                let extra = rows.session.number("lines") - whole.session.number("lines");
                assert!((0..=1).contains(&extra), "{key}: {shown}: {extra}");
            }
        }
    }
}

#[test]
fn a_document_that_ends_anywhere_has_its_complete_records() {
    let (key, document) = SESSIONS[6];
    let whole = FileRows::of(key, document.as_bytes());
    assert_eq!(whole.messages.len(), 1);
    // From here, the record with the tokens is complete.
    let complete = document
        .rfind('}')
        .and_then(|end| document[..end].rfind('}'));
    let complete = complete.expect("the end of the record") + 1;
    for end in complete..document.len() {
        let rows = FileRows::of(key, &document.as_bytes()[..end]);
        assert_eq!(rows.identities(), whole.identities(), "up to {end}");
    }
    for line in hostile_lines() {
        let damaged = [&document.as_bytes()[..complete], b",", &line, b"]}"].concat();
        let rows = FileRows::of(key, &damaged);
        assert_eq!(tokens(&rows), tokens(&whole));
    }
}

/// A tool that joins files, or a folder that another agent takes over.
#[test]
fn a_file_that_switches_to_another_format_loses_nothing_of_the_first() {
    for (key, session) in sessions_of_lines() {
        let whole = FileRows::of(key, session.as_bytes());
        for (other, lines) in SESSIONS {
            if key == other {
                continue;
            }
            let rows = FileRows::of(key, format!("{session}\n{lines}").as_bytes());
            let found = rows.identities();
            let missing: Vec<_> = whole
                .identities()
                .into_iter()
                .filter(|identity| !found.contains(identity))
                .collect();
            assert!(missing.is_empty(), "{key} and {other}: {missing:?}");
            assert_eq!(rows.session.text("agent"), whole.session.text("agent"));
            let counted = whole.session.number("lines") + lines.lines().count() as i64;
            assert_eq!(rows.session.number("lines"), counted, "{key} and {other}");
        }
    }
}

/// The agent was killed while it wrote: the last line is incomplete, and is completed or followed by
/// another one later.
#[test]
fn a_last_line_that_is_half_written_is_no_bad_line_until_another_follows() {
    for (key, session) in sessions_of_lines() {
        let (before, last) = session.rsplit_once('\n').expect("several lines");
        for end in 1..last.len() {
            let half = format!("{before}\n{}", &last[..end]);
            let rows = FileRows::of(key, half.as_bytes());
            assert_eq!(rows.session.number("bad_lines"), 0, "{key} up to {end}");
            let followed = format!("{half}\n{last}");
            let rows = FileRows::of(key, followed.as_bytes());
            assert_eq!(rows.session.number("bad_lines"), 1, "{key} up to {end}");
            let whole = FileRows::of(key, session.as_bytes());
            assert_eq!(rows.identities(), whole.identities(), "{key} up to {end}");
        }
    }
}

/// A session of which some lines are there twice, and some are lost.
fn part(session: &str, loses_lines: bool, numbers: &mut Numbers) -> String {
    let mut lines = Vec::new();
    for (at, line) in session.lines().enumerate() {
        let count = match numbers.below(10) {
            // The agent and the session.
            _ if at < 2 => 1,
            0..2 if loses_lines => 0,
            2 => 2,
            _ => 1,
        };
        lines.extend(std::iter::repeat_n(line, count));
    }
    lines.join("\n")
}

#[test]
fn invariant_files_that_share_lines_count_once_in_any_order() {
    for (key, session) in sessions_of_lines() {
        let mut numbers = Numbers(11);
        let whole = Sums::of(&[(key, session)]).tokens();
        for loses_lines in [true, false].repeat(15) {
            let files: Vec<String> = (0..3)
                .map(|_| part(session, loses_lines, &mut numbers))
                .collect();
            let keys: Vec<String> = (0..3)
                .map(|number| key.replacen("ada/", &format!("ada/{number}/"), 1))
                .collect();
            let files: Vec<(&str, &str)> = keys
                .iter()
                .zip(&files)
                .map(|(key, file)| (&**key, &**file))
                .collect();
            if !loses_lines {
                check_laws(&files);
                assert_eq!(Sums::of(&files).tokens(), whole, "{key}: {files:?}");
                continue;
            }
            // A lost line can be the turn that a request belongs to or the reason of a failure, so
            // that copies differ. The tokens do not depend on their order.
            for file in &files {
                check_laws(&[*file]);
            }
            let reversed: Vec<_> = files.iter().rev().copied().collect();
            assert_eq!(
                Sums::of(&files).tokens(),
                Sums::of(&reversed).tokens(),
                "{key}: {files:?}"
            );
        }
    }
}
