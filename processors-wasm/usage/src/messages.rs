//! The table `usage.messages`: API messages and their tokens.
//!
//! An agent writes a response of the model as several lines, each with the usage known so far.
//! Resumed sessions and sub-agent sessions repeat lines. Therefore, the records of a response are
//! merged within a file, and [`identity`](crate::identity) identifies the response, so that reports
//! can merge copies in several files.

mod items;
mod matching;
mod requests;

pub use items::SessionCauses;
pub use requests::TokenCounts;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use session_pipeline_processor::json::{Json, Text};
use session_pipeline_processor::transcript::{
    Entry, Iteration, IterationKind, Message, Tokens, Usage,
};
use session_pipeline_processor::{Timestamp, rows};

use crate::causes::{CauseTable, Causes, MessageOrigin, Source, agent_of_file};
use crate::identity::{Keys, is_unique};
use crate::messages::matching::{RecordIds, Response, Responses};
use crate::messages::requests::MessageBill;
use crate::place::{KeptPlace, Place};
use crate::strings::{Span, Strings};
use crate::{Gathered, Owner};

/// The reason with which a model stops if it declines a request.
const REFUSAL: &str = "refusal";

rows! {
    /// One message of the model's API.
    pub struct MessageRow<'a> in "messages" {
        /// `sessionId` of the line, or of the file, or the session key.
        session_id: &'a str,
        /// The user of the session.
        username: &'a str,
        /// The line on which the message first appears.
        line: u64,
        /// The message id from the API. For an advisor, a compaction or an attempt of another
        /// model, the id with a suffix.
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
        /// Searches in the web that are billed: those of the API, and those of the tool `WebSearch`
        /// that this response called. The requests of the tool are not in the transcript.
        web_searches: i64,
        /// If the message consists of several requests to its model: a JSON list with
        /// `[input, output, cache_read, cache_write_5m, cache_write_1h]` of each. The price tier for
        /// long contexts is decided per request.
        requests: Option<&'a str>,
        /// The service tier, for example `batch`.
        service_tier: Option<&'a str>,
        /// Where the model ran, for example `us`.
        inference_geo: Option<&'a str>,
        /// Why the model stopped. `refusal` for the attempt of a model that declined.
        stop_reason: Option<&'a str>,
        /// `main` for the conversation, `subagent` for a sub-agent, `auxiliary` for a request
        /// besides both: an advisor, a compaction, an attempt of another model, a side question, or
        /// an agent that the agent starts for its own work.
        source: &'static str,
        /// The sub-agent.
        agent_id: Option<&'a str>,
        /// The type of the sub-agent, if this file has the call that started it or the line names
        /// the type. `usage.agent_runs` has the type of sub-agents in other files.
        agent_type: Option<&'a str>,
        /// The skill to which the agent attributes the message.
        skill: Option<&'a str>,
        /// The plugin to which the agent attributes the message.
        plugin: Option<&'a str>,
        /// The MCP server to which the agent attributes the message.
        mcp_server: Option<&'a str>,
        /// The effort level.
        effort: Option<&'a str>,
        /// The program that runs the agent, for example `cli` or `sdk-cli`.
        entrypoint: Option<&'a str>,
        /// Whether a program, and not a person, began the turn.
        is_automated: bool,
        /// The pull request that the session was linked to next after this message, or else the
        /// last one before it: `owner/repo#number`, or the URL.
        pull_request: Option<&'a str>,
        /// The project of the session, as in `usage.sessions`.
        project: Option<&'a str>,
        /// The agent that wrote the file, for example `claude` or `codex`.
        agent: Option<&'static str>,
        /// The provider of the model, if the agent names it.
        provider: Option<&'a str>,
        /// The number of requests to the model. 0 for a row with tokens of other rows, which the
        /// agent reports only as a sum. Such a row has no context of its own.
        request_count: Option<u64>,
    }
}

/// The messages of a transcript, in order of their first appearance.
#[derive(Serialize, Deserialize)]
pub struct Messages {
    responses: Responses,
    /// By the number of the response.
    records: Vec<Record>,
    causes: CauseTable,
    /// The agent that the whole file belongs to.
    file_agent: Option<String>,
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
    /// `agentId`.
    pub agent_id: Option<Text<'a>>,
    /// Whether it is part of an entry that reports the progress of a sub-agent.
    pub is_progress: bool,
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
    pub counts: TokenCounts,
    /// The counts of its requests, if there are several. See [`MessageRow`].
    pub requests: Option<Span>,
    /// Whether it belongs to a sub-agent.
    pub is_sidechain: bool,
    /// Whether it is a step of another message that compacted the conversation.
    pub is_compaction: bool,
    /// See [`MessageRow`].
    pub request_count: u64,
}

impl MessageFigures {
    /// The counts of its requests, in order. Usually one.
    pub fn by_request(&self, strings: &Strings) -> Vec<TokenCounts> {
        let list = self.requests.map(|list| strings.get(list));
        let list = list.and_then(Json::parse);
        let requests = list.iter().flat_map(Json::elements).map(|request| {
            let mut classes = request.elements().map(|count| count.s64().unwrap_or(0));
            let mut next = || classes.next().unwrap_or(0);
            TokenCounts {
                input: next(),
                output: next(),
                cache_read: next(),
                cache_write_5m: next(),
                cache_write_1h: next(),
            }
        });
        let mut requests: Vec<TokenCounts> = requests.collect();
        if requests.is_empty() {
            requests.push(self.counts);
        }
        requests
    }
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

#[derive(Serialize, Deserialize)]
struct Record {
    /// The first appearance, regardless of which record is used.
    place: KeptPlace,
    figures: Figures,
    is_final: bool,
    is_compaction: bool,
    stop_reason: Option<Span>,
    /// Searches in the web by the API.
    web_searches: i64,
}

/// The data of the record that is used.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Figures {
    model: Option<Span>,
    speed: Option<Span>,
    counts: TokenCounts,
    thinking: Option<i64>,
    requests: Option<Span>,
    /// Whether requests to other models are not part of the counts.
    is_divided: bool,
    is_sidechain: bool,
    /// The number of the causes.
    causes: u32,
    provider: Option<Span>,
    request_count: u64,
}

/// One record of a message, borrowed from the line.
struct Sighting<'e, 'a> {
    ids: RecordIds<'e, 'a>,
    model: Option<Text<'a>>,
    speed: Option<Text<'a>>,
    counts: TokenCounts,
    requests: Option<String>,
    is_divided: bool,
    is_sidechain: bool,
    is_final: bool,
    is_compaction: bool,
    stop_reason: Option<Cow<'a, str>>,
    web_searches: i64,
    causes: Causes,
    provider: Option<Text<'a>>,
    request_count: u64,
}

impl Messages {
    /// No messages yet of the session with this key.
    pub fn new(session_key: &str) -> Self {
        Self {
            responses: Responses::new(Keys::new(session_key)),
            records: Vec::new(),
            causes: CauseTable::default(),
            file_agent: agent_of_file(session_key).map(str::to_owned),
        }
    }

    /// Records that a person has typed a prompt. Later messages answer another request.
    pub fn prompted(&mut self) {
        self.responses.prompted();
    }

    /// Adds the usage of a message. Returns the number of the response that it belongs to.
    pub fn add<'a>(
        &mut self,
        strings: &mut Strings,
        place: &Place<'a>,
        entry: &Entry<'a>,
        line: Line<'a>,
        message: &Message<'a>,
        is_automated: bool,
    ) -> Option<usize> {
        if !is_response(message, line.is_api_error) {
            return None;
        }
        let usage = message.usage.as_ref()?;
        let bill = MessageBill::new(usage, message.model);
        let message_id = decode(message.id);
        let origin = MessageOrigin {
            entry,
            agent_id: line.agent_id,
            is_progress: line.is_progress,
            is_sidechain: line.is_sidechain,
            is_automated,
        };
        let mut sighting = Sighting {
            ids: RecordIds {
                place,
                uuid: decode(line.uuid),
                is_unique: message_id.as_deref().is_some_and(is_unique),
                message_id,
                request_id: decode(line.request_id),
                key: None,
                tokens: usage.tokens,
            },
            model: bill.model.or(message.model),
            speed: usage.speed,
            counts: bill.counts,
            is_divided: bill.is_divided(),
            requests: bill.requests,
            is_sidechain: line.is_sidechain,
            is_final: message.stop_reason.is_some() && !usage.is_incomplete,
            is_compaction: false,
            stop_reason: decode(message.stop_reason),
            web_searches: usage.web_searches.unwrap_or(0),
            causes: Causes::new(strings, &origin, usage, self.file_agent.as_deref()),
            provider: None,
            request_count: 1,
        };
        let stop_reason = sighting.stop_reason.clone();
        if bill.is_declined && stop_reason.is_some() {
            sighting.stop_reason = Some(Cow::Borrowed(REFUSAL));
        }
        let has_figures = usage.tokens != Tokens::default()
            || usage.is_incomplete
            || bill.counts != TokenCounts::default();
        let at = has_figures.then(|| self.add_sighting(strings, &sighting));
        sighting.stop_reason = stop_reason;
        self.add_iterations(strings, usage, &bill.others, &sighting);
        at
    }

    /// Adds the parts of a message that are billed separately, as separate rows. Advisors and
    /// fallbacks are other models that answer, so they are messages. A compaction is a step within
    /// the message.
    fn add_iterations<'a>(
        &mut self,
        strings: &mut Strings,
        usage: &Usage<'a>,
        others: &[&Iteration<'a>],
        asking: &Sighting<'_, 'a>,
    ) {
        let mut counts = [0_usize; 3];
        let mut others = others.iter().peekable();
        for iteration in &usage.iterations {
            let (name, count) = match iteration.kind {
                IterationKind::Advisor => ("advisor", &mut counts[0]),
                IterationKind::Compaction => ("compaction", &mut counts[1]),
                IterationKind::Message | IterationKind::Fallback => {
                    if others
                        .next_if(|other| std::ptr::eq(**other, iteration))
                        .is_none()
                    {
                        continue;
                    }
                    ("fallback", &mut counts[2])
                }
            };
            let is_compaction = iteration.kind == IterationKind::Compaction;
            let is_advisor = iteration.kind == IterationKind::Advisor;
            let part = |id: &Cow<'a, str>| Cow::Owned(format!("{id}:{name}:{count}"));
            let ids = &asking.ids;
            let uuid = ids.uuid.as_ref().map(part);
            // Also if the response has no id: the suffix shows the type of the row.
            let nameless = || (!is_advisor).then(|| Cow::Owned(format!(":{name}:{count}")));
            let message_id = ids.message_id.as_ref().map(part).or_else(nameless);
            *count += 1;
            let stop_reason = match iteration.kind {
                IterationKind::Fallback => asking.stop_reason.clone(),
                // The model declined. Without output, a refusal is not billed.
                IterationKind::Message => Some(Cow::Borrowed(REFUSAL)),
                IterationKind::Advisor | IterationKind::Compaction => None,
            };
            let sighting = Sighting {
                ids: RecordIds {
                    uuid,
                    message_id,
                    request_id: ids.request_id.clone(),
                    key: None,
                    tokens: iteration.tokens,
                    ..*ids
                },
                model: iteration.model.or(asking.model.filter(|_| is_compaction)),
                speed: asking.speed.filter(|_| !is_advisor),
                counts: TokenCounts::of(&iteration.tokens),
                requests: None,
                is_divided: false,
                is_final: asking.is_final && !iteration.is_incomplete,
                is_compaction,
                stop_reason,
                web_searches: 0,
                causes: Causes {
                    source: Source::Auxiliary,
                    ..asking.causes
                },
                ..*asking
            };
            self.add_sighting(strings, &sighting);
        }
    }

    /// Merges a record into its response, or begins a new response.
    fn add_sighting(&mut self, strings: &mut Strings, sighting: &Sighting<'_, '_>) -> usize {
        let at = self.responses.enter(strings, &sighting.ids);
        let causes = &mut self.causes;
        if let Some(record) = self.records.get_mut(at) {
            record.update(strings, causes, sighting);
        } else {
            self.records.push(Record {
                place: sighting.ids.place.keep(strings),
                figures: sighting.figures(strings, causes.number(sighting.causes)),
                is_final: sighting.is_final,
                is_compaction: sighting.is_compaction,
                stop_reason: sighting
                    .stop_reason
                    .as_deref()
                    .map(|stop| strings.intern(stop)),
                web_searches: sighting.web_searches,
            });
        }
        at
    }

    /// The identity of a response, as in `usage.messages`.
    pub fn identity(&self, at: usize) -> Option<Span> {
        self.responses.get(at).identity()
    }

    /// The data of a message. Final only after the last line of the file.
    pub fn figures(&self, at: usize) -> Option<MessageFigures> {
        let record = self.records.get(at)?;
        let response = self.responses.get(at);
        Some(MessageFigures {
            place: record.place,
            message_id: response.message_id,
            response_key: response.response_key,
            model: record.figures.model,
            counts: record.figures.counts,
            requests: record.figures.requests,
            is_sidechain: record.figures.is_sidechain,
            is_compaction: record.is_compaction,
            request_count: record.figures.request_count,
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
            let counts = &record.figures.counts;
            if !record.is_compaction {
                totals.messages += record.figures.request_count;
            }
            add(&mut totals.input, counts.input);
            add(&mut totals.output, counts.output);
            add(&mut totals.cache_read, counts.cache_read);
            add(&mut totals.cache_creation_5m, counts.cache_write_5m);
            add(&mut totals.cache_creation_1h, counts.cache_write_1h);
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
    pub fn rows<'a>(
        &'a self,
        owner: &'a Owner<'a>,
        gathered: &'a Gathered,
    ) -> impl Iterator<Item = MessageRow<'a>> {
        let context = RowContext { owner, gathered };
        let records = self.records.iter().enumerate();
        records.map(move |(at, record)| {
            let causes = self.causes.get(record.figures.causes);
            let by_tools = gathered.calls.searches(at);
            MessageRow {
                web_searches: record.web_searches.saturating_add(by_tools),
                ..record.row(self.responses.get(at), causes, &context)
            }
        })
    }

    /// Completes messages that were loaded from a state.
    pub fn rebuild_indexes(&mut self, strings: &Strings) {
        self.responses.rebuild_index(strings);
        self.causes.rebuild_index();
    }

    /// The number of compactions that the API made.
    pub fn compactions(&self) -> usize {
        let records = self.records.iter();
        records.filter(|record| record.is_compaction).count()
    }
}

/// The data besides the message that a row needs.
struct RowContext<'a> {
    owner: &'a Owner<'a>,
    gathered: &'a Gathered,
}

impl Sighting<'_, '_> {
    fn figures(&self, strings: &mut Strings, causes: u32) -> Figures {
        Figures {
            model: strings.intern_text(self.model),
            speed: strings.intern_text(self.speed),
            counts: self.counts,
            thinking: self.ids.tokens.thinking,
            requests: self.requests.as_deref().map(|list| strings.intern(list)),
            is_divided: self.is_divided,
            is_sidechain: self.is_sidechain,
            causes,
            provider: strings.intern_text(self.provider),
            request_count: self.request_count,
        }
    }
}

impl Record {
    fn update(
        &mut self,
        strings: &mut Strings,
        causes: &mut CauseTable,
        sighting: &Sighting<'_, '_>,
    ) {
        self.is_final |= sighting.is_final;
        if let Some(stop_reason) = sighting.stop_reason.as_deref() {
            self.stop_reason = Some(strings.intern(stop_reason));
        }
        self.web_searches = self.web_searches.max(sighting.web_searches);
        let figures = &self.figures;
        let is_better = if figures.is_sidechain != sighting.is_sidechain {
            figures.is_sidechain
        } else if figures.is_divided != sighting.is_divided {
            // The other record includes the tokens of another model.
            sighting.is_divided
        } else {
            sighting.counts.total() > figures.counts.total()
        };
        let known = causes.get(figures.causes);
        if is_better {
            let causes = causes.number(sighting.causes.or(known));
            self.figures = sighting.figures(strings, causes);
        } else if known != sighting.causes {
            self.figures.causes = causes.number(known.or(sighting.causes));
        }
    }

    fn row<'a>(
        &self,
        response: &Response,
        causes: Causes,
        context: &RowContext<'a>,
    ) -> MessageRow<'a> {
        let RowContext { owner, gathered } = *context;
        let string = |span: Option<Span>| span.map(|span| owner.strings.get(span));
        let counts = &self.figures.counts;
        let started = causes
            .agent_id
            .and_then(|id| gathered.calls.runs.type_of(id));
        MessageRow {
            session_id: string(self.place.session_id).unwrap_or(owner.session_id),
            username: owner.username,
            line: self.place.line,
            message_id: string(response.message_id),
            request_id: string(response.request_id),
            occurred_at: self.place.occurred_at.or(owner.first_time),
            model: string(self.figures.model),
            speed: string(self.figures.speed),
            input_tokens: counts.input,
            output_tokens: counts.output,
            cache_read_tokens: counts.cache_read,
            cache_creation_5m_tokens: counts.cache_write_5m,
            cache_creation_1h_tokens: counts.cache_write_1h,
            thinking_tokens: self.figures.thinking,
            web_searches: self.web_searches,
            requests: string(self.figures.requests),
            service_tier: string(causes.service_tier),
            inference_geo: string(causes.inference_geo),
            stop_reason: string(self.stop_reason),
            source: causes.source.name(),
            agent_id: string(causes.agent_id),
            agent_type: string(started.or(causes.agent_type)),
            skill: string(causes.skill),
            plugin: string(causes.plugin),
            mcp_server: string(causes.mcp_server),
            effort: string(causes.effort),
            entrypoint: string(causes.entrypoint),
            is_automated: causes.is_automated,
            pull_request: string(gathered.metadata.pull_requests.of_line(self.place.line)),
            is_sidechain: self.figures.is_sidechain,
            is_final: self.is_final,
            agent_version: string(self.place.agent_version),
            cwd: owner.cwd.or(string(self.place.cwd)),
            project: owner.project.as_deref(),
            git_branch: string(self.place.git_branch),
            response_key: string(response.response_key),
            file_started_at: owner.first_time,
            file_ended_at: owner.last_time,
            is_own_session: self.place.is_own_session,
            first_run: None,
            is_superseded: false,
            agent: Some(owner.agent.name()),
            provider: string(self.figures.provider),
            request_count: Some(self.figures.request_count),
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
    let is_billed = |step: &Iteration<'_>| step.tokens.total() > 0 || step.is_incomplete;
    !is_of_the_agent || usage.tokens.total() > 0 || usage.iterations.iter().any(is_billed)
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
    fn each_attempt_of_a_model_is_billed_once_at_its_own_model() {
        let steps = r#"[{"type":"message","model":"strict","input_tokens":9,"output_tokens":0},{"type":"fallback_message","model":"large","input_tokens":9,"output_tokens":7}]"#;
        let line = |model: &str, output: u32, stop: &str, iterations: &str| {
            format!(
                r#"{{"type":"assistant","requestId":"r","message":{{"id":"m","model":"{model}","stop_reason":{stop},"usage":{{"input_tokens":9,"output_tokens":{output},"iterations":{iterations}}}}}}}"#
            )
        };
        let columns = [
            "message_id",
            "model",
            "input_tokens",
            "output_tokens",
            "stop_reason",
            "source",
            "is_final",
        ];
        let answer = line("large", 7, r#""end_turn""#, steps);
        check(
            &[&answer, &answer],
            &columns,
            &[
                "m large 9 7 end_turn main true",
                "m:fallback:0 strict 9 0 refusal auxiliary true",
            ],
        );
        // While the answer streams, the message has the model that was asked, and the counts of the
        // model that answers.
        let begun = line("strict", 8, "null", "null");
        let ended = line("strict", 7, r#""end_turn""#, steps);
        check(
            &[&begun, &ended, &begun],
            &columns,
            &[
                "m strict 9 0 refusal main true",
                "m:fallback:0 large 9 7 end_turn auxiliary true",
            ],
        );
    }

    #[test]
    fn several_requests_of_a_message_are_listed() {
        check(
            &[
                r#"{"message":{"id":"m","usage":{"input_tokens":300,"output_tokens":3,"iterations":[{"type":"message","input_tokens":100,"output_tokens":1},{"type":"message","input_tokens":200,"output_tokens":2}]}}}"#,
                r#"{"message":{"id":"n","usage":{"input_tokens":1,"iterations":[{"type":"message","input_tokens":1}]}}}"#,
            ],
            &["message_id", "input_tokens", "requests"],
            &["m 300 [[100,1,0,0,0],[200,2,0,0,0]]", "n 1 -"],
        );
    }

    #[test]
    fn searches_count_for_the_response_that_made_them() {
        let answer = |id: &str, usage: &str, call: &str| {
            format!(
                r#"{{"type":"assistant","message":{{"id":"{id}","content":[{call}],"usage":{{"output_tokens":1{usage}}}}}}}"#
            )
        };
        let searching = r#"{"type":"tool_use","id":"toolu_0123456789abcdef","name":"WebSearch","input":{"query":"x"}}"#;
        let server = r#","server_tool_use":{"web_search_requests":2}"#;
        let result = |count: &str| {
            format!(
                r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"toolu_0123456789abcdef","content":"x"}}]}},"toolUseResult":{{"searchCount":{count}}}}}"#
            )
        };
        let lines = [
            answer("m", server, ""),
            answer("m", server, searching),
            answer("n", "", ""),
            result("3"),
            // Copies of the call and its result.
            answer("m", server, searching),
            result("3"),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let columns = ["message_id", "web_searches"];
        check(&lines, &columns, &["m 5", "n 0"]);
        let many = answer(
            "o",
            r#","server_tool_use":{"web_search_requests":"many"}"#,
            "",
        );
        check(&[&many], &columns, &["o 0"]);
    }

    #[test]
    fn a_message_has_the_causes_that_its_line_names() {
        let usage = r#""usage":{"output_tokens":1,"service_tier":"batch","inference_geo":"us"}"#;
        let line = |fields: &str, id: &str| {
            format!(r#"{{"type":"assistant",{fields}"message":{{"id":"{id}",{usage}}}}}"#)
        };
        let skill = r#""attributionSkill":"p:s","attributionPlugin":"p","effort":"high","#;
        let server = r#""attributionMcpServer":"git","attributionAgent":"Plan","#;
        let lines = [
            r#"{"type":"user","turnOrigin":"sdk","message":{"content":"go"}}"#.to_owned(),
            line(skill, "m"),
            // A further record of the same message completes its causes.
            line(server, "m"),
            r#"{"type":"user","turnOrigin":"human","message":{"content":"go"}}"#.to_owned(),
            line(r#""entrypoint":"cli","inferenceGeo":"","#, "n"),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check(
            &lines,
            &[
                "message_id",
                "skill",
                "plugin",
                "mcp_server",
                "agent_type",
                "effort",
                "entrypoint",
                "service_tier",
                "inference_geo",
                "is_automated",
            ],
            &[
                "m p:s p git Plan high - batch us true",
                "n - - - - - cli batch us false",
            ],
        );
    }

    #[test]
    fn the_call_that_started_a_sub_agent_has_its_type() {
        let progress = |agent: &str, call: &str, id: &str| {
            format!(
                r#"{{"type":"progress","parentToolUseID":"{call}","data":{{"type":"agent_progress","agentId":"{agent}","message":{{"type":"assistant","message":{{"id":"{id}","usage":{{"output_tokens":1}}}}}}}}}}"#
            )
        };
        let call = |id: &str, kind: &str| {
            format!(
                r#"{{"type":"assistant","message":{{"content":[{{"type":"tool_use","id":"{id}","name":"Task","input":{{"subagent_type":"{kind}"}}}}]}}}}"#
            )
        };
        let lines = [
            call("t1", "Plan"),
            call("t2", "Explore"),
            progress("a1", "t1", "m1"),
            // Known by its result only, which comes later.
            progress("a2", "other", "m2"),
            progress("a3", "other", "m3"),
            r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t2"}]},"toolUseResult":{"agentId":"a2"}}"#.to_owned(),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check(
            &lines,
            &["message_id", "source", "agent_id", "agent_type"],
            &[
                "m1 subagent a1 Plan",
                "m2 subagent a2 Explore",
                "m3 subagent a3 -",
            ],
        );
    }

    #[test]
    fn a_message_belongs_to_the_pull_request_that_follows() {
        let answer =
            |id: &str| format!(r#"{{"message":{{"id":"{id}","usage":{{"output_tokens":1}}}}}}"#);
        let link = |number: u32| {
            format!(r#"{{"type":"pr-link","prNumber":{number},"prRepository":"a/b"}}"#)
        };
        let lines = [answer("m"), link(1), answer("n"), link(2), answer("o")];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let columns = ["message_id", "pull_request"];
        check(&lines, &columns, &["m a/b#1", "n a/b#2", "o a/b#2"]);
        check(&[&answer("m")], &columns, &["m -"]);
    }

    #[test]
    fn a_request_to_the_api_is_not_a_response() {
        let line = |kind: &str| {
            format!(
                r#"{{"type":"{kind}","message":{{"id":"m-{kind}","content":[{{"type":"tool_use","id":"t","name":"Task"}}],"usage":{{"output_tokens":1}}}}}}"#
            )
        };
        let lines = [
            "api-request",
            "api-request-shape",
            "api-request-blob",
            "assistant",
        ]
        .map(line);
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check(&lines, &["message_id"], &["m-assistant"]);
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
