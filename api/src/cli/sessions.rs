//! `sessions`: lists sessions with their state per processor, and shows the details of one.

mod filter;
mod local;
mod overview;

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, Subcommand};
use serde::ser::{Error, SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;

use super::client::{Client, OpenMode, RouteCall};
use super::pages::page;
use super::table::{LongTable, bytes, count_of, field_list, number, timestamp};
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_exact, print_json};
use crate::body::session::{
    ProcessorDetailsBody, SessionBody, SessionDetailsBody, SessionState, SessionsBody, StateCounts,
};

use filter::FilterArgs;
use local::LocalPages;

const PATH: &str = "/api/admin/sessions";

#[derive(Debug, Subcommand)]
pub(super) enum SessionsCommand {
    /// List sessions with title, project, cost and state
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
    #[command(flatten)]
    filter: FilterArgs,
    /// Also list the files of sub-agents; their cost is in the session that started them
    #[arg(long)]
    all: bool,
    /// Only the first N sessions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    top: Option<u64>,
    /// Add a column with the keys of the sessions
    #[arg(long)]
    keys: bool,
    /// Print comma-separated values for a spreadsheet
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Key of the session; or the end of the key, the name of its file, or its session id, if only one session has it
    #[arg(value_name = "SESSION", value_parser = super::non_empty)]
    key: String,
}

pub(super) fn sessions(
    global: &GlobalArgs,
    command: &SessionsCommand,
) -> Result<Exit, CommandFailure> {
    global.check_sessions_root()?;
    match command {
        SessionsCommand::List(arguments) => list(global, arguments),
        SessionsCommand::Show(arguments) => show(global, arguments),
    }
}

fn list(global: &GlobalArgs, arguments: &SessionListArgs) -> Result<Exit, CommandFailure> {
    let config = global.config()?;
    let parameters = arguments.parameters()?;
    if let (Some(processor), None) = (&arguments.processor, &global.api) {
        super::registry().check_before_examination(processor, &config)?;
    }
    let notices = Notices::default();
    match global.connect(OpenMode::Existing)? {
        client @ Client::Local(_) => {
            let no_root = super::no_sessions_root(&config);
            let mut pages = LocalPages::start(client, parameters, no_root, notices.clone());
            write(global, arguments, &notices, || pages.next())
        }
        client @ Client::Server(_) => {
            let query: Vec<(&str, &str)> = parameters
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            // Where the next page begins; `None` at the end.
            let mut cursor = Some(None);
            write(global, arguments, &notices, || {
                let Some(from) = cursor.take() else {
                    return Ok(Vec::new());
                };
                let page: SessionsBody = page(&client, PATH, &query, from.as_deref())?;
                cursor = page.next.map(Some);
                notices.add(page.notices);
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
    notices: &Notices,
    next: impl FnMut() -> Result<Vec<SessionBody>, CommandFailure>,
) -> Result<Exit, CommandFailure> {
    let mut pages = FilteredPages {
        next,
        // Programs can tell sub-agents apart.
        has_subagents: arguments.all || global.json,
        top: arguments.top.unwrap_or(u64::MAX),
        count: 0,
        hidden: 0,
        states: StateCounts::default(),
    };
    if global.json {
        let document = JsonDocument {
            pages: RefCell::new(pages),
            notices,
            failure: RefCell::new(None),
        };
        let written = print_json(&document);
        if let Some(failure) = document.failure.into_inner() {
            return Err(failure);
        }
        written?;
        return Ok(Exit::Done);
    }
    if arguments.csv {
        print_exact(&overview::csv_header())?;
        while let Some(sessions) = pages.next_page()? {
            let mut text = String::new();
            for session in &sessions {
                overview::csv_row(&mut text, session);
            }
            print_exact(&text)?;
        }
    } else {
        write_table(&mut pages, arguments)?;
    }
    notices.take().iter().for_each(|notice| hint(notice));
    if pages.hidden > 0 {
        hint(&format!(
            "{} hidden; the cost is in the sessions that started them. `--all` lists them",
            count_of(pages.hidden, "sub-agent file is", "sub-agent files are")
        ));
    }
    Ok(Exit::Done)
}

fn write_table<F: FnMut() -> Result<Vec<SessionBody>, CommandFailure>>(
    pages: &mut FilteredPages<F>,
    arguments: &SessionListArgs,
) -> Result<(), CommandFailure> {
    let now = super::now();
    let cells = |session: &SessionBody| overview::cells(session, now);
    if arguments.keys {
        let [title, project, user, agent, age, cost, messages, state] = overview::HEADER;
        let header = [
            title, project, user, agent, age, cost, messages, state, "key",
        ];
        write_rows(pages, header, |session| {
            let [title, project, user, agent, age, cost, messages, state] = cells(session);
            let key = printable(&session.key);
            [title, project, user, agent, age, cost, messages, state, key]
        })?;
    } else {
        write_rows(pages, overview::HEADER, cells)?;
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
    })
}

fn write_rows<const N: usize, F: FnMut() -> Result<Vec<SessionBody>, CommandFailure>>(
    pages: &mut FilteredPages<F>,
    header: [&'static str; N],
    cells: impl Fn(&SessionBody) -> [String; N],
) -> Result<(), CommandFailure> {
    let mut table = LongTable::new(header).with_texts(&overview::TEXT_COLUMNS);
    while let Some(sessions) = pages.next_page()? {
        let rows: Vec<[String; N]> = sessions.iter().map(&cells).collect();
        if !rows.is_empty() {
            print(&table.page(&rows))?;
        }
    }
    Ok(())
}

/// The sessions of the list, page by page, with what was counted so far.
struct FilteredPages<F> {
    next: F,
    has_subagents: bool,
    /// Maximum number of sessions.
    top: u64,
    count: u64,
    /// Files of sub-agents that are not in the pages.
    hidden: u64,
    states: StateCounts,
}

impl<F: FnMut() -> Result<Vec<SessionBody>, CommandFailure>> FilteredPages<F> {
    fn next_page(&mut self) -> Result<Option<Vec<SessionBody>>, CommandFailure> {
        if self.count >= self.top {
            return Ok(None);
        }
        let read = (self.next)()?;
        if read.is_empty() {
            return Ok(None);
        }
        let mut sessions = Vec::with_capacity(read.len());
        for session in read {
            if self.count + sessions.len() as u64 == self.top {
                break;
            }
            match self.has_subagents || !session.summary.is_subagent {
                true => sessions.push(session),
                false => self.hidden += 1,
            }
        }
        self.count += sessions.len() as u64;
        self.states.add(&sessions);
        Ok(Some(sessions))
    }
}

/// Why the list is empty. Another thread can add notices while the list is read.
#[derive(Clone, Default)]
struct Notices(Arc<Mutex<Vec<String>>>);

impl Notices {
    fn add(&self, notices: Vec<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(notices);
    }

    fn take(&self) -> Vec<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *all)
    }
}

/// The list as one JSON document that is written while it is read.
struct JsonDocument<'a, F> {
    pages: RefCell<FilteredPages<F>>,
    notices: &'a Notices,
    /// Why it ended early.
    failure: RefCell<Option<CommandFailure>>,
}

impl<F: FnMut() -> Result<Vec<SessionBody>, CommandFailure>> Serialize for JsonDocument<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("Sessions", 4)?;
        document.serialize_field("sessions", &DocumentRows(self))?;
        let pages = self.pages.borrow();
        document.serialize_field("count", &pages.count)?;
        document.serialize_field("states", &pages.states)?;
        let notices = self.notices.take();
        if !notices.is_empty() {
            document.serialize_field("notices", &notices)?;
        }
        document.end()
    }
}

struct DocumentRows<'a, F>(&'a JsonDocument<'a, F>);

impl<F: FnMut() -> Result<Vec<SessionBody>, CommandFailure>> Serialize for DocumentRows<'_, F> {
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
    let user = match &session.summary.user_email {
        Some(email) => format!("{} ({})", printable(email), printable(&session.user)),
        None => printable(&session.user),
    };
    let mut fields = vec![
        ("session", Some(printable(&session.key))),
        ("user", Some(user)),
        ("file", Some(file)),
    ];
    fields.extend(overview::facts(session));
    let mut text = field_list("", &fields);
    let runs = overview::subagent_runs(session);
    if !runs.is_empty() {
        text.push_str(&format!("\n\n{runs}"));
    }
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
