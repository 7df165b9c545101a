//! The program and the server decide with different code which files are sessions. The law: of any
//! folder, the program sends exactly the files that a server would process there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::collection::btree_set;
use proptest::prelude::*;
use proptest::sample::select;
use session_pipeline_harness::{DataDir, cases, counted, tally};
use session_pipeline_host::sessions::SessionsRoot;

use super::start;

const FOLDERS: [&str; 7] = [
    "a",
    "chats",
    "Chats",
    "chats.json",
    "s.jsonl",
    ".hidden",
    "chats.jsonl.zst",
];

const NAMES: [&str; 14] = [
    "s.jsonl",
    "s.jsonl.zst",
    "s.json",
    "s.json.zst",
    "s.meta.json",
    "s.JSONL",
    "s.jsonl.gz",
    "s.zst",
    "s.jsonl.zst.zst",
    ".s.jsonl",
    "chats",
    "chats.json",
    "package.json",
    "notes.txt",
];

/// Writes a file, unless a file is where it needs a folder, or the other way around.
fn write(path: &Path) {
    let name = path.to_string_lossy();
    let plain = b"{\"a\":1}\n";
    let content = match name.ends_with(".zst") {
        true => zstd::encode_all(plain.as_slice(), 1).unwrap(),
        false => plain.to_vec(),
    };
    if fs::create_dir_all(path.parent().unwrap()).is_ok() && !path.is_dir() {
        fs::write(path, content).unwrap();
    }
}

/// The sessions below a root, without their user.
fn sessions(root: &Path) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    if let Some(root) = SessionsRoot::open(root).unwrap() {
        let walk = root.walk(|key, _| {
            let (_, below) = key.split_once('/').unwrap();
            keys.insert(below.to_owned());
        });
        assert!(walk.unwrap().is_complete);
    }
    keys
}

fn count_files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let counts = entries.map(|entry| {
        let path = entry.unwrap().path();
        let is_description = path.to_string_lossy().ends_with(".meta.json");
        match path.is_dir() {
            true => count_files(&path),
            false => usize::from(!is_description),
        }
    });
    counts.sum()
}

proptest! {
    #![proptest_config(counted(cases().div_ceil(4)))]

    #[test]
    fn invariant_exactly_the_sessions_of_a_folder_are_sent(
        root in select(vec!["gemini", "chats"]),
        files in btree_set((proptest::collection::vec(select(&FOLDERS[..]), 0..4), select(&NAMES[..])), 1..24),
    ) {
        let dir = DataDir::new();
        let (server, machine) = start(&dir);
        // Where a server would find them.
        let base = machine.home().join("base");
        let folder = base.join("ada").join(root);
        fs::create_dir_all(&folder).unwrap();
        for (folders, name) in files {
            write(&folder.join(folders.join("/")).join(name));
        }
        let expected = sessions(&base);
        let named = format!("{root}={}", folder.display());
        machine.push_all(&server.url, &["--root", &named]);
        prop_assert_eq!(sessions(&dir.sessions_root()), expected.clone());
        // The server has nothing but sessions and their descriptions.
        let is_description = |key: &&String| key.ends_with(".meta.json");
        let others = expected.iter().filter(is_description).count();
        prop_assert_eq!(count_files(&dir.sessions_root()) + others, expected.len());
        tally("sessions of folders", expected.len() as u64);
    }
}
