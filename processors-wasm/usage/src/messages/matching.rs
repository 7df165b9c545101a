//! Determines which records of a file belong to the same response.

use std::borrow::Cow;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use session_pipeline_processor::transcript::Tokens;

use crate::identity::Keys;
use crate::index;
use crate::place::Place;
use crate::strings::{Span, Strings, hash};

/// The responses of a transcript, numbered in order of their first record.
#[derive(Serialize, Deserialize)]
pub struct Responses {
    responses: Vec<Response>,
    /// Responses that a later record of the file can belong to, by the data that must match.
    #[serde(with = "crate::index")]
    by_match: HashTable<usize>,
    /// The response of the latest record with a local id.
    latest_local: Option<usize>,
    /// The number of prompts that a person has typed so far.
    prompts: u64,
    keys: Keys,
}

/// The identity of a response.
#[derive(Serialize, Deserialize)]
pub struct Response {
    /// `id` of the message.
    pub message_id: Option<Span>,
    /// `requestId` of the first record.
    pub request_id: Option<Span>,
    /// The identity across files, if `message_id` does not identify it.
    pub response_key: Option<Span>,
    /// The data that later records must match. `None` if none can match.
    matched: Option<Match<Span>>,
    /// The number of prompts before the latest record of the response.
    prompts: u64,
    /// The input side of its counts.
    input: Input,
}

/// The data of a record that identifies its response, borrowed from the line.
pub struct RecordIds<'e, 'a> {
    /// The place of the line.
    pub place: &'e Place<'a>,
    /// `uuid` of the line.
    pub uuid: Option<Cow<'a, str>>,
    /// `id` of the message.
    pub message_id: Option<Cow<'a, str>>,
    /// Whether `message_id` is unique by itself.
    pub is_unique: bool,
    /// `requestId` of the line.
    pub request_id: Option<Cow<'a, str>>,
    /// The identity across files, if it is known. It takes precedence over the ids.
    pub key: Option<Cow<'a, str>>,
    /// The counts of the record.
    pub tokens: Tokens,
}

/// The input side of a response. Equal in all its records, except for placeholders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

impl Responses {
    /// No responses yet. `keys` identifies responses without a unique id.
    pub fn new(keys: Keys) -> Self {
        Self {
            responses: Vec::new(),
            by_match: HashTable::new(),
            latest_local: None,
            prompts: 0,
            keys,
        }
    }

    /// Records that a person has typed a prompt. Later records answer another request.
    pub fn prompted(&mut self) {
        self.prompts += 1;
    }

    /// A response by its number.
    pub fn get(&self, at: usize) -> &Response {
        &self.responses[at]
    }

    /// Returns the number of a record's response. If it is a new response, its number is the
    /// previous number of responses.
    pub fn enter(&mut self, strings: &mut Strings, record: &RecordIds<'_, '_>) -> usize {
        let input = Input::of(&record.tokens);
        if let Some(key) = &record.key {
            let found = self.find(strings, Match::Id(key));
            return found.unwrap_or_else(|| self.add_keyed(strings, record, key, input));
        }
        let mut is_unique = record.is_unique;
        let mut matched = self.matched(record, is_unique, input);
        let mut found = matched.and_then(|matched| self.find(strings, matched));
        if let Some(at) = found
            && is_unique
            && !self.responses[at].continues(input, self.prompts)
        {
            // However long the id is, a gateway can assign it to every response.
            is_unique = false;
            matched = self.matched(record, is_unique, input);
            found = matched.and_then(|matched| self.find(strings, matched));
        }
        let is_local = !is_unique && record.message_id.is_some();
        if is_local && found.is_none() {
            found = if input.is_placeholder() {
                self.latest(strings, record)
            } else {
                self.placeholder(strings, record)
            };
        }
        if is_local {
            self.latest_local = found.or(Some(self.responses.len()));
        }
        if let Some(at) = found {
            let response = &mut self.responses[at];
            response.prompts = self.prompts;
            if response.input.is_placeholder() && !input.is_placeholder() {
                self.fill_placeholder(strings, at, input);
            }
            return at;
        }
        self.add(strings, record, is_unique, input)
    }

    fn add(
        &mut self,
        strings: &mut Strings,
        record: &RecordIds<'_, '_>,
        is_unique: bool,
        input: Input,
    ) -> usize {
        let message_id = record.message_id.as_deref().map(|id| strings.keep(id));
        let request_id = record.request_id.as_deref().map(|id| strings.keep(id));
        let response_key = if is_unique {
            None
        } else {
            let uuid = record.uuid.as_deref();
            let key = self.keys.of_line(record.place, uuid, &record.content());
            Some(strings.keep(&key))
        };
        let matched = match (message_id, &record.uuid) {
            (Some(id), _) if is_unique => Some(Match::Id(id)),
            (Some(message_id), _) => Some(Match::Local {
                message_id,
                request_id,
                prompts: self.prompts,
                input,
            }),
            (None, Some(uuid)) => Some(Match::Line(strings.keep(uuid))),
            (None, None) => None,
        };
        let at = self.responses.len();
        self.responses.push(Response {
            message_id,
            request_id,
            response_key,
            matched,
            prompts: self.prompts,
            input,
        });
        self.index(strings, at);
        at
    }

    fn add_keyed(
        &mut self,
        strings: &mut Strings,
        record: &RecordIds<'_, '_>,
        key: &str,
        input: Input,
    ) -> usize {
        let at = self.responses.len();
        let key = strings.keep(key);
        self.responses.push(Response {
            message_id: record.message_id.as_deref().map(|id| strings.keep(id)),
            request_id: record.request_id.as_deref().map(|id| strings.intern(id)),
            response_key: Some(key),
            matched: Some(Match::Id(key)),
            prompts: self.prompts,
            input,
        });
        self.index(strings, at);
        at
    }

    /// The data that the response of a record must have.
    fn matched<'s>(
        &self,
        record: &'s RecordIds<'_, '_>,
        is_unique: bool,
        input: Input,
    ) -> Option<Match<&'s str>> {
        match (&record.message_id, &record.uuid) {
            (Some(id), _) if is_unique => Some(Match::Id(id)),
            (Some(message_id), _) => Some(Match::Local {
                message_id,
                request_id: record.request_id.as_deref(),
                prompts: self.prompts,
                input,
            }),
            (None, uuid) => uuid.as_deref().map(Match::Line),
        }
    }

    /// The response with a local id if all its records so far were placeholders.
    fn placeholder(&self, strings: &Strings, record: &RecordIds<'_, '_>) -> Option<usize> {
        let matched = self.matched(record, false, Input::default())?;
        self.find(strings, matched)
    }

    /// The response of the previous record, if it had the same ids. A record without counts, or
    /// with unreadable counts, cannot be distinguished from it.
    fn latest(&self, strings: &Strings, record: &RecordIds<'_, '_>) -> Option<usize> {
        let at = self.latest_local?;
        let response = &self.responses[at];
        let string = |span: Option<Span>| span.map(|span| strings.get(span));
        let is_same = response.prompts == self.prompts
            && string(response.message_id) == record.message_id.as_deref()
            && string(response.request_id) == record.request_id.as_deref();
        is_same.then_some(at)
    }

    /// The counts of a placeholder are known now, and later records must match them.
    fn fill_placeholder(&mut self, strings: &Strings, at: usize, known: Input) {
        let response = &self.responses[at];
        let entry = response.matched.and_then(|matched| {
            let hash = hash(&matched.get(strings));
            self.by_match.find_entry(hash, |found| *found == at).ok()
        });
        if let Some(entry) = entry {
            entry.remove();
        }
        let response = &mut self.responses[at];
        response.input = known;
        if let Some(Match::Local { input, .. }) = &mut response.matched {
            *input = known;
        }
        // An index with two equal entries would find either of them, depending on its history.
        let matched = response.matched;
        let is_known =
            matched.is_some_and(|matched| self.find(strings, matched.get(strings)).is_some());
        if !is_known {
            self.index(strings, at);
        }
    }

    fn find(&self, strings: &Strings, wanted: Match<&str>) -> Option<usize> {
        let is_same = |at: &usize| {
            let matched = self.responses[*at].matched;
            matched.is_some_and(|matched| matched.get(strings) == wanted)
        };
        self.by_match.find(hash(&wanted), is_same).copied()
    }

    /// Completes responses that were loaded from a state.
    pub fn rebuild_index(&mut self, strings: &Strings) {
        let responses = &self.responses;
        index::rebuild(&mut self.by_match, |at| {
            let matched = responses[*at].matched;
            matched.map_or(0, |matched| hash(&matched.get(strings)))
        });
    }

    fn index(&mut self, strings: &Strings, at: usize) {
        let responses = &self.responses;
        let hash_of = |at: &usize| {
            let matched = responses[*at].matched;
            matched.map_or(0, |matched| hash(&matched.get(strings)))
        };
        if responses[at].matched.is_some() {
            self.by_match.insert_unique(hash_of(&at), at, hash_of);
        }
    }
}

impl Response {
    /// The identity across files, as in `usage.messages`.
    pub fn identity(&self) -> Option<Span> {
        self.response_key.or(self.message_id)
    }

    /// Whether a record with the same unique id can belong to the same response. Different
    /// responses with the same id differ in their input counts and have prompts between them.
    fn continues(&self, input: Input, prompts: u64) -> bool {
        self.prompts == prompts
            || self.input == input
            || self.input.is_placeholder()
            || input.is_placeholder()
    }
}

impl RecordIds<'_, '_> {
    /// The content, for responses that nothing else identifies.
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
