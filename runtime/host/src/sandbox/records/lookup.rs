//! What a guest calls to find rows of its shared tables: checked here, answered by
//! [`crate::shared`], and paid for with fuel.
//!
//! Written by hand, since the generated binding could not reach the fuel.

use std::borrow::Cow;

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::fault::{Fault, FaultKind, printable};
use crate::manifest::{Kind, TableSpec};
use crate::rows::Cell;
use crate::sandbox::contract::session_pipeline::processor::{records, types};
use crate::sandbox::host::{FUEL_PER_BYTE as FUEL_PER_BYTE_ASKED, HostState, SessionGrant, pay};
use crate::sandbox::records::{is_instant, undeclared};
use crate::shared::{self, Answer, Comparison, FILTERS_MAX, Filter, OrderBy, Query};

/// Fuel for the call itself: what a query costs before it has read a row.
const FUEL_PER_CALL: u64 = 100_000;
/// Fuel for a row that has to be read.
const FUEL_PER_ROW: u64 = 20;
/// Fuel for a byte that is found.
const FUEL_PER_BYTE: u64 = 10;

/// What the guest asks.
struct Asked {
    table: String,
    filters: Vec<records::Filter>,
    order_by: Option<String>,
    descending: bool,
    limit: u32,
}

impl Asked {
    /// What was lifted out of the guest.
    fn bytes(&self) -> u64 {
        let filters = self.filters.iter().map(|filter| {
            let value = match &filter.value {
                types::Value::Text(text) | types::Value::Json(text) => text.len(),
                _ => 8,
            };
            filter.column.len() + value
        });
        let order = self.order_by.as_ref().map_or(0, String::len);
        (self.table.len() + order + filters.sum::<usize>()) as u64
    }
}

pub(super) fn link(records: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    records.func_wrap(
        "lookup",
        |store,
         (table, filters, order_by, descending, limit): (
            String,
            Vec<records::Filter>,
            Option<String>,
            bool,
            u32,
        )| {
            let asked = Asked {
                table,
                filters,
                order_by,
                descending,
                limit,
            };
            Ok((look_up(store, &asked)?,))
        },
    )
}

fn look_up(
    mut store: StoreContextMut<'_, HostState>,
    asked: &Asked,
) -> wasmtime::Result<Vec<types::Row>> {
    let state = store.data_mut();
    state.owe(asked.bytes().saturating_mul(FUEL_PER_BYTE_ASKED));
    let (rows_max, bytes_max) = (state.limits.lookup_rows_max, state.limits.lookup_bytes_max);
    let grant = state.granted("records.lookup")?;
    let answered = answer(grant, asked, rows_max, bytes_max);
    let (answer, kinds) = answered.map_err(|fault| state.fail(fault.kind, &fault.detail))?;
    let cells = answer.rows.iter().flatten();
    let bytes: u64 = cells.map(Cell::bytes).sum();
    charge(&mut store, answer.scanned, bytes)?;
    let state = store.data_mut();
    let too_much = |text: &str| {
        let table = &asked.table;
        let detail = format!(
            "a look-up in `{table}` found more than {text}; ask for fewer by `limit` or filters"
        );
        Err(Fault::new(FaultKind::OutputLimit, detail))
    };
    let within = if answer.rows.len() > rows_max {
        too_much(&format!("{rows_max} rows"))
    } else if bytes > bytes_max {
        too_much(&format!("{bytes_max} bytes"))
    } else {
        // A query takes milliseconds, and fuel says nothing of them.
        state.deadline.check()
    };
    within.map_err(|fault| state.fail(fault.kind, &fault.detail))?;
    let rows = answer.rows.into_iter();
    let row = |cells: Vec<Cell<'static>>| cells.into_iter().zip(&kinds).map(value_of).collect();
    Ok(rows.map(row).collect())
}

/// Takes the fuel for a look-up.
fn charge(
    store: &mut StoreContextMut<'_, HostState>,
    rows: u64,
    bytes: u64,
) -> wasmtime::Result<()> {
    let fuel = FUEL_PER_CALL
        .saturating_add(rows.saturating_mul(FUEL_PER_ROW))
        .saturating_add(bytes.saturating_mul(FUEL_PER_BYTE));
    pay(store)?;
    let left = store.get_fuel()?.checked_sub(fuel);
    store.set_fuel(left.unwrap_or(0))?;
    if left.is_none() {
        return Err(store.data_mut().fail(
            FaultKind::OutOfFuel,
            "the fuel for a session of this size is used up, the last of it by a look-up",
        ));
    }
    Ok(())
}

/// The rows that are asked for, and of what kinds their cells are.
fn answer(
    grant: &SessionGrant,
    asked: &Asked,
    rows_max: usize,
    bytes_max: u64,
) -> Result<(Answer, Vec<Kind>), Fault> {
    let refused = |detail: String| Fault::new(FaultKind::BadRecord, detail);
    let name = &asked.table;
    let tables = grant.tables.iter().zip(&grant.rows);
    let (spec, pending) = tables
        .into_iter()
        .find(|(spec, _)| spec.name == *name)
        .ok_or_else(|| refused(undeclared(name)))?;
    let place = |column: &str| spec.columns.iter().position(|own| own.name == column);
    let key = spec.shared_key.as_deref().and_then(place).ok_or_else(|| {
        refused(format!(
            "the rows of the table `{name}` belong to their session; only shared tables can be looked up"
        ))
    })?;
    if asked.filters.len() > FILTERS_MAX {
        return Err(refused(format!(
            "a look-up in `{name}` has {} filters; {FILTERS_MAX} are allowed",
            asked.filters.len()
        )));
    }
    let filters: Result<Vec<Filter<'_>>, String> = asked
        .filters
        .iter()
        .map(|filter| filter_of(spec, filter))
        .collect();
    let filters = filters.map_err(|reason| refused(format!("a look-up in `{name}`: {reason}")))?;
    let order = match asked.order_by.as_deref() {
        None => OrderBy::Column(key),
        Some("created_at") => OrderBy::CreatedAt,
        Some("updated_at") => OrderBy::UpdatedAt,
        Some(column) => OrderBy::Column(place(column).ok_or_else(|| {
            let column = printable(column);
            refused(format!(
                "a look-up in `{name}` is ordered by `{column}`, which is none of its columns"
            ))
        })?),
    };
    // One row above the limit shows that there are more.
    let limit = usize::try_from(asked.limit).unwrap_or(usize::MAX);
    let query = Query {
        table: spec,
        key,
        filters: &filters,
        order,
        descending: asked.descending,
        rows_max: limit.min(rows_max.saturating_add(1)),
        bytes_max,
    };
    let answer = shared::look_up(&query, pending, grant.shared.as_deref())?;
    let kinds = spec.columns.iter().map(|column| column.kind).collect();
    Ok((answer, kinds))
}

fn filter_of<'a>(spec: &TableSpec, filter: &'a records::Filter) -> Result<Filter<'a>, String> {
    let name = printable(&filter.column);
    let mut columns = spec.columns.iter().enumerate();
    let Some((column, own)) = columns.find(|(_, own)| own.name == filter.column) else {
        return Err(format!("there is no column `{name}`"));
    };
    let value = match (own.kind, &filter.value) {
        (_, types::Value::Null) => Cell::Null,
        (Kind::Bool, types::Value::Bool(value)) => Cell::Bool(*value),
        (Kind::S64, types::Value::S64(value)) => Cell::S64(*value),
        (Kind::F64, types::Value::F64(value)) if value.is_finite() => Cell::F64(*value),
        (Kind::Text, types::Value::Text(text)) | (Kind::Json, types::Value::Json(text)) => {
            Cell::Text(Cow::Borrowed(text))
        }
        (Kind::Timestamp, types::Value::Timestamp(micros)) if is_instant(*micros) => {
            Cell::Timestamp(*micros)
        }
        (kind, _) => {
            return Err(format!(
                "column `{name}`: the value of the filter is no {}",
                kind.name()
            ));
        }
    };
    let comparison = match filter.comparison {
        records::Comparison::Equal => Comparison::Equal,
        records::Comparison::NotEqual => Comparison::NotEqual,
        records::Comparison::Less => Comparison::Less,
        records::Comparison::LessOrEqual => Comparison::LessOrEqual,
        records::Comparison::Greater => Comparison::Greater,
        records::Comparison::GreaterOrEqual => Comparison::GreaterOrEqual,
    };
    Ok(Filter {
        column,
        comparison,
        value,
    })
}

fn value_of((cell, kind): (Cell<'static>, &Kind)) -> types::Value {
    match (cell, kind) {
        (Cell::Null, _) => types::Value::Null,
        (Cell::Bool(value), _) => types::Value::Bool(value),
        (Cell::S64(value), _) => types::Value::S64(value),
        (Cell::F64(value), _) => types::Value::F64(value),
        (Cell::Text(text), Kind::Json) => types::Value::Json(text.into_owned()),
        (Cell::Text(text), _) => types::Value::Text(text.into_owned()),
        (Cell::Timestamp(micros), _) => types::Value::Timestamp(micros),
    }
}
