//! Listing, showing, approving and rejecting knowledge items.

use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_pipeline::knowledge::{
    self, Decision, ExportFilter, KnowledgeError, KnowledgeFilter,
};
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
    let ids = [id.to_owned()];
    let decided = knowledge::decide(store, &ids, decision, None, Actor::cli(), now)?;
    Ok(decided[0].item.status.clone())
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

/// Statements of one domain, with the number of users who say them.
fn dir_with_ranked_items() -> DataDir {
    let dir = prepared_dir();
    let often = "We never store card numbers ourselves.";
    let reworded = "We never store the card numbers by ourselves.";
    let once = "Refunds are stored in the ledger with a negative amount.";
    let doubtful = "No, it is the same for the invoices.";
    dir.write("ada/1.jsonl", session_with_prompts("s1", &[once, doubtful]));
    dir.write("ada/2.jsonl", session_with_prompts("s2", &[often]));
    dir.write(
        "bob/3.jsonl",
        session_with_prompts("s3", &[often, reworded]),
    );
    run(&dir, &phrases_pipeline(&dir));
    dir
}

#[test]
fn a_list_is_ranked_has_similar_items_together_and_hides_low_scores() {
    let dir = dir_with_ranked_items();
    let pipeline = phrases_pipeline(&dir);
    let store = Some(pipeline.pipeline().store());
    let titles = |filter: &KnowledgeFilter| -> Vec<(String, bool)> {
        let items = knowledge::list(store, filter).unwrap().into_iter();
        items
            .map(|item| (item.title, item.rank.is_follower))
            .collect()
    };
    let all_scores = titles(&all());
    let expected = [
        ("We never store card numbers ourselves", false),
        ("We never store the card numbers by ourselves", true),
        (
            "Refunds are stored in the ledger with a negative amount",
            false,
        ),
        ("It is the same for the invoices", false),
    ];
    assert_eq!(
        all_scores,
        expected.map(|(title, is_follower)| (title.to_owned(), is_follower))
    );
    let likely = KnowledgeFilter {
        score_min: 50,
        ..all()
    };
    assert_eq!(titles(&likely), all_scores[..3]);
    assert_eq!(knowledge::count_below(store, &likely).unwrap(), 1);

    // Pages continue after any item.
    for size in 1..=4 {
        let mut paged = Vec::new();
        let mut after = None;
        loop {
            let filter = KnowledgeFilter {
                after: after.take(),
                limit: size,
                ..all()
            };
            let page = knowledge::list(store, &filter).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.rank.clone());
            paged.extend(page.into_iter().map(|item| item.title));
        }
        let expected: Vec<String> = all_scores.iter().map(|(title, _)| title.clone()).collect();
        assert_eq!(paged, expected, "pages of {size}");
    }
}

#[test]
fn several_items_are_decided_at_once_with_a_reason_or_not_at_all() {
    let dir = dir_with_two_items();
    let pipeline = phrases_pipeline(&dir);
    let both = [id_of(&pipeline, "churn"), id_of(&pipeline, "card")];
    let (store, now) = (
        Some(pipeline.pipeline().store()),
        pipeline.pipeline().clock().now(),
    );
    let reject = |ids: &[String], reason: &str| {
        knowledge::decide(
            store,
            ids,
            Decision::Reject,
            Some(reason),
            Actor::cli(),
            now,
        )
    };
    let with_unknown = [both[0].clone(), "kv_000000000000".to_owned()];
    assert!(matches!(
        reject(&with_unknown, "no"),
        Err(KnowledgeError::Unknown(_))
    ));
    assert!(matches!(
        reject(&both, &"x".repeat(1_001)),
        Err(KnowledgeError::LongReason)
    ));
    assert_eq!(listed(&pipeline, &all()).len(), 2);
    let decided = reject(&both, " not a rule ").unwrap();
    for details in decided {
        assert_eq!(details.item.status, "rejected");
        assert_eq!(details.item.reason.as_deref(), Some("not a rule"));
    }
    drop(pipeline);
    let audit = "SELECT count(*) FROM main.audit_log WHERE action = 'knowledge.reject' \
                 AND (params->>'reason') = 'not a rule'";
    assert_eq!(rows(&dir, audit), ["2"]);
}

#[test]
fn approved_items_are_exported_by_project_and_domain_and_hostile_texts_stay_on_their_line() {
    let dir = prepared_dir();
    let hostile = "We never render <b>[x](javascript:y)</b> `code` in | our tables";
    dir.write(
        "ada/o n e.jsonl",
        session_with_prompts("s1", &[CHURN, hostile]),
    );
    dir.write("bob/two.jsonl", session_with_prompts("s2", &[CARDS]));
    let pipeline = phrases_pipeline(&dir);
    run(&dir, &pipeline);
    for text in ["churn", "render"] {
        decide(&pipeline, &id_of(&pipeline, text), Decision::Approve).unwrap();
    }
    let export = |filter: &ExportFilter| {
        knowledge::markdown(Some(pipeline.pipeline().store()), filter).unwrap()
    };
    let filter = ExportFilter {
        base_url: Some("https://p.example".to_owned()),
        ..ExportFilter::default()
    };
    let text = export(&filter);
    assert!(text.starts_with("# Knowledge\n"), "{text}");
    assert!(
        !text.contains("card numbers"),
        "only approved items: {text}"
    );
    let churn = text.lines().find(|line| line.contains("Churn")).unwrap();
    assert!(
        churn.starts_with("- **Churn is counted per month from MRR**: "),
        "{churn}"
    );
    assert!(
        churn.contains("https://p.example/sessions/ada/o%20n%20e.jsonl?after="),
        "{churn}"
    );
    let rendered = text.lines().find(|line| line.contains("render")).unwrap();
    assert!(
        rendered.contains(r"\<b\>\[x\](javascript:y)\</b\> \`code\` in \| our tables"),
        "{rendered}"
    );
    assert_eq!(
        export(&filter),
        text,
        "the same items produce the same text"
    );
    let none = ExportFilter {
        domain: Some("data".to_owned()),
        ..filter
    };
    assert!(!export(&none).contains("- **"));
}

#[test]
fn an_older_database_without_the_new_columns_is_listed_and_decided() {
    let dir = dir_with_two_items();
    execute(
        &dir,
        "ALTER TABLE verification.evidence DROP COLUMN score; \
         ALTER TABLE verification.evidence DROP COLUMN said_at; \
         ALTER TABLE verification.items DROP COLUMN project; \
         ALTER TABLE verification.items DROP COLUMN decision_reason",
    );
    let pipeline = phrases_pipeline(&dir);
    assert_eq!(listed(&pipeline, &all()).len(), 2);
    let id = id_of(&pipeline, "churn");
    assert_eq!(
        decide(&pipeline, &id, Decision::Approve).unwrap(),
        "approved"
    );
    let shown = knowledge::show(Some(pipeline.pipeline().store()), &id).unwrap();
    assert_eq!((shown.item.score, shown.item.project), (60, None));
}
