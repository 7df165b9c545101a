//! `sessions`: which there are, and how each stands with every processor.

mod local;

use std::cell::RefCell;

use clap::{Args, Subcommand};
use serde::ser::{Error, SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;

use super::client::{Client, OpenMode, RouteCall};
use super::pages::page;
use super::table::{LongTable, bytes, count_of, facts, moment, number};
use super::{CommandFailure, Exit, GlobalArgs, print, print_json};
use crate::body::session::{
    ProcessorDetailsBody, ProcessorStateBody, SessionBody, SessionDetailsBody, SessionState,
    SessionsBody, StateCounts,
};

use local::LocalPages;

const PATH: &str = "/api/admin/sessions";

#[derive(Debug, Subcommand)]
pub(super) enum SessionsCommand {
    /// List the sessions, and how each stands with every processor
    List(SessionListArgs),
    /// Show everything that is known of one session
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(super) struct SessionListArgs {
    /// Only sessions of this user: the first folder of their keys
    #[arg(long, value_name = "USER", value_parser = super::filled)]
    user: Option<String>,
    /// Only how they stand with this processor
    #[arg(long, value_name = "NAME", value_parser = super::filled)]
    processor: Option<String>,
    /// Only those that stand so; may be given several times
    #[arg(long, value_enum, value_name = "STATE")]
    state: Vec<SessionState>,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The session's key, as `sessions list` shows it
    #[arg(value_name = "KEY", value_parser = super::filled)]
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
            // Where the next page begins; `None` at the end.
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

/// Writes sessions as they come, so that no list is too long; `next` gives none at the end.
fn write(
    global: &GlobalArgs,
    arguments: &SessionListArgs,
    next: impl FnMut() -> Result<Vec<SessionBody>, CommandFailure>,
) -> Result<Exit, CommandFailure> {
    let mut listed = ListedPages {
        next,
        arguments,
        count: 0,
        states: StateCounts::default(),
    };
    if global.json {
        let document = JsonDocument {
            listed: RefCell::new(listed),
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
    while let Some(sessions) = listed.page()? {
        let rows: Vec<[String; 7]> = sessions.iter().flat_map(rows).collect();
        if !rows.is_empty() {
            print(&table.page(&rows))?;
        }
    }
    let states: Vec<String> = listed
        .states
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let count = count_of(listed.count, "session", "sessions");
    print(&match states.is_empty() {
        true => count,
        false => format!("{count}: {}", states.join(", ")),
    })?;
    Ok(Exit::Done)
}

/// The sessions that were asked for, page by page, with what was counted so far.
struct ListedPages<'a, F> {
    next: F,
    arguments: &'a SessionListArgs,
    count: u64,
    states: StateCounts,
}

impl<F: FnMut() -> Result<Vec<SessionBody>, CommandFailure>> ListedPages<'_, F> {
    fn page(&mut self) -> Result<Option<Vec<SessionBody>>, CommandFailure> {
        let mut sessions = (self.next)()?;
        if sessions.is_empty() {
            return Ok(None);
        }
        narrow(&mut sessions, self.arguments);
        self.count += sessions.len() as u64;
        self.states.add(&sessions);
        Ok(Some(sessions))
    }
}

/// The list as one JSON document that is written while it is read.
struct JsonDocument<'a, F> {
    listed: RefCell<ListedPages<'a, F>>,
    /// Why it ended early.
    failure: RefCell<Option<CommandFailure>>,
}

impl<F: FnMut() -> Result<Vec<SessionBody>, CommandFailure>> Serialize for JsonDocument<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("Sessions", 3)?;
        document.serialize_field("sessions", &DocumentRows(self))?;
        let listed = self.listed.borrow();
        document.serialize_field("count", &listed.count)?;
        document.serialize_field("states", &listed.states)?;
        document.end()
    }
}

struct DocumentRows<'a, 'b, F>(&'a JsonDocument<'b, F>);

impl<F: FnMut() -> Result<Vec<SessionBody>, CommandFailure>> Serialize for DocumentRows<'_, '_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(None)?;
        loop {
            let page = self.0.listed.borrow_mut().page();
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

/// Leaves what was asked for: sessions of the user, and of them only the states that fit.
fn narrow(sessions: &mut Vec<SessionBody>, arguments: &SessionListArgs) {
    let is_wanted =
        |state: SessionState| arguments.state.is_empty() || arguments.state.contains(&state);
    sessions.retain_mut(|session| {
        session.processors.retain(|known| {
            let only = arguments.processor.as_ref();
            only.is_none_or(|only| *only == known.processor) && is_wanted(known.state)
        });
        let user = arguments.user.as_deref();
        user.is_none_or(|user| session.user == user) && !session.processors.is_empty()
    });
}

/// A row for each processor.
fn rows(session: &SessionBody) -> Vec<[String; 7]> {
    let row = |known: &ProcessorStateBody| {
        [
            printable(&session.key),
            session.bytes.map_or_else(none, bytes),
            session.modified_at.as_deref().map_or_else(none, second),
            known.processor.clone(),
            known.state.as_str().to_owned(),
            known.items.map_or_else(none, number),
            when(known).map_or_else(none, second),
        ]
    };
    session.processors.iter().map(row).collect()
}

/// The time that goes with a state: since when, or, for one that waits, until when.
fn when(known: &ProcessorStateBody) -> Option<&str> {
    let failure = known.failure.as_ref();
    match known.state {
        SessionState::Missing => known.missing_since.as_deref(),
        SessionState::Waiting => failure.and_then(|failure| failure.next_attempt_at.as_deref()),
        SessionState::Quarantined => failure.and_then(|failure| failure.quarantined_at.as_deref()),
        SessionState::New | SessionState::Processed | SessionState::Due => {
            known.processed_at.as_deref()
        }
    }
}

fn none() -> String {
    "-".to_owned()
}

/// An instant to the second, as people read it.
pub(super) fn second(instant: &str) -> String {
    instant
        .parse::<UtcMicros>()
        .map_or_else(|_| printable(instant), moment)
}

fn show(global: &GlobalArgs, arguments: &ShowArgs) -> Result<Exit, CommandFailure> {
    let call = RouteCall::get(PATH).query([("key", arguments.key.as_str())]);
    let shown: SessionDetailsBody = global.connect(OpenMode::Existing)?.call(&call)?;
    if global.json {
        print_json(&shown)?;
    } else {
        print(&shown_people(&shown))?;
    }
    Ok(Exit::Done)
}

fn shown_people(shown: &SessionDetailsBody) -> String {
    let file = match (shown.bytes, shown.modified_at.as_deref()) {
        (Some(size), Some(at)) => format!("{}, changed {}", bytes(size), second(at)),
        _ => "gone".to_owned(),
    };
    let mut text = facts(
        "",
        &[
            ("session", Some(printable(&shown.key))),
            ("user", Some(printable(&shown.user))),
            ("file", Some(file)),
        ],
    );
    for known in &shown.processors {
        text.push_str(&format!("\n\n{}\n", known.summary.processor));
        text.push_str(&facts("  ", &processor_facts(known)));
    }
    text
}

fn processor_facts(known: &ProcessorDetailsBody) -> Vec<(&'static str, Option<String>)> {
    let ProcessorDetailsBody { summary, details } = known;
    let component = details
        .component
        .as_ref()
        .map(|digest| match details.version {
            Some(version) => format!("{digest}, version {version}"),
            None => digest.clone(),
        });
    let cost = details.cost.as_ref().map(|cost| {
        format!(
            "{} fuel, {} of memory, {:.1} ms of CPU time, in run {}",
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
    let word = summary.state.as_str();
    let failure = summary.failure.as_ref();
    let instant = |at: &Option<String>| at.as_deref().map(second);
    vec![
        (
            "state",
            Some(if details.due {
                format!("{word}, as somebody asked for it")
            } else {
                word.to_owned()
            }),
        ),
        ("missing since", instant(&summary.missing_since)),
        ("processed", instant(&summary.processed_at)),
        ("for", details.username.as_deref().map(printable)),
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
                    "{}, the last {}",
                    failure.attempts,
                    second(&failure.last_attempt_at)
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
