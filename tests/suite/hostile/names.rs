//! Tests special files with the name of a session, and sessions with unusual names.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use session_pipeline_harness::{DataDir, TestPipeline, Transcript};

use super::{
    VALID_KEY, assert_valid_session_is_counted, malformed_counts, run_without_errors,
    without_root_privileges, write_valid_session,
};
use crate::database::rows;
use crate::guests::{self, usage_dir};

fn create_node(path: &Path, kind: FileType) {
    mknodat(CWD, path, kind, Mode::RWXU, 0).unwrap();
}

#[test]
fn folders_pipes_and_sockets_named_like_sessions_are_skipped_without_blocking() {
    let dir = usage_dir();
    write_valid_session(&dir);
    fs::create_dir_all(dir.session_path("ada/folder.jsonl")).unwrap();
    create_node(&dir.session_path("ada/pipe.jsonl"), FileType::Fifo);
    create_node(&dir.session_path("ada/socket.jsonl"), FileType::Socket);
    run_without_errors(&dir);
    assert!(malformed_counts(&dir).is_empty());
}

#[test]
fn a_run_follows_no_links_inside_or_outside_the_root() {
    let outside = DataDir::new();
    outside.write(
        "eve/secret.jsonl",
        Transcript::new("secret").assistant(|m| m),
    );
    let dir = usage_dir();
    write_valid_session(&dir);
    let root = dir.sessions_root();
    fs::create_dir(root.join("ada")).unwrap();
    for (target, link) in [
        (outside.session_path("eve/secret.jsonl"), "ada/out.jsonl"),
        (outside.session_path("eve"), "ada/out"),
        (outside.session_path("eve"), "eve"),
        (dir.session_path(VALID_KEY), "ada/inside.jsonl"),
        (dir.session_path("zoe"), "ada/inside"),
        (root.clone(), "ada/loop"),
        (root.join("ada/nowhere"), "ada/broken.jsonl"),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    run_without_errors(&dir);
    assert!(malformed_counts(&dir).is_empty());
}

#[test]
fn files_directly_in_the_root_and_hidden_files_are_not_processed() {
    let dir = usage_dir();
    write_valid_session(&dir);
    dir.write("stray.jsonl", "{}");
    dir.write("ada/.upload.jsonl", "{}");
    run_without_errors(&dir);
    assert!(malformed_counts(&dir).is_empty());
}

#[test]
fn an_unreadable_session_is_an_error_and_is_retried() {
    let dir = usage_dir();
    write_valid_session(&dir);
    dir.write("ada/locked.jsonl", Transcript::new("s1").assistant(|m| m));
    let path = dir.session_path("ada/locked.jsonl");
    let allow = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    allow(0o000);
    without_root_privileges(|| {
        assert!(fs::read(&path).is_err(), "the file is readable");
        let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
        for _ in 0..7 {
            let stats = pipeline.run("usage").stats;
            assert_eq!(
                (stats.errors, stats.quarantined),
                (1, 0),
                "an unreadable file is an outage, not a failure of the session"
            );
            let error = &stats.errors_detail[0];
            assert_eq!(
                (&*error.session, &*error.fault),
                ("ada/locked.jsonl", "input")
            );
            assert!(error.error.contains("ermission"), "{error:?}");
        }
        drop(pipeline);
        assert_valid_session_is_counted(&dir);
    });
    allow(0o600);
    run_without_errors(&dir);
    assert_eq!(
        malformed_counts(&dir),
        ["ada/locked.jsonl | 1 | 0 | 0 | 0 | false | 1"]
    );
}

#[test]
fn an_unreadable_folder_is_reported_and_its_sessions_are_not_missing() {
    let dir = usage_dir();
    write_valid_session(&dir);
    dir.write(
        "ada/s1/subagents/agent-1.jsonl",
        Transcript::new("s1").assistant(|m| m),
    );
    run_without_errors(&dir);
    let folder = dir.session_path("ada/s1");
    let allow = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    allow(0o000);
    without_root_privileges(|| {
        let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
        let result = pipeline.run("usage");
        assert_eq!(result.stats.errors, 0);
        assert_eq!(result.notes.len(), 1, "{:?}", result.notes);
        assert_eq!(result.notes[0].path, "ada/s1");
        let state = pipeline
            .state("usage", "ada/s1/subagents/agent-1.jsonl")
            .unwrap();
        assert!(!state.is_missing);
    });
    allow(0o700);
    run_without_errors(&dir);
}

#[test]
fn names_with_line_breaks_quotes_and_escape_codes_are_valid_keys() {
    let names = [
        "a\nb.jsonl",
        "'; DROP TABLE runs; --.jsonl",
        "\"quoted\".jsonl",
        "\u{1b}[2J\u{1b}]0;title\u{7}.jsonl",
        "\u{202e}lnosj.jsonl",
        "back\\slash.jsonl",
        "%s {} $HOME `id`.jsonl",
        "-rf.jsonl",
        " .jsonl",
    ];
    let dir = usage_dir();
    write_valid_session(&dir);
    for name in names {
        // Use the name for the folder of a user as well.
        dir.write(&format!("ada/{name}"), Transcript::new("s1").user("hello"));
        dir.write(
            &format!("{name}/one.jsonl"),
            Transcript::new("s2").user("hello"),
        );
    }
    run_without_errors(&dir);
    let keys = |name: &&str| [format!("ada/{name}"), format!("{name}/one.jsonl")];
    let mut expected: Vec<String> = names.iter().flat_map(keys).collect();
    expected.sort();
    let found = rows(
        &dir,
        "SELECT session_file FROM usage.sessions WHERE session_file <> 'zoe/good.jsonl' ORDER BY session_file",
    );
    assert_eq!(found, expected);
    let users = "SELECT count(DISTINCT username) FROM usage.sessions";
    assert_eq!(
        rows(&dir, users),
        [(names.len() + 2).to_string()],
        "the folders are not separate users"
    );
}

#[test]
fn a_run_reports_a_name_that_is_not_utf8() {
    let dir = usage_dir();
    write_valid_session(&dir);
    fs::create_dir(dir.session_path("ada")).unwrap();
    let name = OsStr::from_bytes(b"\x1b[2J\xff.jsonl");
    fs::write(dir.session_path("ada").join(name), "{}").unwrap();
    let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
    let result = pipeline.run("usage");
    assert_eq!((result.stats.errors, result.stats.processed), (0, 1));
    assert_eq!(result.notes.len(), 1, "{:?}", result.notes);
    assert_eq!(result.notes[0].path, "ada/\\u{1b}[2J\u{fffd}.jsonl");
    drop(pipeline);
    assert_valid_session_is_counted(&dir);
    assert!(malformed_counts(&dir).is_empty());
}
