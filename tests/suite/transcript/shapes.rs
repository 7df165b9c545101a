//! Processors and readers of transcripts determine the agent of a file with different code. The law:
//! they agree about any beginning of any file.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use session_pipeline_harness::agent_sessions::agent_sessions;
use session_pipeline_harness::{cases, counted};
use session_pipeline_pipeline::transcript::agent_of;
use session_pipeline_processor::activity::CodingAgent;

/// Lines of every shape that the rules name, and lines that almost have one.
const LINES: [&str; 70] = [
    r#"{"timestamp":"t","type":"session_meta","payload":{"id":"a"}}"#,
    r#"{"timestamp":"t","type":"event_msg","payload":{"type":"user_message","message":"go"}}"#,
    r#"{"type":"world_state","payload":{}}"#,
    r#"{"type":"inter_agent_communication_metadata","payload":{}}"#,
    r#"{"type":"event_msg","payload":7}"#,
    r#"{"type":"event_msg","payload":null}"#,
    r#"{"type":"event_msg","payload":[],"sessionId":"s"}"#,
    r#"{"type":"event_msg\u0000","payload":{}}"#,
    r#"{"t\u0079pe":"event\u005fmsg","payload":{}}"#,
    r#"{"id":"a","timestamp":"t","instructions":null}"#,
    r#"{"id":null,"timestamp":null,"instructions":"x"}"#,
    r#"{"id":"a","timestamp":"t"}"#,
    r#"{"record_type":"state"}"#,
    r#"{"record_type":"st\u0061te"}"#,
    r#"{"record_type":["state"]}"#,
    r#"{"type":"session.start","data":{},"id":"e","parentId":null}"#,
    r#"{"type":"user.message","data":{"content":"go"},"parentId":"p"}"#,
    r#"{"type":"user.message","data":{"parentId":1}}"#,
    r#"{"type":"a.b","data":7,"parentId":null}"#,
    r#"{"type":"a.b","data":{}}"#,
    r#"{"type":"metadata","protocol_version":"1.3"}"#,
    r#"{"type":"metadata","protocol_version":null}"#,
    r#"{"type":"metadata"}"#,
    r#"{"timestamp":1.5,"message":{"type":"TurnBegin","payload":{}}}"#,
    r#"{"timestamp":-1e3,"message":{"type":null,"payload":null}}"#,
    r#"{"timestamp":"1.5","message":{"type":"TurnBegin","payload":{}}}"#,
    r#"{"timestamp":null,"message":{"type":"TurnBegin","payload":{}}}"#,
    r#"{"timestamp":1.5,"message":{"type":"TurnBegin"}}"#,
    r#"{"timestamp":1.5,"message":"TurnBegin"}"#,
    r#"{"type":"session","id":"a","cwd":"/w","timestamp":"t"}"#,
    r#"{"type":"session","id":null,"cwd":null,"timestamp":null}"#,
    r#"{"type":"session","id":"a","timestamp":"t"}"#,
    r#"{"type":"title","v":1,"pad":"  "}"#,
    r#"{"type":"title","v":1}"#,
    r#"{"type":"message","id":"a","message":{"role":"user"}}"#,
    r#"{"type":"message","id":"a","message":{"role":null}}"#,
    r#"{"type":"message","id":"a","message":["role"]}"#,
    r#"{"type":"message","id":"a","message":{}}"#,
    r#"{"sessionId":"a","projectHash":"b"}"#,
    r#"{"sessionId":null,"projectHash":null}"#,
    r#"{"sessionId":"a"}"#,
    r#"{"$set":{"summary":"s"}}"#,
    r#"{"$set":[]}"#,
    r#"{"$rewindTo":"a"}"#,
    r#"{"$rewindTo":""}"#,
    r#"{"$rewindTo":{}}"#,
    r#"{"type":"gemini","id":"a","content":""}"#,
    r#"{"type":"gemini","id":"a","content":null}"#,
    r#"{"type":"gemini","id":"a"}"#,
    r#"{"type":"user","sessionId":"a","message":{"role":"user","parts":[]}}"#,
    r#"{"type":"user","sessionId":"a","message":{"role":"user","parts":{}}}"#,
    r#"{"type":"system","sessionId":"a","systemPayload":{}}"#,
    r#"{"type":"system","sessionId":7,"systemPayload":null}"#,
    r#"{"type":"assistant","sessionId":"a","usageMetadata":{}}"#,
    r#"{"type":"user","sessionId":"a","isSidechain":null,"message":{"parts":[]}}"#,
    r#"{"type":"user","sessionId":"a","isSidechain":false,"message":{"content":"hi"}}"#,
    r#"{"type":"summary","summary":"s","leafUuid":"u"}"#,
    r#"{"type":"file-history-snapshot","messageId":null}"#,
    r#"{"type":"","sessionId":"a","projectHash":"b"}"#,
    r#"{"type":7,"sessionId":"a","projectHash":"b"}"#,
    r#"{"session_id":"a","ts":1,"text":"fix it"}"#,
    r#"{"id":"a","thread_name":"n","updated_at":"t"}"#,
    r#"{"role":"_checkpoint","id":0}"#,
    r#"{"role":"\u005fcheckpoint","id":0}"#,
    r#"{"sessionId":"a","turns":[],"messages":[]}"#,
    r#"{"type":"usage.record","id":"a"}"#,
    "{}",
    " [1] ",
    r#"{"type":"event_msg","payload":7,"payload":{},"type":"event_msg"}"#,
    "null",
];

/// Documents of one object, as older versions of Gemini CLI wrote, and almost such ones.
const DOCUMENTS: [&str; 4] = [
    "{\n  \"sessionId\": \"a\",\n  \"projectHash\": \"b\",\n  \"messages\": [\n    {\n      \"id\": \"r\"\n    }\n  ]\n}",
    "{\n  \"sessionId\": \"a\",\n  \"projectHash\": \"b\",\n  \"messages\": [\n    { },\n    {}\n  ]\n}",
    "{\n  \"sessionId\": \"a\",\n  \"projectHash\": \"b\",\n  \"messages\": [\n{ }\n,\n{\"id\":1}\n]\n}",
    "{\n  \"sessionId\": \"a\",\n  \"messages\": []\n}",
];

fn check(beginning: &[u8]) {
    let processors = match CodingAgent::of_beginning(beginning) {
        CodingAgent::Unknown => CodingAgent::Claude,
        agent => agent,
    };
    let shown = String::from_utf8_lossy(beginning);
    assert_eq!(agent_of(beginning), processors.name(), "{shown}");
}

#[test]
fn both_have_the_same_agent_for_every_line_and_before_every_other_line() {
    let mut found = std::collections::BTreeSet::new();
    for line in LINES.into_iter().chain(DOCUMENTS) {
        found.insert(CodingAgent::of_beginning(line.as_bytes()));
        for end in 0..=line.len() {
            check(&line.as_bytes()[..end]);
        }
        for other in LINES {
            check(format!("{line}\n{other}").as_bytes());
        }
    }
    assert_eq!(found.len(), CodingAgent::ALL.len(), "{found:?}");
}

#[test]
fn both_have_the_agent_of_a_whole_session_and_of_every_beginning() {
    for session in agent_sessions(2) {
        let bytes = session.content.as_bytes();
        assert_eq!(agent_of(bytes), session.agent);
        for end in 0..=bytes.len() {
            check(&bytes[..end]);
        }
    }
}

#[test]
fn only_the_first_lines_count_for_both() {
    for count in [30, 31, 32, 33] {
        let lines = format!("{}{{\"$rewindTo\":\"a\"}}", " \n{\"a\":1}\n".repeat(count));
        check(lines.as_bytes());
    }
}

/// A part of a file that is replaced.
type Damage = (Index, usize, &'static str);

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let texts = vec![
        "",
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\n",
        "null",
        "0",
        "-",
        "\u{0}",
        "\\ud800",
        "1e999",
        "é",
        "type",
        "\"type\":",
        "\"sessionId\":\"s\",",
    ];
    vec((any::<Index>(), 0_usize..6, select(texts)), 0..4)
}

proptest! {
    #![proptest_config(counted(cases() * 32))]

    #[test]
    fn invariant_both_have_the_same_agent_for_every_file(
        lines in vec(select(LINES.into_iter().chain(DOCUMENTS).collect::<Vec<_>>()), 1..5),
        damage in damage(),
        end in any::<Index>(),
    ) {
        let mut bytes = lines.join("\n").into_bytes();
        for (at, length, text) in damage {
            let at = at.index(bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, text.bytes());
        }
        check(&bytes);
        check(&bytes[..end.index(bytes.len() + 1)]);
    }
}
