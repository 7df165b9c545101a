//! Shared tables in memory, for callers that process sessions without committing them.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::fault::{Fault, FaultKind};
use crate::manifest::{Manifest, TableSpec};
use crate::rows::{Cell, TableRows};
use crate::shared::overlay::by_order;
use crate::shared::{FoundRow, LookupQuery, OrderBy, SharedRows};

/// The shared tables of one processor, with the same behavior as in the database.
///
/// Two values are equal if they contain the same rows. Creation times are ignored.
#[derive(Clone, Debug, Default)]
pub struct MemoryRows {
    tables: BTreeMap<String, BTreeMap<String, StoredRow>>,
    /// A logical clock: the number of commits.
    now: i64,
}

#[derive(Clone, Debug)]
struct StoredRow {
    cells: Vec<Cell<'static>>,
    created: i64,
    updated: i64,
}

impl MemoryRows {
    /// Stores the rows that a session upserted. `tables` has one entry per table of the manifest.
    /// Only shared tables are stored.
    pub fn commit(&mut self, manifest: &Manifest, tables: &[TableRows]) {
        for (spec, rows) in manifest.tables.iter().zip(tables) {
            if spec.shared_key.is_some() {
                for row in rows_of(rows) {
                    self.put(spec, row);
                }
            }
        }
        self.now += 1;
    }

    /// Inserts or replaces a row of a shared table. The cells are in column order.
    pub fn insert(&mut self, spec: &TableSpec, cells: Vec<Cell<'static>>) {
        self.put(spec, cells);
        self.now += 1;
    }

    fn put(&mut self, spec: &TableSpec, cells: Vec<Cell<'static>>) {
        let Some(Cell::Text(key)) = key_column(spec).and_then(|column| cells.get(column)) else {
            return;
        };
        let key = key.clone().into_owned();
        let now = self.now;
        let table = self.tables.entry(spec.name.clone()).or_default();
        let created = table.get(&key).map_or(now, |known| known.created);
        let row = StoredRow {
            cells,
            created,
            updated: now,
        };
        table.insert(key, row);
    }

    /// The rows of a table, ordered by key.
    pub fn rows(&self, table: &str) -> impl Iterator<Item = &[Cell<'static>]> {
        let rows = self
            .tables
            .get(table)
            .into_iter()
            .flat_map(BTreeMap::values);
        rows.map(|row| row.cells.as_slice())
    }
}

impl PartialEq for MemoryRows {
    fn eq(&self, other: &Self) -> bool {
        let names = |rows: &Self| rows.tables.keys().cloned().collect::<Vec<_>>();
        names(self) == names(other)
            && self
                .tables
                .keys()
                .all(|table| self.rows(table).eq(other.rows(table)))
    }
}

impl SharedRows for MemoryRows {
    fn count(&self, table: &TableSpec) -> Result<u64, Fault> {
        Ok(self.tables.get(&table.name).map_or(0, BTreeMap::len) as u64)
    }

    fn find(&self, query: &LookupQuery<'_>, replaced: &[&str]) -> Result<Vec<FoundRow>, Fault> {
        let replaced: HashSet<&str> = replaced.iter().copied().collect();
        let rows = self.tables.get(&query.table.name).into_iter().flatten();
        let wanted = rows.filter(|(key, row)| {
            let holds = |filter: &super::LookupFilter<'_>| {
                let cell = row.cells.get(filter.column);
                cell.is_some_and(|cell| filter.holds(cell))
            };
            !replaced.contains(key.as_str()) && query.filters.iter().all(holds)
        });
        let mut found: Vec<(&str, FoundRow)> = wanted
            .map(|(key, row)| {
                let ordered_by = match query.order {
                    OrderBy::Column(column) => row.cells.get(column).cloned().unwrap_or(Cell::Null),
                    OrderBy::CreatedAt => Cell::Timestamp(row.created),
                    OrderBy::UpdatedAt => Cell::Timestamp(row.updated),
                };
                let cells = row.cells.clone();
                (key.as_str(), FoundRow { cells, ordered_by })
            })
            .collect();
        found.sort_by(|(a_key, a), (b_key, b)| {
            by_order(query, (&a.ordered_by, a_key), (&b.ordered_by, b_key))
        });
        found.truncate(query.rows_max);
        let cells = found.iter().flat_map(|(_, row)| &row.cells);
        if query.checks_size_first() && cells.map(Cell::bytes).sum::<u64>() > query.bytes_max {
            let (table, bytes_max) = (&query.table.name, query.bytes_max);
            return Err(Fault::new(
                FaultKind::OutputLimit,
                format!(
                    "a lookup in table `{table}` found more than {bytes_max} bytes; narrow it with `limit` or filters"
                ),
            ));
        }
        Ok(found.into_iter().map(|(_, row)| row).collect())
    }

    fn creation_times(
        &self,
        table: &TableSpec,
        keys: &[&str],
    ) -> Result<HashMap<String, i64>, Fault> {
        let rows = self.tables.get(&table.name);
        let created = |key: &&str| Some(((*key).to_owned(), rows?.get(*key)?.created));
        Ok(keys.iter().filter_map(created).collect())
    }
}

fn key_column(spec: &TableSpec) -> Option<usize> {
    let key = spec.shared_key.as_ref()?;
    spec.columns.iter().position(|column| column.name == *key)
}

/// Converts columns to rows.
fn rows_of(rows: &TableRows) -> Vec<Vec<Cell<'static>>> {
    let mut whole = vec![Vec::with_capacity(rows.columns.len()); rows.rows];
    for column in &rows.columns {
        for (row, cell) in whole.iter_mut().zip(column.cells()) {
            row.push(cell.into_owned());
        }
    }
    whole
}
