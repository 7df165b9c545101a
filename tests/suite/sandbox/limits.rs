//! Each limit from both sides, and the rule that the same bytes produce the same rows.

use std::time::Duration;

use session_pipeline_bundle::{FAULTY, USAGE};
use session_pipeline_harness::{Guest, Transcript};
use session_pipeline_host::fault::FaultKind;
use session_pipeline_host::limits::Limits;
use session_pipeline_host::processor::Execution;

use super::{MISBEHAVE, QUIET, assert_detail, guest, is_note, small};

#[test]
fn a_session_that_uses_more_than_its_fuel_fails() {
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
    // Fuel is checked only at the beginning of a function or of a loop iteration, so the limit is
    // not exact.
    let fault = with(fuel - fuel / 10).expect_fault(QUIET);
    assert_eq!(fault.kind, FaultKind::OutOfFuel);
}

#[test]
fn each_byte_of_a_session_adds_fuel() {
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
fn a_session_can_use_all_of_its_memory() {
    let guest = guest("well_behaved");
    // Larger than the initial memory of the guest.
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
fn a_session_larger_than_the_limit_is_not_read() {
    let guest = guest("well_behaved");
    let with = |bytes: usize| {
        guest.with_limits(&Limits {
            session_bytes_max: bytes as u64,
            ..small()
        })
    };
    assert_eq!(with(QUIET.len()).extract(QUIET).items, 2);
    let execution = with(QUIET.len() - 1).process(QUIET);
    assert_eq!(execution.hash, None, "the session is not read");
    let fault = execution.outcome.unwrap_err();
    assert_eq!(fault.kind, FaultKind::TooLarge);
    assert_eq!(fault.detail, "the session has 16 bytes; the limit is 15");
}

#[test]
fn a_session_that_records_more_rows_than_the_limit_fails() {
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
fn a_row_and_all_rows_together_have_byte_limits() {
    // The size of a row with a number and the text of the first line.
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
fn a_call_with_more_bytes_than_the_limit_fails() {
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
fn a_log_within_its_limit_is_complete() {
    let roomy = Limits {
        log_bytes_max: 4 << 20,
        ..small()
    };
    let log = guest("floods_log")
        .with_limits(&roomy)
        .process(MISBEHAVE)
        .log;
    assert_eq!(
        log.len(),
        2_000,
        "1,000 messages and 1,000 lines of standard error"
    );
    assert!(!log.iter().any(is_note));
}

#[test]
fn a_session_that_calls_the_host_more_often_than_the_limit_fails() {
    // The guest logs 1,000 messages and prints 1,000 lines to standard error. Each line needs more
    // than one call.
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
fn a_line_longer_than_the_limit_is_skipped() {
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
fn function_tables_have_a_limit() {
    let limits = Limits {
        table_elements_max: 1,
        ..small()
    };
    let fault = guest("well_behaved").try_with_limits(&limits).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Component);
    assert_detail(&fault, "table elements; the limit is 1");
}

/// The result of a session without its times, as text.
fn outcome(execution: &Execution) -> String {
    assert!(execution.outcome.is_ok(), "{:?}", execution.outcome);
    let cost = (execution.cost.fuel, execution.cost.peak_memory);
    format!("{cost:?} {:?} {:?}", execution.hash, execution.outcome)
}

#[test]
fn the_same_bytes_produce_the_same_rows_with_the_same_fuel() {
    let session = Transcript::new("s1")
        .user("hello")
        .assistant(|m| m.tokens(10, 20).tool("Bash"))
        .tool_result(Ok("done"));
    let usage = Guest::load(USAGE);
    let first = outcome(&usage.process(&session));
    assert_eq!(outcome(&usage.process(&session)), first, "immediately");
    // Another session leaves data in the pooled memory.
    usage.extract(Transcript::new("s2").user(&"long ".repeat(100_000)));
    assert_eq!(
        outcome(&usage.process(&session)),
        first,
        "after another session"
    );
    let other_engine = Guest::load(USAGE);
    assert_eq!(
        outcome(&other_engine.process(&session)),
        first,
        "in another engine"
    );
}

#[test]
fn a_failed_session_does_not_affect_the_next_session() {
    for variant in ["panics", "grows_memory", "recurses", "floods_rows"] {
        let guest = guest(variant);
        let first = outcome(&guest.process(QUIET));
        guest.expect_fault(MISBEHAVE);
        assert_eq!(outcome(&guest.process(QUIET)), first, "{variant}");
    }
}

#[test]
fn all_faulty_guests_process_quiet_sessions_correctly() {
    for (variant, component) in FAULTY {
        if !variant.starts_with("describe_") {
            let guest = Guest::try_load(component, &small()).unwrap();
            assert_eq!(
                guest.extract(QUIET).rows("lines", "line"),
                ["1", "2"],
                "{variant}"
            );
        }
    }
}

#[test]
fn host_calls_use_fuel_so_endless_calls_stop_deterministically() {
    // Neither the call limit nor the deadline stops the guest.
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
fn each_host_call_and_each_of_its_bytes_uses_fuel() {
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
        "reading and recording use fuel: {one} {long}"
    );
}
