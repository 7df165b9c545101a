//! Rollups: the tables that reports read. They contain the sums of the views at the finest
//! granularity of any report, and are updated incrementally.
//!
//! Copies of a message are in several files, so the sums of one file depend on others. The unit of
//! an update is a *slot*: the messages, calls and waste that are in exactly the same set of processings.
//! (A processing is one processed version of a session file, identified by `session_seq`. Of a session
//! that is continued as it grows, the settled rows of each checkpoint are a processing too.) Nearly
//! all rows are in one processing only, and form the slot of that processing. The rows that a fork
//! shares with its origin form another slot. Slots are computed independently. A new file therefore
//! costs its own rows plus the slots that it shares rows with. A file that links 100,000 sessions
//! creates 100,000 small slots once, and later changes only touch their own.
//!
//! An update consists of rounds of bounded size. A reader connection plans a round. The writer
//! removes the slots that change and recreates them slice by slice. Each slice is a short job, so
//! other jobs wait for at most one slice. Processings that are incomplete in between are marked,
//! and the next update starts from these marks. An interrupted round is therefore harmless.
//!
//! All rollups derive from the tables of `usage` and the prices, and can be dropped at any time.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use duckdb::Connection;
use duckdb::arrow::record_batch::RecordBatch;
use session_pipeline_host::sandbox::sha256_hex;
use session_pipeline_store::{
    RollupUpdates, Store, StoreError, UpdateTurn, Writer, in_transaction,
};

use crate::report::PriceTable;
use crate::report::project;
use crate::report::views::{
    self, COUNTS, DIRECTORY, EVENT_KEY, MESSAGE_KEY, MOST, distinct_events, distinct_messages,
    distinct_waste, priced, priced_waste,
};

const TABLES: &str = "
DROP TABLE IF EXISTS usage.families;
CREATE OR REPLACE TABLE usage.rollup_sessions (session_seq BIGINT NOT NULL, is_complete BOOLEAN NOT NULL);
CREATE OR REPLACE TABLE usage.rollup_items (item UBIGINT NOT NULL, session_seq BIGINT NOT NULL, slot UBIGINT NOT NULL);
CREATE OR REPLACE TABLE usage.message_rollups (
    slot UBIGINT NOT NULL, quarter TIMESTAMP, session_id VARCHAR, directory VARCHAR, model VARCHAR, project VARCHAR,
    git_branch VARCHAR, pull_request VARCHAR, source VARCHAR, agent_id VARCHAR, agent_type VARCHAR, skill VARCHAR,
    plugin VARCHAR, mcp_server VARCHAR, effort VARCHAR, entrypoint VARCHAR, is_automated BOOLEAN, agent VARCHAR, provider VARCHAR,
    input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, cache_read_tokens BIGINT NOT NULL,
    cache_creation_5m_tokens BIGINT NOT NULL, cache_creation_1h_tokens BIGINT NOT NULL, web_searches BIGINT NOT NULL,
    cost_usd DECIMAL(38, 12), message_count BIGINT NOT NULL, open_count BIGINT NOT NULL, project_name VARCHAR
);
CREATE OR REPLACE TABLE usage.recorded_agents (slot UBIGINT NOT NULL, session_id VARCHAR, agent_id VARCHAR NOT NULL);
CREATE OR REPLACE TABLE usage.call_rollups (
    slot UBIGINT NOT NULL, quarter TIMESTAMP, session_id VARCHAR, directory VARCHAR, model VARCHAR, project VARCHAR,
    tool_name VARCHAR, command_name VARCHAR, skill_name VARCHAR, agent_type VARCHAR, plugin VARCHAR,
    mcp_server VARCHAR, agent VARCHAR, is_error BOOLEAN NOT NULL, error_class VARCHAR, duration_buckets SMALLINT[],
    calls BIGINT NOT NULL, project_name VARCHAR
);
CREATE OR REPLACE TABLE usage.waste_rollups (
    slot UBIGINT NOT NULL, quarter TIMESTAMP, session_id VARCHAR, directory VARCHAR, model VARCHAR, project VARCHAR,
    agent VARCHAR, kind VARCHAR, instances BIGINT NOT NULL, tokens BIGINT NOT NULL, cost_usd DECIMAL(38, 12), has_unpriced BOOLEAN NOT NULL,
    project_name VARCHAR
);";

/// The quarter of an hour of a row. All time zones in use differ from UTC by whole quarters, so
/// sums by quarter become sums by the days and hours of any zone.
const QUARTER: &str = "time_bucket(INTERVAL 15 MINUTES, occurred_at)";

/// The causes of a message. Together with time, session and model, they are the granularity of the
/// rollups.
const CAUSES: &str =
    "git_branch, pull_request, source, agent_id, agent_type, skill, plugin, mcp_server, effort,
    entrypoint, is_automated, agent, provider";

/// The bucket of a duration: eight per doubling, so that its middle is within 5 % of the duration.
const DURATION_BUCKET: &str = "CAST(round(8 * log2(greatest(duration_ms, 0) + 1)) AS SMALLINT)";

/// SQL for the middle of a bucket in milliseconds.
pub(super) fn bucket_middle(bucket: &str) -> String {
    format!("pow(2, {bucket} / 8.0) - 1")
}

/// The processings whose rows are current.
const PRESENT: &str = "SELECT session_seq FROM main.session_processor_state
    WHERE processor_name = 'usage' AND session_seq IS NOT NULL
    UNION ALL SELECT session_seq FROM main.session_settled_rows WHERE processor_name = 'usage'";

/// The id of a message. Copies have the same id. A message without a key has an id that occurs in
/// no other file. It can be computed over `usage.messages` and over [`distinct_messages`].
static MESSAGE_ID: LazyLock<String> = LazyLock::new(|| {
    format!(
        "CASE WHEN {MESSAGE_KEY} IS NULL THEN hash(session_seq, 'message', line // 4096)
        ELSE hash({MESSAGE_KEY}) END"
    )
});

/// The id of a call, over `usage.events` and [`distinct_events`].
static CALL_ID: LazyLock<String> = LazyLock::new(|| {
    format!(
        "CASE WHEN {EVENT_KEY} IS NULL THEN hash(session_seq, 'call', line // 4096)
        ELSE hash({EVENT_KEY}, 'call') END"
    )
});

/// The slot of a set of processings: the first `session_seq`, so that slots are stored in the order
/// of processings, and a hash of the set. If two sets collide, they share a slot and are updated
/// together, which is still correct.
const SLOT: &str =
    "CAST(min(session_seq) AS UBIGINT) * 1048576 + bit_xor(hash(session_seq)) % 1048576";

/// The id of an instance of waste, over `usage.waste` and [`distinct_waste`].
const WASTE_ID: &str = "CASE WHEN waste_key IS NULL THEN hash(session_seq, 'waste', line // 4096)
    ELSE hash(waste_key, 'waste') END";

/// The sums of instances of waste, over [`priced_waste`].
const WASTE_SUMS: &str = "CAST(sum(instances) AS BIGINT),
    CAST(sum(greatest(input_tokens, 0) + greatest(output_tokens, 0) + greatest(cache_read_tokens, 0)
        + cache_creation_5m_tokens + cache_creation_1h_tokens) AS BIGINT),
    CAST(sum(cost_usd) AS DECIMAL(38, 12)), bool_or(cost_usd IS NULL)";

/// SQL for the ids of the messages, calls and waste of some processings.
fn ids(of: &str) -> String {
    format!(
        "SELECT session_seq, {} AS item FROM usage.messages {of}
         UNION ALL
         SELECT session_seq, {} AS item FROM usage.events {of}
         UNION ALL
         SELECT session_seq, {WASTE_ID} AS item FROM usage.waste {of}",
        *MESSAGE_ID, *CALL_ID
    )
}

/// A fingerprint of everything that the rollups derive from, except the tables of `usage`.
pub(super) fn fingerprint(prices: &PriceTable) -> String {
    format!("{} {}", views::fingerprint(prices), *TABLES_HASH)
}

static TABLES_HASH: LazyLock<String> = LazyLock::new(|| sha256_hex(TABLES.as_bytes()));

/// The sizes of rounds and slices, derived from the memory limit of the database.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Messages and calls that a round adds, not counting those that share slots with them.
    round_rows: u64,
    /// Messages and calls in a slice. The writer needs about a tenth of a second for it.
    slice_rows: u64,
}

impl Sizes {
    /// Memory per row of a slice, in bytes, including grouping and ranking of copies.
    const ROW_BYTES: u64 = 4096;

    fn of(store: &Store) -> Self {
        let slice_rows = (store.memory_bytes() / Self::ROW_BYTES).clamp(16 << 10, 64 << 10);
        Self {
            round_rows: 16 * slice_rows,
            slice_rows,
        }
    }
}

/// Updates the rollups to the current rows and prices in the database. Sessions committed during
/// the update can be missing.
///
/// # Errors
/// If the database fails, the service stops, or this thread's request is canceled. Completed steps
/// stay.
pub(super) fn update(
    store: &Store,
    turn: &UpdateTurn<'_>,
    fingerprint: &str,
) -> Result<(), StoreError> {
    let stamp = fingerprint.to_owned();
    store.write(move |writer| prepare(writer, &stamp))?;
    loop {
        turn.check_request()?;
        let connection = store.uncancelable_reader()?;
        turn.watch(&connection);
        turn.check()?;
        let Some(round) = Round::plan(connection, store.rollup_updates(), Sizes::of(store))? else {
            return Ok(());
        };
        let round = Arc::new(round);
        let mut is_valid = true;
        for step in round.steps() {
            turn.check()?;
            let batch = round.batch_of(step)?;
            let round = Arc::clone(&round);
            is_valid = store.write(move |writer| round.apply(writer, step, batch.as_ref()))?;
            if !is_valid {
                break;
            }
        }
        if is_valid && round.is_last {
            return Ok(());
        }
    }
}

/// Like [`update`], as one job of the writer, which blocks commits. Use it for the few sessions
/// that are committed during updates. Runs `then` in the same job.
///
/// # Errors
/// Same as [`update`].
pub(super) fn update_alone<T: Send + 'static>(
    store: &Store,
    fingerprint: &str,
    then: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let (updates, sizes) = (Arc::clone(store.rollup_updates()), Sizes::of(store));
    let fingerprint = fingerprint.to_owned();
    store.write(move |writer| {
        prepare(writer, &fingerprint)?;
        loop {
            let connection = writer
                .try_clone()
                .map_err(StoreError::database("open another connection"))?;
            let Some(round) = Round::plan(connection, &updates, sizes)? else {
                return then();
            };
            for step in round.steps() {
                round.apply(writer, step, round.batch_of(step)?.as_ref())?;
            }
        }
    })
}

/// Recreates the tables if the fingerprint differs.
fn prepare(writer: &Writer, fingerprint: &str) -> Result<(), StoreError> {
    if stored_fingerprint(writer)?.as_deref() == Some(fingerprint) {
        return Ok(());
    }
    in_transaction(writer, |connection| {
        connection
            .execute_batch(&format!(
                "{TABLES} COMMENT ON TABLE usage.rollup_sessions IS '{fingerprint}'"
            ))
            .map_err(StoreError::database("create the rollup tables"))
    })?;
    // DuckDB replays a log with table definitions slowly.
    writer.checkpoint()
}

/// The fingerprint of the existing rollups. `None`: there are none.
fn stored_fingerprint(connection: &Connection) -> Result<Option<String>, StoreError> {
    connection
        .query_row(
            "SELECT max(comment) FROM duckdb_tables() WHERE schema_name = 'usage' AND table_name = 'rollup_sessions'",
            [],
            |row| row.get(0),
        )
        .map_err(StoreError::database("look up the rollups"))
}

/// Whether the rollups include all current rows of `usage`.
///
/// # Errors
/// If the database fails.
pub(super) fn is_current(connection: &Connection, fingerprint: &str) -> Result<bool, StoreError> {
    if stored_fingerprint(connection)?.as_deref() != Some(fingerprint) {
        return Ok(false);
    }
    // Numbers are never reused, so sets with the same size and hash are equal.
    let sql = format!(
        "SELECT (SELECT (count(*), bit_xor(hash(session_seq)), true) FROM ({PRESENT}))
            IS NOT DISTINCT FROM
            (SELECT (count(*), bit_xor(hash(session_seq)), coalesce(bool_and(is_complete), true)) FROM usage.rollup_sessions)"
    );
    connection
        .query_row(&sql, [], |row| row.get(0))
        .map_err(StoreError::database("compare the rollups"))
}

/// Marks the rollups of some processings as incomplete, so that they are recreated. For jobs that
/// change rows without a new `session_seq`. `processings` is a table with a column `session_seq`.
///
/// # Errors
/// If the database fails.
pub(super) fn invalidate(
    connection: &Connection,
    updates: &RollupUpdates,
    processings: &str,
) -> Result<(), StoreError> {
    updates.invalidate();
    if stored_fingerprint(connection)?.is_none() {
        return Ok(());
    }
    connection
        .execute_batch(&format!(
            "UPDATE usage.rollup_sessions SET is_complete = false WHERE session_seq IN (SELECT session_seq FROM {processings})"
        ))
        .map_err(StoreError::database("delete rollups"))
}

/// Rows in transfer between two connections, which cannot see each other's temporary tables.
type Rows = Vec<RecordBatch>;

/// A part of an update: the slots to remove, and the content of the slots that replace them.
struct Round {
    /// The connection whose temporary tables contain the plan.
    connection: Mutex<Connection>,
    updates: Arc<RollupUpdates>,
    /// [`RollupUpdates::generation`] before the plan.
    generation: u64,
    /// Number of slices.
    slices: i64,
    /// Whether the round includes all changes.
    is_last: bool,
    /// The slots to remove, one entry per job.
    slots: Vec<Rows>,
    /// The affected processings: removed, invalidated, new, or in a slot that is removed. The
    /// second column tells whether a processing is complete without a slice (true), incomplete
    /// (false) or removed (NULL).
    sessions: Rows,
}

/// One job of the writer.
#[derive(Clone, Copy)]
enum RollupStep {
    /// Marks the affected processings, removes the first chunk of slots, and writes the first slice
    /// if there is no other chunk.
    Begin,
    /// Removes another chunk of slots.
    Remove(usize),
    /// Writes a slice.
    Make(i64),
}

/// Maximum number of batches in a chunk. DuckDB returns 2,048 rows per batch.
const REMOVED_BATCHES: usize = 4;

/// The rows that the writer needs for one slice.
struct RollupBatch {
    /// Ids with their processings and slots.
    ids: Rows,
    /// The processings that are complete after this slice.
    complete: Rows,
    /// Ranges of `session_seq` that contain all processings of the slice, inclusive.
    ranges: Vec<(i64, i64)>,
}

impl Round {
    /// Plans a round on its own connection. `None` if nothing changed.
    fn plan(
        connection: Connection,
        updates: &Arc<RollupUpdates>,
        sizes: Sizes,
    ) -> Result<Option<Self>, StoreError> {
        let refused = StoreError::database("plan a rollup update");
        let generation = updates.generation();
        let run = |sql: &str| connection.execute_batch(sql).map_err(&refused);
        let number = |sql: &str| {
            connection
                .query_row(sql, [], |row| row.get::<_, i64>(0))
                .map_err(&refused)
        };
        // One snapshot for the whole plan.
        run("BEGIN TRANSACTION")?;
        run(&format!(
            "CREATE TEMP TABLE present AS {PRESENT};
             CREATE TEMP TABLE gone AS
                SELECT session_seq FROM usage.rollup_sessions
                WHERE NOT is_complete OR session_seq NOT IN (FROM temp.present);
             CREATE TEMP TABLE fresh AS
                FROM temp.present WHERE session_seq NOT IN
                    (SELECT session_seq FROM usage.rollup_sessions WHERE is_complete)"
        ))?;
        let gone = number("SELECT count(*) FROM temp.gone")?;
        let fresh = number("SELECT count(*) FROM temp.fresh")?;
        if gone + fresh == 0 {
            return Ok(None);
        }
        let of_gone =
            "SELECT session_seq FROM usage.rollup_items SEMI JOIN temp.gone USING (session_seq)";
        run(&bounded("gone", of_gone, sizes.round_rows))?;
        let gone_now = number("SELECT count(*) FROM temp.gone_now")?;
        let of_fresh =
            "SELECT session_seq FROM usage.messages SEMI JOIN temp.fresh USING (session_seq)
            UNION ALL
            SELECT session_seq FROM usage.events SEMI JOIN temp.fresh USING (session_seq)
            UNION ALL
            SELECT session_seq FROM usage.waste SEMI JOIN temp.fresh USING (session_seq)";
        // Removals come first, so that new slots do not collide with old ones.
        let budget = if gone_now == gone {
            sizes.round_rows
        } else {
            0
        };
        run(&bounded("fresh", of_fresh, budget))?;
        let fresh_now = number("SELECT count(*) FROM temp.fresh_now")?;
        run(&changed())?;
        run(&sliced(sizes.slice_rows))?;
        let slices = number("SELECT coalesce(max(slice) + 1, 1) FROM temp.plan")?;
        let slots = fetch(&connection, "FROM temp.slots ORDER BY slot")?;
        let sessions = fetch(&connection, "FROM temp.sessions")?;
        run("COMMIT")?;
        Ok(Some(Self {
            connection: Mutex::new(connection),
            updates: Arc::clone(updates),
            generation,
            slices,
            is_last: gone_now == gone && fresh_now == fresh,
            slots: slots.chunks(REMOVED_BATCHES).map(<[_]>::to_vec).collect(),
            sessions,
        }))
    }

    /// The jobs of the round in order. All removals precede the first slice, because recreated
    /// slots have the same numbers.
    fn steps(&self) -> Vec<RollupStep> {
        let is_short = self.slots.len() <= 1;
        std::iter::once(RollupStep::Begin)
            .chain((1..self.slots.len()).map(RollupStep::Remove))
            .chain((i64::from(is_short)..self.slices).map(RollupStep::Make))
            .collect()
    }

    /// The rows for a step, if it writes a slice.
    fn batch_of(&self, step: RollupStep) -> Result<Option<RollupBatch>, StoreError> {
        match step {
            RollupStep::Begin if self.slots.len() <= 1 => self.batch(0).map(Some),
            RollupStep::Make(slice) => self.batch(slice).map(Some),
            RollupStep::Begin | RollupStep::Remove(_) => Ok(None),
        }
    }

    /// The rows for a slice of the plan.
    fn batch(&self, slice: i64) -> Result<RollupBatch, StoreError> {
        let connection = lock(&self.connection);
        let sql = "SELECT DISTINCT session_seq FROM temp.plan WHERE slice = ? ORDER BY session_seq";
        let numbers: Vec<i64> = connection
            .prepare(sql)
            .and_then(|mut statement| statement.query_map([slice], |row| row.get(0))?.collect())
            .map_err(StoreError::database("read the rollup plan"))?;
        let ids = format!("SELECT item, session_seq, slot FROM temp.plan WHERE slice = {slice}");
        let complete = format!("SELECT session_seq FROM temp.ends WHERE slice = {slice}");
        Ok(RollupBatch {
            ids: fetch(&connection, &ids)?,
            complete: fetch(&connection, &complete)?,
            ranges: ranges(&numbers),
        })
    }

    /// Executes a step. Returns false and changes nothing if the plan is outdated.
    fn apply(
        &self,
        writer: &Writer,
        step: RollupStep,
        batch: Option<&RollupBatch>,
    ) -> Result<bool, StoreError> {
        if matches!(step, RollupStep::Make(_)) && batch.is_none_or(|batch| batch.ranges.is_empty())
        {
            return Ok(true);
        }
        in_transaction(writer, |connection| {
            if self.is_outdated() {
                return Ok(false);
            }
            match step {
                RollupStep::Begin => {
                    self.mark(connection)?;
                    self.remove(connection, 0)?;
                }
                RollupStep::Remove(chunk) => self.remove(connection, chunk)?,
                RollupStep::Make(_) => {}
            }
            batch.map_or(Ok(()), |batch| make(connection, batch))?;
            Ok(true)
        })
    }

    /// Marks the affected processings as incomplete, and removes those that are gone.
    fn mark(&self, connection: &Connection) -> Result<(), StoreError> {
        let columns = "session_seq BIGINT, is_complete BOOLEAN";
        fill(connection, "sessions", columns, &self.sessions)?;
        connection
            .execute_batch(
                "DELETE FROM usage.rollup_sessions WHERE session_seq IN (SELECT session_seq FROM temp.sessions);
                 INSERT INTO usage.rollup_sessions FROM temp.sessions WHERE is_complete IS NOT NULL;
                 DROP TABLE temp.sessions;",
            )
            .map_err(StoreError::database("mark the changed rollups"))
    }

    fn remove(&self, connection: &Connection, chunk: usize) -> Result<(), StoreError> {
        let Some(slots) = self.slots.get(chunk) else {
            return Ok(());
        };
        fill(connection, "slots", "slot UBIGINT", slots)?;
        connection
            .execute_batch(
                "DELETE FROM usage.rollup_items WHERE slot IN (FROM temp.slots);
                 DELETE FROM usage.message_rollups WHERE slot IN (FROM temp.slots);
                 DELETE FROM usage.recorded_agents WHERE slot IN (FROM temp.slots);
                 DELETE FROM usage.call_rollups WHERE slot IN (FROM temp.slots);
                 DELETE FROM usage.waste_rollups WHERE slot IN (FROM temp.slots);
                 DROP TABLE temp.slots;",
            )
            .map_err(StoreError::database("delete the changed rollups"))
    }

    /// Whether rows changed in a way that the plan does not include.
    fn is_outdated(&self) -> bool {
        self.updates.generation() != self.generation
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Selects the first processings up to a total of `most` rows, but at least one.
fn bounded(table: &str, rows: &str, most: u64) -> String {
    format!(
        "CREATE TEMP TABLE {table}_now AS SELECT session_seq FROM (
            SELECT session_seq, sum(row_count) OVER (ORDER BY session_seq ROWS UNBOUNDED PRECEDING) - row_count AS before
            FROM (
                SELECT session_seq, coalesce(row_count, 0) AS row_count
                FROM temp.{table} LEFT JOIN (SELECT session_seq, count(*) AS row_count FROM ({rows}) GROUP BY 1) USING (session_seq)
            )
         ) WHERE before < {most}"
    )
}

/// Computes the affected slots. `temp.slots` contains the slots to remove, and `temp.pairs` the ids
/// and processings to assign to slots again.
fn changed() -> String {
    format!(
        "CREATE TEMP TABLE fresh_pairs AS
            SELECT DISTINCT item, session_seq FROM ({});
         CREATE TEMP TABLE slots AS
            SELECT slot FROM usage.rollup_items SEMI JOIN temp.fresh_pairs USING (item)
            UNION
            SELECT slot FROM usage.rollup_items SEMI JOIN temp.gone_now USING (session_seq);
         CREATE TEMP TABLE pairs AS
            SELECT item, session_seq FROM usage.rollup_items SEMI JOIN temp.slots USING (slot)
                ANTI JOIN temp.gone_now USING (session_seq)
            UNION ALL
            SELECT item, session_seq FROM temp.fresh_pairs;
         DROP TABLE temp.fresh_pairs;",
        ids("SEMI JOIN temp.fresh_now USING (session_seq)")
    )
}

/// Assigns each id to a slot, and splits the ids into slices of about `slice_rows` rows. All rows
/// of an id are in one slice. Slices follow the order of processings, so that each one reads a
/// contiguous part of the tables.
///
/// `temp.sessions` contains the new mark of each processing. `temp.ends` contains the slice after
/// which it is complete. A processing that was incomplete before the round stays so until it is in
/// `fresh_now`.
fn sliced(slice_rows: u64) -> String {
    format!(
        "CREATE TEMP TABLE sets AS
            SELECT item, {SLOT} AS slot, min(session_seq) AS first, count(*) AS row_count
            FROM temp.pairs GROUP BY item;
         CREATE TEMP TABLE firsts AS
            SELECT first, row_count // {slice_rows} + 1 AS parts,
                CAST((sum(row_count) OVER (ORDER BY first ROWS UNBOUNDED PRECEDING) - row_count) // {slice_rows} AS BIGINT) AS slice
            FROM (SELECT first, sum(row_count) AS row_count FROM temp.sets GROUP BY first);
         CREATE TEMP TABLE plan AS
            SELECT item, session_seq, slot, slice + CAST(item % CAST(parts AS UBIGINT) AS BIGINT) AS slice
            FROM temp.pairs JOIN temp.sets USING (item) JOIN temp.firsts USING (first) ORDER BY slice, session_seq, item;
         DROP TABLE temp.pairs; DROP TABLE temp.sets; DROP TABLE temp.firsts;
         CREATE TEMP TABLE members AS SELECT session_seq, max(slice) AS slice FROM temp.plan GROUP BY 1;
         CREATE TEMP TABLE ends AS
            FROM temp.members WHERE session_seq IN (FROM temp.fresh_now) OR session_seq NOT IN (FROM temp.gone);
         CREATE TEMP TABLE sessions AS
            SELECT session_seq, false AS is_complete FROM temp.members
            UNION ALL
            SELECT session_seq, true FROM temp.fresh_now ANTI JOIN temp.members USING (session_seq)
            UNION ALL
            SELECT session_seq, NULL FROM temp.gone_now
                ANTI JOIN temp.members USING (session_seq) ANTI JOIN temp.fresh_now USING (session_seq);"
    )
}

/// Splits sorted numbers into inclusive ranges at large gaps. A fork can be far from its origin,
/// and the rows in between should not be read.
fn ranges(numbers: &[i64]) -> Vec<(i64, i64)> {
    /// Reading another range costs more than reading this many processings.
    const APART: i64 = 500;
    const RANGES_MAX: usize = 16;
    let mut gaps: Vec<(i64, i64)> = numbers
        .iter()
        .zip(numbers.iter().skip(1))
        .filter(|(one, next)| *next - *one > APART)
        .map(|(one, next)| (*one, *next))
        .collect();
    gaps.sort_by_key(|(one, next)| std::cmp::Reverse(next - one));
    gaps.truncate(RANGES_MAX - 1);
    gaps.sort_unstable();
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
        return Vec::new();
    };
    let firsts = std::iter::once(*first).chain(gaps.iter().map(|(_, next)| *next));
    let lasts = gaps.iter().map(|(one, _)| *one).chain([*last]);
    firsts.zip(lasts).collect()
}

/// Writes the rollups of a batch in the current transaction.
fn make(connection: &Connection, batch: &RollupBatch) -> Result<(), StoreError> {
    if batch.ranges.is_empty() {
        return Ok(());
    }
    let refused = StoreError::database("update the rollups");
    let columns = "item UBIGINT, session_seq BIGINT, slot UBIGINT";
    fill(connection, "slice", columns, &batch.ids)?;
    fill(
        connection,
        "complete",
        "session_seq BIGINT",
        &batch.complete,
    )?;
    let rows = |table: &str, id: &str| {
        let ranges = batch.ranges.iter().map(|(first, last)| {
            format!(
                "SELECT *, {id} AS item FROM {table} WHERE session_seq BETWEEN {first} AND {last}"
            )
        });
        let ranges = ranges.collect::<Vec<_>>().join(" UNION ALL ");
        format!(
            "SELECT * EXCLUDE (item) FROM ({ranges}) SEMI JOIN temp.slice USING (session_seq, item)"
        )
    };
    let with_slot = |distinct: &str, id: &str| {
        format!(
            "(FROM (SELECT *, {id} AS item FROM ({distinct})) JOIN temp.slice USING (session_seq, item))"
        )
    };
    connection
        .execute_batch(&format!(
            "INSERT INTO usage.rollup_items FROM temp.slice;
             CREATE OR REPLACE TEMP TABLE slice_messages AS {};
             INSERT INTO usage.message_rollups SELECT *, {project_name} FROM (
                SELECT slot, quarter, session_id, directory, model, {project} AS project, {CAUSES}, {}, cost_usd,
                    message_count, open_count
                FROM ({}));
             INSERT INTO usage.recorded_agents SELECT DISTINCT slot, session_id, agent_id FROM {} WHERE agent_id IS NOT NULL;
             DROP TABLE temp.slice_messages;
             CREATE OR REPLACE TEMP TABLE slice_events AS {};
             INSERT INTO usage.call_rollups SELECT *, {project_name} FROM (
                SELECT slot, {QUARTER}, session_id, {}, model, {project} AS project, tool_name, command_name, skill_name, subagent_type,
                    plugin, mcp_server, agent, is_error, error_class,
                    list({DURATION_BUCKET}) FILTER (duration_ms IS NOT NULL), count(*)
                FROM {} GROUP BY ALL);
             DROP TABLE temp.slice_events;
             CREATE OR REPLACE TEMP TABLE slice_waste AS {};
             INSERT INTO usage.waste_rollups SELECT *, {project_name} FROM (
                SELECT slot, {QUARTER}, session_id, {}, model, {project} AS project, agent, kind, {WASTE_SUMS}
                FROM ({}) GROUP BY ALL);
             DROP TABLE temp.slice_waste;
             UPDATE usage.rollup_sessions SET is_complete = true WHERE session_seq IN (FROM temp.complete);
             DROP TABLE temp.slice; DROP TABLE temp.complete;",
            rows("usage.messages", &MESSAGE_ID),
            // DuckDB reads 64 bits ten times as fast as 128.
            COUNTS
                .map(|count| format!("CAST(least({count}, {MOST}) AS BIGINT)"))
                .join(", "),
            priced(
                &format!("slot, {QUARTER} AS quarter, {DIRECTORY} AS directory, cwd, project, {CAUSES}"),
                &with_slot(&distinct_messages("temp.slice_messages"), &MESSAGE_ID)
            ),
            // Of all copies: the copy that counts can be that of another agent.
            with_slot("FROM temp.slice_messages", &MESSAGE_ID),
            rows("usage.events", &CALL_ID),
            DIRECTORY,
            with_slot(&distinct_events("temp.slice_events"), &CALL_ID),
            rows("usage.waste", WASTE_ID),
            DIRECTORY,
            priced_waste(&format!(
                "SELECT * FROM {} LEFT JOIN (
                    SELECT session_seq, cwd, project, coalesce(agent, 'claude') AS agent FROM usage.sessions SEMI JOIN temp.slice USING (session_seq)
                ) USING (session_seq)",
                with_slot(&distinct_waste("temp.slice_waste"), WASTE_ID)
            )),
            project = project::PATH,
            project_name = project::name_of("project"),
        ))
        .map_err(refused)
}

fn fetch(connection: &Connection, sql: &str) -> Result<Rows, StoreError> {
    let rows = || -> duckdb::Result<Rows> {
        let mut statement = connection.prepare(sql)?;
        Ok(statement.query_arrow([])?.collect())
    };
    rows().map_err(StoreError::database("read the rollup plan"))
}

/// Creates a temporary table with rows from another connection.
fn fill(
    connection: &Connection,
    table: &str,
    columns: &str,
    rows: &[RecordBatch],
) -> Result<(), StoreError> {
    let filled = || -> duckdb::Result<()> {
        connection.execute_batch(&format!("CREATE OR REPLACE TEMP TABLE {table} ({columns})"))?;
        let mut appender = connection.appender_to_catalog_and_db(table, "temp", "main")?;
        for batch in rows {
            appender.append_record_batch(batch.clone())?;
        }
        // Dropping the appender would ignore its errors.
        appender.flush()
    };
    filled().map_err(StoreError::database("transfer the rollup plan"))
}

// `ranges` only affects speed, so no other test covers it.
#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn large_gaps_are_in_no_range() {
        assert_eq!(ranges(&[]), []);
        assert_eq!(ranges(&[7]), [(7, 7)]);
        assert_eq!(ranges(&[1, 2, 400]), [(1, 400)]);
        assert_eq!(
            ranges(&[1, 2, 9_000, 9_001, 99_000]),
            [(1, 2), (9_000, 9_001), (99_000, 99_000)]
        );
        let many: Vec<i64> = (0..100).map(|number| number * 1_000).collect();
        let found = ranges(&many);
        assert_eq!(found.len(), 16);
        assert!(many.iter().all(|number| {
            found
                .iter()
                .any(|(first, last)| (first..=last).contains(&number))
        }));
    }
}
