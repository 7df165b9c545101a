//! Back-off and quarantine, as a state machine without files or a database.

mod model;
mod release;

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::{cases, clock, counted};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::fault::{DETAIL_BYTES_MAX, Fault, FaultKind, printable};
use session_pipeline_store::retry::{FAILURES_MAX, FailedContent, FailureState, RetryDecision};

const CADENCE: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Faults caused by the session or the component. They count toward quarantine.
const OWN_FAULTS: [FaultKind; 11] = [
    FaultKind::OutOfFuel,
    FaultKind::Deadline,
    FaultKind::MemoryLimit,
    FaultKind::StackOverflow,
    FaultKind::OutputLimit,
    FaultKind::HostCallLimit,
    FaultKind::Panic,
    FaultKind::Trap,
    FaultKind::Denied,
    FaultKind::Rejected,
    FaultKind::BadRecord,
];

/// Faults that no session causes. They never lead to quarantine.
const OUTAGES: [FaultKind; 5] = [
    FaultKind::TooLarge,
    FaultKind::Llm,
    FaultKind::Input,
    FaultKind::Component,
    FaultKind::Host,
];

/// Returns the state after `times` consecutive failures of one kind on the same content.
fn failures_after(times: u32, fault: FaultKind) -> FailureState {
    more_failures_after(FailureState::default(), times, fault, FailedContent::Same)
}

fn more_failures_after(
    before: FailureState,
    times: u32,
    fault: FaultKind,
    content: FailedContent,
) -> FailureState {
    let fault = Fault::new(fault, "on purpose");
    (0..times).fold(before, |failures, _| {
        failures.after(&fault, content, clock::START, CADENCE)
    })
}

fn wait_of(failures: FailureState) -> Option<Duration> {
    let micros = failures.next_attempt_at?.0 - clock::START.0;
    Some(Duration::from_micros(micros.unsigned_abs()))
}

#[test]
fn the_first_failure_is_retried_immediately() {
    let failures = failures_after(1, FaultKind::Panic);
    assert_eq!((failures.attempts, wait_of(failures)), (1, None));
    assert_eq!(failures.verdict(clock::START, false), RetryDecision::Try);
}

#[test]
fn the_backoff_doubles_from_the_second_failure_up_to_one_day() {
    let waits: Vec<Option<u64>> = (1..=9)
        .map(|times| {
            wait_of(failures_after(times, FaultKind::Input)).map(|wait| wait.as_secs() / 600)
        })
        .collect();
    let cadences = [2, 4, 8, 16, 32, 64, 128, 144];
    let expected: Vec<Option<u64>> = [None]
        .into_iter()
        .chain(cadences.into_iter().map(Some))
        .collect();
    assert_eq!(waits, expected, "waits, in cadences of ten minutes");
}

#[test]
fn a_waiting_session_is_retried_once_its_backoff_expires() {
    let failures = failures_after(2, FaultKind::Panic);
    let due_at = failures.next_attempt_at.unwrap();
    assert_eq!(
        failures.verdict(UtcMicros(due_at.0 - 1), false),
        RetryDecision::Waiting
    );
    assert_eq!(failures.verdict(due_at, false), RetryDecision::Try);
}

#[test]
fn a_manual_run_ignores_the_backoff() {
    assert_eq!(
        failures_after(2, FaultKind::Panic).verdict(clock::START, true),
        RetryDecision::Try
    );
}

#[test]
fn the_fifth_own_failure_quarantines_for_manual_and_scheduled_runs() {
    for fault in OWN_FAULTS {
        let one_short = failures_after(FAILURES_MAX - 1, fault);
        assert_eq!(one_short.quarantined_at, None, "{fault}");
        let failures = failures_after(FAILURES_MAX, fault);
        assert_eq!(failures.quarantined_at, Some(clock::START), "{fault}");
        for is_manual in [false, true] {
            let later = clock::START.plus(400 * DAY);
            assert_eq!(
                failures.verdict(later, is_manual),
                RetryDecision::Quarantined,
                "{fault}"
            );
        }
    }
}

#[test]
fn an_outage_never_quarantines_a_session() {
    for fault in OUTAGES {
        let failures = failures_after(1000, fault);
        assert_eq!(failures.quarantined_at, None, "{fault}");
        assert_eq!(
            failures.verdict(clock::START.plus(DAY), false),
            RetryDecision::Try,
            "{fault}"
        );
    }
}

#[test]
fn a_session_that_crashed_the_process_is_not_retried() {
    assert_eq!(
        failures_after(1, FaultKind::Crash).verdict(clock::START, true),
        RetryDecision::Quarantined
    );
}

#[test]
fn an_outage_neither_counts_toward_quarantine_nor_resets_the_count() {
    let one_short = failures_after(FAILURES_MAX - 1, FaultKind::Panic);
    for fault in OUTAGES {
        for content in [FailedContent::Same, FailedContent::Unknown] {
            let after_outage = more_failures_after(one_short, 3, fault, content);
            assert_eq!(
                (
                    after_outage.attempts,
                    after_outage.own_attempts,
                    after_outage.quarantined_at
                ),
                (7, 4, None),
                "{fault}"
            );
            assert_eq!(wait_of(after_outage), Some(Duration::from_secs(600 * 64)));
            let last = more_failures_after(after_outage, 1, FaultKind::Trap, FailedContent::Same);
            assert!(last.quarantined_at.is_some(), "{fault}");
        }
    }
}

#[test]
fn changed_content_restarts_the_failure_count() {
    let one_short = failures_after(FAILURES_MAX - 1, FaultKind::Panic);
    let other = more_failures_after(one_short, 1, FaultKind::Panic, FailedContent::Other);
    assert_eq!(other, failures_after(1, FaultKind::Panic));
}

#[test]
fn failures_on_unknown_content_only_extend_the_backoff() {
    for fault in OWN_FAULTS {
        let failures =
            more_failures_after(FailureState::default(), 20, fault, FailedContent::Unknown);
        assert_eq!((failures.attempts, failures.own_attempts), (20, 0));
        assert_eq!(failures.quarantined_at, None, "{fault}");
    }
    let crash = more_failures_after(
        FailureState::default(),
        1,
        FaultKind::Crash,
        FailedContent::Unknown,
    );
    assert!(crash.quarantined_at.is_some(), "a crash is never retried");
}

#[test]
fn an_outage_does_not_end_a_quarantine() {
    let quarantined = failures_after(FAILURES_MAX, FaultKind::Panic);
    for fault in OUTAGES {
        let after = more_failures_after(quarantined, 2, fault, FailedContent::Unknown);
        assert_eq!(after.quarantined_at, quarantined.quarantined_at);
        assert_eq!(after.own_attempts, FAILURES_MAX);
    }
    let other = more_failures_after(quarantined, 1, FaultKind::Panic, FailedContent::Other);
    assert_eq!(
        other.quarantined_at, None,
        "changed content leaves quarantine"
    );
}

#[test]
fn contents_are_compared_by_hash() {
    let (one, two) = (Some(ContentHash([1; 16])), Some(ContentHash([2; 16])));
    for (before, now, content) in [
        (one, one, FailedContent::Same),
        (one, two, FailedContent::Other),
        (one, None, FailedContent::Unknown),
        (None, None, FailedContent::Unknown),
        (None, one, FailedContent::Same),
    ] {
        assert_eq!(FailedContent::compare(before, now), content);
    }
}

#[test]
fn every_fault_round_trips_through_its_name() {
    for fault in OWN_FAULTS
        .into_iter()
        .chain(OUTAGES)
        .chain([FaultKind::Crash])
    {
        assert_eq!(FaultKind::parse(fault.as_str()), fault);
        assert_eq!(fault.is_permanent(), !OUTAGES.contains(&fault), "{fault}");
    }
    assert_eq!(
        FaultKind::parse("a word of a later version"),
        FaultKind::Host
    );
}

fn any_content() -> impl Strategy<Value = FailedContent> {
    prop_oneof![
        6 => Just(FailedContent::Same),
        1 => Just(FailedContent::Other),
        2 => Just(FailedContent::Unknown),
    ]
}

fn any_fault() -> impl Strategy<Value = FaultKind> {
    let all: Vec<FaultKind> = OWN_FAULTS
        .into_iter()
        .chain(OUTAGES)
        .chain([FaultKind::Crash])
        .collect();
    prop::sample::select(all)
}

proptest! {
    #![proptest_config(counted(cases() * 8))]

    #[test]
    fn invariant_the_backoff_never_shrinks_and_never_exceeds_a_day(
        faults in vec(any_fault(), 1..60),
        cadence_seconds in 1..=u32::MAX,
    ) {
        let cadence = Duration::from_secs(u64::from(cadence_seconds));
        let mut failures = FailureState::default();
        let mut last = Duration::ZERO;
        for fault in faults {
            let fault = Fault::new(fault, "");
            failures = failures.after(&fault, FailedContent::Same, clock::START, cadence);
            let wait = wait_of(failures).unwrap_or_default();
            prop_assert!(wait >= last && wait <= DAY);
            last = wait;
        }
    }

    #[test]
    fn invariant_only_a_crash_or_five_own_failures_on_one_content_quarantine(
        history in vec((any_fault(), any_content()), 1..40),
    ) {
        let mut failures = FailureState::default();
        // All failures of the current content, and how many of them are its own.
        let (mut attempts, mut own, mut is_quarantined) = (0, 0, false);
        for (fault, content) in history {
            if content == FailedContent::Other {
                (attempts, own, is_quarantined) = (0, 0, false);
            }
            attempts += 1;
            own += u32::from(content != FailedContent::Unknown && !OUTAGES.contains(&fault));
            is_quarantined |= fault == FaultKind::Crash || own >= FAILURES_MAX;
            failures = failures.after(&Fault::new(fault, ""), content, clock::START, CADENCE);
            prop_assert_eq!((failures.attempts, failures.own_attempts), (attempts, own));
            prop_assert_eq!(failures.quarantined_at.is_some(), is_quarantined);
        }
    }

    #[test]
    fn invariant_an_outage_never_quarantines_regardless_of_the_history(
        history in vec((any_fault(), any_content()), 0..20),
        outage in vec((prop::sample::select(&OUTAGES[..]), any_content()), 1..40),
    ) {
        let mut failures = FailureState::default();
        for (fault, content) in history {
            failures = failures.after(&Fault::new(fault, ""), content, clock::START, CADENCE);
        }
        for (fault, content) in outage {
            let before = failures.quarantined_at;
            failures = failures.after(&Fault::new(fault, ""), content, clock::START, CADENCE);
            prop_assert!(failures.quarantined_at.is_none() || failures.quarantined_at == before);
        }
    }

    #[test]
    fn invariant_printable_text_is_bounded_and_has_no_control_characters(text in any::<String>(), times in 1..2000_usize) {
        let printed = printable(&text.repeat(times));
        prop_assert!(printed.len() <= DETAIL_BYTES_MAX);
        prop_assert!(!printed.chars().any(char::is_control));
        let has_override = printed.contains(['\u{202e}', '\u{2066}']);
        prop_assert!(!has_override);
    }
}
