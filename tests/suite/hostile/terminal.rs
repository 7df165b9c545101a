//! Tests that escape codes in names, paths and transcripts are escaped on a terminal.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use session_pipeline_harness::{DataDir, Transcript, compiled, program};

/// Codes that clear the screen, set the title, change the color (as a C1 code), and change the text
/// direction.
const ESCAPES: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\u{8}";

/// The exit code, and the output on both streams, which must not contain control characters.
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
fn escape_codes_in_the_name_of_a_failed_session_are_escaped() {
    let dir = DataDir::new();
    let key = format!("ada/{ESCAPES}.jsonl");
    dir.write(&key, "");
    // A sparse file above the size limit.
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
fn escape_codes_in_names_from_transcripts_are_escaped() {
    let dir = DataDir::new();
    let session = Transcript::new(ESCAPES)
        .cwd(ESCAPES)
        .git_branch(ESCAPES)
        .assistant(|m| m.model(ESCAPES).tool(ESCAPES));
    dir.write(&format!("{ESCAPES}/one.jsonl"), session);
    check(&dir, &["--data-dir", ".", "run", "usage"]);
    let (code, text) = check(
        &dir,
        &["--data-dir", ".", "report", "usage", "--by", "model"],
    );
    assert_eq!(code, 0);
    assert!(text.contains(r"\u{1b}[2J"), "{text}");
}

#[test]
fn escape_codes_in_paths_of_arguments_are_escaped() {
    let dir = DataDir::new();
    let (code, text) = check(
        &dir,
        &["--data-dir", ".", "--sessions", ESCAPES, "run", "usage"],
    );
    assert_eq!(code, 2, "{text}");
    assert!(text.contains(r"\u{1b}[2J"), "{text}");
    File::create(dir.path().join(ESCAPES)).unwrap();
    let (code, text) = check(&dir, &["--data-dir", ESCAPES, "migrate"]);
    assert_eq!(code, 3, "{text}");
}

#[test]
fn escape_codes_in_invalid_arguments_are_escaped() {
    let dir = DataDir::new();
    for arguments in [
        &["run", "usage", ESCAPES][..],
        &[ESCAPES],
        &["--data-dir", ".", "report", "usage", "--since", ESCAPES],
        &["token", "create", "--role", ESCAPES],
        &["serve", "--listen", ESCAPES],
    ] {
        let (code, text) = check(&dir, arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert!(text.contains(r"\u{202e}"), "{text}");
    }
}

/// Runs the program on a terminal, and returns its output. `None` if `script` (util-linux), which
/// provides the terminal, is not installed.
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
fn disabled_certificate_verification_is_logged_with_colors_only_on_a_terminal() {
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
    let Some(by_default) = is_colored(&[("TERM", "xterm")]) else {
        eprintln!("skipped on a terminal: `script` is not installed");
        return;
    };
    assert!(by_default);
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
