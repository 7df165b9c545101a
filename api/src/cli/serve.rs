//! `serve`: runs the HTTP server until a signal stops it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use session_pipeline_pipeline::registry::listing;
use session_pipeline_pipeline::run::Pipeline;
use session_pipeline_pipeline::scheduler::{Scheduler, cadences, cadences_after_examination};
use session_pipeline_pipeline::token::SchedulerSecret;
use session_pipeline_store::{Actor, AuditEntry};

use super::random::SystemRandomness;
use super::table::field_list;
use super::{CommandFailure, Exit, GlobalArgs, descriptors, hint, print, print_json};
use crate::dashboard::Dashboard;
use crate::http::{HttpLimits, ServeError, Server, ServiceState};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Address to listen on; port 0 picks any free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address for a second listener that serves only /metrics, without authentication
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// Do not run processors on schedule
    #[arg(long)]
    no_scheduler: bool,
}

/// Printed when the server is ready.
#[derive(Serialize)]
pub(super) struct StartMessage {
    pub(super) url: String,
    data_dir: String,
    sessions: String,
    processors: Vec<ScheduleLine>,
    admin_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<String>,
}

/// A processor and its schedule.
#[derive(Serialize)]
struct ScheduleLine {
    name: String,
    schedule: Option<String>,
    cadence_seconds: Option<u32>,
    unavailable: Option<String>,
}

/// How to serve.
pub(super) struct ServeOptions {
    /// The address to listen on.
    pub(super) listen: SocketAddr,
    /// The flag that sets it.
    pub(super) listen_flag: &'static str,
    /// Whether to listen on any free port if that of `listen` is in use.
    pub(super) uses_other_port: bool,
    /// The directory to remove if a second signal ends the process.
    pub(super) removed_at_exit: Option<PathBuf>,
    /// The address of the listener for metrics, if the flag sets one.
    pub(super) metrics_listen: Option<SocketAddr>,
    /// Whether to run processors on schedule.
    pub(super) has_scheduler: bool,
    /// The secret of an external scheduler.
    pub(super) secret: Option<SchedulerSecret>,
}

/// Parses the secret of an external scheduler. Call it before opening the data directory.
pub(super) fn scheduler_secret(
    global: &GlobalArgs,
) -> Result<Option<SchedulerSecret>, CommandFailure> {
    SchedulerSecret::parse(global.scheduler_token.as_deref())
        .map_err(|error| CommandFailure::usage_error(error.to_string()))
}

pub(super) fn serve(global: &GlobalArgs, arguments: &ServeArgs) -> Result<Exit, CommandFailure> {
    let options = ServeOptions {
        listen: arguments.listen,
        listen_flag: "--listen",
        uses_other_port: false,
        removed_at_exit: None,
        metrics_listen: arguments.metrics_listen,
        has_scheduler: !arguments.no_scheduler,
        secret: scheduler_secret(global)?,
    };
    let pipeline = Arc::new(global.pipeline()?);
    serve_pipeline(pipeline, options, |message| {
        if global.json {
            print_json(message)
        } else {
            print(&render(message, arguments.no_scheduler))
        }
    })
}

/// Serves an open pipeline until a signal arrives. `announce` is called once, when the server is
/// ready and handles signals. An error of `announce` stops the server.
pub(super) fn serve_pipeline(
    pipeline: Arc<Pipeline>,
    mut options: ServeOptions,
    announce: impl FnOnce(&StartMessage) -> Result<(), CommandFailure>,
) -> Result<Exit, CommandFailure> {
    descriptors::raise_limit();
    pipeline.sweep();
    let mut service = ServiceState::new(
        Arc::clone(&pipeline),
        options.secret.take(),
        Box::new(SystemRandomness),
        HttpLimits::default(),
    )?
    .with_frontend(Dashboard);
    let scheduler = if !options.has_scheduler {
        None
    } else {
        let clock = Arc::clone(pipeline.clock());
        let current = Arc::clone(&pipeline);
        let scheduler = Scheduler::new(pipeline.config(), cadences(&pipeline), clock)
            .map_err(|error| CommandFailure::usage_error(error.to_string()))?
            .with_processor_source(move || cadences_after_examination(&current));
        service = service.with_scheduler(scheduler.watch());
        Some(scheduler)
    };
    let service = Arc::new(service);
    let is_new = service.create_first_token()?;
    let token_path = service.admin_token_path();
    let server = start(&service, &options)?;
    let metrics_listen = options.metrics_listen.or(pipeline.config().metrics.listen);
    let metrics = metrics_listen.map(|address| server.listen_for_metrics(address));
    let metrics = metrics.transpose()?;
    let audit = |action: &str, params: serde_json::Value| {
        let now = pipeline.clock().now();
        let entry = AuditEntry {
            params: Some(params.to_string()),
            ..AuditEntry::new(action, "server", Actor::system(), now)
        };
        if let Err(error) = pipeline.store().audit(entry) {
            tracing::warn!("cannot write `{action}` to the audit log: {error}");
        }
    };
    audit(
        "server.start",
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "url": server.url(),
            "pid": std::process::id(),
            "scheduler": options.has_scheduler,
        }),
    );
    // Install the handlers before printing that the server is ready, so that no signal is lost.
    let signals = server.listen_for_signals()?;
    match scheduler {
        Some(scheduler) => server.schedule(scheduler),
        None => examine_once(&pipeline)?,
    }
    let config = pipeline.config();
    let scratch = config.state_dir();
    let processors = listing::list(
        pipeline.registry(),
        config,
        Some(pipeline.store()),
        &scratch,
        pipeline.has_language_model(),
    )?;
    let message = StartMessage {
        url: server.url().to_owned(),
        data_dir: config.data_dir.display().to_string(),
        sessions: config.sessions_root.display().to_string(),
        processors: processors
            .into_iter()
            .map(|processor| ScheduleLine {
                name: processor.name,
                schedule: processor.schedule,
                cadence_seconds: processor.cadence_seconds,
                unavailable: processor.unavailable,
            })
            .collect(),
        admin_token: token_path.display().to_string(),
        metrics,
    };
    announce(&message)?;
    if !options.listen.ip().is_loopback() {
        hint(&format!(
            "`{}` is reachable from other machines, and the server uses plain HTTP; put a proxy with TLS in front of it, or listen on 127.0.0.1",
            options.listen
        ));
    }
    if let Some(address) = metrics_listen.filter(|address| !address.ip().is_loopback()) {
        hint(&format!(
            "anyone who can reach `{address}` can read the metrics; they contain no names of people unless `metrics.per_user` is set"
        ));
    }
    if is_new {
        hint("created the first admin token; create one token per person, then revoke this one");
    }
    let removed_at_exit = options.removed_at_exit;
    let reason = server.wait(signals, move || {
        // A second signal exits immediately. The next start rolls back whatever was not committed.
        if let Some(folder) = removed_at_exit {
            let _ = std::fs::remove_dir_all(folder);
        }
        std::process::exit(Exit::CouldNotRun as i32);
    });
    hint("stopping");
    service.flush_denials();
    audit("server.stop", serde_json::json!({ "reason": reason }));
    let stopped = server.stop();
    if !stopped.is_complete {
        hint("runs still in progress were interrupted; the next runs continue from there");
    }
    match reason {
        None => Ok(Exit::Done),
        Some(reason) => Err(CommandFailure::could_not_run(reason)),
    }
}

/// Starts to listen, on another port if `options` permit it.
fn start(service: &Arc<ServiceState>, options: &ServeOptions) -> Result<Server, CommandFailure> {
    let (address, source) = match Server::start(Arc::clone(service), options.listen) {
        Err(ServeError::Listen { address, source }) => (address, source),
        started => return Ok(started?),
    };
    let free = SocketAddr::new(options.listen.ip(), 0);
    let other = options
        .uses_other_port
        .then(|| Server::start(Arc::clone(service), free));
    let Some(Ok(server)) = other else {
        let flag = options.listen_flag;
        return Err(CommandFailure::could_not_run(format!(
            "cannot listen on `{address}`: {source}; choose another one with {flag}, or 0 as the port for any free one"
        )));
    };
    hint(&format!(
        "port {} is in use; listening on another one",
        options.listen.port()
    ));
    Ok(server)
}

/// Examines the folder of processors once, as the scheduler would, so that new components take over at
/// the start. Compiling can take long, so this runs on a thread while the server answers requests.
fn examine_once(pipeline: &Arc<Pipeline>) -> Result<(), CommandFailure> {
    let pipeline = Arc::clone(pipeline);
    let examine = move || {
        if let Err(error) = pipeline.examine_folder(true) {
            tracing::warn!(%error, "cannot check the folder of processors");
        }
    };
    let thread = std::thread::Builder::new().name("examine-folder".to_owned());
    let spawned = thread.spawn(examine);
    spawned
        .map(drop)
        .map_err(|error| CommandFailure::could_not_run(format!("cannot start a thread: {error}")))
}

fn render(message: &StartMessage, no_scheduler: bool) -> String {
    let processors = message.processors.iter().map(|line| {
        let schedule = match (&line.unavailable, &line.schedule, line.cadence_seconds) {
            (Some(reason), _, _) => format!("unavailable: {reason}"),
            (None, Some(schedule), _) => schedule.clone(),
            (None, None, Some(seconds)) => super::processors::cadence(seconds),
            (None, None, None) => "on request only".to_owned(),
        };
        format!("{} ({schedule})", line.name)
    });
    let processors = processors.collect::<Vec<_>>().join(", ");
    let printable = |text: &str| Some(session_pipeline_host::fault::printable(text));
    field_list(
        "",
        &[
            ("listening on", printable(&message.url)),
            ("data directory", printable(&message.data_dir)),
            ("sessions", printable(&message.sessions)),
            ("processors", printable(&processors)),
            (
                "scheduler",
                no_scheduler.then(|| "off (--no-scheduler)".to_owned()),
            ),
            ("admin token file", printable(&message.admin_token)),
            ("metrics", message.metrics.as_deref().and_then(&printable)),
        ],
    )
}
