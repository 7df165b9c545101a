//! What looks like a secret is removed, and what people write is not.

mod corpus;

use std::collections::BTreeMap;

use proptest::prelude::*;
use session_pipeline_harness::cases;
use session_pipeline_host::redaction::{
    KnownSecrets, clean, json_without_secrets, without_secrets,
};

use corpus::{FORMS, PLAIN, Random, SIMPLE};

/// Values of each form.
const VALUES: usize = 200;
/// How many of them are removed at least, of every form.
const REMOVED_MIN: usize = 198;

/// Whether half of a secret or more is left in one piece.
fn is_left(secret: &str, text: &str) -> bool {
    let letters: Vec<char> = secret.chars().collect();
    let half = letters.len().div_ceil(2).max(4).min(letters.len());
    letters
        .windows(half)
        .any(|piece| text.contains(&piece.iter().collect::<String>()))
}

#[test]
fn every_form_of_the_corpus_is_removed() {
    let mut missed = Vec::new();
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for form in FORMS.iter().chain(SIMPLE) {
        let mut random = Random::new(7);
        let mut removed = 0;
        for _ in 0..VALUES {
            let case = (form.case)(&mut random);
            let found = without_secrets(&case.text);
            removed += usize::from(!case.secrets.iter().any(|secret| is_left(secret, &found)));
            let again = without_secrets(&found);
            assert_eq!(again, found, "redacting twice differs");
        }
        let group = groups.entry(form.group).or_default();
        *group = (group.0 + removed, group.1 + VALUES);
        if removed < REMOVED_MIN {
            missed.push(format!(
                "{}, {}: {removed} of {VALUES}",
                form.group, form.name
            ));
        }
    }
    println!("{groups:#?}");
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn ordinary_texts_stay_as_they_are() {
    for text in PLAIN {
        assert_eq!(without_secrets(text), *text);
    }
}

#[test]
fn a_document_stays_one() {
    let document = r#"{"list": ["a", "DB_PASS=hunter2x", {"password": "sunshine7"}], "key": "x"}"#;
    let found = json_without_secrets(document);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["list"][1], "DB_PASS=[removed: password]");
    assert_eq!(found["list"][2]["password"], "[removed: password]");
    assert_eq!(found["key"], "x");
}

#[test]
fn a_secret_that_one_text_announces_is_removed_from_the_others() {
    let mut known = KnownSecrets::default();
    known.learn("the password is Tr0ub4dor!");
    assert_eq!(
        known.clean("Tr0ub4dor! for staging"),
        "[removed: secret] for staging"
    );
    assert_eq!(
        known.clean_json(r#"["Tr0ub4dor!"]"#),
        r#"["[removed: secret]"]"#
    );
    // Entities are cut at marks.
    assert_eq!(
        known.clean_json(r#"["Tr0ub4dor"]"#),
        r#"["[removed: secret]"]"#
    );
    assert_eq!(known.clean("nothing"), "nothing");
}

#[test]
fn long_texts_are_searched_in_linear_time() {
    for part in [
        "pass=",
        "a://a:",
        "password is ",
        "\\",
        "\"password\":\"",
        "mysql -u ",
        "-----BEGIN PRIVATE KEY-----\n",
        "Private-MAC: ",
        "token: x, ",
        "<password><",
        "password=' ",
        "cookie: a=",
        "[removed: ",
        "&#",
        "\u{200b}",
    ] {
        let time = |bytes: usize| {
            let text = part.repeat(bytes / part.len());
            let started = std::time::Instant::now();
            clean(&text, None);
            started.elapsed()
        };
        let (short, long) = (time(1 << 17), time(1 << 20));
        // Eight times the text; quadratic would be 64 times as long.
        assert!(
            long < short * 32 + std::time::Duration::from_millis(500),
            "{part}: {short:?}, {long:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() * 4))]

    #[test]
    fn invariant_redacting_twice_is_redacting_once(
        parts in prop::collection::vec(prop_oneof![
            "\\PC{0,40}",
            "[A-Za-z0-9+/=_.:-]{0,60}",
            "[\\\\\"'nu00-9a-f{};,]{0,20}",
            (0..SIMPLE.len(), any::<u64>()).prop_map(|(form, seed)| (SIMPLE[form].case)(&mut Random::new(seed)).text),
        ], 0..6),
    ) {
        let text = parts.join(" ");
        let once = clean(&text, None);
        if once.remaining.is_none() {
            prop_assert_eq!(&without_secrets(&once.text), &once.text);
        }
    }
}
