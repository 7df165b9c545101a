//! API messages and their tokens: the table `usage.messages`.
//!
//! An agent writes an answer of the model as several lines, each with the usage known by then,
//! and resumed or sub-agent sessions repeat lines; so a message is found by its key, and one of
//! its records wins.

use std::borrow::Cow;

use hashbrown::HashTable;
use session_pipeline_processor::json::Text;
use session_pipeline_processor::transcript::{Entry, Message, Tokens, Usage};
use session_pipeline_processor::{Timestamp, rows};

use crate::Owner;
use crate::place::{KeptPlace, Place};
use crate::strings::{Span, Strings, hash};

rows! {
    /// One message of the model's API.
    pub struct MessageRow<'a> in "messages" {
        /// `sessionId` of the line, else of the file, else the session key.
        session_id: &'a str,
        /// Whose session it is.
        username: &'a str,
        /// Where the message first appears.
        line: u64,
        /// The API's id of the message; of an advisor's, the id with a suffix.
        message_id: Option<&'a str>,
        /// The API's id of the request.
        request_id: Option<&'a str>,
        /// When the message first appears.
        occurred_at: Option<Timestamp>,
        /// The model.
        model: Option<&'a str>,
        /// How fast it was asked to be.
        speed: Option<&'a str>,
        /// Tokens read, apart from the cache.
        input_tokens: i64,
        /// Tokens written.
        output_tokens: i64,
        /// Tokens read from the cache.
        cache_read_tokens: i64,
        /// Tokens written to the cache for five minutes, or for a time that is not said.
        cache_creation_5m_tokens: i64,
        /// Tokens written to the cache for an hour.
        cache_creation_1h_tokens: i64,
        /// Of the tokens written, those of thinking.
        thinking_tokens: Option<i64>,
        /// Whether it is a sub-agent's.
        is_sidechain: bool,
        /// Whether the transcript says how the message ended; else `output_tokens` is a lower
        /// bound.
        is_final: bool,
        /// The agent's version.
        agent_version: Option<&'a str>,
        /// Where the agent worked.
        cwd: Option<&'a str>,
        /// On which branch.
        git_branch: Option<&'a str>,
    }
}

/// The messages of a transcript, in the order of their first appearance.
#[derive(Default)]
pub struct Messages {
    records: Vec<Record>,
    /// Those that have a key, by it.
    by_key: HashTable<usize>,
    /// The session of the file, once a line has named it: that of lines that name none.
    session_id: Option<Span>,
}

/// The sums over the messages of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many messages there are.
    pub messages: u64,
    /// Their input tokens.
    pub input: i64,
    /// Their output tokens.
    pub output: i64,
    /// What they read from the cache.
    pub cache_read: i64,
    /// What they wrote to the cache for five minutes.
    pub cache_creation_5m: i64,
    /// What they wrote to the cache for an hour.
    pub cache_creation_1h: i64,
    /// Whether one of them never got its final usage.
    pub output_is_lower_bound: bool,
}

struct Record {
    /// Of the first appearance, whoever wins.
    place: KeptPlace,
    message_id: Option<Span>,
    request_id: Option<Span>,
    figures: Figures,
    is_final: bool,
}

/// What the winning record brings.
#[derive(Clone, Copy)]
struct Figures {
    model: Option<Span>,
    speed: Option<Span>,
    tokens: Tokens,
    is_sidechain: bool,
}

/// What makes two records one message: its id with the request's, or, where the request is not
/// known, with the session's.
#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    message_id: &'a str,
    request_id: Option<&'a str>,
    session_id: Option<&'a str>,
}

/// One record of a message, still borrowed from the line.
struct Sighting<'e, 'a> {
    place: &'e Place<'a>,
    message_id: Option<Cow<'a, str>>,
    request_id: Option<Cow<'a, str>>,
    model: Option<Text<'a>>,
    speed: Option<Text<'a>>,
    tokens: Tokens,
    is_sidechain: bool,
    is_final: bool,
}

impl Messages {
    /// Takes in the session of the file. Messages on lines before, which cannot have named one,
    /// are of this session too, or their repetitions further down would be others.
    pub fn belong_to(&mut self, strings: &Strings, session_id: Span) {
        self.session_id = Some(session_id);
        for record in &mut self.records {
            record.place.session_id.get_or_insert(session_id);
        }
        let records = &self.records;
        let rehash = |at: &usize| records[*at].key_hash(strings);
        self.by_key.clear();
        for (at, record) in records.iter().enumerate() {
            if record.message_id.is_some() {
                self.by_key.insert_unique(rehash(&at), at, rehash);
            }
        }
    }

    /// Takes in the usage of an entry, wherever it stands.
    pub fn add<'a>(&mut self, strings: &mut Strings, place: &Place<'a>, entry: &Entry<'a>) {
        if let Some(message) = &entry.message {
            self.add_message(
                strings,
                place,
                message,
                entry.request_id,
                entry.is_sidechain,
            );
        }
        for sub_entry in entry.sub_agents() {
            if let Some(message) = &sub_entry.message {
                self.add_message(strings, place, message, sub_entry.request_id, true);
            }
        }
    }

    fn add_message<'a>(
        &mut self,
        strings: &mut Strings,
        place: &Place<'a>,
        message: &Message<'a>,
        request_id: Option<Text<'a>>,
        is_sidechain: bool,
    ) {
        let Some(usage) = &message.usage else { return };
        let sighting = Sighting {
            place,
            message_id: decode(message.id),
            request_id: decode(request_id),
            model: message.model,
            speed: usage.speed,
            tokens: usage.tokens,
            is_sidechain,
            is_final: message.stop_reason.is_some(),
        };
        if usage.tokens != Tokens::default() {
            self.add_sighting(strings, &sighting);
        }
        self.add_advisors(strings, usage, &sighting);
    }

    /// Advisors are other models, asked within a message: messages of their own.
    fn add_advisors<'a>(
        &mut self,
        strings: &mut Strings,
        usage: &Usage<'a>,
        asking: &Sighting<'_, 'a>,
    ) {
        for (at, advisor) in usage.advisors.iter().enumerate() {
            let message_id = asking.message_id.as_ref();
            let sighting = Sighting {
                place: asking.place,
                message_id: message_id.map(|id| Cow::Owned(format!("{id}:advisor:{at}"))),
                request_id: asking.request_id.clone(),
                model: advisor.model,
                speed: None,
                tokens: advisor.tokens,
                ..*asking
            };
            self.add_sighting(strings, &sighting);
        }
    }

    fn add_sighting(&mut self, strings: &mut Strings, sighting: &Sighting<'_, '_>) {
        let Some(message_id) = sighting.message_id.as_deref() else {
            self.records.push(sighting.keep(strings, self.session_id));
            return;
        };
        let of_file = self.session_id.map(|id| Cow::Borrowed(strings.get(id)));
        let session_id = decode(sighting.place.session_id()).or(of_file);
        let request_id = sighting.request_id.as_deref();
        let key = Key::new(message_id, request_id, session_id.as_deref());
        let key_hash = hash(&key);
        let records = &self.records;
        let is_same = |at: &usize| records[*at].key(strings).is_some_and(|other| other == key);
        if let Some(at) = self.by_key.find(key_hash, is_same) {
            let at = *at;
            self.records[at].update(strings, sighting);
            return;
        }
        let at = self.records.len();
        self.records.push(sighting.keep(strings, self.session_id));
        let records = &self.records;
        let rehash = |at: &usize| records[*at].key_hash(strings);
        self.by_key.insert_unique(key_hash, at, rehash);
    }

    /// The sums.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let add = |sum: &mut i64, figure: i64| *sum = sum.saturating_add(figure);
        for record in &self.records {
            let tokens = &record.figures.tokens;
            totals.messages += 1;
            add(&mut totals.input, tokens.input.unwrap_or(0));
            add(&mut totals.output, tokens.output.unwrap_or(0));
            add(&mut totals.cache_read, tokens.cache_read.unwrap_or(0));
            add(&mut totals.cache_creation_5m, tokens.cache_creation_5m());
            add(&mut totals.cache_creation_1h, tokens.cache_creation_1h());
            totals.output_is_lower_bound |= !record.is_final;
        }
        totals
    }

    /// The models of the conversation, a message each: not of the sub-agents that it reports of,
    /// unless the whole file is one's.
    pub fn models(&self) -> impl Iterator<Item = Span> + '_ {
        let is_side = |record: &&Record| record.figures.is_sidechain;
        let is_all_side = self.records.iter().all(|record| is_side(&record));
        self.records
            .iter()
            .filter(move |record| is_all_side || !is_side(record))
            .filter_map(|record| record.figures.model)
    }

    /// The rows.
    pub fn rows<'a>(&'a self, owner: &'a Owner<'a>) -> impl Iterator<Item = MessageRow<'a>> {
        self.records.iter().map(|record| record.row(owner))
    }
}

impl<'a> Key<'a> {
    fn new(message_id: &'a str, request_id: Option<&'a str>, session_id: Option<&'a str>) -> Self {
        Self {
            message_id,
            request_id,
            session_id: if request_id.is_some() {
                None
            } else {
                session_id
            },
        }
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

    fn keep(&self, strings: &mut Strings, session_id: Option<Span>) -> Record {
        let place = self.place.keep(strings);
        Record {
            place: KeptPlace {
                session_id: place.session_id.or(session_id),
                ..place
            },
            message_id: self.message_id.as_deref().map(|id| strings.keep(id)),
            request_id: self.request_id.as_deref().map(|id| strings.keep(id)),
            figures: self.figures(strings),
            is_final: self.is_final,
        }
    }
}

impl Record {
    fn key<'a>(&self, strings: &'a Strings) -> Option<Key<'a>> {
        let session_id = self.place.session_id.map(|id| strings.get(id));
        let request_id = self.request_id.map(|id| strings.get(id));
        Some(Key::new(
            strings.get(self.message_id?),
            request_id,
            session_id,
        ))
    }

    /// The hash of the key, for records that have one: of the key itself, as it is looked up.
    fn key_hash(&self, strings: &Strings) -> u64 {
        self.key(strings).map_or(0, |key| hash(&key))
    }

    /// The conversation wins over a sub-agent's replay of it, then the larger total: early lines
    /// of an answer carry placeholders.
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
            cwd: string(self.place.cwd),
            git_branch: string(self.place.git_branch),
        }
    }
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
    fn the_request_is_part_of_the_key_and_the_session_stands_in_for_it() {
        let usage = r#""usage":{"output_tokens":1}"#;
        let lines = [
            format!(r#"{{"requestId":"r1","message":{{"id":"m",{usage}}}}}"#),
            format!(r#"{{"requestId":"r2","message":{{"id":"m",{usage}}}}}"#),
            format!(r#"{{"sessionId":"s1","message":{{"id":"m",{usage}}}}}"#),
            format!(r#"{{"sessionId":"s1","message":{{"id":"m",{usage}}}}}"#),
            format!(r#"{{"sessionId":"s2","message":{{"id":"m",{usage}}}}}"#),
            format!(r#"{{"message":{{{usage}}}}}"#),
            format!(r#"{{"message":{{{usage}}}}}"#),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let expected = ["1 r1 s1", "2 r2 s1", "3 - s1", "5 - s2", "6 - s1", "7 - s1"];
        check(&lines, &["line", "request_id", "session_id"], &expected);
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
