//! The results of checking a component against the laws.

use std::fmt;
use std::path::{Path, PathBuf};

use session_pipeline_host::fault::printable;
use session_pipeline_host::manifest::Manifest;

use super::laws::{Law, LawInput};

/// The results of all laws.
#[derive(Debug)]
pub struct ConformanceReport {
    /// The manifest of the component, or `None` if the component was rejected.
    pub component: Option<Manifest>,
    /// The seed of the generated sessions.
    pub seed: u64,
    /// The number of generated sessions per law.
    pub cases: u32,
    /// One result per law, in the order of [`LAWS`](super::LAWS).
    pub laws: Vec<LawResult>,
}

/// The result of one law.
#[derive(Debug)]
pub struct LawResult {
    /// The law.
    pub law: &'static Law,
    /// The number of sessions that the law was checked with.
    pub sessions: u64,
    /// The number of checks without a verdict, because the component called a language model and
    /// none is available.
    pub unanswered: u64,
    /// Whether the law held.
    pub verdict: Verdict,
}

/// The verdict on one law.
#[derive(Debug)]
pub enum Verdict {
    /// The law held for all inputs.
    Held,
    /// An input violates the law.
    Failed(LawViolation),
    /// The law was not checked, because the component cannot be loaded.
    Untried,
}

/// An input that violates a law.
#[derive(Debug)]
pub struct LawViolation {
    /// The explanation, safe to print.
    pub reason: String,
    /// The minimized sessions.
    pub input: LawInput,
    /// The session file that the input comes from, or `None` if the sessions were generated.
    pub source: Option<PathBuf>,
    /// The files in which the sessions are saved.
    pub saved: Vec<PathBuf>,
}

impl LawViolation {
    pub(super) fn new(reason: String, input: LawInput) -> Self {
        Self {
            // The reason can quote cells of the component.
            reason: printable(&reason),
            input,
            source: None,
            saved: Vec::new(),
        }
    }

    pub(super) fn of_component(reason: String) -> Self {
        Self::new(reason, LawInput::empty())
    }
}

impl ConformanceReport {
    /// Whether all laws held.
    pub fn holds(&self) -> bool {
        let mut laws = self.laws.iter();
        laws.all(|result| matches!(result.verdict, Verdict::Held))
    }

    /// The names of the laws that failed.
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = |result: &&LawResult| matches!(result.verdict, Verdict::Failed(_));
        let laws = self.laws.iter().filter(failed);
        laws.map(|result| result.law.name).collect()
    }
}

impl LawResult {
    /// The name of the verdict in reports.
    pub fn verdict_name(&self) -> &'static str {
        match self.verdict {
            Verdict::Held => "held",
            Verdict::Failed(_) => "failed",
            Verdict::Untried => "untried",
        }
    }
}

impl fmt::Display for ConformanceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.component {
            Some(manifest) => writeln!(f, "{} {}", manifest.name, manifest.version)?,
            None => writeln!(f, "refused")?,
        }
        for result in &self.laws {
            let (law, verdict) = (result.law, result.verdict_name());
            write!(f, "\n{verdict:7}  {:16}  {}", law.name, law.statement)?;
        }
        for result in &self.laws {
            if let Verdict::Failed(violation) = &result.verdict {
                write!(f, "\n\n{} failed: {}", result.law.name, violation.reason)?;
                if let Some(path) = &violation.source {
                    write!(f, "\n  found in {}", shown(path))?;
                }
                for path in &violation.saved {
                    write!(f, "\n  kept as {}", shown(path))?;
                }
            }
        }
        let unanswered: u64 = self.laws.iter().map(|result| result.unanswered).sum();
        if unanswered > 0 {
            write!(
                f,
                "\n\n{unanswered} times it asked for a language model, which is not within reach here: nothing is known of those sessions"
            )?;
        }
        let (cases, seed) = (self.cases, self.seed);
        write!(
            f,
            "\n\n{cases} generated sessions for each law, from the seed {seed}"
        )
    }
}

/// A path that is safe to print.
fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}
