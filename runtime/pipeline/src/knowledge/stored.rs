//! The tables of `verification`, as people read them and decide.
//!
//! The tables belong to the processor. They do not exist before its first run.

use duckdb::{Connection, OptionalExt, Row, params};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::{
    AuditedAction, Store, StoreError, in_transaction, timestamp, write_audit,
};

use crate::knowledge::{Evidence, ItemRelation, KnowledgeFilter, KnowledgeItem};

/// Visible items, with the numbers of quotes, users and contradictions.
const ITEMS: &str = "\
    WITH shown AS (SELECT item_id, count(*) AS evidence, count(DISTINCT source_user) AS users \
                   FROM verification.evidence GROUP BY item_id), \
         contested AS (SELECT item, count(*) AS contradictions FROM ( \
                   SELECT item_a_id AS item FROM verification.contradictions WHERE resolved IS NOT TRUE \
                   UNION ALL \
                   SELECT item_b_id FROM verification.contradictions WHERE resolved IS NOT TRUE) GROUP BY item) \
    SELECT id, title, content, status, domain, confidence, CAST(entities AS VARCHAR), source_user, \
           epoch_us(created_at), epoch_us(updated_at), coalesce(evidence, 0), coalesce(users, 0), \
           coalesce(contradictions, 0) \
    FROM verification.items AS items \
    LEFT JOIN shown ON shown.item_id = items.id LEFT JOIN contested ON contested.item = items.id \
    WHERE is_personal IS NOT TRUE AND (evidence > 0 OR status = 'approved')";

/// The items that match, undecided ones first, then the newest.
///
/// # Errors
/// When the database can't be read.
pub(super) fn items(
    store: &Store,
    wanted: &KnowledgeFilter,
) -> Result<Vec<KnowledgeItem>, StoreError> {
    let refused = StoreError::database("read the knowledge items");
    let connection = store.reader()?;
    if !has_tables(&connection)? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "{ITEMS} AND (? IS NULL OR status = ?) AND (? IS NULL OR domain = ?) \
         AND (? IS NULL OR contains(lower(title || ' ' || content), lower(?))) \
         AND (? IS NULL OR (CAST(status <> 'pending' AS INTEGER), -epoch_us(created_at), id) > (?, ?, ?)) \
         ORDER BY status <> 'pending', created_at DESC, id LIMIT {}",
        wanted.limit
    );
    let KnowledgeFilter {
        status,
        domain,
        text,
        after,
        limit: _,
    } = wanted;
    let rank = after.as_ref().map(|after| i32::from(after.is_decided));
    let age = after.as_ref().map(|after| -after.created_at.0);
    let after_id = after.as_ref().map(|after| after.id.as_str());
    let mut statement = connection.prepare(&sql).map_err(&refused)?;
    let rows = statement
        .query_map(
            params![
                status, status, domain, domain, text, text, rank, rank, age, after_id
            ],
            item_of,
        )
        .map_err(&refused)?;
    rows.collect::<Result<_, _>>().map_err(&refused)
}

/// One item.
///
/// # Errors
/// When the database can't be read.
pub(super) fn item(store: &Store, id: &str) -> Result<Option<KnowledgeItem>, StoreError> {
    let connection = store.reader()?;
    if !has_tables(&connection)? {
        return Ok(None);
    }
    connection
        .prepare(&format!("{ITEMS} AND id = ?"))
        .and_then(|mut statement| statement.query_row([id], item_of).optional())
        .map_err(StoreError::database("read a knowledge item"))
}

/// The evidence of an item, ordered by session and line.
pub(super) fn evidence(store: &Store, item: &str) -> Result<Vec<Evidence>, StoreError> {
    let refused = StoreError::database("read the evidence of a knowledge item");
    let connection = store.reader()?;
    let mut statement = connection
        .prepare(
            "SELECT id, session_file, line, line_uuid, source_user, user_quote, detection_type, detector, \
             epoch_us(recorded_at) FROM verification.evidence WHERE item_id = ? ORDER BY session_file, line, id",
        )
        .map_err(&refused)?;
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
                             explanation FROM verification.contradictions WHERE resolved IS NOT TRUE \
                           UNION ALL \
                           SELECT item_a_id, item_b_id, relation_type, printf('%.2f', score), NULL \
                             FROM verification.relations WHERE resolved IS NOT TRUE), \
                  directed AS (SELECT b AS other, * FROM ties WHERE a = ? \
                           UNION ALL SELECT a, * FROM ties WHERE b = ?) \
             SELECT other, items.title, kind, measure, explanation FROM directed \
             JOIN verification.items AS items ON items.id = other AND items.is_personal IS NOT TRUE \
             ORDER BY kind, other",
        )
        .map_err(&refused)?;
    let tie = |row: &Row<'_>| {
        Ok(ItemRelation {
            item: row.get(0)?,
            title: text_of(row, 1)?,
            kind: text_of(row, 2)?,
            measure: row.get(3)?,
            explanation: row.get(4)?,
        })
    };
    let rows = statement.query_map([item, item], tie).map_err(&refused)?;
    rows.collect::<Result<_, _>>().map_err(&refused)
}

/// Sets the status of an item and writes an audit entry, in one transaction.
pub(super) fn set_status(
    store: &Store,
    id: &str,
    status: &'static str,
    audited: AuditedAction,
    params: &serde_json::Value,
) -> Result<(), StoreError> {
    let (id, params) = (id.to_owned(), params.clone());
    store.write(move |connection| {
        in_transaction(connection, |connection| {
            connection
                .execute(
                    "UPDATE verification.items SET status = ?, updated_at = ? WHERE id = ?",
                    duckdb::params![status, timestamp(audited.now), id],
                )
                .map_err(StoreError::database("record the decision about an item"))?;
            write_audit(
                connection,
                &audited.entry(format!("knowledge:{id}"), &params),
            )
        })
    })
}

/// Whether the processor has created its tables.
fn has_tables(connection: &Connection) -> Result<bool, StoreError> {
    let tables: i64 = connection
        .query_row(
            "SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = 'verification' \
             AND table_name IN ('items', 'evidence', 'relations', 'contradictions')",
            [],
            |row| row.get(0),
        )
        .map_err(StoreError::database("search the knowledge items"))?;
    Ok(tables == 4)
}

fn item_of(row: &Row<'_>) -> duckdb::Result<KnowledgeItem> {
    let text = |index| text_of(row, index);
    let count = |index| -> duckdb::Result<u64> {
        let count: i64 = row.get(index)?;
        Ok(u64::try_from(count).unwrap_or(0))
    };
    Ok(KnowledgeItem {
        id: row.get(0)?,
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
        contradictions: count(12)?,
    })
}

/// A text column; NULL becomes an empty string.
fn text_of(row: &Row<'_>, index: usize) -> duckdb::Result<String> {
    Ok(row.get::<_, Option<String>>(index)?.unwrap_or_default())
}
