//! API messages and their tokens: the table `usage.messages`.
//!
//! An agent writes an answer of the model as several lines, each with the usage known by then,
//! and resumed or sub-agent sessions repeat lines; so a message is found by its key, and one of
//! its records wins.

use std::borrow::Cow;

use hashbrown::HashTable;
use session_pipeline_processor::json::Text;
use session_pipeline_processor::transcript::{Entry, IterationKind, Message, Tokens, Usage};
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
        /// The API's id of the message; of an advisor's or a compaction, the id with a suffix.
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
        /// Whether the transcript says how the message ended and all its figures can be read; else
        /// the tokens are a lower bound.
        is_final: bool,
        /// The agent's version.
        agent_version: Option<&'a str>,
        /// The directory in which the session began; `usage.events` has where the agent worked.
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
    is_compaction: bool,
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
    is_compaction: bool,
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
        let message = entry.message.as_ref();
        if let Some(message) = message.filter(|it| is_response(it, entry.is_api_error)) {
            self.add_message(
                strings,
                place,
                message,
                entry.request_id,
                entry.is_sidechain,
            );
        }
        for sub_entry in entry.sub_agents() {
            let message = sub_entry.message.as_ref();
            if let Some(message) = message.filter(|it| is_response(it, sub_entry.is_api_error)) {
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
            is_final: message.stop_reason.is_some() && !usage.is_incomplete,
            is_compaction: false,
        };
        if usage.tokens != Tokens::default() || usage.is_incomplete {
            self.add_sighting(strings, &sighting);
        }
        self.add_iterations(strings, usage, &sighting);
    }

    /// Adds the parts of a request that are billed separately, as rows of their own. Advisors are
    /// other models that answer: messages. A compaction is a step within the message.
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
            let message_id = asking.message_id.as_ref();
            let message_id = message_id.map(|id| Cow::Owned(format!("{id}:{name}:{count}")));
            *count += 1;
            let sighting = Sighting {
                place: asking.place,
                request_id: asking.request_id.clone(),
                model: iteration.model.or(asking.model.filter(|_| is_compaction)),
                speed: asking.speed.filter(|_| is_compaction),
                tokens: iteration.tokens,
                is_final: asking.is_final && !iteration.is_incomplete,
                is_compaction: is_compaction && message_id.is_some(),
                message_id,
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

    /// The models of the conversation, a message each: not of the sub-agents that it reports of,
    /// unless the whole file is one's.
    pub fn models(&self) -> impl Iterator<Item = Span> + '_ {
        let is_side = |record: &&Record| record.figures.is_sidechain;
        let is_all_side = self.records.iter().all(|record| is_side(&record));
        self.records
            .iter()
            .filter(move |record| is_all_side || !is_side(record))
            .filter(|record| !record.is_compaction)
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
            is_compaction: self.is_compaction,
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
            cwd: owner.cwd.or(string(self.place.cwd)),
            git_branch: string(self.place.git_branch),
        }
    }
}

/// Whether a message is a response of the API: not what the agent wrote in its place to report an
/// error or an interruption, which has no tokens.
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
