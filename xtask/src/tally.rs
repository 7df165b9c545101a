//! Reads the counters that tests write in a long run. `tests/harness/tally.rs` writes them, one
//! number and name per line.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

const TALLY: &str = "SESSION_PIPELINE_TALLY";

/// The file to which tests append their counters.
pub struct TestCounters(PathBuf);

impl TestCounters {
    /// Creates the file, or empties it.
    pub fn new(workspace: &Workspace, name: &str) -> Result<Self> {
        let folder = workspace.target_dir.join("xtask");
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
        let tally = Self(folder.join(name));
        tally.clear()?;
        Ok(tally)
    }

    fn clear(&self) -> Result<()> {
        fs::write(&self.0, "").with_context(|| format!("cannot write `{}`", self.0.display()))
    }

    /// Makes the tests that the command starts write to this file.
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
    Ok(CounterSums::parse(&text))
}

/// The sum of each counter, by name.
#[derive(Debug, Default, PartialEq)]
pub struct CounterSums(BTreeMap<String, u64>);

impl CounterSums {
    pub fn parse(text: &str) -> Self {
        let mut sums = Self::default();
        for line in text.lines() {
            if let Some((number, name)) = line.split_once(' ')
                && let Ok(number) = number.parse::<u64>()
            {
                *sums.0.entry(name.to_owned()).or_default() += number;
            }
        }
        sums
    }

    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// The counters whose names begin with `prefix`, without it.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        self.0
            .iter()
            .filter_map(move |(name, count)| Some((name.strip_prefix(prefix)?, *count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_by_name_and_malformed_lines_are_ignored() {
        let sums = CounterSums::parse(
            "2 kills\n\nno number\n1 killed at: scan done\n3 kills\n0 killed at: migration\n",
        );
        assert_eq!(sums.get("kills"), 5);
        assert_eq!(sums.get("cases"), 0);
        let kills: Vec<_> = sums.with_prefix("killed at: ").collect();
        assert_eq!(kills, [("migration", 0), ("scan done", 1)]);
    }
}
