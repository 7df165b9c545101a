//! The calls and prompts of sessions of GitHub Copilot CLI.

use crate::harness::copilot::{
    OF_AGENT, SESSION, call, check_file, line, prompt, read, result, start,
};
use crate::harness::{Sums, check_laws};

#[test]
fn only_texts_of_a_person_are_prompts_and_commands() {
    let file = [
        start("1.0.60"),
        prompt("10:00:01", "fix it"),
        prompt("10:00:02", "/home/ada/shop is empty"),
        prompt("10:00:03", "/init"),
        prompt("10:00:04", "/build-feature now"),
        prompt("10:00:05", r" \n"),
        prompt("10:00:06", r"\n<system_reminder>x"),
        line(
            "10:00:07",
            "e",
            "user.message",
            r#""content":"x","source":"instruction-discovery""#,
        ),
        line(
            "10:00:08",
            "e",
            "user.message",
            &format!(r#""content":"look"{OF_AGENT}"#),
        ),
        line(
            "10:00:09",
            "e",
            "session.title_changed",
            r#""title":"Repair of the shop""#,
        ),
    ];
    let rows = read(&file);
    assert_eq!(
        rows.session.show("prompts slash_commands title"),
        "2 2 Repair of the shop"
    );
    let commands: Vec<_> = rows
        .events
        .iter()
        .map(|row| row.text("command_name"))
        .collect();
    assert_eq!(commands, ["init", "build-feature"]);
    check_file(&file);
}

#[test]
fn results_say_how_calls_failed() {
    let id = "toolu_0123456789abcdef01234567";
    let denied = |kind: &str| {
        let data = format!(r#""requestId":"r","toolCallId":"{id}","result":{{"kind":"{kind}"}}"#);
        line("10:00:02", "e", "permission.completed", &data)
    };
    let ended = |more: &str| result("10:00:03", id, more);
    for (lines, class) in [
        (
            vec![ended(r#","success":true,"result":{"content":"ok"}"#)],
            "-",
        ),
        (
            vec![ended(
                r#","success":true,"result":{"content":"ok\n<exited with exit code 0>"}"#,
            )],
            "-",
        ),
        (
            vec![ended(
                r#","success":true,"result":{"content":"no\n<exited with exit code 101>\n"}"#,
            )],
            "exit_code",
        ),
        (
            vec![ended(
                r#","success":true,"result":{"content":"<exited with exit code 1> is what I saw"}"#,
            )],
            "-",
        ),
        (
            vec![ended(
                r#","success":false,"error":{"message":"no","code":"failure"}"#,
            )],
            "tool_error",
        ),
        (
            vec![ended(
                r#","success":false,"error":{"message":"no","code":"rejected"}"#,
            )],
            "rejected",
        ),
        (vec![denied("denied-interactively-by-user")], "rejected"),
        (
            vec![
                denied("denied-by-rules"),
                ended(r#","success":false,"error":{"code":"failure"}"#),
            ],
            "rejected",
        ),
        (vec![denied("approved"), ended(r#","success":true"#)], "-"),
        (vec![], "-"),
    ] {
        let file = [
            vec![start("1.0.60"), call("10:00:01", id, "bash", "")],
            lines,
        ]
        .concat();
        let rows = read(&file);
        assert_eq!(rows.events[0].text("error_class"), class, "{file:?}");
        check_file(&file);
    }
}

#[test]
fn servers_and_skills_are_recognized() {
    let file = [
        start("1.0.60"),
        call(
            "10:00:01",
            "toolu_1111111111111111111111",
            "github-list_issues",
            r#","mcpServerName":"github","mcpToolName":"list_issues","model":"gpt-5.4""#,
        ),
        call(
            "10:00:02",
            "toolu_2222222222222222222222",
            "skill",
            r#","arguments":{"skill":"docs:write"}"#,
        ),
        result(
            "10:00:04",
            "toolu_2222222222222222222222",
            r#","success":true,"model":"gpt-5.4""#,
        ),
        call("10:00:05", "toolu_3333333333333333333333", "view", ""),
    ];
    let rows = read(&file);
    let columns = "event_type tool_name mcp_server skill_name plugin model duration_ms";
    let events: Vec<_> = rows.events.iter().map(|row| row.show(columns)).collect();
    assert_eq!(
        events,
        [
            "mcp_call github-list_issues github - - gpt-5.4 -",
            "tool_use skill - docs:write docs - 2000",
            "tool_use view - - - gpt-5.4 -",
        ]
    );
    assert_eq!(
        rows.session.show("skill_invocations tool_calls mcp_calls"),
        "1 2 1"
    );
    check_file(&file);
}

#[test]
fn ids_that_are_counted_up_belong_to_their_session() {
    let file = |session: &str| {
        [
            start("1.0.60").replace(SESSION, session),
            call("10:00:01", "call_0", "view", ""),
            result("10:00:02", "call_0", r#","success":false"#),
        ]
        .join("\n")
    };
    let (one, other) = (file("s-one"), file("s-other"));
    let files = [("ada/a.jsonl", &*one), ("ada/b.jsonl", &*other)];
    let sums = Sums::of(&files);
    let classes: Vec<_> = sums
        .events
        .values()
        .map(|(_, class)| class.as_str())
        .collect();
    assert_eq!(classes, ["tool_error", "tool_error"]);
    check_laws(&files);
}
