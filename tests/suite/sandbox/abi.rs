//! Guests that break the rules of the binary interface itself, and those whose memories and tables
//! no toolchain would make.

use session_pipeline_bundle::faulty;
use session_pipeline_harness::{Guest, TestPipeline, Transcript};
use session_pipeline_host::fault::{Fault, FaultKind};

use super::raw::Raw;
use super::{assert_says, check_component, small};
use crate::database;
use crate::guests::usage;

/// Lets a guest do this at the session that makes it misbehave; the data lie from 512 on.
fn check(misbehave: &str, data: &str, kind: FaultKind) -> Fault {
    check_raw(
        &Raw {
            misbehave: misbehave.to_owned(),
            fields: format!(r#"(data (i32.const 512) "{data}")"#),
            ..Raw::new("faulty-raw")
        },
        kind,
    )
}

fn check_raw(raw: &Raw, kind: FaultKind) -> Fault {
    check_component(raw.component(), [1, 1], small(), kind)
}

/// Why a guest is no processor.
fn refusal(raw: &Raw) -> Fault {
    let fault = Guest::try_load(raw.component().1, &small()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Component, "{fault}");
    fault
}

#[test]
fn a_guest_written_by_hand_is_a_guest_like_any_other() {
    let guest = Guest::try_load(Raw::new("faulty-raw").component().1, &small()).unwrap();
    for session in ["short", "a session above the quiet ones"] {
        assert_eq!(
            guest.extract(session).rows("lines", "line text"),
            ["1 | raw"]
        );
    }
}

#[test]
fn a_text_that_is_no_utf8_is_a_trap() {
    let log = "(call $log (i32.const 1) (i32.const 512) (i32.const 2))";
    let fault = check(log, r"\ff\fe", FaultKind::Trap);
    assert_says(&fault, "utf-8");
}

#[test]
fn a_table_whose_name_is_no_utf8_is_a_trap() {
    let insert = "(call $insert (i32.const 512) (i32.const 2) (i32.const 0) (i32.const 0))";
    let fault = check(insert, r"\c0\80", FaultKind::Trap);
    assert_says(&fault, "utf-8");
}

/// Inserts one row of a null and the value at 544.
const INSERT_ONE: &str =
    "(call $insert (i32.const 512) (i32.const 5) (i32.const 520) (i32.const 1))";
/// The name of the table, the row, and its first value, which ends at 544.
const ROW: &str =
    r"lines\00\00\00\10\02\00\00\02\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00";

#[test]
fn a_value_that_is_no_utf8_is_a_bad_record() {
    // A text of two bytes, which lie at 560.
    let value = r"\04\00\00\00\00\00\00\00\30\02\00\00\02\00\00\00\ff\fe";
    let fault = check(INSERT_ONE, &format!("{ROW}{value}"), FaultKind::BadRecord);
    assert_says(&fault, "table `lines`: column `text`: ");
}

#[test]
fn a_value_of_a_kind_that_there_is_not_is_a_trap() {
    let fault = check(INSERT_ONE, &format!(r"{ROW}\c8"), FaultKind::Trap);
    assert_says(&fault, "discriminant");
}

#[test]
fn a_value_whose_text_lies_outside_of_memory_is_a_trap() {
    let value = r"\04\00\00\00\00\00\00\00\f0\ff\ff\7f\10\00\00\00";
    let fault = check(INSERT_ONE, &format!("{ROW}{value}"), FaultKind::Trap);
    assert_says(&fault, "out of bounds");
}

#[test]
fn a_level_that_there_is_not_is_a_trap() {
    let fault = check(
        "(call $log (i32.const 9) (i32.const 512) (i32.const 1))",
        "x",
        FaultKind::Trap,
    );
    assert_says(&fault, "discriminant");
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
fn a_pointer_that_is_not_aligned_is_a_trap() {
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
fn an_answer_outside_of_memory_or_of_no_known_case_is_a_trap() {
    for (answer, data) in [
        ("(return (i32.const -8))", ""),
        ("(return (i32.const 512))", r"\07"),
        // A reason to reject that lies nowhere, and one that is no text.
        (
            "(return (i32.const 512))",
            r"\01\00\00\00\00\00\00\00\f0\ff\ff\7f\10\00\00\00",
        ),
        (
            "(return (i32.const 512))",
            r"\01\00\00\00\00\00\00\00\10\02\00\00\02\00\00\00\ff\fe",
        ),
    ] {
        check(answer, data, FaultKind::Trap);
    }
}

/// Does this in the allocation for the key of the session that makes a guest misbehave.
fn check_realloc(realloc: &str, kind: FaultKind) -> Fault {
    let length = "ada/misbehaving.jsonl".len();
    check_raw(
        &Raw {
            realloc: format!(
                "(if (i32.eq (local.get $size) (i32.const {length})) (then {realloc}))"
            ),
            ..Raw::new("faulty-raw")
        },
        kind,
    )
}

#[test]
fn an_allocation_that_calls_back_into_the_host_is_a_trap() {
    let log = "(call $log (i32.const 1) (i32.const 1024) (i32.const 1))";
    let fault = check_realloc(log, FaultKind::Trap);
    assert_says(&fault, "cannot leave component instance");
}

#[test]
fn an_allocation_outside_of_memory_is_a_trap() {
    let fault = check_realloc("(return (i32.const -8))", FaultKind::Trap);
    assert_says(&fault, "realloc return");
}

#[test]
fn an_allocation_without_end_runs_out_of_fuel() {
    check_realloc("(loop $again (br $again))", FaultKind::OutOfFuel);
}

#[test]
fn work_without_end_at_the_start_is_no_processor() {
    let fault = refusal(&Raw {
        fields: "(func $start (loop $again (br $again))) (start $start)".to_owned(),
        ..Raw::new("faulty-raw")
    });
    assert_says(&fault, "`describe` failed: out-of-fuel");
}

#[test]
fn a_trap_at_the_start_is_no_processor() {
    let fault = refusal(&Raw {
        fields: "(func $start unreachable) (start $start)".to_owned(),
        ..Raw::new("faulty-raw")
    });
    assert_says(&fault, "`describe` failed: trap");
}

#[test]
fn the_limit_of_memory_is_that_of_all_memories_together() {
    // Six memories, none of which comes near the limit of 96 MiB, each grown by 20 MiB.
    let (mut memories, mut grow) = (String::new(), String::new());
    for number in 0..6 {
        memories.push_str(&format!("(memory $hoard{number} 1)"));
        grow.push_str(&format!(
            "(if (i32.eq (memory.grow $hoard{number} (i32.const 320)) (i32.const -1))
               (then unreachable))"
        ));
    }
    let fault = check_raw(
        &Raw {
            fields: memories,
            misbehave: grow,
            ..Raw::new("faulty-raw")
        },
        FaultKind::MemoryLimit,
    );
    assert_says(&fault, "bytes of memory; the limit is 100663296");
}

#[test]
fn more_memories_than_a_slot_has_are_no_processor() {
    let fault = refusal(&Raw {
        fields: "(memory 1)".repeat(16),
        ..Raw::new("faulty-raw")
    });
    assert_says(
        &fault,
        "memories count of 17 exceeds the per-instance limit of 8",
    );
}

#[test]
fn a_memory_that_begins_above_the_limit_is_no_processor() {
    let fault = refusal(&Raw {
        memory: r#"(memory (export "memory") 60000)"#,
        ..Raw::new("faulty-raw")
    });
    assert_says(&fault, "memory");
}

#[test]
fn the_limit_of_tables_is_that_of_all_tables_together() {
    let mut grow = String::new();
    for number in 0..4 {
        grow.push_str(&format!(
            "(if (i32.eq (table.grow $hoard{number} (ref.null func) (i32.const 30000)) (i32.const -1))
               (then unreachable))"
        ));
    }
    let fault = check_raw(
        &Raw {
            fields: (0..4)
                .map(|number| format!("(table $hoard{number} 1 funcref)"))
                .collect(),
            misbehave: grow,
            ..Raw::new("faulty-raw")
        },
        FaultKind::MemoryLimit,
    );
    assert_says(&fault, "table elements; the limit is 100000");
}

#[test]
fn a_table_that_begins_above_the_limit_is_no_processor() {
    let fault = refusal(&Raw {
        fields: "(table 10000000 funcref)".to_owned(),
        ..Raw::new("faulty-raw")
    });
    assert_says(&fault, "table");
}

#[test]
fn names_that_lead_to_other_tables_lead_nowhere() {
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
    let kept = |dir| {
        let tables = "SELECT schema_name, table_name, estimated_size FROM duckdb_tables()
             WHERE schema_name = 'usage' ORDER BY ALL";
        let events = "SELECT * FROM usage.events ORDER BY ALL";
        [database::rows(dir, tables), database::rows(dir, events)]
    };
    TestPipeline::open(&dir, &[usage]).run(usage.0);
    let before = kept(&dir);
    for name in names {
        let raw = Raw {
            writes_into: Some(name.to_owned()),
            ..Raw::new("faulty-raw")
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
    assert_eq!(kept(&dir), before);
    let tables = "SELECT count(*) FROM \"faulty-raw\".lines";
    assert_eq!(database::cell(&dir, tables), "0");
}

#[test]
fn names_that_are_reserved_or_no_names_are_no_processor() {
    for table in [
        "usage.events",
        "lines\"",
        "Lines",
        "",
        "1lines",
        "lines\0",
        "drop table",
    ] {
        let fault = refusal(&Raw {
            table: table.to_owned(),
            ..Raw::new("faulty-raw")
        });
        assert_says(&fault, "a name must match [a-z][a-z0-9_]");
    }
    for column in [
        "session_seq",
        "rowid",
        "recorded_at",
        "a b",
        "text\"",
        "Text",
    ] {
        let fault = refusal(&Raw {
            columns: ["line", column],
            ..Raw::new("faulty-raw")
        });
        assert_says(&fault, "must not be a column that the host adds");
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
        let fault = refusal(&Raw::new(name));
        assert_says(&fault, "must not be reserved by the database");
    }
}

#[test]
fn a_guest_that_claims_the_name_of_another_is_unavailable_and_the_other_is_not() {
    let dir = session_pipeline_harness::DataDir::new();
    dir.write("ada/s1.jsonl", Transcript::new("s1").user("hello"));
    let (_, component) = Raw::new("usage").component();
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
    // What the liar would have made is not there.
    let tables = "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'lines'";
    assert_eq!(database::cell(&dir, tables), "0");
}

#[test]
fn code_that_was_compiled_already_is_no_component() {
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
