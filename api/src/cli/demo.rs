//! `demo`: serves a data directory with generated sessions.

mod browser;
mod contents;
mod folder;
mod interruption;

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use session_pipeline_harness::demo::DemoOptions;
use session_pipeline_host::fault::printable;

use super::client::Client;
use super::serve::{ServeOptions, StartMessage, scheduler_secret, serve_pipeline};
use super::table::field_list;
use super::{CommandFailure, Exit, GlobalArgs, hint, now, print, print_json};

use folder::{DemoFolder, DemoTokens};
use interruption::Interruption;

pub(super) const AFTER_HELP: &str = "Without --data-dir, the demo is in a temporary directory, which is removed at the end. A data directory must be empty, or have a demo, which is then served again. In a terminal of a desktop, the dashboard opens in the browser. Press Ctrl-C to stop.";

/// The port if none is given.
const PORT: u16 = 8080;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Port to listen on at 127.0.0.1; 0 picks any free port [default: 8080, or any free port if it is in use]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Seed of the generated sessions; the same seed generates the same sessions on the same day [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Number of session files to generate [default: 3000]
    #[arg(long = "session-count", value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    session_count: Option<u64>,
    /// Do not remove the temporary directory
    #[arg(long)]
    keep: bool,
    /// Do not open the dashboard in a browser
    #[arg(long)]
    no_browser: bool,
}

/// Printed when the server is ready.
#[derive(Serialize)]
struct DemoMessage<'a> {
    url: &'a str,
    data_dir: &'a str,
    sessions: u64,
    is_kept: bool,
    tokens: &'a DemoTokens,
}

pub(super) fn demo(global: &GlobalArgs, arguments: &DemoArgs) -> Result<Exit, CommandFailure> {
    reject_other_data(global)?;
    let interruption = Interruption::listen()?;
    let mut folder = DemoFolder::open(
        global.data_dir.as_deref(),
        arguments.keep,
        &options(arguments),
        arguments.seed.is_some() || arguments.session_count.is_some(),
    )?;
    if !folder.is_kept() {
        interruption.remove_at_exit(folder.path());
    }
    let served = serve_folder(global, arguments, &mut folder, &interruption);
    folder.close();
    served
}

/// Prepares the folder, and serves it until a signal arrives.
fn serve_folder(
    global: &GlobalArgs,
    arguments: &DemoArgs,
    folder: &mut DemoFolder,
    interruption: &Interruption,
) -> Result<Exit, CommandFailure> {
    let global = global.for_data_dir(folder.path().to_owned());
    let secret = scheduler_secret(&global)?;
    if !folder.is_complete() {
        contents::generate(folder, interruption)?;
    }
    let pipeline = Arc::new(global.pipeline()?);
    interruption.stop_with(&pipeline);
    let client = Client::over(Arc::clone(&pipeline))?;
    if !folder.is_complete() {
        let prepared = contents::process(&client, folder, interruption);
        // A run that ends early because of a signal is not the error to report.
        interruption.check()?;
        prepared?;
    }
    contents::prepare_reports(&client)?;
    drop(client);
    interruption.check()?;
    let options = ServeOptions {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port.unwrap_or(PORT))),
        listen_flag: "--port",
        uses_other_port: arguments.port.is_none(),
        removed_at_exit: (!folder.is_kept()).then(|| folder.path().to_owned()),
        metrics_listen: None,
        has_scheduler: true,
        secret,
    };
    serve_pipeline(pipeline, options, |message| {
        interruption.check()?;
        // From now on, the server handles signals.
        interruption.end();
        announce(&global, folder, message)?;
        if opens_browser(&global, arguments) {
            let url = format!("{}/", message.url);
            browser::open(&url, |name| global.environment?(name));
        }
        Ok(())
    })
}

/// A program that starts a demo, such as a test, does not expect a browser.
fn opens_browser(global: &GlobalArgs, arguments: &DemoArgs) -> bool {
    !arguments.no_browser && !global.json && std::io::stdout().is_terminal()
}

/// A demo has its own sessions, configuration and server.
fn reject_other_data(global: &GlobalArgs) -> Result<(), CommandFailure> {
    let others = [
        (global.sessions.is_some(), "--sessions", "SESSION_DATA_DIR"),
        (global.config_file.is_some(), "--config", ""),
        (global.api.is_some(), "--api", "SESSION_PIPELINE_API"),
    ];
    match others.iter().find(|(is_set, _, _)| *is_set) {
        None => Ok(()),
        Some((_, flag, variable)) => {
            let unset = match variable.is_empty() {
                true => String::new(),
                false => format!(" and unset {variable}"),
            };
            Err(CommandFailure::usage_error(format!(
                "`demo` generates its own data; omit {flag}{unset}"
            )))
        }
    }
}

fn options(arguments: &DemoArgs) -> DemoOptions {
    let defaults = DemoOptions::default();
    DemoOptions {
        seed: arguments.seed.unwrap_or(defaults.seed),
        sessions: arguments.session_count.unwrap_or(defaults.sessions),
        end: folder::hour_of(now()),
        ..defaults
    }
}

fn announce(
    global: &GlobalArgs,
    folder: &DemoFolder,
    message: &StartMessage,
) -> Result<(), CommandFailure> {
    let data_dir = folder.path().display().to_string();
    let message = DemoMessage {
        url: &message.url,
        data_dir: &data_dir,
        sessions: folder.options().sessions,
        is_kept: folder.is_kept(),
        tokens: folder.tokens(),
    };
    if global.json {
        return print_json(&message);
    }
    print(&render(&message))?;
    if !message.is_kept {
        hint("the data directory is removed at the end; use --keep to keep it");
    }
    Ok(())
}

fn render(message: &DemoMessage<'_>) -> String {
    let DemoMessage { url, tokens, .. } = message;
    let data_dir = printable(message.data_dir);
    let fields = field_list(
        "",
        &[
            ("dashboard", Some(format!("{url}/"))),
            ("admin token", Some(tokens.admin.clone())),
            ("analyst token", Some(tokens.analyst.clone())),
            ("member token", Some(tokens.member.clone())),
            ("sessions", Some(message.sessions.to_string())),
            ("data directory", Some(data_dir.clone())),
        ],
    );
    format!(
        "{fields}\n\nOpen the dashboard and sign in with a token, or try in another terminal:\n  \
         session-pipeline --data-dir {data_dir} report usage --by model\n  \
         session-pipeline --data-dir {data_dir} sessions list --sort cost\n  \
         session-pipeline --data-dir {data_dir} quarantine list\n  \
         curl -H 'Authorization: Bearer {}' '{url}/api/usage/summary?by=user'\n\n\
         Press Ctrl-C to stop.",
        tokens.analyst
    )
}
