//! `cargo xtask`: the developer commands of this workspace.
//!
//! This file parses the arguments and dispatches to one module per command. The crate calls cargo
//! and the built program. It depends on no other crate of the workspace.
#![expect(
    clippy::disallowed_methods,
    reason = "xtask is a program with its own `main`, so it reads the environment"
)]

mod bench;
mod check;
mod deny;
mod duckdb;
mod evaluate;
mod examples;
mod fuzz_api;
mod new_processor;
mod package;
mod prerequisites;
mod run;
mod soak;
mod stages;
mod tally;
mod templates;
mod test;
mod tidy;
mod walls;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::duckdb::DuckDbFlags;
use crate::stages::Stages;
use crate::workspace::Workspace;

/// Developer commands for this workspace.
///
/// Exit codes: 0 success, 1 findings or failed tests, 2 invalid arguments or a missing prerequisite.
/// `run` exits with the code of the program that it runs.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(flatten)]
    duckdb: DuckDbFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Test(test::Args),
    Check(check::Args),
    Bench(bench::Args),
    Evaluate(evaluate::Args),
    FuzzApi(fuzz_api::Args),
    Soak(soak::Args),
    /// Build and test the processors in `examples` outside the workspace
    Examples,
    Templates(templates::Args),
    NewProcessor(new_processor::Args),
    Package(package::Args),
    #[command(name = "duckdb")]
    DuckDb(duckdb::Args),
}

fn main() -> ExitCode {
    let Cli { duckdb, command } = Cli::parse();
    let result = Workspace::find(duckdb).and_then(|workspace| match command {
        Command::Run(args) => run::run(&workspace, &args),
        Command::Test(args) => test::run(&workspace, &args),
        Command::Check(args) => check::run(&workspace, &args),
        Command::Bench(args) => bench::run(&workspace, &args),
        Command::Evaluate(args) => evaluate::run(&workspace, &args),
        Command::FuzzApi(args) => fuzz_api::run(&workspace, &args),
        Command::Soak(args) => soak::run(&workspace, &args),
        Command::Examples => {
            let mut stages = Stages::default();
            stages.run("examples", || examples::check(&workspace));
            Ok(stages.exit_code())
        }
        Command::Templates(args) => templates::run(&workspace, &args),
        Command::NewProcessor(args) => new_processor::run(&workspace, &args),
        Command::Package(args) => package::run(&workspace, &args),
        Command::DuckDb(args) => duckdb::run(&workspace, &args),
    });
    match result {
        Ok(exit_code) => exit_code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
