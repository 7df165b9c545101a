//! `quarantine`: the sessions that are not tried any more, and letting them out.

use clap::{Args, Subcommand};
use session_pipeline_host::fault::printable;

use super::client::{OpenMode, RouteCall};
use super::table::{LongTable, count_of};
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};
use crate::body::quarantine::{QuarantineBody, QuarantinedSessionBody, ReleaseBody};

const PATH: &str = "/api/admin/quarantine";
/// Of a fault's text, so much stands in a row of the table.
const DETAIL_CHARS_SHOWN: usize = 60;

#[derive(Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    /// List the sessions that failed too often and are not tried any more
    List(QuarantineListArgs),
    /// Let sessions out: the next run tries them, and counts their failures anew
    Release(ReleaseArgs),
}

#[derive(Debug, Args)]
pub(super) struct QuarantineListArgs {
    #[command(flatten)]
    named: NamedArgs,
}

#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    #[command(flatten)]
    named: NamedArgs,
    /// All of them
    #[arg(long, conflicts_with_all = ["processor", "session"], required_unless_present_any = ["processor", "session"])]
    all: bool,
}

#[derive(Debug, Args)]
struct NamedArgs {
    /// Those of this processor
    #[arg(long, value_name = "NAME", value_parser = super::filled)]
    processor: Option<String>,
    /// This session, by its key as `quarantine list` shows it
    #[arg(long, value_name = "KEY", value_parser = super::filled)]
    session: Option<String>,
}

impl NamedArgs {
    fn query(&self) -> Vec<(&'static str, &str)> {
        let processor = self.processor.as_deref().map(|name| ("processor", name));
        let session = self.session.as_deref().map(|key| ("session", key));
        processor.into_iter().chain(session).collect()
    }
}

pub(super) fn quarantine(
    global: &GlobalArgs,
    command: &QuarantineCommand,
) -> Result<Exit, CommandFailure> {
    match command {
        QuarantineCommand::List(arguments) => list(global, &arguments.named),
        QuarantineCommand::Release(arguments) => release(global, arguments),
    }
}

fn list(global: &GlobalArgs, named: &NamedArgs) -> Result<Exit, CommandFailure> {
    let client = global.connect(OpenMode::Existing)?;
    let listed: QuarantineBody = super::pages::all(&client, PATH, &named.query())?;
    if global.json {
        print_json(&listed)?;
    } else {
        print(&people(&listed))?;
    }
    if listed.count > 0 {
        hint(
            "they are tried again when their content or the processor changes, or after `session-pipeline quarantine release`",
        );
    }
    Ok(Exit::Done)
}

fn people(listed: &QuarantineBody) -> String {
    let count = count_of(
        listed.count as u64,
        "session in quarantine",
        "sessions in quarantine",
    );
    if listed.sessions.is_empty() {
        return count;
    }
    let rows: Vec<[String; 6]> = listed.sessions.iter().map(row).collect();
    let header = [
        "session",
        "processor",
        "since",
        "attempts",
        "fault",
        "detail",
    ];
    format!("{}\n{count}", LongTable::new(header).page(&rows))
}

fn row(held: &QuarantinedSessionBody) -> [String; 6] {
    let since = held.quarantined_at.as_deref();
    let mut detail = printable(&held.detail);
    if let Some((cut, _)) = detail.char_indices().nth(DETAIL_CHARS_SHOWN) {
        detail.truncate(cut);
        detail.push('…');
    }
    [
        printable(&held.session),
        printable(&held.processor),
        since.map_or_else(|| "-".to_owned(), super::sessions::second),
        held.attempts.to_string(),
        printable(&held.fault),
        detail,
    ]
}

fn release(global: &GlobalArgs, arguments: &ReleaseArgs) -> Result<Exit, CommandFailure> {
    let call = RouteCall::post(format!("{PATH}/release"))
        .query(arguments.named.query())
        .given("all", arguments.all.then_some("true"));
    let released: ReleaseBody = global.connect(OpenMode::Existing)?.call(&call)?;
    if global.json {
        print_json(&released)?;
    } else {
        let count = count_of(released.released, "session", "sessions");
        print(&format!("released {count}"))?;
    }
    if released.released > 0 {
        hint("the next run tries them again");
    }
    Ok(Exit::Done)
}
