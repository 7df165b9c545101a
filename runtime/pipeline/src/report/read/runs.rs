//! Tokens that are in no message: those of runs of sub-agents without a transcript, of which results
//! report the number, and those of requests that the agent did not record. Every sum that includes
//! them is a lower bound.

use std::collections::HashMap;

use duckdb::{Connection, params_from_iter};
use session_pipeline_store::StoreError;

use super::Conditions;
use super::key::Key;
use crate::report::project;
use crate::report::views::{DIRECTORY, ORIGINAL_FIRST, with_copies};
use crate::report::{ReportGrouping, ReportRow, UsageReport, UsageTotals};

/// Adds the runs and requests to the totals, and to the rows if they have the key of the rows.
pub(super) fn add_unrecorded(
    connection: &Connection,
    report: &mut UsageReport,
    by: ReportGrouping,
    key: &Key,
    conditions: &Conditions,
) -> Result<(), StoreError> {
    let is_limited = report.omitted_rows > 0;
    let is_split = report.split_key.is_some();
    let places: HashMap<_, _> = report
        .rows
        .iter()
        .enumerate()
        .map(|(place, row)| (row.key.clone(), place))
        .collect();
    let row_count = report.rows.len();
    for missing in unrecorded(connection, by, key, conditions)? {
        let UnrecordedUsage { is_total, key, .. } = missing.clone();
        let add = |totals: &mut UsageTotals| {
            totals.unrecorded_runs = missing.runs;
            totals.unrecorded_tokens = missing.tokens;
            totals.unrecorded_requests = missing.requests;
            let is_lower_bound = missing.runs > 0 || missing.requests > 0;
            totals.cost_is_lower_bound |= is_lower_bound;
            totals.output_is_lower_bound |= is_lower_bound;
        };
        if is_total {
            add(&mut report.totals);
        } else if is_split {
            // Neither has a second key.
        } else if let Some(row) = places
            .get(&key)
            .and_then(|place| report.rows.get_mut(*place))
        {
            add(&mut row.totals);
        } else if !is_limited {
            let mut totals = UsageReport::<UsageTotals>::empty("", report.as_of).totals;
            add(&mut totals);
            report.rows.push(ReportRow {
                key,
                split: None,
                totals,
            });
        }
    }
    if report.rows.len() > row_count {
        report
            .rows
            .sort_by(|one, two| (one.key.is_none(), &one.key).cmp(&(two.key.is_none(), &two.key)));
    }
    Ok(())
}

const COLUMNS: &str =
    "agent_id, session_id, session_seq, session_file, occurred_at, agent_type, total_tokens";

/// The number of runs without a transcript, and their tokens.
pub(in crate::report) fn unrecorded_total(
    connection: &Connection,
    conditions: &Conditions,
) -> Result<(i64, i64), StoreError> {
    let by = ReportGrouping::Model;
    let runs = unrecorded(connection, by, &Key::of(by, ""), conditions)?;
    let total = runs.into_iter().find(|missing| missing.is_total);
    Ok(total.map_or((0, 0), |missing| (missing.runs, missing.tokens)))
}

/// SQL for the sub-agents without a transcript, with the number of their runs.
///
/// A fork repeats the runs of its original, which count once. A sub-agent can be resumed, and
/// whether the tokens of a later run include those of earlier runs is unknown. The largest figure is
/// certain.
pub(super) fn unrecorded_runs() -> String {
    format!(
        "WITH {copies},
        ranked AS (
            SELECT *, row_number() OVER (PARTITION BY key ORDER BY {ORIGINAL_FIRST}) AS place
            FROM owned WHERE folder = owner
        ),
        runs AS (
            SELECT {COLUMNS} FROM usage.agent_runs AS run ANTI JOIN copies ON run.rowid = copy
            UNION ALL
            SELECT {COLUMNS} FROM ranked WHERE place = 1
        )
        SELECT agent_id, session_id, min(session_seq) AS session_seq, arg_min(session_file, session_seq) AS session_file,
            min(occurred_at) AS occurred_at, min(agent_type) AS agent_type, count(*) AS run_count,
            max(total_tokens) AS total_tokens
        FROM runs
        ANTI JOIN usage.recorded_agents USING (agent_id, session_id)
        WHERE agent_id IS NOT NULL GROUP BY agent_id, session_id",
        copies = with_copies("usage.agent_runs", "coalesce(event_key, tool_id)"),
    )
}

/// What is missing from a group of messages, or from all of them.
#[derive(Clone)]
struct UnrecordedUsage {
    is_total: bool,
    key: Option<String>,
    runs: i64,
    tokens: i64,
    requests: i64,
}

/// The sessions with requests that the agent did not record. A copy of a file counts once.
const REQUESTS: &str = "SELECT DISTINCT session_id, started_at, coalesce(is_sidechain, false) AS is_sidechain, cwd,
        project, session_file, coalesce(agent, 'claude') AS agent, CAST(unrecorded_requests AS BIGINT) AS request_count
    FROM usage.sessions WHERE unrecorded_requests > 0
    QUALIFY row_number() OVER (
        PARTITION BY session_id, started_at, unrecorded_requests ORDER BY session_file
    ) = 1";

fn unrecorded(
    connection: &Connection,
    by: ReportGrouping,
    key: &Key,
    conditions: &Conditions,
) -> Result<Vec<UnrecordedUsage>, StoreError> {
    // A run has no model, skill or branch.
    let has_key = matches!(
        by,
        ReportGrouping::Day
            | ReportGrouping::Week
            | ReportGrouping::Month
            | ReportGrouping::Hour
            | ReportGrouping::Session
            | ReportGrouping::User
            | ReportGrouping::Project
            | ReportGrouping::ProjectName
            | ReportGrouping::Source
            | ReportGrouping::AgentType
            | ReportGrouping::Agent
    );
    let (column, shown, grouping, group) = if has_key {
        let (column, text) = (key.column.as_str(), key.text.as_str());
        (
            column,
            text,
            "GROUPING(key)",
            "GROUP BY GROUPING SETS ((key), ())",
        )
    } else {
        ("CAST(NULL AS VARCHAR)", "NULL", "1", "")
    };
    let sql = format!(
        "WITH missing AS ({missing}),
        placed AS (
            SELECT agent_id, missing.session_id, time_bucket(INTERVAL 15 MINUTES, missing.occurred_at) AS quarter,
                {directory} AS directory, {project}, agent_type, 'subagent' AS source,
                CAST(NULL AS VARCHAR) AS model, CAST(NULL AS VARCHAR) AS provider, agent, run_count, total_tokens, 0 AS request_count
            FROM (
                SELECT missing.*, sessions.cwd, sessions.project, coalesce(sessions.agent, 'claude') AS agent
                FROM missing LEFT JOIN usage.sessions USING (session_seq)
            ) AS missing
            UNION ALL
            SELECT NULL, session_id, time_bucket(INTERVAL 15 MINUTES, started_at), {directory}, {project}, NULL,
                CASE WHEN is_sidechain THEN 'subagent' ELSE 'main' END, NULL, NULL, agent, 0, 0, request_count
            FROM ({REQUESTS})
        )
        SELECT CAST({grouping} AS BIGINT), CAST({shown} AS VARCHAR), CAST(coalesce(sum(run_count), 0) AS BIGINT),
            CAST(coalesce(sum(total_tokens), 0) AS BIGINT), CAST(coalesce(sum(request_count), 0) AS BIGINT)
        FROM (SELECT {column} AS key, * FROM placed {joins} WHERE {condition})
        {group}",
        missing = unrecorded_runs(),
        directory = DIRECTORY,
        project = project::columns(),
        joins = conditions.joins([key]),
        condition = conditions.sql,
    );
    let rows = || -> duckdb::Result<Vec<_>> {
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map(params_from_iter(&conditions.parameters), |row| {
            let is_total: i64 = row.get(0)?;
            Ok(UnrecordedUsage {
                is_total: is_total == 1,
                key: row.get(1)?,
                runs: row.get(2)?,
                tokens: row.get(3)?,
                requests: row.get(4)?,
            })
        })?;
        rows.collect()
    };
    rows().map_err(StoreError::database("run the report"))
}
