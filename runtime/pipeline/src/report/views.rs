//! Views over the tables of `usage`: every message and call once, with prices and sums.
//!
//! They are plain SQL over `usage.messages`, `usage.events` and `usage.prices` for users who query
//! the database directly. They store nothing. Reports read `rollups` instead, which are built from
//! the same SQL and contain the same sums.

use std::sync::LazyLock;

use session_pipeline_host::sandbox::sha256_hex;
use session_pipeline_store::{Store, StoreError};

use crate::report::UNKNOWN_MODELS_MAX;
use crate::report::prices::{PriceRate, PriceTable};
use crate::report::project;

/// The key of a response across files: its id if that is unique by itself, else the key that
/// `usage` computed. Rows of earlier versions of `usage` have no such key. There the id is combined
/// with the request id, or with the session id.
pub(super) const MESSAGE_KEY: &str = "coalesce(
    response_key,
    CASE WHEN length(message_id) >= 20 THEN message_id END,
    CASE WHEN message_id IS NOT NULL THEN concat_ws(chr(31), message_id, coalesce(request_id, session_id)) END
)";

/// The key of a call or command across files.
pub(super) const EVENT_KEY: &str = "coalesce(event_key, tool_id)";

/// The order of copies of a response or call, original first: the copy in the file that started
/// first. Among files that started together, a file that had no other session before the line
/// precedes others, then the main conversation precedes sidechains, then the file that ended first
/// precedes its forks. Ties are broken by path, so that the result does not depend on the order of
/// processing.
pub(super) const ORIGINAL_FIRST: &str =
    "file_started_at NULLS LAST, coalesce(NOT is_own_session, false),
    coalesce(is_sidechain, false), file_ended_at NULLS LAST, session_file, line";

/// Separates rows of a `usage` table by whether their key occurs more than once. `copies` contains
/// the rows that do, with the user whose copies count (`owner`). All other rows are streamed.
///
/// Nearly every key occurs once, so only hashes of keys are grouped first. Rows with a repeated
/// hash are then compared by key.
///
/// If several users have copies, those of the user whose copy was processed in the earliest run
/// count. A later transcript cannot claim another user's usage.
pub(super) fn with_copies(source: &str, key: &str) -> String {
    format!(
        "shared AS MATERIALIZED (
    SELECT hash({key}) AS key_hash FROM {source} AS row_of WHERE {key} IS NOT NULL
    GROUP BY key_hash HAVING count(*) > 1
),
copies AS MATERIALIZED (
    SELECT rowid AS copy FROM {source} AS row_of SEMI JOIN shared ON hash({key}) = key_hash
    WHERE {key} IS NOT NULL
),
recorded AS (
    SELECT row_of.*, {key} AS key, split_part(session_file, '/', 1) AS folder,
        min(coalesce(first_run, 0)) OVER (PARTITION BY {key}, split_part(session_file, '/', 1)) AS recorded_in
    FROM {source} AS row_of SEMI JOIN copies ON row_of.rowid = copy
),
owned AS (
    SELECT *, first_value(folder) OVER (PARTITION BY key ORDER BY recorded_in, {ORIGINAL_FIRST}) AS owner
    FROM recorded
)"
    )
}

/// Every message once over all files.
///
/// The original determines time, place and session. The copy with the most complete token counts
/// determines the tokens: copies outside sidechains first, then the largest total.
pub(super) fn distinct_messages(source: &str) -> String {
    format!(
        "WITH {copies},
ranked AS (
    SELECT *,
        row_number() OVER (copies_of_one ORDER BY {ORIGINAL_FIRST}) AS appearance,
        bool_or(coalesce(is_final, false)) OVER copies_of_one AS is_ever_final,
        first_value(struct_pack({best})) OVER (copies_of_one ORDER BY
            coalesce(is_sidechain, false),
            CAST(coalesce(input_tokens, 0) AS HUGEINT) + coalesce(output_tokens, 0) + coalesce(cache_read_tokens, 0)
                + coalesce(cache_creation_5m_tokens, 0) + coalesce(cache_creation_1h_tokens, 0) DESC,
            coalesce(output_tokens, 0) DESC, coalesce(input_tokens, 0) DESC, coalesce(cache_read_tokens, 0) DESC,
            coalesce(cache_creation_1h_tokens, 0) DESC, coalesce(model, '') DESC, coalesce(speed, '') DESC,
            coalesce(thinking_tokens, 0) DESC
        ) AS best
    FROM owned WHERE folder = owner
    WINDOW copies_of_one AS (PARTITION BY key)
)
SELECT {ORIGINALS}, {tokens}, {billing}, coalesce(is_final, false) AS is_final
FROM {source} AS message ANTI JOIN copies ON message.rowid = copy
UNION ALL
SELECT {ORIGINALS}, {best_tokens}, {best_billing}, is_ever_final
FROM ranked WHERE appearance = 1",
        copies = with_copies(source, MESSAGE_KEY),
        best = [&COUNTS[..], &BILLING]
            .concat()
            .iter()
            .map(|column| format!("{column} := {column}"))
            .collect::<Vec<_>>()
            .join(", "),
        tokens = COUNTS.map(|count| format!("coalesce({count}, 0) AS {count}")).join(", "),
        billing = BILLING.join(", "),
        best_tokens = COUNTS.map(|count| format!("coalesce(best.{count}, 0)")).join(", "),
        best_billing = BILLING.map(|column| format!("best.{column}")).join(", "),
    )
}

/// The columns that the original of a message determines.
const ORIGINALS: &str = "occurred_at, session_id, username, session_seq, session_file, line, cwd, project, git_branch,
    message_id, request_id, response_key, agent_id, agent_type, skill, plugin, mcp_server, effort, entrypoint,
    is_automated, pull_request, coalesce(agent, 'claude') AS agent, provider, coalesce(source, CASE WHEN is_sidechain THEN 'subagent' ELSE 'main' END) AS source";

/// The counts of a message, which are those of its most complete copy.
pub(super) const COUNTS: [&str; 6] = [
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_creation_5m_tokens",
    "cache_creation_1h_tokens",
    "web_searches",
];

/// The other columns that determine the cost. They come from the same copy as the counts.
pub(super) const BILLING: [&str; 9] = [
    "model",
    "speed",
    "thinking_tokens",
    "is_sidechain",
    "requests",
    "inference_geo",
    "service_tier",
    "stop_reason",
    "request_count",
];

/// The rates of each model that occurs.
///
/// An entry for the exact id takes precedence over one for the model's name. The name of a Claude
/// model is its id without provider, region, date, provider version, context window and thinking
/// suffix, with `.` replaced by `-`. For example, `us.anthropic.claude-sonnet-4-5-20250929-v1:0`
/// becomes `claude-sonnet-4-5` with a region. Gateways swap version and kind: `claude-4.6-opus`
/// becomes `claude-opus-4-6` if only that name has a price.
const RATES: &str = r"CREATE OR REPLACE VIEW usage.rates AS
WITH ids AS (
    SELECT model, regexp_replace(lower(trim(model)), '\[1m\]$', '') AS id
    FROM (SELECT DISTINCT model FROM usage.messages WHERE model IS NOT NULL)
),
spelled AS (
    SELECT model, id,
        replace(regexp_extract(
            translate(id, ' _', '--'),
            '^(?:.*[/.])?(claude-[a-z0-9.-]*?)(?:-(?:\d{8}|latest|thinking|reasoning|1m))*(?:-v\d+(?::\d+)?)?(?:@(?:\d{8}|latest|default))?(?:[:-]thinking)?$',
            1
        ), '.', '-') AS spelling,
        regexp_matches(id, '(?:^|/)[a-z-]+\.anthropic\.') AND NOT regexp_matches(id, '(?:^|/)global\.') AS is_regional,
        EXISTS (FROM usage.prices WHERE prices.is_exact AND prices.model = id) AS is_exact
    FROM ids
),
spellings AS (
    SELECT * EXCLUDE (spelling), unnest([
        spelling,
        regexp_replace(spelling, '^claude-(\d+(?:-\d{1,2})?)-([a-z]+)$', 'claude-\2-\1'),
        regexp_replace(spelling, '^claude-([a-z]+)-(\d+(?:-\d{1,2})?)$', 'claude-\2-\1')
    ]) AS name, unnest([1, 2, 3]) AS preference
    FROM spelled
),
named AS (
    SELECT spellings.model, id, is_regional, spellings.is_exact, arg_min(known.model, preference) AS name
    FROM spellings LEFT JOIN (SELECT DISTINCT model FROM usage.prices WHERE NOT is_exact) AS known
        ON known.model = spellings.name
    GROUP BY ALL
)
SELECT named.model, prices.* EXCLUDE (model, is_exact, is_regional)
FROM named JOIN usage.prices ON prices.is_exact = named.is_exact
    AND prices.model = CASE WHEN named.is_exact THEN named.id ELSE named.name END
    AND prices.is_regional = (named.is_regional AND NOT named.is_exact)";

/// The condition under which a rate applies to a message. Messages without a timestamp use current
/// rates. A row with the tokens of several requests has no context of its own, so that the tier of
/// the long context does not apply.
const HOLDS: &str = "rate.model = message.model
    AND rate.is_fast = (coalesce(message.speed, '') = 'fast')
    AND rate.is_us = (coalesce(message.inference_geo, '') = 'us')
    AND rate.is_batch = (coalesce(message.service_tier, '') = 'batch')
    AND coalesce(message.occurred_at, TIMESTAMP '9999-12-30') >= rate.begins_at
    AND coalesce(message.occurred_at, TIMESTAMP '9999-12-30') < rate.ends_at
    AND CASE WHEN request_count = 0 THEN 0 ELSE CAST(input_tokens AS DOUBLE) + cache_read_tokens + cache_creation_5m_tokens + cache_creation_1h_tokens END > rate.context_above
    AND CASE WHEN request_count = 0 THEN 0 ELSE CAST(input_tokens AS DOUBLE) + cache_read_tokens + cache_creation_5m_tokens + cache_creation_1h_tokens END <= rate.context_upto";

/// Messages split into the requests that are billed, with columns `is_first`, `is_refused` and
/// `is_free`.
///
/// A message usually is one request. If the API needed several, the tier of the long context is
/// decided for each, so [`HOLDS`] must see their tokens apart. A refusal without output is not
/// billed.
fn requests(messages: &str) -> String {
    format!(
        "SELECT *, NOT is_billed OR (input_tokens = 0 AND output_tokens = 0 AND cache_read_tokens = 0
            AND cache_creation_5m_tokens = 0 AND cache_creation_1h_tokens = 0 AND web_searches = 0) AS is_free
    FROM (
        SELECT * EXCLUDE (requests, stop_reason), true AS is_first,
            NOT coalesce(stop_reason = 'refusal' AND output_tokens = 0, false) AS is_billed
        FROM {messages} WHERE TRY_CAST(requests AS BIGINT[][]) IS NULL
        UNION ALL
        SELECT * EXCLUDE (requests, stop_reason, request, number) REPLACE (
            request[1] AS input_tokens, request[2] AS output_tokens, request[3] AS cache_read_tokens,
            request[4] AS cache_creation_5m_tokens, request[5] AS cache_creation_1h_tokens,
            CASE WHEN number = 1 THEN web_searches ELSE 0 END AS web_searches
        ), number = 1, NOT coalesce(stop_reason = 'refusal' AND request[2] = 0, false)
        FROM (
            SELECT *, unnest(TRY_CAST(requests AS BIGINT[][])) AS request,
                generate_subscripts(TRY_CAST(requests AS BIGINT[][]), 1) AS number
            FROM {messages} WHERE TRY_CAST(requests AS BIGINT[][]) IS NOT NULL
        )
    )"
    )
}

/// Messages with their cost, or NULL without a price. Messages that are not billed and messages
/// that the agent generated itself are free.
fn priced_messages() -> String {
    format!(
        "CREATE OR REPLACE VIEW usage.priced_messages AS
WITH messages AS MATERIALIZED (SELECT *, row_number() OVER () AS message_number FROM usage.distinct_messages),
costs AS (
    SELECT message_number, CASE WHEN count(*) = count(cost_usd) THEN sum(cost_usd) END AS cost_usd
    FROM (
        SELECT message_number, {} AS cost_usd
        FROM ({}) AS message LEFT JOIN usage.rates AS rate ON {HOLDS}
    )
    GROUP BY ALL
)
SELECT messages.* EXCLUDE (message_number), CAST(cost_usd AS DECIMAL(38, 12)) AS cost_usd
FROM messages LEFT JOIN costs USING (message_number)",
        cost("message.model"),
        requests("messages"),
    )
}

/// SQL for the cost of tokens with the same rate.
fn cost(model: &str) -> String {
    format!(
        "CASE
        WHEN {model} = '<synthetic>' OR is_free THEN CAST(0 AS DECIMAL(38, 12))
        ELSE CAST(input_tokens * rate.input + output_tokens * rate.output + cache_read_tokens * rate.cache_read
            + cache_creation_5m_tokens * rate.cache_write_5m + cache_creation_1h_tokens * rate.cache_write_1h
            + web_searches * rate.web_search AS DECIMAL(38, 12))
    END"
    )
}

/// Every event once over all files: calls of tools, and slash commands. A subagent's call is in its
/// own file and in the parent's progress lines, and possibly only one of them contains the result.
pub(super) fn distinct_events(source: &str) -> String {
    format!(
        "WITH {copies},
ranked AS (
    SELECT *,
        row_number() OVER (event ORDER BY {ORIGINAL_FIRST}) AS appearance,
        bool_or(coalesce(is_error, false)) OVER event AS is_ever_error,
        min(error_class) OVER event AS any_error_class,
        min(duration_ms) OVER event AS any_duration_ms
    FROM owned WHERE folder = owner
    WINDOW event AS (PARTITION BY key)
)
SELECT {EVENT_COLUMNS}, coalesce(is_error, false) AS is_error, error_class, duration_ms
FROM {source} AS event ANTI JOIN copies ON event.rowid = copy
UNION ALL
SELECT {EVENT_COLUMNS}, is_ever_error, any_error_class, any_duration_ms
FROM ranked WHERE appearance = 1",
        copies = with_copies(source, EVENT_KEY),
    )
}

/// The columns that the original of an event determines.
const EVENT_COLUMNS: &str = "occurred_at, session_id, username, session_seq, session_file, line, event_uuid, parent_uuid,
    cwd, CAST(NULL AS VARCHAR) AS project, git_branch, tool_id, tool_name, event_type, source, plugin, mcp_server,
    skill_name, subagent_type, command_name, is_sidechain, model, agent_version, processor_version, recorded_at, event_key,
    coalesce(agent, 'claude') AS agent";

/// Every instance of waste once over all files.
pub(super) fn distinct_waste(source: &str) -> String {
    format!(
        "WITH {copies},
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY key ORDER BY {ORIGINAL_FIRST}) AS appearance
    FROM owned WHERE folder = owner
)
SELECT {WASTE_COLUMNS} FROM {source} AS waste ANTI JOIN copies ON waste.rowid = copy
UNION ALL
SELECT {WASTE_COLUMNS} FROM ranked WHERE appearance = 1",
        copies = with_copies(source, "waste_key"),
    )
}

const WASTE_COLUMNS: &str = "occurred_at, session_id, session_seq, session_file, line, kind, model, instances, waste_key,
    input_tokens, output_tokens, cache_read_tokens, cache_creation_5m_tokens, cache_creation_1h_tokens";

/// Waste with its cost, at the ordinary rates of its model: whether a request was fast or a batch
/// is a choice, and not a part of the waste.
pub(super) fn priced_waste(waste: &str) -> String {
    format!(
        "SELECT waste.*, CASE
            WHEN input_tokens = 0 AND output_tokens = 0 AND cache_read_tokens = 0
                AND cache_creation_5m_tokens = 0 AND cache_creation_1h_tokens = 0 THEN 0
            ELSE input_tokens * rate.input + output_tokens * rate.output + cache_read_tokens * rate.cache_read
                + cache_creation_5m_tokens * rate.cache_write_5m + cache_creation_1h_tokens * rate.cache_write_1h
            END AS cost_usd
        FROM ({waste}) AS waste LEFT JOIN usage.rates AS rate
            ON rate.model = waste.model AND NOT (is_fast OR is_us OR is_batch) AND context_above < 0
            AND coalesce(occurred_at, TIMESTAMP '9999-12-30') >= begins_at
            AND coalesce(occurred_at, TIMESTAMP '9999-12-30') < ends_at"
    )
}

/// The largest number in a report. Only fabricated token counts can reach it.
pub(super) const MOST: &str = "9223372036854775807";

/// Messages grouped by a key, session, model and rate, with their cost.
///
/// Tokens are summed per session and rate before they are priced, which reduces millions of
/// messages to thousands of sums. Messages without tokens form separate groups, so that costs are
/// the same at every granularity. A compaction within a message costs tokens, but is not counted as
/// a message, and neither is an attempt by another model.
pub(super) fn priced(key: &str, messages: &str) -> String {
    format!(
        "WITH rates AS MATERIALIZED (SELECT *, row_number() OVER () AS rate_id FROM usage.rates),
spent AS (
    SELECT {key}, session_id, message.model, rate.rate_id, is_free, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
        sum(cache_read_tokens) AS cache_read_tokens, sum(cache_creation_5m_tokens) AS cache_creation_5m_tokens,
        sum(cache_creation_1h_tokens) AS cache_creation_1h_tokens, sum(web_searches) AS web_searches,
        CAST(coalesce(sum(coalesce(request_count, 1)) FILTER (is_first AND NOT coalesce(regexp_matches(message_id, ':(compaction|fallback):'), false)), 0) AS BIGINT) AS message_count,
        count(*) FILTER (is_first AND NOT is_final) AS open_count
    FROM ({}) AS message LEFT JOIN rates AS rate ON {HOLDS}
    GROUP BY ALL
)
SELECT spent.*, {} AS cost_usd FROM spent LEFT JOIN rates AS rate ON rate.rate_id = spent.rate_id",
        requests(messages),
        cost("spent.model")
    )
}

/// SQL for the number of distinct session ids.
pub(super) const SESSIONS: &str = "count(DISTINCT session_id)";

/// The sums of every view and report, over rows of [`priced`] with these key columns, of which the
/// first is `key`.
///
/// `sessions` is SQL for the number of sessions: [`SESSIONS`], unless a cheaper expression is equal.
pub(super) fn sums(priced: &str, keys: &str, sessions: &str, grouping: &str) -> String {
    let sum = |tokens: &str, name: &str| {
        format!("CAST(least(coalesce(sum({tokens}), 0), {MOST}) AS BIGINT) AS {name}")
    };
    let sums = [
        sum("input_tokens", "input_tokens"),
        sum("output_tokens", "output_tokens"),
        sum("cache_read_tokens", "cache_read_tokens"),
        sum(
            "CAST(cache_creation_5m_tokens AS HUGEINT) + cache_creation_1h_tokens",
            "cache_creation_tokens",
        ),
        "CASE WHEN count(*) = 0 THEN 0 ELSE sum(cost_usd) END AS cost_usd".to_owned(),
        // Without a final output count, the cost is a lower bound too.
        "coalesce(bool_or(cost_usd IS NULL OR open_count > 0), false) AS cost_is_lower_bound".to_owned(),
        "coalesce(bool_or(open_count > 0), false) AS output_is_lower_bound".to_owned(),
        // A transcript can contain any number of names, and the list is in every row.
        format!(
            "coalesce(list_sort(list(DISTINCT model) FILTER (cost_usd IS NULL AND model IS NOT NULL))[:{UNKNOWN_MODELS_MAX}], []) AS unknown_models"
        ),
        "CAST(coalesce(sum(message_count), 0) AS BIGINT) AS messages".to_owned(),
        format!("{sessions} AS sessions"),
        sum("web_searches", "web_searches"),
        "CAST(coalesce(sum(open_count), 0) AS BIGINT) AS open_messages".to_owned(),
        "CAST(coalesce(sum(message_count) FILTER (cost_usd IS NULL), 0) AS BIGINT) AS unpriced_messages".to_owned(),
    ]
    .join(", ");
    format!("SELECT GROUPING(key) AS is_total, {keys}, {sums} FROM ({priced}) GROUP BY {grouping}")
}

fn by_key(key: &str) -> String {
    sums(
        &priced(&format!("{key} AS key"), "usage.distinct_messages"),
        "key",
        SESSIONS,
        "key",
    )
}

/// The counts of calls.
const CALLS: &str = "count(*) AS calls,
    count(*) FILTER (is_error) AS errors,
    count(*) FILTER (error_class = 'tool_error') AS tool_errors,
    count(*) FILTER (error_class = 'exit_code') AS exit_codes,
    count(*) FILTER (error_class = 'rejected') AS rejected,
    count(*) FILTER (error_class = 'sibling_failed') AS siblings_failed";

/// The first folder of a session's key, which determines its user.
pub(super) const DIRECTORY: &str = "split_part(session_file, '/', 1)";

/// The current user of each folder, by the rule of [`crate::identity::resolve`].
///
/// Rows contain the user's name at the time they were written. Reports resolve the current name, so
/// that a user who is created later is recognized.
const DIRECTORIES: &str = "CREATE OR REPLACE VIEW usage.directories AS
WITH by_id AS (SELECT id AS directory, email FROM main.users),
by_local_part AS (
    SELECT split_part(email, '@', 1) AS directory, first(email ORDER BY updated_at DESC, id) AS email
    FROM main.users WHERE contains(email, '@') GROUP BY ALL
)
FROM by_id UNION ALL (FROM by_local_part ANTI JOIN by_id USING (directory))";

/// SQL for rows of `usage` with current user names.
pub(super) fn with_names(rows: &str) -> String {
    format!(
        "SELECT named.* REPLACE (coalesce(directories.email, {DIRECTORY}) AS username)
         FROM ({rows}) AS named LEFT JOIN usage.directories ON directories.directory = {DIRECTORY}"
    )
}

/// The views, ordered by dependency.
fn views() -> Vec<String> {
    let by = |view: &str, key: &str, column: &str| {
        format!(
            "CREATE OR REPLACE VIEW usage.{view} AS SELECT key AS {column}, * EXCLUDE (key, is_total) FROM ({})",
            by_key(key)
        )
    };
    vec![
        DIRECTORIES.to_owned(),
        format!(
            "CREATE OR REPLACE VIEW usage.distinct_messages AS {}",
            with_names(&distinct_messages("usage.messages"))
        ),
        RATES.to_owned(),
        priced_messages(),
        format!(
            "CREATE OR REPLACE VIEW usage.distinct_events AS {}",
            with_names(&distinct_events("usage.events"))
        ),
        "CREATE OR REPLACE VIEW usage.distinct_calls AS FROM usage.distinct_events WHERE tool_name IS NOT NULL"
            .to_owned(),
        by("daily", "CAST(occurred_at AS DATE)", "day"),
        by("monthly", "strftime(occurred_at, '%Y-%m')", "month"),
        by("by_user", "username", "username"),
        by("by_project", project::PATH, "project"),
        by("by_project_name", &project::name_of(project::PATH), "project_name"),
        by_session(),
        format!(
            "CREATE OR REPLACE VIEW usage.by_tool AS
             SELECT tool_name AS tool, {CALLS}, count(DISTINCT session_id) AS sessions
             FROM usage.distinct_calls GROUP BY 1"
        ),
        by("by_agent", "agent", "agent"),
        by("by_provider", "provider", "provider"),
        by("by_model", "message.model", "model"),
    ]
}

static VIEWS_HASH: LazyLock<String> = LazyLock::new(|| sha256_hex(views().concat().as_bytes()));

/// The fingerprint of everything that figures depend on: the SQL of the views, and the prices.
pub(super) fn fingerprint(prices: &PriceTable) -> String {
    format!("{} {}", *VIEWS_HASH, prices_hash(prices))
}

/// Whether an earlier version created the tables of `usage`, so that the views of this version miss
/// columns.
///
/// # Errors
/// If the database fails.
pub(crate) fn is_outdated(store: &Store) -> Result<bool, StoreError> {
    store
        .reader()?
        .query_row(
            "SELECT count(*) FILTER (column_name = 'message_id') > 0 AND count(*) FILTER (column_name = 'request_count') = 0
             FROM duckdb_columns() WHERE schema_name = 'usage' AND table_name = 'messages'
                AND database_name = current_database()",
            [],
            |row| row.get(0),
        )
        .map_err(StoreError::database("read the tables of `usage`"))
}

/// Creates the views over the tables of `usage` and the price table, if they differ from those of
/// this version and configuration.
///
/// # Errors
/// If the database fails.
pub(crate) fn register(store: &Store, prices: &PriceTable) -> Result<(), StoreError> {
    // The hashes are stored in comments, because DuckDB rewrites the SQL of views.
    let fingerprint = &*VIEWS_HASH;
    let mut statements = Vec::new();
    if !are_in_effect(store, prices)? {
        statements.extend(price_table(prices));
    }
    let known: Option<String> = store
        .reader()?
        .query_row(
            "SELECT max(comment) FROM duckdb_views() WHERE schema_name = 'usage' AND view_name = 'by_model'",
            [],
            |row| row.get(0),
        )
        .map_err(StoreError::database("read the report views"))?;
    if known.as_ref() != Some(fingerprint) {
        statements.extend(views());
        statements.push(format!("COMMENT ON VIEW usage.by_model IS '{fingerprint}'"));
    }
    if statements.is_empty() {
        return Ok(());
    }
    store.change_tables(statements)
}

/// The sums of a session include only messages that first appeared in it. `held_messages` counts
/// all messages in its files, including copies from other sessions.
fn by_session() -> String {
    format!(
        "CREATE OR REPLACE VIEW usage.by_session AS
WITH new AS (SELECT key AS session_id, * EXCLUDE (key, is_total, sessions) FROM ({})),
held AS (
    SELECT session_id, min(username) AS username, min(started_at) AS started_at, max(ended_at) AS ended_at,
        CAST(coalesce(sum(messages), 0) AS BIGINT) AS held_messages, count(*) AS files
    FROM ({}) GROUP BY 1
)
SELECT session_id, held.username, held.started_at, held.ended_at,
    coalesce(input_tokens, 0) AS input_tokens, coalesce(output_tokens, 0) AS output_tokens,
    coalesce(cache_read_tokens, 0) AS cache_read_tokens, coalesce(cache_creation_tokens, 0) AS cache_creation_tokens,
    CASE WHEN messages IS NULL THEN 0 ELSE cost_usd END AS cost_usd,
    coalesce(cost_is_lower_bound, false) AS cost_is_lower_bound,
    coalesce(output_is_lower_bound, false) AS output_is_lower_bound,
    coalesce(unknown_models, []) AS unknown_models, coalesce(messages, 0) AS messages,
    coalesce(held_messages, 0) AS held_messages, coalesce(files, 0) AS files
FROM new FULL JOIN held USING (session_id)",
        by_key("session_id"),
        with_names("FROM usage.sessions")
    )
}

fn price_table(prices: &PriceTable) -> Vec<String> {
    let mut statements = vec![
        "CREATE OR REPLACE TABLE usage.prices (
            model VARCHAR NOT NULL, is_exact BOOLEAN NOT NULL, is_regional BOOLEAN NOT NULL, is_us BOOLEAN NOT NULL,
            is_batch BOOLEAN NOT NULL, is_fast BOOLEAN NOT NULL,
            begins_at TIMESTAMP NOT NULL, ends_at TIMESTAMP NOT NULL,
            context_above DOUBLE NOT NULL, context_upto DOUBLE NOT NULL,
            input DECIMAL(18, 12) NOT NULL, output DECIMAL(18, 12) NOT NULL, cache_read DECIMAL(18, 12) NOT NULL,
            cache_write_5m DECIMAL(18, 12) NOT NULL, cache_write_1h DECIMAL(18, 12) NOT NULL,
            web_search DECIMAL(18, 12) NOT NULL
        )"
        .to_owned(),
    ];
    let rows = price_rows(prices);
    if !rows.is_empty() {
        statements.push(format!(
            "INSERT INTO usage.prices VALUES {}",
            rows.join(", ")
        ));
    }
    statements.push(format!(
        "COMMENT ON TABLE usage.prices IS '{}'",
        prices_hash(prices)
    ));
    statements
}

fn are_in_effect(store: &Store, prices: &PriceTable) -> Result<bool, StoreError> {
    let known: Option<String> = store
        .reader()?
        .query_row(
            "SELECT max(comment) FROM duckdb_tables() WHERE schema_name = 'usage' AND table_name = 'prices'",
            [],
            |row| row.get(0),
        )
        .map_err(StoreError::database("read the prices"))?;
    Ok(known == Some(prices_hash(prices)))
}

fn prices_hash(prices: &PriceTable) -> String {
    sha256_hex(price_rows(prices).concat().as_bytes())
}

fn price_rows(prices: &PriceTable) -> Vec<String> {
    prices.rates.iter().map(price_row).collect()
}

/// A rate as a row of SQL values, in dollars per token.
fn price_row(rate: &PriceRate) -> String {
    let per_token = |pico_dollars: i64| super::Usd {
        pico_dollars: pico_dollars.into(),
    };
    let amounts = rate.amounts;
    format!(
        "('{}', {}, {}, {}, {}, {}, TIMESTAMP '{}', TIMESTAMP '{}', {}, {}, {}, {}, {}, {}, {}, {})",
        rate.model.replace('\'', "''"),
        rate.is_exact,
        rate.is_regional,
        rate.is_us,
        rate.is_batch,
        rate.is_fast,
        rate.from,
        rate.before
            .map_or_else(|| "9999-12-31".to_owned(), |before| before.to_string()),
        rate.context_above,
        // Fabricated token counts can exceed the largest integer.
        rate.context_upto
            .map_or_else(|| "'infinity'".to_owned(), |upto| upto.to_string()),
        per_token(amounts.input),
        per_token(amounts.output),
        per_token(amounts.cache_read),
        per_token(amounts.cache_write_5m),
        per_token(amounts.cache_write_1h),
        per_token(rate.web_search),
    )
}
