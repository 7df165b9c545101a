//! The command line: arguments, and what each command prints.
//!
//! Results go to standard output, progress and hints to standard error. One file per command below.

mod client;
mod compare;
mod completions;
mod component;
mod error;
mod json;
mod knowledge;
mod migrate;
mod new;
mod pages;
mod processors;
mod progress;
mod quarantine;
mod random;
mod replay;
mod report;
mod reprocess;
mod run;
mod serve;
mod sessions;
mod status;
mod table;
mod token;
mod verify;

use std::cell::OnceCell;
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::shipped::SHIPPED;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use session_pipeline_host::clock::{Clock as _, SystemClock, UtcMicros};
use session_pipeline_host::fault::{printable, printable_lines};
use session_pipeline_host::limits::Compiler;
use session_pipeline_pipeline::config::{Config, ConfigOverrides, Variables};
use session_pipeline_pipeline::llm::{self, LlmSecrets, SetupError};
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::run::Pipeline;

pub use error::CommandFailure;

pub use crate::problem::Exit;

/// Runs sandboxed processors over AI coding-agent transcripts and keeps what they extract.
#[derive(Debug, Parser)]
#[command(name = "session-pipeline", bin_name = "session-pipeline", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 done with failed sessions or findings, or `status` is not healthy; 2 wrong use or configuration; \
     3 could not run (data dir in use, processor unavailable, database unusable).";

#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
struct GlobalArgs {
    /// Folder that holds what is kept (below `state/`) [default: ./data]
    #[arg(long, global = true, env = "DATA_DIR", hide_env_values = true, value_name = "DIR", value_parser = folder)]
    data_dir: Option<PathBuf>,
    /// Folder of `<user>/*.jsonl`, such as ~/.claude/projects [default: <DATA_DIR>/user_sessions]
    #[arg(long, global = true, env = "SESSION_DATA_DIR", hide_env_values = true, value_name = "DIR", value_parser = folder)]
    sessions: Option<PathBuf>,
    /// Config file [default: <DATA_DIR>/config.toml, where there is one]
    #[arg(long = "config", global = true, value_name = "FILE", value_parser = file)]
    config_file: Option<PathBuf>,
    /// The server to ask, instead of the data dir [default: the one that holds the data dir]
    #[arg(long, global = true, env = "SESSION_PIPELINE_API", hide_env_values = true, value_name = "URL", value_parser = url)]
    api: Option<String>,
    /// Token for the server
    #[arg(
        long,
        global = true,
        hide = true,
        env = "SESSION_PIPELINE_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// The shared secret of an outer scheduler
    #[arg(
        long,
        global = true,
        hide = true,
        env = "SCHEDULER_API_TOKEN",
        hide_env_values = true
    )]
    scheduler_token: Option<String>,
    /// Sessions at most in one run of a service, where a language model is used
    #[arg(long, global = true, hide = true, env = "SESSION_PROCESSOR_MAX_PER_RUN", value_parser = attempts_max)]
    max_per_run: Option<SessionLimit>,
    /// Days that events are kept when somebody prunes them; 0: for ever
    #[arg(long, global = true, hide = true, env = "USAGE_EVENTS_RETENTION_DAYS", value_parser = clap::value_parser!(u32).range(0..=36_500))]
    usage_retention_days: Option<u32>,
    /// Print one JSON document instead of text for people
    #[arg(long, global = true)]
    json: bool,
    /// Say more on standard error; twice for the processors' own logs
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// What all of these, the environment and the file come to: made once, before any command begins
    #[arg(skip)]
    config: OnceCell<Config>,
    /// What the environment says that no flag stands for
    #[arg(skip)]
    variables: Variables,
    /// What looks up the variables whose names the configuration says
    #[arg(skip)]
    environment: Option<Environment>,
    /// What only tests ask for
    #[arg(skip)]
    hooks: TestHooks,
}

/// What tests ask of the program, and the program itself never does: its `main` has no way to.
#[derive(Clone, Debug, Default)]
pub struct TestHooks {
    /// The folder of compiled components that tests share.
    pub compiled: Option<PathBuf>,
}

/// Looks up a variable. Keys of language models are found by it: they pass through no list that
/// somebody could print.
pub type Environment = fn(&str) -> Option<OsString>;

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer requests, and run processors by schedule
    Serve(serve::ServeArgs),
    /// Process the sessions that are new or changed
    Run(run::RunArgs),
    /// Report what was extracted
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// Show whether everything works and keeps up, with counts of each processor
    Status(status::StatusArgs),
    /// List sessions, or show all that is known of one
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// List, show, approve and reject what users verified
    #[command(subcommand)]
    Knowledge(knowledge::KnowledgeCommand),
    /// List the sessions that failed too often, or let them be tried again
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// List processors, or show what a component is
    #[command(subcommand)]
    Processors(processors::ProcessorsCommand),
    /// Start a processor: a project that builds and tests with one command each
    New(new::NewArgs),
    /// Give one session to a processor, and show all that comes of it; nothing is committed
    #[command(after_help = replay::AFTER_HELP)]
    Replay(replay::ReplayArgs),
    /// Show which sessions' rows differ between two components, and what each costs
    #[command(after_help = compare::AFTER_HELP)]
    Compare(compare::CompareArgs),
    /// Mark sessions, so that the next run processes them again
    Reprocess(reprocess::ReprocessArgs),
    /// Make, list and revoke tokens, which let people and programs in
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Bring the database up to date
    Migrate(migrate::MigrateArgs),
    /// Print a script that completes our commands in a shell
    #[command(after_help = "For bash, in ~/.bashrc: source <(session-pipeline completions bash)")]
    Completions(completions::CompletionsArgs),
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

fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        Err("it is empty; give the path of a file, or leave it out".to_owned())
    } else {
        Ok(text.into())
    }
}

fn url(text: &str) -> Result<String, String> {
    if client::is_address(text) {
        Ok(text.to_owned())
    } else {
        Err("it is no address; give one like http://127.0.0.1:8080".to_owned())
    }
}

/// How many sessions a run may try; `None`: as many as there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SessionLimit(Option<u64>);

/// Empty or not positive: none (ARCHITECTURE.md §8).
fn attempts_max(text: &str) -> Result<SessionLimit, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(SessionLimit(None));
    }
    let count: i64 = text
        .parse()
        .map_err(|_| "it is no whole number; give one, or leave it empty for no cap".to_owned())?;
    Ok(SessionLimit(
        u64::try_from(count).ok().filter(|count| *count > 0),
    ))
}

/// A text that names something.
fn filled(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("it is empty; give a name, or leave it out".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// Runs the program with these arguments, of which the first is its name, with what `main` found in
/// the environment, with the way to look up more there, and with what a test asks for.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    variables: Variables,
    environment: Environment,
    hooks: TestHooks,
) -> ExitCode {
    let mut cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            return match error.kind() {
                // Help and version are no errors; clap knows where each belongs.
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    let _ = error.print();
                    Exit::Done.into()
                }
                _ => {
                    // It repeats arguments, which scripts take from names of files.
                    let text = printable_lines(&error.render().to_string());
                    let _ = std::io::stderr().write_all(text.as_bytes());
                    Exit::WrongUse.into()
                }
            };
        }
    };
    cli.global.variables = variables;
    cli.global.environment = Some(environment);
    cli.global.hooks = hooks;
    log_to_stderr(cli.global.verbose, has_colors(environment));
    match dispatch(&cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print(cli.global.json);
            failure.exit().into()
        }
    }
}

fn dispatch(cli: &Cli) -> Result<Exit, CommandFailure> {
    let global = &cli.global;
    // A bad value stops every command, also one that would not have asked for it; but for the child
    // that compiles, which knows no data dir: its parent says all that it needs.
    if !matches!(cli.command, Command::CompileComponent { .. }) {
        global.config()?;
    }
    match &cli.command {
        Command::Serve(arguments) => serve::serve(global, arguments),
        Command::Run(arguments) => run::run(global, arguments),
        Command::Report(command) => report::report(global, command),
        Command::Status(arguments) => status::status(global, arguments),
        Command::Sessions(command) => sessions::sessions(global, command),
        Command::Knowledge(command) => knowledge::knowledge(global, command),
        Command::Quarantine(command) => quarantine::quarantine(global, command),
        Command::Processors(command) => processors::processors(global, command),
        Command::New(arguments) => new::new(global, arguments),
        Command::Replay(arguments) => replay::replay(global, arguments),
        Command::Compare(arguments) => compare::compare(global, arguments),
        Command::Reprocess(arguments) => reprocess::reprocess(global, arguments),
        Command::Token(command) => token::token(global, command),
        Command::Migrate(arguments) => migrate::migrate(global, arguments),
        Command::Completions(arguments) => completions::completions(arguments),
        Command::CompileComponent { arguments } => {
            session_pipeline_host::sandbox::compile_as_child(arguments)
                .map_err(CommandFailure::could_not_run)?;
            Ok(Exit::Done)
        }
    }
}

impl GlobalArgs {
    /// The one configuration of this process.
    fn config(&self) -> Result<Config, CommandFailure> {
        if let Some(config) = self.config.get() {
            return Ok(config.clone());
        }
        let mut config = Config::load(&ConfigOverrides {
            data_dir: self.data_dir.clone(),
            sessions_root: self.sessions.clone(),
            config_file: self.config_file.clone(),
            variables: self.variables.clone(),
            shipped: SHIPPED.to_vec(),
        })?;
        let program = std::env::current_exe().map_err(|error| {
            CommandFailure::could_not_run(format!("the program can't find itself: {error}"))
        })?;
        config.compiler = Compiler::Child {
            program,
            arguments: vec!["compile-component".to_owned(), "--".to_owned()],
        };
        if let Some(folder) = &self.hooks.compiled {
            config.compiler = Compiler::Shared {
                folder: folder.clone(),
                compiler: Box::new(config.compiler),
            };
        }
        if let Some(SessionLimit(cap)) = self.max_per_run {
            config.service.llm_sessions_max = cap;
        }
        if let Some(days) = self.usage_retention_days {
            config.service.usage_retention_days = Some(days).filter(|days| *days > 0);
        }
        Ok(self.config.get_or_init(|| config).clone())
    }

    /// Opens the pipeline, with the language model that is configured.
    fn pipeline(&self) -> Result<Pipeline, CommandFailure> {
        self.with_language_model(Pipeline::open(
            self.config()?,
            Arc::new(SystemClock::default()),
            registry(),
        )?)
    }

    /// The same with the language model that is configured, if one is.
    fn with_language_model(&self, pipeline: Pipeline) -> Result<Pipeline, CommandFailure> {
        let config = pipeline.config();
        let secrets = self.secrets(config)?;
        let clock = Arc::clone(pipeline.clock());
        let model = llm::from_config(config, secrets, clock, pipeline.shared_store())?;
        Ok(match model {
            Some(model) => pipeline.with_language_model(model),
            None => pipeline,
        })
    }

    /// The key of the language model, where the configuration says.
    fn secrets(&self, config: &Config) -> Result<LlmSecrets, CommandFailure> {
        let environment = |name: &str| self.environment?(name);
        let secrets = LlmSecrets::load(&config.llm, environment);
        Ok(secrets.map_err(SetupError::from)?)
    }
}

fn registry() -> Registry {
    Registry::new(SHIPPED)
}

/// What to say where there is no sessions root.
fn no_sessions_root(config: &Config) -> String {
    let root = config.sessions_root.display().to_string();
    format!(
        "there is no sessions folder `{}`; name one with --sessions, for instance ~/.claude/projects",
        session_pipeline_host::fault::printable(&root)
    )
}

fn now() -> UtcMicros {
    SystemClock::default().now()
}

/// Colors are for terminals, and for users who want them (<https://no-color.org>).
fn has_colors(environment: Environment) -> bool {
    let is_set = |name| environment(name).is_some_and(|value| !value.is_empty());
    let is_dumb = environment("TERM").is_some_and(|terminal| terminal == "dumb");
    std::io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

fn log_to_stderr(verbose: u8, has_colors: bool) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_ansi(has_colors)
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false)
        .without_time()
        .init();
}

/// Writes text for people to standard output. Names, paths and messages in it come from outside, and
/// their escape codes do not reach the terminal.
fn print(text: &str) -> Result<(), CommandFailure> {
    print_exact(&format!(
        "{}\n",
        printable_lines(text.trim_end_matches('\n'))
    ))
}

/// Writes to standard output. A reader that has gone away (`| head`) is no failure.
fn print_exact(text: &str) -> Result<(), CommandFailure> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(
            CommandFailure::could_not_run(format!("standard output can't be written: {error}")),
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

/// Writes one JSON document to standard output, as it is made: it may be long.
fn print_json(value: &impl serde::Serialize) -> Result<(), CommandFailure> {
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut stdout, json::TerminalSafe::default());
    let written = value
        .serialize(&mut serializer)
        .map_err(std::io::Error::from)
        .and_then(|()| writeln!(stdout))
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(
            CommandFailure::could_not_run(format!("the result can't be written: {error}")),
        ),
        _ => Ok(()),
    }
}
