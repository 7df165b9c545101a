//! `sessions`: lists sessions with their state per processor, and shows the details of one.

mod local;

use std::cell::RefCell;

use clap::{Args, Subcommand};
use serde::ser::{Error, SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;

use super::client::{Client, OpenMode, RouteCall};
use super::pages::page;
use super::table::{LongTable, bytes, count_of, field_list, number, timestamp};
use super::{CommandFailure, Exit, GlobalArgs, print, print_json};
use crate::body::session::{
    ProcessorDetailsBody, ProcessorStateBody, SessionBody, SessionDetailsBody, SessionState,
    SessionsBody, StateCounts,
};

use local::LocalPages;

const PATH: &str = "/api/admin/sessions";

#[derive(Debug, Subcommand)]
pub(super) enum SessionsCommand {
    /// List sessions with their state per processor
    List(SessionListArgs),
    /// Show the details of one session
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(super) struct SessionListArgs {
    /// Only list sessions of this user, which is the first folder in the session key
    #[arg(long, value_name = "USER", value_parser = super::non_empty)]
    user: Option<String>,
    /// Only list states of this processor
    #[arg(long, value_name = "NAME", value_parser = super::non_empty)]
    processor: Option<String>,
    /// Only list sessions in this state; can be repeated
    #[arg(long, value_enum, value_name = "STATE")]
    state: Vec<SessionState>,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Key of the session, from `sessions list`
    #[arg(value_name = "KEY", value_parser = super::non_empty)]
    key: String,
}

pub(super) fn sessions(
    global: &GlobalArgs,
    command: &SessionsCommand,
) -> Result<Exit, CommandFailure> {
    match command {
        SessionsCommand::List(arguments) => list(global, arguments),
        SessionsCommand::Show(arguments) => show(global, arguments),
    }
}

fn list(global: &GlobalArgs, arguments: &SessionListArgs) -> Result<Exit, CommandFailure> {
    let config = global.config()?;
    if let (Some(processor), None) = (&arguments.processor, &global.api) {
        super::registry().check_before_examination(processor, &config)?;
    }
    match global.connect(OpenMode::Existing)? {
        client @ Client::Local(_) => {
            let mut pages = LocalPages::start(client, super::no_sessions_root(&config));
            write(global, arguments, || pages.next())
        }
        client @ Client::Server(_) => {
            // The cursor of the next page. `None` after the last page.
            let mut cursor = Some(None);
            write(global, arguments, || {
                let Some(from) = cursor.take() else {
                    return Ok(Vec::new());
                };
                let page: SessionsBody = page(&client, PATH, &[], from.as_deref())?;
                cursor = page.next.map(Some);
                Ok(page.sessions)
            })
        }
    }
}

/// Writes the sessions page by page, so that a list of any length fits in memory. `next` returns an
/// empty page after the last one.
fn write(
    global: &GlobalArgs,
    arguments: &SessionListArgs,
    next: impl FnMut() -> Result<Vec<SessionBody>, CommandFailure>,
) -> Result<Exit, CommandFailure> {
    let mut pages = FilteredPages {
        next,
        arguments,
        count: 0,
        states: StateCounts::default(),
    };
    if global.json {
        let document = JsonDocument {
            pages: RefCell::new(pages),
            failure: RefCell::new(None),
        };
        let written = print_json(&document);
        if let Some(failure) = document.failure.into_inner() {
            return Err(failure);
        }
        written?;
        return Ok(Exit::Done);
    }
    let mut table = LongTable::new([
        "session",
        "size",
        "changed",
        "processor",
        "state",
        "items",
        "when",
    ]);
    while let Some(sessions) = pages.next_page()? {
        let rows: Vec<[String; 7]> = sessions.iter().flat_map(rows).collect();
        if !rows.is_empty() {
            print(&table.page(&rows))?;
        }
    }
    let states: Vec<String> = pages
        .states
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let count = count_of(pages.count, "session", "sessions");
    print(&match states.is_empty() {
        true => count,
        false => format!("{count}: {}", states.join(", ")),
    })?;
    Ok(Exit::Done)
}

/// The sessions that match the filters, page by page, and their counts so far.
struct FilteredPages<'a, F> {
    next: F,
    arguments: &'a SessionListArgs,
    count: u64,
    states: StateCounts,
}

impl<F: FnMut() -> Result<Vec<SessionBody>, CommandFailure>> FilteredPages<'_, F> {
    fn next_page(&mut self) -> Result<Option<Vec<SessionBody>>, CommandFailure> {
        let mut sessions = (self.next)()?;
        if sessions.is_empty() {
            return Ok(None);
        }
        filter_sessions(&mut sessions, self.arguments);
        self.count += sessions.len() as u64;
        self.states.add(&sessions);
        Ok(Some(sessions))
    }
}

/// The list as a JSON document that is serialized while the pages are read.
struct JsonDocument<'a, F> {
    pages: RefCell<FilteredPages<'a, F>>,
    /// The error that ended the list early, if any.
    failure: RefCell<Option<CommandFailure>>,
}

impl<F: FnMut() -> Result<Vec<SessionBody>, CommandFailure>> Serialize for JsonDocument<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("Sessions", 3)?;
        document.serialize_field("sessions", &DocumentRows(self))?;
        let pages = self.pages.borrow();
        document.serialize_field("count", &pages.count)?;
        document.serialize_field("states", &pages.states)?;
        document.end()
    }
}

struct DocumentRows<'a, 'b, F>(&'a JsonDocument<'b, F>);

impl<F: FnMut() -> Result<Vec<SessionBody>, CommandFailure>> Serialize for DocumentRows<'_, '_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(None)?;
        loop {
            let page = self.0.pages.borrow_mut().next_page();
            match page {
                Ok(None) => return rows.end(),
                Ok(Some(sessions)) => {
                    for session in &sessions {
                        rows.serialize_element(session)?;
                    }
                }
                Err(failure) => {
                    *self.0.failure.borrow_mut() = Some(failure);
                    return Err(S::Error::custom("the list ended early"));
                }
            }
        }
    }
}

/// Removes the sessions and states that do not match the filters.
fn filter_sessions(sessions: &mut Vec<SessionBody>, arguments: &SessionListArgs) {
    let matches_state =
        |state: SessionState| arguments.state.is_empty() || arguments.state.contains(&state);
    sessions.retain_mut(|session| {
        session.processors.retain(|entry| {
            let processor = arguments.processor.as_ref();
            processor.is_none_or(|name| *name == entry.processor) && matches_state(entry.state)
        });
        let user = arguments.user.as_deref();
        user.is_none_or(|user| session.user == user) && !session.processors.is_empty()
    });
}

/// One row per processor.
fn rows(session: &SessionBody) -> Vec<[String; 7]> {
    let row = |entry: &ProcessorStateBody| {
        [
            printable(&session.key),
            session.bytes.map_or_else(none, bytes),
            session.modified_at.as_deref().map_or_else(none, to_seconds),
            entry.processor.clone(),
            entry.state.as_str().to_owned(),
            entry.items.map_or_else(none, number),
            state_time(entry).map_or_else(none, to_seconds),
        ]
    };
    session.processors.iter().map(row).collect()
}

/// The time of a state: when it began, or for a waiting session, when it ends.
fn state_time(entry: &ProcessorStateBody) -> Option<&str> {
    let failure = entry.failure.as_ref();
    match entry.state {
        SessionState::Missing => entry.missing_since.as_deref(),
        SessionState::Waiting => failure.and_then(|failure| failure.next_attempt_at.as_deref()),
        SessionState::Quarantined => failure.and_then(|failure| failure.quarantined_at.as_deref()),
        SessionState::New | SessionState::Processed | SessionState::Due => {
            entry.processed_at.as_deref()
        }
    }
}

fn none() -> String {
    "-".to_owned()
}

/// An instant without its fraction of a second.
pub(super) fn to_seconds(instant: &str) -> String {
    instant
        .parse::<UtcMicros>()
        .map_or_else(|_| printable(instant), timestamp)
}

fn show(global: &GlobalArgs, arguments: &ShowArgs) -> Result<Exit, CommandFailure> {
    let call = RouteCall::get(PATH).query([("key", arguments.key.as_str())]);
    let details: SessionDetailsBody = global.connect(OpenMode::Existing)?.call(&call)?;
    if global.json {
        print_json(&details)?;
    } else {
        print(&render_details(&details))?;
    }
    Ok(Exit::Done)
}

fn render_details(session: &SessionDetailsBody) -> String {
    let file = match (session.bytes, session.modified_at.as_deref()) {
        (Some(size), Some(at)) => format!("{}, changed {}", bytes(size), to_seconds(at)),
        _ => "missing".to_owned(),
    };
    let mut text = field_list(
        "",
        &[
            ("session", Some(printable(&session.key))),
            ("user", Some(printable(&session.user))),
            ("file", Some(file)),
        ],
    );
    for processor in &session.processors {
        text.push_str(&format!("\n\n{}\n", processor.summary.processor));
        text.push_str(&field_list("  ", &processor_fields(processor)));
    }
    text
}

fn processor_fields(processor: &ProcessorDetailsBody) -> Vec<(&'static str, Option<String>)> {
    let ProcessorDetailsBody { summary, details } = processor;
    let component = details
        .component
        .as_ref()
        .map(|digest| match details.version {
            Some(version) => format!("{digest}, version {version}"),
            None => digest.clone(),
        });
    let cost = details.cost.as_ref().map(|cost| {
        format!(
            "{} fuel, {} memory, {:.1} ms CPU time, in run {}",
            number(i64::try_from(cost.fuel).unwrap_or(i64::MAX)),
            bytes(cost.peak_memory),
            cost.guest_micros as f64 / 1000.0,
            cost.run
        )
    });
    let rows = details.rows.iter().map(|(table, count)| {
        let count = number(i64::try_from(*count).unwrap_or(i64::MAX));
        format!("{table} {count}")
    });
    let rows = rows.collect::<Vec<_>>().join(", ");
    let state = summary.state.as_str();
    let failure = summary.failure.as_ref();
    let instant = |at: &Option<String>| at.as_deref().map(to_seconds);
    vec![
        (
            "state",
            Some(if details.due {
                format!("{state}, because of a request to process it again")
            } else {
                state.to_owned()
            }),
        ),
        ("missing since", instant(&summary.missing_since)),
        ("processed", instant(&summary.processed_at)),
        ("username", details.username.as_deref().map(printable)),
        ("items", summary.items.map(number)),
        ("rows", Some(rows).filter(|rows| !rows.is_empty())),
        (
            "content",
            details.hash.as_ref().map(|hash| format!("MD5 {hash}")),
        ),
        ("component", component),
        ("cost", cost),
        (
            "failed",
            failure.map(|failure| format!("{}: {}", failure.fault, failure.detail)),
        ),
        (
            "attempts",
            failure.map(|failure| {
                format!(
                    "{}, most recently at {}",
                    failure.attempts,
                    to_seconds(&failure.last_attempt_at)
                )
            }),
        ),
        (
            "next attempt",
            failure.and_then(|failure| instant(&failure.next_attempt_at)),
        ),
        (
            "quarantined",
            failure.and_then(|failure| instant(&failure.quarantined_at)),
        ),
    ]
}
