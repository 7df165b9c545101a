//! Records what a session looked up in the shared tables, so that the lookups can be repeated later
//! to find out whether the session would still have the same result.

use std::collections::HashMap;
use std::mem::size_of;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use session_pipeline_host::fault::Fault;
use session_pipeline_host::manifest::TableSpec;
use session_pipeline_host::rows::Cell;
use session_pipeline_host::shared::{
    Comparison, FoundRow, LookupFilter, LookupQuery, OrderBy, SharedRows,
};

/// Maximum size of the recorded results of a session. A session that looked up more is processed
/// again if any other session changed the tables in the meantime.
const RECORDED_BYTES_MAX: usize = 4 << 20;

/// The committed rows of shared tables, with a record of the lookups of one session.
#[derive(Debug)]
pub(super) struct RecordedRows {
    rows: Arc<dyn SharedRows>,
    lookups: Mutex<Lookups>,
    is_complete: AtomicBool,
}

#[derive(Debug, Default)]
struct Lookups {
    recorded: Vec<Lookup>,
    bytes: usize,
}

/// A lookup with its result.
#[derive(Debug)]
enum Lookup {
    Count(TableSpec, u64),
    Find(Box<OwnedQuery>, Vec<FoundRow>),
    CreationTimes(TableSpec, Vec<String>, HashMap<String, i64>),
}

/// A [`LookupQuery`] that owns its values.
#[derive(Debug)]
struct OwnedQuery {
    table: TableSpec,
    key: usize,
    filters: Vec<(usize, Comparison, Cell<'static>)>,
    order: OrderBy,
    descending: bool,
    rows_max: usize,
    bytes_max: u64,
    replaced: Vec<String>,
}

impl RecordedRows {
    pub(super) fn new(rows: Arc<dyn SharedRows>) -> Self {
        Self {
            rows,
            lookups: Mutex::default(),
            is_complete: AtomicBool::new(true),
        }
    }

    /// Whether all lookups have the same results now. A session that looked up nothing never has a
    /// conflict.
    pub(super) fn still_hold(&self) -> bool {
        let lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_complete.load(Ordering::Relaxed)
            && lookups
                .recorded
                .iter()
                .all(|lookup| lookup.still_holds(&*self.rows))
    }

    fn record(&self, bytes: usize, lookup: impl FnOnce() -> Lookup) {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        lookups.bytes = lookups.bytes.saturating_add(bytes);
        if lookups.bytes > RECORDED_BYTES_MAX {
            self.is_complete.store(false, Ordering::Relaxed);
            lookups.recorded = Vec::new();
        } else if self.is_complete.load(Ordering::Relaxed) {
            lookups.recorded.push(lookup());
        }
    }
}

impl SharedRows for RecordedRows {
    fn count(&self, table: &TableSpec) -> Result<u64, Fault> {
        let count = self.rows.count(table)?;
        self.record(size_of::<Lookup>(), || Lookup::Count(table.clone(), count));
        Ok(count)
    }

    fn find(&self, query: &LookupQuery<'_>, replaced: &[&str]) -> Result<Vec<FoundRow>, Fault> {
        let found = self.rows.find(query, replaced);
        match &found {
            Ok(rows) => {
                let bytes =
                    query_bytes(query, replaced) + rows.iter().map(row_bytes).sum::<usize>();
                self.record(bytes, || {
                    let query = Box::new(OwnedQuery::new(query, replaced));
                    Lookup::Find(query, rows.clone())
                });
            }
            // The next attempt could fail or not.
            Err(_) => self.is_complete.store(false, Ordering::Relaxed),
        }
        found
    }

    fn creation_times(
        &self,
        table: &TableSpec,
        keys: &[&str],
    ) -> Result<HashMap<String, i64>, Fault> {
        let times = self.rows.creation_times(table, keys)?;
        let bytes = keys.iter().map(|key| 2 * (key.len() + 64)).sum();
        self.record(bytes, || {
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            Lookup::CreationTimes(table.clone(), keys, times.clone())
        });
        Ok(times)
    }
}

impl Lookup {
    fn still_holds(&self, rows: &dyn SharedRows) -> bool {
        match self {
            Self::Count(table, count) => rows.count(table).is_ok_and(|now| now == *count),
            Self::Find(query, found) => query.run(rows).is_ok_and(|now| now == *found),
            Self::CreationTimes(table, keys, times) => {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                rows.creation_times(table, &keys)
                    .is_ok_and(|now| now == *times)
            }
        }
    }
}

impl OwnedQuery {
    fn new(query: &LookupQuery<'_>, replaced: &[&str]) -> Self {
        let filters = query.filters.iter().map(|filter| {
            let value = filter.value.clone().into_owned();
            (filter.column, filter.comparison, value)
        });
        Self {
            table: query.table.clone(),
            key: query.key,
            filters: filters.collect(),
            order: query.order,
            descending: query.descending,
            rows_max: query.rows_max,
            bytes_max: query.bytes_max,
            replaced: replaced.iter().map(|key| (*key).to_owned()).collect(),
        }
    }

    fn run(&self, rows: &dyn SharedRows) -> Result<Vec<FoundRow>, Fault> {
        let filters: Vec<LookupFilter<'_>> = self
            .filters
            .iter()
            .map(|(column, comparison, value)| LookupFilter {
                column: *column,
                comparison: *comparison,
                value: value.clone(),
            })
            .collect();
        let query = LookupQuery {
            table: &self.table,
            key: self.key,
            filters: &filters,
            order: self.order,
            descending: self.descending,
            rows_max: self.rows_max,
            bytes_max: self.bytes_max,
        };
        let replaced: Vec<&str> = self.replaced.iter().map(String::as_str).collect();
        rows.find(&query, &replaced)
    }
}

fn query_bytes(query: &LookupQuery<'_>, replaced: &[&str]) -> usize {
    let filters = query.filters.iter().map(|filter| cell_bytes(&filter.value));
    let replaced = replaced.iter().map(|key| key.len() + size_of::<String>());
    size_of::<OwnedQuery>() + filters.sum::<usize>() + replaced.sum::<usize>()
}

fn row_bytes(row: &FoundRow) -> usize {
    size_of::<FoundRow>()
        + cell_bytes(&row.ordered_by)
        + row.cells.iter().map(cell_bytes).sum::<usize>()
}

fn cell_bytes(cell: &Cell<'_>) -> usize {
    let text = match cell {
        Cell::Text(text) => text.len(),
        _ => 0,
    };
    size_of::<Cell<'_>>() + text
}
