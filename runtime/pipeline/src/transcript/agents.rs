//! The formats of agents. A transcript has one, which its first lines show, and each of its lines is
//! parsed on its own.
//!
//! Every parser produces a [`ParsedLine`], so that nothing else depends on a format. What a parser
//! does not know is shown as it is.

mod codex;
mod copilot;
mod gemini;
mod kimi;
mod pi;
mod qwen;
mod shape;

use std::borrow::Cow;
use std::fs::File;
use std::io;

use session_pipeline_host::clock::UtcMicros;

use super::entry::{CallOutcome, ResponseTokens};
use super::lines::read_at;
use super::parsed::{PARTS_MAX, ParsedLine, ParsedPart, SourceText, fields_text};
use super::{claude, input, json};

/// The number of bytes that show the format.
const BEGINNING_BYTES: u64 = 256 << 10;

/// The format of a transcript.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TranscriptFormat {
    /// Claude Code, and all other files.
    #[default]
    Claude,
    Codex,
    Copilot,
    Gemini,
    Kimi,
    Pi,
    Qwen,
}

impl TranscriptFormat {
    /// The name of the agent, as in reports.
    pub(super) fn agent(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Copilot => "copilot",
            Self::Gemini => "gemini",
            Self::Kimi => "kimi",
            Self::Pi => "pi",
            Self::Qwen => "qwen",
        }
    }

    /// Whether a file with this beginning is one object of several lines.
    pub(super) fn is_document(beginning: &[u8]) -> bool {
        shape::is_document(beginning)
    }

    /// The format of a file with this beginning.
    pub(super) fn of_beginning(beginning: &[u8]) -> Self {
        shape::format_of(beginning).unwrap_or_default()
    }

    /// Whether a line can have something that the index needs.
    pub(super) fn is_indexed(self, line: &[u8]) -> bool {
        self != Self::Claude || claude::is_indexed(line)
    }

    /// Parses a line of the transcript with this key. `None`: it is not a JSON object.
    pub(super) fn parse<'a>(self, line: &'a str, key: &str) -> Option<ParsedLine<'a>> {
        let mut parsed = match self {
            Self::Claude => return claude::parse(line, key),
            Self::Codex => codex::parse(line),
            Self::Copilot => copilot::parse(line),
            Self::Gemini => gemini::parse(line),
            Self::Kimi => kimi::parse(line),
            Self::Pi => pi::parse(line),
            Self::Qwen => qwen::parse(line),
        }?;
        if parsed.parts.len() > PARTS_MAX {
            parsed.parts.truncate(PARTS_MAX);
            parsed.has_more_parts = true;
        }
        Some(parsed)
    }

    /// The keys at which the transcript of a sub-agent can be, best first.
    pub(super) fn sub_agent_keys(self, key: &str, agent_id: &str) -> Vec<String> {
        match self {
            Self::Claude => claude::sub_agent_keys(key, agent_id),
            _ => Vec::new(),
        }
    }
}

/// The bytes of a file with this many bytes that show its format.
///
/// # Errors
/// The file cannot be read.
pub(super) fn beginning_of(file: &File, size: u64) -> io::Result<Vec<u8>> {
    let wanted = usize::try_from(size.min(BEGINNING_BYTES)).unwrap_or_default();
    let mut beginning = vec![0; wanted];
    let read = read_at(file, &mut beginning, 0)?;
    beginning.truncate(read);
    Ok(beginning)
}

/// A line with an id and a time in RFC 3339, without parts.
fn line<'a>(id: Option<&'a str>, time: Option<&str>) -> ParsedLine<'a> {
    ParsedLine {
        uuid: json::nonempty(id),
        time: json::nonempty(time).and_then(|time| time.parse::<UtcMicros>().ok()),
        ..ParsedLine::default()
    }
}

/// Anything that is not a part of the conversation.
fn other<'a>(name: &str, json: &'a str) -> ParsedPart<'a> {
    ParsedPart::Other {
        name: name.to_owned(),
        text: SourceText::Text(Cow::Borrowed(json)),
    }
}

fn notice<'a>(name: &str, text: SourceText<'a>) -> ParsedPart<'a> {
    ParsedPart::Notice {
        name: name.to_owned(),
        text,
    }
}

/// A text in the name of the user: a prompt, a command, or what the agent added, which begins with
/// one of these texts.
fn said<'a>(text: Cow<'a, str>, added: &[&str]) -> ParsedPart<'a> {
    let start = text.trim_start();
    if added.iter().any(|added| start.starts_with(added)) {
        return notice("context", SourceText::Text(text));
    }
    let Some(command) = command_of(start) else {
        let text = SourceText::Text(text);
        return ParsedPart::Prompt {
            command: None,
            text,
        };
    };
    let arguments = start.get(command.len()..).unwrap_or_default();
    ParsedPart::Prompt {
        command: Some(command.to_owned()),
        text: SourceText::Text(Cow::Owned(arguments.trim_start().to_owned())),
    }
}

/// The command at the beginning of a text, with its slash. A path is not one.
fn command_of(text: &str) -> Option<&str> {
    let word = text.split(char::is_whitespace).next()?;
    let name = word.strip_prefix('/')?;
    let is_part = |part: char| part.is_alphanumeric() || matches!(part, '-' | '_' | ':' | '.');
    let is_name = name.starts_with(char::is_alphabetic)
        && name.ends_with(char::is_alphanumeric)
        && name.chars().all(is_part);
    is_name.then_some(word)
}

/// The text of a content: a text, or the texts of its parts.
fn text_of(content: &str) -> Cow<'_, str> {
    SourceText::Content(content).decode()
}

/// A call with its input, which is JSON or JSON in a text.
fn call<'a>(
    id: Option<&'a str>,
    name: Option<Cow<'a, str>>,
    arguments: Option<&'a str>,
    agent_tools: &[&str],
) -> ParsedPart<'a> {
    let name = name.unwrap_or(Cow::Borrowed("unknown tool"));
    let starts_agent = agent_tools.contains(&name.as_ref());
    // A text that is not JSON is the input itself, such as a patch.
    let inner = arguments.and_then(json::text);
    let object = inner.as_deref().or(arguments).unwrap_or_default();
    let summary = input::summary(object);
    let summary = match (summary.is_empty(), &inner) {
        (true, Some(inner)) if !inner.trim_start().starts_with(['{', '[']) => {
            let line = inner.trim_start().lines().next().unwrap_or_default();
            line.trim_end().to_owned()
        }
        _ => summary,
    };
    let agent_type = match starts_agent {
        true => input::agent_type(object),
        false => None,
    };
    let input = match (&inner, arguments) {
        (Some(inner), _) => SourceText::Text(Cow::Owned(fields_text(inner).into_owned())),
        (None, Some(arguments)) => SourceText::Fields(arguments),
        (None, None) => SourceText::EMPTY,
    };
    ParsedPart::ToolCall {
        id: json::nonempty(id),
        name,
        summary,
        input,
        starts_agent,
        agent_type,
    }
}

fn result<'a>(call: Option<&'a str>, outcome: CallOutcome, text: SourceText<'a>) -> ParsedPart<'a> {
    ParsedPart::ToolResult {
        call: json::nonempty(call),
        outcome,
        text,
        agent_id: None,
    }
}

/// The tokens of a response, which counts each class on its own. The names are those of the input, of
/// reads from the cache, of writes to it, and of the output.
fn tokens_of(usage: &str, names: [&str; 4]) -> Option<ResponseTokens> {
    let found = json::fields(usage, names)?;
    let [input, cache_read, cache_write, output] =
        found.map(|count| json::number(count).unwrap_or(0));
    let tokens = ResponseTokens {
        input,
        cache_read,
        cache_write,
        output,
    };
    (tokens != ResponseTokens::default()).then_some(tokens)
}

/// A field of an object.
fn field<'a>(json: Option<&'a str>, name: &str) -> Option<&'a str> {
    json::fields(json?, [name]).and_then(|[value]| value)
}

#[cfg(test)]
mod tests;
