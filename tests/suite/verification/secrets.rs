//! Knowledge is shown to every analyst, so a secret of one user must not be in it.

use serde_json::json;
use session_pipeline_harness::{DataDir, ScriptedModel, TestPipeline};
use session_pipeline_pipeline::knowledge::{self, KnowledgeFilter};

use super::{by_llm, by_phrases, found, run, said, verification};
use crate::database::{cell, execute, rows};

/// What users may say, and what of it must be seen by no one else.
const SAID: [(&str, &str); 4] = [
    (
        "No, the password of the billing database is Tr0ub4dor!77 now.",
        "Tr0ub4dor",
    ),
    (
        "No, that is wrong, we never use AKIAIOSFODNN7EXAMPLE for the billing export.",
        "AKIAIOSFODNN7",
    ),
    (
        "No, the billing export uses postgres://ada:hunter2x@db.example.com/app always.",
        "hunter2x",
    ),
    (
        "We never store DB_PASS=Sunny$42; in the billing repository ourselves.",
        "Sunny$42",
    ),
];

const TABLES: [&str; 4] = ["items", "evidence", "relations", "contradictions"];

/// All that is stored, and all that is shown.
fn everything(dir: &DataDir, pipeline: impl FnOnce() -> TestPipeline) -> (String, String) {
    let stored: Vec<String> = TABLES
        .iter()
        .flat_map(|table| {
            rows(
                dir,
                &format!("SELECT CAST(t AS VARCHAR) FROM verification.{table} AS t"),
            )
        })
        .collect();
    let pipeline = pipeline();
    let store = Some(pipeline.pipeline().store());
    let wanted = KnowledgeFilter {
        limit: 100,
        ..KnowledgeFilter::default()
    };
    let items = knowledge::list(store, &wanted).unwrap();
    let shown: Vec<String> = items
        .iter()
        .map(|item| format!("{item:?} {:?}", knowledge::show(store, &item.id).unwrap()))
        .collect();
    (stored.join("\n"), shown.join("\n"))
}

#[test]
fn a_secret_that_a_user_said_is_neither_stored_nor_shown() {
    let dir = DataDir::new();
    for (index, (text, _)) in SAID.iter().enumerate() {
        dir.write(
            &format!("ada/{index}.jsonl"),
            said(&format!("s{index}"), &[text]),
        );
    }
    let stats = run(&dir, &by_phrases(&dir)).stats;
    assert!(stats.items_extracted >= 3, "{stats:?}");
    let (stored, shown) = everything(&dir, || by_phrases(&dir));
    for (_, secret) in SAID {
        assert!(!stored.contains(secret), "{stored}");
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(
        stored.contains("[removed: ") && shown.contains("[removed: "),
        "{shown}"
    );
}

#[test]
fn an_item_that_only_repeats_a_secret_is_cleaned_by_its_quote() {
    let dir = DataDir::new();
    let model = ScriptedModel::new();
    let words = [
        "the bot said otherwise",
        "no, the password is Tr0ub4dor-77 for billing",
    ];
    dir.write("ada/one.jsonl", said("s1", &words));
    model.answer(&found(&[
        verification(
            "Tr0ub4dor-77",
            "Billing is opened by Tr0ub4dor-77",
            // As a model quotes what it was shown.
            "no, the password is [removed: password] for billing",
            json!({"entities": ["Tr0ub4dor-77", "billing"]}),
        ),
        verification(
            "Tr0ub4dor-77 once more",
            "Tr0ub4dor-77 it is",
            "no, the password is Tr0ub4dor-77 for billing",
            json!({"entities": ["Tr0ub4dor-77"]}),
        ),
    ]));
    model.answer(r#"{"judgments":[]}"#);
    model.answer(r#"{"judgments":[]}"#);
    assert_eq!(run(&dir, &by_llm(&dir, &model)).stats.items_extracted, 2);
    let (stored, shown) = everything(&dir, || by_phrases(&dir));
    assert!(!stored.contains("Tr0ub4dor"), "{stored}");
    assert!(!shown.contains("Tr0ub4dor"), "{shown}");
}

#[test]
fn rows_of_an_older_program_are_cleaned_when_shown_and_by_the_next_run() {
    let dir = DataDir::new();
    dir.write(
        "ada/one.jsonl",
        said("s1", &["No, churn is counted per month from MRR."]),
    );
    run(&dir, &by_phrases(&dir));
    let id = cell(&dir, "SELECT id FROM verification.items");
    execute(
        &dir,
        "UPDATE verification.items SET content = 'the password is Tr0ub4dor!77', entities = '[\"Tr0ub4dor!77\"]', tags = '[\"DB_PASS=Tr0ub4dor!77\"]'; \
         UPDATE verification.evidence SET user_quote = 'No, the password is Tr0ub4dor!77'; \
         DELETE FROM counters WHERE name = 'redaction:verification'",
    );
    let (_, shown) = everything(&dir, || by_phrases(&dir));
    assert!(!shown.contains("Tr0ub4dor"), "{shown}");
    let pipeline = by_phrases(&dir);
    let wanted = KnowledgeFilter {
        text: Some("tr0ub4dor".to_owned()),
        limit: 100,
        ..KnowledgeFilter::default()
    };
    let found = knowledge::list(Some(pipeline.pipeline().store()), &wanted).unwrap();
    assert!(found.is_empty(), "a search tells what was removed");
    run(&dir, &pipeline);
    drop(pipeline);
    let (stored, shown) = everything(&dir, || by_phrases(&dir));
    assert!(!stored.contains("Tr0ub4dor"), "{stored}");
    assert!(!shown.contains("Tr0ub4dor"), "{shown}");
    assert_eq!(cell(&dir, "SELECT id FROM verification.items"), id);
    // Once for each version of the rules.
    assert_eq!(
        cell(
            &dir,
            "SELECT CAST(value AS VARCHAR) FROM counters WHERE name = 'redaction:verification'"
        ),
        "1"
    );
}
