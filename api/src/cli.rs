//! The command line: arguments, and what each command prints.
//!
//! Results go to standard output, progress and hints to standard error. One file per command below.

mod csv;
mod error;
mod migrate;
mod progress;
mod report;
mod run;
mod status;
mod table;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use session_pipeline_runtime::clock::{Clock as _, SystemClock, UtcMicros};
use session_pipeline_runtime::config::{Compiler, Config};
use session_pipeline_runtime::fault::printable;
use session_pipeline_runtime::registry::{Registry, Shipped};
use session_pipeline_runtime::run::Pipeline;

pub use error::{Exit, Failure};

/// Runs sandboxed processors over AI coding-agent transcripts and keeps what they extract.
#[derive(Debug, Parser)]
#[command(name = "session-pipeline", version, about, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 done with failed sessions or findings; 2 wrong use or configuration; \
     3 could not run (data dir in use, processor unavailable, database unusable).";

#[derive(Debug, Args)]
struct Global {
    /// Folder that holds what is kept (below `state/`)
    #[arg(long, global = true, env = "DATA_DIR", default_value = "./data", value_name = "DIR", value_parser = folder)]
    data_dir: PathBuf,
    /// Folder of `<user>/*.jsonl`, such as ~/.claude/projects [default: <DATA_DIR>/user_sessions]
    #[arg(long, global = true, env = "SESSION_DATA_DIR", value_name = "DIR", value_parser = folder)]
    sessions: Option<PathBuf>,
    /// Print one JSON document instead of text for people
    #[arg(long, global = true)]
    json: bool,
    /// Say more on standard error; twice for the processors' own logs
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Process the sessions that are new or changed
    Run(run::RunArgs),
    /// Report what was extracted
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// Show what is known of each processor
    Status,
    /// Bring the database up to date
    Migrate(migrate::MigrateArgs),
    /// Compile a component, as a child of this program
    #[command(hide = true)]
    CompileComponent {
        /// What the parent passes
        arguments: Vec<String>,
    },
}

/// An empty path is a mistake in a script, and never the current folder.
fn folder(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        Err("it is empty; give the path of a folder, or leave it out".to_owned())
    } else {
        Ok(text.into())
    }
}

/// Runs the program with these arguments; the first is its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows where each belongs.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done.into(),
                _ => Exit::WrongUse.into(),
            };
        }
    };
    log_to_stderr(cli.global.verbose);
    match dispatch(&cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print(cli.global.json);
            failure.exit().into()
        }
    }
}

fn dispatch(cli: &Cli) -> Result<Exit, Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Run(arguments) => run::run(global, arguments),
        Command::Report(command) => report::report(global, command),
        Command::Status => status::status(global),
        Command::Migrate(arguments) => migrate::migrate(global, arguments),
        Command::CompileComponent { arguments } => {
            session_pipeline_runtime::sandbox::compile_as_child(arguments)
                .map_err(Failure::could_not_run)?;
            Ok(Exit::Done)
        }
    }
}

impl Global {
    fn config(&self) -> Result<Config, Failure> {
        let mut config = Config::new(&self.data_dir);
        if let Some(sessions) = &self.sessions {
            config.sessions_root.clone_from(sessions);
        }
        let program = std::env::current_exe().map_err(|error| {
            Failure::could_not_run(format!("the program can't find itself: {error}"))
        })?;
        config.compiler = Compiler::Child {
            program,
            arguments: vec!["compile-component".to_owned(), "--".to_owned()],
        };
        Ok(config)
    }

    fn pipeline(&self) -> Result<Pipeline, Failure> {
        Ok(Pipeline::open(
            self.config()?,
            Arc::new(SystemClock::default()),
            Registry::new(shipped()),
        )?)
    }
}

/// The processors that ship with the program.
fn shipped() -> [Shipped; 1] {
    [Shipped {
        name: "usage",
        component: session_pipeline_bundle::USAGE,
    }]
}

fn now() -> UtcMicros {
    SystemClock::default().now()
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false)
        .without_time()
        .init();
}

/// Writes to standard output. A reader that has gone away (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{}", text.trim_end_matches('\n')).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(
            Failure::could_not_run(format!("standard output can't be written: {error}")),
        ),
        _ => Ok(()),
    }
}

/// Writes a hint to standard error. Paths in it come from outside, and may hold escape codes that
/// would paint on a terminal.
fn hint(text: &str) {
    let text: Vec<String> = text.lines().map(printable).collect();
    let text = text.join("\n");
    // There is nobody left to tell that standard error is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        Failure::could_not_run(format!("the result can't be written as JSON: {error}"))
    })?;
    print(&text)
}
