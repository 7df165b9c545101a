//! Sums over a folder of real sessions, to compare with the figures of another counter.
//!
//! `SESSION_FOLDER=/path cargo test --test agents -- --ignored --nocapture`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use session_pipeline_processor::activity::CodingAgent;

use crate::harness::{FileRows, Sums, TOKENS};

fn list(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            list(&path, found);
        } else if path
            .extension()
            .is_some_and(|end| end == "jsonl" || end == "json")
        {
            found.push(path);
        }
    }
}

/// The number of prefixes of each file.
const PREFIXES: usize = 40;

/// The files of the folder by their keys.
#[expect(
    clippy::disallowed_methods,
    reason = "the folder is outside the repository"
)]
fn files() -> Vec<(String, PathBuf)> {
    let folder = PathBuf::from(std::env::var("SESSION_FOLDER").expect("SESSION_FOLDER"));
    let mut paths = Vec::new();
    list(&folder, &mut paths);
    paths.sort();
    let key = |path: &PathBuf| {
        let key = path.strip_prefix(&folder).expect("a path below the folder");
        format!("ada/{}", key.display())
    };
    paths.into_iter().map(|path| (key(&path), path)).collect()
}

/// The agent of each file, by its first 32 lines.
#[test]
#[ignore = "needs a folder of real sessions in SESSION_FOLDER"]
fn agents_of_a_folder() {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (key, path) in files() {
        let content = std::fs::read(path).expect("a readable file");
        let agent = CodingAgent::recognize(&content).map(CodingAgent::name);
        let agent = agent.unwrap_or("claude by default: no line has a known shape");
        *counts.entry(agent).or_default() += 1;
        println!("{key}: {agent}");
    }
    println!("{counts:?}");
}

#[test]
#[ignore = "needs a folder of real sessions in SESSION_FOLDER"]
fn laws_of_a_folder() {
    let (mut sums, mut reversed) = (Sums::default(), Sums::default());
    let files = files();
    for (key, path) in &files {
        let content = std::fs::read(path).expect("a readable file");
        let rows = FileRows::of(key, &content);
        let whole = rows.identities();
        sums.add(&rows);
        for part in 1..PREFIXES {
            let end = content.len() / PREFIXES * part;
            let prefix = FileRows::of(key, &content[..end]).identities();
            let extra: Vec<_> = prefix.difference(&whole).collect();
            assert!(extra.is_empty(), "{key} up to {end}: {extra:?}");
        }
    }
    for (key, path) in files.iter().rev() {
        let content = std::fs::read(path).expect("a readable file");
        for key in [key.clone(), key.replacen('/', "/copy/", 1)] {
            reversed.add(&FileRows::of(&key, &content));
        }
    }
    reversed.prompts = sums.prompts;
    assert_eq!(sums, reversed, "every file twice, in reverse order");
}

#[test]
#[ignore = "needs a folder of real sessions in SESSION_FOLDER"]
fn sums_of_a_folder() {
    let files = files();
    let mut sums = Sums::default();
    let (mut rows, mut open) = (0, 0);
    println!("{TOKENS:?}");
    for (key, path) in &files {
        let file = FileRows::of(key, &std::fs::read(path).expect("a readable file"));
        let tokens = file.messages.iter().fold([0; 7], |sums, row| {
            std::array::from_fn(|at| sums[at] + row.tokens()[at])
        });
        rows += file.messages.len();
        let is_open = |row: &&crate::harness::NamedRow| row.number("is_final") == 0;
        let open_here = file.messages.iter().filter(is_open).count();
        open += open_here;
        let failed = file.events.iter().filter(|row| row.number("is_error") == 1);
        println!(
            "{key}\n    {tokens:?} open {open_here} calls {} errors {} {}",
            file.events.len(),
            failed.count(),
            file.session.show(
                "agent agent_version prompts slash_commands lines bad_lines unknown_types plan \
                 unrecorded_usage project git_branch title"
            ),
        );
        sums.add(&file);
    }
    println!(
        "{} files, {} sessions, {} prompts, {rows} rows, {open} open",
        files.len(),
        sums.sessions.len(),
        sums.prompts
    );
    let mut by_model: BTreeMap<&str, [i64; 7]> = BTreeMap::new();
    for (model, tokens) in sums.messages.values() {
        for name in [model, "total"] {
            let sums = by_model.entry(name).or_default();
            *sums = std::array::from_fn(|at| sums[at] + tokens[at]);
        }
    }
    for (model, tokens) in by_model {
        println!("{model}: {tokens:?}");
    }
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for (kind, class) in sums.events.into_values() {
        *kinds.entry(kind).or_default() += 1;
        *kinds.entry(format!("error {class}")).or_default() += 1;
    }
    println!("{kinds:?}");
}
