//! A data directory that looks like that of a team, for demonstrations, browser tests and
//! screenshots.
//!
//! The sessions are invented, but have the shapes, the oddities and the proportions of real ones:
//! a few heavy users, working hours in several time zones, models that replace each other, failing
//! tools, sub-agents, compactions, corrections by users, and transcripts with damage. The same
//! [`DemoOptions`] produce the same bytes on every machine: there is no floating-point arithmetic
//! in any decision, and no time other than [`DemoOptions::end`].
//!
//! ```
//! use session_pipeline_harness::demo::{self, DemoOptions};
//!
//! let folder = tempfile::tempdir()?;
//! let options = DemoOptions { sessions: 20, ..DemoOptions::default() };
//! let written = demo::write(folder.path(), &options, &mut |_| true)?;
//! assert_eq!(written.map(|files| files.sessions), Some(20));
//! # Ok::<(), std::io::Error>(())
//! ```

mod agents;
mod calendar;
mod context;
mod conversation;
mod damage;
mod files;
mod incidents;
mod models;
mod plan;
mod projects;
mod prose;
mod random;
mod recorder;
mod runaway;
mod scene;
mod steps;
mod team;
mod totals;

use std::io;
use std::path::Path;

use session_pipeline_host::clock::UtcMicros;

pub use files::CONFIG;
pub use models::UNPRICED_MODEL;
pub use projects::PROJECTS_MAX;
pub use runaway::RUNAWAYS;
pub use team::{USERS_MAX, email, users};

use conversation::Conversation;
use files::Folder;
use plan::Plan;

/// The end of the default period: 2026-11-30T18:00:00Z.
pub const DEFAULT_END: UtcMicros = UtcMicros(1_796_061_600_000_000);

/// What to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoOptions {
    /// Selects the content. Everything that looks random depends on it.
    pub seed: u64,
    /// The number of people and programs that use the agent, from 1 to [`USERS_MAX`].
    pub users: usize,
    /// The number of projects, from 1 to [`PROJECTS_MAX`].
    pub projects: usize,
    /// The number of days, at least 1. The last one is the day of `end`.
    pub days: u32,
    /// The time after which nothing happened.
    pub end: UtcMicros,
    /// The number of session files, including those of sub-agents.
    pub sessions: u64,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            users: USERS_MAX,
            projects: PROJECTS_MAX,
            days: 90,
            end: DEFAULT_END,
            sessions: 3_000,
        }
    }
}

/// What was generated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DemoFiles {
    /// The number of session files.
    pub sessions: u64,
    /// The number of them that belong to sub-agents.
    pub subagents: u64,
    /// Their size.
    pub bytes: u64,
}

/// Writes the sessions below `user_sessions` of the data directory, and `config.toml`. Replaces
/// files of the same names, so an interrupted call can be repeated. The modification time of a
/// session is the time of its last line.
///
/// `progress` is called with the number of session files so far, and returns whether to continue.
/// Returns `None` if it does not.
///
/// # Errors
/// A folder or a file cannot be written.
pub fn write(
    data_dir: &Path,
    options: &DemoOptions,
    progress: &mut dyn FnMut(u64) -> bool,
) -> io::Result<Option<DemoFiles>> {
    let mut folder = Folder::create(data_dir)?;
    let plan = Plan::new(options);
    let mut number = 0;
    while folder.written().sessions < options.sessions {
        if !progress(folder.written().sessions) {
            return Ok(None);
        }
        let left = options.sessions - folder.written().sessions;
        let setting = plan.session(number);
        let recordings = match runaway::begins(number) {
            true => vec![runaway::record(&setting)],
            false => Conversation::new(&setting, left).record(),
        };
        for recording in recordings {
            folder.write(&recording)?;
        }
        number += 1;
    }
    Ok(Some(folder.written()))
}
