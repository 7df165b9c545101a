//! The index of a transcript: where its lines are, and which of them have something to jump to.
//!
//! It is built in one pass over the file, in bounded memory, and extended when the file has grown.
//! An index that was extended equals one that was built from scratch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;

use super::LINE_BYTES_MAX;
use super::agents::TranscriptFormat;
use super::entry::CallOutcome;
use super::lines::{LineReader, read_at};
use super::parsed::{ParsedLine, ParsedPart};

/// Lines between two checkpoints, unless the file has very many lines.
const STRIDE_LINES: u64 = 64;
/// Bytes between two checkpoints, unless the file is very long. A longer line is between two
/// checkpoints, so it never has to be read to be skipped.
const STRIDE_BYTES: u64 = 1 << 20;
/// Maximum number of checkpoints. Beyond it, every second one is dropped.
const CHECKPOINTS_MAX: usize = 1 << 16;
/// Maximum number of calls and of results. Later ones are not joined.
const CALLS_MAX: usize = 200_000;
/// Maximum number of lines in a list of marks.
pub(super) const MARKS_MAX: usize = 2000;
/// Number of bytes at the beginning and before the end that are compared before an index is
/// extended.
const COMPARED_BYTES: usize = 4096;

/// The beginning of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Checkpoint {
    /// The number of lines before it.
    lines_before: u64,
    offset: u64,
}

/// The place of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResultPlace {
    pub(super) line: u64,
    pub(super) offset: u64,
    pub(super) part: u32,
    pub(super) outcome: CallOutcome,
}

/// What a line can be jumped to for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MarkKind {
    Prompt,
    Error,
    Compaction,
    SubAgent,
}

/// The lines of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MarkedLines {
    /// Sorted, at most [`MARKS_MAX`].
    pub(super) lines: Vec<u64>,
    pub(super) total: u64,
}

impl MarkedLines {
    fn add(&mut self, line: u64) {
        // A result can be of a call before the last marked line.
        match self.lines.binary_search(&line) {
            Ok(_) => {}
            Err(at) => {
                self.total += 1;
                if self.lines.len() < MARKS_MAX {
                    self.lines.insert(at, line);
                }
            }
        }
    }
}

/// The lines to jump to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LineMarks {
    pub(super) prompts: MarkedLines,
    pub(super) errors: MarkedLines,
    pub(super) compactions: MarkedLines,
    pub(super) sub_agents: MarkedLines,
}

impl LineMarks {
    fn add(&mut self, kind: MarkKind, line: u64) {
        match kind {
            MarkKind::Prompt => self.prompts.add(line),
            MarkKind::Error => self.errors.add(line),
            MarkKind::Compaction => self.compactions.add(line),
            MarkKind::SubAgent => self.sub_agents.add(line),
        }
    }
}

/// The index of the first bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LineIndex {
    /// The format of all lines.
    format: TranscriptFormat,
    /// The number of complete lines.
    lines: u64,
    /// The offset after the last complete line.
    bytes: u64,
    /// The length of the last line, if it has no line break.
    tail_bytes: u64,
    checkpoints: Vec<Checkpoint>,
    stride_factor: u64,
    facts: LineFacts,
    /// The facts with those of the last line, if it has no line break.
    facts_with_tail: Option<Box<LineFacts>>,
    beginning: Vec<u8>,
    end: Vec<u8>,
}

/// What is known about lines. Calls are found by the hash of their id, and by line, because some
/// agents use the same ids again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LineFacts {
    calls: BTreeSet<(u64, u64)>,
    results: BTreeMap<(u64, u64), (u64, u32, CallOutcome)>,
    marks: LineMarks,
}

impl LineFacts {
    fn add(&mut self, line: u64, offset: u64, parsed: &ParsedLine<'_>) {
        for (part, parsed_part) in (0u32..).zip(&parsed.parts) {
            match parsed_part {
                ParsedPart::Prompt { .. } if parsed.sub_agent.is_none() => {
                    self.marks.add(MarkKind::Prompt, line);
                }
                ParsedPart::ToolCall {
                    id, starts_agent, ..
                } => {
                    if let Some(id) = id
                        && self.calls.len() < CALLS_MAX
                    {
                        self.calls.insert((hash(id), line));
                    }
                    if *starts_agent {
                        self.marks.add(MarkKind::SubAgent, line);
                    }
                }
                ParsedPart::ToolResult { call, outcome, .. } => {
                    let call_line = call.as_deref().and_then(|id| self.call_of(id, line));
                    if matches!(outcome, CallOutcome::Error | CallOutcome::Rejected) {
                        // The page shows the error where the call is.
                        self.marks.add(MarkKind::Error, call_line.unwrap_or(line));
                    }
                    if let Some(id) = call
                        && self.results.len() < CALLS_MAX
                    {
                        let place = (offset, part, *outcome);
                        self.results.entry((hash(id), line)).or_insert(place);
                    }
                }
                ParsedPart::ApiError { .. } => self.marks.add(MarkKind::Error, line),
                ParsedPart::Compaction {
                    is_boundary: true, ..
                } => self.marks.add(MarkKind::Compaction, line),
                _ => {}
            }
        }
    }

    fn call_before(&self, id: &str, line: u64) -> Option<u64> {
        let id = hash(id);
        let (_, line) = self.calls.range((id, 0)..(id, line)).next_back()?;
        Some(*line)
    }

    /// The line of the call of a result. Some agents write both into one line.
    fn call_of(&self, id: &str, line: u64) -> Option<u64> {
        self.call_before(id, line.saturating_add(1))
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

impl Default for LineIndex {
    fn default() -> Self {
        Self {
            format: TranscriptFormat::Claude,
            lines: 0,
            bytes: 0,
            tail_bytes: 0,
            checkpoints: vec![Checkpoint {
                lines_before: 0,
                offset: 0,
            }],
            stride_factor: 1,
            facts: LineFacts::default(),
            facts_with_tail: None,
            beginning: Vec::new(),
            end: Vec::new(),
        }
    }
}

impl LineIndex {
    /// The empty index of a transcript in this format.
    pub(super) fn new(format: TranscriptFormat) -> Self {
        Self {
            format,
            ..Self::default()
        }
    }

    /// The format of the transcript.
    pub(super) fn format(&self) -> TranscriptFormat {
        self.format
    }

    /// Extends the index to `size` bytes of the file of the transcript with this key. If `check`
    /// fails, the index is valid for the part before.
    ///
    /// # Errors
    /// The file cannot be read, or `check` failed.
    pub(super) fn extend<E: From<io::Error>>(
        &mut self,
        file: &File,
        key: &str,
        size: u64,
        mut check: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        self.facts_with_tail = None;
        self.tail_bytes = 0;
        let mut reader = LineReader::new(file, self.bytes, size);
        let mut checked_at = self.bytes;
        let result = loop {
            if reader.offset() - checked_at >= STRIDE_BYTES {
                checked_at = reader.offset();
                if let Err(error) = check() {
                    break Err(error);
                }
            }
            let offset = reader.offset();
            let line = match reader.next(LINE_BYTES_MAX) {
                Ok(Some(line)) => line,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            let text;
            let parsed = if line.is_whole() && self.format.is_indexed(&line.bytes) {
                text = String::from_utf8_lossy(&line.bytes);
                self.format.parse(&text, key)
            } else {
                None
            };
            let number = self.lines + 1;
            if !line.is_complete {
                self.tail_bytes = line.len;
                self.facts_with_tail = parsed.map(|parsed| {
                    let mut facts = Box::new(self.facts.clone());
                    facts.add(number, offset, &parsed);
                    facts
                });
                break Ok(());
            }
            if let Some(parsed) = parsed {
                self.facts.add(number, offset, &parsed);
            }
            self.lines = number;
            self.bytes = reader.offset();
            self.add_checkpoint();
        };
        self.beginning = bytes_of(file, 0, self.bytes.min(COMPARED_BYTES as u64))?;
        let end = self.bytes.saturating_sub(COMPARED_BYTES as u64);
        self.end = bytes_of(file, end, self.bytes - end)?;
        result
    }

    /// Whether the file still begins with the indexed bytes, as far as a quick check can tell.
    pub(super) fn is_prefix_of(&self, file: &File, size: u64) -> bool {
        let is_same = |bytes: &[u8], offset| {
            bytes_of(file, offset, bytes.len() as u64).is_ok_and(|read| read == bytes)
        };
        self.bytes <= size
            && is_same(&self.beginning, 0)
            && is_same(&self.end, self.bytes - self.end.len() as u64)
    }

    fn add_checkpoint(&mut self) {
        let here = Checkpoint {
            lines_before: self.lines,
            offset: self.bytes,
        };
        let Some(last) = self.checkpoints.last() else {
            return;
        };
        if here.lines_before - last.lines_before < STRIDE_LINES * self.stride_factor
            && here.offset - last.offset < STRIDE_BYTES * self.stride_factor
        {
            return;
        }
        self.checkpoints.push(here);
        if self.checkpoints.len() >= CHECKPOINTS_MAX {
            let mut number = 0;
            self.checkpoints.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.stride_factor *= 2;
        }
    }

    /// The number of lines, with the last one even if it has no line break.
    pub(super) fn line_count(&self) -> u64 {
        self.lines + u64::from(self.tail_bytes > 0)
    }

    /// The number of indexed bytes, with those of the last line.
    pub(super) fn byte_count(&self) -> u64 {
        self.bytes + self.tail_bytes
    }

    /// The last checkpoint at or before the line after the first `lines_before`: its offset, and
    /// the number of lines to skip from there.
    pub(super) fn checkpoint(&self, lines_before: u64) -> (u64, u64) {
        let after = self
            .checkpoints
            .partition_point(|checkpoint| checkpoint.lines_before <= lines_before);
        let found = after.checked_sub(1).and_then(|at| self.checkpoints.get(at));
        found.map_or((0, lines_before), |checkpoint| {
            let skipped = lines_before - checkpoint.lines_before;
            (checkpoint.offset, skipped)
        })
    }

    fn all_facts(&self) -> &LineFacts {
        self.facts_with_tail.as_deref().unwrap_or(&self.facts)
    }

    /// The lines to jump to.
    pub(super) fn marks(&self) -> &LineMarks {
        &self.all_facts().marks
    }

    /// The line of the call with this id before a line.
    pub(super) fn call_before(&self, id: &str, line: u64) -> Option<u64> {
        self.all_facts().call_before(id, line)
    }

    /// The line of the call with the id of a result in a line.
    pub(super) fn call_of(&self, id: &str, line: u64) -> Option<u64> {
        self.all_facts().call_of(id, line)
    }

    /// The result of the call with this id in a line: the first one before the id is used again.
    pub(super) fn result_of(&self, id: &str, call_line: u64) -> Option<ResultPlace> {
        let (facts, id) = (self.all_facts(), hash(id));
        let after = (id, call_line.saturating_add(1));
        let next_call = facts.calls.range(after..=(id, u64::MAX)).next();
        let end = next_call.map_or(u64::MAX, |(_, line)| line.saturating_sub(1));
        let (&(_, line), &(offset, part, outcome)) =
            facts.results.range((id, call_line)..=(id, end)).next()?;
        Some(ResultPlace {
            line,
            offset,
            part,
            outcome,
        })
    }

    /// The memory that the index needs, in bytes. An estimate.
    pub(super) fn weight(&self) -> usize {
        let facts = |facts: &LineFacts| {
            let marks = &facts.marks;
            let lists = [
                &marks.prompts,
                &marks.errors,
                &marks.compactions,
                &marks.sub_agents,
            ];
            let marked: usize = lists.iter().map(|list| list.lines.len() * 8).sum();
            facts.calls.len() * 32 + facts.results.len() * 56 + marked
        };
        let tail = self.facts_with_tail.as_deref().map_or(0, facts);
        4 * COMPARED_BYTES + self.checkpoints.len() * 16 + facts(&self.facts) + tail
    }
}

fn bytes_of(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(COMPARED_BYTES)];
    let read = read_at(file, &mut bytes, offset)?;
    bytes.truncate(read);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn extended(index: &mut LineIndex, file: &File, size: u64) {
        let check = || Ok::<(), io::Error>(());
        index.extend(file, "ada/one.jsonl", size, check).unwrap();
    }

    #[test]
    fn checkpoints_are_bounded_and_lead_to_every_line() {
        let mut file = tempfile::tempfile().unwrap();
        let lines = STRIDE_LINES * CHECKPOINTS_MAX as u64 + 1000;
        file.write_all(&vec![b'\n'; usize::try_from(lines).unwrap()])
            .unwrap();
        let mut index = LineIndex::default();
        extended(&mut index, &file, lines);
        assert_eq!(index.line_count(), lines);
        assert!(index.checkpoints.len() < CHECKPOINTS_MAX);
        for line in [0, 1, 63, 64, 1000, lines - 1] {
            let (offset, skipped) = index.checkpoint(line);
            assert_eq!(offset + skipped, line);
            assert!(skipped < 2 * STRIDE_LINES);
        }
        // Extending in steps has the same result, even across the dropped checkpoints.
        let mut stepwise = LineIndex::default();
        for size in [1, lines / 3, lines - 1, lines] {
            extended(&mut stepwise, &file, size);
        }
        assert!(stepwise == index);
    }

    #[test]
    fn a_line_after_a_long_one_has_a_checkpoint() {
        let mut file = tempfile::tempfile().unwrap();
        let long = usize::try_from(2 * STRIDE_BYTES).unwrap();
        file.write_all(b"{}\n").unwrap();
        file.write_all(&vec![b'x'; long]).unwrap();
        file.write_all(b"\n{}\n").unwrap();
        let mut index = LineIndex::default();
        extended(&mut index, &file, u64::MAX);
        assert_eq!(index.checkpoint(2), (long as u64 + 4, 0));
        assert_eq!(index.checkpoint(1), (0, 1));
    }

    #[test]
    fn ids_that_are_used_again_are_joined_in_order() {
        let mut file = tempfile::tempfile().unwrap();
        let call = r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"call_0","name":"Bash"}]}}"#;
        let result = r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"call_0","is_error":true}]}}"#;
        for line in [call, result, call, call, result] {
            writeln!(file, "{line}").unwrap();
        }
        let mut index = LineIndex::default();
        extended(&mut index, &file, u64::MAX);
        let result = |line| index.result_of("call_0", line).map(|place| place.line);
        assert_eq!((result(1), result(3), result(4)), (Some(2), None, Some(5)));
        assert_eq!(index.call_before("call_0", 2), Some(1));
        assert_eq!(index.call_before("call_0", 5), Some(4));
        assert_eq!(index.call_before("call_0", 1), None);
        assert_eq!(index.marks().errors.lines, [1, 4]);
    }

    #[test]
    fn a_file_with_another_beginning_or_end_is_not_extended() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"{\"a\":1}\n{\"b\":1}\n{").unwrap();
        let mut index = LineIndex::default();
        extended(&mut index, &file, 17);
        assert_eq!((index.line_count(), index.byte_count()), (3, 17));
        assert!(index.is_prefix_of(&file, 17));
        assert!(!index.is_prefix_of(&file, 10));
        use std::os::unix::fs::FileExt as _;
        file.write_all_at(b"2", 5).unwrap();
        assert!(!index.is_prefix_of(&file, 17));
        file.write_all_at(b"1", 5).unwrap();
        file.write_all_at(b"2", 13).unwrap();
        assert!(!index.is_prefix_of(&file, 17));
    }
}
