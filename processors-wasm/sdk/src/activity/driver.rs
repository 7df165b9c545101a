//! Reads the lines of a session and passes them to the reader of its agent.

use crate::activity::claude::ClaudeReader;
use crate::activity::codex::CodexReader;
use crate::activity::copilot::CopilotReader;
use crate::activity::document::DocumentParts;
use crate::activity::gemini::GeminiReader;
use crate::activity::kimi::KimiReader;
use crate::activity::pi::PiReader;
use crate::activity::qwen::QwenReader;
use crate::activity::{CodingAgent, Item, Origin, Tally};
use crate::agent::is_document;
use crate::json::Json;
use crate::lines::{Line, Lines};
use crate::scan::{Broken, Outline, Scanner};
use crate::transcript::{Transcript, readable};

/// The activity of a session. See [`crate::activity`].
pub struct Activity<'h> {
    lines: Lines<'h>,
    agent: CodingAgent,
    /// Whether the file is one object of several lines.
    is_document: bool,
    /// The key of the session. Some facts are only in its path.
    key: &'h str,
}

/// Converts the lines of one agent to items.
///
/// A reader stores only the data that a rule needs later, never the items. To add an agent,
/// implement this trait in a module of its own and select it in [`Activity::for_each`].
pub(super) trait Reader {
    /// Reads one JSON object of a line, and passes its items to `items`.
    fn read(&mut self, object: Json<'_>, items: &mut Items<'_>);

    /// Ends the file. An item that is only complete with later lines of a longer file must not be
    /// emitted here, because a prefix of a file must not have an identity that the file lacks.
    fn end(&mut self, _items: &mut Items<'_>) {}

    /// The origin of the current line, for lines without items. The driver sets `line` and `agent`.
    fn origin(&self) -> Origin<'_>;
}

/// Receives the items of one line.
pub(super) struct Items<'e> {
    line: u64,
    agent: CodingAgent,
    each: &'e mut dyn FnMut(&Origin<'_>, &Item<'_>),
    is_empty: bool,
    is_damaged: bool,
    unknown: u64,
}

impl Items<'_> {
    /// The 1-based number of the current line.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Passes an item of the current line on.
    pub(super) fn emit(&mut self, origin: Origin<'_>, item: &Item<'_>) {
        self.emit_from(self.line, origin, item);
    }

    /// Passes an item on that began on an earlier line.
    pub(super) fn emit_from(&mut self, line: u64, origin: Origin<'_>, item: &Item<'_>) {
        let origin = Origin {
            line,
            agent: self.agent,
            ..origin
        };
        self.is_empty = false;
        self.unknown += u64::from(matches!(item, Item::Unknown(_)));
        (self.each)(&origin, item);
    }

    /// Notes that a value of the line could not be read.
    pub(super) fn note_damage(&mut self) {
        self.is_damaged = true;
    }
}

impl<'h> Activity<'h> {
    pub(crate) fn new(mut lines: Lines<'h>, key: &'h str) -> Self {
        let beginning = lines.peek_chunk();
        let agent = CodingAgent::of_beginning(beginning);
        Self {
            is_document: agent == CodingAgent::Gemini && is_document(beginning),
            lines,
            agent,
            key,
        }
    }

    /// The agent that wrote the file.
    pub fn agent(&self) -> CodingAgent {
        self.agent
    }

    /// Whether the agent stays the same whatever the file contains after its complete lines.
    pub fn is_agent_certain(&mut self) -> bool {
        let beginning = self.lines.peek_chunk();
        let lines = memchr::memrchr(b'\n', beginning).map(|newline| &beginning[..newline]);
        lines.and_then(CodingAgent::recognize) == Some(self.agent)
    }

    /// The entries of the file, for processors that need data of Claude Code that items do not
    /// have. Meaningful only if the agent is [`CodingAgent::Claude`].
    pub fn into_transcript(self) -> Transcript<'h> {
        Transcript::new(self.lines)
    }

    /// Calls `each` with the origin and the item, for every item in order. The lines of an agent
    /// without a reader each have one [`Item::Other`].
    pub fn for_each(self, mut each: impl FnMut(&Origin<'_>, &Item<'_>)) -> Tally {
        let key = self.key;
        match self.agent {
            CodingAgent::Claude => {
                let mut reader = ClaudeReader::default();
                let transcript = self.into_transcript();
                transcript.for_each(|line, entry| reader.read(line, entry, &mut each))
            }
            CodingAgent::Codex => self.drive(&mut CodexReader::default(), &mut each),
            CodingAgent::Copilot => self.drive(&mut CopilotReader::default(), &mut each),
            CodingAgent::Gemini => {
                let mut reader = GeminiReader::new(key, self.is_document);
                self.drive(&mut reader, &mut each)
            }
            CodingAgent::Kimi => self.drive(&mut KimiReader::new(key), &mut each),
            CodingAgent::Pi => self.drive(&mut PiReader::default(), &mut each),
            CodingAgent::Qwen => self.drive(&mut QwenReader::default(), &mut each),
            _ => self.drive(&mut NoReader, &mut each),
        }
    }

    fn drive(
        mut self,
        reader: &mut dyn Reader,
        each: &mut dyn FnMut(&Origin<'_>, &Item<'_>),
    ) -> Tally {
        let mut tally = Tally::default();
        let mut outline = Outline::default();
        let mut items = Items {
            line: 0,
            agent: self.agent,
            each,
            is_empty: true,
            is_damaged: false,
            unknown: 0,
        };
        if self.is_document {
            self.read_document(reader, &mut items, &mut tally);
        } else {
            while let Some(line) = self.lines.next_line() {
                read_line(&line, &mut outline, reader, &mut items, &mut tally);
            }
        }
        reader.end(&mut items);
        tally.unknown_types = items.unknown;
        tally.passed_over_lines = self.lines.passed_over();
        tally.lines += tally.passed_over_lines;
        tally
    }

    /// Reads the parts of a document as if each were a line. Lines of the file are counted, so a
    /// line on which several bad parts begin counts once.
    fn read_document(&mut self, reader: &mut dyn Reader, items: &mut Items<'_>, tally: &mut Tally) {
        let mut parts = DocumentParts::default();
        let mut outline = Outline::default();
        let mut bad_line = 0;
        while let Some(line) = self.lines.next_line() {
            tally.lines += u64::from(!line.bytes.trim_ascii().is_empty());
            parts.read_line(line.number, line.bytes, &mut |part| {
                let mut own = Tally::default();
                match part.bytes {
                    Some(bytes) => {
                        let line = Line {
                            number: part.line,
                            bytes,
                            is_ended: true,
                        };
                        read_line(&line, &mut outline, reader, items, &mut own);
                    }
                    None => own.bad_lines = 1,
                }
                if own.bad_lines > 0 && bad_line != part.line {
                    bad_line = part.line;
                    tally.bad_lines += 1;
                }
            });
        }
        tally.torn_tail = parts.is_open();
    }
}

/// Reads the objects of one line, and updates the tally by the same rules as [`Transcript`].
fn read_line(
    line: &Line<'_>,
    outline: &mut Outline,
    reader: &mut dyn Reader,
    items: &mut Items<'_>,
    tally: &mut Tally,
) {
    let (text, is_replaced) = readable(line.bytes);
    let mut scanner = Scanner::new(&text);
    let mut broken = None;
    let mut is_blank = true;
    items.line = line.number;
    items.is_damaged = is_replaced;
    while broken.is_none() && scanner.peek().is_some() {
        is_blank = false;
        match scanner.outlined(outline) {
            Ok(json) if json.is_object() => {
                items.is_empty = true;
                reader.read(json, items);
                if items.is_empty {
                    items.emit(reader.origin(), &Item::Other);
                }
            }
            Ok(_) if scanner.is_at_boundary() => items.is_damaged = true,
            Ok(_) => broken = Some(Broken::Malformed),
            Err(kind) => broken = Some(kind),
        }
    }
    if is_blank {
        return;
    }
    tally.lines += 1;
    let mut is_bad = items.is_damaged || scanner.is_damaged();
    match broken {
        Some(Broken::Torn) if !line.is_ended => {
            tally.torn_tail = true;
            is_bad = items.is_damaged && !is_replaced;
        }
        Some(_) => is_bad = true,
        None => {}
    }
    tally.bad_lines += u64::from(is_bad);
}

/// The reader for files of agents that have none.
struct NoReader;

impl Reader for NoReader {
    fn read(&mut self, _: Json<'_>, _: &mut Items<'_>) {}

    fn origin(&self) -> Origin<'_> {
        Origin::default()
    }
}
