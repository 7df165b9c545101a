//! The law of resumption: a session that is continued as it grows has the same rows as if it were read
//! at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use session_pipeline_processor::SessionInfo;
use session_pipeline_processor::native::MemoryHost;
use session_pipeline_processor::table::OwnedValue;
use session_pipeline_usage::Usage;

type Rows = BTreeMap<String, Vec<String>>;

/// All lines of the hand-made sessions, and lines that change what earlier lines said.
fn lines() -> Vec<String> {
    let sessions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/sessions");
    let mut files = Vec::new();
    find(&sessions, &mut files);
    files.sort();
    let mut lines: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let bytes = std::fs::read(file).expect("the session is read");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert!(lines.len() > 50, "{}", lines.len());
    lines.extend(
        [
            r#"{"type":"pr-link","prNumber":7,"prRepository":"a/b","sessionId":"s"}"#,
            r#"{"type":"summary","summary":"A title","leafUuid":"x"}"#,
            r#"{"type":"custom-title","customTitle":"Another","sessionId":"s"}"#,
            r#"{"type":"system","subtype":"compact_boundary","uuid":"c1","parentUuid":"u1"}"#,
            r#"{"type":"assistant","uuid":"p1","timestamp":"2026-01-02T03:04:05Z","message":{"id":"m","model":"x","usage":{"output_tokens":0}}}"#,
            r#"{"type":"assistant","uuid":"p2","message":{"id":"m","model":"x","usage":{"input_tokens":9,"output_tokens":4}}}"#,
            r#"{"type":"assistant","uuid":"p3","parentUuid":"p2","message":{"id":"n","content":[{"type":"tool_use","id":"t1","name":"Read","input":{"file_path":"/a"}}],"usage":{"input_tokens":9}}}"#,
            r#"{"type":"user","uuid":"p4","parentUuid":"p3","message":{"content":[{"type":"tool_result","tool_use_id":"t1","content":"x"}]}}"#,
            r#"{"type":"user","message":{"content":"<command-name>/clear</command-name>"}}"#,
            r#"{"type":"never-seen","timestamp":"2026-01-02T03:04:05Z"}"#,
            "not JSON",
            "",
        ]
        .map(str::to_owned),
    );
    lines
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().expect("the folder is read") {
        let path = entry.expect("the folder is read").path();
        match path.is_dir() {
            true => find(&path, files),
            false => files.push(path),
        }
    }
}

fn info() -> SessionInfo {
    SessionInfo::new("ada/one.jsonl")
}

fn rows(host: MemoryHost<'_>) -> Rows {
    let show = |row: Vec<OwnedValue>| format!("{row:?}");
    let tables = host.into_rows().into_iter();
    let rows = tables.map(|(table, rows)| (table, rows.into_iter().map(show).collect()));
    rows.collect()
}

/// The rows of a transcript that is read at once.
fn whole(transcript: &[u8]) -> Rows {
    let host = MemoryHost::new(transcript);
    host.run::<Usage>(&info())
        .expect("the session is processed");
    rows(host)
}

/// The rows of a transcript that was read at these lengths before, and how often it was continued.
fn grown(transcript: &[u8], lengths: &[usize]) -> (Rows, usize) {
    let first = lengths.first().copied().unwrap_or(transcript.len());
    let mut host = MemoryHost::new(&transcript[..first]);
    host.state_bytes_max = 8 << 20;
    host.run::<Usage>(&info())
        .expect("the session is processed");
    let mut continued = 0;
    let versions = lengths.iter().copied().skip(1).chain([transcript.len()]);
    for length in versions {
        let grown = host
            .grow::<Usage>(&info(), &transcript[..length])
            .expect("the session is continued");
        match grown {
            Some(_) => continued += 1,
            None => {
                host.run::<Usage>(&info())
                    .expect("the session is processed");
            }
        }
    }
    (rows(host), continued)
}

#[test]
fn a_session_that_grows_line_by_line_is_continued_each_time() {
    let transcript = lines().join("\n") + "\n";
    let bytes = transcript.as_bytes();
    let newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let ends: Vec<usize> = newlines.map(|(at, _)| at + 1).collect();
    let (rows, continued) = grown(bytes, &ends);
    assert_eq!(rows, whole(bytes));
    assert_eq!(continued, ends.len());
}

#[test]
fn the_state_is_continued_only_for_claude_code() {
    let codex = r#"{"type":"session_meta","payload":{"id":"t"}}"#.to_owned() + "\n";
    let (rows, continued) = grown(codex.repeat(2).as_bytes(), &[codex.len()]);
    assert_eq!(rows, whole(codex.repeat(2).as_bytes()));
    assert_eq!(continued, 0);
}

#[test]
fn a_damaged_state_asks_for_the_whole_session() {
    for state in [&[][..], &[0xff; 40]] {
        assert!(session_pipeline_usage::state::decode(state).is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn invariant_growth_at_any_bytes_equals_reading_at_once(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..80),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        is_ended in any::<bool>(),
    ) {
        let all = lines();
        // In any order, with repetitions.
        let picked: Vec<&str> = picks.iter().map(|pick| pick.get(&all).as_str()).collect();
        let mut transcript = picked.join("\n");
        if is_ended {
            transcript.push('\n');
        }
        let bytes = transcript.as_bytes();
        let mut lengths: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        lengths.sort_unstable();
        let (rows, _) = grown(bytes, &lengths);
        prop_assert_eq!(rows, whole(bytes));
    }
}
