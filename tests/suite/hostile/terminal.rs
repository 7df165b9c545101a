//! Names that paint: no escape code of a name, a path or a transcript reaches a terminal raw.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use session_pipeline_harness::{DataDir, Transcript, compiled, program};

/// Clears the screen, sets the title, reads from right to left; also as C1 codes of one character.
const PAINT: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\u{8}";

/// What the program prints for people on both streams, with its exit code.
fn check(dir: &DataDir, arguments: &[&str]) -> (i32, String) {
    let mut command = program::command(dir);
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
    let session = Transcript::new(PAINT)
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

#[test]
fn wrong_arguments_are_told_without_their_escape_codes() {
    let dir = DataDir::new();
    for arguments in [
        &["run", "usage", PAINT][..],
        &[PAINT],
        &["--data-dir", ".", "report", "usage", "--since", PAINT],
        &["token", "create", "--role", PAINT],
        &["serve", "--listen", PAINT],
    ] {
        let (code, text) = check(&dir, arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert!(text.contains(r"\u{202e}"), "{text}");
    }
}

/// What the program logs of a configuration that is worth a warning: on a terminal where there is a
/// `script` that makes one (util-linux), and else `None`.
fn log_on_a_terminal(dir: &DataDir, variables: &[(&str, &str)]) -> Option<String> {
    let script = ["/usr/bin/script", "/bin/script"].map(Path::new);
    let script = script.into_iter().find(|path| path.exists())?;
    let line = format!("{} --data-dir . run usage", program::path().display());
    let mut command = Command::new(script);
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.env_clear().envs(compiled::environment());
    command.current_dir(dir.path()).stdin(Stdio::null());
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    Some(text)
}

#[test]
fn a_certificate_that_nobody_verifies_is_a_warning_in_the_log_and_colors_are_for_terminals() {
    let dir = DataDir::new();
    fs::write(
        dir.path().join("config.toml"),
        "[llm]\nprovider = \"openai_compat\"\nbase_url = \"https://127.0.0.1:9/v1\"\nmodel = \"m\"\nverify_ssl = false\n",
    )
    .unwrap();
    let warning = "`llm.verify_ssl = false`: the language model's certificate is not verified";
    let (code, text) = check(&dir, &["--data-dir", ".", "run", "usage"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("WARN {warning}")), "{text}");
    let is_colored = |variables: &[(&str, &str)]| {
        let text = log_on_a_terminal(&dir, variables)?;
        assert!(text.contains(warning), "{text:?}");
        Some(text.contains("\u{1b}[33m"))
    };
    let Some(by_itself) = is_colored(&[("TERM", "xterm")]) else {
        eprintln!("skipped on a terminal: there is no `script`");
        return;
    };
    assert!(by_itself);
    assert_eq!(
        is_colored(&[("TERM", "xterm"), ("NO_COLOR", "")]),
        Some(true)
    );
    assert_eq!(
        is_colored(&[("TERM", "xterm"), ("NO_COLOR", "1")]),
        Some(false)
    );
    assert_eq!(is_colored(&[("TERM", "dumb")]), Some(false));
}
