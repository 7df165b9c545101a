//! Reports over what `usage` keeps: every message once over all files, however often it was copied.
//!
//! Tokens are facts and prices a table: cost is worked out here and never stored. As long as there
//! is no price table every model's price is unknown, and the reports say so.

use duckdb::Connection;
use serde::Serialize;

use crate::sandbox::sha256_hex;
use crate::store::{Store, StoreError};

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Days, in UTC.
    Day,
    /// Models.
    Model,
}

/// Sums over messages, each counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Input that was neither read from nor written to the cache.
    pub input_tokens: i64,
    /// Output.
    pub output_tokens: i64,
    /// Input read from the cache.
    pub cache_read_tokens: i64,
    /// Input written to the cache, for five minutes and for one hour.
    pub cache_creation_tokens: i64,
    /// Cost in US dollars, as far as prices are known.
    pub cost_usd: Option<String>,
    /// Whether the cost leaves something out.
    pub cost_is_lower_bound: bool,
    /// Whether some message's final output count was never written.
    pub output_is_lower_bound: bool,
    /// Models without a price.
    pub unknown_models: Vec<String>,
    /// Messages.
    pub messages: i64,
    /// Distinct session ids.
    pub sessions: i64,
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The day or the model; `None` where the transcript does not tell.
    pub key: Option<String>,
    /// Its sums.
    #[serde(flatten)]
    pub totals: Totals,
}

/// A report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The sums over all rows.
    pub totals: Totals,
    /// Its rows, in order of their keys.
    pub rows: Vec<Row>,
}

/// Every message once over all files, by COUNTING.md rules 2 and 4.
///
/// The copy that wins gives the tokens: not a sidechain's replay, then the largest total. The first
/// appearance gives time, session and place. Every tie is broken by content, so that the order in
/// which files were processed never shows.
const DISTINCT_MESSAGES: &str = "CREATE OR REPLACE VIEW usage.distinct_messages AS
SELECT first.* EXCLUDE (rank), best.* EXCLUDE (rank), is_final
FROM (
    SELECT
        min(struct_pack(
            rank := row(coalesce(occurred_at, TIMESTAMP 'infinity'), session_file, line),
            occurred_at := occurred_at, session_id := session_id, username := username,
            session_file := session_file, line := line, cwd := cwd, git_branch := git_branch
        )) AS first,
        max(struct_pack(
            rank := row(
                NOT coalesce(is_sidechain, false),
                coalesce(input_tokens, 0) + coalesce(output_tokens, 0) + coalesce(cache_read_tokens, 0)
                    + coalesce(cache_creation_5m_tokens, 0) + coalesce(cache_creation_1h_tokens, 0),
                coalesce(output_tokens, 0), coalesce(input_tokens, 0), coalesce(cache_read_tokens, 0),
                coalesce(cache_creation_1h_tokens, 0), coalesce(model, ''), coalesce(speed, '')
            ),
            message_id := message_id, request_id := request_id, model := model, speed := speed,
            input_tokens := coalesce(input_tokens, 0), output_tokens := coalesce(output_tokens, 0),
            cache_read_tokens := coalesce(cache_read_tokens, 0),
            cache_creation_5m_tokens := coalesce(cache_creation_5m_tokens, 0),
            cache_creation_1h_tokens := coalesce(cache_creation_1h_tokens, 0),
            thinking_tokens := thinking_tokens, is_sidechain := is_sidechain
        )) AS best,
        bool_or(coalesce(is_final, false)) AS is_final
    FROM usage.messages
    GROUP BY
        message_id,
        CASE
            WHEN message_id IS NULL THEN 'line ' || line || ' of ' || session_file
            WHEN request_id IS NULL THEN 'session ' || session_id
            ELSE 'request ' || request_id
        END
)";

/// The sums that every view and the totals share. A `<synthetic>` message was never billed.
const SUMS: &str = "
    CAST(coalesce(sum(input_tokens), 0) AS BIGINT) AS input_tokens,
    CAST(coalesce(sum(output_tokens), 0) AS BIGINT) AS output_tokens,
    CAST(coalesce(sum(cache_read_tokens), 0) AS BIGINT) AS cache_read_tokens,
    CAST(coalesce(sum(cache_creation_5m_tokens + cache_creation_1h_tokens), 0) AS BIGINT) AS cache_creation_tokens,
    coalesce(bool_or(NOT is_final), false) AS output_is_lower_bound,
    count(*) AS messages,
    count(DISTINCT session_id) AS sessions,
    coalesce(list_sort(list(DISTINCT model) FILTER (model <> '<synthetic>')), []) AS models
FROM usage.distinct_messages";

/// Makes the views over the tables of `usage`, where they are not there as this version has them.
///
/// # Errors
/// When the database refuses.
pub fn register_views(store: &Store) -> Result<(), StoreError> {
    let views = [
        DISTINCT_MESSAGES.to_owned(),
        format!(
            "CREATE OR REPLACE VIEW usage.daily AS SELECT CAST(occurred_at AS DATE) AS day, {SUMS} GROUP BY 1"
        ),
        format!("CREATE OR REPLACE VIEW usage.by_model AS SELECT model, {SUMS} GROUP BY 1"),
    ];
    // The comment of the last view names what it was made from: the database rewrites the text.
    let made_from = sha256_hex(views.concat().as_bytes());
    let known: Option<String> = store
        .reader()?
        .query_row(
            "SELECT max(comment) FROM duckdb_views() WHERE schema_name = 'usage' AND view_name = 'by_model'",
            [],
            |row| row.get(0),
        )
        .map_err(StoreError::database("to look up the views of its reports"))?;
    if known.as_deref() == Some(made_from.as_str()) {
        return Ok(());
    }
    let mut statements = Vec::from(views);
    statements.push(format!("COMMENT ON VIEW usage.by_model IS '{made_from}'"));
    store.define(statements)
}

/// The usage of everything that was processed; `None` where `usage` never ran.
///
/// # Errors
/// When the database can't be read.
pub fn usage(store: &Store, by: By) -> Result<Option<Report>, StoreError> {
    let connection = store.reader()?;
    let refused = StoreError::database("a report");
    let has_views: bool = connection
        .query_row(
            "SELECT count(*) > 0 FROM duckdb_views() WHERE schema_name = 'usage' AND view_name = 'daily'",
            [],
            |row| row.get(0),
        )
        .map_err(&refused)?;
    if !has_views {
        return Ok(None);
    }
    let (key, view) = match by {
        By::Day => ("day", "daily"),
        By::Model => ("model", "by_model"),
    };
    let rows = read(&connection, &format!("SELECT CAST({key} AS VARCHAR), * EXCLUDE ({key}) FROM usage.{view} ORDER BY 1 NULLS LAST"))
        .map_err(&refused)?;
    let totals = read(&connection, &format!("SELECT NULL, {SUMS}")).map_err(&refused)?;
    let totals = totals
        .into_iter()
        .next()
        .map(|row| row.totals)
        .unwrap_or_default();
    Ok(Some(Report { totals, rows }))
}

fn read(connection: &Connection, sql: &str) -> duckdb::Result<Vec<Row>> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let models = match row.get::<_, duckdb::types::Value>(8)? {
            duckdb::types::Value::List(models) => models
                .into_iter()
                .filter_map(|model| match model {
                    duckdb::types::Value::Text(model) => Some(model),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        let totals = Totals {
            input_tokens: row.get(1)?,
            output_tokens: row.get(2)?,
            cache_read_tokens: row.get(3)?,
            cache_creation_tokens: row.get(4)?,
            cost_usd: None,
            cost_is_lower_bound: true,
            output_is_lower_bound: row.get(5)?,
            messages: row.get(6)?,
            sessions: row.get(7)?,
            unknown_models: models,
        };
        Ok(Row {
            key: row.get(0)?,
            totals,
        })
    })?;
    rows.collect()
}
