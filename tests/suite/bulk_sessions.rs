//! Inserts thousands of sessions directly into the tables of `usage`, for tests that need many
//! sessions.

use std::ops::Range;

use session_pipeline_harness::{DataDir, TestPipeline};

use crate::database::execute;
use crate::guests::usage;

/// The id of a generated message. It is as long as the ids of the API.
pub fn message_id(number: u64) -> String {
    format!("msg_{number:024}")
}

/// Sessions with consecutive numbers. Each has some messages, and one tool call per message.
pub struct BulkSessions {
    /// The numbers of the sessions, starting at 1.
    pub sessions: Range<u64>,
    /// The number of messages per session. Their ids are consecutive numbers over all sessions.
    pub messages: u64,
    /// The number of messages at the end of the previous session that each session repeats.
    pub copied: u64,
}

/// Adds the sessions, which belong to the users `user0` to `user9`. The database must be closed.
pub fn add(dir: &DataDir, bulk: &BulkSessions) {
    let BulkSessions {
        sessions,
        messages,
        copied,
    } = bulk;
    add_from(
        dir,
        sessions.end,
        &format!(
            "SELECT session, line, printf('user%d/%d.jsonl', session % 10, session) AS file,
                CASE WHEN line < {copied} AND session > 1 THEN session * {messages} + line - {copied}
                    ELSE session * {messages} + line END AS message
             FROM range({}, {}) AS s (session), range({messages}) AS l (line)",
            sessions.start, sessions.end
        ),
    );
}

/// Adds a session that repeats one message of each of these sessions.
pub fn add_link(dir: &DataDir, number: u64, bulk: &BulkSessions) {
    add_from(
        dir,
        number + 1,
        &format!(
            "SELECT CAST({number} AS BIGINT) AS session, session AS line, 'zed/link.jsonl' AS file,
                session * {} + {} AS message
             FROM range({}, {}) AS s (session)",
            bulk.messages,
            bulk.messages - 1,
            bulk.sessions.start,
            bulk.sessions.end
        ),
    );
}

fn add_from(dir: &DataDir, next: u64, numbers: &str) {
    if !dir.database_path().exists() {
        let pipeline = TestPipeline::open(dir, &[usage()]);
        pipeline.pipeline().processor("usage").unwrap();
    }
    let common =
        "session AS session_seq, file AS session_file, TIMESTAMP '2026-01-05' AS recorded_at,
        printf('s%d', session) AS session_id, split_part(file, '/', 1) AS username, line,
        TIMESTAMP '2026-01-05' + to_seconds(message) AS occurred_at, 2 AS processor_version";
    execute(
        dir,
        &format!(
            "CREATE TEMP TABLE numbers AS {numbers} ORDER BY ALL;
             INSERT INTO usage.messages BY NAME
                SELECT {}, printf('msg_%024d', message) AS message_id, printf('req_%024d', message) AS request_id,
                    'claude-sonnet-4-5-20250929' AS model, 1 AS input_tokens, 2 AS output_tokens,
                    0 AS cache_read_tokens, 0 AS cache_creation_5m_tokens, 0 AS cache_creation_1h_tokens,
                    false AS is_sidechain, true AS is_final
                FROM numbers;
             INSERT INTO usage.events BY NAME
                SELECT {common}, 'tool_use' AS event_type, printf('toolu_%024d', message) AS tool_id, 'Bash' AS tool_name,
                    'builtin' AS source, false AS is_error
                FROM numbers;
             INSERT INTO main.session_processor_state BY NAME
                SELECT DISTINCT 'usage' AS processor_name, file AS session_file, split_part(file, '/', 1) AS username,
                    TIMESTAMP '2026-01-05' AS processed_at, 1 AS items_extracted, md5(file) AS file_hash,
                    session AS session_seq
                FROM numbers;
             INSERT OR REPLACE INTO main.counters VALUES ('session_seq', {next});
             CHECKPOINT",
            common.replace(", 2 AS processor_version", "")
        ),
    );
}
