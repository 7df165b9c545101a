//! Determines whether a person or a program began a turn.

use serde::{Deserialize, Serialize};
use session_pipeline_processor::json::Text;
use session_pipeline_processor::transcript::prompts::queued_prompt;
use session_pipeline_processor::transcript::{Entry, Kind};

/// The turns of a transcript so far.
#[derive(Default, Serialize, Deserialize)]
pub struct Turns {
    /// Whether a program began the current turn. `None` before the first turn.
    current: Option<bool>,
    /// Whether a person began a turn.
    has_person: bool,
    /// Whether a program began a turn, or runs the session.
    has_program: bool,
}

impl Turns {
    /// Processes an entry. `is_prompt` is whether it is a prompt that a person typed, if the entry
    /// itself does not say who wrote it.
    pub fn add(&mut self, entry: &Entry<'_>, is_prompt: bool) {
        if let Some(is_automated) = beginning(entry, is_prompt) {
            self.current = Some(is_automated);
            self.has_program |= is_automated;
            self.has_person |= !is_automated;
        }
        self.has_program |= is_run_by_program(entry);
    }

    /// Whether a program began the turn of this entry.
    pub fn is_automated(&self, entry: &Entry<'_>) -> bool {
        self.current.unwrap_or_else(|| is_run_by_program(entry))
    }

    /// Whether no person began a turn of the session, and a program did or runs it.
    pub fn is_session_automated(&self) -> bool {
        self.has_program && !self.has_person
    }
}

/// Whether a program began the turn that begins with this entry. `None` if no turn begins.
///
/// Newer versions name the origin of the turn. Otherwise, the author of the prompt and then its way
/// into the session decide.
fn beginning(entry: &Entry<'_>, is_prompt: bool) -> Option<bool> {
    if entry.is_sidechain {
        return None;
    }
    if entry.kind == Kind::Attachment {
        // A person can type a prompt while a turn that a program began is running.
        return queued_prompt(entry).map(|_| false);
    }
    if entry.kind != Kind::User || entry.says().tool_results().next().is_some() {
        return None;
    }
    let is_human = |author: Text<'_>| author == "human";
    if let Some(author) = entry.turn_origin.or(entry.origin) {
        return Some(!is_human(author));
    }
    match entry.prompt_source {
        Some(source) => Some(source == "system" || source == "sdk"),
        None => is_prompt.then(|| is_run_by_program(entry)),
    }
}

/// Whether the session of an entry runs in the background or through the SDK.
fn is_run_by_program(entry: &Entry<'_>) -> bool {
    let is_sdk = |entrypoint: Text<'_>| entrypoint.beginning(8).starts_with("sdk-");
    entry.session_kind.is_some_and(|kind| kind == "bg") || entry.entrypoint.is_some_and(is_sdk)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each turn, and the session, are automated.
    fn check(lines: &[&str], expected: &[bool], session: bool) {
        let mut turns = Turns::default();
        let found: Vec<_> = lines
            .iter()
            .map(|line| {
                let entry = Entry::parse(line).unwrap();
                let is_prompt = entry.says().texts().next().is_some();
                turns.add(&entry, is_prompt);
                turns.is_automated(&entry)
            })
            .collect();
        assert_eq!(found, expected, "{lines:?}");
        assert_eq!(turns.is_session_automated(), session, "{lines:?}");
    }

    fn prompt(fields: &str) -> String {
        format!(r#"{{"type":"user",{fields}"message":{{"content":"go on"}}}}"#)
    }

    #[test]
    fn the_latest_prompt_decides_who_began_the_turn() {
        for (fields, is_automated) in [
            ("", false),
            (r#""turnOrigin":"human","#, false),
            (r#""turnOrigin":"sdk","#, true),
            (r#""turnOrigin":"task_notification","#, true),
            (r#""origin":{"kind":"human"},"promptSource":"sdk","#, false),
            (r#""origin":{"kind":"peer"},"#, true),
            (r#""promptSource":"typed","#, false),
            (r#""promptSource":"queued","entrypoint":"sdk-cli","#, false),
            (r#""promptSource":"system","#, true),
            (r#""promptSource":"sdk","#, true),
            (r#""entrypoint":"cli","#, false),
            (r#""entrypoint":"sdk-py","#, true),
            (r#""sessionKind":"bg","#, true),
            (r#""sessionKind":"bg","turnOrigin":"human","#, false),
        ] {
            check(&[&prompt(fields)], &[is_automated], is_automated);
        }
        let typed = prompt("");
        let program = prompt(r#""turnOrigin":"sdk","#);
        let answer = r#"{"type":"assistant"}"#;
        let result = r#"{"type":"user","turnOrigin":"human","message":{"content":[{"type":"tool_result"}]}}"#;
        let queued = r#"{"type":"attachment","attachment":{"type":"queued_command","commandMode":"prompt","prompt":"stop"}}"#;
        check(
            &[
                answer, &program, result, answer, queued, answer, &program, &typed,
            ],
            &[false, true, true, true, false, false, true, false],
            false,
        );
    }

    #[test]
    fn before_the_first_prompt_the_program_that_runs_the_session_decides() {
        check(
            &[r#"{"type":"assistant","entrypoint":"sdk-ts"}"#],
            &[true],
            true,
        );
        check(
            &[r#"{"type":"assistant","entrypoint":"cli"}"#],
            &[false],
            false,
        );
        let of_agent = r#"{"type":"user","isSidechain":true,"turnOrigin":"sdk"}"#;
        check(&[of_agent], &[false], false);
    }
}
