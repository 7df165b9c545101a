//! Gathers what `session-pipeline new` writes: templates, the SDK and the contract, as they stand
//! in the workspace of the guests.
//!
//! The SDK leaves its workspace on the way. What its manifest inherits is written out, and it
//! looks for the contract beside itself.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::describe;

/// What an author's own build leaves in a template when somebody tries it in place.
const LEFT_BEHIND: &[&str] = &[".venv", "__pycache__", "dist", "node_modules", "target"];

/// Where the SDK finds the contract in this repository, and where in a project.
const CONTRACT_HERE: &str = r#"path: "../../runtime/wit""#;
const CONTRACT_THERE: &str = r#"path: "../wit""#;

/// Copies the kit; gives the list of its files as Rust.
pub fn gather(guests: &Path, out_dir: &Path) -> Result<String, String> {
    let mut files = Vec::new();
    walk(&guests.join("templates"), "", &mut files)?;
    walk(&guests.join("sdk"), "sdk/", &mut files)?;
    walk(&guests.join("../runtime/wit"), "wit/", &mut files)?;
    // The versions that this very SDK is tested with; cargo drops what a project does not have.
    files.push((
        "rust/Cargo.lock".to_owned(),
        read(&guests.join("Cargo.lock"))?,
    ));
    let workspace = read(&guests.join("Cargo.toml"))?;
    let mut list = String::from("&[\n");
    for (path, text) in files {
        let text = match path.as_str() {
            "sdk/Cargo.toml" => written_out(&text, &workspace)?,
            "sdk/src/lib.rs" => beside_the_contract(&text)?,
            _ => text,
        };
        let copy = out_dir.join("kit").join(&path);
        let folder = copy.parent().ok_or("a file of the kit has no folder")?;
        fs::create_dir_all(folder).map_err(|error| describe(folder, &error))?;
        fs::write(&copy, text).map_err(|error| describe(&copy, &error))?;
        list += &format!(
            "    ({path:?}, include_str!(concat!(env!(\"OUT_DIR\"), \"/kit/{path}\"))),\n"
        );
    }
    list.push_str("]\n");
    Ok(list)
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<(String, String)>) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|error| describe(folder, &error))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| describe(folder, &error))?;
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(OsStr::to_str);
        let name = name.ok_or("the name of a file of the kit is not UTF-8")?;
        if LEFT_BEHIND.contains(&name) {
            continue;
        }
        if path.is_dir() {
            walk(&path, &format!("{prefix}{name}/"), files)?;
        } else {
            files.push((format!("{prefix}{name}"), read(&path)?));
        }
    }
    Ok(())
}

/// The SDK's manifest with what it inherits from its workspace in place, and without the lints,
/// which are ours and not the author's.
fn written_out(manifest: &str, workspace: &str) -> Result<String, String> {
    let mut section = "";
    let mut text = String::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        }
        if section == "lints" {
            continue;
        }
        let line = match line.split_once(".workspace = true") {
            Some((key, _)) => inherited(workspace, section, key)?,
            None => line,
        };
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}

fn inherited<'a>(workspace: &'a str, section: &str, key: &str) -> Result<&'a str, String> {
    let head = format!("[workspace.{section}]\n");
    let lines = workspace.split_once(&head).map(|(_, rest)| rest.lines());
    let own = |line: &&str| !line.starts_with('[');
    lines
        .and_then(|lines| {
            lines
                .take_while(own)
                .find(|line| line.starts_with(&format!("{key} =")))
        })
        .ok_or_else(|| format!("the SDK inherits `{key}`, and `{head}` of the guests has none"))
}

fn beside_the_contract(text: &str) -> Result<String, String> {
    if !text.contains(CONTRACT_HERE) {
        return Err(format!(
            "the SDK does not say `{CONTRACT_HERE}`; mend kit.rs"
        ));
    }
    Ok(text.replace(CONTRACT_HERE, CONTRACT_THERE))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| describe(path, &error))
}
