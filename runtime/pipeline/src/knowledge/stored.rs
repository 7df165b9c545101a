//! The tables of `verification`, as people read them and decide.
//!
//! The tables belong to the processor. They do not exist before its first run.

use duckdb::types::Value;
use duckdb::{OptionalExt, Row, params, params_from_iter};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::{
    AuditedAction, Store, StoreError, in_transaction, timestamp, write_audit,
};

use super::columns::KnowledgeColumns;
use crate::knowledge::{
    Evidence, ItemRelation, KnowledgeFilter, KnowledgeItem, KnowledgeRank, SuggestedResolution,
};
use crate::report::project::{self, ProjectSelector};

/// SQL for visible items with their figures and their place in the list.
///
/// An item belongs next to the best of the items that are related to it as likely duplicates. The
/// rank is that item's, then whether it is another item, then the id. Evidence of an older version
/// has no score. Its score is the confidence in the item.
fn ranked_items(columns: &KnowledgeColumns) -> String {
    let score = columns.sql("evidence", "score", "BIGINT");
    let said_at = columns.sql("evidence", "said_at", "TIMESTAMP");
    let item = |column: &str| columns.sql("items", column, "VARCHAR");
    let (project, claim, scope) = (item("project"), item("claim"), item("scope"));
    let reason = item("decision_reason");
    format!(
        "WITH shown AS (SELECT item_id, count(*) AS evidence, count(DISTINCT source_user) AS users, \
                   count(DISTINCT session_file) AS sessions, max({score}) AS best, \
                   epoch_us(min({said_at})) AS first_said, epoch_us(max({said_at})) AS last_said \
               FROM verification.evidence AS evidence GROUP BY item_id), \
             contested AS (SELECT item, count(*) AS contradictions FROM ( \
                   SELECT item_a_id AS item FROM verification.contradictions WHERE resolved IS NOT TRUE \
                   UNION ALL \
                   SELECT item_b_id FROM verification.contradictions WHERE resolved IS NOT TRUE) GROUP BY item), \
             visible AS MATERIALIZED (SELECT items.id, title, content, status, domain, confidence, \
                   CAST(entities AS VARCHAR) AS entities, items.source_user, \
                   epoch_us(items.created_at) AS created, epoch_us(items.updated_at) AS updated, \
                   coalesce(evidence, 0) AS evidence, coalesce(users, 0) AS users, \
                   coalesce(sessions, 0) AS sessions, coalesce(contradictions, 0) AS contradictions, \
                   coalesce(best, CAST(round(100 * confidence) AS BIGINT), 0) AS score, \
                   {project} AS project, {claim} AS claim, {scope} AS scope, {reason} AS reason, \
                   first_said, last_said \
               FROM verification.items AS items \
               LEFT JOIN shown ON shown.item_id = items.id LEFT JOIN contested ON contested.item = items.id \
               WHERE is_personal IS NOT TRUE AND (evidence > 0 OR status = 'approved')), \
             keyed AS (SELECT id, status <> 'pending' AS is_decided, row(CAST(status <> 'pending' AS INTEGER), \
                   -score, -users, -sessions, created, id) AS rank FROM visible), \
             pairs AS (SELECT item_a_id AS item, item_b_id AS other FROM verification.relations \
                   WHERE resolved IS NOT TRUE AND relation_type = 'likely_duplicate' \
                   UNION ALL \
                   SELECT item_b_id, item_a_id FROM verification.relations \
                   WHERE resolved IS NOT TRUE AND relation_type = 'likely_duplicate'), \
             led AS (SELECT keyed.id, min(leader.rank) AS leader FROM keyed \
                   LEFT JOIN pairs ON pairs.item = keyed.id \
                   JOIN keyed AS leader ON leader.is_decided = keyed.is_decided \
                       AND (leader.id = keyed.id OR leader.id = pairs.other) \
                   GROUP BY keyed.id), \
             ranked AS (SELECT visible.*, leader[1] AS is_decided, -leader[2] AS leader_score, \
                   -leader[3] AS leader_users, -leader[4] AS leader_sessions, leader[5] AS leader_created, \
                   leader[6] AS leader_id, CAST(leader[6] <> visible.id AS INTEGER) AS is_follower \
               FROM visible JOIN led ON led.id = visible.id) \
         SELECT id, title, content, status, domain, confidence, entities, source_user, created, updated, \
             evidence, users, sessions, contradictions, score, project, claim, scope, reason, first_said, \
             last_said, is_decided, leader_score, leader_users, leader_sessions, leader_created, leader_id, \
             is_follower FROM ranked"
    )
}

/// The condition of a filter with its parameters, without its score and its place.
fn matches(wanted: &KnowledgeFilter) -> (String, Vec<Value>) {
    let mut conditions = vec!["true"];
    let mut parameters = Vec::new();
    let mut require = |condition, values: Vec<Value>| {
        conditions.push(condition);
        parameters.extend(values);
    };
    let text = |text: &String| vec![Value::Text(text.clone())];
    if let Some(status) = &wanted.status {
        require("status = ?", text(status));
    }
    if let Some(domain) = &wanted.domain {
        require("domain = ?", text(domain));
    }
    if let Some(project) = &wanted.project {
        let (condition, values) = ProjectSelector::parse(project).condition();
        require(condition, values);
    }
    if let Some(contained) = &wanted.text {
        require(
            "contains(lower(title || ' ' || content), lower(?))",
            text(contained),
        );
    }
    (conditions.join(" AND "), parameters)
}

/// Items of [`ranked_items`] with the columns that conditions need.
fn searchable(ranked: &str) -> String {
    format!(
        "SELECT *, {} AS project_name FROM ({ranked})",
        project::name_of("project")
    )
}

/// The items that match, by their rank.
///
/// # Errors
/// When the database can't be read.
pub(super) fn items(
    store: &Store,
    wanted: &KnowledgeFilter,
) -> Result<Vec<KnowledgeItem>, StoreError> {
    let refused = StoreError::database("read the knowledge items");
    let connection = store.reader()?;
    let Some(columns) = KnowledgeColumns::read(&connection)? else {
        return Ok(Vec::new());
    };
    let (condition, mut parameters) = matches(wanted);
    let after = match &wanted.after {
        None => "true",
        Some(after) => {
            parameters.extend([
                Value::BigInt(i64::from(after.is_decided)),
                Value::BigInt(-after.score),
                Value::BigInt(-after.users),
                Value::BigInt(-after.sessions),
                Value::BigInt(after.created_at.0),
                Value::Text(after.leader.clone()),
                Value::BigInt(i64::from(after.is_follower)),
                Value::Text(after.id.clone()),
            ]);
            "(is_decided, -leader_score, -leader_users, -leader_sessions, leader_created, \
                leader_id, is_follower, id) > (?, ?, ?, ?, ?, ?, ?, ?)"
        }
    };
    let sql = format!(
        "SELECT * EXCLUDE (project_name) FROM ({}) \
         WHERE {condition} AND (is_decided = 1 OR score >= {}) AND {after} \
         ORDER BY is_decided, leader_score DESC, leader_users DESC, leader_sessions DESC, leader_created, \
             leader_id, is_follower, id LIMIT {}",
        searchable(&ranked_items(&columns)),
        wanted.score_min,
        wanted.limit
    );
    let mut statement = connection.prepare(&sql).map_err(&refused)?;
    let rows = statement
        .query_map(params_from_iter(&parameters), item_of)
        .map_err(&refused)?;
    rows.collect::<Result<_, _>>().map_err(&refused)
}

/// The number of pending items that match, but whose score is too low.
///
/// # Errors
/// When the database can't be read.
pub(super) fn count_below(store: &Store, wanted: &KnowledgeFilter) -> Result<u64, StoreError> {
    let connection = store.reader()?;
    let Some(columns) = KnowledgeColumns::read(&connection)? else {
        return Ok(0);
    };
    let (condition, parameters) = matches(wanted);
    let sql = format!(
        "SELECT count(*) FROM ({}) WHERE {condition} AND is_decided = 0 AND score < {}",
        searchable(&ranked_items(&columns)),
        wanted.score_min
    );
    let count: i64 = connection
        .query_row(&sql, params_from_iter(&parameters), |row| row.get(0))
        .map_err(StoreError::database("count the knowledge items"))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// One item.
///
/// # Errors
/// When the database can't be read.
pub(super) fn item(store: &Store, id: &str) -> Result<Option<KnowledgeItem>, StoreError> {
    let connection = store.reader()?;
    let Some(columns) = KnowledgeColumns::read(&connection)? else {
        return Ok(None);
    };
    connection
        .prepare(&format!("{} WHERE id = ?", ranked_items(&columns)))
        .and_then(|mut statement| statement.query_row([id], item_of).optional())
        .map_err(StoreError::database("read a knowledge item"))
}

/// The evidence of an item, ordered by session and line.
pub(super) fn evidence(store: &Store, item: &str) -> Result<Vec<Evidence>, StoreError> {
    let refused = StoreError::database("read the evidence of a knowledge item");
    let connection = store.reader()?;
    let Some(columns) = KnowledgeColumns::read(&connection)? else {
        return Ok(Vec::new());
    };
    let column = |name: &str, kind: &str| columns.sql("evidence", name, kind);
    let sql = format!(
        "SELECT id, session_file, line, line_uuid, source_user, user_quote, detection_type, detector, \
         epoch_us(recorded_at), {}, epoch_us({}), {}, {}, {} \
         FROM verification.evidence AS evidence WHERE item_id = ? ORDER BY session_file, line, id",
        column("score", "BIGINT"),
        column("said_at", "TIMESTAMP"),
        column("project", "VARCHAR"),
        column("branch", "VARCHAR"),
        column("assistant_quote", "VARCHAR"),
    );
    let mut statement = connection.prepare(&sql).map_err(&refused)?;
    let evidence = |row: &Row<'_>| {
        let text = |index| text_of(row, index);
        Ok(Evidence {
            id: text(0)?,
            session: row.get(1)?,
            line: row.get::<_, Option<i64>>(2)?.unwrap_or_default(),
            line_uuid: row.get(3)?,
            user: text(4)?,
            quote: text(5)?,
            detection: text(6)?,
            detector: text(7)?,
            recorded_at: UtcMicros(row.get(8)?),
            score: row.get::<_, Option<i64>>(9)?,
            said_at: row.get::<_, Option<i64>>(10)?.map(UtcMicros),
            project: row.get(11)?,
            branch: row.get(12)?,
            assistant_quote: row.get(13)?,
        })
    };
    let rows = statement.query_map([item], evidence).map_err(&refused)?;
    rows.collect::<Result<_, _>>().map_err(&refused)
}

/// The unresolved relations of an item, contradictions first.
pub(super) fn ties(store: &Store, item: &str) -> Result<Vec<ItemRelation>, StoreError> {
    let refused = StoreError::database("read the relations of a knowledge item");
    let connection = store.reader()?;
    let mut statement = connection
        .prepare(
            "WITH ties AS (SELECT item_a_id AS a, item_b_id AS b, 'contradiction' AS kind, severity AS measure, \
                             explanation, CAST(suggested_resolution AS VARCHAR) AS suggestion \
                             FROM verification.contradictions WHERE resolved IS NOT TRUE \
                           UNION ALL \
                           SELECT item_a_id, item_b_id, relation_type, printf('%.2f', score), NULL, NULL \
                             FROM verification.relations WHERE resolved IS NOT TRUE), \
                  directed AS (SELECT b AS other, true AS is_newer, * FROM ties WHERE a = ? \
                           UNION ALL SELECT a, false, * FROM ties WHERE b = ?) \
             SELECT other, items.title, kind, measure, explanation, suggestion, is_newer, items.content, \
                 items.status FROM directed \
             JOIN verification.items AS items ON items.id = other AND items.is_personal IS NOT TRUE \
             ORDER BY kind, other",
        )
        .map_err(&refused)?;
    let tie = |row: &Row<'_>| {
        let kind = text_of(row, 2)?;
        let suggestion: Option<String> = row.get(5)?;
        let is_newer: bool = row.get(6)?;
        Ok(ItemRelation {
            item: row.get(0)?,
            title: text_of(row, 1)?,
            content: text_of(row, 7)?,
            status: text_of(row, 8)?,
            measure: row.get(3)?,
            explanation: row.get(4)?,
            suggestion: suggestion.and_then(|text| SuggestedResolution::parse(&text, is_newer)),
            kind,
        })
    };
    let rows = statement.query_map([item, item], tie).map_err(&refused)?;
    rows.collect::<Result<_, _>>().map_err(&refused)
}

/// A decision about an item, for the database.
pub(super) struct StatusChange {
    pub(super) id: String,
    pub(super) status: &'static str,
    /// The parameters of the audit entry.
    pub(super) params: serde_json::Value,
}

/// Sets the status of items and writes an audit entry for each, in one transaction.
pub(super) fn set_status(
    store: &Store,
    changes: Vec<StatusChange>,
    reason: Option<String>,
    audited: AuditedAction,
) -> Result<(), StoreError> {
    let columns = KnowledgeColumns::read(&store.reader()?)?;
    // The reason is in the audit entry, too. The column exists after the first run of a version
    // that has it.
    let has_reason = columns.is_some_and(|columns| columns.has("items", "decision_reason"));
    let sql = match has_reason {
        true => {
            "UPDATE verification.items SET status = ?, updated_at = ?, decision_reason = ? WHERE id = ?"
        }
        false => "UPDATE verification.items SET status = ?, updated_at = ? WHERE id = ?",
    };
    store.write(move |connection| {
        in_transaction(connection, |connection| {
            for change in changes {
                let at = timestamp(audited.now);
                let StatusChange { id, status, params } = change;
                let changed = match has_reason {
                    true => connection.execute(sql, params![status, at, reason, id]),
                    false => connection.execute(sql, params![status, at, id]),
                };
                changed.map_err(StoreError::database("record the decision about an item"))?;
                write_audit(
                    connection,
                    &audited.clone().entry(format!("knowledge:{id}"), &params),
                )?;
            }
            Ok(())
        })
    })
}

fn item_of(row: &Row<'_>) -> duckdb::Result<KnowledgeItem> {
    let text = |index| text_of(row, index);
    let number = |index| -> duckdb::Result<i64> { row.get(index) };
    let count = |index| -> duckdb::Result<u64> { Ok(u64::try_from(number(index)?).unwrap_or(0)) };
    let time = |index| -> duckdb::Result<Option<UtcMicros>> {
        Ok(row.get::<_, Option<i64>>(index)?.map(UtcMicros))
    };
    let id: String = row.get(0)?;
    Ok(KnowledgeItem {
        title: text(1)?,
        content: text(2)?,
        status: text(3)?,
        domain: row.get(4)?,
        confidence: row.get::<_, Option<f64>>(5)?.unwrap_or_default(),
        entities: row.get(6)?,
        source_user: text(7)?,
        created_at: UtcMicros(row.get(8)?),
        updated_at: UtcMicros(row.get(9)?),
        evidence: count(10)?,
        users: count(11)?,
        sessions: count(12)?,
        contradictions: count(13)?,
        score: number(14)?,
        project: row.get(15)?,
        claim: row.get(16)?,
        scope: row.get(17)?,
        reason: row.get(18)?,
        first_said_at: time(19)?,
        last_said_at: time(20)?,
        rank: KnowledgeRank {
            is_decided: number(21)? == 1,
            score: number(22)?,
            users: number(23)?,
            sessions: number(24)?,
            created_at: UtcMicros(row.get(25)?),
            leader: text(26)?,
            is_follower: number(27)? == 1,
            id: id.clone(),
        },
        id,
    })
}

/// A text column; NULL becomes an empty string.
fn text_of(row: &Row<'_>, index: usize) -> duckdb::Result<String> {
    Ok(row.get::<_, Option<String>>(index)?.unwrap_or_default())
}
