//! Shared tables in memory, with the semantics of the real ones.
//!
//! Where the real host fails the session, this code panics with the same reason, so that a test
//! fails at the cause.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::keep;
use crate::shared::{Comparison, Filter};
use crate::table::{OwnedValue, Ownership, Table, Value};

/// All shared tables of a processor.
#[derive(Default)]
pub(super) struct SharedTables {
    tables: BTreeMap<String, SharedTable>,
    /// The number of committed sessions, used as a logical clock.
    sessions: u64,
}

#[derive(Default)]
struct SharedTable {
    columns: Vec<String>,
    key: usize,
    committed: BTreeMap<String, SharedRow>,
    pending: BTreeMap<String, SharedRow>,
}

#[derive(Clone)]
struct SharedRow {
    cells: Vec<OwnedValue>,
    created: u64,
    updated: u64,
}

impl SharedTables {
    pub(super) fn declare(&mut self, tables: &[Table]) {
        for table in tables {
            let Ownership::Shared(key) = &table.ownership else {
                continue;
            };
            let columns: Vec<String> = table
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect();
            let own = self.tables.entry(table.name.clone()).or_default();
            own.key = place(&table.name, &columns, key);
            own.columns = columns;
        }
    }

    pub(super) fn end_session(&mut self, is_committed: bool) {
        for table in self.tables.values_mut() {
            let mut pending = std::mem::take(&mut table.pending);
            if is_committed {
                table.committed.append(&mut pending);
            }
        }
        self.sessions += u64::from(is_committed);
    }

    pub(super) fn rows(&self, table: &str) -> BTreeMap<String, Vec<OwnedValue>> {
        let rows = self.tables.get(table).map(SharedTable::rows);
        rows.unwrap_or_default()
            .into_iter()
            .map(|(key, row)| (key.clone(), row.cells.clone()))
            .collect()
    }

    pub(super) fn upsert(&mut self, table: &str, rows: &[&[Value<'_>]]) {
        let now = self.sessions + 1;
        let own = self.tables.get_mut(table);
        let own = own.unwrap_or_else(|| undeclared(table));
        for row in rows {
            assert_eq!(
                row.len(),
                own.columns.len(),
                "the values of a row of `{table}`"
            );
            let key = match &row[own.key] {
                Value::Text(key) if !key.is_empty() => (*key).to_owned(),
                _ => panic!("the key of a row of `{table}` is no text, or empty"),
            };
            let before = own.committed.get(&key);
            let row = SharedRow {
                cells: row.iter().map(keep).collect(),
                created: before.map_or(now, |before| before.created),
                updated: now,
            };
            own.pending.insert(key, row);
        }
    }

    pub(super) fn lookup(
        &self,
        table: &str,
        filters: &[Filter<'_>],
        order_by: Option<&str>,
        descending: bool,
        limit: u32,
    ) -> Vec<Vec<OwnedValue>> {
        let own = self.tables.get(table);
        let own = own.unwrap_or_else(|| undeclared(table));
        let place = |column: &str| place(table, &own.columns, column);
        let filters: Vec<_> = filters
            .iter()
            .map(|filter| (place(filter.column), filter))
            .collect();
        let mut rows: Vec<&SharedRow> = own
            .rows()
            .into_values()
            .filter(|row| {
                let mut filters = filters.iter();
                filters.all(|(column, filter)| holds(filter, &row.cells[*column]))
            })
            .collect();
        // The sort is stable, and the rows are ordered by key.
        rows.sort_by(|a, b| {
            let ordering = match order_by {
                Some("created_at") => Some(a.created.cmp(&b.created)),
                Some("updated_at") => Some(a.updated.cmp(&b.updated)),
                column => {
                    let column = column.map_or(own.key, place);
                    match (&a.cells[column], &b.cells[column]) {
                        (OwnedValue::Null, OwnedValue::Null) => None,
                        (OwnedValue::Null, _) => return Ordering::Greater,
                        (_, OwnedValue::Null) => return Ordering::Less,
                        (a, b) => compare(a, b),
                    }
                }
            };
            let ordering = ordering.unwrap_or(Ordering::Equal);
            if descending {
                ordering.reverse()
            } else {
                ordering
            }
        });
        let rows = rows.into_iter().take(limit as usize);
        rows.map(|row| row.cells.clone()).collect()
    }
}

impl SharedTable {
    /// The committed rows, overlaid with the pending rows.
    fn rows(&self) -> BTreeMap<&String, &SharedRow> {
        self.committed.iter().chain(&self.pending).collect()
    }
}

fn undeclared(table: &str) -> ! {
    panic!("there is no shared table `{table}`; declare it in the manifest")
}

fn place(table: &str, columns: &[String], column: &str) -> usize {
    let place = columns.iter().position(|own| own == column);
    place.unwrap_or_else(|| panic!("there is no column `{column}` in `{table}`"))
}

fn holds(filter: &Filter<'_>, cell: &OwnedValue) -> bool {
    let value = keep(&filter.value);
    let compared = compare(cell, &value);
    let are_null = matches!((cell, &value), (OwnedValue::Null, OwnedValue::Null));
    let are_same = are_null || compared == Some(Ordering::Equal);
    match filter.comparison {
        Comparison::Equal => are_same,
        Comparison::NotEqual => !are_same,
        Comparison::Less => compared.is_some_and(Ordering::is_lt),
        Comparison::LessOrEqual => compared.is_some_and(Ordering::is_le),
        Comparison::Greater => compared.is_some_and(Ordering::is_gt),
        Comparison::GreaterOrEqual => compared.is_some_and(Ordering::is_ge),
    }
}

/// Compares two values of one column. `None` if one of them is null.
fn compare(a: &OwnedValue, b: &OwnedValue) -> Option<Ordering> {
    match (a, b) {
        (OwnedValue::Null, _) | (_, OwnedValue::Null) => None,
        (OwnedValue::Bool(a), OwnedValue::Bool(b)) => Some(a.cmp(b)),
        (OwnedValue::S64(a), OwnedValue::S64(b))
        | (OwnedValue::Timestamp(a), OwnedValue::Timestamp(b)) => Some(a.cmp(b)),
        (OwnedValue::F64(a), OwnedValue::F64(b)) => a.partial_cmp(b),
        (OwnedValue::Text(a), OwnedValue::Text(b)) | (OwnedValue::Json(a), OwnedValue::Json(b)) => {
            Some(a.cmp(b))
        }
        _ => panic!("a value of a look-up is of another type than its column"),
    }
}

#[cfg(test)]
mod tests {
    use crate::native::MemoryHost;
    use crate::shared::{Comparison, Lookup};
    use crate::table::Row;
    use crate::{Session, SessionInfo, rows};

    rows! {
        struct Word in shared "words" by word {
            word: String,
            number: Option<i64>,
        }
    }

    fn word(word: &str, number: impl Into<Option<i64>>) -> Word {
        Word {
            word: word.to_owned(),
            number: number.into(),
        }
    }

    fn host() -> MemoryHost<'static> {
        let host = MemoryHost::new(b"");
        host.declare(&[Word::table()]);
        host
    }

    /// An action on the host during one session.
    fn in_session<T>(host: &MemoryHost<'_>, work: impl FnOnce(&Session<'_>) -> T) -> T {
        let info = SessionInfo::new("ada/one.jsonl");
        let done = work(&Session::new(host, &info));
        host.shared.borrow_mut().end_session(true);
        done
    }

    fn words(lookup: Lookup<'_, Word>) -> String {
        let words = lookup.rows().unwrap().into_iter().map(|row| row.word);
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn pending_rows_replace_committed_ones_before_filters_and_order() {
        let host = host();
        in_session(&host, |session| {
            session.upsert_all([word("a", 1), word("b", 2), word("c", None)]);
        });
        let found = in_session(&host, |session| {
            session.upsert_all([word("b", 20), word("d", 4), word("d", 5)]);
            let all = session.lookup::<Word>();
            let small = session
                .lookup::<Word>()
                .filter("number", Comparison::Less, 10_i64);
            let largest = session.lookup::<Word>().order_by("number").descending();
            [words(all), words(small), words(largest)]
        });
        assert_eq!(found, ["a b c d", "a d", "b d a c"]);
    }

    #[test]
    fn the_newest_are_those_of_this_session_and_a_replaced_row_keeps_its_age() {
        let host = host();
        for name in ["c", "a", "b"] {
            in_session(&host, |session| session.upsert(word(name, 1)));
        }
        let found = in_session(&host, |session| {
            session.upsert(word("c", 2));
            let oldest = session.lookup::<Word>().order_by("created_at");
            [
                words(session.lookup::<Word>().newest_first()),
                words(session.lookup::<Word>().newest_first().limit(1)),
                words(oldest),
            ]
        });
        assert_eq!(found, ["c b a", "c", "c a b"]);
    }

    #[test]
    fn a_null_equals_null_and_differs_from_every_value() {
        let host = host();
        let found = in_session(&host, |session| {
            session.upsert_all([word("none", None), word("one", 1)]);
            let ask = |comparison, value: Option<i64>| {
                let lookup = session.lookup::<Word>();
                words(lookup.filter("number", comparison, value))
            };
            [
                ask(Comparison::Equal, None),
                ask(Comparison::NotEqual, None),
                ask(Comparison::NotEqual, Some(1)),
                ask(Comparison::GreaterOrEqual, None),
            ]
        });
        assert_eq!(found, ["none", "one", "none", ""]);
    }

    #[test]
    fn a_null_where_the_struct_has_none_is_an_error_that_names_the_column() {
        rows! {
            struct Narrow in shared "words" by word {
                word: String,
                number: i64,
            }
        }
        let host = host();
        in_session(&host, |session| session.upsert(word("none", None)));
        let found = in_session(&host, |session| session.lookup::<Narrow>().first().err());
        assert_eq!(
            found.unwrap(),
            "a row of `words` holds null in `number`, where Kind::S64 is wanted"
        );
    }
}
