//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::context::{Context, Environment, Failure, folders, token};
use crate::settings::{self, Settings};
use crate::{doctor, hook, kill_point, push, setup, terminal};

/// Rates in bytes per second that can be chosen. The server ends slower uploads.
const RATE_MIN: u64 = 64 << 10;

/// Send the sessions of coding agents to a Session Pipeline server
///
/// Sends what is new or has grown since the last time, and exits. Settings come from `setup`, unless
/// a flag replaces them. The token comes from the variable SESSION_PIPELINE_TOKEN, from
/// --token-file, or from `setup`.
///
/// Exit codes: 0 everything was sent, 1 the server does not accept some files, 2 invalid arguments
/// or settings, 3 something could not be sent.
#[derive(Debug, Parser)]
#[command(
    name = "session-pipeline-push",
    version,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(flatten)]
    push: PushArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Store the server and the token, and add hooks to the settings of Claude Code
    Setup(SetupArgs),
    /// Remove the hooks, the settings and the token. Sent sessions stay on the server
    Remove(RemoveArgs),
    /// Report what is set up, when data was last sent, and what is pending, with the reason
    Doctor(DoctorArgs),
    /// Called by the agent, with a description of the event on standard input. Returns at once
    Hook,
}

/// What is sent, and where.
#[derive(Clone, Debug, Default, Args)]
pub struct TargetArgs {
    /// URL of the server
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// Folder with sessions, as DIR or NAME=DIR, where NAME is the folder on the server. Can be
    /// repeated. Default: the folders of all known agents
    #[arg(long = "root", value_name = "[NAME=]DIR")]
    pub roots: Vec<String>,
    /// Pattern of files and folders that stay on this machine, relative to their root, such as
    /// `*private*/**`. Can be repeated
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Remove what looks like a secret before anything leaves this machine
    #[arg(long)]
    pub redact: bool,
    /// Maximum rate, such as `1 MiB` per second, from 64 KiB [default: 4 MiB]
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    pub rate: Option<u64>,
    /// PEM file with the certificate authorities to trust, instead of the public ones
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Allow a URL without TLS outside private networks. Others can then read token and sessions
    #[arg(long)]
    pub allow_http: bool,
}

#[derive(Debug, Args)]
struct PushArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// File with the token, which only its owner can read
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Keep running, and send what is new every few seconds
    #[arg(long, conflicts_with = "once")]
    watch: bool,
    /// Send what is new, and exit. This is the default
    #[arg(long)]
    once: bool,
    /// Print what would be sent, and send nothing
    #[arg(long, conflicts_with = "watch")]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Started by a hook
    #[arg(long, hide = true)]
    from_hook: bool,
}

#[derive(Debug, Args)]
struct SetupArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Settings file of Claude Code [default: ~/.claude/settings.json]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn rate(text: &str) -> Result<u64, String> {
    let size: Result<bytesize::ByteSize, _> = text.parse();
    size.ok()
        .map(|size| size.as_u64())
        .filter(|rate| *rate >= RATE_MIN)
        .ok_or_else(|| "expected a size from 64 KiB, such as `1 MiB`".to_owned())
}

/// Runs the program.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    environment: Environment<'_>,
) -> ExitCode {
    kill_point::install(environment(kill_point::VARIABLE));
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // The agent must never see an error of this program, not even one in its arguments.
    if arguments.get(1).is_some_and(|argument| argument == "hook") {
        hook::run(environment);
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match run(&cli, environment) {
        Ok(code) => code,
        Err(Failure::Usage(text)) => {
            terminal::note(&format!("error: {text}"));
            ExitCode::from(2)
        }
        Err(Failure::CouldNotRun(text)) => {
            terminal::note(&format!("error: {text}"));
            ExitCode::from(3)
        }
    }
}

fn run(cli: &Cli, environment: Environment<'_>) -> Result<ExitCode, Failure> {
    let context = Context {
        folders: folders(environment)?,
        environment,
    };
    match &cli.command {
        None => {
            let stored = settings::read_settings(&context.folders)?.unwrap_or_default();
            let options = push::Options {
                settings: merge(stored, &cli.push.target),
                token: token(&context, cli.push.token_file.as_deref())?,
                watch: cli.push.watch,
                dry_run: cli.push.dry_run,
                json: cli.push.json,
                from_hook: cli.push.from_hook,
            };
            push::run(&context, options)
        }
        Some(Command::Setup(args)) => {
            let settings = merge(Settings::default(), &args.target);
            setup::setup(&context, settings, args.settings.clone(), args.yes)
        }
        Some(Command::Remove(args)) => setup::remove(&context, args.yes),
        Some(Command::Doctor(args)) => doctor::run(&context, args.json),
        Some(Command::Hook) => Ok(ExitCode::SUCCESS),
    }
}

/// Settings, with those that flags replace.
fn merge(stored: Settings, args: &TargetArgs) -> Settings {
    let or = |flags: &Vec<String>, stored: Vec<String>| match flags.is_empty() {
        true => stored,
        false => flags.clone(),
    };
    Settings {
        to: args.to.clone().unwrap_or(stored.to),
        roots: or(&args.roots, stored.roots),
        exclude: or(&args.exclude, stored.exclude),
        redact: args.redact || stored.redact,
        rate: args.rate.or(stored.rate),
        ca_file: args.ca_file.clone().or(stored.ca_file),
        allow_http: args.allow_http || stored.allow_http,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_takes_no_token() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        assert!(!help.contains("--token "), "{help}");
        assert!(Cli::try_parse_from(["push", "--token", "x"]).is_err());
        assert!(Cli::try_parse_from(["push", "--rate", "1 KiB"]).is_err());
        let cli = Cli::try_parse_from(["push", "--rate", "1 MiB"]).unwrap();
        assert_eq!(cli.push.target.rate, Some(1 << 20));
    }
}
