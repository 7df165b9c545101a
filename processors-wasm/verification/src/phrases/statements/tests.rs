//! Tests of the statements in a prompt.

use super::*;

/// Formats results as `type: content`, one per line.
fn check(text: &str, expected: &[&str]) {
    let typed = crate::turns::pasted::typed(text, &Default::default());
    let found: Vec<String> = of(text, &typed)
        .into_iter()
        .map(|statement| {
            assert!(text.contains(statement.quote), "a quote is verbatim");
            format!("{}: {}", statement.kind.name(), statement.content)
        })
        .collect();
    assert_eq!(found, expected, "{text}");
}

fn check_none(text: &str) {
    check(text, &[]);
}

#[test]
fn a_correction_is_told_by_each_of_its_phrases() {
    for (text, content) in [
        (
            "No, churn is computed monthly from MRR",
            "Churn is computed monthly from MRR",
        ),
        (
            "no. the finance team owns that table.",
            "The finance team owns that table.",
        ),
        (
            "No the gross field holds the net amount",
            "The gross field holds the net amount",
        ),
        (
            "That's wrong, churn is counted per month.",
            "Churn is counted per month.",
        ),
        (
            "This is incorrect. Churn is counted per month.",
            "Churn is counted per month.",
        ),
        (
            "That is not right: we bill in arrears",
            "We bill in arrears",
        ),
        (
            "The way you count churned customers is wrong",
            "The way you count churned customers is wrong",
        ),
        (
            "not what I meant, the report covers the fiscal year",
            "The report covers the fiscal year",
        ),
        (
            "Actually, invoices go out on the third",
            "Invoices go out on the third",
        ),
        (
            "use tabs instead of spaces in makefiles",
            "Use tabs instead of spaces in makefiles",
        ),
        (
            "stop using the legacy billing export",
            "Stop using the legacy billing export",
        ),
        (
            "do not use the legacy billing export",
            "Do not use the legacy billing export",
        ),
        (
            "Never use floats for amounts of money",
            "Never use floats for amounts of money",
        ),
        (
            "stop using mocks in the integration tests",
            "Stop using mocks in the integration tests",
        ),
        (
            "the currency should be EUR, not the customer's own",
            "The currency should be EUR, not the customer's own",
        ),
        (
            "every endpoint should have a rate limit",
            "Every endpoint should have a rate limit",
        ),
        (
            "we always deploy from the release branch",
            "We always deploy from the release branch",
        ),
        (
            "We never store card numbers ourselves",
            "We never store card numbers ourselves",
        ),
        (
            "use the staging database and not production",
            "Use the staging database and not production",
        ),
        (
            "the owner is finance, not the data team",
            "The owner is finance, not the data team",
        ),
        (
            "We don’t have a user entity here",
            "We don’t have a user entity here",
        ),
    ] {
        check(text, &[&format!("correction: {content}")]);
        check(
            &text.to_uppercase(),
            &[&format!("correction: {}", content.to_uppercase())],
        );
    }
}

#[test]
fn a_contrast_may_be_a_sentence_of_its_own() {
    check(
        "so exports must have a local option. not something in the cloud.",
        &["correction: Exports must have a local option. not something in the cloud."],
    );
    check_none("it needs to be a local option. Not sure about the cloud.");
    check_none("it needs to be a local option. not yet");
    check_none("this is what the local one does. Not only in the cloud, on my machine too, always");
}

#[test]
fn a_confirmation_needs_a_statement_beside_it() {
    check(
        "That's right, NRR excludes new customers.",
        &["confirmation: NRR excludes new customers."],
    );
    check(
        "Yes, exactly. The export runs at six in the morning.",
        &["confirmation: The export runs at six in the morning."],
    );
    check(
        "Correct - finance closes the books on day three",
        &["confirmation: Finance closes the books on day three"],
    );
    check(
        "Confirmed: the crm holds the contract dates",
        &["confirmation: The crm holds the contract dates"],
    );
    for text in [
        "exactly",
        "That's right!",
        "correct. now push it to main please",
        "exactly. let's do that for all the tests",
        "Correct. I will look at it tomorrow",
        "that's right, can you do it for all?",
        "exactly the same error as before happens here",
        "correct the typo in the second paragraph",
        "correct, but we have no such table here",
    ] {
        check_none(text);
    }
}

#[test]
fn a_definition_needs_a_term() {
    check(
        "NRR stands for net revenue retention",
        &["unprompted_definition: NRR stands for net revenue retention"],
    );
    check(
        "A churned customer means one without an active contract.",
        &["unprompted_definition: A churned customer means one without an active contract."],
    );
    check(
        "By active we mean seen within the last 30 days",
        &["unprompted_definition: By active we mean seen within the last 30 days"],
    );
    check(
        "MRR is calculated from the invoices of the month",
        &["unprompted_definition: MRR is calculated from the invoices of the month"],
    );
    check(
        "Retention is defined as customers kept over customers had",
        &["unprompted_definition: Retention is defined as customers kept over customers had"],
    );
    check(
        "a plan with more than ten seats is what we call enterprise",
        &["unprompted_definition: A plan with more than ten seats is what we call enterprise"],
    );
    for text in [
        "this means the build will fail on windows",
        "it fails, which means nobody tested it on windows",
        "I can't see any usage of it so, means that we are not logging",
        "we call the function twice in the main loop",
        "what does churned mean in this report here",
        "that is computed somewhere in the main loop",
    ] {
        check_none(text);
    }
}

#[test]
fn questions_doubts_and_errands_state_nothing() {
    for text in [
        "why don't we use the other table instead of this?",
        "can you use the other table instead of this one",
        "shouldn't it be monthly, not weekly?",
        "is something wrong with the monthly report numbers",
        "something is wrong with the monthly report numbers",
        "no, go ahead and merge it into main",
        "no, I did that yesterday on my machine",
        "no idea what is going on in there",
        "no problem with that from my side at all",
        "actually, run the tests of the parser again",
        "I'm not sure, it should be monthly, not weekly",
        "maybe we should use tabs instead of spaces here",
        "if we use the export instead of the crm it is late",
        "it prints the old value instead of the new one",
        "tell me if I'm wrong about the numbers in it",
        "we never got to the bottom of that one",
        "we don't know where the numbers come from",
        "are we actually logging the agent in there",
        "don't use it",
        "no, wrong",
    ] {
        check_none(text);
    }
}

#[test]
fn what_is_not_the_users_own_prose_states_nothing() {
    let statement = "we never store card numbers ourselves";
    for text in [
        format!("```\n{statement}\n```"),
        format!("look at this\n~~~md\n{statement}"),
        format!("> {statement}"),
        format!("    {statement}"),
        format!("the page says \"{statement}\" in bold"),
        format!("the page says “{statement}”"),
        format!("the page says '{statement}' in bold"),
        format!("run `echo {statement}` for me"),
        format!("2026-01-05T09:00:00Z {statement}"),
        format!("[12:01:22] {statement}"),
        format!("ERROR {statement}"),
        format!("main.rs:12: {statement}"),
        format!("| {statement} | x |"),
        format!("+ {statement}"),
        format!("User: do it\n\nAssistant: ok\n\n{statement}"),
        format!("# Plan\n\n{statement}"),
        format!("here is some review feedback:\n\n{statement}"),
        format!("I got this feedback, what do you think\n\n{statement}"),
        format!("<doc>\n{statement}\n</doc>"),
        format!("Implement the following plan:\n{statement}"),
        format!(
            "{}\n\n{statement}",
            "lorem ipsum dolor sit amet. ".repeat(60)
        ),
    ] {
        check_none(&text);
    }
    check(
        &format!("```\nlet a = 1;\n```\n\n{statement}\n> quoted"),
        &["correction: We never store card numbers ourselves"],
    );
    check(
        &format!("{statement}\n\n{}", "fn main() {}\n".repeat(200)),
        &["correction: We never store card numbers ourselves"],
    );
}

#[test]
fn each_sentence_states_for_itself() {
    check(
        "No. Invoices use the finance export. We never use the crm for that. Thanks!\n\
         - we always round down at the end\n- NRR means net revenue retention here",
        &[
            "correction: Invoices use the finance export.",
            "correction: We never use the crm for that.",
            "correction: We always round down at the end",
            "unprompted_definition: NRR means net revenue retention here",
        ],
    );
}

#[test]
fn no_text_is_too_odd() {
    let long = "no, ".repeat(20_000);
    for text in [
        "",
        "no,",
        "“",
        "'",
        "`",
        "…",
        "no, “é”… “",
        "Ünicode: no, é — ñ 'ß",
        "\u{0}",
        &long,
        "<a",
        "<>",
        "```",
        "not but",
        "and",
        "İ no, that's İ wrong İ çok yanlış olmuş bu",
    ] {
        let typed = std::iter::once(0..text.len()).collect::<Vec<_>>();
        for statement in of(text, &typed) {
            assert!(text.contains(statement.quote) && !statement.content.is_empty());
        }
    }
}
