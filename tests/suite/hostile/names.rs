//! Things that bear a session's name and are none, and sessions whose names are traps.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use session_pipeline_harness::{DataDir, TestPipeline, Transcript};

use super::{BESIDE, assert_is_counted, counted, put_good_beside, run_well, without_roots_powers};
use crate::database::rows;
use crate::guests::{self, usage_dir};

fn make(path: &Path, kind: FileType) {
    mknodat(CWD, path, kind, Mode::RWXU, 0).unwrap();
}

#[test]
fn folders_pipes_and_sockets_of_a_sessions_name_are_none_and_nobody_waits_for_them() {
    let dir = usage_dir();
    put_good_beside(&dir);
    fs::create_dir_all(dir.session_path("ada/folder.jsonl")).unwrap();
    make(&dir.session_path("ada/pipe.jsonl"), FileType::Fifo);
    make(&dir.session_path("ada/socket.jsonl"), FileType::Socket);
    run_well(&dir);
    assert!(counted(&dir).is_empty());
}

#[test]
fn links_are_not_followed_whether_they_lead_inside_or_out() {
    let outside = DataDir::new();
    outside.write(
        "eve/secret.jsonl",
        Transcript::new("secret").assistant(|m| m),
    );
    let dir = usage_dir();
    put_good_beside(&dir);
    let root = dir.sessions_root();
    fs::create_dir(root.join("ada")).unwrap();
    for (target, link) in [
        (outside.session_path("eve/secret.jsonl"), "ada/out.jsonl"),
        (outside.session_path("eve"), "ada/out"),
        (outside.session_path("eve"), "eve"),
        (dir.session_path(BESIDE), "ada/inside.jsonl"),
        (dir.session_path("zoe"), "ada/inside"),
        (root.clone(), "ada/loop"),
        (root.join("ada/nowhere"), "ada/broken.jsonl"),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    run_well(&dir);
    assert!(counted(&dir).is_empty());
}

#[test]
fn a_file_in_the_place_of_a_folder_and_hidden_files_are_no_sessions() {
    let dir = usage_dir();
    put_good_beside(&dir);
    dir.write("stray.jsonl", "{}");
    dir.write("ada/.upload.jsonl", "{}");
    run_well(&dir);
    assert!(counted(&dir).is_empty());
}

#[test]
fn a_session_that_may_not_be_read_is_an_error_of_its_own_and_tried_again() {
    let dir = usage_dir();
    put_good_beside(&dir);
    dir.write("ada/locked.jsonl", Transcript::new("s1").assistant(|m| m));
    let path = dir.session_path("ada/locked.jsonl");
    let allow = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    allow(0o000);
    without_roots_powers(|| {
        assert!(fs::read(&path).is_err(), "the file can't be read");
        let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
        for _ in 0..7 {
            let stats = pipeline.run("usage").stats;
            assert_eq!(
                (stats.errors, stats.quarantined),
                (1, 0),
                "an outage costs nobody a session"
            );
            let error = &stats.errors_detail[0];
            assert_eq!(
                (&*error.session, &*error.fault),
                ("ada/locked.jsonl", "input")
            );
            assert!(error.error.contains("ermission"), "{error:?}");
        }
        drop(pipeline);
        assert_is_counted(&dir);
    });
    allow(0o600);
    run_well(&dir);
    assert_eq!(
        counted(&dir),
        ["ada/locked.jsonl | 1 | 0 | 0 | 0 | false | 1"]
    );
}

#[test]
fn a_folder_that_may_not_be_read_is_reported_and_its_sessions_are_not_missing() {
    let dir = usage_dir();
    put_good_beside(&dir);
    dir.write(
        "ada/s1/subagents/agent-1.jsonl",
        Transcript::new("s1").assistant(|m| m),
    );
    run_well(&dir);
    let folder = dir.session_path("ada/s1");
    let allow = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    allow(0o000);
    without_roots_powers(|| {
        let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
        let ran = pipeline.run("usage");
        assert_eq!(ran.stats.errors, 0);
        assert_eq!(ran.notes.len(), 1, "{:?}", ran.notes);
        assert_eq!(ran.notes[0].path, "ada/s1");
        let state = pipeline
            .state("usage", "ada/s1/subagents/agent-1.jsonl")
            .unwrap();
        assert!(!state.is_missing);
    });
    allow(0o700);
    run_well(&dir);
}

#[test]
fn names_with_line_breaks_quotes_and_escape_codes_are_keys_like_any_other() {
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
    put_good_beside(&dir);
    for name in names {
        // The folder of a user may be called like this, too.
        dir.write(&format!("ada/{name}"), Transcript::new("s1").user("hello"));
        dir.write(
            &format!("{name}/one.jsonl"),
            Transcript::new("s2").user("hello"),
        );
    }
    run_well(&dir);
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
        "each folder is a user of its own"
    );
}

#[test]
fn a_name_that_is_no_text_is_reported_and_not_read() {
    let dir = usage_dir();
    put_good_beside(&dir);
    fs::create_dir(dir.session_path("ada")).unwrap();
    let name = OsStr::from_bytes(b"\x1b[2J\xff.jsonl");
    fs::write(dir.session_path("ada").join(name), "{}").unwrap();
    let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
    let ran = pipeline.run("usage");
    assert_eq!((ran.stats.errors, ran.stats.processed), (0, 1));
    assert_eq!(ran.notes.len(), 1, "{:?}", ran.notes);
    assert_eq!(ran.notes[0].path, "ada/\\u{1b}[2J\u{fffd}.jsonl");
    drop(pipeline);
    assert_is_counted(&dir);
    assert!(counted(&dir).is_empty());
}
