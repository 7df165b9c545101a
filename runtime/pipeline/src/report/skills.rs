//! The report on skills, slash commands and sub-agents: who uses them, how often, and since when.

use std::sync::Arc;

use duckdb::Row as SqlRow;
use duckdb::types::Value;
use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_store::{Store, StoreError};

use crate::report::read::{Conditions, ReadSnapshot, USERS, empty_notices, texts, time};
use crate::report::{PriceTable, ReportFilter};

/// Maximum number of users that a row names.
pub const SKILL_USERS_MAX: usize = 20;

/// The kind of a [`SkillUse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum SkillKind {
    /// A skill that the model called.
    Skill,
    /// A slash command that a user typed.
    Command,
    /// A type of sub-agent.
    Agent,
}

/// How a skill, a command or a type of sub-agent is used. Each use counts once over all files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SkillUse {
    /// What it is.
    pub kind: SkillKind,
    /// Its name, without the slash of a command.
    pub name: String,
    /// The plugin that provides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Number of uses.
    pub uses: i64,
    /// Number of uses that failed.
    pub errors: i64,
    /// Number of distinct session ids.
    pub sessions: i64,
    /// Number of users.
    pub user_count: i64,
    /// The users, sorted; at most 20.
    pub users: Vec<String>,
    /// The first use, to a quarter of an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_used: Option<String>,
    /// The latest use, to a quarter of an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
}

/// The report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SkillsReport {
    /// Every session that was committed before this time is included.
    pub as_of: String,
    /// The most used first.
    pub rows: Vec<SkillUse>,
    /// Number of rows beyond the limit.
    pub omitted_rows: u64,
    /// Why the report is empty: a filter has a value that no message has. With suggestions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

impl SkillsReport {
    /// A report without rows.
    pub fn empty(as_of: UtcMicros) -> Self {
        Self {
            as_of: as_of.to_string(),
            rows: Vec::new(),
            omitted_rows: 0,
            notices: Vec::new(),
        }
    }
}

/// The report on skills, commands and sub-agents. `None`: `usage` never ran.
///
/// # Errors
/// If the database can't be read.
pub fn skills(
    store: &Store,
    prices: &PriceTable,
    filter: &ReportFilter,
    clock: &Arc<dyn Clock>,
) -> Result<Option<SkillsReport>, StoreError> {
    let Some(snapshot) = ReadSnapshot::open(store, prices, clock)? else {
        return Ok(None);
    };
    let conditions = Conditions::of(filter);
    let limit = filter
        .top
        .map_or_else(String::new, |top| format!("LIMIT {top}"));
    let sql = format!(
        "WITH uses AS (
            SELECT * REPLACE (coalesce(directories.email, directory) AS directory),
                unnest([
                    struct_pack(kind := 'skill', name := skill_name),
                    struct_pack(kind := 'command', name := command_name),
                    struct_pack(kind := 'agent', name := agent_type)
                ]) AS use
            FROM usage.call_rollups {USERS}
            WHERE (skill_name IS NOT NULL OR command_name IS NOT NULL OR agent_type IS NOT NULL) AND {condition}
        )
        SELECT count(*) OVER (), use.kind AS kind, use.name AS name, plugin, CAST(sum(calls) AS BIGINT) AS uses,
            CAST(coalesce(sum(calls) FILTER (is_error), 0) AS BIGINT), count(DISTINCT hash(session_id)),
            count(DISTINCT directory), list_sort(list(DISTINCT directory))[:{SKILL_USERS_MAX}],
            epoch_us(min(quarter)), epoch_us(max(quarter))
        FROM uses WHERE use.name IS NOT NULL GROUP BY use.kind, use.name, plugin
        ORDER BY uses DESC, kind, name, plugin NULLS FIRST {limit}",
        condition = conditions.sql,
    );
    let (rows, omitted_rows) = snapshot.limited_rows(&sql, &conditions, skill_use)?;
    let notices = match rows.is_empty() {
        true => empty_notices(&snapshot.connection, filter)?,
        false => Vec::new(),
    };
    Ok(Some(SkillsReport {
        as_of: snapshot.as_of.to_string(),
        rows,
        omitted_rows,
        notices,
    }))
}

fn skill_use(row: &SqlRow<'_>) -> duckdb::Result<SkillUse> {
    let kind: String = row.get(1)?;
    let users: Value = row.get(8)?;
    Ok(SkillUse {
        kind: match kind.as_str() {
            "skill" => SkillKind::Skill,
            "command" => SkillKind::Command,
            _ => SkillKind::Agent,
        },
        name: row.get(2)?,
        plugin: row.get(3)?,
        uses: row.get(4)?,
        errors: row.get(5)?,
        sessions: row.get(6)?,
        user_count: row.get(7)?,
        users: texts(users),
        first_used: time(row, 9)?,
        last_used: time(row, 10)?,
    })
}
