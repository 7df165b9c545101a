//! A line as the parser of an agent's format returns it, in a form that is the same for all agents.
//! Nothing in it is redacted or cut yet, and
//! most texts are not decoded yet.

use std::borrow::Cow;

use session_pipeline_host::clock::UtcMicros;

use super::entry::{CallOutcome, ModelResponse};
use super::json;

/// Maximum number of parts of a line. Agents write one or a few.
pub(super) const PARTS_MAX: usize = 64;
/// Maximum number of blocks of a content that is one text.
const BLOCKS_MAX: usize = 1000;

/// One line.
#[derive(Debug, Default)]
pub(super) struct ParsedLine<'a> {
    pub(super) uuid: Option<Cow<'a, str>>,
    pub(super) parent: Option<Cow<'a, str>>,
    pub(super) time: Option<UtcMicros>,
    pub(super) sub_agent: Option<ParsedSubAgent<'a>>,
    pub(super) response: Option<ModelResponse>,
    /// At most [`PARTS_MAX`].
    pub(super) parts: Vec<ParsedPart<'a>>,
    pub(super) has_more_parts: bool,
}

/// The sub-agent that a line belongs to.
#[derive(Debug, Default)]
pub(super) struct ParsedSubAgent<'a> {
    pub(super) agent_id: Option<Cow<'a, str>>,
    /// The id of the tool call that started it.
    pub(super) call: Option<Cow<'a, str>>,
}

/// One part of a line.
#[derive(Debug)]
pub(super) enum ParsedPart<'a> {
    Prompt {
        command: Option<String>,
        text: SourceText<'a>,
    },
    Response(SourceText<'a>),
    Thinking(SourceText<'a>),
    ToolCall {
        id: Option<Cow<'a, str>>,
        name: Cow<'a, str>,
        summary: String,
        input: SourceText<'a>,
        /// Whether the call starts a sub-agent.
        starts_agent: bool,
        agent_type: Option<String>,
    },
    ToolResult {
        /// The id of the call.
        call: Option<Cow<'a, str>>,
        outcome: CallOutcome,
        text: SourceText<'a>,
        /// The sub-agent that the call started.
        agent_id: Option<String>,
    },
    Compaction {
        trigger: Option<String>,
        tokens_before: Option<u64>,
        text: SourceText<'a>,
        /// Whether this is where the conversation was replaced, not only the summary after it.
        is_boundary: bool,
    },
    ApiError {
        status: Option<u64>,
        text: SourceText<'a>,
    },
    Notice {
        name: String,
        text: SourceText<'a>,
    },
    Other {
        name: String,
        text: SourceText<'a>,
    },
}

/// A text in the JSON of a line.
#[derive(Clone, Debug)]
pub(super) enum SourceText<'a> {
    /// A decoded text.
    Text(Cow<'a, str>),
    /// A JSON string, or a list of blocks of which some have a text.
    Content(&'a str),
    /// An object, one field per line, or any other JSON.
    Fields(&'a str),
}

impl<'a> SourceText<'a> {
    pub(super) const EMPTY: Self = Self::Text(Cow::Borrowed(""));

    /// A content that can be absent.
    pub(super) fn content(json: Option<&'a str>) -> Self {
        json.map_or(Self::EMPTY, Self::Content)
    }

    /// The whole text.
    pub(super) fn decode(&self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text.clone(),
            Self::Content(json) => content_text(json),
            Self::Fields(json) => fields_text(json),
        }
    }
}

fn content_text(content: &str) -> Cow<'_, str> {
    if let Some(text) = json::text(content) {
        return text;
    }
    let (blocks, _) = json::elements(content, BLOCKS_MAX);
    if blocks.is_empty() {
        return Cow::Borrowed(content);
    }
    let mut texts: Vec<Cow<'_, str>> = blocks.iter().map(|block| block_text(block)).collect();
    match texts.len() {
        1 => texts.pop().unwrap_or_default(),
        _ => Cow::Owned(texts.join("\n\n")),
    }
}

/// The text of a block. Of a block without one, such as an image, its type.
pub(super) fn block_text(block: &str) -> Cow<'_, str> {
    if let Some(text) = json::text(block) {
        return text;
    }
    let Some([kind, text, source]) = json::fields(block, ["type", "text", "source"]) else {
        return Cow::Borrowed(block);
    };
    if let Some(text) = text.and_then(json::text) {
        return text;
    }
    let media = source
        .and_then(|source| json::fields(source, ["media_type"]))
        .and_then(|[media]| json::nonempty(media));
    let kind = json::nonempty(kind).unwrap_or(Cow::Borrowed("block"));
    Cow::Owned(match media {
        Some(media) => format!("[{kind}: {media}, {} bytes]", block.len()),
        None => format!("[{kind}] {block}"),
    })
}

/// Each field on its own line, with texts decoded, so that code in them can be read.
pub(super) fn fields_text(object: &str) -> Cow<'_, str> {
    let Some(fields) = json::all_fields(object, BLOCKS_MAX) else {
        return json::text(object).unwrap_or(Cow::Borrowed(object));
    };
    let mut out = String::with_capacity(object.len());
    for (name, value) in fields {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&name);
        let value = json::text(value).unwrap_or(Cow::Borrowed(value));
        out.push_str(if value.contains('\n') { ":\n" } else { ": " });
        out.push_str(&value);
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_content_is_its_string_or_its_blocks() {
        for (content, expected) in [
            (r#""one\ntwo""#, "one\ntwo"),
            (r#"[{"type":"text","text":"one"}]"#, "one"),
            (r#"[{"type":"text","text":"one"},"two"]"#, "one\n\ntwo"),
            (
                r#"[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"xx"}}]"#,
                "[image: image/png, 80 bytes]",
            ),
            ("7", "7"),
            ("[]", "[]"),
            ("[null]", "null"),
        ] {
            assert_eq!(content_text(content), expected, "{content}");
        }
    }

    #[test]
    fn an_input_has_one_line_per_field_and_its_texts_are_decoded() {
        let input = r#"{"path":"a.rs","old":"x\ny","count":2,"list":["a\n"]}"#;
        let expected = "path: a.rs\nold:\nx\ny\ncount: 2\nlist: [\"a\\n\"]";
        assert_eq!(fields_text(input), expected);
        assert_eq!(fields_text("{}"), "");
        assert_eq!(fields_text("[1]"), "[1]");
        assert_eq!(fields_text(r#""a\tb""#), "a\tb");
    }
}
