//! Names from untrusted sources: session keys, uploaded files, and users.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::{Component, Path};

use proptest::prelude::*;
use session_pipeline_harness::DataDir;
use session_pipeline_harness::fuzz::{fuzz, mutated_text};
use session_pipeline_host::fault::printable;
use session_pipeline_host::sessions::{SessionsRoot, is_key};
use session_pipeline_pipeline::token::is_email;
use session_pipeline_pipeline::upload;

const VALID: [&str; 7] = [
    "ada/a.jsonl",
    "ada/a/subagents/agent-1.jsonl",
    "ada/../../outside.jsonl",
    "ada/out/outside.jsonl",
    "ada/link.jsonl",
    "a.jsonl",
    "ada@example.org",
];
const WORDS: [&str; 14] = [
    "/", "..", "../", ".", "./", "//", "\0", "\u{202e}", "\\", "%2f", "@", ".jsonl", "~", "\n",
];

fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(only)) if only == name)
        && components.next().is_none()
}

#[test]
fn invariant_no_session_key_resolves_to_a_file_outside_the_root() {
    let dir = DataDir::new();
    for key in ["ada/a.jsonl", "ada/a/subagents/agent-1.jsonl"] {
        dir.write(key, "inside\n");
    }
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("outside.jsonl"), "outside\n").unwrap();
    fs::write(dir.path().join("outside.jsonl"), "outside\n").unwrap();
    let link =
        |from: &str, to: &Path| std::os::unix::fs::symlink(to, dir.session_path(from)).unwrap();
    link("ada/out", &outside);
    link("ada/link.jsonl", &outside.join("outside.jsonl"));
    let path = fs::canonicalize(dir.sessions_root()).unwrap();
    let root = SessionsRoot::open(&path).unwrap().unwrap();
    fuzz(file!(), &mutated_text(&VALID, &WORDS), |key| {
        if let Ok((file, observed)) = root.open_session(&key) {
            let opened = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
            prop_assert!(
                opened.starts_with(&path),
                "`{}` was opened",
                opened.display()
            );
            prop_assert_eq!(observed.size, "inside\n".len() as u64);
        }
        if is_key(&key) {
            prop_assert!(key.split('/').count() > 1 && key.split('/').all(|part| !part.is_empty()));
            let is_inside = Path::new(&key)
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            prop_assert!(is_inside, "a key must not leave the root");
        }
        Ok(())
    });
}

#[test]
fn invariant_accepted_names_are_single_path_components_and_printed_names_are_safe() {
    fuzz(file!(), &mutated_text(&VALID, &WORDS), |name| {
        if upload::is_name(&name) {
            prop_assert!(is_plain(&name), "the name of an upload");
            prop_assert!(
                is_key(&format!("ada/{name}.jsonl")),
                "an upload must be a valid session"
            );
        }
        if is_email(&name) {
            prop_assert!(is_plain(&name), "an email address");
            prop_assert_eq!(name.matches('@').count(), 1);
        }
        let shown = printable(&name);
        prop_assert!(
            !shown.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{shown:?}"
        );
        prop_assert_eq!(printable(&shown), shown, "a second call changes nothing");
        Ok(())
    });
}
