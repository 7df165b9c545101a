//! Shared tables: upserts the rows of a session, and finds committed rows.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use duckdb::arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use duckdb::arrow::compute::filter_record_batch;
use duckdb::types::{TimeUnit, Value, ValueRef};
use duckdb::{Connection, params_from_iter};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::manifest::{ColumnKind, Manifest, TableSpec};
use session_pipeline_host::rows::{Cell, TableRows};
use session_pipeline_host::shared::{Comparison, FoundRow, LookupQuery, OrderBy, SharedRows};

use crate::error::StoreError;
use crate::sql::{bigint, quoted, table_of, timestamp};
use crate::store::Store;
use crate::table_rows::{append_by, column_array};

/// Temporary table for the rows of an upsert.
const STAGED: &str = "staged_rows";
/// Up to this many replaced keys are bound as parameters. More keys go to a temporary table.
const BOUND_KEYS_MAX: usize = 100;
/// Temporary table for replaced keys.
const REPLACED: &str = "replaced_keys";
/// Maximum number of keys in one query.
const KEYS_PER_QUERY: usize = 1000;

/// The committed rows of a processor's shared tables, read on a separate connection.
#[derive(Debug)]
struct SharedTables {
    processor: String,
    connection: Mutex<Connection>,
}

impl Store {
    /// The committed rows of a processor's shared tables. `None` if it has no shared tables.
    ///
    /// # Errors
    /// The database cannot be opened for reading.
    pub fn shared_rows(
        &self,
        manifest: &Manifest,
    ) -> Result<Option<Arc<dyn SharedRows>>, StoreError> {
        if manifest
            .tables
            .iter()
            .all(|table| table.shared_key.is_none())
        {
            return Ok(None);
        }
        let connection = self.reader()?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Some(Arc::new(SharedTables {
            processor: manifest.name.clone(),
            connection: Mutex::new(connection),
        })))
    }
}

/// Upserts rows into a shared table. Of rows with equal keys, the last one wins and replaces all
/// columns. Uses a single statement, because a query per key would scan the table each time.
///
/// The rows are first appended to a temporary table, so that the statement can join with them.
pub(crate) fn upsert(
    connection: &Connection,
    processor: &str,
    table: &TableSpec,
    parts: &[&TableRows],
    now: UtcMicros,
) -> Result<(), StoreError> {
    let db_error = StoreError::database("write the shared rows of a session");
    let Some(key) = &table.shared_key else {
        return Ok(());
    };
    let rows = latest_rows(table, key, parts)
        .map_err(|error| db_error(duckdb::Error::ToSqlConversionFailure(Box::new(error))))?;
    let columns: Vec<(String, &str)> = table
        .columns
        .iter()
        .map(|column| (quoted(&column.name), column.kind.sql_type()))
        .collect();
    let joined = |part: &dyn Fn(&str, &str) -> String| {
        let parts = columns.iter().map(|(name, sql_type)| part(name, sql_type));
        parts.collect::<Vec<_>>().join(", ")
    };
    let staged = format!("temp.main.{STAGED}");
    let definition = joined(&|name, sql_type| format!("{name} {sql_type}"));
    connection
        .execute_batch(&format!(
            "CREATE OR REPLACE TEMP TABLE {STAGED} ({definition})"
        ))
        .map_err(&db_error)?;
    let appender = connection
        .appender_to_catalog_and_db(STAGED, "temp", "main")
        .map_err(&db_error)?;
    append_by(appender, rows).map_err(&db_error)?;
    let key = quoted(key);
    let replaced: String = columns
        .iter()
        // Do not assign the key. Assigning an indexed column would insert a new row.
        .filter(|(name, _)| *name != key)
        .map(|(name, _)| format!("{name} = staged.{name}, "))
        .collect();
    let names = joined(&|name, _| name.to_owned());
    let values = joined(&|name, _| format!("staged.{name}"));
    let merge = format!(
        "MERGE INTO {} AS stored USING {staged} AS staged ON stored.{key} = staged.{key} \
         WHEN MATCHED THEN UPDATE SET {replaced}updated_at = $1 \
         WHEN NOT MATCHED THEN INSERT (created_at, updated_at, {names}) VALUES ($1, $1, {values})",
        table_of(processor, &table.name)
    );
    connection
        .execute(&merge, [timestamp(now)])
        .map_err(&db_error)?;
    connection
        .execute_batch(&format!("DROP TABLE {staged}"))
        .map_err(&db_error)
}

/// The rows of several sessions as one batch. Of rows with equal keys, keeps only the last, because
/// the order within a statement is undefined.
fn latest_rows(
    table: &TableSpec,
    key: &str,
    parts: &[&TableRows],
) -> Result<RecordBatch, duckdb::arrow::error::ArrowError> {
    let key = table.columns.iter().position(|column| column.name == key);
    let mut latest = HashMap::new();
    let mut count = 0;
    for part in parts {
        let rows = part.last_row_by_key(key.unwrap_or_default());
        latest.extend(rows.into_iter().map(|(key, row)| (key, count + row)));
        count += part.rows;
    }
    let mut is_latest = vec![false; count];
    for row in latest.into_values() {
        if let Some(is_latest) = is_latest.get_mut(row) {
            *is_latest = true;
        }
    }
    let columns = table.columns.iter().enumerate().map(|(index, column)| {
        let values = parts.iter().filter_map(|part| part.columns.get(index));
        (column.name.as_str(), column_array(column.kind, values))
    });
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.map(|(name, values)| (name, values, true)),
    )?;
    filter_record_batch(&batch, &BooleanArray::from(is_latest))
}

impl SharedTables {
    /// The condition that excludes rows with these keys. A few keys are bound as parameters. Many
    /// keys go to a temporary table.
    fn exclude(
        &self,
        key: &str,
        replaced: &[&str],
        values: &mut Vec<Value>,
    ) -> Result<String, Fault> {
        if replaced.len() <= BOUND_KEYS_MAX {
            values.extend(replaced.iter().map(|key| Value::Text((*key).to_owned())));
            let places = vec!["?"; replaced.len()].join(", ");
            return Ok(format!("{key} NOT IN ({places})"));
        }
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values(replaced));
        let connection = self.connection();
        let fill = || -> duckdb::Result<()> {
            connection.execute_batch(&format!(
                "CREATE OR REPLACE TEMP TABLE {REPLACED} (replaced_key VARCHAR)"
            ))?;
            let batch = RecordBatch::try_from_iter([("replaced_key", keys)])
                .map_err(|error| duckdb::Error::ToSqlConversionFailure(Box::new(error)))?;
            append_by(
                connection.appender_to_catalog_and_db(REPLACED, "temp", "main")?,
                batch,
            )
        };
        fill().map_err(host_fault)?;
        Ok(format!(
            "NOT EXISTS (SELECT 1 FROM temp.main.{REPLACED} WHERE replaced_key = {key})"
        ))
    }

    /// Fails if the result would exceed the query's size limit.
    fn check_size(
        &self,
        query: &LookupQuery<'_>,
        rest: &str,
        values: &[Value],
    ) -> Result<(), Fault> {
        let sizes = query.table.columns.iter().map(|column| match column.kind {
            ColumnKind::Text | ColumnKind::Json => {
                format!("coalesce(strlen({}), 0) + 8", quoted(&column.name))
            }
            _ => "8".to_owned(),
        });
        let size = sizes.collect::<Vec<_>>().join(" + ");
        let sql = format!(
            "SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM (SELECT {size} AS bytes {rest})"
        );
        let bytes = self.query(&sql, values, |row| row.get::<_, i64>(0))?;
        let bytes_max = query.bytes_max;
        if bytes
            .first()
            .is_some_and(|bytes| *bytes > bigint(bytes_max))
        {
            return Err(Fault::new(
                FaultKind::OutputLimit,
                format!(
                    "a lookup in table `{}` found more than {bytes_max} bytes; narrow it with `limit` or filters",
                    query.table.name
                ),
            ));
        }
        Ok(())
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a query and maps each result row with `row`.
    fn query<T>(
        &self,
        sql: &str,
        values: &[Value],
        mut row: impl FnMut(&duckdb::Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>, Fault> {
        let connection = self.connection();
        let mut run = || -> duckdb::Result<Vec<T>> {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params_from_iter(values), |found| row(found))?;
            rows.collect()
        };
        run().map_err(host_fault)
    }
}

fn host_fault(error: duckdb::Error) -> Fault {
    let error = StoreError::database("look up shared rows")(error);
    let cause = std::error::Error::source(&error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    Fault::new(FaultKind::Host, format!("{error}{cause}"))
}

impl SharedRows for SharedTables {
    fn count(&self, table: &TableSpec) -> Result<u64, Fault> {
        let sql = format!(
            "SELECT count(*) FROM {}",
            table_of(&self.processor, &table.name)
        );
        let counts = self.query(&sql, &[], |row| row.get::<_, i64>(0))?;
        Ok(counts
            .first()
            .map_or(0, |count| u64::try_from(*count).unwrap_or(0)))
    }

    fn find(&self, query: &LookupQuery<'_>, replaced: &[&str]) -> Result<Vec<FoundRow>, Fault> {
        if query.rows_max == 0 {
            return Ok(Vec::new());
        }
        let columns = &query.table.columns;
        let name = |column: usize| columns.get(column).map(|column| quoted(&column.name));
        let order = match query.order {
            OrderBy::Column(column) => name(column).unwrap_or_default(),
            OrderBy::CreatedAt => "created_at".to_owned(),
            OrderBy::UpdatedAt => "updated_at".to_owned(),
        };
        let key = name(query.key).unwrap_or_default();
        let (mut conditions, mut values) = conditions(query);
        let is_by_key = query.single_key().is_some();
        // A query for a single key never asks for a replaced key.
        if !is_by_key && !replaced.is_empty() {
            conditions.push(self.exclude(&key, replaced, &mut values)?);
        }
        let wanted = match conditions.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", conditions.join(" AND ")),
        };
        let table = table_of(&self.processor, &query.table.name);
        let rest = if is_by_key {
            // At most one row. With an order and a limit, DuckDB would not use the index.
            format!("FROM {table} {wanted}")
        } else {
            values.push(Value::BigInt(bigint(query.rows_max as u64)));
            let direction = if query.descending { "DESC" } else { "ASC" };
            format!("FROM {table} {wanted} ORDER BY {order} {direction} NULLS LAST, {key} LIMIT ?")
        };
        if query.checks_size_first() {
            self.check_size(query, &rest, &values)?;
        }
        let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
        let sql = format!("SELECT {}, {order} {rest}", names.join(", "));
        self.query(&sql, &values, |row| {
            let mut cells = Vec::with_capacity(columns.len());
            for index in 0..columns.len() {
                cells.push(cell_of(row.get_ref(index)?));
            }
            let ordered_by = cell_of(row.get_ref(columns.len())?);
            Ok(FoundRow { cells, ordered_by })
        })
    }

    fn creation_times(
        &self,
        table: &TableSpec,
        keys: &[&str],
    ) -> Result<HashMap<String, i64>, Fault> {
        let key = quoted(table.shared_key.as_deref().unwrap_or_default());
        let mut created = HashMap::new();
        for keys in keys.chunks(KEYS_PER_QUERY) {
            let sql = format!(
                "SELECT {key}, created_at FROM {} WHERE {key} IN ({})",
                table_of(&self.processor, &table.name),
                vec!["?"; keys.len()].join(", ")
            );
            let values: Vec<Value> = keys
                .iter()
                .map(|key| Value::Text((*key).to_owned()))
                .collect();
            let rows = self.query(&sql, &values, |row| {
                Ok((row.get::<_, String>(0)?, cell_of(row.get_ref(1)?)))
            })?;
            created.extend(rows.into_iter().filter_map(|(key, cell)| match cell {
                Cell::Timestamp(micros) => Some((key, micros)),
                _ => None,
            }));
        }
        Ok(created)
    }
}

/// The filters of a query as SQL conditions, with their parameters.
fn conditions(query: &LookupQuery<'_>) -> (Vec<String>, Vec<Value>) {
    let mut conditions = Vec::new();
    let mut values = Vec::new();
    for filter in query.filters {
        let Some(column) = query.table.columns.get(filter.column) else {
            continue;
        };
        let operator = match (filter.comparison, &filter.value) {
            // Only `=` uses the index.
            (Comparison::Equal, Cell::Null) => "IS NOT DISTINCT FROM",
            (Comparison::Equal, _) => "=",
            (Comparison::NotEqual, _) => "IS DISTINCT FROM",
            (Comparison::Less, _) => "<",
            (Comparison::LessOrEqual, _) => "<=",
            (Comparison::Greater, _) => ">",
            (Comparison::GreaterOrEqual, _) => ">=",
        };
        let sql_type = column.kind.sql_type();
        conditions.push(format!(
            "{} {operator} CAST(? AS {sql_type})",
            quoted(&column.name)
        ));
        values.push(match &filter.value {
            Cell::Null => Value::Null,
            Cell::Bool(value) => Value::Boolean(*value),
            Cell::S64(value) => Value::BigInt(*value),
            Cell::F64(value) => Value::Double(*value),
            Cell::Text(text) => Value::Text(text.clone().into_owned()),
            Cell::Timestamp(micros) => timestamp(UtcMicros(*micros)),
        });
    }
    (conditions, values)
}

fn cell_of(value: ValueRef<'_>) -> Cell<'static> {
    match value {
        ValueRef::Boolean(value) => Cell::Bool(value),
        ValueRef::BigInt(value) => Cell::S64(value),
        ValueRef::Double(value) => Cell::number(value),
        ValueRef::Text(bytes) => {
            Cell::Text(Cow::Owned(String::from_utf8_lossy(bytes).into_owned()))
        }
        ValueRef::Timestamp(TimeUnit::Microsecond, micros) => Cell::Timestamp(micros),
        // Processors' columns have no other types.
        _ => Cell::Null,
    }
}
