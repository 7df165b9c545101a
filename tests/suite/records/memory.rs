//! Shared tables in memory, which the commands for authors use, return the same rows as shared
//! tables in the database.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use session_pipeline_harness::{cases, clock, counted};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::manifest::{ColumnKind, ColumnSpec, Manifest, Order, TableSpec};
use session_pipeline_host::processor::Cost;
use session_pipeline_host::rows::{Cell, ColumnValues, TableRows};
use session_pipeline_host::shared::{
    Comparison, FoundRow, LookupFilter, LookupQuery, MemoryRows, OrderBy, SharedRows,
};
use session_pipeline_store::{CommitGroup, CompletedSession, ContentChange, SessionOutcome, Store};

use crate::guests::prepared_dir;

const KINDS: [ColumnKind; 6] = [
    ColumnKind::Bool,
    ColumnKind::S64,
    ColumnKind::F64,
    ColumnKind::Text,
    ColumnKind::Timestamp,
    ColumnKind::Json,
];
const COMPARISONS: [Comparison; 6] = [
    Comparison::Equal,
    Comparison::NotEqual,
    Comparison::Less,
    Comparison::LessOrEqual,
    Comparison::Greater,
    Comparison::GreaterOrEqual,
];
/// Keys that recur. Some differ only in characters that some collations ignore.
const KEYS: [&str; 12] = [
    "a",
    "A",
    "ä",
    "a\u{308}",
    "a ",
    " a",
    "a\0",
    "a\0b",
    "'; DROP",
    "\u{ffff}",
    "\u{10ffff}",
    "1",
];
/// The first and the last timestamp that a processor can record.
const TIMESTAMP_RANGE: [i64; 2] = [-62_135_596_800_000_000, 253_402_300_799_999_999];

/// A table, and the index of its key column.
#[derive(Clone, Debug)]
struct Table {
    spec: TableSpec,
    key: usize,
}

fn table() -> impl Strategy<Value = Table> {
    (vec(select(&KINDS[..]), 1..6), any::<Index>()).prop_map(|(mut kinds, key)| {
        let key = key.index(kinds.len() + 1);
        kinds.insert(key, ColumnKind::Text);
        let columns = kinds.into_iter().enumerate();
        let columns = columns.map(|(number, kind)| ColumnSpec {
            name: format!("c{number}"),
            kind,
        });
        let spec = TableSpec {
            name: "things".to_owned(),
            shared_key: Some(format!("c{key}")),
            columns: columns.collect(),
            identity: Vec::new(),
        };
        Table { spec, key }
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(&KEYS[..]).prop_map(ToOwned::to_owned),
        1 => "\\PC{1,8}",
        1 => "[a-c]{100,900}",
    ]
}

/// Any value of a column of this kind.
fn cell(kind: ColumnKind) -> BoxedStrategy<Cell<'static>> {
    let value = match kind {
        ColumnKind::Bool => any::<bool>().prop_map(Cell::Bool).boxed(),
        ColumnKind::S64 => prop_oneof![
            select(vec![i64::MIN, -1, 0, 1, (1 << 53) + 1, i64::MAX]),
            any::<i64>()
        ]
        .prop_map(Cell::S64)
        .boxed(),
        ColumnKind::F64 => prop_oneof![
            select(vec![
                f64::MIN,
                -0.0,
                0.0,
                f64::MIN_POSITIVE,
                5e-324,
                0.1,
                f64::MAX
            ]),
            any::<f64>().prop_filter("finite", |number| number.is_finite())
        ]
        .prop_map(Cell::F64)
        .boxed(),
        ColumnKind::Text => prop_oneof![key(), Just(String::new()), any::<String>()]
            .prop_map(|text| Cell::Text(text.into()))
            .boxed(),
        ColumnKind::Timestamp => prop_oneof![
            select(vec![TIMESTAMP_RANGE[0], -1, 0, 1, TIMESTAMP_RANGE[1]]),
            TIMESTAMP_RANGE[0]..TIMESTAMP_RANGE[1]
        ]
        .prop_map(Cell::Timestamp)
        .boxed(),
        ColumnKind::Json => select(vec!["null", "1", "1.0", "{}", "[\"a\"]", "\"\\u0000\""])
            .prop_map(|text| Cell::Text(text.into()))
            .boxed(),
    };
    prop_oneof![4 => value, 1 => Just(Cell::Null)].boxed()
}

type Row = Vec<Cell<'static>>;

fn row(table: &Table) -> impl Strategy<Value = Row> + use<> {
    let key_index = table.key;
    let cells: Vec<_> = table
        .spec
        .columns
        .iter()
        .map(|column| cell(column.kind))
        .collect();
    (cells, key()).prop_map(move |(mut cells, key)| {
        cells[key_index] = Cell::Text(key.into());
        cells
    })
}

/// The parameters of a lookup, without the table.
#[derive(Clone, Debug)]
struct LookupParams {
    filters: Vec<(usize, Comparison, Cell<'static>)>,
    order: OrderBy,
    descending: bool,
    rows_max: usize,
    bytes_max: u64,
    replaced: Vec<String>,
}

fn lookup_params(table: &Table) -> impl Strategy<Value = LookupParams> + use<> {
    let columns = table.spec.columns.clone();
    let filter = (0..columns.len(), select(&COMPARISONS[..])).prop_flat_map({
        let columns = columns.clone();
        move |(column, comparison)| {
            cell(columns[column].kind).prop_map(move |value| (column, comparison, value))
        }
    });
    let by_key = {
        let key_index = table.key;
        key().prop_map(move |key| (key_index, Comparison::Equal, Cell::Text(key.into())))
    };
    let order = prop_oneof![
        4 => (0..columns.len()).prop_map(OrderBy::Column),
        1 => Just(OrderBy::CreatedAt),
        1 => Just(OrderBy::UpdatedAt),
    ];
    (
        prop_oneof![3 => vec(filter, 0..3), 1 => vec(by_key, 1..3)],
        order,
        any::<bool>(),
        // With a limit above 256 rows, the database checks their size before it fetches them.
        select(vec![0_usize, 1, 2, 5, 256, 257, 1000]),
        select(vec![0_u64, 30, 100, 300, 1 << 20]),
        // The database inserts more than 100 keys into a temporary table.
        (vec(key(), 0..4), any::<bool>()),
    )
        .prop_map(
            |(filters, order, descending, rows_max, bytes_max, (replaced, more))| {
                let more = (0..if more { 100 } else { 0 }).map(|number| format!("none-{number}"));
                let replaced: BTreeSet<String> = replaced.into_iter().chain(more).collect();
                LookupParams {
                    filters,
                    order,
                    descending,
                    rows_max,
                    bytes_max,
                    replaced: replaced.into_iter().collect(),
                }
            },
        )
}

/// The rows of each session, and the lookups after it.
type Sessions = Vec<(Vec<Row>, Vec<LookupParams>)>;

fn table_and_sessions() -> impl Strategy<Value = (Table, Sessions)> {
    table().prop_flat_map(|table| {
        let session = (vec(row(&table), 0..8), vec(lookup_params(&table), 1..8));
        (Just(table), vec(session, 1..4))
    })
}

fn rows_of(spec: &TableSpec, rows: &[Row]) -> TableRows {
    let mut table = TableRows::new(spec);
    table.rows = rows.len();
    for row in rows {
        for (column, cell) in table.columns.iter_mut().zip(row) {
            match (column, cell) {
                (ColumnValues::Bool(values), Cell::Bool(value)) => values.push(Some(*value)),
                (ColumnValues::S64(values), Cell::S64(value))
                | (ColumnValues::Timestamp(values), Cell::Timestamp(value)) => {
                    values.push(Some(*value));
                }
                (ColumnValues::F64(values), Cell::F64(value)) => values.push(Some(*value)),
                (ColumnValues::Text(values), Cell::Text(text)) => values.push(Some(text)),
                (column, _) => column.push_null(),
            }
        }
    }
    table
}

/// Commits the rows of one session in the same way as a run.
fn commit(store: &Store, manifest: &Arc<Manifest>, number: usize, tables: Vec<TableRows>) {
    let now = UtcMicros(clock::START.0 + i64::try_from(number).unwrap());
    let session = CompletedSession {
        key: format!("ada/{number}.jsonl"),
        username: "ada".to_owned(),
        state_row: None,
        failure: None,
        read_at: now,
        observed: None,
        hash: ContentHash([7; 16]),
        items: 1,
        tables,
        resumed_from: None,
        checkpoint: None,
        cost: Cost::default(),
        change: ContentChange::Unknown,
    };
    let group = CommitGroup {
        manifest: Arc::clone(manifest),
        digest: "d".to_owned(),
        run_id: "1".to_owned(),
        now,
        requests: Arc::default(),
        outcomes: vec![SessionOutcome::Completed(Box::new(session))],
    };
    store.commit(&Arc::new(group)).unwrap();
}

/// The result of a lookup, as debug text so that NaN values compare equal.
fn lookup(
    rows: &dyn SharedRows,
    table: &Table,
    params: &LookupParams,
) -> Result<Vec<String>, String> {
    let filters = params.filters.iter();
    let filters: Vec<LookupFilter<'_>> = filters
        .map(|(column, comparison, value)| LookupFilter {
            column: *column,
            comparison: *comparison,
            value: value.clone(),
        })
        .collect();
    let query = LookupQuery {
        table: &table.spec,
        key: table.key,
        filters: &filters,
        order: params.order,
        descending: params.descending,
        rows_max: params.rows_max,
        bytes_max: params.bytes_max,
    };
    let replaced: Vec<&str> = params.replaced.iter().map(String::as_str).collect();
    // A lookup of a single key that is replaced does not reach the committed rows.
    let replaced = match query.single_key().is_some() {
        true => Vec::new(),
        false => replaced,
    };
    let found = rows
        .find(&query, &replaced)
        .map_err(|fault| fault.to_string())?;
    let text = |row: FoundRow| match params.order {
        OrderBy::Column(_) => format!("{:?} by {:?}", row.cells, row.ordered_by),
        // The two have different clocks, so their times are not compared.
        OrderBy::CreatedAt | OrderBy::UpdatedAt => format!("{:?}", row.cells),
    };
    Ok(found.into_iter().map(text).collect())
}

proptest! {
    #![proptest_config(counted(cases()))]

    #[test]
    fn invariant_shared_rows_in_memory_return_the_same_rows_as_the_database(
        (table, sessions) in table_and_sessions(),
    ) {
        let dir = prepared_dir();
        let store = Store::open(&dir.config().store_options(), clock::START).unwrap();
        let manifest = Arc::new(Manifest {
            name: "demo".to_owned(),
            version: 1,
            description: "for a test".to_owned(),
            cadence_seconds: 3600,
            order: Order::Serial,
            uses_llm: false,
            redacts_secrets: false,
            tables: vec![table.spec.clone()],
        });
        store.register_tables(&manifest).unwrap();
        let mut in_memory = MemoryRows::default();
        for (number, (rows, lookups)) in sessions.iter().enumerate() {
            let tables = vec![rows_of(&table.spec, rows)];
            in_memory.commit(&manifest, &tables);
            commit(&store, &manifest, number, tables);
            let in_database = store.shared_rows(&manifest).unwrap().unwrap();
            let counts = [&in_memory as &dyn SharedRows, &*in_database]
                .map(|rows| rows.count(&table.spec).unwrap());
            prop_assert_eq!(counts[0], counts[1]);
            let created = |rows: &dyn SharedRows| {
                let keys: Vec<&str> = KEYS.to_vec();
                let created = rows.creation_times(&table.spec, &keys).unwrap();
                created.into_keys().collect::<BTreeSet<_>>()
            };
            prop_assert_eq!(created(&in_memory), created(&*in_database));
            for params in lookups {
                prop_assert_eq!(
                    lookup(&in_memory, &table, params),
                    lookup(&*in_database, &table, params),
                    "{:?}",
                    params
                );
            }
        }
    }
}
