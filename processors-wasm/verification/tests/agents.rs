//! Tests `verification` on the sessions of each agent: the words of the person are found, with their
//! place, and what others said is not.

use session_pipeline_processor::json::Json;
use session_pipeline_processor::native::MemoryHost;
use session_pipeline_processor::table::OwnedValue;
use session_pipeline_processor::{Session, SessionInfo};
use session_pipeline_verification::Verifications;
use session_pipeline_verification::tables::Item;

/// What the model says before.
const CLAIM: &str = "So MRR is billed in advance for each of the customers of the shop.";
/// What the person answers.
const CORRECTION: &str = "No, MRR is billed monthly in arrears.";
/// What a tool, a sub-agent or the agent itself says. It would be a correction, too.
const OTHER: &str = "No, ARR is billed yearly in advance.";
/// What the model or a tool said, so that a person who repeats it has pasted it.
const PASTED: &str = "No, NRR is counted per quarter from the export of the finance team.";

/// A session of an agent, and what is known about the correction in it.
struct AgentFile {
    agent: &'static str,
    key: &'static str,
    lines: Vec<String>,
    /// The line of the correction.
    line: i64,
    /// The source in the knowledge.
    source: &'static str,
    project: Option<&'static str>,
    branch: Option<&'static str>,
}

fn codex(second: u64, kind: &str, payload: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-05-01T09:00:{second:02}Z","type":"{kind}","payload":{{{payload}}}}}"#
    )
}

fn codex_file() -> AgentFile {
    let user = |second, text: &str| {
        let payload = format!(r#""type":"user_message","message":"{text}""#);
        codex(second, "event_msg", &payload)
    };
    let output = format!(r#""type":"function_call_output","call_id":"call_a","output":"{PASTED}""#);
    let says = format!(
        r#""type":"message","role":"assistant","content":[{{"type":"output_text","text":"{CLAIM}"}}]"#
    );
    AgentFile {
        agent: "codex",
        key: "ada/codex/rollout-2026-05-01T09-00-00-a.jsonl",
        lines: vec![
            codex(
                0,
                "session_meta",
                r#""id":"thread-a","cwd":"/w/shop","cli_version":"0.144.1","source":"cli","git":{"branch":"main"}"#,
            ),
            user(1, "fix it"),
            codex(2, "response_item", &says),
            codex(3, "response_item", &output),
            user(4, CORRECTION),
            user(5, PASTED),
            user(6, &format!("<environment_context>{OTHER}")),
        ],
        line: 5,
        source: "session-thread-a-ada",
        project: Some("/w/shop"),
        branch: Some("main"),
    }
}

fn copilot(second: u64, kind: &str, data: &str) -> String {
    format!(
        r#"{{"type":"{kind}","id":"e{second}","parentId":null,"timestamp":"2026-05-01T09:00:{second:02}Z","data":{{{data}}}}}"#
    )
}

fn copilot_file() -> AgentFile {
    let user = |second, text: &str, more: &str| {
        copilot(
            second,
            "user.message",
            &format!(r#""content":"{text}"{more}"#),
        )
    };
    let says = format!(r#""messageId":"m1","content":"{CLAIM}","outputTokens":5"#);
    let result = format!(r#""toolCallId":"t1","success":true,"result":{{"content":"{PASTED}"}}"#);
    let sub_agent = format!(r#""messageId":"m2","content":"{OTHER}","parentToolCallId":"t2""#);
    AgentFile {
        agent: "copilot",
        key: "ada/copilot/session-state/s1/events.jsonl",
        lines: vec![
            copilot(
                0,
                "session.start",
                r#""sessionId":"s1","copilotVersion":"1.0.60","context":{"cwd":"/w/shop","branch":"main"}"#,
            ),
            copilot(1, "assistant.message", &says),
            copilot(2, "tool.execution_complete", &result),
            copilot(3, "assistant.message", &sub_agent),
            user(4, OTHER, r#","source":"instruction-discovery""#),
            user(5, OTHER, r#","parentToolCallId":"t2""#),
            user(6, CORRECTION, ""),
            user(7, PASTED, ""),
        ],
        line: 7,
        source: "session-s1-ada",
        project: Some("/w/shop"),
        branch: Some("main"),
    }
}

fn gemini_records() -> Vec<String> {
    let record = |second: u64, kind: &str, more: &str| {
        format!(
            r#"{{"id":"r{second}","timestamp":"2026-05-01T09:00:{second:02}Z","type":"{kind}",{more}}}"#
        )
    };
    let says = format!(
        r#""content":"{CLAIM}","model":"gemini-3-pro","toolCalls":[{{"id":"c1","name":"read_file","args":{{}},"status":"success","result":[{{"functionResponse":{{"response":{{"output":"{PASTED}"}}}}}}]}}]"#
    );
    let user = |second, text: &str| record(second, "user", &format!(r#""content":"{text}""#));
    vec![
        user(1, &format!("<session_context>{OTHER}")),
        record(2, "gemini", &says),
        record(3, "info", &format!(r#""content":"{OTHER}""#)),
        user(4, CORRECTION),
        user(5, PASTED),
    ]
}

const GEMINI: &str = r#""sessionId":"g1","projectHash":"e6","startTime":"2026-05-01T09:00:00Z""#;

fn gemini_file() -> AgentFile {
    let mut lines = vec![format!("{{{GEMINI}}}")];
    lines.extend(gemini_records());
    AgentFile {
        agent: "gemini",
        key: "ada/gemini/tmp/p/chats/session-g1.jsonl",
        lines,
        line: 5,
        source: "session-g1-ada",
        project: None,
        branch: None,
    }
}

fn gemini_document() -> AgentFile {
    let mut lines = vec![
        "{".to_owned(),
        format!("{GEMINI},"),
        "\"messages\": [".to_owned(),
    ];
    // No line of a document is an object by itself.
    let records = gemini_records()
        .join(",\n")
        .replace("{\"id\":\"r", "{\n\"id\":\"r");
    lines.push(records);
    lines.push("]\n}".to_owned());
    AgentFile {
        agent: "gemini",
        key: "ada/gemini/tmp/p/chats/session-g1.json",
        lines,
        line: 10,
        ..gemini_file()
    }
}

fn kimi_file() -> AgentFile {
    let at = |second: u64, kind: &str, payload: &str| {
        let time = 1_777_626_000 + second;
        format!(r#"{{"timestamp":{time}.5,"message":{{"type":"{kind}","payload":{{{payload}}}}}}}"#)
    };
    let user = |second, text: &str| at(second, "TurnBegin", &format!(r#""user_input":"{text}""#));
    let nested = format!(
        r#""task_tool_call_id":"t1","event":{{"type":"TurnBegin","payload":{{"user_input":"{OTHER}"}}}}"#
    );
    AgentFile {
        agent: "kimi",
        key: "ada/kimi/9072/e12e/wire.jsonl",
        lines: vec![
            r#"{"type":"metadata","protocol_version":"1.3"}"#.to_owned(),
            at(
                1,
                "ContentPart",
                &format!(r#""type":"text","text":"{CLAIM}""#),
            ),
            at(
                2,
                "ToolResult",
                &format!(
                    r#""tool_call_id":"t0","return_value":{{"is_error":false,"output":"{PASTED}","message":"ok"}}"#
                ),
            ),
            at(3, "SubagentEvent", &nested),
            user(4, CORRECTION),
            user(5, PASTED),
        ],
        line: 5,
        source: "session-e12e-ada",
        project: None,
        branch: None,
    }
}

fn pi_file() -> AgentFile {
    let message = |second: u64, fields: &str| {
        format!(
            r#"{{"type":"message","id":"e{second}","parentId":null,"timestamp":"2026-05-01T09:00:{second:02}Z","message":{{{fields}}}}}"#
        )
    };
    let texts = |text: &str| format!(r#""content":[{{"type":"text","text":"{text}"}}]"#);
    let user = |second, text: &str, more: &str| {
        message(second, &format!(r#""role":"user",{}{more}"#, texts(text)))
    };
    let result = format!(
        r#""role":"toolResult","toolCallId":"c1",{},"isError":false"#,
        texts(PASTED)
    );
    AgentFile {
        agent: "pi",
        key: "ada/pi/--w-shop--/2026_pi-1.jsonl",
        lines: vec![
            r#"{"type":"session","version":3,"id":"pi-1","timestamp":"2026-05-01T09:00:00Z","cwd":"/w/shop"}"#
                .to_owned(),
            message(1, &format!(r#""role":"assistant",{}"#, texts(CLAIM))),
            message(2, &result),
            user(3, OTHER, r#","attribution":"agent""#),
            user(4, CORRECTION, ""),
            user(5, PASTED, ""),
        ],
        line: 5,
        source: "session-pi-1-ada",
        project: Some("/w/shop"),
        branch: None,
    }
}

fn qwen_file() -> AgentFile {
    let line = |second: u64, kind: &str, more: &str| {
        format!(
            r#"{{"uuid":"u{second}","parentUuid":null,"sessionId":"q1","timestamp":"2026-05-01T09:00:{second:02}Z","type":"{kind}","cwd":"/w/shop","version":"0.12.6","gitBranch":"main"{more}}}"#
        )
    };
    let parts = |text: &str| format!(r#","message":{{"parts":[{{"text":"{text}"}}]}}"#);
    let result = format!(
        r#","message":{{"parts":[{{"functionResponse":{{"id":"c1","response":{{"output":"{PASTED}"}}}}}}]}},"toolCallResult":{{"callId":"c1","status":"success","resultDisplay":"{PASTED}"}}"#
    );
    AgentFile {
        agent: "qwen",
        key: "ada/qwen/-w-shop/chats/q1.jsonl",
        lines: vec![
            line(1, "assistant", &parts(CLAIM)),
            line(2, "tool_result", &result),
            line(3, "user", &parts(&format!("<system-reminder>{OTHER}"))),
            line(4, "user", &parts(CORRECTION)),
            line(5, "user", &parts(PASTED)),
        ],
        line: 4,
        source: "session-q1-ada",
        project: Some("/w/shop"),
        branch: Some("main"),
    }
}

fn files() -> Vec<AgentFile> {
    vec![
        codex_file(),
        copilot_file(),
        gemini_file(),
        gemini_document(),
        kimi_file(),
        pi_file(),
        qwen_file(),
    ]
}

/// A text of a column, or `-`.
fn text(value: &OwnedValue) -> String {
    match value {
        OwnedValue::Text(text) => text.clone(),
        OwnedValue::S64(number) => number.to_string(),
        _ => "-".to_owned(),
    }
}

fn items(host: &MemoryHost<'_>) -> Vec<Item> {
    let info = SessionInfo::new("any");
    let session = Session::new(host, &info);
    session.lookup::<Item>().rows().expect("the items")
}

fn run(host: &mut MemoryHost<'static>, file: &AgentFile, lines: &[String]) -> u64 {
    host.next_session(lines.join("\n").into_bytes());
    let summary = host.run::<Verifications>(&SessionInfo::new(file.key));
    summary.expect("a run").items
}

#[test]
fn the_words_of_the_person_are_found_in_the_sessions_of_every_agent() {
    for file in files() {
        let agent = file.agent;
        for line in &file.lines {
            let is_json = Json::parse(line).is_some();
            assert!(is_json || file.key.ends_with(".json"), "{agent}: {line}");
        }
        let info = SessionInfo::new(file.key);
        let mut host = MemoryHost::new(file.lines.join("\n").into_bytes());
        let session = Session::new(&host, &info);
        assert_eq!(session.activity().agent().name(), agent);
        let lines = file.lines.clone();
        assert_eq!(run(&mut host, &file, &lines), 1, "{agent}");
        let items = items(&host);
        let [item] = &items[..] else {
            panic!("{agent}: {} items", items.len());
        };
        assert_eq!(item.title, "MRR is billed monthly in arrears", "{agent}");
        assert_eq!(item.source_ref, file.source, "{agent}");
        assert_eq!(item.project.as_deref(), file.project, "{agent}");
        assert!(item.said_at.is_some(), "{agent}");
        let place = format!("line {}", file.line);
        assert_eq!(item.source_place.as_deref(), Some(&*place), "{agent}");
        let evidence = host.rows("evidence");
        let [row] = &evidence[..] else {
            panic!("{agent}: {} rows of evidence", evidence.len());
        };
        let found = [5, 7, 12].map(|column| text(&row[column]));
        let branch = file.branch.unwrap_or("-");
        assert_eq!(
            found,
            [CORRECTION, &file.line.to_string(), branch],
            "{agent}"
        );
    }
}

#[test]
fn damage_and_growth_cost_no_other_statement() {
    for file in files().iter().filter(|file| file.key.ends_with(".jsonl")) {
        let agent = file.agent;
        // A session in the middle of a line, as its agent writes it.
        let mut host = MemoryHost::new(Vec::new());
        for end in 1..=file.lines.len() {
            let mut part = file.lines[..end].to_vec();
            if let Some(next) = file.lines.get(end) {
                part.push(next[..next.len() / 2].to_owned());
            }
            run(&mut host, file, &part);
        }
        assert_eq!(items(&host).len(), 1, "{agent}");
        // Bad lines between all lines.
        let bad = ["", "{", "null", "{\"type\":[]}", "\u{0}"];
        let damaged = file.lines.iter().zip(bad.iter().cycle());
        let damaged: Vec<String> = damaged
            .flat_map(|(line, bad)| [line.clone(), (*bad).to_owned()])
            .collect();
        let mut host = MemoryHost::new(Vec::new());
        assert_eq!(run(&mut host, file, &damaged), 1, "{agent}");
    }
}

#[test]
fn history_of_another_session_is_evidence_only_there() {
    let file = codex_file();
    let mut lines = vec![codex(
        0,
        "session_meta",
        r#""id":"thread-b","forked_from_id":"thread-a","cwd":"/w/shop","cli_version":"0.144.1","source":"cli","timestamp":"2026-05-01T10:00:00Z""#,
    )];
    lines.extend(file.lines.iter().cloned());
    let mut host = MemoryHost::new(Vec::new());
    let found = run(&mut host, &file, &lines);
    assert_eq!(found, 0);
    assert!(host.rows("evidence").is_empty());
}
