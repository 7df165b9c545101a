//! What the tests themselves counted in a long run: `tests/harness/tally.rs` writes it, a number and
//! a name a line.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

const TALLY: &str = "SESSION_PIPELINE_TALLY";

/// Where tests write down what they count.
pub struct TestCounters(PathBuf);

impl TestCounters {
    /// An empty one.
    pub fn new(workspace: &Workspace, name: &str) -> Result<Self> {
        let folder = workspace.target_dir.join("xtask");
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make `{}`", folder.display()))?;
        let tally = Self(folder.join(name));
        tally.clear()?;
        Ok(tally)
    }

    fn clear(&self) -> Result<()> {
        fs::write(&self.0, "").with_context(|| format!("cannot write `{}`", self.0.display()))
    }

    /// Lets what the command starts count here.
    pub fn prepare(&self, command: &mut Command) {
        command.env(TALLY, &self.0);
    }

    pub fn sums(&self) -> Result<CounterSums> {
        read(&self.0)
    }
}

fn read(path: &Path) -> Result<CounterSums> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(CounterSums::of(&text))
}

/// What was counted, by name.
#[derive(Debug, Default, PartialEq)]
pub struct CounterSums(BTreeMap<String, u64>);

impl CounterSums {
    pub fn of(text: &str) -> Self {
        let mut sums = Self::default();
        for line in text.lines() {
            if let Some((number, what)) = line.split_once(' ')
                && let Ok(number) = number.parse::<u64>()
            {
                *sums.0.entry(what.to_owned()).or_default() += number;
            }
        }
        sums
    }

    pub fn of_name(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// What is counted under names that begin with this, without it.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        self.0
            .iter()
            .filter_map(move |(what, count)| Some((what.strip_prefix(prefix)?, *count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_one_name_are_summed_and_other_lines_passed_over() {
        let sums = CounterSums::of(
            "2 kills\n\nno number\n1 killed at: scan done\n3 kills\n0 killed at: migration\n",
        );
        assert_eq!(sums.of_name("kills"), 5);
        assert_eq!(sums.of_name("cases"), 0);
        let below: Vec<_> = sums.below("killed at: ").collect();
        assert_eq!(below, [("migration", 0), ("scan done", 1)]);
    }
}
