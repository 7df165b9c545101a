//! Sessions for which a law failed, kept as files: `<law>-<what it is>-<place>.jsonl`.
//!
//! Each is a plain session, so that anything that takes sessions takes it. Those of one trial bear
//! the same name but for their place, and are tried together the next time.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use super::VerifyError;
use super::laws::{Law, LawInput};
use super::search::at;

/// Keeps the sessions of a trial; gives their files.
pub(super) fn keep(
    folder: &Path,
    law: &Law,
    trial: &LawInput,
) -> Result<Vec<PathBuf>, VerifyError> {
    if trial.sessions.is_empty() {
        return Ok(Vec::new());
    }
    let mut hasher = DefaultHasher::new();
    trial.sessions.hash(&mut hasher);
    let what = hasher.finish() >> 32;
    at(folder, fs::create_dir_all(folder))?;
    let mut kept = Vec::new();
    for (place, session) in trial.sessions.iter().enumerate() {
        let name = format!("{}-{what:08x}-{}.jsonl", law.name, place + 1);
        let path = folder.join(name);
        at(&path, fs::write(&path, session))?;
        kept.push(path);
    }
    Ok(kept)
}

/// The trials of a law that are kept.
pub(super) fn of(folder: &Path, law: &Law) -> Result<Vec<LawInput>, VerifyError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut trials: BTreeMap<String, BTreeMap<u32, PathBuf>> = BTreeMap::new();
    for entry in at(folder, fs::read_dir(folder))? {
        let path = at(folder, entry)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.and_then(|name| name.strip_suffix(".jsonl"));
        let rest = name.and_then(|name| name.strip_prefix(law.name)?.strip_prefix('-'));
        if let Some((what, place)) = rest.and_then(|rest| rest.split_once('-'))
            && let Ok(place) = place.parse()
            && path.is_file()
        {
            let trial = trials.entry(what.to_owned()).or_default();
            trial.insert(place, path);
        }
    }
    let read = |paths: BTreeMap<u32, PathBuf>| {
        let sessions = paths.values().map(|path| at(path, fs::read(path)));
        let sessions = sessions.collect::<Result<_, _>>()?;
        Ok(LawInput { sessions })
    };
    trials.into_values().map(read).collect()
}
