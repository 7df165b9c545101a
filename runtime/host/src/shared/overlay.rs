//! The result of a lookup: committed rows, overlaid with the rows that the session has upserted but
//! not committed.
//!
//! A session can have a million pending rows, so only rows of the result are assembled.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::fault::Fault;
use crate::rows::{Cell, TableRows};
use crate::shared::{FoundRow, LookupQuery, OrderBy, SharedRows};

/// The result of a lookup.
#[derive(Debug, Default)]
pub(crate) struct OverlayRows {
    /// The rows in order. Each has one cell per column.
    pub(crate) rows: Vec<Vec<Cell<'static>>>,
    /// The number of rows that were read.
    pub(crate) scanned: u64,
}

/// A row that can be part of the result.
struct OverlayCandidate<'a> {
    key: String,
    ordered_by: Cell<'a>,
    row: RowSource,
}

enum RowSource {
    Committed(Vec<Cell<'static>>),
    /// The index of the pending row.
    Pending(usize),
}

/// Runs a lookup. `committed` is `None` if there are no committed rows.
pub(crate) fn look_up(
    query: &LookupQuery<'_>,
    pending: &TableRows,
    committed: Option<&dyn SharedRows>,
) -> Result<OverlayRows, Fault> {
    let latest = pending.last_row_by_key(query.key);
    let mut scanned = pending.rows as u64;
    let mut candidates = Vec::new();
    if let Some(committed) = committed {
        scanned = scanned.saturating_add(match query.single_key() {
            Some(_) => 1,
            None => committed.count(query.table)?,
        });
        let is_replaced = |key: &str| latest.contains_key(key);
        if !query.single_key().is_some_and(is_replaced) {
            let mut replaced: Vec<&str> = latest.keys().copied().collect();
            replaced.sort_unstable();
            let found = committed.find(query, &replaced)?;
            candidates.extend(found.into_iter().map(|row| of_committed(query, row)));
        }
    }
    candidates.extend(of_pending(query, pending, &latest, committed)?);
    candidates.sort_by(|a, b| in_order(query, a, b));
    candidates.truncate(query.rows_max);
    Ok(OverlayRows {
        rows: whole(candidates, pending),
        scanned,
    })
}

fn of_committed(query: &LookupQuery<'_>, row: FoundRow) -> OverlayCandidate<'static> {
    let key = match row.cells.get(query.key) {
        Some(Cell::Text(key)) => key.clone().into_owned(),
        _ => String::new(),
    };
    OverlayCandidate {
        key,
        ordered_by: row.ordered_by,
        row: RowSource::Committed(row.cells),
    }
}

/// The pending rows that match all filters. They count as the newest. A row that replaces a
/// committed row keeps its creation time.
fn of_pending<'a>(
    query: &LookupQuery<'_>,
    pending: &'a TableRows,
    latest: &HashMap<&str, usize>,
    committed: Option<&dyn SharedRows>,
) -> Result<Vec<OverlayCandidate<'a>>, Fault> {
    let mut is_wanted = vec![false; pending.rows];
    for row in latest.values() {
        if let Some(is_wanted) = is_wanted.get_mut(*row) {
            *is_wanted = true;
        }
    }
    for filter in query.filters {
        let cells = pending.columns.get(filter.column);
        let cells = cells.into_iter().flat_map(|column| column.cells());
        for (is_wanted, cell) in is_wanted.iter_mut().zip(cells) {
            *is_wanted = *is_wanted && filter.holds(&cell);
        }
    }
    let mut wanted: Vec<(&str, usize)> = latest
        .iter()
        .map(|(key, row)| (*key, *row))
        .filter(|(_, row)| is_wanted.get(*row) == Some(&true))
        .collect();
    wanted.sort_unstable_by_key(|(_, row)| *row);
    let ordered_by: Vec<Cell<'a>> = match query.order {
        OrderBy::Column(column) => {
            let cells = pending.columns.get(column);
            let cells = cells.into_iter().flat_map(|column| column.cells());
            let cells = cells.zip(&is_wanted);
            cells
                .filter_map(|(cell, is_wanted)| is_wanted.then_some(cell))
                .collect()
        }
        OrderBy::UpdatedAt => vec![Cell::Timestamp(i64::MAX); wanted.len()],
        OrderBy::CreatedAt => {
            let keys: Vec<&str> = wanted.iter().map(|(key, _)| *key).collect();
            let created = match committed {
                Some(committed) if !keys.is_empty() => {
                    committed.creation_times(query.table, &keys)?
                }
                _ => HashMap::new(),
            };
            let created = |key: &&str| created.get(*key).copied().unwrap_or(i64::MAX);
            keys.iter()
                .map(|key| Cell::Timestamp(created(key)))
                .collect()
        }
    };
    let candidates = wanted.into_iter().zip(ordered_by);
    Ok(candidates
        .map(|((key, row), ordered_by)| OverlayCandidate {
            key: key.to_owned(),
            ordered_by,
            row: RowSource::Pending(row),
        })
        .collect())
}

fn in_order(
    query: &LookupQuery<'_>,
    a: &OverlayCandidate<'_>,
    b: &OverlayCandidate<'_>,
) -> Ordering {
    by_order(query, (&a.ordered_by, &a.key), (&b.ordered_by, &b.key))
}

/// The order of a query over values and keys: nulls last, and equal values by key.
pub(super) fn by_order(
    query: &LookupQuery<'_>,
    a: (&Cell<'_>, &str),
    b: (&Cell<'_>, &str),
) -> Ordering {
    let by_value = match (a.0, b.0) {
        (Cell::Null, Cell::Null) => Ordering::Equal,
        (Cell::Null, _) => Ordering::Greater,
        (_, Cell::Null) => Ordering::Less,
        (a, b) => {
            let compared = a.compare(b).unwrap_or(Ordering::Equal);
            if query.descending {
                compared.reverse()
            } else {
                compared
            }
        }
    };
    by_value.then_with(|| a.1.cmp(b.1))
}

/// Assembles the rows of the result.
fn whole(candidates: Vec<OverlayCandidate<'_>>, pending: &TableRows) -> Vec<Vec<Cell<'static>>> {
    let mut places = HashMap::new();
    let mut rows = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        rows.push(match candidate.row {
            RowSource::Committed(cells) => cells,
            RowSource::Pending(row) => {
                places.insert(row, rows.len());
                Vec::with_capacity(pending.columns.len())
            }
        });
    }
    if places.is_empty() {
        return rows;
    }
    for column in &pending.columns {
        for (row, cell) in column.cells().enumerate() {
            let place = places.get(&row).and_then(|place| rows.get_mut(*place));
            if let Some(cells) = place {
                cells.push(cell.into_owned());
            }
        }
    }
    rows
}
