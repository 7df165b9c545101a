//! Names that paint: no escape code of a name, a path or a transcript reaches a terminal raw.

use std::fs::File;

use session_pipeline_harness::{DataDir, Session, compiled, program};

/// Clears the screen, sets the title, reads from right to left; also as C1 codes of one character.
const PAINT: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\u{8}";

/// What the program prints for people on both streams, with its exit code.
fn check(dir: &DataDir, arguments: &[&str]) -> (i32, String) {
    let mut command = program::in_folder(dir);
    command.envs(compiled::environment());
    let output = command.args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let text = text.concat();
    let raw = text
        .chars()
        .find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
    assert_eq!(raw, None, "{arguments:?}: {text:?}");
    (output.status.code().unwrap(), text)
}

#[test]
fn the_name_of_a_failed_session_is_told_without_its_escape_codes() {
    let dir = DataDir::new();
    let key = format!("ada/{PAINT}.jsonl");
    dir.write(&key, "");
    // Too large to be tried, and of no size on the disk.
    let file = File::options()
        .write(true)
        .open(dir.session_path(&key))
        .unwrap();
    file.set_len((1 << 30) + 1).unwrap();
    let (code, text) = check(&dir, &["--data-dir", ".", "run", "usage"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains(r"failed `ada/\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\u{8}.jsonl`"),
        "{text}"
    );
    let (code, json) = check(&dir, &["--data-dir", ".", "--json", "run", "usage"]);
    assert_eq!(code, 1);
    assert!(json.contains("\"errors\": 1,"), "{json}");
}

#[test]
fn names_out_of_transcripts_are_shown_without_their_escape_codes() {
    let dir = DataDir::new();
    let session = Session::new(PAINT)
        .cwd(PAINT)
        .git_branch(PAINT)
        .assistant(|m| m.model(PAINT).tool(PAINT));
    dir.write(&format!("{PAINT}/one.jsonl"), session);
    check(&dir, &["--data-dir", ".", "run", "usage"]);
    let (code, text) = check(
        &dir,
        &["--data-dir", ".", "report", "usage", "--by", "model"],
    );
    assert_eq!(code, 0);
    assert!(text.contains(r"\u{1b}[2J"), "{text}");
}

#[test]
fn paths_of_the_command_line_are_told_without_their_escape_codes() {
    let dir = DataDir::new();
    let (code, text) = check(
        &dir,
        &["--data-dir", ".", "--sessions", PAINT, "run", "usage"],
    );
    assert_eq!(code, 0);
    assert!(text.contains(r"\u{1b}[2J"), "{text}");
    File::create(dir.path().join(PAINT)).unwrap();
    let (code, text) = check(&dir, &["--data-dir", PAINT, "migrate"]);
    assert_eq!(code, 3, "{text}");
}
