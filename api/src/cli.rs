//! The command line: argument parsing and the output of each command.
//!
//! Results go to standard output. Progress and hints go to standard error. Each command has its own
//! module.

mod client;
mod compare;
mod completions;
mod component;
mod demo;
mod descriptors;
mod error;
mod json;
mod knowledge;
mod migrate;
mod new;
mod pages;
mod prices;
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
mod shipped_code;
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
use session_pipeline_host::sessions::SessionsRoot;
use session_pipeline_pipeline::config::{Config, ConfigOverrides, Variables};
use session_pipeline_pipeline::llm::{self, LlmSecrets, SetupError};
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::run::Pipeline;

pub use error::CommandFailure;

pub use crate::problem::Exit;

/// Turns AI coding-agent transcripts into SQL tables and usage reports with sandboxed processors
#[derive(Debug, Parser)]
#[command(name = "session-pipeline", bin_name = "session-pipeline", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success; 1 some sessions failed, a check has findings, or `status` is not healthy; \
     2 usage or configuration error; \
     3 could not run (data directory in use, processor unavailable, database unusable).";

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct GlobalArgs {
    /// Data directory [default: ./data]
    #[arg(long, global = true, env = "DATA_DIR", hide_env_values = true, value_name = "DIR", value_parser = folder)]
    data_dir: Option<PathBuf>,
    /// Root folder of the sessions, with one subfolder per user or project, such as ~/.claude/projects [default: <DATA_DIR>/user_sessions]
    #[arg(long, global = true, env = "SESSION_DATA_DIR", hide_env_values = true, value_name = "DIR", value_parser = folder)]
    sessions: Option<PathBuf>,
    /// Config file [default: <DATA_DIR>/config.toml, if it exists]
    #[arg(long = "config", global = true, value_name = "FILE", value_parser = file)]
    config_file: Option<PathBuf>,
    /// Server to send the command to [default: the server that has the data directory open, if any]
    #[arg(long, global = true, env = "SESSION_PIPELINE_API", hide_env_values = true, value_name = "URL", value_parser = url)]
    api: Option<String>,
    /// API token for the server
    #[arg(
        long,
        global = true,
        hide = true,
        env = "SESSION_PIPELINE_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// Shared secret of an external scheduler
    #[arg(
        long,
        global = true,
        hide = true,
        env = "SCHEDULER_API_TOKEN",
        hide_env_values = true
    )]
    scheduler_token: Option<String>,
    /// Maximum number of sessions per service run of a processor that uses a language model
    #[arg(long, global = true, hide = true, env = "SESSION_PROCESSOR_MAX_PER_RUN", value_parser = session_limit)]
    max_per_run: Option<SessionLimit>,
    /// Age in days at which pruning deletes usage events; 0 keeps them indefinitely
    #[arg(long, global = true, hide = true, env = "USAGE_EVENTS_RETENTION_DAYS", value_parser = clap::value_parser!(u32).range(0..=36_500))]
    usage_retention_days: Option<u32>,
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Print more log messages to standard error; repeat to include the logs of processors
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// The merged configuration. It is loaded once, before any command starts.
    #[arg(skip)]
    config: OnceCell<Config>,
    /// Environment variables that have no corresponding flag.
    #[arg(skip)]
    variables: Variables,
    /// Looks up environment variables that the configuration names.
    #[arg(skip)]
    environment: Option<Environment>,
    #[arg(skip)]
    hooks: TestHooks,
}

/// Options for tests. The released program never sets them.
#[derive(Clone, Debug, Default)]
pub struct TestHooks {
    /// A cache of compiled components that all tests share.
    pub compiled: Option<PathBuf>,
}

/// Looks up an environment variable. API keys of language models are read only through this
/// function, so no list of variables that could be printed contains them.
pub type Environment = fn(&str) -> Option<OsString>;

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the dashboard and the HTTP API, and run processors on schedule
    Serve(serve::ServeArgs),
    /// Serve the dashboard with generated sessions, to try the program
    #[command(after_help = demo::AFTER_HELP)]
    Demo(demo::DemoArgs),
    /// Process new and changed sessions
    Run(run::RunArgs),
    /// Print reports on the extracted data
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// List prices of models, or update them from a public table
    #[command(subcommand)]
    Prices(prices::PricesCommand),
    /// Show health checks and the session counts of each processor
    Status(status::StatusArgs),
    /// List sessions, or show the details of one
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// List, show, approve, reject and export knowledge items
    #[command(subcommand)]
    Knowledge(knowledge::KnowledgeCommand),
    /// List or release quarantined sessions
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// List processors, or inspect and verify a component
    #[command(subcommand)]
    Processors(processors::ProcessorsCommand),
    /// Create a new processor project
    New(new::NewArgs),
    /// Process one session without a commit, and show its rows, log and cost
    #[command(after_help = replay::AFTER_HELP)]
    Replay(replay::ReplayArgs),
    /// Compare the rows and cost of two components on the same sessions
    #[command(after_help = compare::AFTER_HELP)]
    Compare(compare::CompareArgs),
    /// Mark sessions for the next run to process again
    Reprocess(reprocess::ReprocessArgs),
    /// Create, list and revoke API tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Upgrade the database to the current schema version
    Migrate(migrate::MigrateArgs),
    /// Print a shell completion script
    #[command(
        after_help = "For bash, add this line to ~/.bashrc: source <(session-pipeline completions bash)"
    )]
    Completions(completions::CompletionsArgs),
    /// Compile a component in a child process of this program
    #[command(hide = true)]
    CompileComponent {
        /// Arguments from the parent process
        arguments: Vec<String>,
    },
    /// Compile the shipped processors into a folder, for installation next to the program
    #[command(hide = true)]
    CompileShipped {
        /// The folder
        folder: PathBuf,
    },
}

/// Parses the path of a folder. An empty path is an error in a script, so it is rejected instead of
/// meaning the current folder.
fn folder(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        Err("the path is empty; pass the path of a folder, or omit the option".to_owned())
    } else {
        Ok(text.into())
    }
}

fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        Err("the path is empty; pass the path of a file, or omit the option".to_owned())
    } else {
        Ok(text.into())
    }
}

fn url(text: &str) -> Result<String, String> {
    if client::is_server_url(text) {
        Ok(text.to_owned())
    } else {
        Err("not a server URL; use a URL such as http://127.0.0.1:8080".to_owned())
    }
}

/// The maximum number of sessions in a run. `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SessionLimit(Option<u64>);

/// Parses a session limit. An empty value, zero or a negative number means no limit.
fn session_limit(text: &str) -> Result<SessionLimit, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(SessionLimit(None));
    }
    let count: i64 = text.parse().map_err(|_| {
        "not a whole number; use a whole number, or an empty value for no limit".to_owned()
    })?;
    Ok(SessionLimit(
        u64::try_from(count).ok().filter(|count| *count > 0),
    ))
}

/// Parses a non-empty string.
fn non_empty(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("the value is empty; pass a value, or omit the option".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// Runs the program. `arguments` starts with the program name, `variables` are the environment
/// variables that configure it, and `environment` looks up further variables that the configuration
/// names.
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
                // Help and version are not errors. Clap prints each to the correct stream.
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    let _ = error.print();
                    Exit::Done.into()
                }
                _ => {
                    // The message repeats arguments, which can contain escape codes from file names.
                    let text = printable_lines(&error.render().to_string());
                    let _ = std::io::stderr().write_all(text.as_bytes());
                    Exit::UsageError.into()
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
    // An invalid configuration stops every command, even if the command does not use the value.
    // The compiler child is exempt: it has no data directory, and its parent passes all it needs. The
    // demo has a data directory of its own.
    if !matches!(
        cli.command,
        Command::CompileComponent { .. } | Command::CompileShipped { .. } | Command::Demo(_)
    ) {
        global.config()?;
    }
    match &cli.command {
        Command::Serve(arguments) => serve::serve(global, arguments),
        Command::Demo(arguments) => demo::demo(global, arguments),
        Command::Run(arguments) => run::run(global, arguments),
        Command::Report(command) => report::report(global, command),
        Command::Prices(command) => prices::prices(global, command),
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
        Command::CompileShipped { folder } => shipped_code::compile(folder),
    }
}

impl GlobalArgs {
    /// The configuration of this process.
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
            CommandFailure::could_not_run(format!(
                "cannot determine the path of this program: {error}"
            ))
        })?;
        config.compiler = Compiler::Installed {
            folders: shipped_code::folders(&program),
            compiler: Box::new(Compiler::Child {
                program,
                arguments: vec!["compile-component".to_owned(), "--".to_owned()],
            }),
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

    /// The same options for another data directory, with its own sessions and configuration.
    fn for_data_dir(&self, data_dir: PathBuf) -> Self {
        Self {
            data_dir: Some(data_dir),
            sessions: None,
            config_file: None,
            api: None,
            token: None,
            scheduler_token: self.scheduler_token.clone(),
            max_per_run: self.max_per_run,
            usage_retention_days: self.usage_retention_days,
            json: self.json,
            verbose: self.verbose,
            config: OnceCell::new(),
            variables: self.variables.clone(),
            environment: self.environment,
            hooks: self.hooks.clone(),
        }
    }

    /// Opens the pipeline with the configured language model, if there is one.
    fn pipeline(&self) -> Result<Pipeline, CommandFailure> {
        self.with_language_model(Pipeline::open(
            self.config()?,
            Arc::new(SystemClock::default()),
            registry(),
        )?)
    }

    /// Adds the configured language model to the pipeline, if there is one.
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

    /// Loads the API key of the language model from the variable or file that the configuration names.
    fn secrets(&self, config: &Config) -> Result<LlmSecrets, CommandFailure> {
        let environment = |name: &str| self.environment?(name);
        let secrets = LlmSecrets::load(&config.llm, environment);
        Ok(secrets.map_err(SetupError::from)?)
    }
}

fn registry() -> Registry {
    Registry::new(SHIPPED)
}

impl GlobalArgs {
    /// Checks that the sessions root exists if it was chosen. A folder that someone named and that
    /// does not exist is a mistake; a new data directory has no sessions yet.
    ///
    /// # Errors
    /// It does not exist.
    fn check_sessions_root(&self) -> Result<(), CommandFailure> {
        let config = self.config()?;
        let default = Config::new(config.data_dir.clone()).sessions_root;
        let is_chosen = self.sessions.is_some() || config.sessions_root != default;
        // A server has its own folder.
        let is_local = self.api.is_none();
        match is_chosen && is_local && matches!(SessionsRoot::open(&config.sessions_root), Ok(None))
        {
            true => Err(CommandFailure::usage_error(format!(
                "sessions folder `{}` does not exist; create it, or choose another one with --sessions, for example ~/.claude/projects",
                printable(&config.sessions_root.display().to_string())
            ))),
            false => Ok(()),
        }
    }
}

/// The hint for a sessions root that does not exist.
fn no_sessions_root(config: &Config) -> String {
    let root = config.sessions_root.display().to_string();
    format!(
        "sessions folder `{}` does not exist; set it with --sessions, for example ~/.claude/projects",
        session_pipeline_host::fault::printable(&root)
    )
}

fn now() -> UtcMicros {
    SystemClock::default().now()
}

/// Whether to color the log: only on a terminal that supports it, and unless `NO_COLOR` is set
/// (<https://no-color.org>).
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

/// Writes text to standard output with escape codes made visible, because names, paths and messages
/// come from untrusted sources.
fn print(text: &str) -> Result<(), CommandFailure> {
    print_exact(&format!(
        "{}\n",
        printable_lines(text.trim_end_matches('\n'))
    ))
}

/// Writes to standard output. A closed pipe (`| head`) is not an error.
fn print_exact(text: &str) -> Result<(), CommandFailure> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(
            CommandFailure::could_not_run(format!("cannot write to standard output: {error}")),
        ),
        _ => Ok(()),
    }
}

/// Writes a hint to standard error with escape codes made visible, because paths come from untrusted
/// sources.
fn hint(text: &str) {
    let text: Vec<String> = text.lines().map(printable).collect();
    let text = text.join("\n");
    // If standard error is closed, there is no place to report the error.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes one JSON document to standard output. The document is streamed, because it can be long.
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
            CommandFailure::could_not_run(format!("cannot write the result: {error}")),
        ),
        _ => Ok(()),
    }
}
