//! What reports are read from: the sums of the views at the finest grain any report asks for, kept
//! and brought up to date by what has changed.
//!
//! Copies of a message lie in several files, so a file's sums depend on others. Files that share a
//! message or a call are a *family*; what one of them gains or loses changes the sums of its family
//! and of nobody else. So the families that changed are worked out anew, and the rest stays.
//!
//! All of it follows from the tables of `usage` and the prices, and may be dropped at any time.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use duckdb::{Connection, params};

use super::Prices;
use super::views::{
    self, CALLS, EVENT_KEY, MESSAGE_KEY, PROJECT, distinct_calls, distinct_messages, priced,
};
use crate::sandbox::sha256_hex;
use crate::store::{Store, StoreError, in_transaction};

/// The columns of `usage.call_rollups` that are counts.
pub(super) const CALL_COUNTS: [&str; 6] = [
    "calls",
    "errors",
    "tool_errors",
    "exit_codes",
    "rejected",
    "siblings_failed",
];

const TABLES: &str = "
CREATE OR REPLACE TABLE usage.families (session_seq BIGINT NOT NULL, family BIGINT NOT NULL);
CREATE OR REPLACE TABLE usage.message_rollups (
    family BIGINT NOT NULL, day DATE, session_id VARCHAR, username VARCHAR, model VARCHAR, project VARCHAR,
    input_tokens HUGEINT NOT NULL, output_tokens HUGEINT NOT NULL, cache_read_tokens HUGEINT NOT NULL,
    cache_creation_5m_tokens HUGEINT NOT NULL, cache_creation_1h_tokens HUGEINT NOT NULL,
    cost_usd DECIMAL(38, 12), message_count BIGINT NOT NULL, is_final BOOLEAN NOT NULL
);
CREATE OR REPLACE TABLE usage.call_rollups (
    family BIGINT NOT NULL, day DATE, session_id VARCHAR, tool_name VARCHAR, calls BIGINT NOT NULL,
    errors BIGINT NOT NULL, tool_errors BIGINT NOT NULL, exit_codes BIGINT NOT NULL, rejected BIGINT NOT NULL,
    siblings_failed BIGINT NOT NULL
);";

/// The processings whose rows are there now.
const PRESENT: &str = "SELECT session_seq FROM main.session_processor_state
    WHERE processor_name = 'usage' AND session_seq IS NOT NULL";

/// What the messages and calls of some processings are known by.
fn ids(of: &str) -> String {
    format!(
        "SELECT session_seq, hash({MESSAGE_KEY}) AS id FROM usage.messages {of} WHERE {MESSAGE_KEY} IS NOT NULL
         UNION ALL
         SELECT session_seq, hash({EVENT_KEY}, 'call') AS id FROM usage.events {of}
         WHERE {EVENT_KEY} IS NOT NULL AND tool_name IS NOT NULL"
    )
}

/// What rollups of this version follow from, beside the tables of `usage`.
pub(super) fn made_from(prices: &Prices) -> String {
    format!("{} {}", views::made_from(prices), *TABLES_HASH)
}

static TABLES_HASH: LazyLock<String> = LazyLock::new(|| sha256_hex(TABLES.as_bytes()));

/// Brings the rollups up to date with what is there now, by the prices that the database holds.
///
/// In several transactions where much has changed: what is not done yet counts as changed, for a
/// reader and for the next who brings them up to date.
///
/// # Errors
/// When the database refuses.
pub(super) fn update(store: &Store, made_from: String) -> Result<(), StoreError> {
    store.write(move |connection| {
        let refused = StoreError::database("to bring its rollups up to date");
        let run = |sql: &str| connection.execute_batch(sql).map_err(&refused);
        if known_made_from(connection)?.as_ref() != Some(&made_from) {
            in_transaction(connection, |_| {
                run(&format!(
                    "{TABLES} COMMENT ON TABLE usage.families IS '{made_from}'"
                ))
            })?;
            // A log that holds definitions is what DuckDB replays worst.
            connection.checkpoint()?;
        }
        let batches = in_transaction(connection, begin)?;
        (0..batches).try_for_each(|batch| in_transaction(connection, |_| run(&make(batch))))?;
        run("DROP TABLE temp.touched")
    })
}

/// What the rollups that are there were made from; `None` where there are none.
fn known_made_from(connection: &Connection) -> Result<Option<String>, StoreError> {
    connection
        .query_row(
            "SELECT max(comment) FROM duckdb_tables() WHERE schema_name = 'usage' AND table_name = 'families'",
            [],
            |row| row.get(0),
        )
        .map_err(StoreError::database("to look up its rollups"))
}

/// Whether the rollups say what the tables of `usage` say.
///
/// # Errors
/// When the database refuses.
pub(super) fn is_current(connection: &Connection, made_from: &str) -> Result<bool, StoreError> {
    if known_made_from(connection)?.as_deref() != Some(made_from) {
        return Ok(false);
    }
    // Numbers are never used twice, so sets of the same size and sum of hashes are the same.
    let sql = format!(
        "SELECT (SELECT (count(*), bit_xor(hash(session_seq))) FROM ({PRESENT}))
            IS NOT DISTINCT FROM (SELECT (count(*), bit_xor(hash(session_seq))) FROM usage.families)"
    );
    connection
        .query_row(&sql, [], |row| row.get(0))
        .map_err(StoreError::database("to compare its rollups"))
}

/// Lets the rollups of some processings be made anew: for what changes rows behind their backs.
/// `processings` is a table of their numbers.
///
/// # Errors
/// When the database refuses.
pub(super) fn forget(connection: &Connection, processings: &str) -> Result<(), StoreError> {
    if known_made_from(connection)?.is_none() {
        return Ok(());
    }
    let statements = format!(
        "CREATE OR REPLACE TEMP TABLE forgotten AS
            SELECT DISTINCT family FROM usage.families SEMI JOIN {processings} USING (session_seq);
         DELETE FROM usage.message_rollups WHERE family IN (FROM temp.forgotten);
         DELETE FROM usage.call_rollups WHERE family IN (FROM temp.forgotten);
         DELETE FROM usage.families WHERE family IN (FROM temp.forgotten);
         DROP TABLE temp.forgotten;"
    );
    connection
        .execute_batch(&statements)
        .map_err(StoreError::database("to forget rollups"))
}

/// Removes what changes and tells it apart into families; gives how many batches of
/// `temp.touched` there are to make.
fn begin(connection: &Connection) -> Result<i64, StoreError> {
    let refused = StoreError::database("to tell which rollups change");
    let run = |sql: &str| connection.execute_batch(sql).map_err(&refused);
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    run(&format!(
        "CREATE OR REPLACE TEMP TABLE fresh AS
            SELECT session_seq FROM ({PRESENT}) ANTI JOIN usage.families USING (session_seq);
         CREATE OR REPLACE TEMP TABLE affected AS
            SELECT DISTINCT family FROM usage.families ANTI JOIN ({PRESENT}) USING (session_seq);"
    ))?;
    if number("SELECT count(*) FROM usage.families").map_err(&refused)? > 0 {
        run(&format!(
            "INSERT INTO temp.affected
             SELECT DISTINCT family FROM usage.families SEMI JOIN (
                SELECT session_seq FROM ({}) SEMI JOIN ({}) AS wanted USING (id)
             ) USING (session_seq) ANTI JOIN temp.affected USING (family)",
            ids(""),
            ids("SEMI JOIN temp.fresh USING (session_seq)")
        ))?;
    }
    run(&format!(
        "CREATE OR REPLACE TEMP TABLE members AS
            FROM temp.fresh
            UNION ALL
            SELECT session_seq FROM usage.families SEMI JOIN temp.affected USING (family)
                SEMI JOIN ({PRESENT}) AS present USING (session_seq);
         DELETE FROM usage.families WHERE family IN (FROM temp.affected);
         DELETE FROM usage.message_rollups WHERE family IN (FROM temp.affected);
         DELETE FROM usage.call_rollups WHERE family IN (FROM temp.affected);
         CREATE OR REPLACE TEMP TABLE ids AS {};",
        ids("SEMI JOIN temp.members USING (session_seq)")
    ))?;
    link(connection)?;
    run(&format!(
        "CREATE OR REPLACE TEMP TABLE touched AS
            SELECT session_seq, coalesce(linked.family, session_seq) AS family,
                CAST(sum(coalesce(row_count, 0)) OVER (ORDER BY coalesce(linked.family, session_seq)) AS BIGINT)
                    // {BATCH_ROWS} AS batch
            FROM temp.members LEFT JOIN temp.linked USING (session_seq)
                LEFT JOIN (SELECT session_seq, count(*) AS row_count FROM temp.ids GROUP BY 1) USING (session_seq);
         DROP TABLE temp.fresh; DROP TABLE temp.affected; DROP TABLE temp.members;
         DROP TABLE temp.linked; DROP TABLE temp.ids;"
    ))?;
    number("SELECT coalesce(max(batch) + 1, 0) FROM temp.touched").map_err(&refused)
}

/// How many messages and calls are grouped at once: what memory holds, whatever was there before.
const BATCH_ROWS: i64 = 1_000_000;

/// Makes the rollups of one batch.
fn make(batch: i64) -> String {
    let members = format!("(FROM temp.touched WHERE batch = {batch})");
    let of_members = |table: &str| {
        format!("(SELECT rowid, * FROM {table} SEMI JOIN {members} USING (session_seq))")
    };
    format!(
        "INSERT INTO usage.families SELECT session_seq, family FROM {members};
         INSERT INTO usage.message_rollups
            SELECT family, day, session_id, username, model, {PROJECT}, input_tokens, output_tokens, cache_read_tokens,
                cache_creation_5m_tokens, cache_creation_1h_tokens, cost_usd, message_count, is_final
            FROM ({});
         INSERT INTO usage.call_rollups
            SELECT family, CAST(occurred_at AS DATE), session_id, tool_name, {CALLS}
            FROM ({}) JOIN {members} USING (session_seq) GROUP BY ALL;",
        priced(
            "family, CAST(occurred_at AS DATE) AS day, username, cwd",
            &format!(
                "(FROM ({}) JOIN {members} USING (session_seq))",
                distinct_messages(&of_members("usage.messages"))
            )
        ),
        distinct_calls(&of_members("usage.events"))
    )
}

/// Works out the families among the members, into `temp.linked`; who shares nothing is one by itself
/// and not in it.
fn link(connection: &Connection) -> Result<(), StoreError> {
    let refused = StoreError::database("to tell which sessions share messages");
    let count: i64 = connection
        .query_row("SELECT count(*) FROM temp.ids", [], |row| row.get(0))
        .map_err(&refused)?;
    let parts = count / (2 * BATCH_ROWS) + 1;
    let mut families = Families::default();
    for part in 0..parts {
        let ids = format!("(FROM temp.ids WHERE id % {parts} = {part})");
        let sql = format!(
            "WITH shared AS (
                SELECT id, min(session_seq) AS first FROM {ids} GROUP BY id HAVING min(session_seq) <> max(session_seq)
             )
             SELECT DISTINCT first, session_seq FROM {ids} JOIN shared USING (id) WHERE session_seq <> first"
        );
        let pairs: Vec<(i64, i64)> = connection
            .prepare(&sql)
            .and_then(|mut statement| {
                statement
                    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .map_err(&refused)?;
        for (one, other) in pairs {
            families.join(one, other);
        }
    }
    connection
        .execute_batch("CREATE OR REPLACE TEMP TABLE linked (session_seq BIGINT, family BIGINT)")
        .map_err(&refused)?;
    let mut appender = connection
        .appender_to_catalog_and_db("linked", "temp", "main")
        .map_err(&refused)?;
    for (member, family) in families.members() {
        appender
            .append_row(params![member, family])
            .map_err(&refused)?;
    }
    appender.flush().map_err(&refused)
}

/// Which members belong together: a union-find whose families are named by their smallest member.
#[derive(Default)]
struct Families {
    /// Members that were joined, each with one nearer to the name of its family.
    parents: BTreeMap<i64, i64>,
}

impl Families {
    fn join(&mut self, one: i64, other: i64) {
        let (one, other) = (self.name(one), self.name(other));
        self.parents.insert(one, one.min(other));
        self.parents.insert(other, one.min(other));
    }

    fn name(&mut self, member: i64) -> i64 {
        let mut name = member;
        while let Some(parent) = self.parents.get(&name).filter(|parent| **parent != name) {
            name = *parent;
        }
        // Shorter for the next who asks.
        if let Some(parent) = self.parents.get_mut(&member) {
            *parent = name;
        }
        name
    }

    fn members(mut self) -> Vec<(i64, i64)> {
        let members: Vec<i64> = self.parents.keys().copied().collect();
        members
            .into_iter()
            .map(|member| (member, self.name(member)))
            .collect()
    }
}
