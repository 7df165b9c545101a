//! The parser of the answer to the [request](super::request).

use session_pipeline_processor::json::Json;

use super::quotes::{Folded, Quote};
use crate::turns::{Conversation, Role, Turn};
use crate::verification::{Claim, DOMAINS, Detection, Scope, Source, Verification};

/// Maximum number of names from an answer. Names longer than [`NAME_CHARS`] are dropped.
const ENTITIES_MAX: usize = 20;
/// See [`ENTITIES_MAX`].
const NAME_CHARS: usize = 200;

/// The score of a correction or a definition.
const FIRM_SCORE: u32 = 85;
/// The score of a confirmation, and of an unknown type.
const WEAK_SCORE: u32 = 65;
/// A decision on a branch can still be changed, so it scores lower than a fact.
const DECISION_COST: u32 = 10;
/// A statement that needs the words of the assistant scores lower.
const CONTEXT_COST: u32 = 5;

/// A parsed answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extraction {
    /// The statements to store.
    pub verifications: Vec<Verification>,
    /// The number of statements that were dropped because no turn of the user contains their quote.
    pub unquoted: usize,
    /// The number of statements that are proposals.
    pub proposals: usize,
    /// The number of facts and decisions about one person or the session.
    pub unshared: usize,
}

/// Parses an answer.
///
/// # Errors
/// The answer does not match the schema, or a statement has no title or content. Unknown fields are
/// ignored.
pub fn read(answer: &str, conversation: &Conversation) -> Result<Extraction, String> {
    let json = Json::parse(answer.trim()).ok_or("the answer is no JSON")?;
    let list = json
        .field("verifications")
        .filter(|list| list.raw().starts_with('['))
        .ok_or("the answer has no list `verifications`")?;
    let typed: Vec<(&Turn, Folded)> = conversation
        .of_user()
        .map(|turn| {
            let typed: Vec<&str> = turn.typed_texts().collect();
            (turn, Folded::of(&typed.join("\n")))
        })
        .collect();
    let of_model = |turn: &&Turn| turn.role == Role::Assistant;
    let said: Vec<Folded> = conversation
        .turns
        .iter()
        .filter(of_model)
        .map(|turn| Folded::of(&turn.text))
        .collect();
    let mut extraction = Extraction::default();
    for (place, found) in list.elements().enumerate() {
        let text = |name: &str| {
            let text = found.field(name)?.text()?.decode().into_owned();
            (!text.trim().is_empty()).then_some(text)
        };
        let required = |name: &str| {
            text(name).ok_or_else(|| format!("verification {} has no `{name}`", place + 1))
        };
        let (title, content) = (required("title")?, required("content")?);
        let detection = required("detection_type")?;
        let claim = text("status").and_then(|name| Claim::of(&name));
        let scope = text("scope").and_then(|name| Scope::of(&name));
        // A status or scope outside of its set is not evidence that others need the statement.
        let (Some(claim), Some(scope)) = (claim, scope) else {
            let name = if claim.is_none() { "status" } else { "scope" };
            return Err(format!("verification {} has no valid `{name}`", place + 1));
        };
        if claim == Claim::Proposal {
            extraction.proposals += 1;
            continue;
        }
        if !scope.is_shared() {
            extraction.unshared += 1;
            continue;
        }
        let quote = text("user_quote").unwrap_or_default();
        let wanted = Quote::of(&quote);
        // If several turns match, use the last one, which is still valid.
        let mut turns = typed.iter().rev();
        let turn =
            turns.find(|(_, typed)| wanted.as_ref().is_some_and(|quote| typed.contains(quote)));
        let Some((turn, _)) = turn else {
            extraction.unquoted += 1;
            continue;
        };
        let assistant_quote = text("assistant_quote").filter(|quote| {
            let wanted = Quote::of(quote);
            wanted.is_some_and(|quote| said.iter().any(|said| said.contains(&quote)))
        });
        extraction.verifications.push(Verification {
            score: score(&detection, claim, assistant_quote.is_some()),
            detection: detection.chars().take(NAME_CHARS).collect(),
            title,
            content,
            quote,
            assistant_quote,
            claim: Some(claim),
            scope: Some(scope),
            domain: text("domain").filter(|domain| DOMAINS.contains(&domain.as_str())),
            entities: entities(found),
            source: Source::of(turn),
        });
    }
    Ok(extraction)
}

fn score(detection: &str, claim: Claim, needs_context: bool) -> u32 {
    let base = match Detection::of(detection) {
        Some(Detection::Correction | Detection::Definition) => FIRM_SCORE,
        Some(Detection::Confirmation) | None => WEAK_SCORE,
    };
    let decision = if claim == Claim::Decision {
        DECISION_COST
    } else {
        0
    };
    let context = if needs_context { CONTEXT_COST } else { 0 };
    base.saturating_sub(decision + context)
}

fn entities(found: Json<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let list = found.field("entities");
    for name in list.iter().flat_map(Json::elements) {
        let name = name.text().map(|name| name.decode().trim().to_owned());
        let name = name.filter(|name| !name.is_empty() && name.chars().count() <= NAME_CHARS);
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names.truncate(ENTITIES_MAX);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(role: Role, text: &str, line: u64, typed: &[std::ops::Range<usize>]) -> Turn {
        Turn {
            role,
            text: text.to_owned(),
            typed: typed.to_vec(),
            line,
            uuid: Some(format!("u{line}")),
            at: None,
            branch: None,
        }
    }

    fn conversation() -> Conversation {
        let said = "No, churn is\nmonthly. And \"net\".\n> churn is quoted";
        let typed = 0..said.find('>').unwrap();
        Conversation {
            turns: vec![
                turn(Role::Assistant, "Churn is weekly.", 1, &[]),
                turn(Role::User, said, 2, &[typed]),
            ],
            ..Conversation::default()
        }
    }

    fn answer(fields: &str) -> String {
        format!(r#"{{"verifications":[{{{fields}}}]}}"#)
    }

    const FIELDS: &str = r#""detection_type":"correction","status":"fact","scope":"team","title":"Churn","content":"Churn is monthly","user_quote":"churn is monthly.","assistant_quote":null,"domain":"finance","entities":["churn"," churn ","",7]"#;

    #[test]
    fn an_answer_is_taken_with_its_quote_found_and_other_fields_passed_over() {
        let answer = answer(&format!(
            r#"{FIELDS},"base_confidence":1.0,"source_user":"eve""#
        ));
        let extraction = read(&answer, &conversation()).unwrap();
        let expected = Verification {
            detection: "correction".to_owned(),
            title: "Churn".to_owned(),
            content: "Churn is monthly".to_owned(),
            quote: "churn is monthly.".to_owned(),
            assistant_quote: None,
            claim: Some(Claim::Fact),
            scope: Some(Scope::Team),
            score: 85,
            domain: Some("finance".to_owned()),
            entities: vec!["churn".to_owned()],
            source: Source {
                line: 2,
                line_uuid: Some("u2".to_owned()),
                ..Source::default()
            },
        };
        assert_eq!(
            (extraction.verifications, extraction.unquoted),
            (vec![expected], 0)
        );
    }

    #[test]
    fn what_the_user_did_not_type_is_left_out() {
        for quote in [
            "Churn is weekly.",
            "churn is yearly",
            "",
            "…",
            "is",
            "churn is quoted",
        ] {
            let answer = answer(&FIELDS.replace("churn is monthly.", quote));
            let extraction = read(&answer, &conversation()).unwrap();
            assert_eq!(
                (extraction.verifications.len(), extraction.unquoted),
                (0, 1),
                "{quote}"
            );
        }
    }

    #[test]
    fn only_facts_and_decisions_that_others_need_become_items() {
        let count = |status: &str, scope: &str| {
            let fields = FIELDS.replace("\"fact\"", &format!("\"{status}\""));
            let fields = fields.replace("\"team\"", &format!("\"{scope}\""));
            read(&answer(&fields), &conversation())
                .map(|found| (found.verifications.len(), found.proposals, found.unshared))
        };
        assert_eq!(count("fact", "product"), Ok((1, 0, 0)));
        assert_eq!(count("decision", "team"), Ok((1, 0, 0)));
        assert_eq!(count("proposal", "product"), Ok((0, 1, 0)));
        assert_eq!(count("fact", "person"), Ok((0, 0, 1)));
        assert_eq!(count("decision", "session"), Ok((0, 0, 1)));
        assert!(
            count("law", "team")
                .unwrap_err()
                .contains("no valid `status`")
        );
        assert!(
            count("fact", "world")
                .unwrap_err()
                .contains("no valid `scope`")
        );
    }

    #[test]
    fn the_words_of_the_assistant_are_kept_only_if_it_said_them() {
        let with = |quote: &str| {
            let fields = FIELDS.replace("null", &format!("\"{quote}\""));
            let found = read(&answer(&fields), &conversation()).unwrap();
            (
                found.verifications[0].assistant_quote.clone(),
                found.verifications[0].score,
            )
        };
        assert_eq!(
            with("churn is *weekly*"),
            (Some("churn is *weekly*".to_owned()), 80)
        );
        assert_eq!(with("churn is daily"), (None, 85));
    }

    #[test]
    fn unknown_domains_and_long_names_are_dropped() {
        let fields = FIELDS.replace("\"finance\"", "\"astrology\"");
        let fields = fields.replace("\" churn \"", &format!("\"{}\"", "x".repeat(300)));
        let extraction = read(&answer(&fields), &conversation()).unwrap();
        assert_eq!(extraction.verifications[0].domain, None);
        assert_eq!(extraction.verifications[0].entities, ["churn"]);
    }

    #[test]
    fn an_unknown_type_of_verification_is_kept() {
        let fields = FIELDS.replace("\"correction\"", "\"oracle\"");
        let extraction = read(&answer(&fields), &conversation()).unwrap();
        let found = &extraction.verifications[0];
        assert_eq!((found.detection.as_str(), found.score), ("oracle", 65));
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error_and_never_nothing() {
        let nothing = read(r#"{"verifications":[]}"#, &conversation());
        assert_eq!(nothing, Ok(Extraction::default()));
        for answer in [
            "",
            "I found nothing.",
            "[]",
            "{}",
            r#"{"verifications":null}"#,
            r#"{"verifications":{}}"#,
            r#"{"verifications":[7]}"#,
            r#"{"verifications":["#,
            r#"{"verifications":[]} and more"#,
            r#"```json
            {"verifications":[]}
            ```"#,
            &answer(&FIELDS.replace(r#""title":"Churn","#, "")),
            &answer(&FIELDS.replace(r#""title":"Churn""#, r#""title":" ""#)),
            &answer(&FIELDS.replace(r#""content":"Churn is monthly","#, "")),
            &answer(&FIELDS.replace(r#""content":"Churn is monthly""#, r#""content":7"#)),
            &answer(&FIELDS.replace(r#""status":"fact","#, "")),
            &answer(&FIELDS.replace(r#""scope":"team","#, "")),
            &format!(r#"{{"verifications":{}}}"#, "[".repeat(100_000)),
        ] {
            assert!(read(answer, &conversation()).is_err(), "{answer}");
        }
    }
}
