//! Tests of the whole processor, with a host in memory and a model with scripted answers.

mod decisions;

use session_pipeline_processor::json::{Json, JsonText};
use session_pipeline_processor::llm::{ErrorClass, LlmError, Response};
use session_pipeline_processor::native::MemoryHost;
use session_pipeline_processor::shared::SharedRow;
use session_pipeline_processor::table::OwnedValue;
use session_pipeline_processor::{Processor, Session, SessionInfo, Settings};

use crate::Verifications;
use crate::llm::encode;
use crate::tables::{Item, Relation};

/// A deployment: the stored knowledge, and the users who add to it.
struct Deployment {
    host: MemoryHost<'static>,
    detector: &'static str,
}

impl Deployment {
    fn new(detector: &'static str) -> Self {
        Self {
            host: MemoryHost::new(Vec::new()),
            detector,
        }
    }

    fn info(&self, key: &str) -> SessionInfo {
        SessionInfo {
            settings: Settings {
                pairs: vec![("detector".to_owned(), self.detector.to_owned())],
            },
            ..SessionInfo::new(key)
        }
    }

    /// Processes a session in which the user sends these turns.
    fn process(&mut self, key: &str, said: &[&str]) -> Result<u64, String> {
        let line = |(number, text): (usize, &&str)| {
            let number = number + 1;
            let text = encode::string(text);
            format!(
                r#"{{"type":"user","uuid":"u{number}","message":{{"role":"user","content":{text}}}}}"#
            )
        };
        let lines: Vec<String> = said.iter().enumerate().map(line).collect();
        self.host.next_session(lines.join("\n").into_bytes());
        let summary = self.host.run::<Verifications>(&self.info(key));
        summary.map(|summary| summary.items)
    }

    fn rows<R: SharedRow>(&self) -> Vec<R> {
        let info = self.info("any");
        Session::new(&self.host, &info)
            .lookup::<R>()
            .rows()
            .unwrap()
    }

    fn titles(&self) -> Vec<String> {
        let mut titles: Vec<String> = self
            .rows::<Item>()
            .into_iter()
            .map(|item| item.title)
            .collect();
        titles.sort();
        titles
    }

    /// Item, user and quote of each piece of evidence from the last session.
    fn evidence(&self) -> Vec<[String; 3]> {
        let text = |value: &OwnedValue| match value {
            OwnedValue::Text(text) => text.clone(),
            other => format!("{other:?}"),
        };
        let rows = self.host.rows("evidence");
        rows.iter()
            .map(|row| [text(&row[1]), text(&row[2]), text(&row[5])])
            .collect()
    }

    fn decide(&self, title: &str, change: impl Fn(&mut Item)) {
        let info = self.info("any");
        let session = Session::new(&self.host, &info);
        let mut items = session
            .lookup::<Item>()
            .equal("title", title)
            .rows()
            .unwrap();
        change(&mut items[0]);
        session.upsert_all(items);
    }

    fn answer(&self, text: impl Into<String>) {
        self.host.answer(Ok(Response::new(text)));
    }

    fn answer_with(&self, verifications: &[String]) {
        self.answer(format!(
            r#"{{"verifications":[{}]}}"#,
            verifications.join(",")
        ));
    }

    fn judge_nothing(&self) {
        self.answer(r#"{"contradictions":[]}"#);
    }

    fn fail(&self, class: ErrorClass) {
        self.host.answer(Err(LlmError::new(class, "as told")));
    }

    fn requests(&self) -> usize {
        let requests = self.host.requests();
        for request in &requests {
            let schema = request.json_schema.as_deref().unwrap();
            assert!(Json::parse(schema).is_some());
        }
        requests.len()
    }
}

/// One verification in an answer.
fn found(detection: &str, title: &str, content: &str, quote: &str, entities: &[&str]) -> String {
    encode::object([
        ("detection_type", encode::string(detection)),
        ("status", encode::string("fact")),
        ("scope", encode::string("team")),
        ("title", encode::string(title)),
        ("content", encode::string(content)),
        ("user_quote", encode::string(quote)),
        ("domain", encode::string("finance")),
        ("entities", JsonText::strings(entities).raw().to_owned()),
        ("base_confidence", "1.0".to_owned()),
    ])
}

const CHURN: &str = "Churn is counted per month from the billing export by the finance team";
const CHURN_REWORDED: &str =
    "Churn gets counted per month from the billing export by finance people";

#[test]
fn phrases_make_items_with_evidence_and_ask_nobody() {
    let mut deployment = Deployment::new("phrases");
    let said = ["No, MRR is billed monthly in arrears.", "go on", "thanks"];
    assert_eq!(deployment.process("ada/one.jsonl", &said), Ok(1));
    let items = deployment.rows::<Item>();
    assert_eq!(items.len(), 1);
    let item = &items[0];
    assert_eq!(item.title, "MRR is billed monthly in arrears");
    assert_eq!(item.content, "MRR is billed monthly in arrears.");
    assert_eq!((item.status.as_str(), item.confidence), ("pending", 0.60));
    assert_eq!(item.domain.as_deref(), Some("finance"));
    assert_eq!(item.entities(), ["MRR"]);
    assert_eq!(
        (item.source_user.as_str(), item.source_ref.as_str()),
        ("ada", "session-one-ada")
    );
    let quote = said[0].to_owned();
    assert_eq!(
        deployment.evidence(),
        [[item.id.clone(), "ada".to_owned(), quote]]
    );
    assert_eq!(deployment.requests(), 0);
}

#[test]
fn the_same_from_two_users_is_one_item_with_evidence_of_each() {
    let mut deployment = Deployment::new("phrases");
    let said = ["No, MRR is billed monthly in arrears."];
    assert_eq!(deployment.process("ada/one.jsonl", &said), Ok(1));
    let first = deployment.evidence();
    assert_eq!(deployment.process("bob/two.jsonl", &said), Ok(0));
    let second = deployment.evidence();
    assert_eq!(deployment.rows::<Item>().len(), 1);
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!(
        (first[0][1].as_str(), second[0][1].as_str()),
        ("ada", "bob")
    );
    assert_eq!(deployment.rows::<Item>()[0].source_user, "ada");
}

#[test]
fn a_session_that_is_processed_again_adds_nothing_and_has_its_evidence() {
    let mut deployment = Deployment::new("phrases");
    let said = [
        "No, MRR is billed monthly in arrears.",
        "No, MRR is billed monthly in arrears.",
    ];
    assert_eq!(deployment.process("ada/one.jsonl", &said), Ok(1));
    let evidence = deployment.evidence();
    assert_eq!(evidence.len(), 2, "each line is evidence");
    assert_eq!(deployment.process("ada/one.jsonl", &said), Ok(0));
    assert_eq!(deployment.evidence(), evidence);
    assert_eq!(deployment.rows::<Item>().len(), 1);
}

#[test]
fn what_a_person_decided_stays_whoever_says_it_again() {
    let mut deployment = Deployment::new("phrases");
    let said = ["No, MRR is billed monthly in arrears."];
    deployment.process("ada/one.jsonl", &said).unwrap();
    let title = "MRR is billed monthly in arrears";
    for status in ["approved", "rejected"] {
        deployment.decide(title, |item| item.status = status.to_owned());
        assert_eq!(deployment.process("bob/two.jsonl", &said), Ok(0));
        assert_eq!(deployment.rows::<Item>()[0].status, status);
        assert_eq!(deployment.evidence().len(), 1);
    }
}

#[test]
fn a_model_is_asked_once_and_trusted_by_the_kind_alone() {
    let mut deployment = Deployment::new("llm");
    deployment.answer_with(&[
        found("correction", "Churn", CHURN, "Churn is monthly", &[]),
        found(
            "confirmation",
            "Books",
            "The books are closed on day three",
            "Books, yes",
            &[],
        ),
        found(
            "revelation",
            "NRR",
            "NRR is net revenue retention",
            "and NRR",
            &[],
        ),
    ]);
    deployment.judge_nothing();
    deployment.judge_nothing();
    let said = ["Churn is monthly. Books, yes, and NRR"];
    assert_eq!(deployment.process("ada/one.jsonl", &said), Ok(3));
    let mut found: Vec<(String, f64)> = deployment
        .rows::<Item>()
        .into_iter()
        .map(|item| (item.title, item.confidence))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("Books", 0.60), ("Churn", 0.90), ("NRR", 0.60)];
    assert_eq!(
        found,
        expected.map(|(title, confidence)| (title.to_owned(), confidence))
    );
    assert_eq!(
        deployment.requests(),
        3,
        "the first item has nothing to be compared with"
    );
}

#[test]
fn without_words_of_the_user_nobody_is_asked() {
    let mut deployment = Deployment::new("llm");
    assert_eq!(deployment.process("ada/one.jsonl", &[]), Ok(0));
    assert_eq!(
        deployment.process("ada/one.jsonl", &["<command-name>/clear</command-name>"]),
        Ok(0)
    );
    assert_eq!(deployment.requests(), 0);
}

#[test]
fn no_answer_is_a_failed_attempt_and_never_nothing_found() {
    for class in [
        ErrorClass::Unavailable,
        ErrorClass::Budget,
        ErrorClass::RateLimited,
        ErrorClass::TimeOut,
        ErrorClass::Refused,
        ErrorClass::Malformed,
        ErrorClass::TooLarge,
        ErrorClass::Failed,
    ] {
        let mut deployment = Deployment::new("llm");
        deployment.fail(class);
        let result = deployment.process("ada/one.jsonl", &["Churn is monthly"]);
        let reason = format!("the model gave no answer: {}: as told", class.as_str());
        assert_eq!(result, Err(reason));
        assert!(deployment.titles().is_empty());
    }
    let mut deployment = Deployment::new("llm");
    deployment.answer("I found nothing.");
    let result = deployment.process("ada/one.jsonl", &["Churn is monthly"]);
    assert_eq!(result, Err("the answer is no JSON".to_owned()));
}

/// Stores one item, then another. Returns the stored items.
fn known_after(first: &str, second: &str) -> Vec<String> {
    let mut deployment = Deployment::new("llm");
    let said = ["so it is with churn"];
    deployment.answer_with(&[first.to_owned()]);
    deployment.process("ada/one.jsonl", &said).unwrap();
    deployment.answer_with(&[second.to_owned()]);
    deployment.judge_nothing();
    let created = deployment.process("bob/two.jsonl", &said).unwrap();
    assert_eq!(deployment.evidence().len(), 1);
    let titles = deployment.titles();
    assert_eq!(titles.len() as u64, 1 + created);
    titles
}

#[test]
fn a_paraphrase_merges_by_its_wording_or_by_what_it_names() {
    let quote = "so it is with churn";
    let stored = |entities| found("unprompted_definition", "Churn", CHURN, quote, entities);
    let again =
        |content, entities| found("unprompted_definition", "Churn", content, quote, entities);
    let loosely = "Monthly churn comes from the billing export and is counted by the finance team";
    for (second, is_merged) in [
        (again(CHURN_REWORDED, &[]), true),
        (again(loosely, &[]), false),
        (again(loosely, &["churn", "billing export"]), true),
        (again(loosely, &["churn"]), false),
        (
            again(
                "Refunds are booked in the month of the invoice that they belong to",
                &["churn", "billing export"],
            ),
            false,
        ),
    ] {
        let known = known_after(&stored(&["churn", "billing export"]), &second);
        assert_eq!(known.len() == 1, is_merged, "{second}");
    }
    let other_domain = again(CHURN_REWORDED, &[]).replace("\"finance\"", "\"data\"");
    assert_eq!(known_after(&stored(&[]), &other_domain).len(), 2);
    let no_domain = again(CHURN_REWORDED, &[]).replace("\"finance\"", "\"none\"");
    assert_eq!(known_after(&stored(&[]), &no_domain).len(), 2);
}

#[test]
fn a_correction_is_never_merged_into_what_it_may_overturn() {
    let quote = "so it is with churn";
    let stored = found("unprompted_definition", "Churn", CHURN, quote, &["a", "b"]);
    let overturning = found(
        "correction",
        "Churn",
        &CHURN.replace("month", "week"),
        quote,
        &["a", "b"],
    );
    assert_eq!(known_after(&stored, &overturning), ["Churn", "Churn"]);
}

#[test]
fn a_session_that_grows_does_not_repeat_its_corrections() {
    let mut deployment = Deployment::new("llm");
    let quote = "so it is with churn";
    deployment.answer_with(&[found("correction", "Churn", CHURN, quote, &[])]);
    assert_eq!(deployment.process("ada/one.jsonl", &[quote]), Ok(1));
    deployment.answer_with(&[
        found("correction", "Churn", CHURN_REWORDED, quote, &[]),
        found(
            "correction",
            "Churn",
            &CHURN_REWORDED.replace("per month", "never per month"),
            quote,
            &[],
        ),
    ]);
    deployment.judge_nothing();
    assert_eq!(
        deployment.process("ada/one.jsonl", &[quote, "and more"]),
        Ok(1)
    );
    assert_eq!(
        deployment.rows::<Item>().len(),
        2,
        "what turns it around is another thing"
    );
}

#[test]
fn of_several_that_are_alike_the_approved_then_the_oldest_is_chosen() {
    let quote = "so it is with churn";
    let mut deployment = Deployment::new("llm");
    for (key, title) in [("ada/1.jsonl", "Churn B"), ("ada/2.jsonl", "Churn A")] {
        deployment.answer_with(&[found("correction", title, CHURN, quote, &[])]);
        if key != "ada/1.jsonl" {
            deployment.judge_nothing();
        }
        assert_eq!(deployment.process(key, &[quote]), Ok(1));
    }
    let id_of = |deployment: &Deployment, title: &str| {
        let items = deployment.rows::<Item>();
        items
            .into_iter()
            .find(|item| item.title == title)
            .unwrap()
            .id
    };
    let confirm = |deployment: &mut Deployment| {
        deployment.answer_with(&[found("confirmation", "Churn", CHURN_REWORDED, quote, &[])]);
        assert_eq!(deployment.process("bob/3.jsonl", &[quote]), Ok(0));
        deployment.evidence()[0][0].clone()
    };
    assert_eq!(confirm(&mut deployment), id_of(&deployment, "Churn B"));
    deployment.decide("Churn A", |item| item.is_required = true);
    assert_eq!(confirm(&mut deployment), id_of(&deployment, "Churn A"));
    deployment.decide("Churn B", |item| item.status = "approved".to_owned());
    assert_eq!(confirm(&mut deployment), id_of(&deployment, "Churn B"));
    deployment.decide("Churn B", |item| item.status = "rejected".to_owned());
    deployment.decide("Churn A", |item| item.is_personal = true);
    deployment.answer_with(&[found("confirmation", "Churn", CHURN_REWORDED, quote, &[])]);
    assert_eq!(
        deployment.process("bob/3.jsonl", &[quote]),
        Ok(0),
        "the rejected item is not stored again"
    );
    assert_eq!(deployment.requests(), 7);
}

#[test]
fn items_that_name_the_same_are_related_once() {
    let quote = "so it is with churn";
    let other = "Refunds are booked in the month of the invoice that they belong to";
    let mut deployment = Deployment::new("llm");
    deployment.answer_with(&[
        found("correction", "Churn", CHURN, quote, &["A", "B", "C"]),
        found("correction", "Refunds", other, quote, &["A", "B", "X"]),
        found(
            "correction",
            "Neither",
            "Invoices go out on the third day of each month",
            quote,
            &["A", "Z"],
        ),
    ]);
    deployment.judge_nothing();
    deployment.judge_nothing();
    assert_eq!(deployment.process("ada/one.jsonl", &[quote]), Ok(3));
    let relations = deployment.rows::<Relation>();
    assert_eq!(relations.len(), 1);
    let relation = &relations[0];
    assert!(relation.item_a_id < relation.item_b_id);
    assert_eq!(
        (relation.relation_type.as_str(), relation.score),
        ("likely_duplicate", 0.5)
    );
    assert!(!relation.resolved);
}

#[test]
fn the_order_of_unrelated_sessions_does_not_matter() {
    let sessions: [(&str, &[&str]); 4] = [
        ("ada/1.jsonl", &["No, MRR is billed monthly in arrears."]),
        (
            "bob/2.jsonl",
            &[
                "We never store card numbers ourselves",
                "NRR stands for net revenue retention",
            ],
        ),
        ("eve/3.jsonl", &["every endpoint should have a rate limit"]),
        (
            "joe/4.jsonl",
            &[
                "Use `tabs` and sendToSession, not sendAll",
                "By active we mean seen within 30 days",
            ],
        ),
    ];
    let known = |order: &[usize]| {
        let mut deployment = Deployment::new("phrases");
        for place in order {
            let (key, said) = sessions[*place];
            deployment.process(key, said).unwrap();
        }
        let items = deployment.rows::<Item>().into_iter();
        let items =
            items.map(|item| format!("{} {} {}", item.id, item.source_ref, item.confidence));
        items.collect::<Vec<_>>()
    };
    let expected = known(&[0, 1, 2, 3]);
    assert_eq!(expected.len(), 6);
    for order in [[3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
        assert_eq!(known(&order), expected);
    }
}

#[test]
fn the_manifest_needs_a_model_only_where_one_is_asked() {
    let manifest = |detector: &str| {
        let pairs = vec![("detector".to_owned(), detector.to_owned())];
        Verifications::manifest(&Settings { pairs })
    };
    assert!(
        !Verifications::manifest(&Settings::default())
            .unwrap()
            .uses_llm
    );
    assert!(!manifest("phrases").unwrap().uses_llm);
    assert!(manifest("llm").unwrap().uses_llm);
    assert!(manifest("oracle").is_err());
}
