//! Runs of sub-agents without a transcript. Their results report how many tokens they used, but the
//! messages are missing, so every sum that includes such a run is a lower bound.

use duckdb::{Connection, params_from_iter};
use session_pipeline_store::StoreError;

use super::{Conditions, Key};
use crate::report::views::{DIRECTORY, PROJECT};
use crate::report::{ReportGrouping, ReportRow, UsageReport, UsageTotals};

/// Adds the runs to the totals, and to the rows if a run has the key of the rows.
pub(super) fn add_unrecorded(
    connection: &Connection,
    report: &mut UsageReport,
    by: ReportGrouping,
    key: &Key,
    conditions: &Conditions,
) -> Result<(), StoreError> {
    let is_limited = report.omitted_rows > 0;
    for (is_total, key, runs, tokens) in unrecorded(connection, by, key, conditions)? {
        let add = |totals: &mut UsageTotals| {
            totals.unrecorded_runs = runs;
            totals.unrecorded_tokens = tokens;
            totals.cost_is_lower_bound |= runs > 0;
            totals.output_is_lower_bound |= runs > 0;
        };
        if is_total {
            add(&mut report.totals);
        } else if let Some(row) = report.rows.iter_mut().find(|row| row.key == key) {
            add(&mut row.totals);
        } else if !is_limited {
            let mut totals = UsageReport::<UsageTotals>::empty("", report.as_of).totals;
            add(&mut totals);
            report.rows.push(ReportRow { key, totals });
            report.rows.sort_by(|one, two| {
                (one.key.is_none(), &one.key).cmp(&(two.key.is_none(), &two.key))
            });
        }
    }
    Ok(())
}

/// SQL for the runs without a transcript, each once. A fork repeats the runs of its original.
pub(super) const UNRECORDED_RUNS: &str = "SELECT agent_id, unnest(run)
    FROM (
        SELECT agent_id, arg_min(struct_pack(session_seq, session_file, session_id, occurred_at, agent_type,
            total_tokens), session_seq) AS run
        FROM usage.agent_runs WHERE agent_id IS NOT NULL AND total_tokens IS NOT NULL GROUP BY agent_id
    )
    ANTI JOIN (SELECT DISTINCT agent_id FROM usage.message_rollups WHERE agent_id IS NOT NULL) USING (agent_id)";

type Runs = (bool, Option<String>, i64, i64);

fn unrecorded(
    connection: &Connection,
    by: ReportGrouping,
    key: &Key,
    conditions: &Conditions,
) -> Result<Vec<Runs>, StoreError> {
    let (column, sets) = match by {
        ReportGrouping::Day
        | ReportGrouping::Week
        | ReportGrouping::Month
        | ReportGrouping::Hour
        | ReportGrouping::Session
        | ReportGrouping::User
        | ReportGrouping::Project
        | ReportGrouping::Source
        | ReportGrouping::AgentType => (key.column.as_str(), "GROUPING SETS ((key), ())"),
        // A run has no model, skill or branch.
        _ => ("CAST(NULL AS VARCHAR)", "()"),
    };
    let grouping = if sets == "()" { "1" } else { "GROUPING(key)" };
    let shown = if sets == "()" {
        "NULL"
    } else {
        key.text.as_str()
    };
    let sql = format!(
        "WITH missing AS ({UNRECORDED_RUNS}),
        placed AS (
            SELECT agent_id, missing.session_id, time_bucket(INTERVAL 15 MINUTES, missing.occurred_at) AS quarter,
                {directory} AS directory, {PROJECT} AS project, agent_type, 'subagent' AS source,
                CAST(NULL AS VARCHAR) AS model, total_tokens
            FROM (
                SELECT missing.*, sessions.cwd, sessions.project
                FROM missing LEFT JOIN usage.sessions USING (session_seq)
            ) AS missing
        )
        SELECT CAST({grouping} AS BIGINT), CAST({shown} AS VARCHAR), count(*),
            CAST(coalesce(sum(total_tokens), 0) AS BIGINT)
        FROM (SELECT {column} AS key, * FROM placed {joins} WHERE {condition})
        {group}",
        directory = DIRECTORY,
        joins = conditions.joins(key),
        condition = conditions.sql,
        group = if sets == "()" { String::new() } else { format!("GROUP BY {sets}") },
    );
    let rows = || -> duckdb::Result<Vec<_>> {
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map(params_from_iter(&conditions.parameters), |row| {
            let is_total: i64 = row.get(0)?;
            Ok((is_total == 1, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
        rows.collect()
    };
    rows().map_err(StoreError::database("run the report"))
}
