//! The table `usage.waste`: tokens that a session could have saved.
//!
//! Tokens are the difference between what was paid and what would have been paid, so they can be
//! negative. Reports multiply them by prices. The kinds overlap: a response can both repeat a failed
//! call and be long. Sums over several kinds can therefore exceed the cost of the responses.
//!
//! A comparison needs two lines of the same conversation ([`agents`]). Sub-agents that have neither
//! an id nor a place in the tree of lines, and calls of responses without usage, have no rows.
//!
//! | kind | occurs | tokens |
//! |---|---|---|
//! | `failed_retry` | A call fails again, with the tool and the input of the previous failed call of this tool. No call with them succeeded in between. See `waste/retries.rs`. | All tokens of the response that made the calls, if it made no other calls. Else 0. |
//! | `reread` | A read of a file returns the same text as the previous read of the same part of the file, with no compaction in between. | The size of the texts, as tokens written to the cache for five minutes. A token has about four bytes. |
//! | `long_context` | The input side of a request (input, cache reads and cache writes) exceeds 150,000 tokens. A response can consist of several requests. | The tokens above the limit, as cache reads, which are the cheapest class. |
//! | `cache_miss` | The cache does not contain what it contained after the previous response. See `waste/cache.rs`. | The lost tokens in the classes in which they were paid, and the same number of negative cache reads. |
//! | `compaction` | The agent or the API summarized the conversation. | The tokens of the request, if the API did it. Else 0, because the request of the agent is not in this file. |
//!
//! Each response has at most one row of a kind. `instances` counts its calls.
//!
//! [`agents`]: crate::agents

mod cache;
mod retries;

use std::ops::Range;

use serde::{Deserialize, Serialize};
use session_pipeline_processor::transcript::{Entry, IterationKind, Kind, Message};
use session_pipeline_processor::{Timestamp, rows};

use crate::agents::{Agent, Agents, LinePosition};
use crate::events::Events;
use crate::identity::Keys;
use crate::messages::{Messages, TokenCounts};
use crate::place::{KeptPlace, Place};
use crate::strings::{Span, Strings};
use crate::{Gathered, Owner};

/// The longest context that is not waste, in tokens.
const CONTEXT_MAX: i64 = 150_000;

/// The estimated size of a token in bytes of UTF-8.
const TOKEN_BYTES: usize = 4;

rows! {
    /// The waste of one kind in one response, or one compaction.
    pub struct WasteRow<'a> in "waste" {
        /// `sessionId` of the line, or of the file, or the session key.
        session_id: &'a str,
        /// The user of the session.
        username: &'a str,
        /// The line of the response, of its first wasteful call, or of the compaction.
        line: u64,
        /// `failed_retry`, `reread`, `long_context`, `cache_miss` or `compaction`.
        kind: &'static str,
        /// The time of the line.
        occurred_at: Option<Timestamp>,
        /// The model of the response.
        model: Option<&'a str>,
        /// The id of the sub-agent.
        agent_id: Option<&'a str>,
        /// The tool, for kinds about calls.
        tool_name: Option<&'a str>,
        /// The class of the failure of a retry, the file of a reread, `expired` or `changed` for a
        /// cache miss, or the trigger of a compaction. For several calls, that of the first.
        subject: Option<&'a str>,
        /// The number of calls. 1 for kinds that are not about calls.
        instances: u64,
        /// Input tokens, without the cache.
        input_tokens: i64,
        /// Output tokens.
        output_tokens: i64,
        /// Tokens read from the cache. Negative if they would have been read from it.
        cache_read_tokens: i64,
        /// Tokens written to the cache for five minutes or an unknown lifetime.
        cache_creation_5m_tokens: i64,
        /// Tokens written to the cache for one hour.
        cache_creation_1h_tokens: i64,
        /// The response, or the step of a compaction. See `usage.messages`.
        message_id: Option<&'a str>,
        /// See `usage.messages`. For a compaction without a message, the identity of its line.
        response_key: Option<&'a str>,
        /// The identity of the row across files: the kind, and the response or compaction.
        waste_key: Option<String>,
        /// Whether it belongs to a sub-agent.
        is_sidechain: bool,
        /// See `usage.messages`.
        file_started_at: Option<Timestamp>,
        /// See `usage.messages`.
        file_ended_at: Option<Timestamp>,
        /// See `usage.messages`.
        is_own_session: bool,
        /// See `usage.messages`.
        first_run: Option<i64>,
        /// See `usage.messages`.
        is_superseded: bool,
    }
}

/// The kinds of waste, in the order of rows for the same line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum WasteKind {
    FailedRetry,
    Reread,
    LongContext,
    CacheMiss,
    Compaction,
}

/// Waste before it becomes a row.
#[derive(Clone, Copy, Debug)]
struct WasteFinding {
    kind: WasteKind,
    origin: WasteOrigin,
    line: u64,
    occurred_at: Option<Timestamp>,
    agent: Option<Agent>,
    tool: Option<Span>,
    subject: WasteSubject,
    instances: u64,
    tokens: TokenCounts,
}

/// The source of waste.
#[derive(Clone, Copy, Debug)]
enum WasteOrigin {
    /// The message with this number.
    Message(usize),
    /// The line with this number among [`Waste::boundaries`].
    Boundary(usize),
}

/// See [`WasteRow`].
#[derive(Clone, Copy, Debug)]
enum WasteSubject {
    None,
    Name(&'static str),
    Text(Span),
}

/// Waste that is known before the end of the file. All other waste depends on the final counts of
/// responses and on later results.
#[derive(Serialize, Deserialize)]
pub struct Waste {
    /// The compactions that the API reports as steps of a message, with the agent.
    steps: Vec<(usize, Option<Agent>)>,
    boundaries: Vec<CompactionLine>,
    keys: Keys,
}

/// A line that reports a compaction by the agent.
#[derive(Serialize, Deserialize)]
struct CompactionLine {
    place: KeptPlace,
    agent: Agent,
    trigger: Option<Span>,
    key: Span,
    is_sidechain: bool,
}

/// Whether the API compacted the conversation before it answered with this message.
pub fn has_compacted(message: &Message<'_>) -> bool {
    let mut iterations = message.usage.iter().flat_map(|usage| &usage.iterations);
    iterations.any(|iteration| iteration.kind == IterationKind::Compaction)
}

impl Waste {
    /// No waste yet. `keys` identifies compactions without a message.
    pub fn new(keys: Keys) -> Self {
        Self {
            steps: Vec::new(),
            boundaries: Vec::new(),
            keys,
        }
    }

    /// Adds a line, if it reports a compaction.
    pub fn add_line(
        &mut self,
        strings: &mut Strings,
        place: &Place<'_>,
        entry: &Entry<'_>,
        position: &LinePosition,
    ) {
        let is_boundary = entry.kind == Kind::System
            && entry
                .subtype
                .is_some_and(|subtype| subtype == "compact_boundary");
        if !is_boundary || position.is_copy {
            return;
        }
        let uuid = entry.uuid.filter(|uuid| !uuid.is_empty());
        let uuid = uuid.map(|uuid| uuid.decode());
        let key = self.keys.of_line(place, uuid.as_deref(), "compaction");
        self.boundaries.push(CompactionLine {
            place: place.keep(strings),
            agent: position.agent,
            trigger: strings.intern_text(entry.compaction_trigger),
            key: strings.keep(&key),
            is_sidechain: entry.is_sidechain,
        });
    }

    /// Adds the compactions among new messages with these numbers.
    pub fn add_steps(&mut self, messages: &Messages, new: Range<usize>, agent: Option<Agent>) {
        let is_step = |at: &usize| {
            let figures = messages.figures(*at);
            figures.is_some_and(|figures| figures.is_compaction)
        };
        self.steps.extend(new.filter(is_step).map(|at| (at, agent)));
    }

    /// The rows of the table, in the order of lines.
    pub fn rows<'a>(
        &'a self,
        owner: &'a Owner<'a>,
        gathered: &'a Gathered,
    ) -> impl Iterator<Item = WasteRow<'a>> {
        let (agents, messages) = (&gathered.agents, &gathered.messages);
        let mut findings = retries::findings(&gathered.events, messages);
        findings.extend(rereads(&gathered.events));
        findings.extend(long_contexts(owner.strings, agents, messages));
        findings.extend(cache::findings(owner.strings, agents, messages));
        findings.extend(self.compactions(messages));
        // The sort is stable, so that findings with the same line and kind stay in order.
        findings.sort_by_key(|finding| (finding.line, finding.kind));
        let rows = findings.into_iter();
        rows.filter_map(move |finding| self.row(owner, messages, &finding))
    }

    fn compactions(&self, messages: &Messages) -> Vec<WasteFinding> {
        let steps = self.steps.iter().filter_map(|(at, agent)| {
            let figures = messages.figures(*at)?;
            Some(WasteFinding {
                kind: WasteKind::Compaction,
                origin: WasteOrigin::Message(*at),
                line: figures.place.line,
                occurred_at: figures.place.occurred_at,
                agent: *agent,
                tool: None,
                subject: WasteSubject::None,
                instances: 1,
                tokens: figures.counts,
            })
        });
        let boundaries = self.boundaries.iter().enumerate();
        let boundaries = boundaries.map(|(index, boundary)| WasteFinding {
            kind: WasteKind::Compaction,
            origin: WasteOrigin::Boundary(index),
            line: boundary.place.line,
            occurred_at: boundary.place.occurred_at,
            agent: Some(boundary.agent),
            tool: None,
            subject: boundary
                .trigger
                .map_or(WasteSubject::None, WasteSubject::Text),
            instances: 1,
            tokens: TokenCounts::default(),
        });
        steps.chain(boundaries).collect()
    }

    fn row<'a>(
        &self,
        owner: &'a Owner<'a>,
        messages: &Messages,
        finding: &WasteFinding,
    ) -> Option<WasteRow<'a>> {
        let string = |span: Option<Span>| span.map(|span| owner.strings.get(span));
        let (place, model, message_id, response_key, is_sidechain) = match finding.origin {
            WasteOrigin::Message(at) => {
                let figures = messages.figures(at)?;
                let (message_id, key) = (figures.message_id, figures.response_key);
                let is_sidechain = figures.is_sidechain;
                (figures.place, figures.model, message_id, key, is_sidechain)
            }
            WasteOrigin::Boundary(index) => {
                let boundary = self.boundaries.get(index)?;
                let (key, is_sidechain) = (Some(boundary.key), boundary.is_sidechain);
                (boundary.place, None, None, key, is_sidechain)
            }
        };
        let kind = finding.kind.name();
        let identity = string(response_key.or(message_id));
        let tokens = &finding.tokens;
        Some(WasteRow {
            session_id: string(place.session_id).unwrap_or(owner.session_id),
            username: owner.username,
            line: finding.line,
            kind,
            occurred_at: finding.occurred_at.or(owner.first_time),
            model: string(model),
            agent_id: string(finding.agent.and_then(|agent| agent.id)),
            tool_name: string(finding.tool),
            subject: match finding.subject {
                WasteSubject::None => None,
                WasteSubject::Name(name) => Some(name),
                WasteSubject::Text(text) => string(Some(text)),
            },
            instances: finding.instances,
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            cache_read_tokens: tokens.cache_read,
            cache_creation_5m_tokens: tokens.cache_write_5m,
            cache_creation_1h_tokens: tokens.cache_write_1h,
            message_id: string(message_id),
            response_key: string(response_key),
            waste_key: identity.map(|identity| format!("{kind}:{identity}")),
            is_sidechain,
            file_started_at: owner.first_time,
            file_ended_at: owner.last_time,
            is_own_session: place.is_own_session,
            first_run: None,
            is_superseded: false,
        })
    }
}

impl WasteKind {
    fn name(self) -> &'static str {
        match self {
            Self::FailedRetry => "failed_retry",
            Self::Reread => "reread",
            Self::LongContext => "long_context",
            Self::CacheMiss => "cache_miss",
            Self::Compaction => "compaction",
        }
    }
}

/// The reads that repeat an earlier one, by response.
fn rereads(events: &Events) -> Vec<WasteFinding> {
    let mut rereads = events.rereads().to_vec();
    // Results come in any order. Rows and their first call must not depend on it.
    rereads.sort_by_key(|reread| (reread.response, reread.event));
    let groups = rereads.chunk_by(|one, other| one.response == other.response);
    let findings = groups.filter_map(|group| {
        let first = group.first()?;
        let call = events.call(first.event)?;
        let tokens = group.iter().map(|reread| reread.bytes / TOKEN_BYTES).sum();
        let tokens: usize = tokens;
        Some(WasteFinding {
            kind: WasteKind::Reread,
            origin: WasteOrigin::Message(first.response),
            line: call.line,
            occurred_at: call.occurred_at,
            agent: call.agent,
            tool: call.tool,
            subject: WasteSubject::Text(first.file),
            instances: group.len() as u64,
            tokens: TokenCounts {
                cache_write_5m: i64::try_from(tokens).unwrap_or(i64::MAX),
                ..TokenCounts::default()
            },
        })
    });
    findings.collect()
}

/// The responses with a long context.
fn long_contexts(strings: &Strings, agents: &Agents, messages: &Messages) -> Vec<WasteFinding> {
    let findings = agents.responses().iter().filter_map(|response| {
        let figures = messages.figures(response.at)?;
        let requests = figures.by_request(strings);
        let excess = requests
            .iter()
            .map(|request| (request.input_side() - CONTEXT_MAX).max(0))
            .fold(0, i64::saturating_add);
        (excess > 0).then_some(WasteFinding {
            kind: WasteKind::LongContext,
            origin: WasteOrigin::Message(response.at),
            line: figures.place.line,
            occurred_at: figures.place.occurred_at,
            agent: response.agent,
            tool: None,
            subject: WasteSubject::None,
            instances: 1,
            tokens: TokenCounts {
                cache_read: excess,
                ..TokenCounts::default()
            },
        })
    });
    findings.collect()
}

#[cfg(test)]
mod tests {
    use session_pipeline_processor::SessionInfo;
    use session_pipeline_processor::native::MemoryHost;
    use session_pipeline_processor::table::{OwnedValue, Row};

    use super::WasteRow;
    use crate::Usage;

    const COLUMNS: &[&str] = &[
        "line",
        "kind",
        "subject",
        "tool_name",
        "instances",
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_creation_5m_tokens",
        "cache_creation_1h_tokens",
        "waste_key",
    ];

    /// Runs the processor and shows the main columns of `usage.waste`.
    pub(super) fn check(lines: &[String], expected: &[&str]) {
        check_columns(lines, COLUMNS, expected);
    }

    fn check_columns(lines: &[String], columns: &[&str], expected: &[&str]) {
        let host = MemoryHost::new(lines.join("\n").into_bytes());
        host.run::<Usage>(&SessionInfo::new("alice/s.jsonl"))
            .unwrap();
        let names = WasteRow::table().columns;
        let show = |row: &Vec<OwnedValue>| {
            let cells = columns.iter().map(|column| {
                let at = names.iter().position(|known| known.name == *column);
                match &row[at.unwrap()] {
                    OwnedValue::Text(text) => text.clone(),
                    OwnedValue::S64(number) => number.to_string(),
                    OwnedValue::Timestamp(micros) => format!("@{}", micros / 1_000_000),
                    OwnedValue::Bool(flag) => flag.to_string(),
                    _ => "-".to_owned(),
                }
            });
            cells.collect::<Vec<_>>().join(" ")
        };
        let found: Vec<_> = host.rows("waste").iter().map(show).collect();
        assert_eq!(found, expected, "{lines:#?}");
    }

    /// A response with `[input, output, cache read, 5m write, 1h write]`, at a time in seconds.
    pub(super) fn response(id: &str, second: u32, tokens: [u32; 5], fields: &str) -> String {
        let [input, output, read, short, long] = tokens;
        let (minute, second) = (second / 60, second % 60);
        let (hour, minute) = (minute / 60, minute % 60);
        format!(
            r#"{{"type":"assistant","uuid":"u-{id}","timestamp":"1970-01-01T{hour:02}:{minute:02}:{second:02}Z"{fields},"message":{{"id":"msg-of-sixteen-{id}","model":"m","usage":{{"input_tokens":{input},"output_tokens":{output},"cache_read_input_tokens":{read},"cache_creation":{{"ephemeral_5m_input_tokens":{short},"ephemeral_1h_input_tokens":{long}}}}}}}}}"#
        )
    }

    /// A response that makes calls of `[id, tool, input]`. Its tokens are 1 to 5.
    pub(super) fn calls(id: &str, calls: &[[&str; 3]]) -> String {
        let calls = calls.iter().map(|[id, tool, input]| {
            format!(r#"{{"type":"tool_use","id":"call-of-sixteen-{id}","name":"{tool}","input":{input}}}"#)
        });
        let calls = calls.collect::<Vec<_>>().join(",");
        response(id, 1, [1, 2, 3, 4, 5], "").replace(
            r#""model":"m""#,
            &format!(r#""model":"m","content":[{calls}]"#),
        )
    }

    /// The result of a call: a JSON value, and whether it is an error.
    pub(super) fn result(id: &str, is_error: bool, content: &str) -> String {
        format!(
            r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"call-of-sixteen-{id}","is_error":{is_error},"content":{content}}}]}}}}"#
        )
    }

    #[test]
    fn tokens_above_the_limit_are_a_long_context() {
        let lines = [
            response("a0000", 0, [1, 9, 149_998, 1, 0], ""),
            response("a0001", 1, [2, 9, 149_998, 1, 0], ""),
            // 10 + 150,000 + 20 + 30, and 9 of output, which are not part of the context.
            response("a0002", 2, [10, 9, 150_000, 20, 30], ""),
            // The last record of a response counts.
            response("a0003", 3, [1, 1, 150_000, 0, 0], ""),
            response("a0003", 3, [1, 5, 150_000, 9, 0], ""),
        ];
        check(
            &lines,
            &[
                "2 long_context - - 1 0 0 1 0 0 long_context:msg-of-sixteen-a0001",
                "3 long_context - - 1 0 0 60 0 0 long_context:msg-of-sixteen-a0002",
                "4 long_context - - 1 0 0 10 0 0 long_context:msg-of-sixteen-a0003",
            ],
        );
    }

    #[test]
    fn a_response_with_several_requests_is_as_long_as_each_of_them() {
        let of = |id: &str, reads: [u32; 2]| {
            let steps = reads.map(|read| {
                format!(r#"{{"type":"message","input_tokens":1,"output_tokens":1,"cache_read_input_tokens":{read}}}"#)
            });
            let tokens = [2, 2, reads[0] + reads[1], 0, 0];
            let iterations = format!(r#""iterations":[{}],"input_tokens""#, steps.join(","));
            response(id, 0, tokens, "").replacen(r#""input_tokens""#, &iterations, 1)
        };
        let lines = [
            of("a0000", [80_000, 90_000]),
            // 1 + 150,009 − 150,000, and 1 + 160,000 − 150,000.
            of("a0001", [150_009, 160_000]),
        ];
        check(
            &lines,
            &["2 long_context - - 1 0 0 10011 0 0 long_context:msg-of-sixteen-a0001"],
        );
    }

    #[test]
    fn rows_identify_the_original_of_a_response() {
        let fields = r#","sessionId":"s1","isSidechain":true,"agentId":"a1""#;
        let lines = [response("a0000", 7, [200_000, 9, 0, 0, 0], fields)];
        check_columns(
            &lines,
            &[
                "session_id",
                "username",
                "occurred_at",
                "model",
                "agent_id",
                "message_id",
                "response_key",
                "is_sidechain",
                "file_started_at",
                "file_ended_at",
                "is_own_session",
                "first_run",
                "is_superseded",
            ],
            &["s1 alice @7 m a1 msg-of-sixteen-a0000 - true @7 @7 true - false"],
        );
    }

    #[test]
    fn a_compaction_has_the_tokens_of_its_step() {
        let boundary = |uuid: &str, fields: &str| {
            format!(r#"{{"type":"system","subtype":"compact_boundary","uuid":"{uuid}"{fields}}}"#)
        };
        let automatic = r#","compactMetadata":{"trigger":"auto","preTokens":170485}"#;
        let step = r#"{"type":"assistant","uuid":"u1","message":{"id":"msg-of-sixteen-a0000","model":"m","usage":{"input_tokens":5,"output_tokens":6,"iterations":[{"type":"compaction","input_tokens":7,"output_tokens":8,"cache_read_input_tokens":9}]}}}"#;
        let lines = [
            boundary("b1", automatic),
            // A copy of the line.
            boundary("b1", automatic),
            boundary("b2", ""),
            step.to_owned(),
            step.to_owned(),
            r#"{"type":"system","subtype":"microcompact_boundary","uuid":"b3"}"#.to_owned(),
        ];
        check(
            &lines,
            &[
                "1 compaction auto - 1 0 0 0 0 0 compaction:line:b1",
                "3 compaction - - 1 0 0 0 0 0 compaction:line:b2",
                "4 compaction - - 1 7 8 9 0 0 compaction:msg-of-sixteen-a0000:compaction:0",
            ],
        );
    }

    #[test]
    fn a_file_that_contains_its_lines_twice_has_the_same_waste() {
        let input = r#"{"file_path":"/a"}"#;
        let lines = [
            calls("a0000", &[["a0000", "Read", input]]),
            result("a0000", false, r#""12345678""#),
            calls("a0001", &[["a0001", "Read", input]]),
            result("a0001", false, r#""12345678""#),
            calls("a0002", &[["a0002", "Bash", input]]),
            result("a0002", true, r#""Exit code 1""#),
            calls("a0003", &[["a0003", "Bash", input]]),
            result("a0003", true, r#""Exit code 1""#),
            response("a0004", 2, [0, 1, 0, 160_000, 0], ""),
            response("a0005", 3, [0, 1, 0, 9_000, 0], ""),
            r#"{"type":"system","subtype":"compact_boundary","uuid":"b"}"#.to_owned(),
            response("a0006", 4, [0, 1, 0, 9_000, 0], ""),
        ];
        let expected = [
            "3 reread /a Read 1 0 0 0 2 0 reread:msg-of-sixteen-a0001",
            "7 failed_retry exit_code Bash 1 1 2 3 4 5 failed_retry:msg-of-sixteen-a0003",
            "9 long_context - - 1 0 0 10000 0 0 long_context:msg-of-sixteen-a0004",
            "10 cache_miss changed - 1 0 0 -9000 9000 0 cache_miss:msg-of-sixteen-a0005",
            "11 compaction - - 1 0 0 0 0 0 compaction:line:b",
        ];
        check(&lines, &expected);
        check(&[lines.clone(), lines].concat(), &expected);
    }

    #[test]
    fn reading_the_same_again_costs_its_size() {
        let read = |id: &str, input: &str| calls(id, &[[id, "Read", input]]);
        let text = |length: usize| format!("{:?}", "x".repeat(length));
        let file = r#"{"file_path":"/a"}"#;
        let part = r#"{"file_path":"/a","offset":5}"#;
        let lines = [
            read("a0000", file),
            result("a0000", false, &text(400)),
            // Another part, and the same part of another length.
            read("a0001", part),
            result("a0001", false, &text(400)),
            read("a0002", file),
            result("a0002", false, &text(399)),
            // 399 / 4 = 99, and a failure and an unchanged file in between.
            read("a0003", file),
            result("a0003", true, &text(9)),
            read("a0004", file),
            result(
                "a0004",
                false,
                r#""File unchanged since last read. Refer to it.""#,
            ),
            read("a0005", file),
            result("a0005", false, &text(399)),
            // A copy of the result.
            result("a0005", false, &text(399)),
            // Two in one response: 99 and 100.
            calls("a0006", &[["b0001", "Read", file], ["b0002", "Read", part]]),
            result("b0002", false, &text(400)),
            result("b0001", false, &text(399)),
        ];
        let mut expected = vec![
            "11 reread /a Read 1 0 0 0 99 0 reread:msg-of-sixteen-a0005",
            "14 reread /a Read 2 0 0 0 199 0 reread:msg-of-sixteen-a0006",
        ];
        check(&lines, &expected);

        // After a compaction, the agent has to read again.
        let mut later = lines.to_vec();
        later.push(r#"{"type":"system","subtype":"microcompact_boundary","uuid":"b"}"#.to_owned());
        later.push(read("a0007", file));
        later.push(result("a0007", false, &text(399)));
        check(&later, &expected);
        later.push(read("a0008", file));
        later.push(result("a0008", false, &text(399)));
        expected.push("20 reread /a Read 1 0 0 0 99 0 reread:msg-of-sixteen-a0008");
        check(&later, &expected);
    }

    #[test]
    fn a_reread_has_the_size_of_its_texts_without_escapes_and_images() {
        let notebook = r#"{"notebook_path":"/n"}"#;
        // 8 characters of two bytes and 4 line breaks: 20 bytes. 5 tokens.
        let content = r#"[{"type":"text","text":"éééé\n\n"},{"type":"image","source":{"data":"AAAAAAAAAAAA"}},{"type":"text","text":"éééé\n\n"}]"#;
        let image = r#"[{"type":"image","source":{"data":"AAAAAAAAAAAA"}}]"#;
        let read = |id: &str, content: &str| {
            [
                calls(id, &[[id, "NotebookRead", notebook]]),
                result(id, false, content),
            ]
        };
        let lines = [
            read("a0000", content),
            read("a0001", content),
            read("a0002", image),
            read("a0003", image),
        ];
        check(
            &lines.concat(),
            &[
                "3 reread /n NotebookRead 1 0 0 0 5 0 reread:msg-of-sixteen-a0001",
                "7 reread /n NotebookRead 1 0 0 0 0 0 reread:msg-of-sixteen-a0003",
            ],
        );
    }

    #[test]
    fn agents_do_not_share_what_they_read() {
        let read = |id: &str, agent: &str| {
            let line = calls(id, &[[id, "Read", r#"{"file_path":"/a"}"#]]);
            let fields = format!(r#","isSidechain":true,"agentId":"{agent}","message""#);
            [
                line.replace(r#","message""#, &fields),
                result(id, false, r#""12345678""#),
            ]
        };
        let lines = [
            read("a0000", "one"),
            read("a0001", "two"),
            read("a0002", "one"),
        ];
        check(
            &lines.concat(),
            &["5 reread /a Read 1 0 0 0 2 0 reread:msg-of-sixteen-a0002"],
        );
    }
}
