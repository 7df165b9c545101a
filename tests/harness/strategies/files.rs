//! What lies in a data dir, and what happens to it.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::transcript;
use crate::data_dir::DataDir;

/// The files that [`FolderAction`]s are about, by position: two users, and a nested session.
pub const FILES: [&str; 4] = [
    "ada/a.jsonl",
    "ada/b.jsonl",
    "ada/a/subagents/agent-1.jsonl",
    "bob/a.jsonl",
];

/// What lies in a data dir: keys, each with its content and with when it was changed.
///
/// ```
/// use proptest::prelude::*;
/// use session_pipeline_harness::{DataDir, cases, strategies};
///
/// proptest! {
///     #![proptest_config(ProptestConfig::with_cases(cases()))]
///     fn invariant_what_is_laid_down_lies_there(folder in strategies::data_dir()) {
///         let dir = DataDir::new();
///         folder.lay(&dir);
///         prop_assert!(folder.0.iter().all(|(key, content, _)| dir.read(key) == *content));
///     }
/// }
/// invariant_what_is_laid_down_lies_there();
/// ```
#[derive(Clone, Debug)]
pub struct GeneratedFolder(pub Vec<(String, Vec<u8>, ModifiedAt)>);

impl GeneratedFolder {
    /// Lays all of it down.
    pub fn lay(&self, dir: &DataDir) {
        for (key, content, mtime) in &self.0 {
            dir.write(key, content);
            mtime.forge(dir, key);
        }
    }
}

/// A data dir of a few users and sessions: of any transcripts, with names that have to be quoted
/// somewhere, sub-agents' sessions among them, old, fresh and of the future.
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

/// Something that happens to a data dir.
///
/// Files are named by position, so that a shrunk list of actions still makes sense; what can't be
/// done (a file that is not there) is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderAction {
    /// A file is written anew.
    Write(usize, &'static str, ModifiedAt),
    /// A file grows.
    Append(usize, &'static str, ModifiedAt),
    /// Only a file's times change.
    Touch(usize, ModifiedAt),
    /// A file becomes another one.
    Rename(usize, usize),
    /// A file goes.
    Delete(usize),
    /// Time passes.
    Tick(Duration),
    /// A run, by the scheduler or by a person.
    Run {
        /// Whether by a person.
        by_person: bool,
    },
}

/// When a file says that it was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModifiedAt {
    /// A minute ago.
    Quiet,
    /// Within the window in which times are not trusted.
    JustNow,
    /// In the future: another machine's clock, or ours went back.
    Ahead,
    /// Before 1970.
    Ancient,
}

impl ModifiedAt {
    fn forge(self, dir: &DataDir, key: &str) {
        match self {
            Self::Quiet => dir.touch(key),
            Self::JustNow => dir.set_age(key, Duration::from_millis(10)),
            Self::Ahead => dir.set_ahead(key, Duration::from_secs(3600)),
            // Of 1950, as the clock stands in 2100; ext4 knows nothing before 1901.
            Self::Ancient => dir.set_age(key, Duration::from_secs(150 * 365 * 86_400)),
        }
    }
}

impl FolderAction {
    /// Lets it happen; [`FolderAction::Run`] is left to the caller.
    pub fn apply(&self, dir: &DataDir) {
        match *self {
            Self::Write(file, content, mtime) => {
                dir.write(FILES[file], content);
                mtime.forge(dir, FILES[file]);
            }
            Self::Append(file, content, mtime) if dir.has(FILES[file]) => {
                dir.append(FILES[file], content);
                mtime.forge(dir, FILES[file]);
            }
            Self::Touch(file, mtime) if dir.has(FILES[file]) => mtime.forge(dir, FILES[file]),
            Self::Rename(from, to) if dir.has(FILES[from]) && from != to => {
                dir.rename(FILES[from], FILES[to]);
            }
            Self::Delete(file) if dir.has(FILES[file]) => dir.delete(FILES[file]),
            Self::Tick(duration) => dir.clock().advance(duration),
            _ => {}
        }
    }
}

/// What happens to a data dir in the course of a few days, runs included.
///
/// `contents` are what files are written with and grow by; few and short ones, some of one length,
/// so that contents recur.
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
