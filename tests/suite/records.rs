//! Shared tables: rows with a key that outlive their session. Later sessions can look them up.
//!
//! The lines of a transcript are the actions of the guest. [`process`] runs each session in its own
//! run, one second after the previous one. `memory` tests shared tables in memory.

mod memory;
mod model;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::limits::Limits;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::run::RunRequest;

use crate::database;
use crate::guests::{misbehaving, prepared_state};

const REMEMBERS: &str = "faulty-remembers";
const WORDS: &str = "SELECT word, number, note FROM \"faulty-remembers\".words ORDER BY word";
const FOUND: &str = "SELECT words FROM \"faulty-remembers\".found ORDER BY session_file, line";

fn components() -> [(&'static str, &'static [u8]); 1] {
    [misbehaving("remembers")]
}

/// A data directory in which the guest is already registered.
fn new_dir() -> DataDir {
    static STATE: LazyLock<PathBuf> = LazyLock::new(|| prepared_state("records", &components()));
    DataDir::with_state_in(&STATE)
}

fn transcript(actions: &[Value]) -> String {
    actions.iter().map(|action| format!("{action}\n")).collect()
}

fn put(word: &str, number: i64) -> Value {
    json!({"do": "put", "word": word, "number": number})
}

fn find(query: Value) -> Value {
    let mut action = json!({"do": "find"});
    for (field, value) in query.as_object().unwrap() {
        action[field] = value.clone();
    }
    action
}

/// Writes and processes the sessions one after the other. All must succeed.
fn process_with(dir: &DataDir, pipeline: &TestPipeline, sessions: &[Vec<Value>]) {
    for (number, actions) in sessions.iter().enumerate() {
        dir.clock().advance(Duration::from_secs(1));
        dir.write(&format!("ada/{number:03}.jsonl"), transcript(actions));
        let stats = pipeline.run(REMEMBERS).stats;
        assert_eq!(
            (stats.processed, stats.errors),
            (1, 0),
            "{:?}",
            stats.errors_detail
        );
    }
}

/// Like [`process_with`], in a new data directory.
fn process(sessions: &[Vec<Value>]) -> DataDir {
    let dir = new_dir();
    let pipeline = TestPipeline::open(&dir, &components());
    process_with(&dir, &pipeline, sessions);
    drop(pipeline);
    dir
}

/// The results of the lookups in the last session, one text per lookup.
fn found(sessions: &[Vec<Value>]) -> Vec<String> {
    let dir = process(sessions);
    let last = format!("ada/{:03}.jsonl", sessions.len() - 1);
    let sql = format!(
        "SELECT words FROM \"faulty-remembers\".found WHERE session_file = '{last}' ORDER BY line"
    );
    database::rows(&dir, &sql)
}

/// Opens a pipeline with these limits.
fn open_with_limits(dir: &DataDir, limits: Limits) -> TestPipeline {
    let config = Config {
        limits,
        ..dir.config()
    };
    TestPipeline::open_with(dir, config, &components())
}

/// Commits some words and then returns the fault of a session with these actions. Checks that the
/// words do not change.
fn fault_with_limits(limits: Limits, actions: &[Value]) -> Fault {
    let dir = new_dir();
    let pipeline = open_with_limits(&dir, limits);
    process_with(
        &dir,
        &pipeline,
        &[vec![put("a", 1), put("b", 2), put("c", 3)]],
    );
    dir.write("ada/faulty.jsonl", transcript(actions));
    let stats = pipeline.run(REMEMBERS).stats;
    assert_eq!((stats.processed, stats.errors), (0, 1));
    let failure = pipeline.failure(REMEMBERS, "ada/faulty.jsonl").unwrap();
    assert_eq!(pipeline.state(REMEMBERS, "ada/faulty.jsonl"), None);
    drop(pipeline);
    assert_eq!(
        database::rows(&dir, WORDS),
        ["a | 1 | -", "b | 2 | -", "c | 3 | -"]
    );
    failure.fault
}

fn fault(actions: &[Value]) -> Fault {
    fault_with_limits(Limits::default(), actions)
}

#[test]
fn a_row_with_an_existing_key_replaces_the_row_and_keeps_its_creation_time() {
    let dir = process(&[
        vec![
            json!({"do": "put", "word": "a", "number": 1, "note": "first"}),
            put("b", 1),
        ],
        vec![put("a", 2)],
    ]);
    assert_eq!(database::rows(&dir, WORDS), ["a | 2 | -", "b | 1 | -"]);
    let times = "SELECT word, strftime(created_at, '%S'), strftime(updated_at, '%S') \
                 FROM \"faulty-remembers\".words ORDER BY word";
    assert_eq!(database::rows(&dir, times), ["a | 01 | 02", "b | 01 | 01"]);
}

#[test]
fn the_last_row_with_a_key_in_a_session_wins() {
    let many = json!({"do": "put_many", "words": [
        {"word": "a", "number": 3}, {"word": "b", "number": 4}, {"word": "a", "number": 5}]});
    let dir = process(&[vec![put("a", 1), put("a", 2), many, put("b", 6)]]);
    assert_eq!(database::rows(&dir, WORDS), ["a | 5 | -", "b | 6 | -"]);
}

#[test]
fn values_of_all_types_round_trip() {
    let row = json!({"do": "put", "word": "a", "number": -9_007_199_254_740_993_i64, "share": 0.5,
        "flag": false, "note": "\u{0}\u{202e}ü", "said_at": "2026-02-13T14:32:15.839001Z",
        "tags": ["x", {"y": null}]});
    let query = find(json!({"where": [
        ["word", "=", "a"], ["number", "=", -9_007_199_254_740_993_i64], ["share", "=", 0.5],
        ["flag", "=", false], ["note", "=", "\u{0}\u{202e}ü"],
        ["said_at", "=", "2026-02-13T14:32:15.839001Z"],
        ["tags", "=", ["x", {"y": null}]]]}));
    let sessions = [vec![row, query.clone()], vec![query]];
    let dir = process(&sessions);
    assert_eq!(
        database::rows(&dir, FOUND),
        ["a", "a"],
        "the row is found while it is pending, and after it is committed"
    );
}

#[test]
fn a_lookup_finds_committed_rows_and_the_pending_rows_of_its_session() {
    let all = find(json!({}));
    let small = find(json!({"where": [["number", "<", 10]]}));
    let texts = found(&[
        vec![put("a", 1), put("b", 2), put("c", 3)],
        vec![all.clone(), put("b", 20), put("d", 4), all, small],
    ]);
    assert_eq!(texts, ["a b c", "a b c d", "a c d"]);
}

#[test]
fn the_limit_of_a_lookup_applies_after_pending_rows_replace_committed_rows() {
    let texts = found(&[
        vec![put("a", 1), put("b", 2), put("c", 3), put("d", 4)],
        vec![
            put("a", 9),
            put("b", 8),
            find(json!({"by": "number", "limit": 2})),
            find(json!({"by": "number", "down": true, "limit": 3})),
            find(json!({"limit": 0})),
        ],
    ]);
    assert_eq!(texts, ["c d", "a b d", ""]);
}

#[test]
fn replaced_rows_do_not_count_toward_the_byte_limit_of_a_lookup() {
    let many = |numbers: std::ops::Range<i64>, number: i64| {
        let words: Vec<Value> = numbers
            .map(|n| json!({"word": format!("w{n:04}"), "number": number, "note": "x".repeat(50)}))
            .collect();
        json!({"do": "put_many", "words": words})
    };
    let dir = new_dir();
    let limits = Limits {
        lookup_bytes_max: 64 << 10,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &components());
    let sessions = [
        vec![many(0..1000, 1)],
        vec![
            many(0..999, 2),
            find(json!({"by": "number", "limit": 2})),
            find(json!({"by": "number", "down": true, "limit": 300})),
            find(json!({"where": [["number", "=", 1]]})),
            find(json!({"by": "created_at", "down": true, "limit": 1})),
        ],
    ];
    process_with(&dir, &pipeline, &sessions);
    drop(pipeline);
    let words = |range: std::ops::Range<i64>| -> String {
        let words: Vec<String> = range.map(|n| format!("w{n:04}")).collect();
        words.join(" ")
    };
    assert_eq!(
        database::rows(&dir, FOUND),
        [
            "w0999 w0000".to_owned(),
            words(0..300),
            words(999..1000),
            words(0..1)
        ]
    );
}

#[test]
fn nulls_sort_last_in_both_directions_and_ties_sort_by_key() {
    let nothing = |word: &str| json!({"do": "put", "word": word});
    let lookups = vec![
        find(json!({"by": "number"})),
        find(json!({"by": "number", "down": true})),
        find(json!({"by": "note"})),
    ];
    let mut last = vec![nothing("a"), put("d", 1)];
    last.extend(lookups);
    let texts = found(&[vec![put("c", 1), put("b", 2), nothing("e")], last]);
    assert_eq!(texts, ["c d b a e", "b c d a e", "a b c d e"]);
}

#[test]
fn rows_can_be_sorted_by_creation_time_and_by_update_time() {
    let newest = find(json!({"by": "updated_at", "down": true}));
    let oldest = find(json!({"by": "created_at"}));
    let texts = found(&[
        vec![put("c", 1)],
        vec![put("a", 1)],
        vec![put("b", 1)],
        vec![put("c", 2)],
        vec![
            newest.clone(),
            oldest.clone(),
            put("a", 2),
            put("d", 1),
            newest,
            oldest,
        ],
    ]);
    // Pending rows are the newest. A pending row that replaces another keeps its creation time.
    assert_eq!(texts, ["c b a", "c a b", "a d c b", "c a b d"]);
}

#[test]
fn a_filter_distinguishes_null_from_all_values_and_null_has_no_order() {
    let rows = vec![
        json!({"do": "put", "word": "nothing"}),
        json!({"do": "put", "word": "one", "number": 1, "share": -0.0, "flag": true, "note": "a"}),
        json!({"do": "put", "word": "two", "number": 2, "share": 1.5, "flag": false, "note": "b"}),
    ];
    let cases = [
        (json!(["number", "=", null]), "nothing"),
        (json!(["number", "!=", null]), "one two"),
        (json!(["number", "!=", 1]), "nothing two"),
        (json!(["number", "<", 2]), "one"),
        (json!(["number", "<=", 2]), "one two"),
        (json!(["number", ">", null]), ""),
        (json!(["number", "<=", null]), ""),
        (json!(["share", "=", 0.0]), "one"),
        (json!(["share", ">=", 1.5]), "two"),
        (json!(["flag", "<", true]), "two"),
        (json!(["note", ">", "a"]), "two"),
        (json!(["note", "=", "A"]), ""),
        (json!(["word", ">=", "one"]), "one two"),
        (json!(["word", "=", "two"]), "two"),
        (json!(["word", "=", null]), ""),
    ];
    let lookups = |cases: &[(Value, &str)]| -> Vec<Value> {
        let lookups = cases
            .iter()
            .map(|(filter, _)| find(json!({"where": [filter]})));
        lookups.collect()
    };
    let expected: Vec<&str> = cases.iter().map(|(_, words)| *words).collect();
    let committed = found(&[rows.clone(), lookups(&cases)]);
    assert_eq!(committed, expected);
    let pending = [rows, lookups(&cases)].concat();
    assert_eq!(found(&[pending]), expected);
}

#[test]
fn a_failed_session_changes_no_shared_table() {
    let fault = fault(&[put("a", 9), put("z", 1), json!({"do": "fail"})]);
    assert_eq!(fault.kind, FaultKind::Rejected);
}

#[test]
fn misuse_of_a_table_is_a_bad_record_with_the_reason() {
    let misuses = [
        "put_without_key",
        "put_in_found",
        "put_in_nothing",
        "put_wrong_type",
        "insert_words",
        "find_in_found",
        "find_in_nothing",
        "find_by_unknown_column",
        "find_by_wrong_type",
        "find_by_time",
        "find_in_unknown_order",
        "find_by_many_filters",
    ];
    let detail = |misuse: &&str| {
        let fault = fault(&[put("z", 1), json!({"do": misuse})]);
        assert_eq!(fault.kind, FaultKind::BadRecord, "{misuse}: {fault}");
        fault.detail
    };
    let details: Vec<String> = misuses.iter().map(detail).collect();
    insta::assert_snapshot!(details.join("\n"), @r"
    table `words`: the key `word` is null
    the rows of the table `found` belong to their session; use `insert`
    unknown table `nothing`; declare it in the manifest
    table `words`: column `number`: the value is not of type s64
    the table `words` is shared; use `upsert`
    table `found` is not shared; `lookup` only finds rows of shared tables
    unknown table `nothing`; declare it in the manifest
    lookup in table `words`: unknown column `\u{1b}[2J`
    lookup in table `words`: column `number`: the value of the filter is not of type s64
    lookup in table `words`: unknown column `updated_at`
    a lookup in table `words` orders by the unknown column `words; --`
    a lookup in table `words` has 33 filters; the limit is 32
    ");
}

#[test]
fn a_key_must_not_be_empty_and_has_a_maximum_length() {
    let empty = fault(&[put("", 1)]);
    assert_eq!(
        empty.to_string(),
        "bad-record: table `words`: the key `word` is empty"
    );
    let long = fault(&[json!({"do": "put", "length": 1025})]);
    assert_eq!(
        long.to_string(),
        "bad-record: table `words`: the key `word` has 1025 bytes; the limit is 1024"
    );
    let odd = [
        "'; DROP TABLE words; --",
        "nul\u{0}",
        "nul",
        "ä",
        "Ä",
        " ",
        "\u{202e}",
        "\n",
    ];
    let puts: Vec<Value> = odd.iter().map(|word| put(word, 1)).collect();
    let lookups: Vec<Value> = odd
        .iter()
        .map(|word| find(json!({"where": [["word", "=", word]]})))
        .collect();
    let longest = json!({"do": "put", "length": 1024});
    let dir = process(&[
        [puts.clone(), vec![longest.clone()]].concat(),
        [puts, vec![longest], lookups].concat(),
    ]);
    let count = "SELECT count(*), count(DISTINCT word) FROM \"faulty-remembers\".words";
    assert_eq!(database::cell(&dir, count), "9 | 9");
    let texts = database::rows(&dir, FOUND);
    assert_eq!(texts, odd);
}

#[test]
fn only_a_serial_processor_can_have_shared_tables() {
    let dir = DataDir::new();
    let guest = misbehaving("describe_shared_and_independent");
    let pipeline = TestPipeline::open(&dir, &[guest]);
    let error = pipeline.try_run_as(guest.0, RunRequest::cli()).unwrap_err();
    assert!(
        error.to_string().contains(
            "invalid shared table `words`: only a serial processor can declare a shared table"
        ),
        "{error}"
    );
}

#[test]
fn upserts_count_toward_the_row_and_byte_limits() {
    let rows = Limits {
        rows_max: 8,
        ..Limits::default()
    };
    let fault = fault_with_limits(rows, &vec![put("z", 1); 9]);
    assert_eq!(
        fault.to_string(),
        "output-limit: the session recorded more than 8 rows"
    );
    let bytes = Limits {
        row_bytes_max: 2_000,
        ..Limits::default()
    };
    let long = json!({"do": "put", "length": 1000});
    let fault = fault_with_limits(bytes, &[long.clone(), long]);
    assert_eq!(
        fault.to_string(),
        "output-limit: the session recorded more than 2000 bytes"
    );
}

#[test]
fn the_size_of_a_json_value_is_that_of_its_text_and_its_depth_that_of_its_nesting() {
    let dir = new_dir();
    let limits = Limits {
        row_bytes_max: 15_000,
        ..Limits::default()
    };
    let side_by_side =
        json!({"do": "put", "word": "a", "number": 1, "tags": vec![json!([]); 1000]});
    let in_a_text = json!({"do": "put", "word": "b", "number": 2, "tags": ["[".repeat(1000)]});
    dir.write("ada/one.jsonl", transcript(&[side_by_side, in_a_text]));
    let stats = open_with_limits(&dir, limits).run(REMEMBERS).stats;
    assert_eq!(stats.processed, 1, "{:?}", stats.errors_detail);
    let lengths = "SELECT len(tags::VARCHAR) FROM \"faulty-remembers\".words ORDER BY word";
    assert_eq!(database::rows(&dir, lengths), ["3001", "1004"]);
}

#[test]
fn a_lookup_that_exceeds_its_limits_is_a_fault_and_is_never_truncated() {
    let rows = Limits {
        lookup_rows_max: 2,
        ..Limits::default()
    };
    let fault = fault_with_limits(rows.clone(), &[find(json!({}))]);
    assert_eq!(
        fault.to_string(),
        "output-limit: a lookup in table `words` found more than 2 rows; narrow it with `limit` or filters"
    );
    let bytes = Limits {
        lookup_bytes_max: 1_000,
        ..Limits::default()
    };
    let long = json!({"do": "put", "length": 1000});
    let fault = fault_with_limits(bytes, &[long, find(json!({"limit": 10}))]);
    assert_eq!(
        fault.to_string(),
        "output-limit: a lookup in table `words` found more than 1000 bytes; narrow it with `limit` or filters"
    );

    // A result of exactly the limit is not a fault.
    let dir = new_dir();
    let config = Config {
        limits: rows,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &components());
    let words = vec![put("a", 1), put("b", 1), put("c", 1)];
    process_with(&dir, &pipeline, &[words, vec![find(json!({"limit": 2}))]]);
}

#[test]
fn a_lookup_uses_fuel_for_each_row_that_it_reads() {
    let fuel_of = |query: Value| {
        let many: Vec<Value> = (0..1000)
            .map(|n| json!({"word": format!("w{n:04}")}))
            .collect();
        let dir = process(&[
            vec![query.clone()],
            vec![json!({"do": "put_many", "words": many})],
            vec![query],
        ]);
        let sql = "SELECT fuel FROM session_costs WHERE session_file <> 'ada/001.jsonl' \
                   ORDER BY session_file";
        let fuel: Vec<u64> = database::rows(&dir, sql)
            .iter()
            .map(|fuel| fuel.parse().unwrap())
            .collect();
        fuel[1] - fuel[0]
    };
    let by_note = fuel_of(find(json!({"where": [["note", "=", "absent"]]})));
    assert_eq!(by_note, 20 * 1000);
    let by_key = fuel_of(find(json!({"where": [["word", "=", "absent"]]})));
    assert_eq!(by_key, 0, "a lookup by key uses the index");
    let one = fuel_of(find(json!({"where": [["word", "=", "w0001"]]})));
    assert!(one > 0, "a row that is found uses fuel");
}

#[test]
fn a_guest_with_endless_lookups_runs_out_of_fuel() {
    let fault = fault(&[json!({"do": "find_endlessly"})]);
    assert_eq!(
        fault.to_string(),
        "out-of-fuel: the session used all the fuel for its size; a lookup used the last of it"
    );
}

#[test]
fn each_session_of_a_serial_processor_sees_the_rows_of_all_earlier_sessions() {
    let dir = new_dir();
    let sessions = 40;
    for number in 0..sessions {
        let actions = [find(json!({})), put(&format!("w{number:02}"), number)];
        dir.write(&format!("ada/{number:03}.jsonl"), transcript(&actions));
    }
    let pipeline = TestPipeline::open(&dir, &components());
    assert_eq!(pipeline.run(REMEMBERS).stats.processed, 40);
    drop(pipeline);
    let sql = "SELECT len(string_split(words, ' ')) * CAST(words <> '' AS INTEGER) \
               FROM \"faulty-remembers\".found ORDER BY session_seq";
    let counts: Vec<i64> = database::rows(&dir, sql)
        .iter()
        .map(|count| count.parse().unwrap())
        .collect();
    assert_eq!(counts, (0..sessions).collect::<Vec<_>>());
}

#[test]
fn rows_of_a_shared_table_outlive_the_session_that_wrote_them() {
    let dir = process(&[vec![put("a", 1), put("b", 1)]]);
    dir.write("ada/000.jsonl", transcript(&[put("b", 2)]));
    let pipeline = TestPipeline::open(&dir, &components());
    assert_eq!(pipeline.run(REMEMBERS).stats.processed, 1);
    drop(pipeline);
    assert_eq!(database::rows(&dir, WORDS), ["a | 1 | -", "b | 2 | -"]);
}

#[test]
fn reprocessing_a_session_changes_only_the_update_times_of_shared_rows() {
    let actions = vec![
        json!({"do": "put", "word": "a", "number": 1, "share": 0.5, "tags": [1]}),
        put("b", 2),
    ];
    let dir = process(&[actions]);
    let rows = "SELECT * EXCLUDE updated_at FROM \"faulty-remembers\".words ORDER BY word";
    let before = database::rows(&dir, rows);
    let pipeline = TestPipeline::open(&dir, &components());
    dir.clock().advance(Duration::from_secs(60));
    pipeline.mark_due(REMEMBERS);
    assert_eq!(pipeline.run(REMEMBERS).stats.processed, 1);
    drop(pipeline);
    assert_eq!(database::rows(&dir, rows), before);
}
