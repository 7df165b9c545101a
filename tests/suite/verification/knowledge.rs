//! Knowledge for people: listed, shown with its evidence, approved and rejected.

use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_pipeline::knowledge::{self, Decision, KnowledgeError, KnowledgeFilter};
use session_pipeline_store::Actor;

use super::{by_phrases, prepared_dir, run, said};
use crate::database::{execute, rows};

const CHURN: &str = "No, churn is counted per month from MRR.";
const CARDS: &str = "We never store card numbers ourselves.";

/// Two items, of which ada said one and both users the other.
fn dir_of_two() -> DataDir {
    let dir = prepared_dir();
    dir.write("ada/one.jsonl", said("s1", &[CHURN, CARDS]));
    dir.write("bob/two.jsonl", said("s2", &[CARDS]));
    run(&dir, &by_phrases(&dir));
    dir
}

fn all() -> KnowledgeFilter {
    KnowledgeFilter {
        limit: 100,
        ..KnowledgeFilter::default()
    }
}

/// What a list shows, one text an item.
fn listed(pipeline: &TestPipeline, wanted: &KnowledgeFilter) -> Vec<String> {
    let items = knowledge::list(Some(pipeline.pipeline().store()), wanted).unwrap();
    let mut texts: Vec<String> = items
        .iter()
        .map(|item| format!("{} {} {}", item.title, item.status, item.evidence))
        .collect();
    texts.sort();
    texts
}

fn id_of(pipeline: &TestPipeline, text: &str) -> String {
    let wanted = KnowledgeFilter {
        text: Some(text.to_owned()),
        ..all()
    };
    let items = knowledge::list(Some(pipeline.pipeline().store()), &wanted).unwrap();
    items[0].id.clone()
}

fn decide(pipeline: &TestPipeline, id: &str, decision: Decision) -> Result<String, KnowledgeError> {
    let pipeline = pipeline.pipeline();
    let (store, now) = (Some(pipeline.store()), pipeline.clock().now());
    let shown = knowledge::decide(store, id, decision, Actor::cli(), now)?;
    Ok(shown.item.status)
}

#[test]
fn a_list_has_filters_and_nothing_is_known_before_the_processor_ran() {
    let dir = DataDir::new();
    assert_eq!(listed(&by_phrases(&dir), &all()), [""; 0]);
    let dir = dir_of_two();
    let pipeline = by_phrases(&dir);
    let churn = "Churn is counted per month from MRR pending 1";
    let cards = "We never store card numbers ourselves pending 2";
    assert_eq!(listed(&pipeline, &all()), [churn, cards]);
    let only = |change: fn(&mut KnowledgeFilter)| {
        let mut wanted = all();
        change(&mut wanted);
        listed(&pipeline, &wanted)
    };
    assert_eq!(
        only(|wanted| wanted.domain = Some("finance".to_owned())),
        [churn]
    );
    assert_eq!(
        only(|wanted| wanted.text = Some("CARD numbers".to_owned())),
        [cards]
    );
    assert_eq!(only(|wanted| wanted.text = Some("%".to_owned())), [""; 0]);
    assert_eq!(
        only(|wanted| wanted.status = Some("approved".to_owned())),
        [""; 0]
    );
    assert_eq!(only(|wanted| wanted.limit = 1).len(), 1);
}

#[test]
fn an_item_is_shown_with_every_piece_of_its_evidence() {
    let dir = dir_of_two();
    let pipeline = by_phrases(&dir);
    let id = id_of(&pipeline, "card");
    let shown = knowledge::show(Some(pipeline.pipeline().store()), &id).unwrap();
    assert_eq!((shown.item.evidence, shown.item.users), (2, 2));
    let told: Vec<String> = shown
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
        told,
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
fn a_decision_is_audited_once_and_stays() {
    let dir = dir_of_two();
    let pipeline = by_phrases(&dir);
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
fn what_has_no_evidence_is_listed_only_if_it_was_approved() {
    let dir = dir_of_two();
    let pipeline = by_phrases(&dir);
    decide(&pipeline, &id_of(&pipeline, "churn"), Decision::Approve).unwrap();
    for (key, id) in [("ada/one.jsonl", "s1"), ("bob/two.jsonl", "s2")] {
        dir.write(key, said(id, &["go on"]));
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
        "the other waits for somebody who says it"
    );
}

#[test]
fn personal_items_are_found_by_nobody() {
    let dir = dir_of_two();
    execute(
        &dir,
        "UPDATE verification.items SET is_personal = true, status = 'approved'",
    );
    let id = rows(&dir, "SELECT id FROM verification.items ORDER BY id")[0].clone();
    let pipeline = by_phrases(&dir);
    assert_eq!(listed(&pipeline, &all()), [""; 0]);
    assert!(decide(&pipeline, &id, Decision::Reject).is_err());
}
