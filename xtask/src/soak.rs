//! `cargo xtask soak`: runs modules of the suite with many more cases than `cargo xtask test`.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use crate::stages::Stages;
use crate::tally::{CounterSums, TestCounters};
use crate::workspace::Workspace;
use crate::{prerequisites, test};

/// A hazardous module of the suite, and its cases per property. A case takes from a millisecond to
/// the time in which a dozen processes start.
struct Module {
    name: &'static str,
    cases_short: u32,
    cases: u32,
}

const MODULES: [Module; 8] = [
    Module {
        name: "crash",
        cases_short: 48,
        cases: 1_200,
    },
    Module {
        name: "races",
        cases_short: 160,
        cases: 800,
    },
    Module {
        name: "quarantine",
        cases_short: 128,
        cases: 1_024,
    },
    Module {
        name: "in_flight",
        cases_short: 256,
        cases: 2_048,
    },
    Module {
        name: "scan",
        cases_short: 256,
        cases: 1_024,
    },
    Module {
        name: "sandbox",
        cases_short: 128,
        cases: 1_024,
    },
    // 64 cases are an hour of simulated work.
    Module {
        name: "push",
        cases_short: 64,
        cases: 640,
    },
    Module {
        name: "fuzz",
        cases_short: 128,
        cases: 1_024,
    },
];

/// Run modules of the suite with many more cases than `test`
///
/// The default modules are the hazardous ones: kills, races, retries, damaged components, damaged
/// input, random histories of a sessions root, and hours of work of collectors. The modules run one
/// after the other.
/// The same seed repeats the same cases, but the exact times of kills and races differ.
#[derive(clap::Args)]
pub struct Args {
    /// Run fewer cases: minutes instead of an hour
    #[arg(long, conflicts_with = "cases")]
    short: bool,
    /// Cases per property (default: depends on the module)
    #[arg(long)]
    cases: Option<u32>,
    /// Run each target in `fuzz` for this number of seconds, instead of a number of cases
    #[arg(long)]
    seconds: Option<u32>,
    /// Seed of the cases (default: random)
    #[arg(long)]
    seed: Option<u32>,
    /// Modules of the suite, such as `scan` or `fuzz::transcript` (default: the hazardous ones)
    modules: Vec<String>,
}

impl Args {
    fn cases_of(&self, module: &str) -> u32 {
        let top = module.split("::").next().unwrap_or(module);
        let known = MODULES.iter().find(|known| known.name == top);
        let (short, long) = known.map_or((128, 1_024), |known| (known.cases_short, known.cases));
        self.cases.unwrap_or(if self.short { short } else { long })
    }
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    prerequisites::ensure(workspace)?;
    // Crash tests start the program. For a test, cargo does not build programs of other packages.
    ensure!(workspace.build()?, "the build failed");
    let seed = args.seed.unwrap_or_else(random_seed);
    let tally = TestCounters::new(workspace, "soak-tally")?;
    let mut stages = Stages::default();
    let modules = match args.modules.as_slice() {
        [] => MODULES.map(|module| module.name.to_owned()).to_vec(),
        modules => modules.to_vec(),
    };
    for module in &modules {
        stages.run(module, || {
            let mut command = workspace.workspace_cargo(["test", "--test", "suite"])?;
            command.arg("--");
            command
                .arg(format!("{module}::"))
                .env(test::CASES, args.cases_of(module).to_string())
                .env_remove("PROPTEST_CASES")
                .env("PROPTEST_RNG_SEED", seed.to_string())
                .env("INSTA_UPDATE", "no");
            if let Some(seconds) = args.seconds {
                command.env("SESSION_PIPELINE_FUZZ_SECONDS", seconds.to_string());
            }
            tally.prepare(&mut command);
            let outcome = test::counted(command)?;
            ensure!(
                outcome
                    .tests
                    .is_some_and(|tests| tests.passed + tests.failed > 0),
                "no test ran"
            );
            Ok(outcome)
        });
    }
    print!("\n{}{}", stages.summary(), counter_summary(&tally.sums()?));
    println!("Seed: {seed}. To repeat the same cases, add `--seed {seed}`.");
    Ok(stages.exit_code())
}

/// A new seed for each run.
fn random_seed() -> u32 {
    // The clock is random enough, because the seed is not a secret.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(1, |now| {
        now.as_secs().to_le_bytes()[..4]
            .iter()
            .fold(now.subsec_nanos(), |seed, byte| {
                seed.rotate_left(8) ^ u32::from(*byte)
            })
    })
}

/// Formats the counters for the terminal.
fn counter_summary(sums: &CounterSums) -> String {
    let mut text = String::new();
    let mut say = |line: String| writeln!(text, "{line}").expect("writing to a string cannot fail");
    let points: Vec<(&str, u64)> = sums.with_prefix("killed at: ").collect();
    let missed: Vec<&str> = points
        .iter()
        .filter(|(_, kills)| *kills == 0)
        .map(|(point, _)| *point)
        .collect();
    if sums.get("kills") > 0 {
        say(format!(
            "Kills survived: {} ({} within a commit, {} within a checkpoint)",
            sums.get("kills"),
            sums.get("killed within: commit"),
            sums.get("killed within: checkpoint"),
        ));
        let fewest = points.iter().min_by_key(|(_, kills)| *kills);
        let rest = match fewest {
            Some((point, kills)) if missed.is_empty() => {
                format!("each at least {kills} times (`{point}`)")
            }
            _ => format!("never hit: {}", missed.join(", ")),
        };
        say(format!(
            "Kill points hit: {} of {}, {rest}",
            points.len() - missed.len(),
            points.len()
        ));
    }
    if sums.get("races") > 0 {
        say(format!("Races with writers: {}", sums.get("races")));
    }
    say(format!("Cases tried: {}", sums.get("cases")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submodule_uses_the_cases_of_its_module_by_default() {
        let args = |cases, short| Args {
            short,
            cases,
            seconds: None,
            seed: None,
            modules: Vec::new(),
        };
        assert_eq!(args(None, false).cases_of("crash::life"), 1_200);
        assert_eq!(args(None, true).cases_of("crash"), 48);
        assert_eq!(args(None, true).cases_of("schedule"), 128);
        assert_eq!(args(Some(5), false).cases_of("crash"), 5);
    }

    #[test]
    fn missed_kill_points_are_named() {
        let sums = CounterSums::parse(
            "7 kills\n2 killed at: scan done\n0 killed at: migration\n9 cases\n",
        );
        let summary = counter_summary(&sums);
        assert!(summary.contains("Kills survived: 7"), "{summary}");
        assert!(
            summary.contains("Kill points hit: 1 of 2, never hit: migration"),
            "{summary}"
        );
        assert!(summary.ends_with("Cases tried: 9\n"), "{summary}");
    }
}
