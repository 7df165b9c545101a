//! The answer to a look-up: committed rows, and over them those that the session has upserted and
//! that nobody has committed yet.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::{Cell, FoundRow, OrderBy, Query, SharedRows};
use crate::fault::Fault;
use crate::rows::{ColumnValues, TableRows};

/// What a look-up found.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The rows in order: one entry for each column.
    pub(crate) rows: Vec<Vec<Cell<'static>>>,
    /// How many rows had to be read for it.
    pub(crate) scanned: u64,
}

/// Answers a look-up; `committed` is `None` where there are no committed rows.
pub(crate) fn look_up(
    query: &Query<'_>,
    pending: &TableRows,
    committed: Option<&dyn SharedRows>,
) -> Result<Answer, Fault> {
    let latest = pending.latest(query.key);
    let mut scanned = pending.rows as u64;
    let mut found = Vec::new();
    if let Some(committed) = committed {
        let is_by_key = query.is_by_key();
        scanned = scanned.saturating_add(if is_by_key {
            1
        } else {
            committed.count(query.table)?
        });
        // So many of the first rows may turn out to be replaced.
        let rows_max = if is_by_key {
            1
        } else {
            query.rows_max.saturating_add(latest.len())
        };
        found = committed.find(&Query {
            rows_max,
            ..query.clone()
        })?;
        found.retain(|row| match row.cells.get(query.key) {
            Some(Cell::Text(key)) => !latest.contains_key(key.as_ref()),
            _ => true,
        });
    }
    found.extend(matching(query, pending, &latest, committed)?);
    found.sort_by(|a, b| in_order(query, a, b));
    found.truncate(query.rows_max);
    Ok(Answer {
        rows: found.into_iter().map(|row| row.cells).collect(),
        scanned,
    })
}

/// The pending rows that fulfil all conditions. They count as the newest; one that replaces a
/// committed row was made when that was.
fn matching(
    query: &Query<'_>,
    pending: &TableRows,
    latest: &HashMap<&str, usize>,
    committed: Option<&dyn SharedRows>,
) -> Result<Vec<FoundRow>, Fault> {
    let columns: Vec<Vec<Cell<'_>>> = pending.columns.iter().map(ColumnValues::cells).collect();
    let cell = |column: usize, row: usize| {
        let values = columns.get(column);
        values
            .and_then(|values| values.get(row))
            .unwrap_or(&Cell::Null)
    };
    let matching: Vec<(&str, usize)> = latest
        .iter()
        .map(|(key, row)| (*key, *row))
        .filter(|(_, row)| {
            let mut filters = query.filters.iter();
            filters.all(|filter| filter.holds(cell(filter.column, *row)))
        })
        .collect();
    let created = match (query.order, committed) {
        (OrderBy::CreatedAt, Some(committed)) if !matching.is_empty() => {
            let keys: Vec<&str> = matching.iter().map(|(key, _)| *key).collect();
            committed.created(query.table, &keys)?
        }
        _ => HashMap::new(),
    };
    let row = |(key, row): (&str, usize)| FoundRow {
        cells: (0..columns.len())
            .map(|column| cell(column, row).clone().into_owned())
            .collect(),
        ordered_by: match query.order {
            OrderBy::Column(column) => cell(column, row).clone().into_owned(),
            OrderBy::CreatedAt => Cell::Timestamp(created.get(key).copied().unwrap_or(i64::MAX)),
            OrderBy::UpdatedAt => Cell::Timestamp(i64::MAX),
        },
    };
    Ok(matching.into_iter().map(row).collect())
}

/// The order of a query: nulls last, and by key what is equal.
fn in_order(query: &Query<'_>, a: &FoundRow, b: &FoundRow) -> Ordering {
    let by_value = match (&a.ordered_by, &b.ordered_by) {
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
    by_value.then_with(|| {
        let keys = (a.cells.get(query.key), b.cells.get(query.key));
        let compared = keys.0.zip(keys.1).and_then(|(a, b)| a.compare(b));
        compared.unwrap_or(Ordering::Equal)
    })
}
