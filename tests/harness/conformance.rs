//! The laws of the contract, and any component held to them, whatever it was written in.
//!
//! A [`Law`] is a value: its name, what it says, the sessions it is tried on, and whether it holds
//! for one of them. [`verify`] tries all of [`LAWS`] on generated sessions and on those that are
//! given, and tells for each whether it held; where it did not, why, with a session that was made
//! as small as it goes, and kept as a file.
//!
//! The laws are about the rows that belong to their session. Rows of shared tables outlive it and
//! say what all sessions came to, so of them no more is asked than that a session counts once.
//!
//! Nothing is asked of a clock or a database, and the same seed finds the same.
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
mod search;

use std::path::{Path, PathBuf};

use session_pipeline_host::fault::Fault;
use session_pipeline_host::sessions::SessionsRoot;

pub use laws::{LAWS, Law, LawInput};
pub use report::{ConformanceReport, LawResult, LawViolation, Verdict};

use crate::subject::Subject;

/// How many sessions each law is tried on, unless somebody says otherwise.
pub const CASES: u32 = 64;

/// How hard to try.
#[derive(Clone, Debug)]
pub struct Options {
    /// Generated sessions for each law.
    pub cases: u32,
    /// From which they follow.
    pub seed: u64,
    /// Files of sessions that are tried too.
    pub sessions: Vec<PathBuf>,
    /// The folder that keeps sessions for which a law failed, and gives them again the next time;
    /// `None`: nothing is kept.
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

/// Why nothing can be said of a component.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A session that was given can't be read, or a regression not be kept.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// This machine was in the way.
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

/// Holds a component to all laws, one after the other; `begin` is told of each before it is tried.
///
/// # Errors
/// When a given session can't be read, a regression can't be kept, or the sandbox is in the way.
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

/// What is to be said of a component that is refused: it does not describe itself as it has to.
pub fn refused(fault: &Fault, options: &Options) -> ConformanceReport {
    let laws = LAWS.iter().map(|law| LawResult {
        law,
        sessions: 0,
        unanswered: 0,
        verdict: if law.is_of_itself() {
            Verdict::Failed(LawViolation::of_itself(fault.to_string()))
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

/// The sessions at a path: the file, or all below the folder and those right in it, in the order of
/// their names.
///
/// # Errors
/// When there is nothing, or something that can't be read.
pub fn sessions_at(path: &Path) -> Result<Vec<PathBuf>, VerifyError> {
    let failed = |source| VerifyError::io(path, source);
    // Asked before it is opened: a pipe would wait for whoever writes to it.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let root = SessionsRoot::open(path).map_err(failed)?;
    let root = root.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    let mut found = Vec::new();
    root.walk(|key, _| found.push(path.join(key)))
        .map_err(failed)?;
    // In a sessions root those would be nobody's, but a folder of regressions has no others.
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
