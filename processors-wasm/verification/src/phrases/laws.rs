//! Laws of the detector, over generated prompts.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::FileFailurePersistence;

use super::statements::CONTENT_CHARS;
use super::title::TITLE_CHARS;
use super::{detect, entities, statements};
use crate::turns::repeats::Repeats;
use crate::turns::{Role, Turn, pasted};
use crate::verification::Verification;

/// The minimum score of listed items, which is the default of the setting.
const LISTED: u32 = 50;

fn items(text: &str) -> Vec<Verification> {
    let turn = Turn {
        role: Role::User,
        text: text.to_owned(),
        typed: pasted::typed(text, &Repeats::default()),
        line: 1,
        uuid: None,
        at: None,
        branch: None,
    };
    detect(&turn)
}

/// The type, content and score of the items, in a stable order.
fn summary(text: &str) -> Vec<(String, String, u32)> {
    let items = items(text).into_iter();
    let mut items: Vec<_> = items
        .map(|item| (item.detection, item.content, item.score))
        .collect();
    items.sort();
    items
}

/// Statements that are worth keeping: a refutation, a rule, a definition or a confirmation, about
/// all things of a kind.
fn statement() -> impl Strategy<Value = String> {
    let subject = select(vec![
        "an invoice",
        "every parcel",
        "a paused subscription",
        "a tenant",
        "each ledger entry",
    ]);
    let opener = select(vec![
        "No, ",
        "That's wrong, ",
        "Actually, ",
        "Exactly, ",
        "btw ",
    ]);
    let fact = select(vec![
        "belongs to one workspace and not to a person",
        "is stored in the archive of the region",
        "never has more than two owners",
        "always has a currency of its own",
    ]);
    let rule = select(vec![
        "we never send mail to guests",
        "we always round down at the end of the month",
        "our convention is that migrations only go up",
        "NRR means net revenue retention",
        "by active we mean seen within 30 days",
    ]);
    prop_oneof![
        (opener, subject, fact)
            .prop_map(|(opener, subject, fact)| format!("{opener}{subject} {fact}")),
        rule.prop_map(str::to_owned),
    ]
}

/// Paragraphs without a statement.
fn remark() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "please run the tests again and push",
            "why is the build so slow today?",
            "looks good, thank you very much",
            "I will have a look at it tomorrow",
            "can you rename the second variable",
            "the page is empty after the login",
        ])
        .prop_map(str::to_owned),
        "[a-z]{1,9}( [a-z]{1,9}){0,12}",
    ]
}

/// Any text, and text with the words and marks of the rules.
fn any_text() -> impl Strategy<Value = String> {
    let part = select(vec![
        "no, ",
        "not ",
        "we never ",
        "is wrong",
        "means ",
        "the ",
        "İ",
        "é",
        "\n",
        "\n\n",
        "`",
        "\"",
        "“",
        "”",
        "'",
        "- ",
        "> ",
        "```",
        "…",
        "?",
        ". ",
        ", right?",
        ", can you ",
        "a/b ",
        "https://",
        "should ",
        "every ",
        "user ",
        "\u{0}",
        "😀",
        "don’t ",
        "that's ",
        "x",
    ]);
    prop_oneof![
        any::<String>(),
        prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat()),
    ]
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_statement_about_all_things_of_a_kind_is_listed(text in statement()) {
        let items = items(&text);
        prop_assert_eq!(items.len(), 1, "{}", text);
        prop_assert!(items[0].score >= LISTED, "{} {}", items[0].score, text);
    }

    #[test]
    fn the_same_text_has_the_same_items_within_their_limits(text in any_text()) {
        let found = items(&text);
        prop_assert_eq!(&found, &items(&text));
        // A sentence has at least one of these marks, or is the last one.
        let sentences = text.matches(['\n', '.', '!', '?', '…']).count() + 1;
        prop_assert!(found.len() <= sentences);
        for item in &found {
            prop_assert!(text.contains(&item.quote));
            prop_assert!(item.score <= 100);
            prop_assert!(!item.title.is_empty() && item.title.chars().count() <= TITLE_CHARS);
            prop_assert!(!item.content.is_empty() && item.content.chars().count() <= CONTENT_CHARS);
            prop_assert!(item.entities.len() <= entities::ENTITIES_MAX);
            let words = super::words::of(&item.content).len();
            prop_assert!(words <= 2 * statements::WORDS_MAX);
        }
    }

    #[test]
    fn what_someone_else_wrote_is_not_a_statement(text in statement()) {
        for text in [
            format!("```\n{text}\n```"),
            format!("~~~text\n{text}"),
            format!("> {text}"),
            format!("is it true that \"{text}\""),
            format!("the page has “{text}” in bold"),
            format!("<doc>\n{text}\n</doc>"),
            format!("here is the review:\n{text}"),
            format!("Reviewer: {text}"),
            format!("# Rules\n\n{text}"),
            format!("2031-01-05T09:00:00Z {text}"),
            format!("| {text} | x |"),
        ] {
            prop_assert_eq!(summary(&text), [], "{}", text);
        }
    }

    #[test]
    fn a_question_is_not_a_statement(text in statement()) {
        prop_assert_eq!(summary(&format!("is it true that {text}?")), []);
        prop_assert_eq!(summary(&format!("maybe {text}")), []);
    }

    #[test]
    fn the_order_of_unrelated_paragraphs_does_not_matter(
        paragraphs in prop::collection::vec(prop_oneof![statement(), remark()], 1..6),
        shuffled in any::<prop::sample::Index>(),
    ) {
        let mut others = paragraphs.clone();
        others.rotate_left(shuffled.index(paragraphs.len()));
        others.reverse();
        prop_assert_eq!(summary(&paragraphs.join("\n\n")), summary(&others.join("\n\n")));
    }

    #[test]
    fn more_text_does_not_remove_an_item(
        text in statement(),
        before in prop::collection::vec(remark(), 0..3),
        after in prop::collection::vec(remark(), 0..3),
    ) {
        let all: Vec<&str> = before.iter().chain([&text]).chain(&after).map(String::as_str).collect();
        let found = summary(&all.join("\n\n"));
        for item in summary(&text) {
            prop_assert!(found.contains(&item), "{:?} is not in {:?}", item, found);
        }
    }
}
