//! Renders the parts of an entry.

use maud::{Markup, html};
use session_pipeline_pipeline::transcript::{
    CallOutcome, EntryPart, StartedSubAgent, ToolCall, TranscriptText, UnreadableReason,
};

use super::links::{self, Links, session_href};
use super::{figures, markdown};
use crate::body::transcript::TranscriptPartBody;
use crate::dashboard::format::{self, bytes};

/// What kind of part, in an order of importance.
pub(super) struct PartKind {
    /// The kind of an entry is that of its part with the lowest rank.
    pub(super) rank: u8,
    /// The end of the class of the entry.
    pub(super) class: &'static str,
    /// The name for people.
    pub(super) name: &'static str,
}

pub(super) fn kind(part: &EntryPart) -> PartKind {
    let (rank, class, name) = match part {
        EntryPart::ApiError { .. } => (0, "api-error", "API error"),
        EntryPart::Compaction { .. } => (0, "compaction", "Compaction"),
        EntryPart::Prompt { command: None, .. } => (1, "prompt", "Prompt"),
        EntryPart::Prompt { .. } => (1, "prompt", "Command"),
        EntryPart::Response { .. } => (2, "response", "Response"),
        EntryPart::ToolCall(_) => (3, "tool-call", "Tool call"),
        EntryPart::ToolResult { .. } => (4, "tool-result", "Tool result"),
        EntryPart::Thinking { .. } => (5, "thinking", "Thinking"),
        EntryPart::Notice { .. } => (6, "notice", "Notice"),
        EntryPart::Unreadable { .. } => (7, "unreadable", "Unreadable line"),
        EntryPart::Other { .. } => (8, "other", "Other line"),
    };
    PartKind { rank, class, name }
}

/// Renders the whole text of a part, which replaces its beginning.
pub fn part(part: &TranscriptPartBody) -> Markup {
    let text = &part.text;
    html! {
        div.long-text {
            @if part.kind == "response" {
                (markdown::render(&text.text))
            } @else {
                pre.text { (text.text) }
            }
            @if text.is_truncated {
                p.text-cut {
                    "Only the first " (bytes(text.text.len() as u64)) " of "
                    (bytes(text.bytes)) " are shown."
                }
            }
        }
    }
}

pub(super) fn entry_part(links: &Links, part: &EntryPart) -> Markup {
    match part {
        EntryPart::Prompt { command, text } => html! {
            div.part.part-prompt {
                @if let Some(command) = command {
                    code.command { (command) }
                }
                @if !text.text.is_empty() {
                    (plain_text(links, text))
                }
            }
        },
        EntryPart::Response { text } => html! {
            div.part.part-response {
                div.long-text {
                    (markdown::render(&text.text))
                    (show_all(links, text))
                }
            }
        },
        EntryPart::Thinking { text } => html! {
            @if text.text.is_empty() {
                p.part.thinking-hidden { "Thinking without text" }
            } @else {
                details.part.thinking {
                    summary { "Thinking " span.size { (bytes(text.bytes)) } }
                    (plain_text(links, text))
                }
            }
        },
        EntryPart::ToolCall(call) => tool_call(links, call),
        EntryPart::ToolResult {
            call_line,
            outcome,
            text,
        } => html! {
            div.part.tool-result {
                (outcome_label(*outcome)) " "
                @if let Some(line) = call_line {
                    a.call-link href={ "#" (links.anchor(*line)) } {
                        "Result of the call in line " (figures::count(*line))
                    }
                } @else {
                    span { "Result of a call that is not in this transcript" }
                }
                @if let Some(text) = text {
                    (plain_text(links, text))
                }
            }
        },
        EntryPart::Compaction {
            trigger,
            tokens_before,
            text,
        } => html! {
            div.part.separator.separator-compaction {
                p.separator-label {
                    "Conversation compacted"
                    @if let Some(trigger) = trigger { " (" (trigger) ")" }
                    @if let Some(tokens) = tokens_before {
                        ", " (figures::count(*tokens)) " tokens before"
                    }
                }
                @if !text.text.is_empty() {
                    details {
                        summary { "Summary " span.size { (bytes(text.bytes)) } }
                        (plain_text(links, text))
                    }
                }
            }
        },
        EntryPart::ApiError { status, text } => html! {
            div.part.separator.separator-error role="note" {
                p.separator-label {
                    span.icon aria-hidden="true" { "⚠" }
                    " API error"
                    @if let Some(status) = status { " " (status) }
                }
                (plain_text(links, text))
            }
        },
        EntryPart::Notice { name, text } => html! {
            details.part.notice {
                summary {
                    span.notice-name { (name) } " "
                    span.notice-beginning { (first_line(&text.text)) }
                }
                (plain_text(links, text))
            }
        },
        EntryPart::Other { name, text } => html! {
            details.part.other {
                summary { (name) " " span.size { (bytes(text.bytes)) } }
                (plain_text(links, text))
            }
        },
        EntryPart::Unreadable { reason, text } => html! {
            div.part.unreadable {
                p.unreadable-reason {
                    @match reason {
                        UnreadableReason::Invalid => { "This line is not valid JSON." },
                        UnreadableReason::Incomplete => {
                            "This line has no end yet. The agent can still be writing it."
                        },
                        UnreadableReason::TooLong => {
                            "A line of " (bytes(text.bytes)) " is not shown, only its beginning."
                        },
                    }
                }
                (plain_text(links, text))
            }
        },
    }
}

fn tool_call(links: &Links, call: &ToolCall) -> Markup {
    let is_failed = matches!(call.outcome, CallOutcome::Error | CallOutcome::Rejected);
    html! {
        details.part.tool-call.(outcome_class(call.outcome)) open[is_failed] {
            summary {
                span.tool-name { (call.name) }
                @if !call.summary.is_empty() {
                    " " code.tool-summary { (call.summary) }
                }
                @if let Some(duration) = call.duration_ms {
                    " " span.tool-duration { (format::duration(duration as f64)) }
                }
                " " (outcome_label(call.outcome))
            }
            @if !call.input.text.is_empty() {
                div.tool-input {
                    p.part-label { "Input" }
                    (plain_text(links, &call.input))
                }
            }
            @if let Some(result) = &call.result {
                div.tool-result-text {
                    p.part-label {
                        "Result, "
                        a.result-link href={ "#" (links.anchor(result.line)) } {
                            "line " (figures::count(result.line))
                        }
                    }
                    @if result.text.is_empty() && !result.is_truncated {
                        p.empty-result { "No output" }
                    } @else {
                        (plain_text(links, result))
                    }
                }
            }
        }
        @if let Some(agent) = &call.sub_agent {
            (started_sub_agent(agent))
        }
    }
}

/// The transcript of a sub-agent, which is loaded when it is unfolded.
fn started_sub_agent(agent: &StartedSubAgent) -> Markup {
    let label = html! {
        span.sub-agent-label { "Sub-agent" }
        @if let Some(kind) = &agent.agent_type { " " span.sub-agent-type { (kind) } }
        @if let Some(id) = &agent.agent_id { " " code.sub-agent-id { (id) } }
    };
    html! {
        @if let Some(session) = &agent.session {
            details.sub-agent {
                summary { (label) }
                p { a.sub-agent-link href=(session_href(session)) { "Open its own page" } }
                div.sub-agent-entries hx-get=(links::nested_entries(session))
                    hx-trigger="toggle from:closest details once" hx-swap="innerHTML"
                {
                    p.loading { "Loading…" }
                }
            }
        } @else {
            p.sub-agent-missing { (label) ": its transcript is not here" }
        }
    }
}

fn outcome_class(outcome: CallOutcome) -> &'static str {
    match outcome {
        CallOutcome::Ok => "outcome-ok",
        CallOutcome::Error => "outcome-error",
        CallOutcome::Rejected => "outcome-rejected",
        CallOutcome::Pending => "outcome-pending",
    }
}

fn outcome_label(outcome: CallOutcome) -> Markup {
    let (icon, text) = match outcome {
        CallOutcome::Ok => ("✓", "succeeded"),
        CallOutcome::Error => ("✗", "failed"),
        CallOutcome::Rejected => ("⊘", "rejected"),
        CallOutcome::Pending => ("…", "no result yet"),
    };
    html! {
        span.outcome.(outcome_class(outcome)) {
            span.icon aria-hidden="true" { (icon) }
            span.visually-hidden { (text) }
        }
    }
}

/// A text with its line breaks.
fn plain_text(links: &Links, text: &TranscriptText) -> Markup {
    html! {
        div.long-text {
            @if !text.text.is_empty() {
                pre.text { (text.text) }
            }
            (show_all(links, text))
        }
    }
}

/// The button that replaces the beginning of a text by the whole.
fn show_all(links: &Links, text: &TranscriptText) -> Markup {
    html! {
        @if text.is_truncated {
            button.show-all type="button" hx-get=(links.part(text.line, text.part))
                hx-target="closest .long-text" hx-swap="outerHTML"
            {
                "Show all"
                @if text.bytes > 0 { " (" (bytes(text.bytes)) ")" }
            }
        }
    }
}

fn first_line(text: &str) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    match line.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}
