//! Tests of the hooks in the settings file of an agent.

use proptest::prelude::*;

use super::*;

const COMMAND: &str = "/usr/local/bin/session-pipeline-push hook";

#[test]
fn hooks_are_added_next_to_others_and_everything_else_stays() {
    let text = r#"{
    "model": "x",
    "hooks": {
        "Stop": [
            { "hooks": [ { "type": "command", "command": "say done" } ] }
        ]
    },
    "a": [ 1,2 ]
}
"#;
    let added = add(text, COMMAND).unwrap();
    let expected = r#"{
    "model": "x",
    "hooks": {
        "Stop": [
            { "hooks": [ { "type": "command", "command": "say done" } ] },
            {
                "hooks": [
                    {
                        "command": "/usr/local/bin/session-pipeline-push hook",
                        "timeout": 10,
                        "type": "command"
                    }
                ]
            }
        ],
        "SessionEnd": [
            {
                "hooks": [
                    {
                        "command": "/usr/local/bin/session-pipeline-push hook",
                        "timeout": 10,
                        "type": "command"
                    }
                ]
            }
        ]
    },
    "a": [ 1,2 ]
}
"#;
    assert_eq!(added, expected);
    assert_eq!(has_hooks(&added, COMMAND), Ok(true));
    assert_eq!(has_hooks(text, COMMAND), Ok(false));
    assert_eq!(add(&added, COMMAND).unwrap(), added, "adding is idempotent");
    assert_eq!(remove(&added, COMMAND, text).unwrap(), text);
}

#[test]
fn a_missing_file_becomes_an_object_with_the_hooks() {
    let added = add("", COMMAND).unwrap();
    assert_eq!(has_hooks(&added, COMMAND), Ok(true));
    assert_eq!(remove(&added, COMMAND, "").unwrap(), "{}\n");
}

#[test]
fn files_that_are_not_what_the_agent_documents_are_rejected() {
    for bad in [
        "[]",
        "{",
        "{\"hooks\": 1}",
        "{\"hooks\": {\"Stop\": {}}}",
        "{} x",
        "// comment\n{}",
    ] {
        assert!(add(bad, COMMAND).is_err(), "{bad}");
    }
}

#[test]
fn changes_of_the_user_after_the_setup_stay() {
    let before = "{\"a\":1}";
    let added = add(before, COMMAND).unwrap();
    // A hook of the user in an event that the setup created.
    let theirs = added.replacen(
        "\"SessionEnd\": [",
        "\"SessionEnd\": [ { \"hooks\": [] },",
        1,
    );
    let removed = remove(&theirs, COMMAND, before).unwrap();
    let value: Value = serde_json::from_str(&removed).unwrap();
    assert_eq!(
        value,
        json!({ "a": 1, "hooks": { "SessionEnd": [{ "hooks": [] }] } })
    );
    // A file that the agent has written again in its own layout.
    let value: Value = serde_json::from_str(&added).unwrap();
    let removed = remove(&value.to_string(), COMMAND, before).unwrap();
    assert_eq!(removed, before);
}

/// Settings files with any layout.
fn documents() -> impl Strategy<Value = String> {
    let hook = prop_oneof![
        Just("{\"hooks\":[{\"type\":\"command\",\"command\":\"say \\\"}]\\\"\"}]}"),
        Just("{ \"matcher\": \"x\",\n\t\"hooks\" : [ ] }"),
        Just("null"),
    ];
    let event = (
        prop_oneof![Just("Stop"), Just("SessionEnd"), Just("PreToolUse")],
        proptest::collection::vec(hook, 0..3),
        "[ \n\t]{0,3}",
    )
        .prop_map(|(name, hooks, blank)| {
            format!(
                "\"{name}\":{blank}[{blank}{}{blank}]",
                hooks.join(&format!("{blank},"))
            )
        });
    let events = proptest::collection::vec(event, 0..3);
    let member = prop_oneof![
        Just("\"a\": \"{[\\\\\\\"]}\"".to_owned()),
        Just("\"n\" :1.50".to_owned()),
        (events, "[ \n\t]{0,3}").prop_map(|(events, blank)| {
            format!("\"hooks\"{blank}: {{{blank}{}{blank}}}", events.join(","))
        }),
    ];
    (proptest::collection::vec(member, 0..4), "[ \n\t]{0,3}").prop_map(|(members, blank)| {
        format!("{{{blank}{}{blank}}}\n", members.join(&format!(",{blank}")))
    })
}

proptest! {
    #[test]
    fn adding_only_inserts_and_removing_leaves_what_was_there(text in documents()) {
        let added = add(&text, COMMAND).unwrap();
        prop_assert_eq!(has_hooks(&added, COMMAND), Ok(true));
        let removed = remove(&added, COMMAND, &text).unwrap();
        prop_assert_eq!(has_hooks(&removed, COMMAND), Ok(false));
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        prop_assert_eq!(value(&removed), value(&text));
        // All bytes but white space in containers that were empty are the same.
        let dense = |text: &str| text.replace([' ', '\n', '\t'], "");
        prop_assert_eq!(dense(&removed), dense(&text));
    }
}
