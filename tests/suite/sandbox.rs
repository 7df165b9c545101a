//! The sandbox: a guest that misbehaves fails its own session and affects nothing else.
//!
//! - `components`: rejected components, and compiling
//! - `limits`: what is allowed just below each limit
//! - `raw`: handwritten guests
//! - `abi`: handwritten guests that violate the binary interface
//! - `generated`: randomly generated components
//! - `bombs`: components that are too expensive to compile
//! - `confined`: confinement of threads by the kernel
//! - `footprint`: resources that a process still holds afterward

mod abi;
mod bombs;
mod components;
mod confined;
mod footprint;
mod generated;
mod limits;
mod raw;

use std::time::Duration;

use session_pipeline_harness::{DataDir, Guest, TestPipeline};
use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::limits::Limits;
use session_pipeline_host::sandbox::LogLine;
use session_pipeline_pipeline::config::Config;

use crate::database;
use crate::guests::{misbehaving, well_behaved};

/// A session that no guest misbehaves at.
const QUIET: &str = "{\"n\":1}\n{\"n\":2}\n";
/// A session with the word at which guests misbehave.
const MISBEHAVE: &str = "{\"n\":1}\n{\"text\":\"misbehave\"}\n{\"n\":3}\n";

/// Limits that stop a misbehaving guest soon, and that a well-behaved guest does not reach.
fn small() -> Limits {
    Limits {
        fuel_base: 50_000_000,
        memory_bytes_max: 96 << 20,
        rows_max: 10_000,
        host_calls_max: 10_000,
        ..Limits::default()
    }
}

fn guest(variant: &str) -> Guest {
    Guest::try_load(misbehaving(variant).1, &small())
        .unwrap_or_else(|fault| panic!("`{variant}`: {fault}"))
}

/// Runs a guest on three sessions and checks that only the session with [`MISBEHAVE`] fails. Then
/// runs a well-behaved guest on the same sessions. Returns the fault.
fn check(variant: &str, kind: FaultKind) -> Fault {
    check_with_limits(variant, small(), kind)
}

fn check_with_limits(variant: &str, limits: Limits, kind: FaultKind) -> Fault {
    check_component(misbehaving(variant), [2, 2], limits, kind)
}

/// Like [`check`], for any component. `expected_rows` are the numbers of rows that it commits for
/// the two quiet sessions.
fn check_component(
    bad: (&'static str, &'static [u8]),
    expected_rows: [u64; 2],
    limits: Limits,
    kind: FaultKind,
) -> Fault {
    let dir = DataDir::new();
    dir.write("ada/before.jsonl", QUIET);
    dir.write("ada/misbehaving.jsonl", MISBEHAVE);
    dir.write("bob/after.jsonl", QUIET);
    let good = well_behaved();
    let config = Config {
        limits,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &[bad, good]);

    let stats = pipeline.run(bad.0).stats;
    assert_eq!(
        (stats.scanned, stats.processed, stats.errors),
        (3, 2, 1),
        "{:?}",
        stats.errors_detail
    );
    let [error] = stats.errors_detail.as_slice() else {
        panic!("expected one error, got {:?}", stats.errors_detail)
    };
    assert_eq!(
        (error.session.as_str(), error.fault.as_str()),
        ("ada/misbehaving.jsonl", kind.as_str()),
        "{}",
        error.error
    );
    assert_eq!(pipeline.state(bad.0, "ada/misbehaving.jsonl"), None);
    assert!(pipeline.state(bad.0, "bob/after.jsonl").is_some());
    let failure = pipeline.failure(bad.0, "ada/misbehaving.jsonl").unwrap();
    assert_eq!((failure.fault.kind, failure.failures.attempts), (kind, 1));

    let stats = pipeline.run(good.0).stats;
    assert_eq!(
        (stats.processed, stats.errors),
        (3, 0),
        "the well-behaved guest is not affected"
    );

    // Retries process only the failed session, until it is quarantined.
    for attempt in 2..=5 {
        let stats = pipeline.run(bad.0).stats;
        assert_eq!((stats.scanned, stats.errors), (1, 1), "attempt {attempt}");
    }
    let stats = pipeline.run(bad.0).stats;
    assert_eq!((stats.scanned, stats.quarantined), (0, 1));
    drop(pipeline);
    let row_counts = |name: &str| {
        let table = format!("\"{name}\".lines");
        database::rows(
            &dir,
            &format!("SELECT session_file, count(*) FROM {table} GROUP BY 1 ORDER BY 1"),
        )
    };
    let [before, after] = expected_rows;
    assert_eq!(
        row_counts(bad.0),
        [
            format!("ada/before.jsonl | {before}"),
            format!("bob/after.jsonl | {after}")
        ]
    );
    assert_eq!(
        row_counts(good.0),
        [
            "ada/before.jsonl | 2",
            "ada/misbehaving.jsonl | 3",
            "bob/after.jsonl | 2"
        ]
    );
    failure.fault
}

#[track_caller]
fn assert_detail(fault: &Fault, text: &str) {
    assert!(fault.detail.contains(text), "{fault}");
}

#[test]
fn a_guest_that_loops_runs_out_of_fuel() {
    let limits = Limits {
        fuel_base: 2_000_000,
        ..small()
    };
    let fault = check_with_limits("loops", limits, FaultKind::OutOfFuel);
    assert_detail(&fault, "the session used all the fuel for its size");
}

#[test]
fn a_guest_that_loops_with_unlimited_fuel_exceeds_its_deadline() {
    let limits = Limits {
        fuel_base: u64::MAX,
        cpu_base: Duration::from_millis(50),
        ..small()
    };
    let fault = check_with_limits("loops", limits, FaultKind::Deadline);
    assert_detail(&fault, "the session used all of its 0.05 s of CPU time");
}

#[test]
fn a_guest_that_calls_the_host_in_a_loop_exceeds_the_limit_of_calls() {
    let fault = check("loops_calling", FaultKind::HostCallLimit);
    assert_detail(&fault, "the guest called the host more than 10000 times");
}

#[test]
fn calls_to_wasi_and_to_the_contract_count_toward_the_limit_of_calls() {
    let fault = check("calls_host_endlessly", FaultKind::HostCallLimit);
    assert_detail(&fault, "the guest called the host more than 10000 times");
}

#[test]
fn time_that_the_host_spends_on_calls_counts_toward_the_deadline() {
    // So few calls use less fuel than one slice, after which the clock of a guest is checked.
    let limits = Limits {
        fuel_base: u64::MAX,
        cpu_base: Duration::from_millis(20),
        ..small()
    };
    let fault = check_with_limits("logs_long_lines_endlessly", limits, FaultKind::Deadline);
    assert_detail(&fault, "the session used all of its 0.02 s of CPU time");
}

#[test]
fn a_guest_that_grows_its_memory_exceeds_the_memory_limit() {
    let fault = check("grows_memory", FaultKind::MemoryLimit);
    assert_detail(&fault, "bytes of memory; the limit is 100663296");
}

#[test]
fn a_guest_that_recurses_overflows_only_its_own_stack() {
    let fault = check("recurses", FaultKind::StackOverflow);
    assert_detail(&fault, "the guest used all of its 1048576 bytes of stack");
}

#[test]
fn a_panic_is_reported_with_its_message() {
    let fault = check("panics", FaultKind::Panic);
    assert_detail(&fault, "panicked at");
    assert_detail(&fault, "the guest panicked on purpose");
}

#[test]
fn a_guest_that_sleeps_is_denied_immediately() {
    let fault = check("sleeps", FaultKind::Denied);
    assert_detail(
        &fault,
        "the call `wasi:io/poll#[method]pollable.block` is denied",
    );
}

#[test]
fn a_guest_that_reads_a_file_is_denied_before_it_sees_a_path() {
    let fault = check("reads_a_file", FaultKind::Denied);
    assert_detail(
        &fault,
        "the call `wasi:filesystem/preopens#get-directories` is denied",
    );
}

#[test]
fn a_guest_that_polls_is_denied_immediately() {
    let fault = check("polls", FaultKind::Denied);
    assert_detail(&fault, "the call `wasi:io/poll#poll` is denied");
}

#[test]
fn a_guest_that_opens_a_socket_is_denied_immediately() {
    let fault = check("opens_a_socket", FaultKind::Denied);
    assert_detail(&fault, "the call `wasi:sockets/");
}

#[test]
fn calls_to_wasi_alone_count_toward_the_limit_of_calls() {
    let fault = check("floods_wasi", FaultKind::HostCallLimit);
    assert_detail(&fault, "the guest called the host more than 10000 times");
}

#[test]
fn a_guest_that_inserts_into_a_table_of_another_processor_fails() {
    let fault = check("writes_into_another_processor", FaultKind::BadRecord);
    assert_detail(&fault, "unknown table `usage.events`");
}

#[test]
fn any_text_is_stored_unchanged() {
    let dir = DataDir::new();
    dir.write("ada/misbehaving.jsonl", "misbehave\n");
    let guest = misbehaving("writes_odd_text");
    let stats = TestPipeline::open(&dir, &[guest]).run(guest.0).stats;
    assert_eq!((stats.processed, stats.errors), (1, 0));
    let texts = "SELECT hex(encode(text)) FROM \"faulty-writes-odd-text\".lines
         WHERE line >= 100 ORDER BY line";
    assert_eq!(
        database::rows(&dir, texts),
        [
            hex("a\0b"),
            hex("\u{1b}[2J\u{7}\u{8}\r\n"),
            hex("'; DROP SCHEMA \"usage\" CASCADE; --"),
            hex("\u{202e}txt.exe\u{feff}"),
            hex("NULL"),
            hex(""),
        ]
    );
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02X}")).collect()
}

#[test]
fn a_guest_that_exits_ends_only_its_session() {
    let fault = check("exits", FaultKind::Trap);
    assert_detail(&fault, "the guest exited with status 1");
}

#[test]
fn an_unreachable_instruction_is_a_trap() {
    let fault = check("unreachable", FaultKind::Trap);
    assert_detail(&fault, "wasm `unreachable` instruction executed");
}

#[test]
fn a_division_by_zero_is_a_trap() {
    let fault = check("divides_by_zero", FaultKind::Trap);
    assert_detail(&fault, "integer divide by zero");
}

#[test]
fn a_guest_that_floods_its_table_exceeds_the_row_limit() {
    let fault = check("floods_rows", FaultKind::OutputLimit);
    assert_detail(&fault, "the session recorded more than 10000 rows");
}

#[test]
fn a_guest_that_floods_its_table_exceeds_the_byte_limit() {
    let limits = Limits {
        row_bytes_max: 4 << 20,
        ..small()
    };
    let fault = check_with_limits("floods_rows", limits, FaultKind::OutputLimit);
    assert_detail(&fault, "the session recorded more than 4194304 bytes");
}

#[test]
fn a_guest_that_floods_one_call_exceeds_the_byte_limit_of_a_call() {
    let fault = check("floods_one_call", FaultKind::OutputLimit);
    assert_detail(&fault, "one call passed more than 16777216 bytes");
}

#[test]
fn a_value_of_the_wrong_type_is_a_bad_record() {
    let fault = check("writes_wrong_type", FaultKind::BadRecord);
    assert_detail(
        &fault,
        "table `lines`: column `line`: the value is not of type s64",
    );
}

#[test]
fn an_undeclared_table_is_a_bad_record() {
    let fault = check("writes_unknown_table", FaultKind::BadRecord);
    assert_detail(&fault, "unknown table `elsewhere`");
}

#[test]
fn a_rejected_session_reports_the_reason_of_the_guest() {
    let fault = check("rejects", FaultKind::Rejected);
    assert_eq!(fault.detail, "the guest rejects this session");
}

#[test]
fn a_log_above_the_limit_is_truncated_with_a_note_and_the_session_succeeds() {
    let dir = DataDir::new();
    dir.write("ada/misbehaving.jsonl", MISBEHAVE);
    let floods_log = misbehaving("floods_log");
    let stats = TestPipeline::open(&dir, &[floods_log])
        .run(floods_log.0)
        .stats;
    assert_eq!((stats.processed, stats.errors), (1, 0));

    let log = guest("floods_log").process(MISBEHAVE).log;
    let log_bytes: usize = log.iter().map(|line| line.message.len()).sum();
    assert!(log_bytes <= small().log_bytes_max, "{log_bytes} bytes");
    let notes = log.iter().filter(|line| is_note(line)).count();
    assert_eq!((notes, log.last().map(is_note)), (1, Some(true)));
}

fn is_note(line: &LogLine) -> bool {
    line.message == "the log reached its size limit; later messages are dropped"
}
