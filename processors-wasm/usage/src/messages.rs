//! The table `usage.messages`: API messages and their tokens.
//!
//! An agent writes a response of the model as several lines, each with the usage known so far.
//! Resumed sessions and sub-agent sessions repeat lines. Therefore, the records of a response are
//! merged within a file, and [`identity`](crate::identity) identifies the response, so that reports
//! can merge copies in several files.

use std::borrow::Cow;

use hashbrown::HashTable;
use session_pipeline_processor::json::Text;
use session_pipeline_processor::transcript::{IterationKind, Message, Tokens, Usage};
use session_pipeline_processor::{Timestamp, rows};

use crate::Owner;
use crate::identity::{Keys, is_unique};
use crate::place::{KeptPlace, Place};
use crate::strings::{Span, Strings, hash};

rows! {
    /// One message of the model's API.
    pub struct MessageRow<'a> in "messages" {
        /// `sessionId` of the line, or of the file, or the session key.
        session_id: &'a str,
        /// The user of the session.
        username: &'a str,
        /// The line on which the message first appears.
        line: u64,
        /// The message id from the API. For an advisor or a compaction, the id with a suffix.
        message_id: Option<&'a str>,
        /// The request id from the API.
        request_id: Option<&'a str>,
        /// The time at which the message first appears.
        occurred_at: Option<Timestamp>,
        /// The model.
        model: Option<&'a str>,
        /// The requested speed.
        speed: Option<&'a str>,
        /// Input tokens, without the cache.
        input_tokens: i64,
        /// Output tokens.
        output_tokens: i64,
        /// Tokens read from the cache.
        cache_read_tokens: i64,
        /// Tokens written to the cache for five minutes or an unknown lifetime.
        cache_creation_5m_tokens: i64,
        /// Tokens written to the cache for one hour.
        cache_creation_1h_tokens: i64,
        /// Thinking tokens, included in the output tokens.
        thinking_tokens: Option<i64>,
        /// Whether it belongs to a sub-agent.
        is_sidechain: bool,
        /// Whether the transcript has the end of the message and all its counts are readable.
        /// Otherwise, the tokens are a lower bound.
        is_final: bool,
        /// The version of the agent.
        agent_version: Option<&'a str>,
        /// The directory in which the session began. `usage.events` has the working directory of
        /// the agent.
        cwd: Option<&'a str>,
        /// The Git branch.
        git_branch: Option<&'a str>,
        /// The identity of the response across files, if `message_id` does not identify it.
        response_key: Option<&'a str>,
        /// The first timestamp in the file. If several files have a copy, the original is in the
        /// file that began first.
        file_started_at: Option<Timestamp>,
        /// The latest timestamp in the file.
        file_ended_at: Option<Timestamp>,
        /// Whether all lines up to this one belong to the session of this line. A fork begins with
        /// lines of the original session.
        is_own_session: bool,
        /// The run that first recorded this response in this file. Set by the host.
        first_run: Option<i64>,
        /// Whether the file no longer contains this response. Set by the host.
        is_superseded: bool,
    }
}

/// The messages of a transcript, in order of their first appearance.
pub struct Messages {
    records: Vec<Record>,
    /// Messages that a later record of the file can belong to, by the data that must match.
    by_match: HashTable<usize>,
    /// The response of the latest record with a local id.
    latest_local: Option<usize>,
    /// The number of prompts that a person has typed so far.
    prompts: u64,
    keys: Keys,
}

/// The data of a line that messages use.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    /// `uuid`.
    pub uuid: Option<Text<'a>>,
    /// `requestId`.
    pub request_id: Option<Text<'a>>,
    /// Whether it belongs to a sub-agent.
    pub is_sidechain: bool,
    /// Whether it reports an API error instead of a response.
    pub is_api_error: bool,
}

/// The data of a message that other tables need.
#[derive(Clone, Copy, Debug)]
pub struct MessageFigures {
    /// The first appearance.
    pub place: KeptPlace,
    /// See [`MessageRow`].
    pub message_id: Option<Span>,
    /// See [`MessageRow`].
    pub response_key: Option<Span>,
    /// The model.
    pub model: Option<Span>,
    /// The counts of all records of the message together.
    pub tokens: Tokens,
    /// Whether it belongs to a sub-agent.
    pub is_sidechain: bool,
    /// Whether it is a step of another message that compacted the conversation.
    pub is_compaction: bool,
}

/// The sums over the messages of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The number of messages.
    pub messages: u64,
    /// Input tokens.
    pub input: i64,
    /// Output tokens.
    pub output: i64,
    /// Tokens read from the cache.
    pub cache_read: i64,
    /// Tokens written to the cache for five minutes.
    pub cache_creation_5m: i64,
    /// Tokens written to the cache for one hour.
    pub cache_creation_1h: i64,
    /// Whether the final usage of a message is missing.
    pub output_is_lower_bound: bool,
}

struct Record {
    /// The first appearance, regardless of which record is used.
    place: KeptPlace,
    message_id: Option<Span>,
    request_id: Option<Span>,
    /// See [`MessageRow`].
    response_key: Option<Span>,
    /// The data that later records must match. `None` if none can match.
    matched: Option<Match<Span>>,
    /// The number of prompts before the latest record of the message.
    prompts: u64,
    /// The input side of its counts.
    input: Input,
    figures: Figures,
    is_final: bool,
    is_compaction: bool,
}

/// The data of the record that is used.
#[derive(Clone, Copy)]
struct Figures {
    model: Option<Span>,
    speed: Option<Span>,
    tokens: Tokens,
    is_sidechain: bool,
}

/// The input side of a response. Equal in all its records, except for placeholders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Input([i64; 4]);

impl Input {
    fn of(tokens: &Tokens) -> Self {
        Self([
            tokens.input.unwrap_or(0),
            tokens.cache_read.unwrap_or(0),
            tokens.cache_creation_5m(),
            tokens.cache_creation_1h(),
        ])
    }

    /// Whether no count was known when the record was written.
    fn is_placeholder(self) -> bool {
        self == Self::default()
    }
}

/// The data that records of one response in a file have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Match<S> {
    /// The id alone, if it is unique.
    Id(S),
    /// All data, if ids recur for other responses. No prompt can be in between.
    Local {
        message_id: S,
        request_id: Option<S>,
        prompts: u64,
        input: Input,
    },
    /// The line, if there is no id.
    Line(S),
}

impl Match<Span> {
    fn get<'a>(&self, strings: &'a Strings) -> Match<&'a str> {
        match *self {
            Match::Id(id) => Match::Id(strings.get(id)),
            Match::Local {
                message_id,
                request_id,
                prompts,
                input,
            } => Match::Local {
                message_id: strings.get(message_id),
                request_id: request_id.map(|id| strings.get(id)),
                prompts,
                input,
            },
            Match::Line(uuid) => Match::Line(strings.get(uuid)),
        }
    }
}

/// One record of a message, borrowed from the line.
struct Sighting<'e, 'a> {
    place: &'e Place<'a>,
    /// `uuid` of the line.
    uuid: Option<Cow<'a, str>>,
    message_id: Option<Cow<'a, str>>,
    /// Whether `message_id` is unique by itself.
    is_unique: bool,
    request_id: Option<Cow<'a, str>>,
    model: Option<Text<'a>>,
    speed: Option<Text<'a>>,
    tokens: Tokens,
    is_sidechain: bool,
    is_final: bool,
    is_compaction: bool,
}

impl Messages {
    /// No messages yet. `keys` identifies messages without a unique id.
    pub fn new(keys: Keys) -> Self {
        Self {
            records: Vec::new(),
            by_match: HashTable::new(),
            latest_local: None,
            prompts: 0,
            keys,
        }
    }

    /// Records that a person has typed a prompt. Later messages answer another request.
    pub fn prompted(&mut self) {
        self.prompts += 1;
    }

    /// Adds the usage of a message. Returns the response that it belongs to.
    pub fn add<'a>(
        &mut self,
        strings: &mut Strings,
        place: &Place<'a>,
        line: Line<'a>,
        message: &Message<'a>,
    ) -> Option<usize> {
        if !is_response(message, line.is_api_error) {
            return None;
        }
        let usage = message.usage.as_ref()?;
        let message_id = decode(message.id);
        let sighting = Sighting {
            place,
            uuid: decode(line.uuid),
            is_unique: message_id.as_deref().is_some_and(is_unique),
            message_id,
            request_id: decode(line.request_id),
            model: message.model,
            speed: usage.speed,
            tokens: usage.tokens,
            is_sidechain: line.is_sidechain,
            is_final: message.stop_reason.is_some() && !usage.is_incomplete,
            is_compaction: false,
        };
        let has_figures = usage.tokens != Tokens::default() || usage.is_incomplete;
        let at = has_figures.then(|| self.add_sighting(strings, &sighting));
        self.add_iterations(strings, usage, &sighting);
        at
    }

    /// Adds the parts of a request that are billed separately, as separate rows. Advisors are other
    /// models that answer, so they are messages. A compaction is a step within the message.
    fn add_iterations<'a>(
        &mut self,
        strings: &mut Strings,
        usage: &Usage<'a>,
        asking: &Sighting<'_, 'a>,
    ) {
        let mut counts = [0_usize; 2];
        for iteration in &usage.iterations {
            let is_compaction = iteration.kind == IterationKind::Compaction;
            let (name, count) = if is_compaction {
                ("compaction", &mut counts[1])
            } else {
                ("advisor", &mut counts[0])
            };
            let part = |id: &Cow<'a, str>| Cow::Owned(format!("{id}:{name}:{count}"));
            let uuid = asking.uuid.as_ref().map(part);
            // Also if the response has no id: the suffix shows the type of the row.
            let nameless = || is_compaction.then(|| Cow::Owned(format!(":{name}:{count}")));
            let message_id = asking.message_id.as_ref().map(part).or_else(nameless);
            *count += 1;
            let sighting = Sighting {
                uuid,
                request_id: asking.request_id.clone(),
                model: iteration.model.or(asking.model.filter(|_| is_compaction)),
                speed: asking.speed.filter(|_| is_compaction),
                tokens: iteration.tokens,
                is_final: asking.is_final && !iteration.is_incomplete,
                is_compaction,
                message_id,
                ..*asking
            };
            self.add_sighting(strings, &sighting);
        }
    }

    /// Merges a record into its response, or begins a new response.
    fn add_sighting(&mut self, strings: &mut Strings, sighting: &Sighting<'_, '_>) -> usize {
        let input = Input::of(&sighting.tokens);
        let mut is_unique = sighting.is_unique;
        let mut matched = self.matched(sighting, is_unique, input);
        let mut found = matched.and_then(|matched| self.find(strings, matched));
        if let Some(at) = found
            && is_unique
            && !self.records[at].continues(input, self.prompts)
        {
            // However long the id is, a gateway can assign it to every response.
            is_unique = false;
            matched = self.matched(sighting, is_unique, input);
            found = matched.and_then(|matched| self.find(strings, matched));
        }
        let is_local = !is_unique && sighting.message_id.is_some();
        if is_local && found.is_none() {
            found = if input.is_placeholder() {
                self.latest(strings, sighting)
            } else {
                self.placeholder(strings, sighting)
            };
        }
        if is_local {
            self.latest_local = found.or(Some(self.records.len()));
        }
        if let Some(at) = found {
            let record = &mut self.records[at];
            record.update(strings, sighting);
            record.prompts = self.prompts;
            if record.input.is_placeholder() && !input.is_placeholder() {
                self.fill_placeholder(strings, at, input);
            }
            return at;
        }
        let record = Record {
            place: sighting.place.keep(strings),
            message_id: sighting.message_id.as_deref().map(|id| strings.keep(id)),
            request_id: sighting.request_id.as_deref().map(|id| strings.keep(id)),
            response_key: None,
            matched: None,
            prompts: self.prompts,
            input,
            figures: sighting.figures(strings),
            is_final: sighting.is_final,
            is_compaction: sighting.is_compaction,
        };
        let at = self.records.len();
        self.records.push(record);
        let response_key = if is_unique {
            None
        } else {
            let uuid = sighting.uuid.as_deref();
            let key = self.keys.of_line(sighting.place, uuid, &sighting.content());
            Some(strings.keep(&key))
        };
        let record = &mut self.records[at];
        record.response_key = response_key;
        record.matched = match (record.message_id, &sighting.uuid) {
            (Some(id), _) if is_unique => Some(Match::Id(id)),
            (Some(message_id), _) => Some(Match::Local {
                message_id,
                request_id: record.request_id,
                prompts: self.prompts,
                input,
            }),
            (None, Some(uuid)) => Some(Match::Line(strings.keep(uuid))),
            (None, None) => None,
        };
        self.index(strings, at);
        at
    }

    /// The data that the response of a record must have.
    fn matched<'s>(
        &self,
        sighting: &'s Sighting<'_, '_>,
        is_unique: bool,
        input: Input,
    ) -> Option<Match<&'s str>> {
        match (&sighting.message_id, &sighting.uuid) {
            (Some(id), _) if is_unique => Some(Match::Id(id)),
            (Some(message_id), _) => Some(Match::Local {
                message_id,
                request_id: sighting.request_id.as_deref(),
                prompts: self.prompts,
                input,
            }),
            (None, uuid) => uuid.as_deref().map(Match::Line),
        }
    }

    /// The response with a local id if all its records so far were placeholders.
    fn placeholder(&self, strings: &Strings, sighting: &Sighting<'_, '_>) -> Option<usize> {
        let matched = self.matched(sighting, false, Input::default())?;
        self.find(strings, matched)
    }

    /// The response of the previous record, if it had the same ids. A record without counts, or
    /// with unreadable counts, cannot be distinguished from it.
    fn latest(&self, strings: &Strings, sighting: &Sighting<'_, '_>) -> Option<usize> {
        let at = self.latest_local?;
        let record = &self.records[at];
        let string = |span: Option<Span>| span.map(|span| strings.get(span));
        let is_same = record.prompts == self.prompts
            && string(record.message_id) == sighting.message_id.as_deref()
            && string(record.request_id) == sighting.request_id.as_deref();
        is_same.then_some(at)
    }

    /// The counts of a placeholder are known now, and later records must match them.
    fn fill_placeholder(&mut self, strings: &Strings, at: usize, known: Input) {
        let record = &self.records[at];
        let entry = record.matched.and_then(|matched| {
            let hash = hash(&matched.get(strings));
            self.by_match.find_entry(hash, |found| *found == at).ok()
        });
        if let Some(entry) = entry {
            entry.remove();
        }
        let record = &mut self.records[at];
        record.input = known;
        if let Some(Match::Local { input, .. }) = &mut record.matched {
            *input = known;
        }
        self.index(strings, at);
    }

    fn find(&self, strings: &Strings, wanted: Match<&str>) -> Option<usize> {
        let is_same = |at: &usize| {
            let matched = self.records[*at].matched;
            matched.is_some_and(|matched| matched.get(strings) == wanted)
        };
        self.by_match.find(hash(&wanted), is_same).copied()
    }

    fn index(&mut self, strings: &Strings, at: usize) {
        let records = &self.records;
        let hash_of = |at: &usize| {
            let matched = records[*at].matched;
            matched.map_or(0, |matched| hash(&matched.get(strings)))
        };
        if records[at].matched.is_some() {
            self.by_match.insert_unique(hash_of(&at), at, hash_of);
        }
    }

    /// The identity of a response, as in `usage.messages`.
    pub fn identity(&self, at: usize) -> Option<Span> {
        let record = &self.records[at];
        record.response_key.or(record.message_id)
    }

    /// The data of a message. Final only after the last line of the file.
    pub fn figures(&self, at: usize) -> Option<MessageFigures> {
        let record = self.records.get(at)?;
        Some(MessageFigures {
            place: record.place,
            message_id: record.message_id,
            response_key: record.response_key,
            model: record.figures.model,
            tokens: record.figures.tokens,
            is_sidechain: record.figures.is_sidechain,
            is_compaction: record.is_compaction,
        })
    }

    /// The number of messages, including the steps that are billed separately.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no messages.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The sums over all messages.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let add = |sum: &mut i64, figure: i64| *sum = sum.saturating_add(figure);
        for record in &self.records {
            let tokens = &record.figures.tokens;
            totals.messages += u64::from(!record.is_compaction);
            add(&mut totals.input, tokens.input.unwrap_or(0));
            add(&mut totals.output, tokens.output.unwrap_or(0));
            add(&mut totals.cache_read, tokens.cache_read.unwrap_or(0));
            add(&mut totals.cache_creation_5m, tokens.cache_creation_5m());
            add(&mut totals.cache_creation_1h, tokens.cache_creation_1h());
            totals.output_is_lower_bound |= !record.is_final;
        }
        totals
    }

    /// The models of the conversation, once per message. Without messages of sub-agents, unless the
    /// whole file belongs to a sub-agent.
    pub fn models(&self) -> impl Iterator<Item = Span> + '_ {
        let is_side = |record: &&Record| record.figures.is_sidechain;
        let is_all_side = self.records.iter().all(|record| is_side(&record));
        self.records
            .iter()
            .filter(move |record| is_all_side || !is_side(record))
            .filter(|record| !record.is_compaction)
            .filter_map(|record| record.figures.model)
    }

    /// The rows of the table.
    pub fn rows<'a>(&'a self, owner: &'a Owner<'a>) -> impl Iterator<Item = MessageRow<'a>> {
        self.records.iter().map(|record| record.row(owner))
    }
}

impl Sighting<'_, '_> {
    fn figures(&self, strings: &mut Strings) -> Figures {
        Figures {
            model: strings.intern_text(self.model),
            speed: strings.intern_text(self.speed),
            tokens: self.tokens,
            is_sidechain: self.is_sidechain,
        }
    }

    /// The content, for messages that nothing else identifies.
    fn content(&self) -> String {
        let tokens = &self.tokens;
        format!(
            "{}/{}/{}/{}/{}",
            tokens.input.unwrap_or(0),
            tokens.output.unwrap_or(0),
            tokens.cache_read.unwrap_or(0),
            tokens.cache_creation_5m(),
            tokens.cache_creation_1h(),
        )
    }
}

impl Record {
    /// Whether a record with the same unique id can belong to the same response. Different
    /// responses with the same id differ in their input counts and have prompts between them.
    fn continues(&self, input: Input, prompts: u64) -> bool {
        self.prompts == prompts
            || self.input == input
            || self.input.is_placeholder()
            || input.is_placeholder()
    }

    fn update(&mut self, strings: &mut Strings, sighting: &Sighting<'_, '_>) {
        self.is_final |= sighting.is_final;
        let is_better = if self.figures.is_sidechain == sighting.is_sidechain {
            sighting.tokens.total() > self.figures.tokens.total()
        } else {
            self.figures.is_sidechain
        };
        if is_better {
            self.figures = sighting.figures(strings);
        }
    }

    fn row<'a>(&self, owner: &'a Owner<'a>) -> MessageRow<'a> {
        let string = |span: Option<Span>| span.map(|span| owner.strings.get(span));
        let tokens = &self.figures.tokens;
        MessageRow {
            session_id: string(self.place.session_id).unwrap_or(owner.session_id),
            username: owner.username,
            line: self.place.line,
            message_id: string(self.message_id),
            request_id: string(self.request_id),
            occurred_at: self.place.occurred_at.or(owner.first_time),
            model: string(self.figures.model),
            speed: string(self.figures.speed),
            input_tokens: tokens.input.unwrap_or(0),
            output_tokens: tokens.output.unwrap_or(0),
            cache_read_tokens: tokens.cache_read.unwrap_or(0),
            cache_creation_5m_tokens: tokens.cache_creation_5m(),
            cache_creation_1h_tokens: tokens.cache_creation_1h(),
            thinking_tokens: tokens.thinking,
            is_sidechain: self.figures.is_sidechain,
            is_final: self.is_final,
            agent_version: string(self.place.agent_version),
            cwd: owner.cwd.or(string(self.place.cwd)),
            git_branch: string(self.place.git_branch),
            response_key: string(self.response_key),
            file_started_at: owner.first_time,
            file_ended_at: owner.last_time,
            is_own_session: self.place.is_own_session,
            first_run: None,
            is_superseded: false,
        }
    }
}

/// Whether a message is a response of the API, and not a report of an error or an interruption by
/// the agent, which has no tokens.
fn is_response(message: &Message<'_>, is_api_error: bool) -> bool {
    let is_of_the_agent = is_api_error || message.model.is_some_and(|model| model == "<synthetic>");
    let Some(usage) = &message.usage else {
        return false;
    };
    !is_of_the_agent || usage.tokens.total() > 0 || !usage.iterations.is_empty()
}

fn decode(text: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    Some(text.filter(|text| !text.is_empty())?.decode())
}

#[cfg(test)]
mod tests {
    use session_pipeline_processor::SessionInfo;
    use session_pipeline_processor::native::MemoryHost;
    use session_pipeline_processor::table::{OwnedValue, Row};

    use super::MessageRow;
    use crate::Usage;

    /// Runs the processor and shows some columns of `usage.messages`.
    fn check(lines: &[&str], columns: &[&str], expected: &[&str]) {
        let host = MemoryHost::new(lines.join("\n").into_bytes());
        host.run::<Usage>(&SessionInfo::new("alice/s.jsonl"))
            .unwrap();
        let names: Vec<_> = MessageRow::table().columns;
        let show = |row: &Vec<OwnedValue>| {
            let cells = columns.iter().map(|column| {
                let at = names
                    .iter()
                    .position(|known| known.name == *column)
                    .unwrap();
                match &row[at] {
                    OwnedValue::Text(text) => text.clone(),
                    OwnedValue::S64(number) | OwnedValue::Timestamp(number) => number.to_string(),
                    OwnedValue::Bool(flag) => flag.to_string(),
                    _ => String::from("-"),
                }
            });
            cells.collect::<Vec<_>>().join(" ")
        };
        let found: Vec<_> = host.rows("messages").iter().map(show).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_message_counts_once_and_its_largest_record_wins() {
        check(
            &[
                r#"{"type":"assistant","requestId":"r","sessionId":"s","timestamp":"1970-01-01T00:00:01Z","message":{"id":"m","stop_reason":null,"usage":{"input_tokens":5,"output_tokens":1}}}"#,
                r#"{"type":"assistant","requestId":"r","sessionId":"t","timestamp":"1970-01-01T00:00:02Z","message":{"id":"m","stop_reason":"end_turn","usage":{"input_tokens":5,"output_tokens":9}}}"#,
                r#"{"type":"assistant","requestId":"r","message":{"id":"m","usage":{"input_tokens":5,"output_tokens":3}}}"#,
            ],
            &[
                "line",
                "session_id",
                "occurred_at",
                "output_tokens",
                "is_final",
            ],
            &["1 s 1000000 9 true"],
        );
    }

    #[test]
    fn a_message_is_known_again_however_many_came_between() {
        let line = |n: usize| {
            format!(
                r#"{{"requestId":"r","message":{{"id":"m{n}","usage":{{"output_tokens":1}}}}}}"#
            )
        };
        let lines: Vec<_> = (0..200).chain(0..200).map(line).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let expected: Vec<_> = (1..=200).map(|line| line.to_string()).collect();
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        check(&lines, &["line"], &expected);
    }

    #[test]
    fn the_conversation_wins_over_a_larger_replay_of_a_sub_agent() {
        let side = r#"{"requestId":"r","isSidechain":true,"message":{"id":"m","usage":{"output_tokens":9}}}"#;
        let main = r#"{"requestId":"r","message":{"id":"m","usage":{"output_tokens":3}}}"#;
        let columns = ["line", "output_tokens", "is_sidechain"];
        check(&[side, main], &columns, &["1 3 false"]);
        check(&[main, side], &columns, &["1 3 false"]);
    }

    #[test]
    fn a_short_id_is_one_response_with_its_request_and_what_was_read() {
        let line = |request: &str, input: u32, output: u32| {
            format!(
                r#"{{"requestId":"{request}","message":{{"id":"m","usage":{{"input_tokens":{input},"output_tokens":{output}}}}}}}"#
            )
        };
        let prompt = r#"{"type":"user","message":{"content":"go on"}}"#.to_owned();
        let lines = [
            line("r1", 5, 1),
            line("r1", 5, 2),
            line("r2", 5, 1),
            line("r1", 6, 1),
            // A placeholder, and the record that replaces it.
            line("r3", 0, 1),
            line("r3", 7, 4),
            line("r3", 7, 5),
            prompt,
            line("r1", 5, 1),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check(
            &lines,
            &["line", "request_id", "input_tokens", "output_tokens"],
            &["1 r1 5 2", "3 r2 5 1", "4 r1 6 1", "5 r3 7 5", "9 r1 5 1"],
        );
    }

    #[test]
    fn a_long_id_is_one_response_whatever_else_differs() {
        let line = |request: &str, session: &str| {
            format!(
                r#"{{"requestId":"{request}","sessionId":"{session}","message":{{"id":"msg_0123456789abcdef","usage":{{"input_tokens":5,"output_tokens":1}}}}}}"#
            )
        };
        let prompt = r#"{"type":"user","message":{"content":"go on"}}"#.to_owned();
        let lines = [line("r1", "s"), prompt, line("r2", "s"), line("r3", "t")];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check(&lines, &["line", "response_key"], &["1 -"]);
    }

    #[test]
    fn a_long_id_that_every_response_has_is_no_identity() {
        let line = |uuid: &str, input: u32| {
            format!(
                r#"{{"uuid":"{uuid}","message":{{"id":"the-id-of-all-responses","usage":{{"input_tokens":{input},"output_tokens":1}}}}}}"#
            )
        };
        let prompt = || r#"{"type":"user","message":{"content":"go on"}}"#.to_owned();
        let lines = [
            line("u1", 5),
            prompt(),
            line("u2", 6),
            line("u3", 6),
            prompt(),
            line("u4", 7),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check(
            &lines,
            &["line", "response_key"],
            &["1 -", "3 line:u2", "6 line:u4"],
        );
    }

    #[test]
    fn without_an_id_each_line_is_a_response_and_known_by_its_uuid() {
        let line = |fields: &str| {
            format!(r#"{{{fields}"message":{{"usage":{{"input_tokens":1,"output_tokens":2}}}}}}"#)
        };
        let timed = r#""sessionId":"s","timestamp":"1970-01-01T00:00:01Z","#;
        let lines = [
            line(""),
            line(r#""uuid":"u1","#),
            line(r#""uuid":"u1","#),
            line(r#""uuid":"u2","#),
            line(timed),
            line(timed),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check(
            &lines,
            &["line", "response_key"],
            &[
                "1 file:alice/s.jsonl:1:1/2/0/0/0",
                "2 line:u1",
                "4 line:u2",
                "5 line:s@1000000:1/2/0/0/0",
                "6 line:s@1000000:1/2/0/0/0#2",
            ],
        );
    }

    #[test]
    fn sub_agents_and_advisors_are_found_within_other_lines() {
        check(
            &[
                r#"{"type":"progress","data":{"type":"agent_progress","message":{"type":"assistant","requestId":"r1","message":{"id":"m1","model":"small","usage":{"output_tokens":2}}}}}"#,
                r#"{"type":"progress","data":{"type":"bash_progress","message":{"message":{"id":"m2","usage":{"output_tokens":2}}}}}"#,
                r#"{"type":"assistant","requestId":"r3","message":{"id":"m3","model":"large","usage":{"output_tokens":3,"iterations":[{"type":"advisor_message","model":"wise","output_tokens":4}]}}}"#,
            ],
            &["message_id", "model", "output_tokens", "is_sidechain"],
            &[
                "m1 small 2 true",
                "m3 large 3 false",
                "m3:advisor:0 wise 4 false",
            ],
        );
    }

    #[test]
    fn a_compaction_is_billed_and_is_not_a_message() {
        let line = r#"{"type":"assistant","requestId":"r","message":{"id":"m","model":"large","stop_reason":"end_turn","usage":{"output_tokens":3,"speed":"fast","iterations":[{"type":"compaction","input_tokens":9,"output_tokens":4},{"type":"message","output_tokens":3},{"type":"advisor_message","model":"wise","output_tokens":5},{"type":"compaction","model":"small","input_tokens":"x","output_tokens":2}]}}}"#;
        check(
            &[line, line],
            &[
                "message_id",
                "model",
                "speed",
                "input_tokens",
                "output_tokens",
                "is_final",
            ],
            &[
                "m large fast 0 3 true",
                "m:compaction:0 large fast 9 4 true",
                "m:advisor:0 wise - 0 5 true",
                "m:compaction:1 small fast 0 2 false",
            ],
        );
    }

    #[test]
    fn what_the_agent_wrote_in_place_of_an_answer_is_no_message() {
        let zero = r#""usage":{"input_tokens":0,"output_tokens":0}"#;
        let line = |fields: &str, model: &str, usage: &str| {
            format!(r#"{{"type":"assistant"{fields},"message":{{"model":"{model}",{usage}}}}}"#)
        };
        let error = r#","isApiErrorMessage":true"#;
        let lines = [
            line("", "<synthetic>", zero),
            line(error, "<synthetic>", zero),
            line(error, "claude-opus-5", zero),
            line("", "<synthetic>", r#""usage":"much""#),
            line("", "<synthetic>", r#""usage":{"output_tokens":1}"#),
            line("", "claude-opus-5", zero),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check(
            &lines,
            &["line", "model"],
            &["5 <synthetic>", "6 claude-opus-5"],
        );
        let progress = r#"{"type":"progress","data":{"type":"agent_progress","message":{"type":"assistant","isApiErrorMessage":true,"message":{"model":"m","usage":{"input_tokens":0}}}}}"#;
        check(&[progress], &["line"], &[]);
    }

    #[test]
    fn figures_that_cannot_be_read_make_the_message_a_lower_bound() {
        let line = |stop: &str, usage: &str| {
            format!(
                r#"{{"requestId":"r","message":{{"id":"m","stop_reason":{stop},"usage":{usage}}}}}"#
            )
        };
        let columns = ["input_tokens", "output_tokens", "is_final"];
        let end = r#""end_turn""#;
        let whole = r#"{"input_tokens":5,"output_tokens":7}"#;
        let damaged = r#"{"input_tokens":NaN,"output_tokens":7}"#;
        check(&[&line(end, whole)], &columns, &["5 7 true"]);
        check(&[&line(end, damaged)], &columns, &["0 7 false"]);
        check(&[&line(end, "[]")], &columns, &["0 0 false"]);
        check(
            &[&line(end, r#"{"input_tokens":5.5,"output_tokens":7}"#)],
            &columns,
            &["6 7 true"],
        );
        check(
            &[&line("null", whole), &line(end, damaged)],
            &columns,
            &["5 7 false"],
        );
        check(
            &[&line(end, damaged), &line(end, whole)],
            &columns,
            &["5 7 true"],
        );
    }

    #[test]
    fn all_messages_belong_to_the_directory_in_which_the_session_began() {
        let line =
            |cwd: &str| format!(r#"{{"cwd":{cwd},"message":{{"usage":{{"output_tokens":1}}}}}}"#);
        let lines = [
            line("null"),
            line(r#""/shop""#),
            line(r#""/shop/web""#),
            line("7"),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check(&lines, &["cwd"], &["/shop"; 4]);
    }

    #[test]
    fn a_line_without_time_takes_that_of_the_line_before_or_the_first_of_the_file() {
        let line = |time: &str| {
            format!(r#"{{"timestamp":{time},"message":{{"usage":{{"output_tokens":1}}}}}}"#)
        };
        let lines = [
            line("null"),
            line(r#""1970-01-01T00:00:05Z""#),
            line(r#""1970-01-01T00:00:01Z""#),
            line("17"),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check(
            &lines,
            &["occurred_at"],
            &["5000000", "5000000", "1000000", "1000000"],
        );
    }
}
