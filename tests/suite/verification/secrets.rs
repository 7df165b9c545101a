//! Knowledge is visible to all analysts, so it must not contain a secret of a user.

use serde_json::json;
use session_pipeline_harness::{DataDir, ScriptedModel, TestPipeline};
use session_pipeline_pipeline::knowledge::{self, KnowledgeFilter};

use super::{
    extraction_answer, llm_pipeline, phrases_pipeline, run, session_with_prompts, verification,
};
use crate::database::{cell, execute, rows};

/// Prompts, and the secret in each.
const PROMPTS_WITH_SECRETS: [(&str, &str); 4] = [
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

/// All stored knowledge, and all knowledge that is listed and shown.
fn stored_and_shown(dir: &DataDir, pipeline: impl FnOnce() -> TestPipeline) -> (String, String) {
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
    let filter = KnowledgeFilter {
        limit: 100,
        ..KnowledgeFilter::default()
    };
    let items = knowledge::list(store, &filter).unwrap();
    let shown: Vec<String> = items
        .iter()
        .map(|item| format!("{item:?} {:?}", knowledge::show(store, &item.id).unwrap()))
        .collect();
    (stored.join("\n"), shown.join("\n"))
}

#[test]
fn a_secret_in_a_prompt_is_neither_stored_nor_shown() {
    let dir = DataDir::new();
    for (index, (text, _)) in PROMPTS_WITH_SECRETS.iter().enumerate() {
        dir.write(
            &format!("ada/{index}.jsonl"),
            session_with_prompts(&format!("s{index}"), &[text]),
        );
    }
    let stats = run(&dir, &phrases_pipeline(&dir)).stats;
    assert!(stats.items_extracted >= 3, "{stats:?}");
    let (stored, shown) = stored_and_shown(&dir, || phrases_pipeline(&dir));
    for (_, secret) in PROMPTS_WITH_SECRETS {
        assert!(!stored.contains(secret), "{stored}");
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(
        stored.contains("[removed: ") && shown.contains("[removed: "),
        "{shown}"
    );
}

#[test]
fn a_secret_in_a_quote_is_removed_from_all_fields_of_the_item() {
    let dir = DataDir::new();
    let model = ScriptedModel::new();
    let words = [
        "the bot said otherwise",
        "no, the password is Tr0ub4dor-77 for billing",
    ];
    dir.write("ada/one.jsonl", session_with_prompts("s1", &words));
    model.answer(&extraction_answer(&[
        verification(
            "Tr0ub4dor-77",
            "Billing is opened by Tr0ub4dor-77",
            // A model quotes the redacted text that it received.
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
    model.answer(r#"{"contradictions":[]}"#);
    model.answer(r#"{"contradictions":[]}"#);
    assert_eq!(
        run(&dir, &llm_pipeline(&dir, &model)).stats.items_extracted,
        2
    );
    let (stored, shown) = stored_and_shown(&dir, || phrases_pipeline(&dir));
    assert!(!stored.contains("Tr0ub4dor"), "{stored}");
    assert!(!shown.contains("Tr0ub4dor"), "{shown}");
}

#[test]
fn rows_of_an_older_version_are_redacted_when_shown_and_by_the_next_run() {
    let dir = DataDir::new();
    dir.write(
        "ada/one.jsonl",
        session_with_prompts("s1", &["No, churn is counted per month from MRR."]),
    );
    run(&dir, &phrases_pipeline(&dir));
    let id = cell(&dir, "SELECT id FROM verification.items");
    execute(
        &dir,
        "UPDATE verification.items SET content = 'the password is Tr0ub4dor!77', entities = '[\"Tr0ub4dor!77\"]', tags = '[\"DB_PASS=Tr0ub4dor!77\"]'; \
         UPDATE verification.evidence SET user_quote = 'No, the password is Tr0ub4dor!77'; \
         DELETE FROM counters WHERE name = 'redaction:verification'",
    );
    let (_, shown) = stored_and_shown(&dir, || phrases_pipeline(&dir));
    assert!(!shown.contains("Tr0ub4dor"), "{shown}");
    let pipeline = phrases_pipeline(&dir);
    let filter = KnowledgeFilter {
        text: Some("tr0ub4dor".to_owned()),
        limit: 100,
        ..KnowledgeFilter::default()
    };
    let found = knowledge::list(Some(pipeline.pipeline().store()), &filter).unwrap();
    assert!(found.is_empty(), "a search must not find a removed secret");
    run(&dir, &pipeline);
    drop(pipeline);
    let (stored, shown) = stored_and_shown(&dir, || phrases_pipeline(&dir));
    assert!(!stored.contains("Tr0ub4dor"), "{stored}");
    assert!(!shown.contains("Tr0ub4dor"), "{shown}");
    assert_eq!(cell(&dir, "SELECT id FROM verification.items"), id);
    // Stored rows are redacted once per version of the rules.
    assert_eq!(
        cell(
            &dir,
            "SELECT CAST(value AS VARCHAR) FROM counters WHERE name = 'redaction:verification'"
        ),
        "1"
    );
}
