//! Back-off and quarantine, as a state machine without files or database.

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

/// Those that the session or the component caused.
const OWN: [FaultKind; 11] = [
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

/// Those that nobody's session should be lost by.
const OUTAGES: [FaultKind; 5] = [
    FaultKind::TooLarge,
    FaultKind::Llm,
    FaultKind::Input,
    FaultKind::Component,
    FaultKind::Host,
];

/// What so many failures of one kind in a row on one content come to.
fn failed(times: u32, fault: FaultKind) -> FailureState {
    failed_again(FailureState::default(), times, fault, FailedContent::Same)
}

fn failed_again(
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
fn the_first_failure_is_tried_again_at_once() {
    let failures = failed(1, FaultKind::Panic);
    assert_eq!((failures.attempts, wait_of(failures)), (1, None));
    assert_eq!(failures.verdict(clock::START, false), RetryDecision::Try);
}

#[test]
fn from_the_second_on_the_wait_doubles_up_to_a_day() {
    let waits: Vec<Option<u64>> = (1..=9)
        .map(|times| wait_of(failed(times, FaultKind::Input)).map(|wait| wait.as_secs() / 600))
        .collect();
    let cadences = [2, 4, 8, 16, 32, 64, 128, 144];
    let expected: Vec<Option<u64>> = [None]
        .into_iter()
        .chain(cadences.into_iter().map(Some))
        .collect();
    assert_eq!(waits, expected, "in cadences of ten minutes");
}

#[test]
fn a_waiting_session_is_tried_when_its_time_has_come() {
    let failures = failed(2, FaultKind::Panic);
    let due_at = failures.next_attempt_at.unwrap();
    assert_eq!(
        failures.verdict(UtcMicros(due_at.0 - 1), false),
        RetryDecision::Waiting
    );
    assert_eq!(failures.verdict(due_at, false), RetryDecision::Try);
}

#[test]
fn a_run_that_a_person_started_does_not_wait() {
    assert_eq!(
        failed(2, FaultKind::Panic).verdict(clock::START, true),
        RetryDecision::Try
    );
}

#[test]
fn the_fifth_failure_of_its_own_making_is_quarantine_for_whoever_asks() {
    for fault in OWN {
        let almost = failed(FAILURES_MAX - 1, fault);
        assert_eq!(almost.quarantined_at, None, "{fault}");
        let failures = failed(FAILURES_MAX, fault);
        assert_eq!(failures.quarantined_at, Some(clock::START), "{fault}");
        for by_person in [false, true] {
            let later = clock::START.plus(400 * DAY);
            assert_eq!(
                failures.verdict(later, by_person),
                RetryDecision::Quarantined,
                "{fault}"
            );
        }
    }
}

#[test]
fn an_outage_costs_nobody_a_session() {
    for fault in OUTAGES {
        let failures = failed(1000, fault);
        assert_eq!(failures.quarantined_at, None, "{fault}");
        assert_eq!(
            failures.verdict(clock::START.plus(DAY), false),
            RetryDecision::Try,
            "{fault}"
        );
    }
}

#[test]
fn a_session_that_brought_our_process_down_is_not_tried_again() {
    assert_eq!(
        failed(1, FaultKind::Crash).verdict(clock::START, true),
        RetryDecision::Quarantined
    );
}

#[test]
fn an_outage_in_between_is_not_held_against_a_session_and_forgives_it_nothing() {
    let almost = failed(FAILURES_MAX - 1, FaultKind::Panic);
    for fault in OUTAGES {
        for content in [FailedContent::Same, FailedContent::Unknown] {
            let through = failed_again(almost, 3, fault, content);
            assert_eq!(
                (
                    through.attempts,
                    through.own_attempts,
                    through.quarantined_at
                ),
                (7, 4, None),
                "{fault}"
            );
            assert_eq!(wait_of(through), Some(Duration::from_secs(600 * 64)));
            let last = failed_again(through, 1, FaultKind::Trap, FailedContent::Same);
            assert!(last.quarantined_at.is_some(), "{fault}");
        }
    }
}

#[test]
fn another_content_is_counted_anew() {
    let almost = failed(FAILURES_MAX - 1, FaultKind::Panic);
    let other = failed_again(almost, 1, FaultKind::Panic, FailedContent::Other);
    assert_eq!(other, failed(1, FaultKind::Panic));
}

#[test]
fn what_could_not_be_read_to_its_end_is_counted_for_the_wait_alone() {
    for fault in OWN {
        let failures = failed_again(FailureState::default(), 20, fault, FailedContent::Unknown);
        assert_eq!((failures.attempts, failures.own_attempts), (20, 0));
        assert_eq!(failures.quarantined_at, None, "{fault}");
    }
    let crash = failed_again(
        FailureState::default(),
        1,
        FaultKind::Crash,
        FailedContent::Unknown,
    );
    assert!(
        crash.quarantined_at.is_some(),
        "but nobody tries a crash again"
    );
}

#[test]
fn an_outage_lets_nobody_out_of_quarantine() {
    let held = failed(FAILURES_MAX, FaultKind::Panic);
    for fault in OUTAGES {
        let after = failed_again(held, 2, fault, FailedContent::Unknown);
        assert_eq!(after.quarantined_at, held.quarantined_at);
        assert_eq!(after.own_attempts, FAILURES_MAX);
    }
    let other = failed_again(held, 1, FaultKind::Panic, FailedContent::Other);
    assert_eq!(other.quarantined_at, None, "another content does");
}

#[test]
fn contents_are_told_apart_by_their_hashes_where_there_are_any() {
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
fn every_fault_has_a_word_and_is_found_by_it() {
    for fault in OWN.into_iter().chain(OUTAGES).chain([FaultKind::Crash]) {
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
    let all: Vec<FaultKind> = OWN
        .into_iter()
        .chain(OUTAGES)
        .chain([FaultKind::Crash])
        .collect();
    prop::sample::select(all)
}

proptest! {
    #![proptest_config(counted(cases() * 8))]

    #[test]
    fn invariant_waits_never_shrink_and_never_exceed_a_day(
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
    fn invariant_only_a_crash_or_five_failures_of_one_contents_own_making_quarantine(
        history in vec((any_fault(), any_content()), 1..40),
    ) {
        let mut failures = FailureState::default();
        // All failures of the present content, and those of its own making.
        let (mut attempts, mut own, mut is_held) = (0, 0, false);
        for (fault, content) in history {
            if content == FailedContent::Other {
                (attempts, own, is_held) = (0, 0, false);
            }
            attempts += 1;
            own += u32::from(content != FailedContent::Unknown && !OUTAGES.contains(&fault));
            is_held |= fault == FaultKind::Crash || own >= FAILURES_MAX;
            failures = failures.after(&Fault::new(fault, ""), content, clock::START, CADENCE);
            prop_assert_eq!((failures.attempts, failures.own_attempts), (attempts, own));
            prop_assert_eq!(failures.quarantined_at.is_some(), is_held);
        }
    }

    #[test]
    fn invariant_an_outage_quarantines_nothing_whatever_came_before(
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
    fn invariant_kept_text_is_short_and_can_not_paint_on_a_terminal(text in any::<String>(), times in 1..2000_usize) {
        let kept = printable(&text.repeat(times));
        prop_assert!(kept.len() <= DETAIL_BYTES_MAX);
        prop_assert!(!kept.chars().any(char::is_control));
        let has_override = kept.contains(['\u{202e}', '\u{2066}']);
        prop_assert!(!has_override);
    }
}
