//! Saves sessions that violate a law as files `<law>-<hash>-<number>.jsonl`.
//!
//! Each file is a plain session, so it works with every command that reads sessions. The sessions
//! of one input have the same hash and are checked together the next time.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use super::VerifyError;
use super::laws::{Law, LawInput};
use super::search::at;

/// Saves the sessions of an input and returns the paths of the files.
pub(super) fn save(
    folder: &Path,
    law: &Law,
    input: &LawInput,
) -> Result<Vec<PathBuf>, VerifyError> {
    if input.sessions.is_empty() {
        return Ok(Vec::new());
    }
    let mut hasher = DefaultHasher::new();
    input.sessions.hash(&mut hasher);
    let hash = hasher.finish() >> 32;
    at(folder, fs::create_dir_all(folder))?;
    let mut saved = Vec::new();
    for (index, session) in input.sessions.iter().enumerate() {
        let name = format!("{}-{hash:08x}-{}.jsonl", law.name, index + 1);
        let path = folder.join(name);
        at(&path, fs::write(&path, session))?;
        saved.push(path);
    }
    Ok(saved)
}

/// Loads the saved inputs of a law.
pub(super) fn load(folder: &Path, law: &Law) -> Result<Vec<LawInput>, VerifyError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut inputs: BTreeMap<String, BTreeMap<u32, PathBuf>> = BTreeMap::new();
    for entry in at(folder, fs::read_dir(folder))? {
        let path = at(folder, entry)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.and_then(|name| name.strip_suffix(".jsonl"));
        let rest = name.and_then(|name| name.strip_prefix(law.name)?.strip_prefix('-'));
        if let Some((hash, number)) = rest.and_then(|rest| rest.split_once('-'))
            && let Ok(number) = number.parse()
            && path.is_file()
        {
            let paths = inputs.entry(hash.to_owned()).or_default();
            paths.insert(number, path);
        }
    }
    let read = |paths: BTreeMap<u32, PathBuf>| {
        let sessions = paths.values().map(|path| at(path, fs::read(path)));
        let sessions = sessions.collect::<Result<_, _>>()?;
        Ok(LawInput { sessions })
    };
    inputs.into_values().map(read).collect()
}
