//! How the processors stand with a session: what failed, since when, what to do, and the log.

use maud::{Markup, html};
use session_pipeline_host::fault::FaultKind;

use super::{action, multiline};
use crate::body::session::{
    LastFailureBody, ProcessorDetailsBody, ProcessorStateBody, SessionDetailsBody, SessionState,
};
use crate::dashboard::format::{bytes, count, counted, duration, plain, short_count, time};
use crate::dashboard::frame::Reader;
use crate::dashboard::sessions::state_tag;

/// A notice for each processor whose last attempt failed.
pub(super) fn failures(session: &SessionDetailsBody, reader: &Reader) -> Markup {
    let failed = session.processors.iter().filter_map(|known| {
        let failure = known.summary.failure.as_ref()?;
        Some((&known.summary, failure))
    });
    html! { @for (state, failure) in failed { (notice(state, failure, &session.key, reader)) } }
}

fn notice(
    state: &ProcessorStateBody,
    failure: &LastFailureBody,
    key: &str,
    reader: &Reader,
) -> Markup {
    let is_quarantined = state.state == SessionState::Quarantined;
    let class = if is_quarantined { "error" } else { "warning" };
    let processor = plain(&state.processor);
    html! {
        section class=(format!("notice {class}")) aria-label=(format!("Failure of {processor}")) {
            p {
                strong {
                    code { (processor) }
                    @if is_quarantined { " failed, and no longer tries this session" }
                    @else { " failed, and will try this session again" }
                }
            }
            dl .facts {
                dt { "What happened" }
                dd { (what_happened(&failure.fault)) " (" code { (plain(&failure.fault)) } "), in "
                    (counted(failure.attempts.into(), "attempt", "attempts")) " in a row" }
                @if let Some(since) = &failure.quarantined_at { dt { "In quarantine since" } dd { (time(Some(since))) } }
                dt { "Last attempt" } dd { (time(Some(&failure.last_attempt_at))) }
                @if let Some(next) = failure.next_attempt_at.as_ref().filter(|_| !is_quarantined) { dt { "Next attempt" } dd { "not before " (time(Some(next))) } }
                dt { "What this page shows" }
                dd {
                    @match &state.processed_at {
                        Some(at) => { "the data of " code { (processor) } " from its last success, " (time(Some(at))) "; later lines are not in it" },
                        None => { "no data of " code { (processor) } ", which has never read this session completely" },
                    }
                }
                dt { "What to do" } dd { (what_to_do(&failure.fault, is_quarantined)) }
            }
            details { summary { "Log of the last attempt" } pre { (multiline(&failure.detail)) } }
            @if is_quarantined && reader.role == "admin" {
                div .actions { (action("/operations/release", "Release", &state.processor, key, reader)) }
            }
        }
    }
}

fn what_happened(fault: &str) -> &'static str {
    match FaultKind::parse(fault) {
        FaultKind::OutOfFuel => "It used up its fuel",
        FaultKind::Deadline => "It used up its time",
        FaultKind::MemoryLimit => "It needed more memory than it is allowed",
        FaultKind::StackOverflow => "It recursed too deeply",
        FaultKind::TooLarge => "The file is larger than the limit",
        FaultKind::OutputLimit => "It wrote more rows or bytes than it is allowed",
        FaultKind::HostCallLimit => "It called the host too often",
        FaultKind::Panic => "It panicked",
        FaultKind::Trap => "It crashed",
        FaultKind::Denied => "It requested something that it is not allowed",
        FaultKind::Rejected => "It rejected the session",
        FaultKind::BadRecord => "It wrote a row that does not fit its tables",
        FaultKind::Llm => "The language model returned no usable answer",
        FaultKind::Input => "The file cannot be read",
        FaultKind::Component => "The processor cannot be loaded",
        FaultKind::Crash => "The server died while it processed the session",
        FaultKind::Host => "The server reached a limit",
    }
}

fn what_to_do(fault: &str, is_quarantined: bool) -> &'static str {
    let (in_quarantine, otherwise) = match FaultKind::parse(fault) {
        FaultKind::OutOfFuel
        | FaultKind::Deadline
        | FaultKind::MemoryLimit
        | FaultKind::StackOverflow
        | FaultKind::TooLarge
        | FaultKind::OutputLimit
        | FaultKind::HostCallLimit => (
            "If the session is legitimate, an administrator raises the limit that the log names, in the configuration file, restarts the server, and releases the session.",
            "If this repeats, an administrator raises the limit that the log names, in the configuration file.",
        ),
        FaultKind::Input => (
            "An administrator checks the file and its permissions, and releases the session.",
            "An administrator checks the file and its permissions.",
        ),
        FaultKind::Llm => (
            "An administrator checks the provider of the language model, and releases the session.",
            "Nothing, if the provider of the language model recovers.",
        ),
        FaultKind::Host | FaultKind::Crash => (
            "An administrator checks the log and the memory of the server, and releases the session.",
            "Nothing at first: the next run tries it again.",
        ),
        FaultKind::Panic
        | FaultKind::Trap
        | FaultKind::Denied
        | FaultKind::Rejected
        | FaultKind::BadRecord
        | FaultKind::Component => (
            "Report the log to the author of the processor. A new version of the processor tries the session again; so does an administrator who releases it.",
            "Report the log to the author of the processor if this repeats.",
        ),
    };
    if is_quarantined {
        in_quarantine
    } else {
        otherwise
    }
}

/// The state of each processor, and what its last attempt cost.
pub(super) fn processor(known: &ProcessorDetailsBody, key: &str, reader: &Reader) -> Markup {
    let (summary, details) = (&known.summary, &known.details);
    html! {
        article aria-label=(plain(&summary.processor)) {
            h3 { (plain(&summary.processor)) " " (state_tag(summary.state)) }
            p .sub { (meaning(summary.state)) }
            dl .facts {
                dt { "Last success" }
                dd { @match &summary.processed_at { Some(at) => (time(Some(at))), None => "never" } }
                @if let Some(failure) = &summary.failure { dt { "Last failure" } dd { (time(Some(&failure.last_attempt_at))) } }
                @if let Some(at) = &summary.missing_since { dt { "File missing since" } dd { (time(Some(at))) } }
                @if let Some(items) = summary.items { dt { "Items" } dd { (count(items)) } }
                @if let Some(version) = details.version { dt { "Version" } dd { (version) } }
                @if let Some(cost) = &details.cost {
                    dt { "Last attempt" }
                    dd { (duration(cost.guest_micros as f64 / 1000.0)) ", " (bytes(cost.peak_memory)) " memory, " (short_count(i64::try_from(cost.fuel).unwrap_or(i64::MAX))) " fuel" }
                }
                @if !details.rows.is_empty() {
                    dt { "Rows" }
                    dd { (plain(&details.rows.iter().map(|(table, rows)| format!("{table}: {rows}")).collect::<Vec<_>>().join(", "))) }
                }
            }
            @if reader.role == "admin" {
                div .actions { (action("/sessions/reprocess", "Reprocess", &summary.processor, key, reader)) }
            }
        }
    }
}

fn meaning(state: SessionState) -> &'static str {
    match state {
        SessionState::New => "Not read yet. The next run reads it.",
        SessionState::Processed => "Read completely, as the file is now.",
        SessionState::Due => "The next run reads it again.",
        SessionState::Waiting => "The last attempt failed. It is tried again after a while.",
        SessionState::Quarantined => {
            "Not tried again until the file or the processor changes, or an administrator releases it."
        }
        SessionState::Missing => "The file is gone. Its figures remain.",
    }
}
