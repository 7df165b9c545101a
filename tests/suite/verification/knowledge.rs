//! Listing, showing, approving and rejecting knowledge items.

use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_pipeline::knowledge::{self, Decision, KnowledgeError, KnowledgeFilter};
use session_pipeline_store::Actor;

use super::{phrases_pipeline, prepared_dir, run, session_with_prompts};
use crate::database::{execute, rows};

const CHURN: &str = "No, churn is counted per month from MRR.";
const CARDS: &str = "We never store card numbers ourselves.";

/// A data directory with two items. `ada` is the source of one, and both users are of the other.
fn dir_with_two_items() -> DataDir {
    let dir = prepared_dir();
    dir.write("ada/one.jsonl", session_with_prompts("s1", &[CHURN, CARDS]));
    dir.write("bob/two.jsonl", session_with_prompts("s2", &[CARDS]));
    run(&dir, &phrases_pipeline(&dir));
    dir
}

fn all() -> KnowledgeFilter {
    KnowledgeFilter {
        limit: 100,
        ..KnowledgeFilter::default()
    }
}

/// The listed items, one text per item.
fn listed(pipeline: &TestPipeline, filter: &KnowledgeFilter) -> Vec<String> {
    let items = knowledge::list(Some(pipeline.pipeline().store()), filter).unwrap();
    let mut texts: Vec<String> = items
        .iter()
        .map(|item| format!("{} {} {}", item.title, item.status, item.evidence))
        .collect();
    texts.sort();
    texts
}

fn id_of(pipeline: &TestPipeline, text: &str) -> String {
    let filter = KnowledgeFilter {
        text: Some(text.to_owned()),
        ..all()
    };
    let items = knowledge::list(Some(pipeline.pipeline().store()), &filter).unwrap();
    items[0].id.clone()
}

fn decide(pipeline: &TestPipeline, id: &str, decision: Decision) -> Result<String, KnowledgeError> {
    let pipeline = pipeline.pipeline();
    let (store, now) = (Some(pipeline.store()), pipeline.clock().now());
    let shown = knowledge::decide(store, id, decision, Actor::cli(), now)?;
    Ok(shown.item.status)
}

#[test]
fn a_list_can_be_filtered_and_is_empty_before_the_first_run() {
    let dir = DataDir::new();
    assert_eq!(listed(&phrases_pipeline(&dir), &all()), [""; 0]);
    let dir = dir_with_two_items();
    let pipeline = phrases_pipeline(&dir);
    let churn = "Churn is counted per month from MRR pending 1";
    let cards = "We never store card numbers ourselves pending 2";
    assert_eq!(listed(&pipeline, &all()), [churn, cards]);
    let only = |change: fn(&mut KnowledgeFilter)| {
        let mut filter = all();
        change(&mut filter);
        listed(&pipeline, &filter)
    };
    assert_eq!(
        only(|filter| filter.domain = Some("finance".to_owned())),
        [churn]
    );
    assert_eq!(
        only(|filter| filter.text = Some("CARD numbers".to_owned())),
        [cards]
    );
    assert_eq!(only(|filter| filter.text = Some("%".to_owned())), [""; 0]);
    assert_eq!(
        only(|filter| filter.status = Some("approved".to_owned())),
        [""; 0]
    );
    assert_eq!(only(|filter| filter.limit = 1).len(), 1);
}

#[test]
fn an_item_is_shown_with_all_of_its_evidence() {
    let dir = dir_with_two_items();
    let pipeline = phrases_pipeline(&dir);
    let id = id_of(&pipeline, "card");
    let shown = knowledge::show(Some(pipeline.pipeline().store()), &id).unwrap();
    assert_eq!((shown.item.evidence, shown.item.users), (2, 2));
    let evidence: Vec<String> = shown
        .evidence
        .iter()
        .map(|evidence| {
            format!(
                "{} {} {} {}",
                evidence.session, evidence.line, evidence.detector, evidence.quote
            )
        })
        .collect();
    assert_eq!(
        evidence,
        [
            format!("ada/one.jsonl 2 phrases {CARDS}"),
            format!("bob/two.jsonl 1 phrases {CARDS}"),
        ]
    );
    let unknown = knowledge::show(Some(pipeline.pipeline().store()), "kv_\u{1b}[2J").unwrap_err();
    assert!(
        unknown
            .to_string()
            .starts_with(r"unknown item `kv_\u{1b}[2J`"),
        "{unknown}"
    );
}

#[test]
fn a_repeated_decision_is_audited_once() {
    let dir = dir_with_two_items();
    let pipeline = phrases_pipeline(&dir);
    let id = id_of(&pipeline, "churn");
    for _ in 0..2 {
        assert_eq!(
            decide(&pipeline, &id, Decision::Approve).unwrap(),
            "approved"
        );
    }
    assert!(matches!(
        decide(&pipeline, "kv_000000000000", Decision::Approve),
        Err(KnowledgeError::Unknown(_))
    ));
    assert_eq!(
        decide(&pipeline, &id, Decision::Reject).unwrap(),
        "rejected"
    );
    drop(pipeline);
    let audit = "SELECT action, resource, params->>'before' FROM main.audit_log \
                 WHERE action LIKE 'knowledge.%' ORDER BY CAST(id AS BIGINT)";
    assert_eq!(
        rows(&dir, audit),
        [
            format!("knowledge.approve | knowledge:{id} | pending"),
            format!("knowledge.reject | knowledge:{id} | approved"),
        ]
    );
}

#[test]
fn an_item_without_evidence_is_listed_only_if_it_is_approved() {
    let dir = dir_with_two_items();
    let pipeline = phrases_pipeline(&dir);
    decide(&pipeline, &id_of(&pipeline, "churn"), Decision::Approve).unwrap();
    for (key, id) in [("ada/one.jsonl", "s1"), ("bob/two.jsonl", "s2")] {
        dir.write(key, session_with_prompts(id, &["go on"]));
    }
    run(&dir, &pipeline);
    assert_eq!(
        listed(&pipeline, &all()),
        ["Churn is counted per month from MRR approved 0"]
    );
    drop(pipeline);
    assert_eq!(
        rows(&dir, super::ITEMS).len(),
        2,
        "the other item is stored but not listed"
    );
}

#[test]
fn personal_items_are_never_listed() {
    let dir = dir_with_two_items();
    execute(
        &dir,
        "UPDATE verification.items SET is_personal = true, status = 'approved'",
    );
    let id = rows(&dir, "SELECT id FROM verification.items ORDER BY id")[0].clone();
    let pipeline = phrases_pipeline(&dir);
    assert_eq!(listed(&pipeline, &all()), [""; 0]);
    assert!(decide(&pipeline, &id, Decision::Reject).is_err());
}
