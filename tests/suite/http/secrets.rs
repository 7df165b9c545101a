//! Rows that earlier versions wrote as they came: what looks like a secret in them is not shown.

use session_pipeline_harness::DataDir;

use super::TestServer;
use crate::cli::run_cli;
use crate::database::execute;
use crate::guests::usage;

const SECRET: &str = "qX7vhunter2Zm9";

#[test]
fn secrets_in_failures_runs_and_audit_rows_of_earlier_versions_are_shown_nowhere() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}\n");
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
    let planted = format!("it says password={SECRET}");
    execute(
        &dir,
        &format!(
            "INSERT INTO session_failures BY NAME (
                SELECT processor_name, session_file, file_hash, component_digest, 9 AS attempts, 9 AS own_attempts,
                    'panic' AS fault, '{planted}' AS detail, processed_at AS last_attempt_at,
                    processed_at AS next_attempt_at, processed_at AS quarantined_at FROM session_processor_state
             );
             UPDATE runs SET error = '{planted}', stats = json_merge_patch(stats,
                '{{\"errors\": 1, \"errors_detail\": [{{\"session\": \"ada/one.jsonl\", \"fault\": \"panic\", \"error\": \"{planted}\"}}]}}');
             UPDATE audit_log SET params = '{{\"unhandled_error\": \"{planted}\", \"password\": \"{SECRET}\"}}';"
        ),
    );
    let shown = |text: String, what: &str| {
        assert!(text.contains("[removed: "), "{what}: {text}");
        assert!(!text.contains(SECRET), "{what}: {text}");
    };
    let json = |arguments: &[&str]| {
        for format in [&["--json"][..], &[]] {
            let ended = run_cli(&dir, &[format, arguments].concat());
            shown(ended.stdout, &arguments.join(" "));
        }
    };
    json(&["quarantine", "list"]);
    json(&["sessions", "show", "ada/one.jsonl"]);
    let server = TestServer::start(&dir, &[usage()]);
    let runs = server.get("/api/admin/runs");
    let id = runs.json()["runs"][0]["id"].as_str().unwrap().to_owned();
    shown(runs.text(), "runs");
    for path in [
        &format!("/api/admin/runs/{id}"),
        "/api/admin/audit",
        "/api/admin/quarantine",
    ] {
        shown(server.get(path).text(), path);
    }
    for path in ["/api/health/detailed", "/api/admin/scheduler"] {
        let text = server.get(path).text();
        assert!(!text.contains(SECRET), "{path}: {text}");
    }
}
