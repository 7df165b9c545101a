//! Secrets in transcripts are never shown.

use serde_json::json;
use session_pipeline_harness::DataDir;

use super::{KEY, encoded, session, whole};
use crate::http::TestServer;

const API_KEY: &str = "sk-ant-api03-Zk3vQm8xTt5yB2nLw9RcJ7hF4dGs6pAeUiOqXzMvNbCrDtYk-1_ePLw";
const PASSWORD: &str = "Tr0ub4dor-Zebra-77";

#[test]
fn secrets_are_removed_from_every_text_and_from_whole_parts() {
    let dir = DataDir::new();
    let filler = "plain words of a long text. ".repeat(400);
    let blocks = json!({ "command": format!("export API_KEY={API_KEY}"), "note": filler });
    let transcript = session()
        .user(&format!("use {API_KEY} please"))
        .slash_command(&format!("/login {API_KEY}"))
        .assistant(|message| {
            message
                .model(API_KEY)
                .thinking(&format!("the key is {API_KEY}"))
                .text(&format!("I use `{API_KEY}`"))
        })
        .assistant(|message| message.tool_with("Bash", blocks.clone()))
        .tool_result(Err(&format!("401 for {API_KEY}\n{filler} {API_KEY}")))
        .assistant(|message| {
            message.tool_with("mcp", json!({ "password": PASSWORD, "note": filler }))
        })
        // The result repeats the password without a label.
        .tool_result(Ok(&format!(
            "connected with {PASSWORD}\n{filler} {PASSWORD}"
        )))
        .entry("system", json!({ "subtype": API_KEY, "content": API_KEY }))
        .line(&json!({ "type": "custom", "token": API_KEY }))
        .line(&json!({ "type": API_KEY, "uuid": API_KEY, "parentUuid": API_KEY }))
        .raw_line(format!("not json {API_KEY}"));
    dir.write(KEY, transcript);
    let server = TestServer::start(&dir, &[]);
    let response = server.get(&format!("/api/admin/transcript?session={KEY}"));
    let assert_clean = |text: &str| {
        for secret in [API_KEY, PASSWORD, "Zk3vQm8xTt5y", "Tr0ub4dor"] {
            assert!(!text.contains(secret), "{text}");
        }
    };
    assert_clean(&response.text());
    assert!(response.text().contains("[removed: "));
    for entry in whole(&server, KEY).entries {
        for (part, _) in entry.parts.iter().enumerate() {
            let key = encoded(KEY);
            let line = entry.line;
            let path = format!("/api/admin/transcript/entry?session={key}&line={line}&part={part}");
            let response = server.get(&path);
            assert_eq!(response.status, 200);
            assert_clean(&response.text());
        }
    }
}
