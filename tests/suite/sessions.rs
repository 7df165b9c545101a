//! Tests the session walker: which files are sessions, which are skipped, and that no path leads
//! out of the root.

mod listing;
mod order;
mod overview;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use proptest::collection::btree_map;
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use session_pipeline_harness::{DataDir, cases};
use session_pipeline_host::sessions::{SessionsRoot, WalkReport, is_key};

use crate::hostile::without_root_privileges;

/// Walks the sessions root of a data directory, and returns the keys and the report of the walk.
fn check(dir: &DataDir) -> (BTreeSet<String>, WalkReport) {
    let root = SessionsRoot::open(&dir.sessions_root()).unwrap().unwrap();
    let mut keys = BTreeSet::new();
    let walk = root
        .walk(|key, observed| {
            assert!(keys.insert(key.to_owned()), "`{key}` was visited twice");
            assert_eq!(
                Some(observed),
                root.stat(key),
                "`stat` of `{key}` returns something else"
            );
        })
        .unwrap();
    assert_eq!(walk.found, keys.len() as u64);
    let (ahead, walk_ahead) = root.walk_ahead(|found| {
        let mut ahead = BTreeSet::new();
        found.each(|key, observed| {
            assert_eq!(Some(observed), root.stat(key));
            assert!(ahead.insert(key.to_owned()), "`{key}` was visited twice");
        });
        ahead
    });
    assert_eq!((&ahead, &walk_ahead.unwrap()), (&keys, &walk));
    assert_eq!(root.sessions_opened(), 0, "the walk opened a session");
    (keys, walk)
}

fn keys_of(dir: &DataDir) -> Vec<String> {
    let (keys, walk) = check(dir);
    assert_eq!(
        (walk.skipped, walk.is_complete),
        (Vec::new(), true),
        "the walk skipped paths"
    );
    keys.into_iter().collect()
}

#[test]
fn a_key_is_the_path_below_the_root_and_starts_with_the_user() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}");
    dir.write("bob/one.jsonl", "{}");
    assert_eq!(keys_of(&dir), ["ada/one.jsonl", "bob/one.jsonl"]);
}

#[test]
fn thousands_of_sessions_are_found_once_each_even_if_the_consumer_stops() {
    let dir = DataDir::new();
    let key = |number: usize| format!("user-{:02}/{number:04}.jsonl", number % 7);
    for number in 0..2500 {
        dir.write(&key(number), "");
    }
    let expected: BTreeSet<String> = (0..2500).map(key).collect();
    assert_eq!(check(&dir).0, expected);

    let root = SessionsRoot::open(&dir.sessions_root()).unwrap().unwrap();
    let (result, walk) = root.walk_ahead(|_| "not interested");
    assert_eq!((result, walk.unwrap().found), ("not interested", 2500));
}

#[test]
fn a_nested_transcript_is_a_separate_session() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}");
    dir.write("ada/one/subagents/deep/agent-1.jsonl", "{}");
    assert_eq!(
        keys_of(&dir),
        ["ada/one.jsonl", "ada/one/subagents/deep/agent-1.jsonl"]
    );
}

#[test]
fn a_file_directly_in_the_root_is_not_a_session() {
    let dir = DataDir::new();
    dir.write("stray.jsonl", "{}");
    dir.write("ada/one.jsonl", "{}");
    assert_eq!(keys_of(&dir), ["ada/one.jsonl"]);
}

#[test]
fn only_names_that_end_in_jsonl_are_sessions() {
    let dir = DataDir::new();
    for name in [
        "one.jsonl",
        "two.json",
        "three.JSONL",
        "four.jsonl.gz",
        "jsonl",
        "five.jsonl~",
        "-.jsonl",
    ] {
        dir.write(&format!("ada/{name}"), "{}");
    }
    assert_eq!(keys_of(&dir), ["ada/-.jsonl", "ada/one.jsonl"]);
}

#[test]
fn a_document_is_a_session_in_a_folder_of_chats_only() {
    let dir = DataDir::new();
    for key in [
        "ada/gemini/tmp/a1/chats/session.json",
        "ada/gemini/tmp/a1/chats/parent/sub.json",
        "ada/gemini/tmp/a1/logs.json",
        "ada/package.json",
        "ada/chats-of-mine/a.json",
        "ada/a/chats.json",
        "ada/a/chats/a.JSON",
        "ada/a/chats/.hidden.json",
        // The name of a user.
        "chats/a.json",
    ] {
        dir.write(key, "{}");
    }
    let found = keys_of(&dir);
    assert_eq!(
        found,
        [
            "ada/gemini/tmp/a1/chats/parent/sub.json",
            "ada/gemini/tmp/a1/chats/session.json",
        ]
    );
    assert!(found.iter().all(|key| is_key(key)));
    for key in [
        "ada/package.json",
        "chats/a.json",
        "a.json",
        "ada/chats/.a.json",
    ] {
        assert!(!is_key(key), "{key}");
    }
}

#[test]
fn hidden_files_and_folders_are_skipped() {
    let dir = DataDir::new();
    for key in [
        "ada/.upload.jsonl",
        "ada/.trash/one.jsonl",
        ".sync/ada/one.jsonl",
        "ada/.jsonl",
    ] {
        dir.write(key, "{}");
    }
    assert_eq!(keys_of(&dir), [""; 0]);
}

#[test]
fn a_folder_named_like_a_session_is_walked_like_any_folder() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl/two.jsonl", "{}");
    assert_eq!(keys_of(&dir), ["ada/one.jsonl/two.jsonl"]);
}

#[test]
fn links_are_never_followed() {
    let outside = DataDir::new();
    outside.write("eve/secret.jsonl", "{}");
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}");
    let root = dir.sessions_root();
    symlink(
        outside.session_path("eve/secret.jsonl"),
        root.join("ada/file.jsonl"),
    )
    .unwrap();
    symlink(outside.session_path("eve"), root.join("ada/folder")).unwrap();
    symlink(outside.session_path("eve"), root.join("user")).unwrap();
    symlink(".", root.join("ada/loop")).unwrap();
    symlink("itself", root.join("ada/itself")).unwrap();
    symlink("one.jsonl", root.join("ada/inside.jsonl")).unwrap();
    symlink("nowhere", root.join("ada/broken.jsonl")).unwrap();
    // These links cannot lead to sessions, so they are not reported.
    fs::write(root.join("ada/notes.txt"), "").unwrap();
    symlink("notes.txt", root.join("ada/text")).unwrap();
    symlink("ada/one.jsonl", root.join("root.jsonl")).unwrap();
    symlink("ada", root.join(".hidden")).unwrap();
    assert_eq!(keys_of(&dir), ["ada/one.jsonl"]);
    let (_, walk) = check(&dir);
    let links = [
        "ada/broken.jsonl",
        "ada/file.jsonl",
        "ada/folder",
        "ada/inside.jsonl",
        "ada/itself",
        "ada/loop",
        "user",
    ];
    assert_eq!(walk.links.paths, links, "each link is reported");
    assert_eq!(walk.links.count, links.len() as u64);
    let notes = walk.all_skipped();
    assert_eq!(notes.len(), links.len());
    assert_eq!(notes[2].path, "ada/folder");
    assert!(notes[2].reason.starts_with("links are not followed"));

    let root = SessionsRoot::open(&root).unwrap().unwrap();
    for key in [
        "ada/file.jsonl",
        "ada/folder/secret.jsonl",
        "user/secret.jsonl",
        "ada/inside.jsonl",
        "ada/loop/one.jsonl",
    ] {
        assert!(root.open_session(key).is_err(), "`{key}` was opened");
        assert_eq!(root.stat(key), None, "`stat` follows `{key}`");
    }
    assert!(root.open_session("ada/one.jsonl").is_ok());
}

#[test]
fn after_a_hundred_skipped_links_and_paths_the_rest_is_only_counted() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}");
    let root = dir.sessions_root();
    for number in 0..150 {
        symlink("one.jsonl", root.join(format!("ada/{number:03}.jsonl"))).unwrap();
        let name = [format!("{number}").as_bytes(), b"\xff.jsonl"].concat();
        fs::write(root.join("ada").join(OsStr::from_bytes(&name)), "").unwrap();
    }
    let deep = format!("bob/{}one.jsonl", "d/".repeat(70));
    dir.write(&deep, "{}");
    let (_, walk) = check(&dir);
    assert_eq!((walk.links.count, walk.links.paths.len()), (150, 100));
    assert_eq!(walk.links.unlisted(), 50);
    let notes = walk.all_skipped();
    assert_eq!(
        notes.last().unwrap().reason,
        "50 more links that are not followed"
    );
    let is_summary = |note: &&session_pipeline_host::sessions::SkippedPath| {
        note.reason.ends_with("more paths were skipped")
    };
    assert_eq!(walk.skipped.iter().filter(is_summary).count(), 1);
    assert!(walk.skipped.len() <= 102, "{}", walk.skipped.len());
    let is_deep = |note: &session_pipeline_host::sessions::SkippedPath| {
        note.reason.contains("64 parent folders")
    };
    assert!(
        walk.skipped.iter().any(is_deep),
        "a skipped folder that can contain sessions is not listed"
    );
    assert!(!walk.is_complete);
}

#[test]
fn the_root_itself_can_be_a_link() {
    let elsewhere = DataDir::new();
    elsewhere.write("ada/one.jsonl", "{}");
    let dir = DataDir::without_sessions_root();
    symlink(elsewhere.sessions_root(), dir.sessions_root()).unwrap();
    assert_eq!(keys_of(&dir), ["ada/one.jsonl"]);
}

#[test]
fn a_key_that_is_not_a_normalized_path_is_rejected() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}");
    fs::write(dir.path().join("secret.jsonl"), "{}").unwrap();
    let root = SessionsRoot::open(&dir.sessions_root()).unwrap().unwrap();
    for key in [
        "",
        "/",
        "ada",
        "../secret.jsonl",
        "ada/../ada/one.jsonl",
        "./ada/one.jsonl",
        "ada//one.jsonl",
        "/ada/one.jsonl",
        "ada/one.jsonl/",
        "ada/one.jsonl\0",
    ] {
        assert!(root.open_session(key).is_err(), "`{key}` was opened");
    }
    assert_eq!(root.sessions_opened(), 0);
}

#[test]
fn pipes_and_sockets_are_skipped_without_blocking() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}");
    make_pipe(&dir.session_path("ada/pipe.jsonl"));
    // `bind` rejects long paths, and the path of the data directory can be long.
    mknodat(
        CWD,
        dir.session_path("ada/socket.jsonl"),
        FileType::Socket,
        Mode::RWXU,
        0,
    )
    .unwrap();
    assert_eq!(keys_of(&dir), ["ada/one.jsonl"]);

    let root = SessionsRoot::open(&dir.sessions_root()).unwrap().unwrap();
    assert!(root.open_session("ada/pipe.jsonl").is_err());
    assert!(root.open_session("ada/socket.jsonl").is_err());
}

#[test]
fn a_pipe_in_place_of_a_folder_does_not_block() {
    let dir = DataDir::new();
    make_pipe(&dir.session_path("ada"));
    let root = SessionsRoot::open(&dir.sessions_root()).unwrap().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    // Use another thread, because a blocked `open` would never return.
    std::thread::spawn(move || {
        let key = "ada/one.jsonl";
        sender.send((root.open_session(key).is_err(), root.stat(key)))
    });
    let result = receiver.recv_timeout(Duration::from_secs(60));
    assert_eq!(result, Ok((true, None)));
}

#[test]
fn a_name_that_is_not_utf8_is_reported_and_other_sessions_are_found() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}");
    let root = dir.sessions_root();
    fs::write(root.join("ada").join(OsStr::from_bytes(b"\xff.jsonl")), "").unwrap();
    fs::create_dir(root.join(OsStr::from_bytes(b"\xfeuser"))).unwrap();
    // This file is not a session, so it is not reported.
    fs::write(root.join("ada").join(OsStr::from_bytes(b"\xff.txt")), "").unwrap();

    let (keys, walk) = check(&dir);
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["ada/one.jsonl"]);
    let mut notes: Vec<String> = walk
        .skipped
        .iter()
        .map(|note| format!("{}: {}", note.path, note.reason))
        .collect();
    notes.sort();
    insta::assert_snapshot!(notes.join("\n"), @r"
    ada/�.jsonl: the name is not UTF-8; rename it
    �user: the name is not UTF-8; rename it
    ");
    assert!(
        walk.is_complete,
        "a name without a key cannot hide a known session"
    );
}

#[test]
fn escape_codes_in_skipped_names_are_escaped() {
    let dir = DataDir::new();
    let name = OsStr::from_bytes(b"\x1b[2J\xff.jsonl");
    fs::create_dir(dir.session_path("ada")).unwrap();
    fs::write(dir.sessions_root().join("ada").join(name), "").unwrap();
    let (_, walk) = check(&dir);
    assert_eq!(walk.skipped[0].path, "ada/\\u{1b}[2J\u{fffd}.jsonl");
}

#[test]
fn unusual_names_are_valid_keys() {
    let dir = DataDir::new();
    let composed = "ada/caf\u{e9}.jsonl";
    let decomposed = "ada/cafe\u{301}.jsonl";
    let long = format!("ada/{}.jsonl", "x".repeat(249));
    let mut names = vec![
        "ada/a\nb.jsonl",
        "ada/'; DROP TABLE runs; --.jsonl",
        "ada/\u{1b}[31m.jsonl",
        "ada/a..b.jsonl",
        composed,
        decomposed,
        &long,
    ];
    for name in &names {
        dir.write(name, "{}");
    }
    names.sort_unstable();
    assert_eq!(keys_of(&dir), names);
}

#[test]
fn an_unreadable_folder_is_reported_and_makes_the_walk_incomplete() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}");
    dir.write("bob/locked/two.jsonl", "{}");
    let locked = dir.session_path("bob/locked");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    without_root_privileges(|| {
        let (keys, walk) = check(&dir);
        assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["ada/one.jsonl"]);
        assert!(!walk.is_complete);
        assert_eq!(walk.skipped[0].path, "bob/locked");
    });
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn too_deeply_nested_folders_are_reported_and_make_the_walk_incomplete() {
    let dir = DataDir::new();
    let deep = format!("ada/{}one.jsonl", "d/".repeat(70));
    dir.write(&deep, "{}");
    dir.write("bob/one.jsonl", "{}");
    let (keys, walk) = check(&dir);
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["bob/one.jsonl"]);
    assert!(!walk.is_complete);
    assert_eq!(
        walk.skipped[0].reason,
        "the folder has more than 64 parent folders; move it up"
    );
}

#[test]
fn a_missing_root_is_none_and_a_file_in_its_place_is_an_error() {
    let dir = DataDir::without_sessions_root();
    assert!(SessionsRoot::open(&dir.sessions_root()).unwrap().is_none());
    fs::write(dir.sessions_root(), "").unwrap();
    assert!(SessionsRoot::open(&dir.sessions_root()).is_err());
}

#[test]
fn observed_sizes_and_times_are_those_of_the_file_system() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "12345");
    dir.set_mtime_ns("ada/one.jsonl", 1_234_567_890_123_456_789);
    let root = SessionsRoot::open(&dir.sessions_root()).unwrap().unwrap();
    let observed = root.stat("ada/one.jsonl").unwrap();
    assert_eq!(observed.size, 5);
    assert_eq!(observed.mtime_ns, 1_234_567_890_123_456_789);
    let (mut file, at_open) = root.open_session("ada/one.jsonl").unwrap();
    assert_eq!(at_open, observed);
    assert!(file.write_all(b"x").is_err(), "the session is writable");

    dir.set_mtime_ns("ada/one.jsonl", -1);
    assert_eq!(root.stat("ada/one.jsonl").unwrap().mtime_ns, -1);
}

#[test]
fn the_same_content_under_two_users_is_two_sessions() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}");
    dir.write("bob/two.jsonl", "{}");
    fs::remove_file(dir.session_path("bob/two.jsonl")).unwrap();
    fs::hard_link(
        dir.session_path("ada/one.jsonl"),
        dir.session_path("bob/two.jsonl"),
    )
    .unwrap();
    assert_eq!(keys_of(&dir), ["ada/one.jsonl", "bob/two.jsonl"]);
}

/// An entry of a random tree.
#[derive(Clone, Debug)]
enum Node {
    File,
    Link(&'static str),
    Pipe,
    Folder(BTreeMap<Vec<u8>, Node>),
}

fn tree() -> impl Strategy<Value = BTreeMap<Vec<u8>, Node>> {
    let name = || {
        let names: Vec<&[u8]> = vec![
            b"a.jsonl",
            b"b.jsonl",
            b"c.txt",
            b".hidden.jsonl",
            b"folder",
            b"folder.jsonl",
            b".hidden",
            "caf\u{e9}\n.jsonl".as_bytes(),
            b"\xff.jsonl",
            b"\xffolder",
        ];
        prop::sample::select(names).prop_map(<[u8]>::to_vec)
    };
    let leaf = prop_oneof![
        4 => Just(Node::File),
        1 => prop::sample::select(vec![".", "..", "a.jsonl", "folder", "/"]).prop_map(Node::Link),
        1 => Just(Node::Pipe),
    ];
    let node = leaf.prop_recursive(3, 24, 6, move |inner| {
        btree_map(name(), inner, 0..6).prop_map(Node::Folder)
    });
    btree_map(name(), node, 0..6)
}

fn create_tree(path: &Path, tree: &BTreeMap<Vec<u8>, Node>) {
    for (name, node) in tree {
        let path = path.join(OsStr::from_bytes(name));
        match node {
            Node::File => fs::write(path, "{}").unwrap(),
            Node::Link(target) => symlink(target, path).unwrap(),
            Node::Pipe => make_pipe(&path),
            Node::Folder(tree) => {
                fs::create_dir(&path).unwrap();
                create_tree(&path, tree);
            }
        }
    }
}

/// Collects the expected keys: `.jsonl` files below a folder, with a UTF-8 path without hidden
/// parts.
fn model(prefix: &str, tree: &BTreeMap<Vec<u8>, Node>, keys: &mut BTreeSet<String>) {
    for (name, node) in tree {
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        let path = format!("{prefix}{name}");
        match node {
            _ if name.starts_with('.') => {}
            Node::Folder(tree) => model(&format!("{path}/"), tree, keys),
            Node::File if !prefix.is_empty() && name.ends_with(".jsonl") => {
                keys.insert(path);
            }
            _ => {}
        }
    }
}

fn make_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_the_walk_finds_exactly_the_sessions_of_the_model(tree in tree()) {
        let dir = DataDir::new();
        create_tree(&dir.sessions_root(), &tree);
        let mut expected = BTreeSet::new();
        model("", &tree, &mut expected);
        let (keys, walk) = check(&dir);
        prop_assert_eq!(keys, expected);
        prop_assert!(walk.is_complete);
    }
}
