//! `sessions`: which there are, and how each stands with every processor.

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use session_pipeline_runtime::clock::UtcMicros;
use session_pipeline_runtime::fault::printable;
use session_pipeline_runtime::sessions::Observed;
use session_pipeline_runtime::sessions::listing::{
    self, ListedSession, ListedState, Listing, SessionDetails, ShownSession, State,
};
use session_pipeline_runtime::store::Store;

use super::table::{bytes, count_of, facts, long_table, moment, number};
use super::{Exit, Failure, Global, hint, print, print_json};

/// Notes shown to a person.
const NOTES_SHOWN: usize = 10;

#[derive(Debug, Subcommand)]
pub(super) enum SessionsCommand {
    /// List the sessions, and how each stands with every processor
    List(ListArgs),
    /// Show everything that is known of one session
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only sessions of this user: the first folder of their keys
    #[arg(long, value_name = "USER", value_parser = super::filled)]
    user: Option<String>,
    /// Only how they stand with this processor
    #[arg(long, value_name = "NAME", value_parser = super::filled)]
    processor: Option<String>,
    /// Only those that stand so; may be given several times
    #[arg(long, value_enum, value_name = "STATE")]
    state: Vec<Wanted>,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The session's key, as `sessions list` shows it
    #[arg(value_name = "KEY", value_parser = super::filled)]
    key: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Wanted {
    /// Never processed
    New,
    /// Processed as they are now
    Processed,
    /// Looked at by the next run
    Due,
    /// Failed, and waiting to be tried again
    Waiting,
    /// Failed too often, and not tried any more
    Quarantined,
    /// Known, but their file is gone
    Missing,
}

impl Wanted {
    fn state(self) -> State {
        match self {
            Self::New => State::New,
            Self::Processed => State::Processed,
            Self::Due => State::Due,
            Self::Waiting => State::Waiting,
            Self::Quarantined => State::Quarantined,
            Self::Missing => State::Missing,
        }
    }
}

pub(super) fn sessions(global: &Global, command: &SessionsCommand) -> Result<Exit, Failure> {
    match command {
        SessionsCommand::List(arguments) => list(global, arguments),
        SessionsCommand::Show(arguments) => show(global, arguments),
    }
}

fn list(global: &Global, arguments: &ListArgs) -> Result<Exit, Failure> {
    let config = &global.config()?;
    let registry = super::registry();
    if let Some(processor) = &arguments.processor {
        registry.component(processor)?;
    }
    let now = super::now();
    let store = Store::open_existing(config, now)?;
    let mut listing = listing::list(config, &registry, store.as_ref(), now)?;
    narrow(&mut listing, arguments);
    if global.json {
        print_list(&listing)?;
    } else {
        print(&people(&listing))?;
    }
    if !listing.has_root {
        hint(&super::no_sessions_root(config));
    }
    for note in listing.notes.iter().take(NOTES_SHOWN) {
        hint(&format!("passed over `{}`: {}", note.path, note.reason));
    }
    Ok(Exit::Done)
}

/// Leaves what was asked for: sessions of the user, and of them only the states that fit.
fn narrow(listing: &mut Listing, arguments: &ListArgs) {
    let is_wanted = |state: State| {
        let mut wanted = arguments.state.iter();
        arguments.state.is_empty() || wanted.any(|wanted| wanted.state() == state)
    };
    listing.sessions.retain_mut(|session| {
        let user = arguments.user.as_deref();
        session.processors.retain(|known| {
            let only = arguments.processor.as_ref();
            only.is_none_or(|only| **only == *known.processor) && is_wanted(known.state)
        });
        user.is_none_or(|user| user_of(&session.key) == user) && !session.processors.is_empty()
    });
}

fn user_of(key: &str) -> &str {
    key.split('/').next().unwrap_or_default()
}

/// How many sessions stand how; one that stands in two ways with two processors counts in both.
fn counts(listing: &Listing) -> BTreeMap<State, u64> {
    let mut counts = BTreeMap::new();
    for session in &listing.sessions {
        for known in &session.processors {
            *counts.entry(known.state).or_default() += 1;
        }
    }
    counts
}

/// The document of `sessions list --json`.
#[derive(Serialize)]
struct ListDocument<'a> {
    sessions: &'a [SessionDocument<'a>],
    count: usize,
    states: BTreeMap<&'static str, u64>,
}

/// A session in a document. Borrowed and in order: there may be very many.
#[derive(Serialize)]
struct SessionDocument<'a> {
    key: &'a str,
    user: &'a str,
    bytes: Option<u64>,
    modified_at: Option<String>,
    processors: Vec<StateDocument<'a>>,
}

#[derive(Serialize)]
struct StateDocument<'a> {
    processor: &'a str,
    state: State,
    items: Option<i64>,
    processed_at: Option<String>,
    missing_since: Option<String>,
    failure: Option<FailureDocument<'a>>,
    /// Only where one session is shown.
    #[serde(flatten)]
    details: Option<DetailsDocument<'a>>,
}

#[derive(Serialize)]
struct FailureDocument<'a> {
    fault: &'static str,
    detail: &'a str,
    attempts: u32,
    last_attempt_at: String,
    next_attempt_at: Option<String>,
    quarantined_at: Option<String>,
}

#[derive(Serialize)]
struct DetailsDocument<'a> {
    username: Option<&'a str>,
    hash: Option<String>,
    due: bool,
    component: Option<&'a str>,
    version: Option<u32>,
    cost: Option<CostDocument<'a>>,
    rows: BTreeMap<&'a str, u64>,
}

#[derive(Serialize)]
struct CostDocument<'a> {
    run: &'a str,
    fuel: u64,
    peak_memory: u64,
    bytes: u64,
    guest_micros: u64,
}

fn print_list(listing: &Listing) -> Result<(), Failure> {
    let sessions: Vec<_> = listing.sessions.iter().map(session_document).collect();
    let states = counts(listing).into_iter();
    print_json(&ListDocument {
        sessions: &sessions,
        count: sessions.len(),
        states: states
            .map(|(state, count)| (state.as_str(), count))
            .collect(),
    })
}

fn session_document(session: &ListedSession) -> SessionDocument<'_> {
    SessionDocument {
        key: &session.key,
        user: user_of(&session.key),
        bytes: session.file.map(|file| file.size),
        modified_at: session.file.map(|file| modified(&file).to_string()),
        processors: session.processors.iter().map(state_document).collect(),
    }
}

fn state_document(known: &ListedState) -> StateDocument<'_> {
    let text = |at: Option<UtcMicros>| at.map(|at| at.to_string());
    StateDocument {
        processor: &known.processor,
        state: known.state,
        items: known.items,
        processed_at: text(known.processed_at),
        missing_since: text(known.missing_since),
        failure: known.failure.as_ref().map(|failure| FailureDocument {
            fault: failure.fault.kind.as_str(),
            detail: &failure.fault.detail,
            attempts: failure.failures.attempts,
            last_attempt_at: failure.last_attempt_at.to_string(),
            next_attempt_at: text(failure.failures.next_attempt_at),
            quarantined_at: text(failure.failures.quarantined_at),
        }),
        details: None,
    }
}

fn details_document(details: &SessionDetails) -> DetailsDocument<'_> {
    let state = details.state.as_ref();
    DetailsDocument {
        username: state.map(|state| state.username.as_str()),
        hash: state.and_then(|state| Some(state.known.hash?.to_string())),
        due: state.is_some_and(|state| state.known.is_due),
        component: details.component.as_deref(),
        version: details.version,
        cost: details.cost.as_ref().map(|cost| CostDocument {
            run: &cost.run_id,
            fuel: cost.cost.fuel,
            peak_memory: cost.cost.peak_memory,
            bytes: cost.cost.bytes,
            guest_micros: cost.cost.guest_micros,
        }),
        rows: details
            .rows
            .iter()
            .map(|(table, count)| (table.as_str(), *count))
            .collect(),
    }
}

fn modified(file: &Observed) -> UtcMicros {
    UtcMicros(file.mtime_ns.div_euclid(1000))
}

fn people(listing: &Listing) -> String {
    let rows: Vec<[String; 7]> = listing
        .sessions
        .iter()
        .flat_map(|session| session.processors.iter().map(move |known| (session, known)))
        .map(|(session, known)| {
            let file = session.file;
            [
                printable(&session.key),
                file.map_or_else(none, |file| bytes(file.size)),
                file.map_or_else(none, |file| moment(modified(&file))),
                known.processor.to_string(),
                known.state.as_str().to_owned(),
                known.items.map_or_else(none, number),
                when(known).map_or_else(none, moment),
            ]
        })
        .collect();
    let states: Vec<String> = counts(listing)
        .into_iter()
        .map(|(state, count)| format!("{count} {}", state.as_str()))
        .collect();
    let count = count_of(listing.sessions.len() as u64, "session", "sessions");
    if states.is_empty() {
        return count;
    }
    let header = [
        "session",
        "size",
        "changed",
        "processor",
        "state",
        "items",
        "when",
    ];
    format!(
        "{}\n{count}: {}",
        long_table(header, &rows),
        states.join(", ")
    )
}

/// The time that goes with a state: since when, or, for one that waits, until when.
fn when(known: &ListedState) -> Option<UtcMicros> {
    let failures = known.failure.as_ref().map(|failure| failure.failures);
    match known.state {
        State::Missing => known.missing_since,
        State::Waiting => failures.and_then(|failures| failures.next_attempt_at),
        State::Quarantined => failures.and_then(|failures| failures.quarantined_at),
        State::New | State::Processed | State::Due => known.processed_at,
    }
}

fn none() -> String {
    "-".to_owned()
}

fn show(global: &Global, arguments: &ShowArgs) -> Result<Exit, Failure> {
    let config = &global.config()?;
    let now = super::now();
    let store = Store::open_existing(config, now)?;
    let shown = listing::show(
        config,
        &super::registry(),
        store.as_ref(),
        &arguments.key,
        now,
    )?;
    if global.json {
        print_shown(&shown)?;
    } else {
        print(&shown_people(&shown))?;
    }
    Ok(Exit::Done)
}

fn print_shown(shown: &ShownSession) -> Result<(), Failure> {
    let mut document = session_document(&shown.listed);
    for state in &mut document.processors {
        state.details = shown.details.get(state.processor).map(details_document);
    }
    print_json(&document)
}

fn shown_people(shown: &ShownSession) -> String {
    let listed = &shown.listed;
    let file = listed.file.map_or_else(
        || "gone".to_owned(),
        |file| format!("{}, changed {}", bytes(file.size), moment(modified(&file))),
    );
    let mut text = facts(
        "",
        &[
            ("session", Some(printable(&listed.key))),
            ("user", Some(printable(user_of(&listed.key)))),
            ("file", Some(file)),
        ],
    );
    for known in &listed.processors {
        let processor = known.processor.as_ref();
        let details = shown.details.get(processor);
        text.push_str(&format!("\n\n{processor}\n"));
        text.push_str(&facts("  ", &processor_facts(known, details)));
    }
    text
}

fn processor_facts(
    known: &ListedState,
    details: Option<&SessionDetails>,
) -> Vec<(&'static str, Option<String>)> {
    let state = details.and_then(|details| details.state.as_ref());
    let asked = state.is_some_and(|state| state.known.is_due);
    let component = details.and_then(|details| {
        let digest = details.component.as_ref()?;
        Some(match details.version {
            Some(version) => format!("{digest}, version {version}"),
            None => digest.clone(),
        })
    });
    let cost = details.and_then(|details| details.cost.as_ref());
    let cost = cost.map(|cost| {
        format!(
            "{} fuel, {} of memory, {:.1} ms of CPU time, in run {}",
            number(i64::try_from(cost.cost.fuel).unwrap_or(i64::MAX)),
            bytes(cost.cost.peak_memory),
            cost.cost.guest_micros as f64 / 1000.0,
            cost.run_id
        )
    });
    let rows = details.map(|details| {
        let rows = details.rows.iter();
        rows.map(|(table, count)| {
            let count = number(i64::try_from(*count).unwrap_or(i64::MAX));
            format!("{table} {count}")
        })
        .collect::<Vec<_>>()
        .join(", ")
    });
    let word = known.state.as_str();
    let failure = known.failure.as_ref();
    vec![
        (
            "state",
            Some(if asked {
                format!("{word}, as somebody asked for it")
            } else {
                word.to_owned()
            }),
        ),
        ("missing since", known.missing_since.map(moment)),
        ("processed", known.processed_at.map(moment)),
        ("for", state.map(|state| printable(&state.username))),
        ("items", known.items.map(number)),
        ("rows", rows.filter(|rows| !rows.is_empty())),
        (
            "content",
            state.and_then(|state| Some(format!("MD5 {}", state.known.hash?))),
        ),
        ("component", component),
        ("cost", cost),
        ("failed", failure.map(|failure| failure.fault.to_string())),
        (
            "attempts",
            failure.map(|failure| {
                format!(
                    "{}, the last {}",
                    failure.failures.attempts,
                    moment(failure.last_attempt_at)
                )
            }),
        ),
        (
            "next attempt",
            failure.and_then(|failure| failure.failures.next_attempt_at.map(moment)),
        ),
        (
            "quarantined",
            failure.and_then(|failure| failure.failures.quarantined_at.map(moment)),
        ),
    ]
}
