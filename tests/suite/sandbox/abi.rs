//! Handwritten guests that violate the binary interface, or have memories and tables that no
//! toolchain produces.

use session_pipeline_bundle::faulty;
use session_pipeline_harness::{Guest, TestPipeline, Transcript};
use session_pipeline_host::fault::{Fault, FaultKind};

use super::raw::RawGuest;
use super::{assert_detail, check_component, small};
use crate::database;
use crate::guests::usage;

/// Runs a guest that executes `misbehave` at the long session. `data` starts at address 512.
fn check(misbehave: &str, data: &str, kind: FaultKind) -> Fault {
    check_raw(
        &RawGuest {
            misbehave: misbehave.to_owned(),
            fields: format!(r#"(data (i32.const 512) "{data}")"#),
            ..RawGuest::new("faulty-raw")
        },
        kind,
    )
}

fn check_raw(raw: &RawGuest, kind: FaultKind) -> Fault {
    check_component(raw.component(), [1, 1], small(), kind)
}

/// The fault with which a guest is rejected.
fn load_fault(raw: &RawGuest) -> Fault {
    let fault = Guest::try_load(raw.component().1, &small()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Component, "{fault}");
    fault
}

#[test]
fn a_handwritten_guest_works() {
    let guest = Guest::try_load(RawGuest::new("faulty-raw").component().1, &small()).unwrap();
    for session in ["short", "a session above the quiet ones"] {
        assert_eq!(
            guest.extract(session).rows("lines", "line text"),
            ["1 | raw"]
        );
    }
}

#[test]
fn a_log_message_that_is_not_utf8_is_a_trap() {
    let log = "(call $log (i32.const 1) (i32.const 512) (i32.const 2))";
    let fault = check(log, r"\ff\fe", FaultKind::Trap);
    assert_detail(&fault, "utf-8");
}

#[test]
fn a_table_name_that_is_not_utf8_is_a_trap() {
    let insert = "(call $insert (i32.const 512) (i32.const 2) (i32.const 0) (i32.const 0))";
    let fault = check(insert, r"\c0\80", FaultKind::Trap);
    assert_detail(&fault, "utf-8");
}

/// Inserts one row with a null and the value at address 544.
const INSERT_ONE: &str =
    "(call $insert (i32.const 512) (i32.const 5) (i32.const 520) (i32.const 1))";
/// The name of the table, the row, and its first value, which ends at address 544.
const ROW: &str =
    r"lines\00\00\00\10\02\00\00\02\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00";

#[test]
fn a_text_value_that_is_not_utf8_is_a_bad_record() {
    // A text of two bytes at address 560.
    let value = r"\04\00\00\00\00\00\00\00\30\02\00\00\02\00\00\00\ff\fe";
    let fault = check(INSERT_ONE, &format!("{ROW}{value}"), FaultKind::BadRecord);
    assert_detail(&fault, "table `lines`: column `text`: ");
}

#[test]
fn a_value_of_an_unknown_kind_is_a_trap() {
    let fault = check(INSERT_ONE, &format!(r"{ROW}\c8"), FaultKind::Trap);
    assert_detail(&fault, "discriminant");
}

#[test]
fn a_value_with_text_outside_of_memory_is_a_trap() {
    let value = r"\04\00\00\00\00\00\00\00\f0\ff\ff\7f\10\00\00\00";
    let fault = check(INSERT_ONE, &format!("{ROW}{value}"), FaultKind::Trap);
    assert_detail(&fault, "out of bounds");
}

#[test]
fn an_unknown_log_level_is_a_trap() {
    let fault = check(
        "(call $log (i32.const 9) (i32.const 512) (i32.const 1))",
        "x",
        FaultKind::Trap,
    );
    assert_detail(&fault, "discriminant");
}

#[test]
fn a_list_or_text_outside_of_memory_is_a_trap() {
    for call in [
        "(call $log (i32.const 1) (i32.const 0x7fffffff) (i32.const 8))",
        "(call $log (i32.const 1) (i32.const -1) (i32.const -1))",
        "(call $insert (i32.const 512) (i32.const 5) (i32.const 0x7ffffff8) (i32.const 1))",
        "(call $insert (i32.const 512) (i32.const 5) (i32.const 520) (i32.const -1))",
        "(call $read-lines (i32.const 1) (i32.const -8))",
    ] {
        let fault = check(call, ROW, FaultKind::Trap);
        assert!(fault.detail.contains("out of bounds"), "{call}: {fault}");
    }
}

#[test]
fn an_unaligned_pointer_is_a_trap() {
    for call in [
        "(call $insert (i32.const 512) (i32.const 5) (i32.const 521) (i32.const 1))",
        "(call $read-lines (i32.const 1) (i32.const 521))",
        "(return (i32.const 521))",
    ] {
        let fault = check(call, ROW, FaultKind::Trap);
        assert!(fault.detail.contains("aligned"), "{call}: {fault}");
    }
}

#[test]
fn a_result_outside_of_memory_or_with_an_unknown_discriminant_is_a_trap() {
    for (result, data) in [
        ("(return (i32.const -8))", ""),
        ("(return (i32.const 512))", r"\07"),
        // A reason for a rejection that is outside of memory, and one that is not UTF-8.
        (
            "(return (i32.const 512))",
            r"\01\00\00\00\00\00\00\00\f0\ff\ff\7f\10\00\00\00",
        ),
        (
            "(return (i32.const 512))",
            r"\01\00\00\00\00\00\00\00\10\02\00\00\02\00\00\00\ff\fe",
        ),
    ] {
        check(result, data, FaultKind::Trap);
    }
}

/// Runs a guest that executes `realloc` when the host allocates memory for the key of the long
/// session.
fn check_realloc(realloc: &str, kind: FaultKind) -> Fault {
    let length = "ada/misbehaving.jsonl".len();
    check_raw(
        &RawGuest {
            realloc: format!(
                "(if (i32.eq (local.get $size) (i32.const {length})) (then {realloc}))"
            ),
            ..RawGuest::new("faulty-raw")
        },
        kind,
    )
}

#[test]
fn an_allocation_that_calls_the_host_is_a_trap() {
    let log = "(call $log (i32.const 1) (i32.const 1024) (i32.const 1))";
    let fault = check_realloc(log, FaultKind::Trap);
    assert_detail(&fault, "cannot leave component instance");
}

#[test]
fn an_allocation_outside_of_memory_is_a_trap() {
    let fault = check_realloc("(return (i32.const -8))", FaultKind::Trap);
    assert_detail(&fault, "realloc return");
}

#[test]
fn an_endless_allocation_runs_out_of_fuel() {
    check_realloc("(loop $again (br $again))", FaultKind::OutOfFuel);
}

#[test]
fn a_component_with_an_endless_start_function_is_rejected() {
    let fault = load_fault(&RawGuest {
        fields: "(func $start (loop $again (br $again))) (start $start)".to_owned(),
        ..RawGuest::new("faulty-raw")
    });
    assert_detail(&fault, "`describe` failed: out-of-fuel");
}

#[test]
fn a_component_with_a_start_function_that_traps_is_rejected() {
    let fault = load_fault(&RawGuest {
        fields: "(func $start unreachable) (start $start)".to_owned(),
        ..RawGuest::new("faulty-raw")
    });
    assert_detail(&fault, "`describe` failed: trap");
}

#[test]
fn the_memory_limit_applies_to_the_sum_of_all_memories() {
    // Six memories grow by 20 MiB each. The limit is 96 MiB.
    let (mut memories, mut grow) = (String::new(), String::new());
    for number in 0..6 {
        memories.push_str(&format!("(memory $hoard{number} 1)"));
        grow.push_str(&format!(
            "(if (i32.eq (memory.grow $hoard{number} (i32.const 320)) (i32.const -1))
               (then unreachable))"
        ));
    }
    let fault = check_raw(
        &RawGuest {
            fields: memories,
            misbehave: grow,
            ..RawGuest::new("faulty-raw")
        },
        FaultKind::MemoryLimit,
    );
    assert_detail(&fault, "bytes of memory; the limit is 100663296");
}

#[test]
fn a_component_with_more_memories_than_a_slot_has_is_rejected() {
    let fault = load_fault(&RawGuest {
        fields: "(memory 1)".repeat(16),
        ..RawGuest::new("faulty-raw")
    });
    assert_detail(
        &fault,
        "memories count of 17 exceeds the per-instance limit of 8",
    );
}

#[test]
fn a_component_with_an_initial_memory_above_the_limit_is_rejected() {
    let fault = load_fault(&RawGuest {
        memory: r#"(memory (export "memory") 60000)"#,
        ..RawGuest::new("faulty-raw")
    });
    assert_detail(&fault, "memory");
}

#[test]
fn the_table_limit_applies_to_the_sum_of_all_tables() {
    let mut grow = String::new();
    for number in 0..4 {
        grow.push_str(&format!(
            "(if (i32.eq (table.grow $hoard{number} (ref.null func) (i32.const 30000)) (i32.const -1))
               (then unreachable))"
        ));
    }
    let fault = check_raw(
        &RawGuest {
            fields: (0..4)
                .map(|number| format!("(table $hoard{number} 1 funcref)"))
                .collect(),
            misbehave: grow,
            ..RawGuest::new("faulty-raw")
        },
        FaultKind::MemoryLimit,
    );
    assert_detail(&fault, "table elements; the limit is 100000");
}

#[test]
fn a_component_with_an_initial_table_above_the_limit_is_rejected() {
    let fault = load_fault(&RawGuest {
        fields: "(table 10000000 funcref)".to_owned(),
        ..RawGuest::new("faulty-raw")
    });
    assert_detail(&fault, "table");
}

#[test]
fn a_table_name_cannot_refer_to_another_table() {
    let (dir, usage) = (session_pipeline_harness::DataDir::new(), usage());
    dir.write("ada/s1.jsonl", Transcript::new("s1").user("hello"));
    let names = [
        "usage.events",
        "\"usage\".\"events\"",
        "../usage/events",
        "lines\" UNION SELECT * FROM usage.events --",
        "lines; DROP TABLE usage.events",
        "main.session_processor_state",
        "session_processor_state",
        "lines\0",
        " lines",
        "LINES",
        "",
    ];
    let stored = |dir| {
        let tables = "SELECT schema_name, table_name, estimated_size FROM duckdb_tables()
             WHERE schema_name = 'usage' ORDER BY ALL";
        let events = "SELECT * FROM usage.events ORDER BY ALL";
        [database::rows(dir, tables), database::rows(dir, events)]
    };
    TestPipeline::open(&dir, &[usage]).run(usage.0);
    let before = stored(&dir);
    for name in names {
        let raw = RawGuest {
            writes_into: Some(name.to_owned()),
            ..RawGuest::new("faulty-raw")
        };
        let bad = raw.component();
        let pipeline = TestPipeline::open(&dir, &[bad, usage]);
        let stats = pipeline.run(bad.0).stats;
        assert_eq!((stats.processed, stats.errors), (0, 1), "`{name}`");
        assert_eq!(
            stats.errors_detail[0].fault.as_str(),
            "bad-record",
            "`{name}`"
        );
        drop(pipeline);
    }
    assert_eq!(stored(&dir), before);
    let tables = "SELECT count(*) FROM \"faulty-raw\".lines";
    assert_eq!(database::cell(&dir, tables), "0");
}

#[test]
fn a_component_with_invalid_or_reserved_names_is_rejected() {
    for table in [
        "usage.events",
        "lines\"",
        "Lines",
        "",
        "1lines",
        "lines\0",
        "drop table",
    ] {
        let fault = load_fault(&RawGuest {
            table: table.to_owned(),
            ..RawGuest::new("faulty-raw")
        });
        assert_detail(&fault, "a name must match [a-z][a-z0-9_]");
    }
    for column in [
        "session_seq",
        "rowid",
        "recorded_at",
        "a b",
        "text\"",
        "Text",
    ] {
        let fault = load_fault(&RawGuest {
            columns: ["line", column],
            ..RawGuest::new("faulty-raw")
        });
        assert_detail(&fault, "must not be a column that the host adds");
    }
    for name in [
        "main",
        "temp",
        "pg_catalog",
        "information_schema",
        "a.b",
        "-a",
        "",
    ] {
        let fault = load_fault(&RawGuest::new(name));
        assert_detail(&fault, "must not be reserved by the database");
    }
}

#[test]
fn a_guest_that_reports_the_name_of_another_processor_is_unavailable() {
    let dir = session_pipeline_harness::DataDir::new();
    dir.write("ada/s1.jsonl", Transcript::new("s1").user("hello"));
    let (_, component) = RawGuest::new("usage").component();
    let usage = usage();
    let pipeline = TestPipeline::open(&dir, &[("faulty-raw", component), usage]);
    let error = pipeline.pipeline().processor("faulty-raw").unwrap_err();
    let text = session_pipeline_harness::pipeline::error_text(&error);
    assert!(
        text.contains("the component reports the name `usage`"),
        "{text}"
    );
    assert_eq!(pipeline.run(usage.0).stats.processed, 1);
    drop(pipeline);
    // The table of the rejected guest was not created.
    let tables = "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'lines'";
    assert_eq!(database::cell(&dir, tables), "0");
}

#[test]
fn compiled_code_is_rejected_as_a_component() {
    use session_pipeline_host::limits::Compiler;
    use session_pipeline_host::sandbox::compile;

    let scratch = tempfile::tempdir().unwrap();
    let component = faulty("well_behaved").unwrap();
    let compiled = compile(&Compiler::InProcess, &small(), component, scratch.path()).unwrap();
    let error = compile(
        &Compiler::InProcess,
        &small(),
        &compiled.code,
        scratch.path(),
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.starts_with("the component does not compile: "),
        "{error}"
    );
}
