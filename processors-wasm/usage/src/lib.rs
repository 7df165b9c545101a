//! The shipped processor `usage`: tokens, tools and time of a session.
//!
//! It says what one file holds, and counts no money: what of it is new in the light of other
//! files, and what it cost, are views over these rows. The same bytes always give the same rows.
//!
//! One pass gathers, one emits: the tokens of a message, the outcome of a call and the first
//! readable time may all stand behind the line that needs them. What is gathered is kept small
//! ([`strings`]), since a transcript may be larger than the memory of a guest.
//!
//! [`messages`], [`events`] and [`sessions`] hold one table each; [`identity`] names what is in them
//! across files, [`place`] says where and when a row belongs, [`commands`] which commands were
//! given, [`errors`] how a tool failed, [`prompts`] what a person typed,
//! [`activity`] how long somebody was at work, [`journal`] which files are no transcripts.

pub mod activity;
pub mod commands;
pub mod errors;
pub mod events;
pub mod identity;
pub mod journal;
pub mod messages;
pub mod place;
pub mod prompts;
pub mod sessions;
pub mod strings;

use session_pipeline_processor::transcript::Entry;
use session_pipeline_processor::{
    Manifest, Processor, Session, Settings, Summary, Timestamp, export,
};

use crate::events::{EventRow, Events};
use crate::identity::Keys;
use crate::messages::{Line, MessageRow, Messages};
use crate::place::Places;
use crate::sessions::{Counts, SessionRow};
use crate::strings::Strings;

/// Raised whenever the same transcript would give other rows than before.
pub const VERSION: u32 = 3;

/// How much of a text tells whether a person typed it: longer than any tag, and than the white
/// space that agents put before one. Whole texts may be long, and are not worth decoding for it.
const BEGINNING_BYTES: usize = 512;

/// The processor.
pub struct Usage;

export!(Usage);

impl Processor for Usage {
    fn manifest(_: &Settings) -> Result<Manifest, String> {
        let description = "Counts the tokens, tool calls, prompts and time of each session.";
        Ok(Manifest::new("usage", VERSION, description)
            .every_seconds(600)
            .table::<EventRow>()
            .keep_superseded::<EventRow>(&["event_key", "tool_id"])
            .table::<MessageRow>()
            .keep_superseded::<MessageRow>(&["response_key", "message_id"])
            .table::<SessionRow>())
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        if journal::is_journal(&session.info().key) {
            return Ok(Summary::items(0));
        }
        let mut gathered = Gathered::new(&session.info().key);
        let tally = session
            .transcript()
            .for_each(|line, entry| gathered.add(line, entry));

        let owner = gathered.owner(session);
        let mut table = session.table();
        for row in gathered.messages.rows(&owner) {
            table.insert(row);
        }
        drop(table);
        let mut table = session.table();
        for row in gathered.events.rows(&owner) {
            table.insert(row);
        }
        drop(table);
        let row = gathered.counts.row(&owner, &gathered, tally);
        session.table().insert(row);
        Ok(Summary::items(gathered.events.len() as u64))
    }
}

/// All that a transcript has told so far.
pub struct Gathered {
    strings: Strings,
    places: Places,
    messages: Messages,
    events: Events,
    counts: Counts,
}

/// What all rows of a session share.
pub struct Owner<'a> {
    strings: &'a Strings,
    /// The first `sessionId` of the file, or else its key.
    session_id: &'a str,
    username: &'a str,
    /// The directory in which the session began.
    cwd: Option<&'a str>,
    /// The first readable time of the file: that of whatever stands before it.
    first_time: Option<Timestamp>,
    /// The latest time in the file.
    last_time: Option<Timestamp>,
}

impl Gathered {
    /// Of a session of this key, nothing yet.
    pub fn new(session_key: &str) -> Self {
        Self {
            strings: Strings::default(),
            places: Places::default(),
            messages: Messages::new(Keys::new(session_key)),
            events: Events::new(Keys::new(session_key)),
            counts: Counts::default(),
        }
    }

    fn add(&mut self, line: u64, entry: &Entry<'_>) {
        let strings = &mut self.strings;
        let place = self.places.enter(line, entry);
        if self.counts.add(strings, entry) {
            self.messages.prompted();
        }
        let own = Line {
            uuid: entry.uuid,
            request_id: entry.request_id,
            is_sidechain: entry.is_sidechain,
            is_api_error: entry.is_api_error,
        };
        let own = entry.message.iter().map(|message| (own, message));
        let of_sub_agents = entry.sub_agents().filter_map(|sub_entry| {
            let line = Line {
                uuid: sub_entry.uuid.or(entry.uuid),
                request_id: sub_entry.request_id,
                is_sidechain: true,
                is_api_error: sub_entry.is_api_error,
            };
            Some((line, sub_entry.message.as_ref()?))
        });
        for (line, message) in own.chain(of_sub_agents) {
            let response = self.messages.add(strings, &place, line, message);
            let response = response.and_then(|at| self.messages.identity(at));
            self.events
                .add_message(strings, &place, entry, line, message, response);
        }
        self.events.add_own(strings, &place, entry);
    }

    fn owner<'a>(&'a self, session: &Session<'a>) -> Owner<'a> {
        let info = session.info();
        let session_id = self.counts.session_id.map(|id| self.strings.get(id));
        Owner {
            strings: &self.strings,
            session_id: session_id.unwrap_or(&info.key),
            username: &info.username,
            cwd: self.counts.cwd.map(|cwd| self.strings.get(cwd)),
            first_time: self.places.first_time(),
            last_time: self.counts.last_time(),
        }
    }
}
