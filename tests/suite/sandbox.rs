//! The sandbox: every way to misbehave costs its own session and nothing else.
//!
//! What is no component of ours, and how components are compiled, stands in `components`; what is
//! allowed just below each limit in `limits`; guests written by hand in `raw`, and what they do to
//! the binary interface in `abi`; those that chance wrote in `generated`; what would cost the compiler
//! too much in `bombs`; what is left behind by any
//! of them in `footprint`.

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

/// The sessions of [`check`]; guests misbehave at a word that only the second holds.
const QUIET: &str = "{\"n\":1}\n{\"n\":2}\n";
const MISBEHAVE: &str = "{\"n\":1}\n{\"text\":\"misbehave\"}\n{\"n\":3}\n";

/// Small enough that no guest misbehaves for long, and ample for those that don't.
fn small() -> Limits {
    Limits {
        fuel_base: 50_000_000,
        memory_bytes_max: 96 << 20,
        rows_max: 10_000,
        host_calls_max: 10_000,
        ..Limits::default()
    }
}

fn guest(way: &str) -> Guest {
    Guest::try_load(misbehaving(way).1, &small()).unwrap_or_else(|fault| panic!("`{way}`: {fault}"))
}

/// Runs a guest over three sessions, of which one makes it misbehave, and then one that never
/// does; gives the fault of the first.
fn check(way: &str, kind: FaultKind) -> Fault {
    check_under(way, small(), kind)
}

fn check_under(way: &str, limits: Limits, kind: FaultKind) -> Fault {
    check_component(misbehaving(way), [2, 2], limits, kind)
}

/// As [`check`], for any component; `kept` is how many rows it keeps of the two quiet sessions.
fn check_component(
    bad: (&'static str, &'static [u8]),
    kept: [u64; 2],
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
        panic!("one error is listed: {:?}", stats.errors_detail)
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
    assert_eq!((stats.processed, stats.errors), (3, 0), "the other one");

    // Tried again, by itself, until it is plain that it would fail for ever.
    for attempt in 2..=5 {
        let stats = pipeline.run(bad.0).stats;
        assert_eq!((stats.scanned, stats.errors), (1, 1), "attempt {attempt}");
    }
    let stats = pipeline.run(bad.0).stats;
    assert_eq!((stats.scanned, stats.quarantined), (0, 1));
    drop(pipeline);
    let kept_by = |name: &str| {
        let table = format!("\"{name}\".lines");
        database::rows(
            &dir,
            &format!("SELECT session_file, count(*) FROM {table} GROUP BY 1 ORDER BY 1"),
        )
    };
    let [before, after] = kept;
    assert_eq!(
        kept_by(bad.0),
        [
            format!("ada/before.jsonl | {before}"),
            format!("bob/after.jsonl | {after}")
        ]
    );
    assert_eq!(
        kept_by(good.0),
        [
            "ada/before.jsonl | 2",
            "ada/misbehaving.jsonl | 3",
            "bob/after.jsonl | 2"
        ]
    );
    failure.fault
}

#[track_caller]
fn assert_says(fault: &Fault, text: &str) {
    assert!(fault.detail.contains(text), "{fault}");
}

#[test]
fn a_guest_that_loops_runs_out_of_fuel() {
    let limits = Limits {
        fuel_base: 2_000_000,
        ..small()
    };
    let fault = check_under("loops", limits, FaultKind::OutOfFuel);
    assert_says(&fault, "the session used all the fuel for its size");
}

#[test]
fn a_guest_that_loops_on_endless_fuel_ends_at_its_deadline() {
    let limits = Limits {
        fuel_base: u64::MAX,
        cpu_base: Duration::from_millis(50),
        ..small()
    };
    let fault = check_under("loops", limits, FaultKind::Deadline);
    assert_says(&fault, "the session used all of its 0.05 s of CPU time");
}

#[test]
fn a_guest_that_loops_calling_the_host_is_stopped_by_the_number_of_calls() {
    let fault = check("loops_calling", FaultKind::HostCallLimit);
    assert_says(&fault, "the guest called the host more than 10000 times");
}

#[test]
fn calls_into_wasi_count_too() {
    let fault = check("calls_host_endlessly", FaultKind::HostCallLimit);
    assert_says(&fault, "the guest called the host more than 10000 times");
}

#[test]
fn time_that_the_host_spends_on_calls_counts_towards_the_deadline() {
    // So few calls do not fill the slice of fuel after which a guest's clock is looked at.
    let limits = Limits {
        fuel_base: u64::MAX,
        cpu_base: Duration::from_millis(20),
        ..small()
    };
    let fault = check_under("logs_long_lines_endlessly", limits, FaultKind::Deadline);
    assert_says(&fault, "the session used all of its 0.02 s of CPU time");
}

#[test]
fn a_guest_that_grows_its_memory_meets_its_limit() {
    let fault = check("grows_memory", FaultKind::MemoryLimit);
    assert_says(&fault, "bytes of memory; the limit is 100663296");
}

#[test]
fn a_guest_that_recurses_overflows_its_own_stack() {
    let fault = check("recurses", FaultKind::StackOverflow);
    assert_says(&fault, "the guest used all of its 1048576 bytes of stack");
}

#[test]
fn a_panic_keeps_its_message() {
    let fault = check("panics", FaultKind::Panic);
    assert_says(&fault, "panicked at");
    assert_says(&fault, "the guest panicked on purpose");
}

#[test]
fn a_guest_that_sleeps_is_denied_at_once() {
    let fault = check("sleeps", FaultKind::Denied);
    assert_says(
        &fault,
        "the call `wasi:io/poll#[method]pollable.block` is denied",
    );
}

#[test]
fn a_guest_that_reads_a_file_is_denied_and_learns_nothing() {
    let fault = check("reads_a_file", FaultKind::Denied);
    assert_says(
        &fault,
        "the call `wasi:filesystem/preopens#get-directories` is denied",
    );
}

#[test]
fn a_guest_that_polls_is_denied_at_once() {
    let fault = check("polls", FaultKind::Denied);
    assert_says(&fault, "the call `wasi:io/poll#poll` is denied");
}

#[test]
fn a_guest_that_opens_a_socket_is_denied_at_once() {
    let fault = check("opens_a_socket", FaultKind::Denied);
    assert_says(&fault, "the call `wasi:sockets/");
}

#[test]
fn calls_into_wasi_alone_count_too() {
    let fault = check("floods_wasi", FaultKind::HostCallLimit);
    assert_says(&fault, "the guest called the host more than 10000 times");
}

#[test]
fn a_guest_that_writes_into_another_processor_finds_no_such_table() {
    let fault = check("writes_into_another_processor", FaultKind::BadRecord);
    assert_says(&fault, "unknown table `usage.events`");
}

#[test]
fn text_of_any_kind_is_kept_as_it_is() {
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
fn a_guest_that_exits_ends_its_session_and_not_us() {
    let fault = check("exits", FaultKind::Trap);
    assert_says(&fault, "the guest exited with status 1");
}

#[test]
fn an_unreachable_instruction_is_a_trap_with_its_code() {
    let fault = check("unreachable", FaultKind::Trap);
    assert_says(&fault, "wasm `unreachable` instruction executed");
}

#[test]
fn a_division_by_zero_is_a_trap_with_its_code() {
    let fault = check("divides_by_zero", FaultKind::Trap);
    assert_says(&fault, "integer divide by zero");
}

#[test]
fn a_guest_that_floods_its_table_meets_the_limit_of_rows() {
    let fault = check("floods_rows", FaultKind::OutputLimit);
    assert_says(&fault, "the session recorded more than 10000 rows");
}

#[test]
fn a_guest_that_floods_its_table_meets_the_limit_of_bytes() {
    let limits = Limits {
        row_bytes_max: 4 << 20,
        ..small()
    };
    let fault = check_under("floods_rows", limits, FaultKind::OutputLimit);
    assert_says(&fault, "the session recorded more than 4194304 bytes");
}

#[test]
fn a_guest_that_floods_one_call_meets_the_limit_of_a_call() {
    let fault = check("floods_one_call", FaultKind::OutputLimit);
    assert_says(&fault, "one call passed more than 16777216 bytes");
}

#[test]
fn a_value_of_the_wrong_type_is_a_bad_record() {
    let fault = check("writes_wrong_type", FaultKind::BadRecord);
    assert_says(
        &fault,
        "table `lines`: column `line`: the value is not of type s64",
    );
}

#[test]
fn an_undeclared_table_is_a_bad_record() {
    let fault = check("writes_unknown_table", FaultKind::BadRecord);
    assert_says(&fault, "unknown table `elsewhere`");
}

#[test]
fn a_guest_that_rejects_a_session_gives_its_reason() {
    let fault = check("rejects", FaultKind::Rejected);
    assert_eq!(fault.detail, "the guest rejects this session");
}

#[test]
fn a_flooded_log_is_cut_with_a_note_and_is_no_fault() {
    let dir = DataDir::new();
    dir.write("ada/misbehaving.jsonl", MISBEHAVE);
    let floods_log = misbehaving("floods_log");
    let stats = TestPipeline::open(&dir, &[floods_log])
        .run(floods_log.0)
        .stats;
    assert_eq!((stats.processed, stats.errors), (1, 0));

    let log = guest("floods_log").process(MISBEHAVE).log;
    let kept: usize = log.iter().map(|line| line.message.len()).sum();
    assert!(kept <= small().log_bytes_max, "{kept} bytes");
    let notes = log.iter().filter(|line| is_note(line)).count();
    assert_eq!((notes, log.last().map(is_note)), (1, Some(true)));
}

fn is_note(line: &LogLine) -> bool {
    line.message == "the log reached its size limit; later messages are dropped"
}
