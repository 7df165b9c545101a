//! Sums for monitoring: cost by user, project or in total for budgets, and tokens by model.
//!
//! Monitoring must not hold up anything. It can read slightly old rollups, so it never blocks
//! commits to bring them up to date.

use std::sync::Arc;

use duckdb::{Connection, params};
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_store::money::Usd;
use session_pipeline_store::{Store, StoreError};

use super::key::{Key, USERS};
use super::{ReadSnapshot, UPDATES_MAX, usd};
use crate::config::BudgetScope;
use crate::report::rollups::{fingerprint, update};
use crate::report::views::register;
use crate::report::{PriceTable, ReportGrouping};

/// How recent the figures for monitoring are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// As the last report or update left them. Takes no time.
    AsStored,
    /// Updated, in steps that let commits through. If sessions are committed faster than that, the
    /// latest ones can be missing.
    Updated,
}

/// What was spent, and on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spending {
    /// The user or project. `None`: the total, or transcripts without a project.
    pub subject: Option<String>,
    /// The cost of all messages with a price.
    pub cost: Usd,
    /// Whether there are messages without a price, so the cost is a lower bound.
    pub is_lower_bound: bool,
}

/// The usage of one model by one user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelUsage {
    /// The model. `None`: the models beyond the limit.
    pub model: Option<String>,
    /// The user. `None`: all users, or those beyond the limit.
    pub user: Option<String>,
    /// Input tokens, without those read from or written to the cache.
    pub input_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// Input tokens read from the cache.
    pub cache_read_tokens: i64,
    /// Input tokens written to the cache.
    pub cache_creation_tokens: i64,
    /// The cost of all messages with a price.
    pub cost: Usd,
    /// Number of messages.
    pub messages: i64,
}

/// Maximum numbers of names in the figures of models. The most expensive have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameLimits {
    /// Models.
    pub models_max: u32,
    /// Users. 0: the figures are not split by user.
    pub users_max: u32,
}

/// A snapshot of the rollups for monitoring.
#[derive(Debug)]
pub struct SpendingSnapshot {
    connection: Connection,
}

impl SpendingSnapshot {
    /// Opens a snapshot. `None`: there are no figures yet.
    ///
    /// # Errors
    /// The database can't be read, or the request was canceled.
    pub fn open(
        store: &Store,
        prices: &PriceTable,
        freshness: Freshness,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, StoreError> {
        let connection = match freshness {
            Freshness::AsStored => store.reader()?,
            Freshness::Updated => match updated(store, prices, clock)? {
                Ok(snapshot) => {
                    let connection = snapshot.connection;
                    return Ok(Some(Self { connection }));
                }
                Err(connection) => connection,
            },
        };
        // The tables of an earlier version have fewer columns.
        let begun = || -> duckdb::Result<bool> {
            connection.execute_batch("BEGIN TRANSACTION READ ONLY")?;
            connection.query_row(
                "SELECT (SELECT count(*) FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = 'usage'
                        AND table_name = 'message_rollups' AND column_name = 'project_name')
                    + (SELECT count(*) FROM duckdb_views() WHERE schema_name = 'usage' AND view_name = 'directories') = 2",
                [],
                |row| row.get(0),
            )
        };
        let has_rollups = begun().map_err(StoreError::database("open the figures"))?;
        Ok(has_rollups.then_some(Self { connection }))
    }

    /// What was spent since a time, most first.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn spending(
        &self,
        scope: BudgetScope,
        since: UtcMicros,
    ) -> Result<Vec<Spending>, StoreError> {
        let (column, join) = match scope {
            BudgetScope::User => of(ReportGrouping::User),
            BudgetScope::Project => of(ReportGrouping::Project),
            BudgetScope::Total => ("NULL".to_owned(), ""),
        };
        let sql = format!(
            "SELECT CAST(key AS VARCHAR), CAST(CAST(coalesce(sum(cost_usd), 0) AS DECIMAL(38, 12)) AS VARCHAR),
                bool_or(cost_usd IS NULL AND message_count > 0)
            FROM (SELECT {column} AS key, cost_usd, message_count FROM usage.message_rollups {join}
                WHERE epoch_us(quarter) >= ?)
            GROUP BY key ORDER BY sum(cost_usd) DESC NULLS LAST, key"
        );
        let read = || -> duckdb::Result<Vec<Spending>> {
            let mut statement = self.connection.prepare(&sql)?;
            let rows = statement.query_map([since.0], |row| {
                Ok(Spending {
                    subject: row.get(0)?,
                    cost: usd(row, 1)?.unwrap_or_default(),
                    is_lower_bound: row.get::<_, Option<bool>>(2)?.unwrap_or_default(),
                })
            })?;
            rows.collect()
        };
        read().map_err(StoreError::database("add up the cost"))
    }

    /// The usage of each model over all time. Names beyond the limits are added up.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn models(&self, limits: NameLimits) -> Result<Vec<ModelUsage>, StoreError> {
        let (user, join) = match limits.users_max {
            0 => ("CAST(NULL AS VARCHAR)".to_owned(), ""),
            _ => of(ReportGrouping::User),
        };
        let sql = format!(
            "WITH figures AS MATERIALIZED (
                SELECT model, {user} AS user_name, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
                    sum(cache_read_tokens) AS cache_read_tokens,
                    sum(cache_creation_5m_tokens + cache_creation_1h_tokens) AS cache_creation_tokens,
                    coalesce(sum(cost_usd), 0) AS cost_usd, sum(message_count) AS messages
                FROM usage.message_rollups {join} GROUP BY ALL
            ),
            models AS (SELECT model FROM figures GROUP BY model ORDER BY sum(cost_usd) DESC, sum(messages) DESC, model LIMIT ?),
            users AS (SELECT user_name FROM figures GROUP BY user_name ORDER BY sum(cost_usd) DESC, sum(messages) DESC, user_name LIMIT ?)
            SELECT CASE WHEN model IN (FROM models) THEN model END, CASE WHEN user_name IN (FROM users) THEN user_name END,
                CAST(sum(input_tokens) AS BIGINT), CAST(sum(output_tokens) AS BIGINT), CAST(sum(cache_read_tokens) AS BIGINT),
                CAST(sum(cache_creation_tokens) AS BIGINT), CAST(CAST(sum(cost_usd) AS DECIMAL(38, 12)) AS VARCHAR),
                CAST(sum(messages) AS BIGINT)
            FROM figures GROUP BY 1, 2 ORDER BY 1, 2"
        );
        let read = || -> duckdb::Result<Vec<ModelUsage>> {
            let mut statement = self.connection.prepare(&sql)?;
            let rows =
                statement.query_map(params![limits.models_max, limits.users_max], |row| {
                    Ok(ModelUsage {
                        model: row.get(0)?,
                        user: row.get(1)?,
                        input_tokens: row.get(2)?,
                        output_tokens: row.get(3)?,
                        cache_read_tokens: row.get(4)?,
                        cache_creation_tokens: row.get(5)?,
                        cost: usd(row, 6)?.unwrap_or_default(),
                        messages: row.get(7)?,
                    })
                })?;
            rows.collect()
        };
        read().map_err(StoreError::database("add up the tokens of models"))
    }
}

/// The column and the table of a grouping that has both without a time zone.
fn of(by: ReportGrouping) -> (String, &'static str) {
    let key = Key::of(by, "");
    debug_assert!(key.join.is_empty() || key.join == USERS);
    (key.column, key.join)
}

/// Updates the rollups in short steps. Returns a connection without a transaction if they are still
/// not current, or if there is nothing to update.
fn updated(
    store: &Store,
    prices: &PriceTable,
    clock: &Arc<dyn Clock>,
) -> Result<Result<ReadSnapshot, Connection>, StoreError> {
    let fingerprint = fingerprint(prices);
    let mut connection = match ReadSnapshot::begin(store.reader()?, &fingerprint, clock)? {
        Ok(snapshot) => return Ok(Ok(snapshot)),
        Err(outdated) => outdated,
    };
    if !ReadSnapshot::has_views(&connection)? {
        return Ok(Err(connection));
    }
    let turn = store.rollup_updates().turn()?;
    register(store, prices)?;
    for _ in 0..UPDATES_MAX {
        connection = match ReadSnapshot::begin(connection, &fingerprint, clock)? {
            Ok(snapshot) => return Ok(Ok(snapshot)),
            Err(outdated) => outdated,
        };
        update(store, &turn, &fingerprint)?;
    }
    ReadSnapshot::begin(connection, &fingerprint, clock)
}
