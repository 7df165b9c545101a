//! Checks components, written in any language, against the laws of the contract.
//!
//! A [`Law`] has a name, a statement, a generator of sessions, and a check for one input.
//! [`verify`] checks all [`LAWS`] with generated sessions and with session files, and reports a
//! verdict for each law. If a law fails, the report has the reason and a minimized session, which
//! is saved as a file.
//!
//! The laws apply to the rows that belong to one session. Rows of shared tables combine data of
//! many sessions. For them, the laws require only that each session counts once.
//!
//! The checks use no clock and no database. The same seed produces the same results.
//!
//! ```no_run
//! use session_pipeline_harness::Subject;
//! use session_pipeline_harness::conformance::{Options, verify};
//! use session_pipeline_host::limits::{Compiler, Limits};
//!
//! # const MINE: &[u8] = &[];
//! let mine = Subject::load(&Compiler::InProcess, &Limits::default(), Vec::new(), MINE)?;
//! let report = verify(&mine, &Options::default(), &mut |_| {})?;
//! assert!(report.holds(), "{report}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod checks;
mod growth;
mod laws;
mod regressions;
mod report;
mod resumption;
mod search;

use std::path::{Path, PathBuf};

use session_pipeline_host::fault::Fault;
use session_pipeline_host::sessions::SessionsRoot;

pub use laws::{LAWS, Law, LawInput};
pub use report::{ConformanceReport, LawResult, LawViolation, Verdict};

use crate::subject::Subject;

/// The default number of generated sessions per law.
pub const CASES: u32 = 64;

/// The inputs of [`verify`].
#[derive(Clone, Debug)]
pub struct Options {
    /// The number of generated sessions per law.
    pub cases: u32,
    /// The seed of the generated sessions.
    pub seed: u64,
    /// Session files that are checked as well.
    pub sessions: Vec<PathBuf>,
    /// The folder in which sessions that violate a law are saved. The next call checks them again.
    /// `None` saves nothing.
    pub regressions: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cases: CASES,
            seed: 0,
            sessions: Vec::new(),
            regressions: None,
        }
    }
}

/// An error that prevents a verdict on a component.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A session file cannot be read, or a regression cannot be saved.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The affected file or folder.
        path: PathBuf,
        /// The I/O error.
        source: std::io::Error,
    },
    /// A failure of this machine, not of the component.
    #[error("{0}")]
    Host(Fault),
}

impl VerifyError {
    fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// Checks a component against all laws, one at a time. Calls `begin` before each law.
///
/// # Errors
/// A session file cannot be read, a regression cannot be saved, or the sandbox fails.
pub fn verify(
    subject: &Subject,
    options: &Options,
    begin: &mut dyn FnMut(&'static Law),
) -> Result<ConformanceReport, VerifyError> {
    let mut laws = Vec::with_capacity(LAWS.len());
    for law in &LAWS {
        begin(law);
        laws.push(search::search(law, subject, options)?);
    }
    Ok(ConformanceReport {
        component: Some(subject.manifest().clone()),
        seed: options.seed,
        cases: options.cases,
        laws,
    })
}

/// The report on a component that cannot be loaded. The laws about the component itself fail, and
/// the others are untried.
pub fn rejection_report(fault: &Fault, options: &Options) -> ConformanceReport {
    let laws = LAWS.iter().map(|law| LawResult {
        law,
        sessions: 0,
        unanswered: 0,
        verdict: if law.is_about_component() {
            Verdict::Failed(LawViolation::of_component(fault.to_string()))
        } else {
            Verdict::Untried
        },
    });
    ConformanceReport {
        component: None,
        seed: options.seed,
        cases: options.cases,
        laws: laws.collect(),
    }
}

/// The session files at a path, sorted by path. The path is a file or a folder. For a folder, the
/// result has the sessions in its subfolders and the `.jsonl` files directly in it.
///
/// # Errors
/// The path does not exist or cannot be read.
pub fn session_files(path: &Path) -> Result<Vec<PathBuf>, VerifyError> {
    let failed = |source| VerifyError::io(path, source);
    // Read the metadata first: opening a pipe would block until another process writes to it.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let root = SessionsRoot::open(path).map_err(failed)?;
    let root = root.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    let mut found = Vec::new();
    root.walk(|key, _| found.push(path.join(key)))
        .map_err(failed)?;
    // In a sessions root, such files have no user. A folder of regressions has only such files.
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        if entry
            .extension()
            .is_some_and(|extension| extension == "jsonl")
            && entry.is_file()
        {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}
