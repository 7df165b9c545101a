//! The command that sends: once, or until it is stopped.

use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Serialize;

use crate::context::{Context, Failure};
use crate::roots::{Root, default_roots, parse_root};
use crate::server::{Server, ServerError, Traffic, check_url};
use crate::settings::Settings;
use crate::state::{State, StateError, Wait, records, status, update_status};
use crate::sync::{Pass, PassError, PassReport, Selection};
use crate::terminal;

/// Pause between two passes of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// The first pause after a failure. It doubles after each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// Number of attempts without progress before a pass that does not watch gives up.
const ATTEMPTS_MAX: u32 = 6;
/// The longest pause that a pass that does not watch makes.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often all files are compared with the server, in seconds. A restored backup can lack some.
const COMPARED_EVERY: u64 = 24 * 3600;
/// How long a run that a hook started waits for an earlier one.
const HOOK_WAIT_MAX: Duration = Duration::from_secs(3600);
/// The default rate, in bytes per second.
const RATE: u64 = 4 << 20;
/// How much this program gives way to others.
const NICENESS: i32 = 10;

/// The options of the command.
#[derive(Debug)]
pub struct Options {
    /// What is sent, and where.
    pub settings: Settings,
    /// The token.
    pub token: Option<String>,
    /// Whether the program keeps running.
    pub watch: bool,
    /// Whether nothing is sent.
    pub dry_run: bool,
    /// Whether the result is printed as JSON.
    pub json: bool,
    /// Whether a hook started the program.
    pub from_hook: bool,
}

/// The result of the command.
#[derive(Debug, Serialize)]
struct PushReport {
    #[serde(flatten)]
    pass: PassReport,
    #[serde(flatten)]
    traffic: Traffic,
    /// Why not everything was sent.
    error: Option<String>,
}

/// What settings select.
///
/// # Errors
/// A root or a pattern is invalid.
pub fn selection(context: &Context<'_>, settings: &Settings) -> Result<Selection, String> {
    let roots = match settings.roots.is_empty() {
        true => default_roots(&context.folders.home, context.environment),
        false => settings
            .roots
            .iter()
            .map(|root| parse_root(root))
            .collect::<Result<Vec<Root>, _>>()?,
    };
    for (at, root) in roots.iter().enumerate() {
        if roots.iter().take(at).any(|other| other.name == root.name) {
            return Err(format!(
                "two roots have the name `{}`; use `NAME=DIR` to give them different ones",
                root.name
            ));
        }
    }
    Ok(Selection {
        roots,
        exclude: patterns(&settings.exclude)?,
        redacts: settings.redact,
    })
}

fn patterns(texts: &[String]) -> Result<GlobSet, String> {
    let mut builder = GlobSetBuilder::new();
    for text in texts {
        let glob = Glob::new(text).map_err(|error| format!("invalid pattern: {error}"))?;
        builder.add(glob);
    }
    builder
        .build()
        .map_err(|error| format!("invalid patterns: {error}"))
}

/// A server for settings.
///
/// # Errors
/// The URL or the token is missing or invalid.
pub fn server(settings: &Settings, token: &str) -> Result<Server, String> {
    if settings.to.is_empty() {
        return Err("no server: use `--to URL`, or run `session-pipeline-push setup`".to_owned());
    }
    let url = check_url(&settings.to, settings.allow_http)?;
    let rate = settings.rate.unwrap_or(RATE);
    Server::new(
        url,
        token.to_owned(),
        Some(rate),
        settings.ca_file.as_deref(),
    )
}

/// Sends what is new.
///
/// # Errors
/// The options are invalid, or not everything could be sent.
pub fn run(context: &Context<'_>, options: Options) -> Result<ExitCode, Failure> {
    if options.from_hook {
        // Without the terminal and the process group of the agent, which can end first.
        let _ = rustix::process::setsid();
    }
    let selection = selection(context, &options.settings)?;
    let token = options
        .token
        .clone()
        .ok_or_else(|| Failure::Usage(NO_TOKEN.to_owned()))?;
    let server = server(&options.settings, &token)?;
    let url = check_url(&options.settings.to, options.settings.allow_http)?;
    let folder = context.folders.state_of(&url, &token);
    let wait = match options.from_hook {
        true => Wait::Until(HOOK_WAIT_MAX),
        false => Wait::No,
    };
    let _ = rustix::process::nice(NICENESS);
    let state = match State::open(&folder, wait) {
        Ok(state) => state,
        // The other one sends everything.
        Err(StateError::Waiting) => return Ok(ExitCode::SUCCESS),
        Err(error @ StateError::Busy(_)) => {
            return Err(Failure::CouldNotRun(format!(
                "{error}; wait until it has ended, or stop it"
            )));
        }
        Err(error) => return Err(Failure::CouldNotRun(with_cause(&error))),
    };
    if options.dry_run {
        let report = selection.pending(state.records());
        return finish(&options, &report, Traffic::default(), None);
    }
    let mut run = Run {
        server,
        state,
        selection,
        folder,
        failures: 0,
    };
    loop {
        let (report, error) = run.pass();
        let pause = match &error {
            None if options.watch => WATCH_EVERY,
            Some(error) if is_temporary(error) => {
                let pause = run.pause(error);
                let gives_up = run.failures >= ATTEMPTS_MAX || pause > PAUSE_MAX;
                if !options.watch && gives_up {
                    return run.finish(&options, &report, Some(error));
                }
                terminal::note(&format!(
                    "{error}; retrying in {} s",
                    pause.as_secs().max(1)
                ));
                pause
            }
            _ => return run.finish(&options, &report, error.as_ref()),
        };
        std::thread::sleep(pause);
    }
}

/// What a run would send now.
///
/// # Errors
/// The settings are invalid, or the state cannot be read.
pub fn pending(
    context: &Context<'_>,
    settings: &Settings,
    token: &str,
) -> Result<PassReport, String> {
    let url = check_url(&settings.to, settings.allow_http)?;
    let records = records(&context.folders.state_of(&url, token));
    let records = records.map_err(|error| format!("cannot read the state: {error}"))?;
    Ok(selection(context, settings)?.pending(&records))
}

/// The error for a missing token.
const NO_TOKEN: &str = "no token: set SESSION_PIPELINE_TOKEN, use `--token-file FILE`, or run `session-pipeline-push setup`";

fn is_temporary(error: &PassError) -> bool {
    matches!(
        error,
        PassError::Server(ServerError::Temporary { .. } | ServerError::TooManyFiles { .. })
    )
}

fn with_cause(error: &StateError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

struct Run {
    server: Server,
    state: State,
    selection: Selection,
    folder: PathBuf,
    /// The number of failures since the last progress.
    failures: u32,
}

impl Run {
    fn pass(&mut self) -> (PassReport, Option<PassError>) {
        let compared_at = status(&self.folder).compared_at;
        let started = now();
        // A clock that was set back must not prevent the comparison.
        let compares_all = started.abs_diff(compared_at) >= COMPARED_EVERY;
        let before = self.server.traffic.stored_bytes;
        let mut pass = Pass::new(&mut self.server, &mut self.state, &self.selection);
        let error = pass.run(compares_all).err();
        let report = pass.report;
        self.failures = match &error {
            None => 0,
            Some(_) if self.server.traffic.stored_bytes > before => 1,
            Some(_) => self.failures + 1,
        };
        record(&self.folder, started, compares_all, &report, error.as_ref());
        (report, error)
    }

    /// The pause before the next attempt: longer after each failure, and random, so that the
    /// clients of a server that was down do not all return at the same time.
    fn pause(&self, error: &PassError) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let longest = (BACKOFF_MIN * (1 << doublings)).min(BACKOFF_MAX);
        // A hasher with random keys is random enough to spread clients.
        let random = RandomState::new().hash_one(0) % 1000;
        let jitter = longest.mul_f64(0.5 + random as f64 / 2000.0);
        match error {
            PassError::Server(
                ServerError::Temporary {
                    retry_after: Some(after),
                    ..
                }
                | ServerError::TooManyFiles {
                    retry_after: after, ..
                },
            ) => *after + jitter,
            _ => jitter,
        }
    }

    fn finish(
        &self,
        options: &Options,
        report: &PassReport,
        error: Option<&PassError>,
    ) -> Result<ExitCode, Failure> {
        finish(options, report, self.server.traffic, error)
    }
}

fn record(
    folder: &Path,
    started: u64,
    compares_all: bool,
    report: &PassReport,
    error: Option<&PassError>,
) {
    update_status(folder, |status| {
        status.attempted_at = started;
        status.error = error.map(ToString::to_string);
        if error.is_none() {
            status.succeeded_at = now();
            if compares_all {
                status.compared_at = started;
            }
        }
        status.pending_files = report.pending_files;
        status.pending_bytes = report.pending_bytes;
        status.unwanted = report.unwanted.clone();
        status.skipped = report.skipped.clone();
    });
}

fn finish(
    options: &Options,
    report: &PassReport,
    traffic: Traffic,
    error: Option<&PassError>,
) -> Result<ExitCode, Failure> {
    if options.json {
        let report = PushReport {
            pass: report.clone(),
            traffic,
            error: error.map(ToString::to_string),
        };
        let text = serde_json::to_string(&report)
            .map_err(|error| Failure::CouldNotRun(error.to_string()))?;
        terminal::print(&format!("{text}\n"));
    } else {
        print_report(options, report, traffic);
    }
    if let Some(error) = error {
        return Err(Failure::CouldNotRun(match is_temporary(error) {
            true => format!("{error}; what is left is sent the next time"),
            false => error.to_string(),
        }));
    }
    Ok(ExitCode::from(u8::from(report.unwanted_files > 0)))
}

fn print_report(options: &Options, report: &PassReport, traffic: Traffic) {
    let size = |bytes| bytesize::ByteSize(bytes).display().iec();
    let (files, pending) = (report.files, report.pending_files);
    terminal::print(&match options.dry_run {
        true => format!(
            "{pending} of {files} files to send, {} of new bytes\n",
            size(report.pending_bytes)
        ),
        false => format!(
            "sent {} of {files} files, {} of new bytes, {} on the wire{}\n",
            report.sent_files,
            size(traffic.stored_bytes),
            size(traffic.wire_bytes),
            match pending {
                0 => String::new(),
                pending => format!("; {pending} files are pending"),
            }
        ),
    });
    for unwanted in &report.unwanted {
        terminal::note(&format!("not accepted: {unwanted}"));
    }
    for skipped in &report.skipped {
        terminal::note(&format!("skipped: {skipped}"));
    }
}
