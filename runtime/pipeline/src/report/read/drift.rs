//! The agent's own totals, next to ours.
//!
//! Since version 2.1.248, agents write cumulative totals into interactive sessions. They include
//! requests that are in no transcript, such as those for titles, and the final counts of
//! sub-agents, which agents often do not write.

use std::collections::HashMap;

use duckdb::{Connection, params_from_iter};
use session_pipeline_store::StoreError;
use session_pipeline_store::money::Usd;

use super::{Conditions, names};
use crate::report::{ReportScope, UsageReport, UsageTotals};

pub(in crate::report) struct AgentTotal {
    /// `None` if the agent knew no price for some model.
    pub(in crate::report) cost: Option<Usd>,
    pub(in crate::report) output_tokens: i64,
}

/// Adds the agent's totals to the rows of a report by session, and to its totals.
pub(super) fn add_agent_totals(
    connection: &Connection,
    report: &mut UsageReport,
    conditions: &Conditions,
    scope: &ReportScope,
) -> Result<(), StoreError> {
    let known = agent_totals(connection, scope)?;
    for row in &mut report.rows {
        if let Some(agent) = row.key.as_ref().and_then(|key| known.get(key)) {
            add_to(&mut row.totals, agent);
        }
    }
    if report.omitted_rows == 0 {
        let keys = report.rows.iter().filter_map(|row| row.key.as_ref());
        let agents = keys.filter_map(|key| known.get(key));
        agents.for_each(|agent| add_to(&mut report.totals, agent));
    } else if !known.is_empty() {
        // The totals include sessions that are not in the rows.
        for session in sessions(connection, conditions)? {
            if let Some(agent) = known.get(&session) {
                add_to(&mut report.totals, agent);
            }
        }
    }
    Ok(())
}

/// The ids of all sessions in a report.
fn sessions(connection: &Connection, conditions: &Conditions) -> Result<Vec<String>, StoreError> {
    let sql = format!(
        "SELECT DISTINCT session_id FROM usage.message_rollups {} WHERE session_id IS NOT NULL AND {}",
        conditions.joins([]),
        conditions.sql
    );
    let rows = || -> duckdb::Result<Vec<_>> {
        let mut statement = connection.prepare(&sql)?;
        let rows =
            statement.query_map(params_from_iter(&conditions.parameters), |row| row.get(0))?;
        rows.collect()
    };
    rows().map_err(StoreError::database("run the report"))
}

fn add_to(totals: &mut UsageTotals, agent: &AgentTotal) {
    add(&mut totals.agent_cost_usd, agent.cost);
    let output = totals.agent_output_tokens.unwrap_or(0);
    totals.agent_output_tokens = Some(output.saturating_add(agent.output_tokens));
}

fn add(sum: &mut Option<Usd>, cost: Option<Usd>) {
    let Some(cost) = cost else { return };
    let pico_dollars = sum.map_or(0, |sum| sum.pico_dollars);
    *sum = Some(Usd {
        pico_dollars: pico_dollars.saturating_add(cost.pico_dollars),
    });
}

/// The latest totals of each session. A fork repeats those of its original under the same id. Only
/// files of the user who has the messages of the session count, so that an upload cannot replace the
/// figure of another user. In a report on one user, other users do not count: otherwise, a member
/// could find out whether another user has a session with the same id.
pub(in crate::report) fn agent_totals(
    connection: &Connection,
    scope: &ReportScope,
) -> Result<HashMap<String, AgentTotal>, StoreError> {
    let (is_named, directories) = names::condition("session_file", scope);
    let (is_own, own) = match scope.named() {
        None => ("true".to_owned(), Vec::new()),
        Some(own) => names::is_one_of("directory", own),
    };
    let parameters: Vec<_> = own.into_iter().chain(directories).collect();
    let sql = format!(
        "SELECT session_id,
            CAST(CAST(CASE WHEN NOT bool_or(coalesce(has_unknown_model_cost, false)) THEN max(total_cost_usd) END AS DECIMAL(38, 12)) AS VARCHAR),
            CAST(sum(output_tokens) AS BIGINT)
        FROM (
            SELECT *, rank() OVER (PARTITION BY session_id ORDER BY occurred_at DESC NULLS LAST, session_file) AS place
            FROM usage.agent_totals
            JOIN (
                SELECT session_id, arg_max(directory, messages) AS owner
                FROM (
                    SELECT session_id, directory, sum(message_count) AS messages
                    FROM usage.message_rollups SEMI JOIN usage.agent_totals USING (session_id) WHERE {is_own}
                    GROUP BY ALL
                ) GROUP BY session_id
            ) USING (session_id)
            WHERE total_cost_usd BETWEEN 0 AND 1e15 AND split_part(session_file, '/', 1) = owner AND {is_named}
        ) WHERE place = 1 GROUP BY session_id"
    );
    let rows = || -> duckdb::Result<HashMap<_, _>> {
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map(params_from_iter(&parameters), |row| {
            let output_tokens: Option<i64> = row.get(2)?;
            let total = AgentTotal {
                cost: super::usd(row, 1)?,
                output_tokens: output_tokens.unwrap_or(0),
            };
            Ok((row.get(0)?, total))
        })?;
        rows.collect()
    };
    rows().map_err(StoreError::database("run the report"))
}
