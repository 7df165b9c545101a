//! Assembles the entries of a page: reads its lines, joins results to their calls, and makes all
//! texts safe to show.

use std::fs::File;
use std::io;

use session_pipeline_host::redaction::KnownSecrets;
use session_pipeline_host::sessions::{SessionsRoot, is_key};
use session_pipeline_store::{StoreError, check_canceled};

use super::agents::TranscriptFormat;
use super::entry::{
    CallOutcome, EntryPart, ModelResponse, StartedSubAgent, SubAgentReference, ToolCall,
    TranscriptEntry, TranscriptText, UnreadableReason,
};
use super::index::{LineIndex, ResultPlace};
use super::lines::{LineReader, RawLine, read_at};
use super::parsed::{ParsedLine, ParsedPart, SourceText};
use super::{
    LINE_BYTES_MAX, LONG_LINE_BYTES, MarkedLines, PAGE_BYTES_MAX, RESULT_BYTES_MAX,
    TranscriptMarks, TranscriptPage, TranscriptPart, WHOLE_TEXT_BYTES_MAX, index, shown,
};

/// Why a page cannot be assembled.
#[derive(Debug)]
pub(super) enum ReadFailure {
    Io(io::Error),
    /// The file was changed in place, so the index does not describe it.
    Outdated,
    Canceled(StoreError),
}

impl From<io::Error> for ReadFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A transcript that is open for reading, with its index.
pub(super) struct OpenTranscript<'t> {
    pub(super) root: &'t SessionsRoot,
    pub(super) key: &'t str,
    pub(super) file: &'t File,
    pub(super) index: &'t LineIndex,
    /// Whether to check that the index describes the file.
    pub(super) needs_check: bool,
}

/// A line that was read.
struct PageLine {
    number: u64,
    raw: RawLine,
    /// The line as text, if it can be parsed.
    text: Option<String>,
}

impl PageLine {
    fn new(number: u64, raw: RawLine) -> Self {
        let text = raw
            .is_whole()
            .then(|| String::from_utf8_lossy(&raw.bytes).into_owned());
        Self { number, raw, text }
    }

    fn parse(&self, format: TranscriptFormat, key: &str) -> Option<ParsedLine<'_>> {
        format.parse(self.text.as_deref()?, key)
    }
}

/// A result that was joined to its call.
struct JoinedResult {
    text: TranscriptText,
    agent_id: Option<String>,
    time: Option<i64>,
}

impl OpenTranscript<'_> {
    /// See [`super::TranscriptIndexes::page`].
    pub(super) fn page(&self, after: u64, limit: u32) -> Result<TranscriptPage, ReadFailure> {
        let lines = self.lines(after, limit)?;
        let last = after + lines.len() as u64;
        let mut results_left = RESULT_BYTES_MAX;
        let mut entries = Vec::with_capacity(lines.len());
        for line in &lines {
            check_canceled().map_err(ReadFailure::Canceled)?;
            let mut entry = self.unsafe_entry(line, &lines, &mut results_left)?;
            let mut known = KnownSecrets::default();
            shown::learn(&mut known, &mut entry);
            shown::make_safe(&mut entry, &known);
            entries.push(entry);
        }
        let has_more = !lines.is_empty() && last < self.index.line_count();
        Ok(TranscriptPage {
            bytes: self.index.byte_count(),
            lines: self.index.line_count(),
            entries,
            next: has_more.then_some(last),
        })
    }

    /// See [`super::TranscriptIndexes::part`].
    pub(super) fn part(
        &self,
        number: u64,
        part: u32,
    ) -> Result<Option<TranscriptPart>, ReadFailure> {
        let Some(before) = number.checked_sub(1) else {
            return Ok(None);
        };
        let lines = self.lines(before, 1)?;
        let Some(line) = lines.first() else {
            return Ok(None);
        };
        let parsed = line.parse(self.index.format(), self.key);
        let parsed_part = parsed
            .as_ref()
            .and_then(|parsed| parsed.parts.get(usize::try_from(part).ok()?));
        let (kind, whole) = match parsed_part {
            Some(parsed_part) => {
                let (kind, text) = kind_and_text(parsed_part);
                (kind, text.decode())
            }
            None if parsed.is_none() && part == 0 => {
                ("unreadable", String::from_utf8_lossy(&line.raw.bytes))
            }
            None => return Ok(None),
        };
        let (beginning, is_cut) = shown::window(&whole, WHOLE_TEXT_BYTES_MAX);
        let mut text = TranscriptText {
            text: beginning.to_owned(),
            bytes: whole.len() as u64,
            is_truncated: is_cut || (parsed.is_none() && !line.raw.is_whole()),
            line: number,
            part,
        };
        if parsed.is_none() {
            text.bytes = line.raw.len;
        }
        // The same secrets as on the page: those of the whole entry, and of the call of a result.
        let mut known = KnownSecrets::default();
        let mut results_left = RESULT_BYTES_MAX;
        let mut entry = self.unsafe_entry(line, &lines, &mut results_left)?;
        shown::learn(&mut known, &mut entry);
        let part = entry.parts.get(usize::try_from(part).unwrap_or(usize::MAX));
        if let Some(EntryPart::ToolResult {
            call_line: Some(call_line),
            ..
        }) = part
        {
            let lines = self.lines(call_line.saturating_sub(1), 1)?;
            for line in &lines {
                let mut entry = self.unsafe_entry(line, &lines, &mut results_left)?;
                shown::learn(&mut known, &mut entry);
            }
        }
        known.learn(&text.text);
        shown::cut_text(&mut text, &known, WHOLE_TEXT_BYTES_MAX);
        cut_bytes(&mut text, WHOLE_TEXT_BYTES_MAX);
        Ok(Some(TranscriptPart { kind, text }))
    }

    /// See [`super::TranscriptIndexes::marks`].
    pub(super) fn marks(&self) -> TranscriptMarks {
        let marks = self.index.marks();
        let lines = |marked: &index::MarkedLines| MarkedLines {
            lines: marked.lines.clone(),
            total: marked.total,
        };
        TranscriptMarks {
            prompts: lines(&marks.prompts),
            errors: lines(&marks.errors),
            compactions: lines(&marks.compactions),
            sub_agents: lines(&marks.sub_agents),
        }
    }

    /// Reads lines. Long ones are read in part.
    fn lines(&self, after: u64, limit: u32) -> Result<Vec<PageLine>, ReadFailure> {
        let mut lines = Vec::new();
        let count = self.index.line_count();
        if after >= count {
            return Ok(lines);
        }
        let (offset, skipped) = self.index.checkpoint(after);
        self.check(offset)?;
        let mut reader = LineReader::new(self.file, offset, self.index.byte_count());
        reader.skip(skipped)?;
        let (mut number, mut read) = (after, 0);
        while lines.len() < limit as usize && number < count && read < PAGE_BYTES_MAX {
            number += 1;
            let offset = reader.offset();
            let (next, skipped) = self.index.checkpoint(number);
            let is_known_long = skipped == 0 && next > offset + LINE_BYTES_MAX as u64 + 1;
            let raw = if is_known_long {
                let mut bytes = vec![0; LONG_LINE_BYTES];
                let len = read_at(self.file, &mut bytes, offset)?;
                bytes.truncate(len);
                reader.seek(next);
                RawLine {
                    bytes,
                    len: next - offset - 1,
                    is_complete: true,
                }
            } else {
                match reader.next(LINE_BYTES_MAX)? {
                    Some(mut raw) => {
                        if !raw.is_whole() {
                            raw.bytes.truncate(LONG_LINE_BYTES);
                        }
                        raw
                    }
                    None => break,
                }
            };
            read += raw.bytes.len() as u64;
            lines.push(PageLine::new(number, raw));
        }
        Ok(lines)
    }

    /// Checks that an offset of the index is the beginning of a line.
    fn check(&self, offset: u64) -> Result<(), ReadFailure> {
        if offset == 0 || !self.needs_check {
            return Ok(());
        }
        let mut before = [0];
        let read = read_at(self.file, &mut before, offset - 1)?;
        match read == 1 && before == *b"\n" {
            true => Ok(()),
            false => Err(ReadFailure::Outdated),
        }
    }

    /// The entry of a line, with texts that are not redacted yet.
    fn unsafe_entry(
        &self,
        line: &PageLine,
        page: &[PageLine],
        results_left: &mut u64,
    ) -> Result<TranscriptEntry, ReadFailure> {
        let number = line.number;
        let mut entry = TranscriptEntry {
            line: number,
            bytes: line.raw.len,
            uuid: None,
            parent: None,
            time: None,
            sub_agent: None,
            response: None,
            parts: Vec::new(),
            has_more_parts: false,
        };
        if line
            .text
            .as_deref()
            .is_some_and(|text| text.trim().is_empty())
        {
            return Ok(entry);
        }
        let Some(parsed) = line.parse(self.index.format(), self.key) else {
            entry.parts.push(unreadable(line));
            return Ok(entry);
        };
        let id = |text: &Option<_>| text.as_deref().and_then(shown::id);
        entry.uuid = id(&parsed.uuid);
        entry.parent = id(&parsed.parent);
        entry.time = parsed.time.map(|time| time.to_string());
        entry.sub_agent = parsed.sub_agent.as_ref().map(|agent| {
            let call = agent.call.as_deref();
            SubAgentReference {
                agent_id: id(&agent.agent_id),
                call_line: call.and_then(|call| self.index.call_before(call, number)),
            }
        });
        entry.response = parsed.response.clone().map(|response| ModelResponse {
            id: response.id.as_deref().and_then(shown::id),
            ..response
        });
        entry.has_more_parts = parsed.has_more_parts;
        for (at, part) in (0u32..).zip(&parsed.parts) {
            let part = self.unsafe_part(&parsed, number, at, part, page, results_left)?;
            entry.parts.push(part);
        }
        Ok(entry)
    }

    fn unsafe_part(
        &self,
        line: &ParsedLine<'_>,
        number: u64,
        at: u32,
        part: &ParsedPart<'_>,
        page: &[PageLine],
        results_left: &mut u64,
    ) -> Result<EntryPart, ReadFailure> {
        let text = |source: &SourceText<'_>| beginning(&source.decode(), number, at);
        Ok(match part {
            ParsedPart::Prompt {
                command,
                text: source,
            } => EntryPart::Prompt {
                command: command.clone(),
                text: text(source),
            },
            ParsedPart::Response(source) => EntryPart::Response { text: text(source) },
            ParsedPart::Thinking(source) => EntryPart::Thinking { text: text(source) },
            ParsedPart::ToolCall {
                id,
                name,
                summary,
                input,
                starts_agent,
                agent_type,
            } => {
                let place = id
                    .as_deref()
                    .and_then(|id| self.index.result_of(id, number));
                let joined = match (id.as_deref(), place) {
                    (Some(id), Some(place)) => self.joined(id, place, page, results_left)?,
                    _ => None,
                };
                let sub_agent = starts_agent.then(|| {
                    let agent_id = joined
                        .as_ref()
                        .and_then(|joined| joined.agent_id.as_deref());
                    StartedSubAgent {
                        session: agent_id.and_then(|id| self.sub_agent_session(id)),
                        agent_id: agent_id.and_then(shown::id),
                        agent_type: agent_type.clone(),
                    }
                });
                let ended = joined.as_ref().and_then(|joined| joined.time);
                let duration = ended.zip(line.time).map(|(end, start)| end - start.0);
                EntryPart::ToolCall(Box::new(ToolCall {
                    id: id.as_deref().and_then(shown::id),
                    name: name.clone().into_owned(),
                    summary: summary.clone(),
                    input: text(input),
                    outcome: match (&joined, place) {
                        (Some(_), Some(place)) => place.outcome,
                        _ => CallOutcome::Pending,
                    },
                    duration_ms: duration.and_then(|micros| u64::try_from(micros / 1000).ok()),
                    result: joined.map(|joined| joined.text),
                    sub_agent,
                }))
            }
            ParsedPart::ToolResult {
                call,
                outcome,
                text: source,
                ..
            } => {
                // The call shows the text of its first result only.
                let call_line = call.as_deref().and_then(|id| {
                    let call_line = self.index.call_of(id, number)?;
                    let place = self.index.result_of(id, call_line)?;
                    ((place.line, place.part) == (number, at)).then_some(call_line)
                });
                EntryPart::ToolResult {
                    call_line,
                    outcome: *outcome,
                    text: call_line.is_none().then(|| text(source)),
                }
            }
            ParsedPart::Compaction {
                trigger,
                tokens_before,
                text: source,
                ..
            } => EntryPart::Compaction {
                trigger: trigger.clone(),
                tokens_before: *tokens_before,
                text: text(source),
            },
            ParsedPart::ApiError {
                status,
                text: source,
            } => EntryPart::ApiError {
                status: *status,
                text: text(source),
            },
            ParsedPart::Notice { name, text: source } => EntryPart::Notice {
                name: name.clone(),
                text: text(source),
            },
            ParsedPart::Other { name, text: source } => EntryPart::Other {
                name: name.clone(),
                text: text(source),
            },
        })
    }

    /// Reads a result. `None` if the file does not have it any more.
    fn joined(
        &self,
        id: &str,
        place: ResultPlace,
        page: &[PageLine],
        results_left: &mut u64,
    ) -> Result<Option<JoinedResult>, ReadFailure> {
        let on_page = page.binary_search_by_key(&place.line, |line| line.number);
        let read;
        let line = match on_page.ok().and_then(|at| page.get(at)) {
            Some(line) => line,
            None if *results_left == 0 => return Ok(Some(unread(place))),
            None => {
                let end = self.index.byte_count();
                let mut reader = LineReader::new(self.file, place.offset, end);
                let Some(raw) = reader.next(LINE_BYTES_MAX)? else {
                    return Ok(None);
                };
                *results_left = results_left.saturating_sub(raw.len);
                read = PageLine::new(place.line, raw);
                &read
            }
        };
        let Some(parsed) = line.parse(self.index.format(), self.key) else {
            return Ok(None);
        };
        let part = usize::try_from(place.part)
            .ok()
            .and_then(|part| parsed.parts.get(part));
        let Some(ParsedPart::ToolResult {
            call: Some(call),
            text,
            agent_id,
            ..
        }) = part
        else {
            return Ok(None);
        };
        Ok((call == id).then(|| JoinedResult {
            text: beginning(&text.decode(), place.line, place.part),
            agent_id: agent_id.clone(),
            time: parsed.time.map(|time| time.0),
        }))
    }

    /// The key of the transcript of a sub-agent, if it exists.
    fn sub_agent_session(&self, agent_id: &str) -> Option<String> {
        let format = self.index.format();
        let keys = format.sub_agent_keys(self.key, agent_id).into_iter();
        keys.into_iter()
            .find(|key| is_key(key) && self.root.stat(key).is_some())
    }
}

/// A result that was not read, because the results of the page are too long.
fn unread(place: ResultPlace) -> JoinedResult {
    JoinedResult {
        text: TranscriptText {
            text: String::new(),
            bytes: 0,
            is_truncated: true,
            line: place.line,
            part: place.part,
        },
        agent_id: None,
        time: None,
    }
}

/// The beginning of a text, not redacted yet.
fn beginning(whole: &str, line: u64, part: u32) -> TranscriptText {
    let (text, is_truncated) = shown::learned_part(whole);
    TranscriptText {
        text: text.to_owned(),
        bytes: whole.len() as u64,
        is_truncated,
        line,
        part,
    }
}

fn unreadable(line: &PageLine) -> EntryPart {
    let reason = match (&line.text, line.raw.is_complete) {
        (None, _) => UnreadableReason::TooLong,
        (Some(_), true) => UnreadableReason::Invalid,
        (Some(_), false) => UnreadableReason::Incomplete,
    };
    let text = String::from_utf8_lossy(&line.raw.bytes);
    let mut text = beginning(&text, line.number, 0);
    text.bytes = line.raw.len;
    text.is_truncated |= !line.raw.is_whole();
    EntryPart::Unreadable { reason, text }
}

fn kind_and_text<'p, 'a>(part: &'p ParsedPart<'a>) -> (&'static str, &'p SourceText<'a>) {
    match part {
        ParsedPart::Prompt { text, .. } => ("prompt", text),
        ParsedPart::Response(text) => ("response", text),
        ParsedPart::Thinking(text) => ("thinking", text),
        ParsedPart::ToolCall { input, .. } => ("tool_call", input),
        ParsedPart::ToolResult { text, .. } => ("tool_result", text),
        ParsedPart::Compaction { text, .. } => ("compaction", text),
        ParsedPart::ApiError { text, .. } => ("api_error", text),
        ParsedPart::Notice { text, .. } => ("notice", text),
        ParsedPart::Other { text, .. } => ("other", text),
    }
}

/// Cuts a text at a number of bytes.
fn cut_bytes(text: &mut TranscriptText, bytes_max: usize) {
    if text.text.len() > bytes_max {
        let end = text.text.floor_char_boundary(bytes_max);
        text.text.truncate(end);
        text.is_truncated = true;
    }
}
