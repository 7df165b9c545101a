//! `quarantine`: lists and releases quarantined sessions.

use clap::{Args, Subcommand};
use session_pipeline_host::fault::printable;

use super::client::{OpenMode, RouteCall};
use super::table::{LongTable, count_of};
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};
use crate::body::quarantine::{QuarantineBody, QuarantinedSessionBody, ReleaseBody};

const PATH: &str = "/api/admin/quarantine";
/// Maximum number of characters of a failure detail in a table row.
const DETAIL_CHARS_SHOWN: usize = 60;

#[derive(Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    /// List sessions that failed too often and are no longer retried
    List(QuarantineListArgs),
    /// Release sessions, so that the next run retries them; their failure counts restart at zero
    Release(ReleaseArgs),
}

#[derive(Debug, Args)]
pub(super) struct QuarantineListArgs {
    #[command(flatten)]
    selection: SelectionArgs,
}

#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// All quarantined sessions
    #[arg(long, conflicts_with_all = ["processor", "session"], required_unless_present_any = ["processor", "session"])]
    all: bool,
}

#[derive(Debug, Args)]
struct SelectionArgs {
    /// Sessions of this processor
    #[arg(long, value_name = "NAME", value_parser = super::non_empty)]
    processor: Option<String>,
    /// Key of a session, from `quarantine list`
    #[arg(long, value_name = "KEY", value_parser = super::non_empty)]
    session: Option<String>,
}

impl SelectionArgs {
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
        QuarantineCommand::List(arguments) => list(global, &arguments.selection),
        QuarantineCommand::Release(arguments) => release(global, arguments),
    }
}

fn list(global: &GlobalArgs, selection: &SelectionArgs) -> Result<Exit, CommandFailure> {
    let client = global.connect(OpenMode::Existing)?;
    let body: QuarantineBody = super::pages::all(&client, PATH, &selection.query())?;
    if global.json {
        print_json(&body)?;
    } else {
        print(&render(&body))?;
    }
    if body.count > 0 {
        hint(
            "a session is retried when its content or the processor changes, or after `session-pipeline quarantine release`",
        );
    }
    Ok(Exit::Done)
}

fn render(body: &QuarantineBody) -> String {
    let count = count_of(
        body.count as u64,
        "quarantined session",
        "quarantined sessions",
    );
    if body.sessions.is_empty() {
        return count;
    }
    let rows: Vec<[String; 6]> = body.sessions.iter().map(row).collect();
    let header = [
        "session",
        "processor",
        "since",
        "attempts",
        "fault",
        "detail",
    ];
    let mut table = LongTable::new(header).with_texts(&["detail"]);
    format!("{}\n{count}", table.page(&rows))
}

fn row(session: &QuarantinedSessionBody) -> [String; 6] {
    let since = session.quarantined_at.as_deref();
    let mut detail = printable(&session.detail);
    if let Some((cut, _)) = detail.char_indices().nth(DETAIL_CHARS_SHOWN) {
        detail.truncate(cut);
        detail.push('…');
    }
    [
        printable(&session.session),
        printable(&session.processor),
        since.map_or_else(|| "-".to_owned(), super::sessions::to_seconds),
        session.attempts.to_string(),
        printable(&session.fault),
        detail,
    ]
}

fn release(global: &GlobalArgs, arguments: &ReleaseArgs) -> Result<Exit, CommandFailure> {
    let call = RouteCall::post(format!("{PATH}/release"))
        .query(arguments.selection.query())
        .optional("all", arguments.all.then_some("true"));
    let released: ReleaseBody = global.connect(OpenMode::Existing)?.call(&call)?;
    if global.json {
        print_json(&released)?;
    } else {
        let count = count_of(released.released, "session", "sessions");
        print(&format!("released {count}"))?;
    }
    if released.released > 0 {
        hint("the next run retries them");
    }
    Ok(Exit::Done)
}
