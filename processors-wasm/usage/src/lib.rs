//! The shipped processor `usage`: tokens, tools and working time of a session.
//!
//! It records the content of one file, without costs. Views over its rows determine which data is
//! new compared to other files, and what it cost. The same bytes always produce the same rows.
//!
//! The processor collects data in one pass and then emits rows, because the tokens of a message,
//! the result of a call and the first valid timestamp can come after the line that needs them.
//! Collected data is compact ([`strings`]), because a transcript can be larger than the memory of a
//! guest. They are also the state of a checkpoint ([`state`]), from which a session that has grown is
//! continued.
//!
//! [`messages`], [`events`], [`sessions`], [`agent_runs`], [`agent_totals`], [`unknown_kinds`] and
//! [`waste`] each produce one table. [`identity`] identifies objects across files, [`place`]
//! provides the place and time of a row, [`causes`] and [`turns`] determine why a message was
//! requested, [`agents`] assigns lines to agents and to the responses before them, [`calls`] follows
//! calls to their results, [`errors`] classifies tool failures
//! and [`api_errors`] those of the API, [`prompts`] counts prompts, [`activity`] computes working
//! time, [`items`] takes the sessions of agents other than
//! Claude Code, [`metadata`], [`project`], [`pull_requests`] and [`titles`] describe the session, [`numbers`]
//! reads what the agent counted, and [`journal`] detects files that are not transcripts.

pub mod activity;
pub mod agent_runs;
pub mod agent_totals;
pub mod agents;
pub mod api_errors;
pub mod calls;
pub mod causes;
pub mod errors;
pub mod events;
pub mod identity;
pub mod index;
pub mod items;
pub mod journal;
pub mod messages;
pub mod metadata;
pub mod numbers;
pub mod place;
pub mod project;
pub mod prompts;
pub mod pull_requests;
pub mod sessions;
pub mod state;
pub mod strings;
#[cfg(test)]
mod testing;
pub mod titles;
pub mod turns;
pub mod unknown_kinds;
pub mod waste;

use serde::{Deserialize, Serialize};
use session_pipeline_processor::activity::CodingAgent;
use session_pipeline_processor::transcript::{Entry, Kind, Tally, Transcript};
use session_pipeline_processor::{
    Manifest, Processor, Resumable, Session, Settings, Summary, Timestamp, export, table,
};

use crate::agent_runs::AgentRunRow;
use crate::agent_totals::AgentTotalRow;
use crate::agents::Agents;
use crate::calls::{CallingResponse, Calls};
use crate::events::{Caller, EventRow, Events};
use crate::identity::Keys;
use crate::messages::{Line, MessageRow, Messages};
use crate::metadata::SessionMetadata;
use crate::place::Places;
use crate::sessions::{Counts, SessionRow};
use crate::strings::Strings;
use crate::unknown_kinds::{UnknownKindRow, UnknownKinds};
use crate::waste::{Waste, WasteRow};

/// Raise it when the same transcript produces other rows than before.
pub const VERSION: u32 = 6;

/// Number of bytes that are decoded to decide whether a person typed a text. Longer than any tag,
/// and than the white space that agents write before one. Texts can be long, so they are not
/// decoded completely.
const BEGINNING_BYTES: usize = 512;

/// The processor.
pub struct Usage;

export!(resumable Usage);

impl Processor for Usage {
    fn manifest(_: &Settings) -> Result<Manifest, String> {
        let description = "Counts the tokens, tool calls, prompts and time of each session.";
        Ok(Manifest::new("usage", VERSION, description)
            .every_seconds(600)
            .table::<EventRow>()
            .keep_superseded::<EventRow>(&["event_key", "tool_id"])
            .table::<MessageRow>()
            .keep_superseded::<MessageRow>(&["response_key", "message_id"])
            .table::<SessionRow>()
            .table::<AgentRunRow>()
            .keep_superseded::<AgentRunRow>(&["event_key", "tool_id"])
            .table::<AgentTotalRow>()
            .table::<UnknownKindRow>()
            .table::<WasteRow>()
            .keep_superseded::<WasteRow>(&["waste_key"]))
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        if journal::is_journal(&session.info().key) {
            return Ok(Summary::items(0));
        }
        let mut gathered = Gathered::new(&session.info().key);
        let mut activity = session.activity();
        let agent = activity.agent();
        // The entries of Claude Code say more than items, and are faster to read.
        let tally = match agent {
            CodingAgent::Claude if session.wants_checkpoint() && activity.is_agent_certain() => {
                gathered.read_with_checkpoint(session, activity.into_transcript())
            }
            CodingAgent::Claude => activity
                .into_transcript()
                .for_each(|line, entry| gathered.add(line, entry)),
            _ => activity.for_each(|origin, item| gathered.add_item(origin, item)),
        };
        Ok(gathered.insert_rows(session, agent, tally))
    }
}

impl Resumable for Usage {
    fn resume(session: &Session<'_>, state: &[u8]) -> Result<Option<Summary>, String> {
        let Some((mut gathered, tally)) = state::decode(state) else {
            return Ok(None);
        };
        let transcript = session.transcript().continuing(tally);
        let tally = match session.wants_checkpoint() {
            true => gathered.read_with_checkpoint(session, transcript),
            false => transcript.for_each(|line, entry| gathered.add(line, entry)),
        };
        let summary = gathered.insert_rows(session, CodingAgent::Claude, tally);
        Ok(Some(summary))
    }
}

fn insert<R: table::SessionRow>(session: &Session<'_>, rows: impl Iterator<Item = R>) {
    let mut table = session.table();
    for row in rows {
        table.insert(row);
    }
}

/// The data collected from a transcript so far.
#[derive(Serialize, Deserialize)]
pub struct Gathered {
    strings: Strings,
    places: Places,
    agents: Agents,
    messages: Messages,
    events: Events,
    counts: Counts,
    calls: Calls,
    metadata: SessionMetadata,
    unknown_kinds: UnknownKinds,
    waste: Waste,
}

/// Data that all rows of a session share.
pub struct Owner<'a> {
    strings: &'a Strings,
    /// The agent that wrote the file.
    agent: CodingAgent,
    /// The first `sessionId` of the file, or its key.
    session_id: &'a str,
    username: &'a str,
    /// The directory in which the session began.
    cwd: Option<&'a str>,
    /// The project of the session.
    project: Option<String>,
    /// The first valid timestamp in the file. Used for lines before it.
    first_time: Option<Timestamp>,
    /// The latest timestamp in the file.
    last_time: Option<Timestamp>,
}

impl Gathered {
    /// Creates an empty collection for the session with this key.
    pub fn new(session_key: &str) -> Self {
        Self {
            strings: Strings::default(),
            places: Places::default(),
            agents: Agents::default(),
            messages: Messages::new(session_key),
            events: Events::new(Keys::new(session_key)),
            counts: Counts::default(),
            calls: Calls::default(),
            metadata: SessionMetadata::default(),
            unknown_kinds: UnknownKinds::default(),
            waste: Waste::new(Keys::new(session_key)),
        }
    }

    /// Reads a transcript of Claude Code, and makes a checkpoint after its last complete line.
    fn read_with_checkpoint(
        &mut self,
        session: &Session<'_>,
        mut transcript: Transcript<'_>,
    ) -> Tally {
        transcript.for_each_ended(|line, entry| self.add(line, entry));
        session.checkpoint(|| state::encode(self, transcript.tally()));
        transcript.for_each(|line, entry| self.add(line, entry))
    }

    /// Inserts all rows.
    fn insert_rows(&self, session: &Session<'_>, agent: CodingAgent, tally: Tally) -> Summary {
        let owner = self.owner(session, agent);
        insert(session, self.messages.rows(&owner, self));
        insert(session, self.events.rows(&owner));
        insert(session, self.calls.runs.rows(&owner));
        insert(session, self.metadata.agent_totals.rows(&owner));
        insert(session, self.unknown_kinds.rows(&owner));
        let row = self.counts.row(&owner, self, tally);
        session.table().insert(row);
        insert(session, self.waste.rows(&owner, self));
        Summary::items(self.events.len() as u64)
    }

    /// Completes data that was loaded from a state.
    fn rebuild_indexes(&mut self) {
        self.strings.rebuild_index();
        self.messages.rebuild_indexes(&self.strings);
        self.events.rebuild_indexes(&self.strings);
    }

    fn add(&mut self, line: u64, entry: &Entry<'_>) {
        let strings = &mut self.strings;
        let place = self.places.enter(line, entry);
        let position = self.agents.enter(strings, entry);
        self.waste.add_line(strings, &place, entry, &position);
        if self.counts.add(strings, entry) {
            self.messages.prompted();
        }
        self.metadata.add(strings, &place, entry);
        self.unknown_kinds.add(strings, &place, entry);
        let is_automated = self.counts.turns.is_automated(entry);
        let own = Line {
            uuid: entry.uuid,
            request_id: entry.request_id,
            is_sidechain: entry.is_sidechain,
            is_api_error: entry.is_api_error,
            agent_id: entry.agent_id,
            is_progress: false,
        };
        // The messages in a request to the API were billed before, if at all.
        let message = entry.message.as_ref();
        let message = message.filter(|_| entry.kind != Kind::ApiRequest);
        let own = message.map(|message| (own, message, None)).into_iter();
        let of_sub_agents = entry.sub_agents().filter_map(|sub_entry| {
            let line = Line {
                uuid: sub_entry.uuid.or(entry.uuid),
                request_id: sub_entry.request_id,
                is_sidechain: true,
                is_api_error: sub_entry.is_api_error,
                agent_id: sub_entry.agent_id,
                is_progress: true,
            };
            Some((line, sub_entry.message.as_ref()?, Some(sub_entry.agent_id)))
        });
        for (line, message, sub_agent) in own.chain(of_sub_agents) {
            let messages = &mut self.messages;
            let steps = messages.len();
            let response = messages.add(strings, &place, entry, line, message, is_automated);
            let steps = steps..messages.len();
            let identity = response.and_then(|number| messages.identity(number));
            let agent = match sub_agent {
                None => Some(position.agent),
                Some(id) => Agents::sub_agent(strings, id),
            };
            let has_compacted = waste::has_compacted(message);
            match (response, sub_agent) {
                (Some(at), None) => self.agents.add_response(&position, at, has_compacted),
                (Some(at), Some(_)) => self.agents.add_embedded(agent, at, has_compacted),
                (None, _) => {}
            }
            if has_compacted {
                self.waste.add_steps(&self.messages, steps, agent);
            }
            let caller = Caller {
                response,
                identity,
                agent,
                compactions: agent.map_or(0, |agent| self.agents.compactions(agent)),
            };
            self.events
                .add_message(strings, &place, entry, line, message, caller);
            let response = response.map(|number| CallingResponse { number, identity });
            self.calls
                .add_message(strings, &place, entry, line, message, response);
        }
        self.calls.add_own(strings, entry);
        self.events.add_own(strings, &place, entry);
    }

    fn owner<'a>(&'a self, session: &Session<'a>, agent: CodingAgent) -> Owner<'a> {
        let info = session.info();
        let session_id = self.counts.session_id.map(|id| self.strings.get(id));
        let cwd = self.counts.cwd.map(|cwd| self.strings.get(cwd));
        let worktrees = &self.metadata.worktrees;
        Owner {
            strings: &self.strings,
            agent,
            session_id: session_id.unwrap_or(&info.key),
            username: &info.username,
            cwd,
            project: cwd.map(|cwd| worktrees.project(&self.strings, cwd)),
            first_time: self.places.first_time(),
            last_time: self.counts.last_time(),
        }
    }
}
