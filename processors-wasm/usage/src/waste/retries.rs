//! Calls that repeat a failed call and fail again.
//!
//! A call is a failed retry if the previous failed call of the same tool by the same agent had the
//! same input and had failed before this call was made, no call with this input succeeded in
//! between, and this call fails too. A call that was canceled because another call failed did not
//! run, so it is neither a failure nor a success here.

use std::collections::BTreeMap;

use crate::agents::Agent;
use crate::errors::ErrorClass;
use crate::events::{EventCall, Events};
use crate::messages::Messages;
use crate::strings::Span;
use crate::waste::{TokenCounts, WasteFinding, WasteKind, WasteOrigin, WasteSubject};

/// The calls of a response.
#[derive(Default)]
struct ResponseCalls {
    calls: u64,
    retries: u64,
    /// The retry that was made first, and its failure.
    first: Option<(EventCall, ErrorClass)>,
}

/// A moment at which a call begins or ends, ordered by line. A result on the line of a call comes
/// after the call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct CallMoment {
    line: u64,
    is_end: bool,
    /// The index of the call.
    call: usize,
}

pub(super) fn findings(events: &Events, messages: &Messages) -> Vec<WasteFinding> {
    let calls: Vec<EventCall> = events.calls().collect();
    let is_repeated = retries(&calls);
    let mut by_response: BTreeMap<usize, ResponseCalls> = BTreeMap::new();
    for (call, is_repeated) in calls.iter().zip(is_repeated) {
        let Some(response) = call.response else {
            continue;
        };
        let response = by_response.entry(response).or_default();
        response.calls += 1;
        let failure = call.end.and_then(|end| end.failure);
        if let Some(failure) = failure.filter(|_| is_repeated) {
            response.retries += 1;
            response.first.get_or_insert((*call, failure));
        }
    }
    let findings = by_response.into_iter().filter_map(|(at, response)| {
        let (first, failure) = response.first?;
        let figures = messages.figures(at)?;
        let tokens = if response.retries == response.calls {
            figures.counts
        } else {
            TokenCounts::default()
        };
        Some(WasteFinding {
            kind: WasteKind::FailedRetry,
            origin: WasteOrigin::Message(at),
            line: first.line,
            occurred_at: first.occurred_at,
            agent: first.agent,
            tool: first.tool,
            subject: WasteSubject::Name(failure.name()),
            instances: response.retries,
            tokens,
        })
    });
    findings.collect()
}

/// Whether each call is a failed retry.
fn retries(calls: &[EventCall]) -> Vec<bool> {
    let begins = calls.iter().enumerate().map(|(index, call)| CallMoment {
        line: call.line,
        is_end: false,
        call: index,
    });
    let ends = calls.iter().enumerate().filter_map(|(index, call)| {
        Some(CallMoment {
            line: call.end?.line,
            is_end: true,
            call: index,
        })
    });
    let mut moments: Vec<CallMoment> = begins.chain(ends).collect();
    moments.sort_unstable();

    let mut is_retry = vec![false; calls.len()];
    // The last failed call of each agent and tool, by its tool and input.
    let mut failures: BTreeMap<(Agent, Option<Span>), u64> = BTreeMap::new();
    for moment in moments {
        let call = &calls[moment.call];
        let Some(agent) = call.agent else {
            continue;
        };
        let key = (agent, call.tool);
        let is_repeated = failures.get(&key) == Some(&call.content);
        if !moment.is_end {
            is_retry[moment.call] = is_repeated;
            continue;
        }
        match call.end.and_then(|end| end.failure) {
            Some(ErrorClass::SiblingFailed) => is_retry[moment.call] = false,
            Some(_) => {
                failures.insert(key, call.content);
            }
            None => {
                is_retry[moment.call] = false;
                if is_repeated {
                    failures.remove(&key);
                }
            }
        }
    }
    is_retry
}

#[cfg(test)]
mod tests {
    use crate::waste::tests::{calls, check, result};

    const MAKE: &str = r#"{"command":"make"}"#;
    const TEST: &str = r#"{"command":"test"}"#;

    /// Runs single calls of `Bash`. Each has an id, an input and the text of its failure, which is
    /// empty if the call succeeds.
    fn check_calls(single: &[[&str; 3]], expected: &[&str]) {
        let lines = single.iter().flat_map(|[id, input, failure]| {
            let content = format!("{failure:?}");
            [
                calls(id, &[[id, "Bash", input]]),
                result(id, !failure.is_empty(), &content),
            ]
        });
        check(&lines.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_same_call_that_fails_again_wastes_its_response() {
        let fails = "Exit code 1";
        check_calls(
            &[
                ["a0000", MAKE, fails],
                ["a0001", MAKE, fails],
                ["a0002", MAKE, "Exit code 143\nCommand timed out after 2m"],
                ["a0003", MAKE, ""],
                ["a0004", MAKE, fails],
            ],
            &[
                "3 failed_retry exit_code Bash 1 1 2 3 4 5 failed_retry:msg-of-sixteen-a0001",
                "5 failed_retry timeout Bash 1 1 2 3 4 5 failed_retry:msg-of-sixteen-a0002",
            ],
        );
        // Another call failed in between, or the same call succeeded.
        check_calls(
            &[
                ["a0000", MAKE, fails],
                ["a0001", TEST, fails],
                ["a0002", MAKE, fails],
                ["a0003", MAKE, ""],
                ["a0004", MAKE, fails],
            ],
            &[],
        );
        // Another call succeeded in between, or the call was canceled.
        check_calls(
            &[
                ["a0000", MAKE, fails],
                ["a0001", TEST, ""],
                ["a0002", MAKE, "Sibling tool call errored"],
                ["a0003", MAKE, fails],
            ],
            &["7 failed_retry exit_code Bash 1 1 2 3 4 5 failed_retry:msg-of-sixteen-a0003"],
        );
    }

    #[test]
    fn a_response_that_does_more_is_not_wasted() {
        let fails = r#""Exit code 1""#;
        let both = [["b0001", "Bash", MAKE], ["b0002", "Bash", MAKE]];
        let more = [["c0001", "Bash", MAKE], ["c0002", "Read", "{}"]];
        let lines = [
            calls("a0000", &[["a0000", "Bash", MAKE]]),
            result("a0000", true, fails),
            // Both are retries.
            calls("a0001", &both),
            result("b0001", true, fails),
            result("b0002", true, fails),
            calls("a0002", &more),
            result("c0001", true, fails),
            result("c0002", false, fails),
        ];
        check(
            &lines,
            &[
                "3 failed_retry exit_code Bash 2 1 2 3 4 5 failed_retry:msg-of-sixteen-a0001",
                "6 failed_retry exit_code Bash 1 0 0 0 0 0 failed_retry:msg-of-sixteen-a0002",
            ],
        );
    }

    #[test]
    fn parallel_calls_and_copies_are_not_retries() {
        let fails = r#""Exit code 1""#;
        let lines = [
            calls("a0000", &[["b0001", "Bash", MAKE], ["b0002", "Bash", MAKE]]),
            calls("a0000", &[["b0001", "Bash", MAKE], ["b0002", "Bash", MAKE]]),
            result("b0001", true, fails),
            result("b0002", true, fails),
            result("b0002", true, fails),
        ];
        check(&lines, &[]);
    }
}
