//! Subscription plans. Their requests are not billed by the token, so that the cost of a report is
//! what they would cost at list prices.

use duckdb::{Connection, params_from_iter};
use serde::{Deserialize, Serialize};
use session_pipeline_store::StoreError;

use crate::report::ReportScope;
use crate::report::project;
use crate::report::read::{Conditions, named_condition};
use crate::report::views::DIRECTORY;

/// Maximum number of plans in a report. Their names come from transcripts.
const PLANS_MAX: usize = 50;

/// Sessions that ran on a subscription plan, as the agent recorded it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PlanUse {
    /// The coding agent.
    pub agent: String,
    /// The plan.
    pub plan: String,
    /// Number of distinct session ids.
    pub sessions: i64,
}

/// The plans of the sessions that a report includes, those with the most sessions first.
pub(super) fn plans(
    connection: &Connection,
    conditions: &Conditions,
    scope: &ReportScope,
) -> Result<Vec<PlanUse>, StoreError> {
    let (is_named, directories) = named_condition("session_file", scope);
    let sql = format!(
        "SELECT agent, left(plan, 100) AS plan, count(DISTINCT session_id) AS sessions FROM (
            SELECT session_file, session_id, plan, {DIRECTORY} AS directory, {project},
                time_bucket(INTERVAL 15 MINUTES, started_at) AS quarter, coalesce(agent, 'claude') AS agent,
                CAST(NULL AS VARCHAR) AS model, CAST(NULL AS VARCHAR) AS provider
            FROM usage.sessions WHERE plan IS NOT NULL
        ) {} WHERE {} AND {is_named}
        GROUP BY ALL ORDER BY sessions DESC, agent, plan LIMIT {PLANS_MAX}",
        conditions.joins([]),
        conditions.sql,
        project = project::columns(),
    );
    let parameters = conditions.parameters.iter().chain(&directories);
    let rows = || -> duckdb::Result<Vec<PlanUse>> {
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map(params_from_iter(parameters), |row| {
            Ok(PlanUse {
                agent: row.get(0)?,
                plan: row.get(1)?,
                sessions: row.get(2)?,
            })
        })?;
        rows.collect()
    };
    rows().map_err(StoreError::database("run the report"))
}
