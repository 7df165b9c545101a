//! Determines the title of a session.

use serde::{Deserialize, Serialize};
use session_pipeline_processor::transcript::prompts::typed_text;
use session_pipeline_processor::transcript::{Entry, Kind};

use crate::strings::{Span, Strings};

/// The rest of a longer title is cut off.
const TITLE_CHARS_MAX: usize = 200;

/// The titles of a transcript. The agent repeats and changes them, so the last of each kind counts.
#[derive(Default, Serialize, Deserialize)]
pub struct Titles {
    /// By the user.
    custom: Option<Span>,
    /// By the agent.
    ai: Option<Span>,
    /// By an older version of the agent.
    summary: Option<Span>,
    /// The first line of the first prompt.
    prompt: Option<Span>,
}

impl Titles {
    /// Processes an entry. `is_prompt` is whether it is a prompt that a person typed.
    pub fn add(&mut self, strings: &mut Strings, entry: &Entry<'_>, is_prompt: bool) {
        if is_prompt && self.prompt.is_none() {
            self.prompt = title(strings, &typed_text(entry.says()));
        }
        let Some(metadata) = &entry.metadata else {
            return;
        };
        let (known, text) = match entry.kind {
            Kind::CustomTitle => (&mut self.custom, metadata.custom_title),
            Kind::AiTitle => (&mut self.ai, metadata.ai_title),
            Kind::Summary => (&mut self.summary, metadata.summary),
            _ => return,
        };
        if let Some(text) = text.and_then(|text| title(strings, &text.decode())) {
            *known = Some(text);
        }
    }

    /// Sets the title by the first prompt of a person.
    pub fn set_prompt(&mut self, title: Option<Span>) {
        self.prompt = title;
    }

    /// The title of the session.
    pub fn title(&self) -> Option<Span> {
        self.custom.or(self.ai).or(self.summary).or(self.prompt)
    }
}

/// The first line of a text that is not blank.
pub fn title(strings: &mut Strings, text: &str) -> Option<Span> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let end = line.char_indices().nth(TITLE_CHARS_MAX);
    // Interned, because the agent repeats the title.
    Some(strings.intern(&line[..end.map_or(line.len(), |(end, _)| end)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: Option<&str>) {
        let mut strings = Strings::default();
        let mut titles = Titles::default();
        for line in lines {
            let entry = Entry::parse(line).unwrap();
            titles.add(&mut strings, &entry, entry.kind == Kind::User);
        }
        let title = titles.title().map(|title| strings.get(title));
        assert_eq!(title, expected, "{lines:?}");
    }

    #[test]
    fn the_last_title_of_the_best_kind_counts() {
        let prompt = r#"{"type":"user","message":{"content":"\n  fix it \nnow"}}"#;
        let later = r#"{"type":"user","message":{"content":"and ship it"}}"#;
        let summary = r#"{"type":"summary","summary":"Fix a bug"}"#;
        let ai = r#"{"type":"ai-title","aiTitle":"Fix a bug in the shop"}"#;
        let custom = r#"{"type":"custom-title","customTitle":"Shop"}"#;
        let renamed = r#"{"type":"custom-title","customTitle":"Shop 2"}"#;
        let cleared = r#"{"type":"custom-title","customTitle":" "}"#;
        let task = r#"{"type":"task-summary","summary":"reading files"}"#;
        check(&[], None);
        check(&[prompt, later], Some("fix it"));
        check(&[summary, prompt, task], Some("Fix a bug"));
        check(&[ai, summary, prompt], Some("Fix a bug in the shop"));
        check(&[custom, renamed, ai, cleared], Some("Shop 2"));
    }

    #[test]
    fn a_long_title_is_cut() {
        let long = "é".repeat(300);
        let line = format!(r#"{{"type":"ai-title","aiTitle":"{long}"}}"#);
        check(&[&line], Some(&"é".repeat(200)));
    }
}
