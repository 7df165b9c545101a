//! The sandbox: every way to misbehave costs its own session and nothing else, and every limit
//! allows what is just below it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use session_pipeline_bundle::{FAULTY, USAGE};
use session_pipeline_harness::{DataDir, Guest, Session, TestPipeline};
use session_pipeline_runtime::config::{Compiler, Config, Limits};
use session_pipeline_runtime::fault::{Fault, FaultKind};
use session_pipeline_runtime::processor::Execution;
use session_pipeline_runtime::registry::RegistryError;
use session_pipeline_runtime::sandbox::{LogLine, compile};

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
    let dir = DataDir::new();
    dir.write("ada/before.jsonl", QUIET);
    dir.write("ada/misbehaving.jsonl", MISBEHAVE);
    dir.write("bob/after.jsonl", QUIET);
    let (bad, good) = (misbehaving(way), well_behaved());
    let config = Config {
        limits,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &[bad, good]);

    let stats = pipeline.run(bad.0).stats;
    assert_eq!((stats.scanned, stats.processed, stats.errors), (3, 2, 1));
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
    drop(pipeline);
    let kept = |name: &str| {
        let table = format!("\"{name}\".lines");
        database::rows(
            &dir,
            &format!("SELECT session_file, count(*) FROM {table} GROUP BY 1 ORDER BY 1"),
        )
    };
    assert_eq!(kept(bad.0), ["ada/before.jsonl | 2", "bob/after.jsonl | 2"]);
    assert_eq!(
        kept(good.0),
        [
            "ada/before.jsonl | 2",
            "ada/misbehaving.jsonl | 3",
            "bob/after.jsonl | 2"
        ]
    );
    failure.fault
}

/// Why a processor is unavailable; the other one works on all the same.
fn refusal(name: &'static str, component: &'static [u8], limits: Limits) -> Fault {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", QUIET);
    let good = well_behaved();
    let config = Config {
        limits,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &[(name, component), good]);
    let fault = match pipeline.pipeline().processor(name) {
        Err(RegistryError::Unavailable { fault, .. }) => fault,
        Err(error) => panic!("`{name}` is unavailable, not: {error}"),
        Ok(_) => panic!("`{name}` is available"),
    };
    assert_eq!(fault.kind, FaultKind::Component, "{fault}");
    // What can't be compiled has no room for the good one under these limits either.
    if limits_of(&pipeline).component_bytes_max >= good.1.len() as u64 {
        assert_eq!(pipeline.run(good.0).stats.processed, 1);
    }
    fault
}

fn limits_of(pipeline: &TestPipeline) -> &Limits {
    &pipeline.pipeline().config().limits
}

fn refusal_of(way: &str) -> Fault {
    let (name, component) = misbehaving(way);
    refusal(name, component, small())
}

#[track_caller]
fn assert_says(fault: &Fault, text: &str) {
    assert!(fault.detail.contains(text), "{fault}");
}

// Ways to misbehave.

#[test]
fn a_guest_that_loops_runs_out_of_fuel() {
    let limits = Limits {
        fuel_base: 2_000_000,
        ..small()
    };
    let fault = check_under("loops", limits, FaultKind::OutOfFuel);
    assert_says(&fault, "the fuel for a session of this size is used up");
}

#[test]
fn a_guest_that_loops_on_endless_fuel_ends_at_its_deadline() {
    let limits = Limits {
        fuel_base: u64::MAX,
        cpu_base: Duration::from_millis(50),
        ..small()
    };
    let fault = check_under("loops", limits, FaultKind::Deadline);
    assert_says(&fault, "the CPU time of 0.05 s is used up");
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
fn a_guest_that_grows_its_memory_meets_its_limit() {
    let fault = check("grows_memory", FaultKind::MemoryLimit);
    assert_says(&fault, "bytes of memory; the limit is 100663296");
}

#[test]
fn a_guest_that_recurses_overflows_its_own_stack() {
    let fault = check("recurses", FaultKind::StackOverflow);
    assert_says(&fault, "the stack of 1048576 bytes is used up");
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
        "the call `wasi:io/poll#[method]pollable.block` is not served",
    );
}

#[test]
fn a_guest_that_reads_a_file_is_denied_and_learns_nothing() {
    let fault = check("reads_a_file", FaultKind::Denied);
    assert_says(
        &fault,
        "the call `wasi:filesystem/preopens#get-directories` is not served",
    );
}

#[test]
fn a_guest_that_exits_ends_its_session_and_not_us() {
    let fault = check("exits", FaultKind::Trap);
    assert_says(&fault, "the guest ended itself with exit status 1");
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
    assert_says(&fault, "more than 10000 rows were recorded");
}

#[test]
fn a_guest_that_floods_its_table_meets_the_limit_of_bytes() {
    let limits = Limits {
        row_bytes_max: 4 << 20,
        ..small()
    };
    let fault = check_under("floods_rows", limits, FaultKind::OutputLimit);
    assert_says(&fault, "more than 4194304 bytes were recorded");
}

#[test]
fn a_guest_that_floods_one_call_meets_the_limit_of_a_call() {
    let fault = check("floods_one_call", FaultKind::OutputLimit);
    assert_says(&fault, "one call handed over more than 16777216 bytes");
}

#[test]
fn a_value_of_the_wrong_type_is_a_bad_record() {
    let fault = check("writes_wrong_type", FaultKind::BadRecord);
    assert_says(&fault, "table `lines`: column `line`: the value is no s64");
}

#[test]
fn an_undeclared_table_is_a_bad_record() {
    let fault = check("writes_unknown_table", FaultKind::BadRecord);
    assert_says(&fault, "there is no table `elsewhere`");
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
    line.message == "the log is cut here: it reached its limit"
}

// Describing oneself.

#[test]
fn a_guest_that_never_comes_to_describe_itself_is_unavailable() {
    let fault = refusal_of("describe_loops");
    assert_says(&fault, "it does not describe itself: out-of-fuel");
}

#[test]
fn a_guest_that_calls_the_host_to_describe_itself_is_unavailable() {
    let fault = refusal_of("describe_calls_imports");
    assert_says(
        &fault,
        "`describe` may call no import, and called `log.log`",
    );
}

#[test]
fn a_guest_of_a_name_that_is_sql_is_unavailable() {
    let fault = refusal_of("describe_bad_name");
    assert_says(
        &fault,
        "the processor name `Faulty; DROP SCHEMA main` is not allowed",
    );
}

#[test]
fn a_guest_of_two_tables_of_one_name_is_unavailable() {
    let fault = refusal_of("describe_two_tables_of_one_name");
    assert_says(&fault, "the name `lines` stands twice");
}

#[test]
fn a_guest_that_calls_itself_otherwise_is_unavailable() {
    let fault = refusal("somebody-else", well_behaved().1, small());
    assert_says(&fault, "the component calls itself `faulty-well-behaved`");
}

// What is no component of ours.

#[test]
fn a_core_module_is_refused() {
    let fault = refusal("usage", b"\0asm\x01\0\0\0", small());
    insta::assert_snapshot!(fault.to_string(), @"component: the component does not compile: failed to parse WebAssembly module: attempted to parse a wasm module with a component parser");
}

#[test]
fn an_empty_file_is_refused() {
    let fault = refusal("usage", b"", small());
    insta::assert_snapshot!(fault.to_string(), @"component: the component does not compile: failed to parse WebAssembly module: unexpected end-of-file (at offset 0x0)");
}

#[test]
fn a_truncated_component_is_refused_wherever_it_was_cut() {
    for cut in [9, 1_000, USAGE.len() / 2, USAGE.len() - 1] {
        let fault = Guest::try_load(&USAGE[..cut], &small()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Component, "{fault}");
        assert_says(&fault, "the component does not compile: ");
    }
    let fault = refusal("usage", &USAGE[..USAGE.len() / 2], small());
    assert_says(&fault, "the component does not compile: ");
}

#[test]
fn a_component_may_be_as_large_as_the_limit_and_no_larger() {
    let component = well_behaved().1;
    let limits = |bytes: usize| Limits {
        component_bytes_max: bytes as u64,
        ..small()
    };
    let size = component.len();
    let fault = refusal("faulty-well-behaved", component, limits(size - 1));
    let expected = format!("the component has {size} bytes; {} are allowed", size - 1);
    assert_eq!(fault.detail, expected);
    assert_eq!(
        Guest::try_load(component, &limits(size))
            .unwrap()
            .extract(QUIET)
            .items,
        2
    );
}

#[test]
fn an_import_that_nobody_serves_is_refused_by_its_name() {
    let fault = refusal("usage", importing("evil:door/knob@1.0.0"), small());
    insta::assert_snapshot!(fault.to_string(), @"component: the import `evil:door/knob@1.0.0` is not allowed; a processor may import the contract's interfaces at 1.0.0 and WASI 0.2");
}

#[test]
fn an_import_of_the_contract_at_another_version_is_refused() {
    for name in [
        "session-pipeline:processor/log@2.0.0",
        "session-pipeline:processor/llm@1.0.0",
        "wasi:http/outgoing-handler@0.2.6",
        "wasi:io/poll@0.3.0",
    ] {
        let fault = refusal("usage", importing(name), small());
        assert_says(&fault, &format!("the import `{name}` is not allowed"));
    }
}

#[test]
fn a_component_of_allowed_imports_that_exports_nothing_is_refused() {
    let fault = refusal("usage", importing("wasi:cli/environment@0.2.6"), small());
    insta::assert_snapshot!(fault.to_string(), @"component: the component does not fit the contract: no exported instance named `session-pipeline:processor/guest@1.0.0`");
}

/// A component that imports an empty interface of this name, and does nothing.
fn importing(name: &str) -> &'static [u8] {
    let length = u8::try_from(name.len()).unwrap();
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    // A type section with one instance type, of nothing.
    bytes.extend([7, 3, 1, 0x42, 0]);
    // An import section with one instance of it.
    bytes.extend([10, length + 5, 1, 0, length]);
    bytes.extend(name.as_bytes());
    bytes.extend([5, 0]);
    bytes.leak()
}

// Limits, from both sides.

#[test]
fn a_session_may_burn_its_fuel_and_little_more() {
    let guest = guest("well_behaved");
    let fuel = guest.process(QUIET).cost.fuel;
    let with = |fuel_base| {
        guest.under(&Limits {
            fuel_base,
            fuel_per_byte: 0,
            ..small()
        })
    };
    assert_eq!(with(fuel).extract(QUIET).items, 2);
    // What is used up shows only where a function or a round of a loop begins.
    let fault = with(fuel - fuel / 10).fail(QUIET);
    assert_eq!(fault.kind, FaultKind::OutOfFuel);
}

#[test]
fn every_byte_of_a_session_brings_fuel() {
    let guest = guest("well_behaved");
    let fuel_base = guest.process(QUIET).cost.fuel;
    let long = QUIET.repeat(100);
    let with = |fuel_per_byte| {
        guest.under(&Limits {
            fuel_base,
            fuel_per_byte,
            ..small()
        })
    };
    assert_eq!(with(0).fail(&long).kind, FaultKind::OutOfFuel);
    assert_eq!(with(2_000).extract(&long).items, 200);
}

#[test]
fn a_session_may_use_its_memory_to_the_last_page() {
    let guest = guest("well_behaved");
    // More than the guest has from the start.
    let session = "x".repeat(2 << 20);
    let peak = usize::try_from(guest.process(&session).cost.peak_memory).unwrap();
    let with = |memory_bytes_max| {
        guest.under(&Limits {
            memory_bytes_max,
            ..small()
        })
    };
    assert_eq!(with(peak).extract(&session).items, 1);
    assert_eq!(with(peak - 1).fail(&session).kind, FaultKind::MemoryLimit);
}

#[test]
fn a_session_may_have_as_many_bytes_as_the_limit() {
    let guest = guest("well_behaved");
    let with = |bytes: usize| {
        guest.under(&Limits {
            session_bytes_max: bytes as u64,
            ..small()
        })
    };
    assert_eq!(with(QUIET.len()).extract(QUIET).items, 2);
    let execution = with(QUIET.len() - 1).process(QUIET);
    assert_eq!(execution.hash, None, "it is not even read");
    let fault = execution.outcome.unwrap_err();
    assert_eq!(fault.kind, FaultKind::TooLarge);
    assert_eq!(fault.detail, "the session has 16 bytes; 15 are allowed");
}

#[test]
fn a_session_may_record_as_many_rows_as_the_limit() {
    let guest = guest("well_behaved");
    let with = |rows_max| {
        guest.under(&Limits {
            rows_max,
            ..small()
        })
    };
    assert_eq!(with(2).extract(QUIET).rows("lines", "line"), ["1", "2"]);
    assert_eq!(with(1).fail(QUIET).kind, FaultKind::OutputLimit);
}

#[test]
fn a_row_may_have_as_many_bytes_as_the_limit() {
    // A number and a text of that length.
    let row_bytes = 8 + 8 + "{\"n\":1}".len() as u64;
    let guest = guest("well_behaved");
    let with = |one_row_bytes_max| {
        guest.under(&Limits {
            one_row_bytes_max,
            ..small()
        })
    };
    assert_eq!(with(row_bytes).extract(QUIET).items, 2);
    assert_eq!(with(row_bytes - 1).fail(QUIET).kind, FaultKind::BadRecord);

    let with = |row_bytes_max| {
        guest.under(&Limits {
            row_bytes_max,
            ..small()
        })
    };
    assert_eq!(with(2 * row_bytes).extract(QUIET).items, 2);
    let fault = with(2 * row_bytes - 1).fail(QUIET);
    assert_eq!(fault.kind, FaultKind::OutputLimit);
}

#[test]
fn a_call_may_hand_over_what_the_limit_allows() {
    let guest = guest("floods_one_call");
    let with = |call_bytes_max| {
        guest.under(&Limits {
            call_bytes_max,
            ..small()
        })
    };
    assert_eq!(with(64 << 20).extract(MISBEHAVE).items, 3);
    assert_eq!(with(16 << 20).fail(MISBEHAVE).kind, FaultKind::OutputLimit);
}

#[test]
fn a_log_within_its_limit_is_kept_whole() {
    let roomy = Limits {
        log_bytes_max: 4 << 20,
        ..small()
    };
    let log = guest("floods_log").under(&roomy).process(MISBEHAVE).log;
    assert_eq!(log.len(), 2_000, "a thousand messages and as many lines");
    assert!(!log.iter().any(is_note));
}

#[test]
fn a_session_may_call_the_host_as_often_as_the_limit() {
    // A thousand messages and a thousand lines on standard error, each of more than one call.
    let guest = guest("floods_log");
    let with = |host_calls_max| {
        guest.under(&Limits {
            host_calls_max,
            ..small()
        })
    };
    assert_eq!(with(100_000).extract(MISBEHAVE).items, 3);
    assert_eq!(with(2_000).fail(MISBEHAVE).kind, FaultKind::HostCallLimit);
}

#[test]
fn a_line_above_the_limit_is_left_out_and_one_at_it_is_not() {
    let guest = guest("well_behaved");
    let with = |line_bytes_max| {
        guest.under(&Limits {
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
    let fault = guest("well_behaved").try_under(&limits).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Component);
    assert_says(&fault, "table elements; the limit is 1");
}

// The same bytes give the same rows.

/// What a session came to, but for the time it took.
fn outcome(execution: &Execution) -> String {
    assert!(execution.outcome.is_ok(), "{:?}", execution.outcome);
    let cost = (execution.cost.fuel, execution.cost.peak_memory);
    format!("{cost:?} {:?} {:?}", execution.hash, execution.outcome)
}

#[test]
fn the_same_bytes_give_the_same_rows_for_the_same_fuel() {
    let session = Session::new("s1")
        .user("hello")
        .assistant(|m| m.tokens(10, 20).tool("Bash"))
        .tool_result(Ok("done"));
    let usage = Guest::load(USAGE);
    let first = outcome(&usage.process(&session));
    assert_eq!(outcome(&usage.process(&session)), first, "at once");
    // Whatever another session leaves behind in the pool's memory.
    usage.extract(Session::new("s2").user(&"long ".repeat(100_000)));
    assert_eq!(outcome(&usage.process(&session)), first, "after another");
    let elsewhere = Guest::load(USAGE);
    assert_eq!(outcome(&elsewhere.process(&session)), first, "elsewhere");
}

#[test]
fn a_failure_leaves_nothing_behind_for_the_next_session() {
    for way in ["panics", "grows_memory", "recurses", "floods_rows"] {
        let guest = guest(way);
        let first = outcome(&guest.process(QUIET));
        guest.fail(MISBEHAVE);
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

// Compiling.

/// The compiler as the program starts it.
fn child_compiler() -> Compiler {
    Compiler::Child {
        program: assert_cmd::cargo::cargo_bin("session-pipeline"),
        arguments: vec!["compile-component".to_owned(), "--".to_owned()],
    }
}

#[test]
fn a_child_compiles_what_we_run() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", QUIET);
    let config = Config {
        compiler: child_compiler(),
        ..dir.config()
    };
    let shipped = well_behaved();
    let pipeline = TestPipeline::open_with(&dir, config, &[shipped]);
    assert_eq!(pipeline.run(shipped.0).stats.processed, 1);
}

#[test]
fn a_compiler_that_lacks_memory_fails_and_says_so() {
    let limits = Limits {
        compile_memory_bytes_max: 24 << 20,
        ..small()
    };
    let scratch = tempfile::tempdir().unwrap();
    let error = compile(&child_compiler(), &limits, USAGE, scratch.path()).unwrap_err();
    // Where it runs out, and so what it says, differs from machine to machine.
    assert!(error.to_string().contains("memory"), "{error}");
    let left_over = fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left_over, 0, "files between us and the child");
}

#[test]
fn what_a_child_refuses_is_told_by_us() {
    let scratch = tempfile::tempdir().unwrap();
    let error = compile(
        &child_compiler(),
        &small(),
        b"\0asm\x01\0\0\0",
        scratch.path(),
    )
    .unwrap_err();
    insta::assert_snapshot!(error, @"the component does not compile: error: failed to parse WebAssembly module: attempted to parse a wasm module with a component parser");
}

#[test]
fn a_compiler_that_is_not_there_is_named() {
    let compiler = Compiler::Child {
        program: PathBuf::from("/nowhere/session-pipeline"),
        arguments: Vec::new(),
    };
    let scratch = tempfile::tempdir().unwrap();
    let error = compile(&compiler, &small(), USAGE, scratch.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the compiler can't be run on `/nowhere/session-pipeline`"
    );
}

/// The only compiled form that is kept.
fn kept_code(dir: &DataDir) -> PathBuf {
    let folder = dir.path().join("state/components");
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let codes: Vec<PathBuf> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "code")
        })
        .collect();
    assert_eq!(codes.len(), 1, "{codes:?}");
    codes.into_iter().next().unwrap()
}

/// Processes a new session in a new process, so to speak.
fn process_another(dir: &DataDir, key: &str) {
    dir.write(key, QUIET);
    let shipped = well_behaved();
    let stats = TestPipeline::open(dir, &[shipped]).run(shipped.0).stats;
    assert_eq!((stats.processed, stats.errors), (1, 0));
}

fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap())
}

#[test]
fn kept_code_is_used_as_long_as_it_is_what_we_wrote() {
    let dir = DataDir::new();
    process_another(&dir, "ada/one.jsonl");
    let code = kept_code(&dir);
    let before = inode(&code);
    process_another(&dir, "ada/two.jsonl");
    assert_eq!(inode(&code), before, "it was not written anew");
}

#[test]
fn damaged_code_is_never_run_and_compiled_anew() {
    let dir = DataDir::new();
    process_another(&dir, "ada/one.jsonl");
    let code = kept_code(&dir);
    let whole = fs::read(&code).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (number, damaged) in [flipped, whole[..whole.len() / 2].to_vec(), Vec::new()]
        .iter()
        .enumerate()
    {
        fs::write(&code, damaged).unwrap();
        process_another(&dir, &format!("ada/after-{number}.jsonl"));
        assert_ne!(&fs::read(&code).unwrap(), damaged);
    }
    fs::remove_file(&code).unwrap();
    process_another(&dir, "ada/last.jsonl");
    assert!(code.is_file());
}

#[test]
fn kept_components_are_for_our_eyes_only() {
    use std::os::unix::fs::PermissionsExt;

    let dir = DataDir::new();
    process_another(&dir, "ada/one.jsonl");
    let folder = fs::metadata(dir.path().join("state/components")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
}
