//! What came of holding a component to the laws.

use std::fmt;
use std::path::{Path, PathBuf};

use session_pipeline_host::fault::printable;
use session_pipeline_host::manifest::Manifest;

use super::laws::{Law, LawInput};

/// All laws, with what is to be said of each.
#[derive(Debug)]
pub struct ConformanceReport {
    /// What the component says of itself; `None` where it was refused.
    pub component: Option<Manifest>,
    /// From which the generated sessions followed.
    pub seed: u64,
    /// How many of them there were for each law.
    pub cases: u32,
    /// One entry for each law, in their order.
    pub laws: Vec<LawResult>,
}

/// A law, and whether it held.
#[derive(Debug)]
pub struct LawResult {
    /// The law.
    pub law: &'static Law,
    /// Sessions that it was tried on.
    pub sessions: u64,
    /// Of those, how many asked for a language model, which is not within reach here, and could not
    /// be judged.
    pub unanswered: u64,
    /// What came of it.
    pub verdict: Verdict,
}

/// Whether a law held.
#[derive(Debug)]
pub enum Verdict {
    /// For all that was tried.
    Held,
    /// Not for this.
    Failed(LawViolation),
    /// Nobody knows: the component can't be loaded.
    Untried,
}

/// For what a law failed.
#[derive(Debug)]
pub struct LawViolation {
    /// Why, in words.
    pub why: String,
    /// The sessions, as small as they were made.
    pub trial: LawInput,
    /// From which file they came; else chance made them.
    pub given: Option<PathBuf>,
    /// Where they are kept.
    pub kept: Vec<PathBuf>,
}

impl LawViolation {
    pub(super) fn new(why: String, trial: LawInput) -> Self {
        Self {
            // Cells of a guest may stand in it.
            why: printable(&why),
            trial,
            given: None,
            kept: Vec::new(),
        }
    }

    pub(super) fn of_itself(why: String) -> Self {
        Self::new(why, LawInput::none())
    }
}

impl ConformanceReport {
    /// Whether all laws hold.
    pub fn holds(&self) -> bool {
        let mut laws = self.laws.iter();
        laws.all(|judged| matches!(judged.verdict, Verdict::Held))
    }

    /// The names of the laws that failed.
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = |judged: &&LawResult| matches!(judged.verdict, Verdict::Failed(_));
        let laws = self.laws.iter().filter(failed);
        laws.map(|judged| judged.law.name).collect()
    }
}

impl LawResult {
    /// The word for it.
    pub fn word(&self) -> &'static str {
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
        for judged in &self.laws {
            let (law, word) = (judged.law, judged.word());
            write!(f, "\n{word:7}  {:16}  {}", law.name, law.says)?;
        }
        for judged in &self.laws {
            if let Verdict::Failed(failure) = &judged.verdict {
                write!(f, "\n\n{} failed: {}", judged.law.name, failure.why)?;
                if let Some(path) = &failure.given {
                    write!(f, "\n  found in {}", shown(path))?;
                }
                for path in &failure.kept {
                    write!(f, "\n  kept as {}", shown(path))?;
                }
            }
        }
        let unanswered: u64 = self.laws.iter().map(|judged| judged.unanswered).sum();
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

/// A path, fit for a terminal.
fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}
