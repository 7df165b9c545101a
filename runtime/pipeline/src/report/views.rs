//! The views over what `usage` keeps: every message and every call once, priced and summed.
//!
//! They are plain SQL over `usage.messages`, `usage.events` and `usage.prices`, for whoever asks the
//! database by themselves; nothing in them is kept. Reports come from `rollups`, which is made of
//! the same SQL and says the same.

use std::sync::LazyLock;

use session_pipeline_host::sandbox::sha256_hex;
use session_pipeline_store::{Store, StoreError};

use crate::report::UNKNOWN_MODELS_MAX;
use crate::report::prices::{Prices, Rate};

/// What identifies a response across files: its id where that is unique by itself, else what
/// `usage` found to identify it. Rows of its earlier versions have neither; there the id is taken
/// together with the request, or else the session.
pub(super) const MESSAGE_KEY: &str = "coalesce(
    response_key,
    CASE WHEN length(message_id) >= 20 THEN message_id END,
    CASE WHEN message_id IS NOT NULL THEN concat_ws(chr(31), message_id, coalesce(request_id, session_id)) END
)";

/// What identifies a call or a command across files.
pub(super) const EVENT_KEY: &str = "coalesce(event_key, tool_id)";

/// The order of the copies of one response or call, the original first: the one in the file that
/// began first; of files that began together, the one that has had no other session before the
/// line, that of the conversation, the one that ended first (what a fork repeats, it continues).
/// Ties are broken by the path, so that the order in which files were processed never shows.
const ORIGINAL_FIRST: &str = "file_started_at NULLS LAST, coalesce(NOT is_own_session, false),
    coalesce(is_sidechain, false), file_ended_at NULLS LAST, session_file, line";

/// Rows of a table of `usage`, told apart by whether others have the same key: `copies` has those that
/// share one, with the user whose copies count (`owner`), and the rest is left to stream by.
///
/// Nearly every row is there once. So only the hashes of keys are grouped; what shares one with
/// another row is then told apart in full.
///
/// Of the copies of several users, those of the user count whose copy an earlier run processed: a
/// transcript that comes later can't take over what another user has spent, whatever it says.
fn with_copies(source: &str, key: &str, only: &str) -> String {
    format!(
        "shared AS MATERIALIZED (
    SELECT hash({key}) AS key_hash FROM {source} AS row_of WHERE {only} AND {key} IS NOT NULL
    GROUP BY key_hash HAVING count(*) > 1
),
copies AS MATERIALIZED (
    SELECT rowid AS copy FROM {source} AS row_of SEMI JOIN shared ON hash({key}) = key_hash
    WHERE {only} AND {key} IS NOT NULL
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
/// The original says when, where and in which session; the copy with the most complete figures gives
/// the tokens: not a sidechain's replay, then the largest total.
pub(super) fn distinct_messages(source: &str) -> String {
    format!(
        "WITH {copies},
ranked AS (
    SELECT *,
        row_number() OVER (copies_of_one ORDER BY {ORIGINAL_FIRST}) AS appearance,
        bool_or(coalesce(is_final, false)) OVER copies_of_one AS is_ever_final,
        first_value(struct_pack(
            model := model, speed := speed, thinking_tokens := thinking_tokens, is_sidechain := is_sidechain,
            input_tokens := input_tokens, output_tokens := output_tokens, cache_read_tokens := cache_read_tokens,
            cache_creation_5m_tokens := cache_creation_5m_tokens,
            cache_creation_1h_tokens := cache_creation_1h_tokens
        )) OVER (copies_of_one ORDER BY
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
SELECT occurred_at, session_id, username, session_seq, session_file, line, cwd, git_branch, message_id, request_id,
    model, speed, coalesce(input_tokens, 0) AS input_tokens, coalesce(output_tokens, 0) AS output_tokens,
    coalesce(cache_read_tokens, 0) AS cache_read_tokens,
    coalesce(cache_creation_5m_tokens, 0) AS cache_creation_5m_tokens,
    coalesce(cache_creation_1h_tokens, 0) AS cache_creation_1h_tokens,
    thinking_tokens, is_sidechain, coalesce(is_final, false) AS is_final, response_key
FROM {source} AS message ANTI JOIN copies ON message.rowid = copy
UNION ALL
SELECT occurred_at, session_id, username, session_seq, session_file, line, cwd, git_branch, message_id, request_id,
    best.model, best.speed, coalesce(best.input_tokens, 0), coalesce(best.output_tokens, 0),
    coalesce(best.cache_read_tokens, 0), coalesce(best.cache_creation_5m_tokens, 0),
    coalesce(best.cache_creation_1h_tokens, 0), best.thinking_tokens, best.is_sidechain, is_ever_final, response_key
FROM ranked WHERE appearance = 1",
        copies = with_copies(source, MESSAGE_KEY, "true"),
    )
}

/// What each model that occurs costs, under all circumstances.
///
/// An entry for the id itself goes before one for the model's name. The name of a Claude model is
/// what is left of its id without provider, region, date, version of a provider's, window and marks
/// of thinking, with `-` for `.`: `us.anthropic.claude-sonnet-4-5-20250929-v1:0` is
/// `claude-sonnet-4-5` in a region. Gateways swap version and kind: `claude-4.6-opus` is
/// `claude-opus-4-6` where only that has a price.
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

/// When a rate holds for a message. One without a time costs what it would today.
const HOLDS: &str = "rate.model = message.model
    AND rate.is_fast = (coalesce(message.speed, '') = 'fast')
    AND coalesce(message.occurred_at, TIMESTAMP '9999-12-30') >= rate.begins_at
    AND coalesce(message.occurred_at, TIMESTAMP '9999-12-30') < rate.ends_at
    AND CAST(input_tokens AS DOUBLE) + cache_read_tokens + cache_creation_5m_tokens + cache_creation_1h_tokens > rate.context_above
    AND CAST(input_tokens AS DOUBLE) + cache_read_tokens + cache_creation_5m_tokens + cache_creation_1h_tokens <= rate.context_upto";

/// Messages with their cost; NULL where nobody knows the price. What has no tokens, and what the
/// agent made up itself, costs nothing.
fn priced_messages() -> String {
    format!(
        "CREATE OR REPLACE VIEW usage.priced_messages AS
SELECT message.*, {} AS cost_usd
FROM usage.distinct_messages AS message LEFT JOIN usage.rates AS rate ON {HOLDS}",
        cost("message.model")
    )
}

/// The cost of tokens that one rate holds for.
fn cost(model: &str) -> String {
    format!(
        "CASE
        WHEN {model} = '<synthetic>' THEN CAST(0 AS DECIMAL(38, 12))
        WHEN input_tokens = 0 AND output_tokens = 0 AND cache_read_tokens = 0
            AND cache_creation_5m_tokens = 0 AND cache_creation_1h_tokens = 0 THEN CAST(0 AS DECIMAL(38, 12))
        ELSE CAST(input_tokens * rate.input + output_tokens * rate.output + cache_read_tokens * rate.cache_read
            + cache_creation_5m_tokens * rate.cache_write_5m + cache_creation_1h_tokens * rate.cache_write_1h
            AS DECIMAL(38, 12))
    END"
    )
}

/// Every call of a tool once over all files: a sub-agent's stands in its own file and in the
/// parent's progress lines, and only one of them may hold how it ended.
pub(super) fn distinct_calls(source: &str) -> String {
    format!(
        "WITH {copies},
ranked AS (
    SELECT *,
        row_number() OVER (call ORDER BY {ORIGINAL_FIRST}) AS appearance,
        bool_or(coalesce(is_error, false)) OVER call AS is_ever_error,
        min(error_class) OVER call AS any_error_class
    FROM owned WHERE folder = owner
    WINDOW call AS (PARTITION BY key)
)
SELECT occurred_at, session_id, username, session_seq, session_file, line, cwd, git_branch, tool_id, tool_name, event_type, source,
    plugin, mcp_server, skill_name, subagent_type, coalesce(is_error, false) AS is_error, error_class, event_key
FROM {source} AS event ANTI JOIN copies ON event.rowid = copy
WHERE tool_name IS NOT NULL
UNION ALL
SELECT occurred_at, session_id, username, session_seq, session_file, line, cwd, git_branch, tool_id, tool_name, event_type, source,
    plugin, mcp_server, skill_name, subagent_type, is_ever_error, any_error_class, event_key
FROM ranked WHERE appearance = 1",
        copies = with_copies(source, EVENT_KEY, "tool_name IS NOT NULL"),
    )
}

/// Every event once over all files, commands and calls: the rows of `usage.events` that are no copies.
fn distinct_events() -> String {
    format!(
        "CREATE OR REPLACE VIEW usage.distinct_events AS
WITH {copies},
ranked AS (
    SELECT rowid AS copy, row_number() OVER (PARTITION BY key ORDER BY {ORIGINAL_FIRST}) AS appearance
    FROM owned WHERE folder = owner
)
SELECT * FROM usage.events AS event ANTI JOIN copies ON event.rowid = copy
UNION ALL
SELECT * FROM usage.events AS event SEMI JOIN (FROM ranked WHERE appearance = 1) AS original ON event.rowid = copy",
        copies = with_copies("(SELECT rowid, * FROM usage.events)", EVENT_KEY, "true"),
    )
}

/// The largest number that a report can hold; only made-up tokens come near it.
const MOST: &str = "9223372036854775807";

/// Messages by a key, their session, model and rate, with what they cost.
///
/// Tokens are summed for each session and rate first, and priced then: millions of messages come
/// down to thousands of sums before anything costly is done with them.
/// What has no tokens stays apart, so that these sums add up to the same cost at every grain.
/// A compaction within a message costs tokens and is not a message.
pub(super) fn priced(key: &str, messages: &str) -> String {
    format!(
        "WITH rates AS MATERIALIZED (SELECT *, row_number() OVER () AS rate_id FROM usage.rates),
spent AS (
    SELECT {key}, session_id, message.model, rate.rate_id,
        input_tokens = 0 AND output_tokens = 0 AND cache_read_tokens = 0
            AND cache_creation_5m_tokens = 0 AND cache_creation_1h_tokens = 0 AS is_free,
        sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
        sum(cache_read_tokens) AS cache_read_tokens, sum(cache_creation_5m_tokens) AS cache_creation_5m_tokens,
        sum(cache_creation_1h_tokens) AS cache_creation_1h_tokens,
        count(*) FILTER (NOT coalesce(contains(message_id, ':compaction:'), false)) AS message_count, bool_and(is_final) AS is_final
    FROM {messages} AS message LEFT JOIN rates AS rate ON {HOLDS}
    GROUP BY ALL
)
SELECT spent.*, {} AS cost_usd FROM spent LEFT JOIN rates AS rate ON rate.rate_id = spent.rate_id",
        cost("spent.model")
    )
}

/// The sums that every view and every report share, over rows of [`priced`] with a `key`.
pub(super) fn sums(priced: &str, grouping: &str) -> String {
    let sum = |tokens: &str, name: &str| {
        format!("CAST(least(coalesce(sum({tokens}), 0), {MOST}) AS BIGINT) AS {name}")
    };
    let sums = [
        sum("input_tokens", "input_tokens"),
        sum("output_tokens", "output_tokens"),
        sum("cache_read_tokens", "cache_read_tokens"),
        sum(
            "cache_creation_5m_tokens + cache_creation_1h_tokens",
            "cache_creation_tokens",
        ),
        "CASE WHEN count(*) = 0 THEN 0 ELSE sum(cost_usd) END AS cost_usd".to_owned(),
        // What has no final output count costs at least this, too.
        "coalesce(bool_or(cost_usd IS NULL OR NOT is_final), false) AS cost_is_lower_bound".to_owned(),
        "coalesce(bool_or(NOT is_final), false) AS output_is_lower_bound".to_owned(),
        // A transcript can make up any number of names, and they are part of every row.
        format!(
            "coalesce(list_sort(list(DISTINCT model) FILTER (cost_usd IS NULL AND model IS NOT NULL))[:{UNKNOWN_MODELS_MAX}], []) AS unknown_models"
        ),
        "CAST(coalesce(sum(message_count), 0) AS BIGINT) AS messages".to_owned(),
        "count(DISTINCT session_id) AS sessions".to_owned(),
    ]
    .join(", ");
    format!("SELECT GROUPING(key) AS is_total, key, {sums} FROM ({priced}) GROUP BY {grouping}")
}

fn by_key(key: &str) -> String {
    sums(
        &priced(&format!("{key} AS key"), "usage.distinct_messages"),
        "key",
    )
}

/// The counts of calls.
pub(super) const CALLS: &str = "count(*) AS calls,
    count(*) FILTER (is_error) AS errors,
    count(*) FILTER (error_class = 'tool_error') AS tool_errors,
    count(*) FILTER (error_class = 'exit_code') AS exit_codes,
    count(*) FILTER (error_class = 'rejected') AS rejected,
    count(*) FILTER (error_class = 'sibling_failed') AS siblings_failed";

/// The repository that a folder belongs to, where its path tells (COUNTING, wish 9): whatever lies
/// below a folder of work trees (`.claude/worktrees`, `.git/worktrees`, `.worktrees`, or beside the repository
/// `<repository>.worktrees` and `<repository>-worktrees`) belongs to the repository it was made for.
/// The letter of a drive is the same in either case.
pub(super) const PROJECT: &str = r"regexp_replace(
    regexp_replace(
        CASE WHEN regexp_matches(cwd, '^[a-z]:') THEN upper(left(cwd, 1)) || substr(cwd, 2) ELSE cwd END,
        '(.)[/\\]+$', '\1'
    ),
    '^(.+?)(?:[/\\]\.claude[/\\]worktrees|[/\\]\.git[/\\]worktrees|[/\\]\.worktrees|\.worktrees|-worktrees)[/\\].*$', '\1'
)";

/// The folder that a session is in, which its user is found by.
pub(super) const DIRECTORY: &str = "split_part(session_file, '/', 1)";

/// Whose sessions a folder holds, by the users of now: as [`crate::identity::resolve`] finds them.
///
/// Rows have the name that the user had when they were written. A user who is created later is the
/// same person, so names are resolved when somebody asks.
const DIRECTORIES: &str = "CREATE OR REPLACE VIEW usage.directories AS
WITH by_id AS (SELECT id AS directory, email FROM main.users),
by_local_part AS (
    SELECT split_part(email, '@', 1) AS directory, first(email ORDER BY updated_at DESC, id) AS email
    FROM main.users WHERE contains(email, '@') GROUP BY ALL
)
FROM by_id UNION ALL (FROM by_local_part ANTI JOIN by_id USING (directory))";

/// Rows of `usage` with the names of now.
pub(super) fn with_names(rows: &str) -> String {
    format!(
        "SELECT named.* REPLACE (coalesce(directories.email, {DIRECTORY}) AS username)
         FROM ({rows}) AS named LEFT JOIN usage.directories ON directories.directory = {DIRECTORY}"
    )
}

/// The views, each after those it asks.
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
            "CREATE OR REPLACE VIEW usage.distinct_calls AS {}",
            with_names(&distinct_calls("usage.events"))
        ),
        distinct_events(),
        by("daily", "CAST(occurred_at AS DATE)", "day"),
        by("monthly", "strftime(occurred_at, '%Y-%m')", "month"),
        by("by_user", "username", "username"),
        by("by_project", PROJECT, "project"),
        by_session(),
        format!(
            "CREATE OR REPLACE VIEW usage.by_tool AS
             SELECT tool_name AS tool, {CALLS}, count(DISTINCT session_id) AS sessions
             FROM usage.distinct_calls GROUP BY 1"
        ),
        by("by_model", "message.model", "model"),
    ]
}

static VIEWS_HASH: LazyLock<String> = LazyLock::new(|| sha256_hex(views().concat().as_bytes()));

/// What every figure is worked out by: the SQL of the views, and prices.
pub(super) fn made_from(prices: &Prices) -> String {
    format!("{} {}", *VIEWS_HASH, prices_hash(prices))
}

/// Makes the views over the tables of `usage`, where they are not there as this version has them,
/// and the prices that they use, where those in effect are not there.
///
/// # Errors
/// When the database refuses.
pub(crate) fn register(store: &Store, prices: &Prices) -> Result<(), StoreError> {
    // The comments name what view and prices were made from: the database rewrites the text.
    let made_from = &*VIEWS_HASH;
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
    if known.as_ref() != Some(made_from) {
        statements.extend(views());
        statements.push(format!("COMMENT ON VIEW usage.by_model IS '{made_from}'"));
    }
    if statements.is_empty() {
        return Ok(());
    }
    store.define(statements)
}

/// A session's sums are those of the messages that first appeared in it: what is new in it. What its
/// files hold, copies from elsewhere included, is `held_messages`.
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

fn price_table(prices: &Prices) -> Vec<String> {
    let mut statements = vec![
        "CREATE OR REPLACE TABLE usage.prices (
            model VARCHAR NOT NULL, is_exact BOOLEAN NOT NULL, is_regional BOOLEAN NOT NULL, is_fast BOOLEAN NOT NULL,
            begins_at TIMESTAMP NOT NULL, ends_at TIMESTAMP NOT NULL,
            context_above DOUBLE NOT NULL, context_upto DOUBLE NOT NULL,
            input DECIMAL(18, 12) NOT NULL, output DECIMAL(18, 12) NOT NULL, cache_read DECIMAL(18, 12) NOT NULL,
            cache_write_5m DECIMAL(18, 12) NOT NULL, cache_write_1h DECIMAL(18, 12) NOT NULL
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

fn are_in_effect(store: &Store, prices: &Prices) -> Result<bool, StoreError> {
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

fn prices_hash(prices: &Prices) -> String {
    sha256_hex(price_rows(prices).concat().as_bytes())
}

fn price_rows(prices: &Prices) -> Vec<String> {
    prices.rates.iter().map(price_row).collect()
}

/// A rate as a row of values: dollars per token.
fn price_row(rate: &Rate) -> String {
    let per_token = |pico_dollars: i64| super::Usd {
        pico_dollars: pico_dollars.into(),
    };
    let amounts = rate.amounts;
    format!(
        "('{}', {}, {}, {}, TIMESTAMP '{}', TIMESTAMP '{}', {}, {}, {}, {}, {}, {}, {})",
        rate.model.replace('\'', "''"),
        rate.is_exact,
        rate.is_regional,
        rate.is_fast,
        rate.from,
        rate.before
            .map_or_else(|| "9999-12-31".to_owned(), |before| before.to_string()),
        rate.context_above,
        // Made-up tokens can come to more than the largest whole number.
        rate.context_upto
            .map_or_else(|| "'infinity'".to_owned(), |upto| upto.to_string()),
        per_token(amounts.input),
        per_token(amounts.output),
        per_token(amounts.cache_read),
        per_token(amounts.cache_write_5m),
        per_token(amounts.cache_write_1h),
    )
}
