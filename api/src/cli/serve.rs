//! `serve`: answer requests until somebody says stop.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use session_pipeline_pipeline::registry::listing;
use session_pipeline_pipeline::run::Pipeline;
use session_pipeline_pipeline::scheduler::{Scheduler, cadences, cadences_after_examination};
use session_pipeline_pipeline::token::SchedulerSecret;
use session_pipeline_store::{Actor, AuditEntry};

use super::random::SystemRandomness;
use super::table::facts;
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};
use crate::http::{HttpLimits, Server, ServiceState};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Start no runs by schedule
    #[arg(long)]
    no_scheduler: bool,
}

/// What is told at the start.
#[derive(Serialize)]
struct StartMessage {
    url: String,
    data_dir: String,
    sessions: String,
    processors: Vec<ScheduleLine>,
    admin_token: String,
}

/// A processor and when it runs.
#[derive(Serialize)]
struct ScheduleLine {
    name: String,
    schedule: Option<String>,
    cadence_seconds: Option<u32>,
    unavailable: Option<String>,
}

pub(super) fn serve(global: &GlobalArgs, arguments: &ServeArgs) -> Result<Exit, CommandFailure> {
    let secret = SchedulerSecret::parse(global.scheduler_token.as_deref())
        .map_err(|error| CommandFailure::wrong_use(error.to_string()))?;
    let pipeline = Arc::new(global.pipeline()?);
    pipeline.sweep();
    let mut service = ServiceState::new(
        Arc::clone(&pipeline),
        secret,
        Box::new(SystemRandomness),
        HttpLimits::default(),
    )?;
    let scheduler = if arguments.no_scheduler {
        None
    } else {
        let clock = Arc::clone(pipeline.clock());
        let asked = Arc::clone(&pipeline);
        let scheduler = Scheduler::new(pipeline.config(), cadences(&pipeline), clock)
            .map_err(|error| CommandFailure::wrong_use(error.to_string()))?
            .with_processor_source(move || cadences_after_examination(&asked));
        service = service.with_scheduler(scheduler.watch());
        Some(scheduler)
    };
    let service = Arc::new(service);
    let is_new = service.create_first_token()?;
    let token_path = service.admin_token_path();
    let server = Server::start(Arc::clone(&service), arguments.listen)?;
    let audit = |action: &str, params: serde_json::Value| {
        let now = pipeline.clock().now();
        let entry = AuditEntry {
            params: Some(params.to_string()),
            ..AuditEntry::new(action, "server", Actor::system(), now)
        };
        if let Err(error) = pipeline.store().audit(entry) {
            tracing::warn!("`{action}` is missing in the audit log: {error}");
        }
    };
    audit(
        "server.start",
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "url": server.url(),
            "pid": std::process::id(),
            "scheduler": !arguments.no_scheduler,
        }),
    );
    // Before anybody is told that they may send one.
    let signals = server.listen_for_signals()?;
    match scheduler {
        Some(scheduler) => server.schedule(scheduler),
        None => look_once(&pipeline)?,
    }
    let config = pipeline.config();
    let scratch = config.state_dir();
    let listed = listing::list(
        pipeline.registry(),
        config,
        Some(pipeline.store()),
        &scratch,
        pipeline.has_language_model(),
    )?;
    let started = StartMessage {
        url: server.url().to_owned(),
        data_dir: config.data_dir.display().to_string(),
        sessions: config.sessions_root.display().to_string(),
        processors: listed
            .into_iter()
            .map(|listed| ScheduleLine {
                name: listed.name,
                schedule: listed.schedule,
                cadence_seconds: listed.cadence_seconds,
                unavailable: listed.unavailable,
            })
            .collect(),
        admin_token: token_path.display().to_string(),
    };
    if global.json {
        print_json(&started)?;
    } else {
        print(&people(&started, arguments.no_scheduler))?;
    }
    if !arguments.listen.ip().is_loopback() {
        hint(&format!(
            "`{}` can be reached from other machines, and the service speaks plain HTTP: put a proxy with TLS in front of it, or listen on 127.0.0.1",
            arguments.listen
        ));
    }
    if is_new {
        hint("a first admin token was made; make one for each person, and revoke this one");
    }
    let reason = server.wait(signals, || {
        // Somebody waits for this: what is not committed rolls back at the next start.
        std::process::exit(Exit::CouldNotRun as i32);
    });
    hint("stopping");
    service.flush_denials();
    audit("server.stop", serde_json::json!({ "reason": reason }));
    let stopped = server.stop();
    if !stopped.is_complete {
        hint("runs that were still at work were cut off; the next ones go on from there");
    }
    match reason {
        None => Ok(Exit::Done),
        Some(reason) => Err(CommandFailure::could_not_run(reason)),
    }
}

/// What the scheduler would see to: what lies in the folder of processors takes over at the start.
/// A compiler may take its time, and requests are answered meanwhile.
fn look_once(pipeline: &Arc<Pipeline>) -> Result<(), CommandFailure> {
    let pipeline = Arc::clone(pipeline);
    let look = move || {
        if let Err(error) = pipeline.examine_folder(true) {
            tracing::warn!(%error, "the folder of processors can't be looked at");
        }
    };
    let thread = std::thread::Builder::new().name("look".to_owned());
    let spawned = thread.spawn(look);
    spawned.map(drop).map_err(|error| {
        CommandFailure::could_not_run(format!("the service can't start its threads ({error})"))
    })
}

fn people(started: &StartMessage, no_scheduler: bool) -> String {
    let processors = started.processors.iter().map(|runs| {
        let when = match (&runs.unavailable, &runs.schedule, runs.cadence_seconds) {
            (Some(reason), _, _) => format!("can't run: {reason}"),
            (None, Some(schedule), _) => schedule.clone(),
            (None, None, Some(seconds)) => super::processors::cadence(seconds),
            (None, None, None) => "when asked".to_owned(),
        };
        format!("{} ({when})", runs.name)
    });
    let processors = processors.collect::<Vec<_>>().join(", ");
    let printable = |text: &str| Some(session_pipeline_host::fault::printable(text));
    facts(
        "",
        &[
            ("listens", printable(&started.url)),
            ("data dir", printable(&started.data_dir)),
            ("sessions", printable(&started.sessions)),
            ("processors", printable(&processors)),
            (
                "scheduler",
                no_scheduler.then(|| "off, as asked for".to_owned()),
            ),
            ("first admin token", printable(&started.admin_token)),
        ],
    )
}
