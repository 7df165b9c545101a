//! Strategies for the contents of a data directory and for changes to it.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::transcript;
use crate::data_dir::DataDir;

/// The files that [`FolderAction`]s refer to by index. They have two users and one nested session.
pub const FILES: [&str; 4] = [
    "ada/a.jsonl",
    "ada/b.jsonl",
    "ada/a/subagents/agent-1.jsonl",
    "bob/a.jsonl",
];

/// The sessions of a data directory: the key, the content and the mtime of each.
///
/// ```
/// use proptest::prelude::*;
/// use session_pipeline_harness::{DataDir, cases, strategies};
///
/// proptest! {
///     #![proptest_config(ProptestConfig::with_cases(cases()))]
///     fn invariant_written_sessions_can_be_read(folder in strategies::data_dir()) {
///         let dir = DataDir::new();
///         folder.write_to(&dir);
///         prop_assert!(folder.0.iter().all(|(key, content, _)| dir.read(key) == *content));
///     }
/// }
/// invariant_written_sessions_can_be_read();
/// ```
#[derive(Clone, Debug)]
pub struct GeneratedFolder(pub Vec<(String, Vec<u8>, ModifiedAt)>);

impl GeneratedFolder {
    /// Writes all sessions to a data directory.
    pub fn write_to(&self, dir: &DataDir) {
        for (key, content, mtime) in &self.0 {
            dir.write(key, content);
            mtime.apply(dir, key);
        }
    }
}

/// A data directory with up to five sessions of a few users. The contents are any transcripts, some
/// names need quoting or escaping, some sessions belong to sub-agents, and the mtimes are in the
/// past, the present and the future.
pub fn data_dir() -> impl Strategy<Value = GeneratedFolder> {
    let users = vec![
        "ada",
        "bob",
        "chidi of o'hara",
        "\u{e4}\u{1f980}",
        "-Users-ada-work",
    ];
    let names = vec![
        "one.jsonl",
        "two.jsonl",
        "a b'c\"d.jsonl",
        "%41\\n.jsonl",
        "one/subagents/agent-1.jsonl",
    ];
    let key = (prop::sample::select(users), prop::sample::select(names));
    let key = key.prop_map(|(user, name)| format!("{user}/{name}"));
    let mtime = prop_oneof![
        4 => Just(ModifiedAt::Quiet),
        1 => Just(ModifiedAt::JustNow),
        1 => Just(ModifiedAt::Ahead),
        1 => Just(ModifiedAt::Ancient),
    ];
    prop::collection::btree_map(key, (transcript(), mtime), 0..6).prop_map(|files| {
        let file = |(key, (content, mtime))| (key, content, mtime);
        GeneratedFolder(files.into_iter().map(file).collect())
    })
}

/// An action on a data directory.
///
/// Actions refer to files by index, so a shrunk list of actions is still valid. Actions on missing
/// files have no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderAction {
    /// Replaces the content of a file.
    Write(usize, &'static str, ModifiedAt),
    /// Appends to a file.
    Append(usize, &'static str, ModifiedAt),
    /// Changes only the times of a file.
    Touch(usize, ModifiedAt),
    /// Renames a file to another file.
    Rename(usize, usize),
    /// Deletes a file.
    Delete(usize),
    /// Advances the clock.
    Tick(Duration),
    /// Starts a run.
    Run {
        /// Whether a person starts the run, and not the scheduler.
        by_person: bool,
    },
}

/// The mtime of a file, relative to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModifiedAt {
    /// One minute ago.
    Quiet,
    /// So recent that a scan does not trust it.
    JustNow,
    /// In the future, because of the clock of another machine or because our clock was set back.
    Ahead,
    /// Before 1970.
    Ancient,
}

impl ModifiedAt {
    fn apply(self, dir: &DataDir, key: &str) {
        match self {
            Self::Quiet => dir.touch(key),
            Self::JustNow => dir.set_age(key, Duration::from_millis(10)),
            Self::Ahead => dir.set_ahead(key, Duration::from_secs(3600)),
            // The clock starts in 2100, so this is in 1950. ext4 supports times from 1901.
            Self::Ancient => dir.set_age(key, Duration::from_secs(150 * 365 * 86_400)),
        }
    }
}

impl FolderAction {
    /// Performs the action. The caller performs [`FolderAction::Run`].
    pub fn apply(&self, dir: &DataDir) {
        match *self {
            Self::Write(file, content, mtime) => {
                dir.write(FILES[file], content);
                mtime.apply(dir, FILES[file]);
            }
            Self::Append(file, content, mtime) if dir.has_session(FILES[file]) => {
                dir.append(FILES[file], content);
                mtime.apply(dir, FILES[file]);
            }
            Self::Touch(file, mtime) if dir.has_session(FILES[file]) => {
                mtime.apply(dir, FILES[file])
            }
            Self::Rename(from, to) if dir.has_session(FILES[from]) && from != to => {
                dir.rename(FILES[from], FILES[to]);
            }
            Self::Delete(file) if dir.has_session(FILES[file]) => dir.delete(FILES[file]),
            Self::Tick(duration) => dir.clock().advance(duration),
            _ => {}
        }
    }
}

/// The actions on a data directory over a few days, including runs.
///
/// Writes and appends choose from `contents`. Use a few short texts, some with the same length, so
/// that contents recur.
pub fn actions(contents: &'static [&'static str]) -> impl Strategy<Value = Vec<FolderAction>> {
    let file = || 0..FILES.len();
    let content = move || prop::sample::select(contents);
    let mtime = || {
        prop_oneof![
            4 => Just(ModifiedAt::Quiet),
            2 => Just(ModifiedAt::JustNow),
            1 => Just(ModifiedAt::Ahead),
            1 => Just(ModifiedAt::Ancient),
        ]
    };
    let tick = prop::sample::select(vec![
        Duration::from_millis(20),
        Duration::from_millis(100),
        Duration::from_secs(700),
        Duration::from_secs(86_400),
    ]);
    let action = prop_oneof![
        4 => (file(), content(), mtime()).prop_map(|(file, content, mtime)| FolderAction::Write(file, content, mtime)),
        2 => (file(), content(), mtime()).prop_map(|(file, content, mtime)| FolderAction::Append(file, content, mtime)),
        2 => (file(), mtime()).prop_map(|(file, mtime)| FolderAction::Touch(file, mtime)),
        1 => (file(), file()).prop_map(|(from, to)| FolderAction::Rename(from, to)),
        1 => file().prop_map(FolderAction::Delete),
        2 => tick.prop_map(FolderAction::Tick),
        6 => any::<bool>().prop_map(|by_person| FolderAction::Run { by_person }),
    ];
    vec(action, 1..40)
}
