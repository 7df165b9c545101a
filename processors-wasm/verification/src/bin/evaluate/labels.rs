//! Labeled prompts: JSON lines with `text`, `label`, and optionally `source`, `session` and
//! `assistant`.

use std::path::Path;

use session_pipeline_processor::json::Json;
use sha2::{Digest, Sha256};

/// A prompt and a person's judgment about it.
pub struct LabeledPrompt {
    /// The prompt.
    pub text: String,
    /// Whether it contains knowledge worth keeping.
    pub label: Label,
    /// How the prompt was chosen.
    pub source: Option<String>,
    /// Prompts with the same name are in one session. A prompt without one has its own session.
    pub session: Option<String>,
    /// What the assistant said before the prompt.
    pub assistant: Option<String>,
}

/// The judgment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Worth keeping.
    Yes,
    /// Worth keeping for some.
    Borderline,
    /// Not worth keeping.
    No,
}

/// Half of the prompts, by the hash of their text: rules are developed on one half and tested on the
/// other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The half to look at while changing rules.
    Learning,
    /// The half to test with.
    Test,
}

impl Label {
    /// The label in files.
    pub fn name(self) -> &'static str {
        match self {
            Label::Yes => "yes",
            Label::Borderline => "borderline",
            Label::No => "no",
        }
    }
}

impl Half {
    /// Parses the name of a half.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "learning" => Some(Half::Learning),
            "test" => Some(Half::Test),
            _ => None,
        }
    }
}

impl LabeledPrompt {
    /// The half of the prompt.
    pub fn half(&self) -> Half {
        match Sha256::digest(&self.text).first() {
            Some(byte) if byte % 2 == 0 => Half::Learning,
            _ => Half::Test,
        }
    }
}

/// Reads a file of labeled prompts.
pub fn read(file: &Path) -> Result<Vec<LabeledPrompt>, String> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("failed to read labels from `{name}`: {error}"))?;
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            labeled(line).ok_or_else(|| {
                format!(
                    "line {} of `{name}` is not a labeled prompt; write a JSON object with `text` \
                     and `label` (`yes`, `borderline` or `no`)",
                    at + 1
                )
            })
        })
        .collect()
}

fn labeled(line: &str) -> Option<LabeledPrompt> {
    let json = Json::parse(line)?;
    let text = |name: &str| Some(json.field(name)?.text()?.decode().into_owned());
    let label = match text("label")?.as_str() {
        "yes" => Label::Yes,
        "borderline" => Label::Borderline,
        "no" => Label::No,
        _ => return None,
    };
    Some(LabeledPrompt {
        text: text("text")?,
        label,
        source: text("source"),
        session: text("session"),
        assistant: text("assistant"),
    })
}
