//! The arguments, which `cargo xtask evaluate` has already checked.

use std::path::PathBuf;

use session_pipeline_verification::verification::Detector;

use crate::labels::{Half, LabeledPrompt};

/// What to evaluate.
pub struct Arguments {
    /// The files with labeled prompts.
    pub labels: Vec<PathBuf>,
    /// The detector.
    pub detector: Detector,
    /// The minimum score of an item, in percent.
    pub threshold: i64,
    /// The folder with recorded responses, for `llm`.
    pub responses: Option<PathBuf>,
    /// Only prompts of this source.
    pub source: Option<String>,
    /// Only prompts of this half.
    pub half: Option<Half>,
    /// Whether to list what was found.
    pub is_verbose: bool,
}

impl Arguments {
    /// Parses `--name value` pairs.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self {
            labels: Vec::new(),
            detector: Detector::Phrases,
            threshold: 50,
            responses: None,
            source: None,
            half: None,
            is_verbose: false,
        };
        while let Some(name) = arguments.next() {
            if name == "--verbose" {
                parsed.is_verbose = true;
                continue;
            }
            let value = arguments
                .next()
                .ok_or_else(|| format!("`{name}` has no value"))?;
            let invalid = || format!("invalid value `{value}` of `{name}`");
            match name.as_str() {
                "--labels" => parsed.labels.push(PathBuf::from(value)),
                "--responses" => parsed.responses = Some(PathBuf::from(value)),
                "--source" => parsed.source = Some(value),
                "--threshold" => parsed.threshold = value.parse().map_err(|_| invalid())?,
                "--half" => parsed.half = Some(Half::named(&value).ok_or_else(invalid)?),
                "--detector" => {
                    let mut all = Detector::ALL.into_iter();
                    let named = all.find(|detector| detector.name() == value);
                    parsed.detector = named.ok_or_else(invalid)?;
                }
                _ => return Err(format!("unknown option `{name}`")),
            }
        }
        Ok(parsed)
    }

    /// Whether a prompt is evaluated.
    pub fn selects(&self, prompt: &LabeledPrompt) -> bool {
        let source = self.source.as_ref();
        source.is_none_or(|source| prompt.source.as_ref() == Some(source))
            && self.half.is_none_or(|half| half == prompt.half())
    }
}
