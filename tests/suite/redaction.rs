//! Redaction removes secrets and leaves ordinary text unchanged.

mod corpus;

use std::collections::BTreeMap;

use proptest::prelude::*;
use session_pipeline_harness::cases;
use session_pipeline_host::redaction::{
    KnownSecrets, clean, json_without_secrets, without_secrets,
};

use corpus::{FORMS, PLAIN, Random, SIMPLE};

/// The number of generated values per form.
const VALUES: usize = 200;
/// The minimum number of removed values per form.
const REMOVED_MIN: usize = 198;

/// Whether at least half of a secret is left in one piece.
fn is_left(secret: &str, text: &str) -> bool {
    let letters: Vec<char> = secret.chars().collect();
    let half = letters.len().div_ceil(2).max(4).min(letters.len());
    letters
        .windows(half)
        .any(|piece| text.contains(&piece.iter().collect::<String>()))
}

#[test]
fn at_least_99_percent_of_the_secrets_of_each_form_are_removed() {
    let mut missed = Vec::new();
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for form in FORMS.iter().chain(SIMPLE) {
        let mut random = Random::new(7);
        let mut removed = 0;
        for _ in 0..VALUES {
            let case = (form.case)(&mut random);
            let redacted = without_secrets(&case.text);
            removed += usize::from(!case.secrets.iter().any(|secret| is_left(secret, &redacted)));
            let again = without_secrets(&redacted);
            assert_eq!(again, redacted, "redaction is idempotent");
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
fn ordinary_texts_are_unchanged() {
    for text in PLAIN {
        assert_eq!(without_secrets(text), *text);
    }
}

#[test]
fn a_redacted_json_document_is_valid_json() {
    let document = r#"{"list": ["a", "DB_PASS=hunter2x", {"password": "sunshine7"}], "key": "x"}"#;
    let redacted = json_without_secrets(document);
    let redacted: serde_json::Value = serde_json::from_str(&redacted).unwrap();
    assert_eq!(redacted["list"][1], "DB_PASS=[removed: password]");
    assert_eq!(redacted["list"][2]["password"], "[removed: password]");
    assert_eq!(redacted["key"], "x");
}

#[test]
fn a_secret_that_one_text_introduces_is_removed_from_all_texts() {
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
    // Entities end at punctuation.
    assert_eq!(
        known.clean_json(r#"["Tr0ub4dor"]"#),
        r#"["[removed: secret]"]"#
    );
    assert_eq!(known.clean("nothing"), "nothing");
}

#[test]
fn redaction_takes_linear_time() {
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
        // The long text is 8 times as long. Quadratic redaction would take 64 times as long.
        assert!(
            long < short * 32 + std::time::Duration::from_millis(500),
            "{part}: {short:?}, {long:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() * 4))]

    #[test]
    fn invariant_redacting_a_redacted_text_changes_nothing(
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
