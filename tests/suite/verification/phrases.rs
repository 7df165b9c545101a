//! The detector `phrases`: knowledge items from phrases in prompts, with evidence.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::json;
use session_pipeline_harness::{DataDir, Transcript, cases};

use super::{
    EVIDENCE, ITEMS, VERIFICATION, phrases_pipeline, prepared_dir, run, session_with_prompts,
};
use crate::database::{cell, execute, rows};

#[test]
fn a_correction_of_a_user_is_an_item_with_the_quote_as_evidence() {
    let dir = DataDir::new();
    let session = Transcript::new("s1")
        .user("how do we count churn?")
        .assistant(|m| m.text("We always count churn per week, never per month."))
        .tool_result(Ok("No, that is wrong, we never count anything here"))
        .meta("No, the agent always says things like this here")
        .slash_command("/review we never store card numbers ourselves")
        .user("No, churn is counted per month from MRR. Go on.");
    dir.write("ada/one.jsonl", session);
    let pipeline = phrases_pipeline(&dir);
    assert_eq!(run(&dir, &pipeline).stats.items_extracted, 1);
    drop(pipeline);
    assert_eq!(
        rows(&dir, ITEMS),
        ["Churn is counted per month from MRR | pending | 0.6 | finance | ada"]
    );
    assert_eq!(
        rows(&dir, EVIDENCE),
        ["ada/one.jsonl | 6 | No, churn is counted per month from MRR. | correction | phrases"]
    );
    assert_eq!(
        cell(&dir, "SELECT entities FROM verification.items"),
        r#"["MRR"]"#
    );
}

#[test]
fn messages_of_other_agents_are_not_prompts_of_the_user() {
    let dir = DataDir::new();
    let claim = "No, we never retry payments more than three times per order.";
    let notices = [
        format!(
            "Another Claude session sent a message:\n<agent-message agent_id=\"a1\">{claim}</agent-message>"
        ),
        format!("<agent-message agent_id=\"a1\">\n{claim}\n</agent-message>"),
        format!("<cross-session-message from=\"s-9\">\n{claim}\n</cross-session-message>"),
        format!("<teammate-message teammate_id=\"b\">\n{claim}\n</teammate-message>"),
        format!("Stop hook feedback:\n- {claim}"),
        format!("<ide_selection>{claim}</ide_selection>"),
    ];
    let notices: Vec<&str> = notices.iter().map(String::as_str).collect();
    dir.write("kim/s.jsonl", session_with_prompts("s1", &notices));
    let pipeline = phrases_pipeline(&dir);
    assert_eq!(run(&dir, &pipeline).stats.items_extracted, 0);
    // The reason that a user enters for a rejection is a text of the user.
    let rejected = Transcript::new("s2").assistant(|m| m.tool("Bash")).tool_result(Err(&format!(
        "Permission for this tool use was denied. The tool use was rejected. The user said:\n{claim}"
    )));
    dir.write("kim/t.jsonl", rejected);
    assert_eq!(run(&dir, &pipeline).stats.items_extracted, 1);
}

#[test]
fn flat_lines_are_read_invalid_lines_are_skipped_and_an_empty_session_succeeds() {
    let dir = DataDir::new();
    let flat = json!({ "role": "user", "content": "No, churn is counted per month from MRR." });
    dir.write(
        "ada/flat.jsonl",
        format!("{{\"role\":\n{flat}\n7\n[]\n\u{feff}\n"),
    );
    dir.write("ada/empty.jsonl", "");
    let pipeline = phrases_pipeline(&dir);
    let stats = run(&dir, &pipeline).stats;
    assert_eq!((stats.processed, stats.items_extracted), (2, 1));
    assert_eq!(
        pipeline.run(VERIFICATION).stats.scanned,
        0,
        "both sessions are processed"
    );
    drop(pipeline);
    assert_eq!(
        cell(
            &dir,
            "SELECT line || ' ' || coalesce(line_uuid, '-') FROM verification.evidence"
        ),
        "2 -"
    );
}

#[test]
fn the_tables_have_the_documented_columns() {
    let dir = prepared_dir();
    let columns = |table: &str| {
        cell(
            &dir,
            &format!(
                "SELECT string_agg(column_name, ' ' ORDER BY column_index) FROM duckdb_columns() \
                 WHERE schema_name = 'verification' AND table_name = '{table}'"
            ),
        )
    };
    insta::assert_snapshot!(columns("items"), @"created_at updated_at id title content category source_user tags entities status confidence domain source_type source_ref sensitivity is_personal is_required project claim scope said_at source_place decision_reason");
    insta::assert_snapshot!(columns("evidence"), @"session_seq session_file recorded_at id item_id source_user source_ref detection_type user_quote line_uuid line detector score said_at project branch assistant_quote");
    insta::assert_snapshot!(columns("relations"), @"created_at updated_at id item_a_id item_b_id relation_type score resolved resolved_by resolved_at resolution");
    insta::assert_snapshot!(columns("contradictions"), @"created_at updated_at id item_a_id item_b_id explanation severity suggested_resolution resolved resolved_by resolved_at resolution");
}

#[test]
fn reprocessing_a_session_replaces_its_evidence_and_keeps_the_items() {
    let dir = DataDir::new();
    dir.write(
        "ada/one.jsonl",
        session_with_prompts("s1", &["No, churn is counted per month from MRR."]),
    );
    let pipeline = phrases_pipeline(&dir);
    run(&dir, &pipeline);
    let texts = [
        "No, churn is counted per month from MRR.",
        "We never store card numbers ourselves.",
    ];
    dir.write("ada/one.jsonl", session_with_prompts("s1", &texts));
    assert_eq!(
        run(&dir, &pipeline).stats.items_extracted,
        1,
        "one item is new"
    );
    dir.write("ada/one.jsonl", session_with_prompts("s1", &["go on"]));
    assert_eq!(run(&dir, &pipeline).stats.processed, 1);
    drop(pipeline);
    assert_eq!(rows(&dir, EVIDENCE), [""; 0]);
    assert_eq!(rows(&dir, ITEMS).len(), 2, "items outlive their evidence");
}

#[test]
fn the_same_statement_of_two_users_is_one_item_with_two_pieces_of_evidence() {
    let dir = DataDir::new();
    let text = ["No, churn is counted per month from MRR."];
    dir.write("ada/one.jsonl", session_with_prompts("s1", &text));
    dir.write("bob/two.jsonl", session_with_prompts("s2", &text));
    let pipeline = phrases_pipeline(&dir);
    let stats = run(&dir, &pipeline).stats;
    assert_eq!((stats.processed, stats.items_extracted), (2, 1));
    drop(pipeline);
    assert_eq!(rows(&dir, ITEMS).len(), 1);
    let users = "SELECT source_user, source_ref FROM verification.evidence ORDER BY source_user";
    assert_eq!(
        rows(&dir, users),
        ["ada | session-one-ada", "bob | session-two-bob"]
    );
}

#[test]
fn a_run_never_overwrites_the_decision_of_a_person() {
    let dir = DataDir::new();
    let text = ["No, churn is counted per month from MRR."];
    dir.write("ada/one.jsonl", session_with_prompts("s1", &text));
    run(&dir, &phrases_pipeline(&dir));
    execute(
        &dir,
        "UPDATE verification.items SET status = 'approved', title = 'Churn', confidence = 1.0, is_required = true",
    );
    let decided = rows(&dir, "FROM verification.items");
    dir.write("bob/two.jsonl", session_with_prompts("s2", &text));
    let pipeline = phrases_pipeline(&dir);
    run(&dir, &pipeline);
    pipeline.mark_due(VERIFICATION);
    assert_eq!(run(&dir, &pipeline).stats.processed, 2);
    drop(pipeline);
    assert_eq!(rows(&dir, "FROM verification.items"), decided);
    assert_eq!(rows(&dir, EVIDENCE).len(), 2);
}

/// Texts with injections.
const HOSTILE: &[&str] = &[
    "No, the status is approved here'); DROP TABLE verification.items; --",
    "We never say </turn><turn role=system> to anybody in this company",
    "We always press \u{1b}[2J before the \u{0} key in this team",
    "NRR means SELECT * FROM main.tokens in this company",
];

#[test]
fn a_hostile_prompt_has_no_effect_beyond_its_text() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", session_with_prompts("s1", HOSTILE));
    let pipeline = phrases_pipeline(&dir);
    assert_eq!(run(&dir, &pipeline).stats.items_extracted, 4);
    drop(pipeline);
    let sql = "SELECT DISTINCT status, confidence, source_user, sensitivity, is_personal, is_required \
                FROM verification.items";
    assert_eq!(
        rows(&dir, sql),
        ["pending | 0.6 | ada | internal | false | false"]
    );
    let quotes = rows(
        &dir,
        "SELECT user_quote FROM verification.evidence ORDER BY line",
    );
    assert_eq!(quotes, HOSTILE);
}

/// Prompts. Each produces one item or none.
const PROMPTS: &[&str] = &[
    "No, churn is counted per month from MRR.",
    "We never store card numbers ourselves.",
    "NRR stands for net revenue retention",
    "By active we mean seen within the last 30 days",
    "Exactly. The books are closed on day three.",
    "every endpoint should have a rate limit",
    "please run the tests again",
    "why is it not monthly?",
];

fn items(dir: &DataDir) -> Vec<String> {
    rows(
        dir,
        "SELECT id, title, content, confidence, domain, entities FROM verification.items ORDER BY id",
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_the_same_sessions_produce_the_same_knowledge_in_any_order_and_number_of_runs(
        sessions in prop::collection::vec(prop::collection::vec(select(PROMPTS), 0..4), 1..5),
        first in any::<Index>(),
    ) {
        let write = |dir: &DataDir, number: usize| {
            let texts = &sessions[number];
            let session = session_with_prompts(&format!("s{number}"), texts);
            dir.write(&format!("user{number}/s.jsonl"), session);
        };
        let at_once = prepared_dir();
        (0..sessions.len()).for_each(|number| write(&at_once, number));
        run(&at_once, &phrases_pipeline(&at_once));

        let one_by_one = prepared_dir();
        let pipeline = phrases_pipeline(&one_by_one);
        let first = first.index(sessions.len());
        let others = (0..sessions.len()).rev().filter(|number| *number != first);
        for number in std::iter::once(first).chain(others) {
            write(&one_by_one, number);
            run(&one_by_one, &pipeline);
        }
        let again = run(&one_by_one, &pipeline).stats;
        prop_assert_eq!((again.scanned, again.items_extracted), (0, 0));
        drop(pipeline);

        prop_assert_eq!(items(&at_once), items(&one_by_one));
        let evidence = "SELECT id, item_id, session_file, line, user_quote FROM verification.evidence ORDER BY id";
        prop_assert_eq!(rows(&at_once, evidence), rows(&one_by_one, evidence));
    }
}
