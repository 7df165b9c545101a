//! `new`: creates a processor project. `cargo xtask templates` tests that the project builds and that
//! the processors in all languages behave alike.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use session_pipeline_harness::DataDir;

use super::run_cli;
use crate::documents::names;

/// The text of each file in a folder, by relative path.
fn read_files(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
                files.insert(name.to_owned(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

/// Creates a project and returns its files. Asserts that the output lists exactly these files.
fn new_project(dir: &DataDir, arguments: &[&str]) -> BTreeMap<String, String> {
    let document = run_cli(dir, &[&["new", "--json"], arguments].concat()).json();
    assert_eq!(
        names(&document),
        [
            "build",
            "component",
            "files",
            "name",
            "path",
            "prepare",
            "test"
        ]
    );
    let files = read_files(&dir.path().join(document["path"].as_str().unwrap()));
    let mut listed: Vec<&str> = document["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file.as_str().unwrap())
        .collect();
    listed.sort_unstable();
    assert_eq!(files.keys().collect::<Vec<_>>(), listed);
    files
}

#[test]
fn every_language_gets_a_project_with_its_name_and_the_contract() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let contract = read_files(&repository.join("runtime/wit"));
    for (lang, files_with_name) in [
        ("rust", ["Cargo.toml", "src/lib.rs", "README.md"]),
        ("js", ["package.json", "src/processor.js", "README.md"]),
        ("python", ["build.py", "processor.py", "README.md"]),
    ] {
        let dir = DataDir::new();
        let files = new_project(&dir, &["tool-calls", "--lang", lang]);
        for file in files_with_name {
            let text = &files[file];
            assert!(text.contains("tool-calls"), "{lang}, {file}: {text}");
        }
        for (file, text) in &files {
            assert!(!text.contains("{{name}}"), "{lang}: {file}");
            assert!(!text.contains("{{crate}}"), "{lang}: {file}");
        }
        for (file, text) in &contract {
            assert_eq!(&files[&format!("wit/{file}")], text, "{lang}: {file}");
        }
        assert!(
            !dir.path().join("state").exists(),
            "new needs no data directory"
        );
    }
}

#[test]
fn a_rust_project_contains_the_sdk_and_needs_no_workspace() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sdk = read_files(&repository.join("processors-wasm/sdk"));
    let files = new_project(&DataDir::new(), &["calls"]);
    for (file, text) in &sdk {
        let copy = &files[&format!("sdk/{file}")];
        match file.as_str() {
            "Cargo.toml" => assert!(!copy.contains("workspace"), "{copy}"),
            // Only the path of the contract differs.
            "src/lib.rs" => {
                assert_eq!(copy.replace("\"../wit\"", "\"../../runtime/wit\""), *text)
            }
            _ => assert_eq!(copy, text, "{file}"),
        }
    }
}

#[test]
fn the_output_shows_how_to_build_and_test() {
    let dir = DataDir::new();
    let output = run_cli(&dir, &["new", "tool-calls", "--path", "mine/calls"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    insta::assert_snapshot!(output.stdout, @r"
    created `mine/calls`, a processor in Rust; to build and test it:

      cd mine/calls
      cargo build --release --target wasm32-wasip2
      cargo test

    the build writes the component to `target/wasm32-wasip2/release/tool_calls.wasm`
    ");
    assert!(dir.path().join("mine/calls/src/lib.rs").is_file());
}

#[test]
fn an_existing_empty_folder_is_used() {
    let dir = DataDir::new();
    fs::create_dir(dir.path().join("calls")).unwrap();
    assert!(new_project(&dir, &["calls"]).contains_key("src/lib.rs"));
}

#[test]
fn new_never_overwrites_files() {
    let dir = DataDir::new();
    fs::create_dir(dir.path().join("calls")).unwrap();
    fs::write(dir.path().join("calls/notes"), "mine").unwrap();
    fs::write(dir.path().join("file"), "mine").unwrap();
    for (path, reason) in [
        ("calls", "is not empty"),
        ("file", "is not a folder"),
        ("file/below", "is not a folder"),
    ] {
        let output = run_cli(&dir, &["new", "calls", "--path", path]);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
        let expected =
            format!("error: `{path}` {reason}; choose another folder with --path, or remove it\n");
        assert_eq!(output.stderr, expected);
    }
    assert_eq!(read_files(&dir.path().join("calls")).len(), 1);
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "mine");
}

#[test]
fn a_taken_or_invalid_name_is_rejected_with_the_reason() {
    let dir = DataDir::new();
    for (name, reason) in [
        ("usage", "ships with this program"),
        ("verification", "ships with this program"),
        (
            "session-pipeline-processor",
            "the name of the processor SDK",
        ),
        ("main", "a name must match [a-z][a-z0-9-]{0,62}"),
        ("Calls", "a name must match [a-z][a-z0-9-]{0,62}"),
        ("tool_calls", "a name must match [a-z][a-z0-9-]{0,62}"),
        ("../calls", "a name must match [a-z][a-z0-9-]{0,62}"),
        ("", "the value is empty"),
    ] {
        let output = run_cli(&dir, &["new", name]);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
        assert!(output.stderr.contains(reason), "{name}: {output:?}");
        assert!(!dir.path().join("calls").exists());
    }
    let output = run_cli(&dir, &["new", "calls", "--lang", "cobol"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("rust, js, python"), "{output:?}");
}

proptest! {
    /// `new` accepts the same names as the host.
    #[test]
    fn invariant_new_accepts_a_name_exactly_if_the_contract_allows_it(name in "[a-z][a-z0-9-]{0,70}|[A-Za-z0-9_ -]{1,4}") {
        let is_allowed = name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !["main", "temp", "system", "usage", "verification"].contains(&name.as_str());
        let dir = DataDir::new();
        let output = run_cli(&dir, &["new", "--lang", "python", "--", &name]);
        prop_assert_eq!(output.code, if is_allowed { 0 } else { 2 }, "{}: {:?}", name, output);
        prop_assert_eq!(dir.path().join(&name).is_dir(), is_allowed);
    }
}
