//! `cargo xtask soak`: what is tried a little in every run, tried for long.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use crate::stages::Stages;
use crate::tally::{Sums, Tally};
use crate::workspace::Workspace;
use crate::{prerequisites, test};

/// A module of the suite that looks for what is rare, and the cases of a property in it: what a case
/// costs differs from a millisecond to the starts of a dozen processes.
struct Module {
    name: &'static str,
    cases_short: u32,
    cases: u32,
}

const MODULES: [Module; 6] = [
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
];

/// Try the dangers for long: kills, races, retries, damaged components, and whatever befalls a folder.
///
/// Runs the same tests as `test`, one module after the other, with far more cases.
/// With the same seed the same cases are tried again; moments of kills and of races differ all the same.
#[derive(clap::Args)]
pub struct Args {
    /// Hundreds of kills in minutes, not thousands in an hour
    #[arg(long)]
    short: bool,
    /// Tries the same cases again (default: by chance)
    #[arg(long)]
    seed: Option<u32>,
    /// Only these (default: all)
    #[arg(value_parser = MODULES.map(|module| module.name))]
    modules: Vec<String>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    prerequisites::ensure(workspace)?;
    // The tests of crashes start the program, and cargo builds no other package's program for a test.
    ensure!(workspace.build()?, "the build failed");
    let seed = args.seed.unwrap_or_else(seed_by_chance);
    let tally = Tally::new(workspace, "soak-tally")?;
    let mut stages = Stages::default();
    for module in &MODULES {
        if !args.modules.is_empty() && !args.modules.iter().any(|name| name == module.name) {
            continue;
        }
        let cases = if args.short {
            module.cases_short
        } else {
            module.cases
        };
        stages.run(module.name, || {
            let mut command = workspace.cargo(["test", "--workspace", "--test", "suite", "--"]);
            command
                .arg(format!("{}::", module.name))
                .env(test::CASES, cases.to_string())
                .env_remove("PROPTEST_CASES")
                .env("PROPTEST_RNG_SEED", seed.to_string())
                .env("INSTA_UPDATE", "no");
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
    print!("\n{}{}", stages.summary(), told(&tally.sums()?));
    let again = if args.short { " --short" } else { "" };
    println!("Seed: {seed} (the same cases again: cargo xtask soak{again} --seed {seed})");
    Ok(stages.exit_code())
}

/// Another one each time.
pub fn seed_by_chance() -> u32 {
    // The clock is chance enough: nobody is kept from knowing it.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(1, |now| {
        now.as_secs().to_le_bytes()[..4]
            .iter()
            .fold(now.subsec_nanos(), |seed, byte| {
                seed.rotate_left(8) ^ u32::from(*byte)
            })
    })
}

/// What a person wants to know of it.
fn told(sums: &Sums) -> String {
    let mut text = String::new();
    let mut say =
        |line: String| writeln!(text, "{line}").expect("a string takes all that is written");
    let points: Vec<(&str, u64)> = sums.below("killed at: ").collect();
    let missed: Vec<&str> = points
        .iter()
        .filter(|(_, kills)| *kills == 0)
        .map(|(point, _)| *point)
        .collect();
    if sums.of_name("kills") > 0 {
        say(format!(
            "Kills survived: {}, of them {} within a commit and {} within a checkpoint",
            sums.of_name("kills"),
            sums.of_name("killed within: commit"),
            sums.of_name("killed within: checkpoint"),
        ));
        let fewest = points.iter().min_by_key(|(_, kills)| *kills);
        let rest = match fewest {
            Some((point, kills)) if missed.is_empty() => {
                format!("each at least {kills} times (`{point}`)")
            }
            _ => format!("never at: {}", missed.join(", ")),
        };
        say(format!(
            "Named points hit: {} of {}, {rest}",
            points.len() - missed.len(),
            points.len()
        ));
    }
    if sums.of_name("races") > 0 {
        say(format!("Races with writers: {}", sums.of_name("races")));
    }
    say(format!("Cases tried: {}", sums.of_name("cases")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_were_missed_are_named() {
        let sums = Sums::of("7 kills\n2 killed at: scan done\n0 killed at: migration\n9 cases\n");
        let told = told(&sums);
        assert!(told.contains("Kills survived: 7"), "{told}");
        assert!(
            told.contains("Named points hit: 1 of 2, never at: migration"),
            "{told}"
        );
        assert!(told.ends_with("Cases tried: 9\n"), "{told}");
    }
}
