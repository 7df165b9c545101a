//! Limits from both sides, and what does not depend on them: the same bytes give the same rows.

use std::time::Duration;

use session_pipeline_bundle::{FAULTY, USAGE};
use session_pipeline_harness::{Guest, Transcript};
use session_pipeline_host::fault::FaultKind;
use session_pipeline_host::limits::Limits;
use session_pipeline_host::processor::Execution;

use super::{MISBEHAVE, QUIET, assert_says, guest, is_note, small};

#[test]
fn a_session_may_burn_its_fuel_and_little_more() {
    let guest = guest("well_behaved");
    let fuel = guest.process(QUIET).cost.fuel;
    let with = |fuel_base| {
        guest.with_limits(&Limits {
            fuel_base,
            fuel_per_byte: 0,
            ..small()
        })
    };
    assert_eq!(with(fuel).extract(QUIET).items, 2);
    // What is used up shows only where a function or a round of a loop begins.
    let fault = with(fuel - fuel / 10).expect_fault(QUIET);
    assert_eq!(fault.kind, FaultKind::OutOfFuel);
}

#[test]
fn every_byte_of_a_session_brings_fuel() {
    let guest = guest("well_behaved");
    let fuel_base = guest.process(QUIET).cost.fuel;
    let long = QUIET.repeat(100);
    let with = |fuel_per_byte| {
        guest.with_limits(&Limits {
            fuel_base,
            fuel_per_byte,
            ..small()
        })
    };
    assert_eq!(with(0).expect_fault(&long).kind, FaultKind::OutOfFuel);
    assert_eq!(with(2_000).extract(&long).items, 200);
}

#[test]
fn a_session_may_use_its_memory_to_the_last_page() {
    let guest = guest("well_behaved");
    // More than the guest has from the start.
    let session = "x".repeat(2 << 20);
    let peak = usize::try_from(guest.process(&session).cost.peak_memory).unwrap();
    let with = |memory_bytes_max| {
        guest.with_limits(&Limits {
            memory_bytes_max,
            ..small()
        })
    };
    assert_eq!(with(peak).extract(&session).items, 1);
    assert_eq!(
        with(peak - 1).expect_fault(&session).kind,
        FaultKind::MemoryLimit
    );
}

#[test]
fn a_session_may_have_as_many_bytes_as_the_limit() {
    let guest = guest("well_behaved");
    let with = |bytes: usize| {
        guest.with_limits(&Limits {
            session_bytes_max: bytes as u64,
            ..small()
        })
    };
    assert_eq!(with(QUIET.len()).extract(QUIET).items, 2);
    let execution = with(QUIET.len() - 1).process(QUIET);
    assert_eq!(execution.hash, None, "it is not even read");
    let fault = execution.outcome.unwrap_err();
    assert_eq!(fault.kind, FaultKind::TooLarge);
    assert_eq!(fault.detail, "the session has 16 bytes; the limit is 15");
}

#[test]
fn a_session_may_record_as_many_rows_as_the_limit() {
    let guest = guest("well_behaved");
    let with = |rows_max| {
        guest.with_limits(&Limits {
            rows_max,
            ..small()
        })
    };
    assert_eq!(with(2).extract(QUIET).rows("lines", "line"), ["1", "2"]);
    assert_eq!(with(1).expect_fault(QUIET).kind, FaultKind::OutputLimit);
}

#[test]
fn a_row_may_have_as_many_bytes_as_the_limit() {
    // A number and a text of that length.
    let row_bytes = 8 + 8 + "{\"n\":1}".len() as u64;
    let guest = guest("well_behaved");
    let with = |one_row_bytes_max| {
        guest.with_limits(&Limits {
            one_row_bytes_max,
            ..small()
        })
    };
    assert_eq!(with(row_bytes).extract(QUIET).items, 2);
    assert_eq!(
        with(row_bytes - 1).expect_fault(QUIET).kind,
        FaultKind::BadRecord
    );

    let with = |row_bytes_max| {
        guest.with_limits(&Limits {
            row_bytes_max,
            ..small()
        })
    };
    assert_eq!(with(2 * row_bytes).extract(QUIET).items, 2);
    let fault = with(2 * row_bytes - 1).expect_fault(QUIET);
    assert_eq!(fault.kind, FaultKind::OutputLimit);
}

#[test]
fn a_call_may_hand_over_what_the_limit_allows() {
    let guest = guest("floods_one_call");
    let with = |call_bytes_max| {
        guest.with_limits(&Limits {
            call_bytes_max,
            ..small()
        })
    };
    assert_eq!(with(64 << 20).extract(MISBEHAVE).items, 3);
    assert_eq!(
        with(16 << 20).expect_fault(MISBEHAVE).kind,
        FaultKind::OutputLimit
    );
}

#[test]
fn a_log_within_its_limit_is_kept_whole() {
    let roomy = Limits {
        log_bytes_max: 4 << 20,
        ..small()
    };
    let log = guest("floods_log")
        .with_limits(&roomy)
        .process(MISBEHAVE)
        .log;
    assert_eq!(log.len(), 2_000, "a thousand messages and as many lines");
    assert!(!log.iter().any(is_note));
}

#[test]
fn a_session_may_call_the_host_as_often_as_the_limit() {
    // A thousand messages and a thousand lines on standard error, each of more than one call.
    let guest = guest("floods_log");
    let with = |host_calls_max| {
        guest.with_limits(&Limits {
            host_calls_max,
            ..small()
        })
    };
    assert_eq!(with(100_000).extract(MISBEHAVE).items, 3);
    assert_eq!(
        with(2_000).expect_fault(MISBEHAVE).kind,
        FaultKind::HostCallLimit
    );
}

#[test]
fn a_line_above_the_limit_is_left_out_and_one_at_it_is_not() {
    let guest = guest("well_behaved");
    let with = |line_bytes_max| {
        guest.with_limits(&Limits {
            line_bytes_max,
            ..small()
        })
    };
    let transcript = "12345678\n1234\n";
    assert_eq!(
        with(8).extract(transcript).rows("lines", "line text").len(),
        2
    );
    assert_eq!(
        with(7).extract(transcript).rows("lines", "line text"),
        ["2 | 1234"]
    );
}

#[test]
fn tables_of_functions_have_a_limit_too() {
    let limits = Limits {
        table_elements_max: 1,
        ..small()
    };
    let fault = guest("well_behaved").try_with_limits(&limits).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Component);
    assert_says(&fault, "table elements; the limit is 1");
}

/// What a session came to, but for the time it took.
fn outcome(execution: &Execution) -> String {
    assert!(execution.outcome.is_ok(), "{:?}", execution.outcome);
    let cost = (execution.cost.fuel, execution.cost.peak_memory);
    format!("{cost:?} {:?} {:?}", execution.hash, execution.outcome)
}

#[test]
fn the_same_bytes_give_the_same_rows_for_the_same_fuel() {
    let session = Transcript::new("s1")
        .user("hello")
        .assistant(|m| m.tokens(10, 20).tool("Bash"))
        .tool_result(Ok("done"));
    let usage = Guest::load(USAGE);
    let first = outcome(&usage.process(&session));
    assert_eq!(outcome(&usage.process(&session)), first, "at once");
    // Whatever another session leaves behind in the pool's memory.
    usage.extract(Transcript::new("s2").user(&"long ".repeat(100_000)));
    assert_eq!(outcome(&usage.process(&session)), first, "after another");
    let elsewhere = Guest::load(USAGE);
    assert_eq!(outcome(&elsewhere.process(&session)), first, "elsewhere");
}

#[test]
fn a_failure_leaves_nothing_behind_for_the_next_session() {
    for way in ["panics", "grows_memory", "recurses", "floods_rows"] {
        let guest = guest(way);
        let first = outcome(&guest.process(QUIET));
        guest.expect_fault(MISBEHAVE);
        assert_eq!(outcome(&guest.process(QUIET)), first, "{way}");
    }
}

#[test]
fn every_guest_works_well_where_nothing_provokes_it() {
    for (way, component) in FAULTY {
        if !way.starts_with("describe_") {
            let guest = Guest::try_load(component, &small()).unwrap();
            assert_eq!(
                guest.extract(QUIET).rows("lines", "line"),
                ["1", "2"],
                "{way}"
            );
        }
    }
}

#[test]
fn calls_of_the_host_cost_fuel_so_that_their_end_is_the_same_on_any_machine() {
    // Neither the number of calls nor the time ends them.
    let endless = |fuel_base| Limits {
        fuel_base,
        fuel_per_byte: 0,
        host_calls_max: u64::MAX >> 1,
        cpu_base: Duration::from_secs(600),
        ..small()
    };
    for name in [
        "loops_calling",
        "calls_host_endlessly",
        "floods_wasi",
        "logs_long_lines_endlessly",
    ] {
        let run = || {
            let execution = guest(name)
                .with_limits(&endless(20_000_000))
                .process(MISBEHAVE);
            (execution.outcome.unwrap_err(), execution.cost.fuel)
        };
        let (first, fuel) = run();
        assert_eq!(first.kind, FaultKind::OutOfFuel, "{name}: {first}");
        assert_eq!(run(), (first, fuel), "{name}");
    }
}

#[test]
fn every_call_and_every_byte_that_it_takes_is_paid_for() {
    let guest = guest("well_behaved");
    let fuel = |session: &str| guest.process(session).cost.fuel;
    let (one, two, long) = (
        fuel("{\"n\":1}\n"),
        fuel("{\"n\":1}\n{\"n\":1}\n"),
        fuel(&format!(
            "{{\"n\":1,\"text\":\"{}\"}}\n",
            "x".repeat(100_000)
        )),
    );
    assert!(two > one + 100, "{one} {two}");
    assert!(
        long > one + 300_000,
        "it is read, and recorded: {one} {long}"
    );
}
