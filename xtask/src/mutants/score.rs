//! What became of mutants, as cargo-mutants leaves it in a folder for each pass.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    Caught,
    Missed,
    /// The tests did not come to their end: noticed, in a way.
    TimedOut,
    /// It did not compile.
    Unviable,
}

const FILES: [(&str, Fate); 4] = [
    ("caught.txt", Fate::Caught),
    ("missed.txt", Fate::Missed),
    ("timeout.txt", Fate::TimedOut),
    ("unviable.txt", Fate::Unviable),
];

/// Fates by the mutant's name; what a later pass says counts.
pub type Fates = BTreeMap<String, Fate>;

/// The passes over a module, one folder each.
pub struct Passes {
    folder: PathBuf,
}

impl Passes {
    pub fn of(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn pass(&self, number: usize) -> PathBuf {
        self.folder.join(number.to_string())
    }

    fn count(&self) -> usize {
        (0..)
            .take_while(|number| self.pass(*number).exists())
            .count()
    }

    /// The folder of one more.
    pub fn next(&self) -> Result<PathBuf> {
        let folder = self.pass(self.count());
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make `{}`", folder.display()))?;
        Ok(folder)
    }

    /// Also of a pass that was broken off.
    pub fn fates(&self) -> Result<Fates> {
        let mut fates = Fates::new();
        for number in 0..self.count() {
            for (file, fate) in FILES {
                let path = self.pass(number).join("mutants.out").join(file);
                let names = lines(&path)?;
                fates.extend(names.into_iter().map(|name| (name, fate)));
            }
        }
        Ok(fates)
    }
}

/// None where there is no such file: the pass ended before it began.
fn lines(path: &Path) -> Result<Vec<String>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(text.lines().map(ToOwned::to_owned).collect())
}

/// How many came to what.
#[derive(Debug, Default, PartialEq)]
pub struct Score {
    caught: usize,
    missed: usize,
    timed_out: usize,
    unviable: usize,
}

impl Score {
    pub fn add(&mut self, fate: Fate) {
        let count = match fate {
            Fate::Caught => &mut self.caught,
            Fate::Missed => &mut self.missed,
            Fate::TimedOut => &mut self.timed_out,
            Fate::Unviable => &mut self.unviable,
        };
        *count += 1;
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            caught,
            missed,
            timed_out,
            unviable,
        } = self;
        let noticed = caught + timed_out;
        write!(
            f,
            "{noticed} of {} noticed ({caught} caught, {timed_out} without end), {missed} missed, {unviable} did not compile",
            noticed + missed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_says_what_was_noticed_of_what_compiled() {
        let mut score = Score::default();
        for fate in [
            Fate::Caught,
            Fate::Missed,
            Fate::Caught,
            Fate::TimedOut,
            Fate::Unviable,
        ] {
            score.add(fate);
        }
        assert_eq!(
            score.to_string(),
            "3 of 4 noticed (2 caught, 1 without end), 1 missed, 1 did not compile"
        );
    }

    #[test]
    fn what_a_later_pass_says_counts() {
        let folder = std::env::temp_dir().join(format!("mutants-score-{}", std::process::id()));
        let passes = Passes::of(folder.clone());
        let write = |file: &str, text: &str| {
            let out = passes.next().unwrap().join("mutants.out");
            fs::create_dir(&out).unwrap();
            fs::write(out.join(file), text).unwrap();
        };
        write("missed.txt", "a\nb\n");
        write("caught.txt", "b\n");
        let fates = passes.fates().unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(
            fates,
            Fates::from([("a".into(), Fate::Missed), ("b".into(), Fate::Caught)])
        );
    }
}
