//! Several files: every message once, whatever was copied and in whatever order it was read.

use std::path::Path;

use duckdb::Connection;
use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::strategies::valid_transcript;
use session_pipeline_harness::{TestPipeline, cases};
use session_pipeline_pipeline::report::{ReportGrouping, UsageReport, UsageTotals};

use super::{Sums, report_of, sums_of};
use crate::guests::{self, usage_dir};
use crate::report::reported;

/// A transcript whose messages nobody else's file holds: its ids bear its name.
fn own(transcript: &[u8], name: &str) -> Vec<u8> {
    String::from_utf8_lossy(transcript)
        .replace("_s1_", &format!("_{name}_"))
        .into_bytes()
}

/// The report after runs that each find some more of these files.
fn report_after(runs: &[Vec<(&str, &[u8])>]) -> UsageReport {
    let dir = usage_dir();
    let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
    for files in runs {
        for (key, transcript) in files {
            dir.write(key, transcript);
        }
        assert_eq!(pipeline.run("usage").stats.errors, 0);
    }
    reported(&pipeline, ReportGrouping::Day)
}

/// Tokens, messages and the bound, row by row: what copies must not change.
fn counted(report: &UsageReport) -> Vec<(Option<String>, Sums, bool)> {
    let count = |totals: &UsageTotals| (sums_of(totals), totals.output_is_lower_bound);
    let rows = report.rows.iter().map(|row| {
        let (sums, bound) = count(&row.totals);
        (row.key.clone(), sums, bound)
    });
    let (sums, bound) = count(&report.totals);
    rows.chain([(None, sums, bound)]).collect()
}

proptest! {
    // Each case makes two databases.
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(4)))]

    /// All transcripts share their ids, so that each is a copy of the others that went another way.
    /// They are of one user: of the copies of several, those of the user count that came first.
    #[test]
    fn invariant_reports_do_not_depend_on_the_order_of_processing(
        transcripts in vec(valid_transcript(), 1..5),
        first in any::<prop::sample::Index>(),
    ) {
        const KEYS: [&str; 4] = ["ada/a.jsonl", "ada/b.jsonl", "ada/c.jsonl", "ada/c/subagents/d.jsonl"];
        let files: Vec<(&str, &[u8])> = KEYS.into_iter().zip(transcripts.iter().map(Vec::as_slice)).collect();
        let at_once = report_after(std::slice::from_ref(&files));
        let mut backwards: Vec<Vec<(&str, &[u8])>> = files.iter().rev().map(|file| vec![*file]).collect();
        let place = first.index(backwards.len());
        backwards.rotate_left(place);
        prop_assert_eq!(report_after(&backwards), at_once);
    }

    #[test]
    fn invariant_copies_forks_and_beginnings_of_a_session_count_nothing_twice(
        transcript in valid_transcript(),
        other in valid_transcript(),
        cut in any::<prop::sample::Index>(),
    ) {
        let other = own(&other, "s2");
        let fork = String::from_utf8_lossy(&transcript).replace("\"sessionId\":\"s1\"", "\"sessionId\":\"s3\"");
        let beginning = &transcript[..cut.index(transcript.len() + 1)];
        let alone = report_after(&[vec![("ada/a.jsonl", &transcript), ("ada/b.jsonl", &other)]]);
        let copied = report_after(&[vec![
            ("ada/a.jsonl", &transcript),
            ("ada/b.jsonl", &other),
            ("ada/copy.jsonl", &transcript),
            ("bob/fork.jsonl", fork.as_bytes()),
            ("bob/beginning.jsonl", beginning),
        ]]);
        prop_assert_eq!(counted(&copied), counted(&alone));
    }

    #[test]
    fn invariant_an_independent_count_comes_to_the_same(transcripts in vec(valid_transcript(), 0..4)) {
        let dir = usage_dir();
        for (number, transcript) in transcripts.iter().enumerate() {
            dir.write(&format!("ada/{number}.jsonl"), transcript);
        }
        // A file of nothing, since a pattern that fits no file is an error.
        dir.write("ada/empty.jsonl", "");
        let report = report_of(&dir, dir.sessions_root(), ReportGrouping::Day);
        let (sums, is_lower_bound) = independent_count(&dir.sessions_root());
        prop_assert_eq!(sums, sums_of(&report.totals));
        prop_assert_eq!(is_lower_bound, report.totals.output_is_lower_bound);
    }
}

/// The totals of a folder by rules 2, 3 and 7 of counting, told to another reader of JSON.
///
/// Only for transcripts that hold one value a line and a `requestId` with every `message.id`.
pub(super) fn independent_count(root: &Path) -> (Sums, bool) {
    let sql = "WITH
    lines AS (
        SELECT filename, unnest(string_split(content, chr(10))) AS line FROM read_text(?)
    ),
    entries AS (
        SELECT line::JSON AS entry FROM lines WHERE json_valid(line) AND json_type(line) = 'OBJECT'
    ),
    found AS (
        SELECT (entry->'message') AS message, (entry->>'requestId') AS request,
            coalesce((entry->>'isSidechain')::BOOLEAN, false) AS is_sidechain
        FROM entries
        UNION ALL
        SELECT entry->'data'->'message'->'message', entry->'data'->'message'->>'requestId', true
        FROM entries
        WHERE (entry->>'type') = 'progress' AND (entry->'data'->>'type') = 'agent_progress'
    ),
    records AS (
        SELECT (message->>'id') AS id, request, is_sidechain, (message->>'stop_reason') AS stop_reason,
            coalesce((message->'usage'->>'input_tokens')::BIGINT, 0) AS input,
            coalesce((message->'usage'->>'output_tokens')::BIGINT, 0) AS output,
            coalesce((message->'usage'->>'cache_read_input_tokens')::BIGINT, 0) AS read,
            CASE WHEN json_type(message->'usage'->'cache_creation') = 'OBJECT'
                THEN (message->'usage'->'cache_creation'->>'ephemeral_5m_input_tokens')::BIGINT
                    + (message->'usage'->'cache_creation'->>'ephemeral_1h_input_tokens')::BIGINT
                ELSE coalesce((message->'usage'->>'cache_creation_input_tokens')::BIGINT, 0)
            END AS written
        FROM found WHERE json_type((message->'usage')) = 'OBJECT'
    ),
    winners AS (
        SELECT *, bool_or(stop_reason IS NOT NULL) OVER (PARTITION BY id, request) AS is_final
        FROM records
        QUALIFY row_number() OVER (
            PARTITION BY id, request
            ORDER BY is_sidechain, input + output + read + written DESC, output DESC
        ) = 1
    )
    SELECT coalesce(sum(input), 0)::BIGINT, coalesce(sum(output), 0)::BIGINT,
        coalesce(sum(read), 0)::BIGINT, coalesce(sum(written), 0)::BIGINT, count(*),
        coalesce(bool_or(NOT is_final), false)
    FROM winners";
    let files = root.join("**/*.jsonl");
    Connection::open_in_memory()
        .unwrap()
        .query_row(sql, [files.to_str().unwrap()], |row| {
            let sums = [
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ];
            Ok((sums, row.get(5)?))
        })
        .unwrap()
}
