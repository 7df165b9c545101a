//! Earlier versions stored texts without removing secrets. These secrets are removed when they are
//! shown.

use session_pipeline_harness::DataDir;

use super::TestServer;
use crate::cli::run_cli;
use crate::database::execute;
use crate::guests::usage;

const SECRET: &str = "qX7vhunter2Zm9";

#[test]
fn secrets_that_earlier_versions_stored_are_never_shown() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}\n");
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
    let secret_text = format!("it says password={SECRET}");
    execute(
        &dir,
        &format!(
            "INSERT INTO session_failures BY NAME (
                SELECT processor_name, session_file, file_hash, component_digest, 9 AS attempts, 9 AS own_attempts,
                    'panic' AS fault, '{secret_text}' AS detail, processed_at AS last_attempt_at,
                    processed_at AS next_attempt_at, processed_at AS quarantined_at FROM session_processor_state
             );
             UPDATE runs SET error = '{secret_text}', stats = json_merge_patch(stats,
                '{{\"errors\": 1, \"errors_detail\": [{{\"session\": \"ada/one.jsonl\", \"fault\": \"panic\", \"error\": \"{secret_text}\"}}]}}');
             UPDATE audit_log SET params = '{{\"unhandled_error\": \"{secret_text}\", \"password\": \"{SECRET}\"}}';"
        ),
    );
    let assert_redacted = |text: String, what: &str| {
        assert!(text.contains("[removed: "), "{what}: {text}");
        assert!(!text.contains(SECRET), "{what}: {text}");
    };
    let check_command = |arguments: &[&str]| {
        for format in [&["--json"][..], &[]] {
            let ended = run_cli(&dir, &[format, arguments].concat());
            assert_redacted(ended.stdout, &arguments.join(" "));
        }
    };
    check_command(&["quarantine", "list"]);
    check_command(&["sessions", "show", "ada/one.jsonl"]);
    let server = TestServer::start(&dir, &[usage()]);
    let runs = server.get("/api/admin/runs");
    let id = runs.json()["runs"][0]["id"].as_str().unwrap().to_owned();
    assert_redacted(runs.text(), "runs");
    for path in [
        &format!("/api/admin/runs/{id}"),
        "/api/admin/audit",
        "/api/admin/quarantine",
    ] {
        assert_redacted(server.get(path).text(), path);
    }
    for path in ["/api/health/detailed", "/api/admin/scheduler"] {
        let text = server.get(path).text();
        assert!(!text.contains(SECRET), "{path}: {text}");
    }
}
