//! What the processor does with items that contradict each other, and with decisions about items.

use session_pipeline_processor::llm::{ErrorClass, LlmError};

use super::{CHURN, CHURN_REWORDED, Deployment, found};
use crate::tables::{Contradiction, Item};

/// An answer in which the second item contradicts the first.
fn judgement_of(deployment: &Deployment, id: Option<&str>) -> String {
    let known = deployment.rows::<Item>();
    let id = id.unwrap_or(&known[0].id);
    format!(
        r#"{{"contradictions":[{{"candidate_id":"{id}","severity":"hard","explanation":"week and month","resolution_action":"kept_a","resolution_merged_content":null,"resolution_justification":"it is newer"}}]}}"#
    )
}

#[test]
fn a_contradiction_is_noted_with_what_could_be_done() {
    let quote = "so it is with churn";
    let mut deployment = Deployment::new("llm");
    deployment.answer_with(&[found("correction", "Churn", CHURN, quote, &[])]);
    deployment.process("ada/one.jsonl", &[quote]).unwrap();
    let overturning = CHURN.replace("month", "week");
    deployment.answer_with(&[found("correction", "Churn", &overturning, quote, &[])]);
    deployment.answer(judgement_of(&deployment, None));
    assert_eq!(deployment.process("bob/two.jsonl", &[quote]), Ok(1));
    let noted = deployment.rows::<Contradiction>();
    assert_eq!(noted.len(), 1);
    assert_eq!(noted[0].severity.as_deref(), Some("hard"));
    assert_eq!(noted[0].explanation, "week and month");
    let suggested = noted[0].suggested_resolution.as_ref().unwrap();
    assert_eq!(
        suggested.raw(),
        r#"{"action":"kept_a","justification":"it is newer"}"#
    );
    let prompt = deployment.host.requests()[2].prompt.clone();
    assert!(prompt.contains(&noted[0].item_a_id) && prompt.contains(&noted[0].item_b_id));
}

#[test]
fn a_rejected_item_does_not_come_back_in_other_words() {
    let reworded =
        "Per month, the finance team counts churn, and it takes the billing export for it";
    let check = |key: &str, content: &str, is_new: bool| {
        let mut deployment = Deployment::new("llm");
        let quote = "so it is with churn";
        deployment.answer_with(&[found("correction", "Churn", CHURN, quote, &[])]);
        deployment.process("ada/one.jsonl", &[quote]).unwrap();
        deployment.decide("Churn", |item| item.status = "rejected".to_owned());
        deployment.answer_with(&[found("correction", "Churn", content, quote, &[])]);
        let created = deployment.process(key, &[quote]);
        assert_eq!(created, Ok(u64::from(is_new)), "{key} {content}");
        assert_eq!(deployment.evidence().len(), 1);
    };
    // The same session is processed again, and the model words the same line differently.
    check("ada/one.jsonl", CHURN, false);
    check("ada/one.jsonl", reworded, false);
    // Other sessions need more similarity, and a statement that turns it around is another one.
    check("bob/two.jsonl", CHURN_REWORDED, false);
    check("bob/two.jsonl", reworded, true);
    check(
        "ada/one.jsonl",
        &CHURN.replace("is counted", "is not counted"),
        true,
    );
}

#[test]
fn statements_that_only_matter_here_are_counted_in_the_log() {
    let mut deployment = Deployment::new("llm");
    let statement = |from: &str, to: &str| {
        found("correction", "Churn", CHURN, "so it is with churn", &[]).replace(from, to)
    };
    deployment.answer_with(&[
        statement("\"fact\"", "\"proposal\""),
        statement("\"team\"", "\"session\""),
        statement("\"team\"", "\"person\""),
        statement("so it is", "so it was"),
    ]);
    assert_eq!(
        deployment.process("ada/one.jsonl", &["so it is with churn"]),
        Ok(0)
    );
    let log: Vec<String> = deployment
        .host
        .log_messages()
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(
        log,
        [
            "1 statements left out: the user did not type their quotes",
            "1 statements left out: they are proposals",
            "2 statements left out: they concern one person or this session only",
        ]
    );
}

#[test]
fn many_items_are_compared_in_batches_and_a_long_answer_is_split() {
    let quote = "so it is with churn";
    let mut deployment = Deployment::new("llm");
    let statements: Vec<String> = (0..25)
        .map(|number| {
            let content =
                format!("Invoices of region {number} go out on day {number} of the month");
            found(
                "correction",
                &format!("Region {number}"),
                &content,
                quote,
                &[],
            )
        })
        .collect();
    for (number, statement) in statements.iter().enumerate() {
        deployment.answer_with(std::slice::from_ref(statement));
        // One request for up to 20 existing items, and two for more.
        (0..number.div_ceil(20)).for_each(|_| deployment.judge_nothing());
        assert_eq!(
            deployment.process(&format!("ada/{number}.jsonl"), &[quote]),
            Ok(1)
        );
    }
    let before = deployment.requests();
    deployment.answer_with(&[found("correction", "Churn", CHURN, quote, &[])]);
    // The first answer is too long. Its halves of 10 items are not.
    deployment.judge_nothing();
    deployment
        .host
        .answer(Err(LlmError::new(ErrorClass::Malformed, "truncated")));
    deployment.judge_nothing();
    deployment.judge_nothing();
    assert_eq!(deployment.process("bob/two.jsonl", &[quote]), Ok(1));
    assert_eq!(deployment.requests() - before, 1 + 2 + 2);
    for request in deployment.host.requests() {
        assert!(request.prompt.matches("\"id\":\"kv_").count() <= 1 + 20);
    }
}

#[test]
fn a_judge_that_is_away_is_waited_for_and_one_that_talks_nonsense_is_not() {
    let quote = "so it is with churn";
    let overturning = CHURN.replace("month", "week");
    for (class, expected) in [
        (ErrorClass::RateLimited, None),
        (ErrorClass::Unavailable, None),
        (ErrorClass::Failed, None),
        (ErrorClass::Refused, Some(1)),
        (ErrorClass::Malformed, Some(1)),
    ] {
        let mut deployment = Deployment::new("llm");
        deployment.answer_with(&[found("correction", "Churn", CHURN, quote, &[])]);
        deployment.process("ada/one.jsonl", &[quote]).unwrap();
        deployment.answer_with(&[found("correction", "Churn", &overturning, quote, &[])]);
        deployment.fail(class);
        let result = deployment.process("bob/two.jsonl", &[quote]);
        assert_eq!(result.ok(), expected);
        assert_eq!(
            deployment.rows::<Item>().len(),
            1 + usize::from(expected.is_some())
        );
        assert!(deployment.rows::<Contradiction>().is_empty());
    }
}

#[test]
fn a_judge_may_name_no_item_that_it_was_not_asked_about() {
    let quote = "so it is with churn";
    let mut deployment = Deployment::new("llm");
    deployment.answer_with(&[found("correction", "Churn", CHURN, quote, &[])]);
    deployment.process("ada/one.jsonl", &[quote]).unwrap();
    deployment.answer_with(&[found(
        "correction",
        "Churn",
        &CHURN.replace("month", "week"),
        quote,
        &[],
    )]);
    deployment.answer(judgement_of(&deployment, Some("kv_000000000000")));
    assert_eq!(deployment.process("bob/two.jsonl", &[quote]), Ok(1));
    assert!(deployment.rows::<Contradiction>().is_empty());
}
