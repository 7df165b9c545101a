//! Implements `lookup`, which finds rows in shared tables. Validates the request, runs it through
//! [`crate::shared`] and charges fuel.
//!
//! Does not use the generated binding, because that has no access to the fuel.

use std::borrow::Cow;

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::fault::{Fault, FaultKind, printable};
use crate::manifest::{ColumnKind, TableSpec};
use crate::rows::Cell;
use crate::sandbox::contract::session_pipeline::processor::{records, types};
use crate::sandbox::host::{FUEL_PER_BYTE as FUEL_PER_BYTE_ASKED, HostState, SessionGrant, pay};
use crate::sandbox::records::{is_instant, undeclared};
use crate::shared::{
    self, Comparison, FILTERS_MAX, LookupFilter, LookupQuery, OrderBy, OverlayRows,
};

/// Fuel for the call itself: the cost of a query before it reads a row.
const FUEL_PER_CALL: u64 = 100_000;
/// Fuel per row that is read.
const FUEL_PER_ROW: u64 = 20;
/// Fuel per byte that is returned.
const FUEL_PER_BYTE: u64 = 10;

/// The request of a guest.
struct LookupRequest {
    table: String,
    filters: Vec<records::Filter>,
    order_by: Option<String>,
    descending: bool,
    limit: u32,
}

impl LookupRequest {
    /// The size of the request in guest memory.
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
            let request = LookupRequest {
                table,
                filters,
                order_by,
                descending,
                limit,
            };
            Ok((look_up(store, &request)?,))
        },
    )
}

fn look_up(
    mut store: StoreContextMut<'_, HostState>,
    request: &LookupRequest,
) -> wasmtime::Result<Vec<types::Row>> {
    let state = store.data_mut();
    state.owe(request.bytes().saturating_mul(FUEL_PER_BYTE_ASKED));
    let (rows_max, bytes_max) = (state.limits.lookup_rows_max, state.limits.lookup_bytes_max);
    let grant = state.granted("records.lookup")?;
    let answered = answer(grant, request, rows_max, bytes_max);
    let (answer, kinds) = answered.map_err(|fault| state.fail(fault.kind, &fault.detail))?;
    let cells = answer.rows.iter().flatten();
    let bytes: u64 = cells.map(Cell::bytes).sum();
    charge(&mut store, answer.scanned, bytes)?;
    let state = store.data_mut();
    let too_much = |text: &str| {
        let table = &request.table;
        let detail = format!(
            "a lookup in table `{table}` found more than {text}; narrow it with `limit` or filters"
        );
        Err(Fault::new(FaultKind::OutputLimit, detail))
    };
    let within = if answer.rows.len() > rows_max {
        too_much(&format!("{rows_max} rows"))
    } else if bytes > bytes_max {
        too_much(&format!("{bytes_max} bytes"))
    } else {
        // A query can take milliseconds, which the fuel does not measure.
        state.deadline.check()
    };
    within.map_err(|fault| state.fail(fault.kind, &fault.detail))?;
    let rows = answer.rows.into_iter();
    let row = |cells: Vec<Cell<'static>>| cells.into_iter().zip(&kinds).map(value_of).collect();
    Ok(rows.map(row).collect())
}

/// Charges the fuel for a lookup.
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
            "the session used all the fuel for its size; a lookup used the last of it",
        ));
    }
    Ok(())
}

/// Runs the lookup. Returns the rows and the kinds of their columns.
fn answer(
    grant: &SessionGrant,
    request: &LookupRequest,
    rows_max: usize,
    bytes_max: u64,
) -> Result<(OverlayRows, Vec<ColumnKind>), Fault> {
    let rejected = |detail: String| Fault::new(FaultKind::BadRecord, detail);
    let name = &request.table;
    let tables = grant.tables.iter().zip(&grant.rows);
    let (spec, pending) = tables
        .into_iter()
        .find(|(spec, _)| spec.name == *name)
        .ok_or_else(|| rejected(undeclared(name)))?;
    let place = |column: &str| spec.columns.iter().position(|own| own.name == column);
    let key = spec.shared_key.as_deref().and_then(place).ok_or_else(|| {
        rejected(format!(
            "table `{name}` is not shared; `lookup` only finds rows of shared tables"
        ))
    })?;
    if request.filters.len() > FILTERS_MAX {
        return Err(rejected(format!(
            "a lookup in table `{name}` has {} filters; the limit is {FILTERS_MAX}",
            request.filters.len()
        )));
    }
    let filters: Result<Vec<LookupFilter<'_>>, String> = request
        .filters
        .iter()
        .map(|filter| filter_of(spec, filter))
        .collect();
    let filters =
        filters.map_err(|reason| rejected(format!("lookup in table `{name}`: {reason}")))?;
    let order = match request.order_by.as_deref() {
        None => OrderBy::Column(key),
        Some("created_at") => OrderBy::CreatedAt,
        Some("updated_at") => OrderBy::UpdatedAt,
        Some(column) => OrderBy::Column(place(column).ok_or_else(|| {
            let column = printable(column);
            rejected(format!(
                "a lookup in table `{name}` orders by the unknown column `{column}`"
            ))
        })?),
    };
    // One row more than the limit shows that there are more rows.
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let query = LookupQuery {
        table: spec,
        key,
        filters: &filters,
        order,
        descending: request.descending,
        rows_max: limit.min(rows_max.saturating_add(1)),
        bytes_max,
    };
    let answer = shared::look_up(&query, pending, grant.shared.as_deref())?;
    let kinds = spec.columns.iter().map(|column| column.kind).collect();
    Ok((answer, kinds))
}

fn filter_of<'a>(
    spec: &TableSpec,
    filter: &'a records::Filter,
) -> Result<LookupFilter<'a>, String> {
    let name = printable(&filter.column);
    let mut columns = spec.columns.iter().enumerate();
    let Some((column, own)) = columns.find(|(_, own)| own.name == filter.column) else {
        return Err(format!("unknown column `{name}`"));
    };
    let value = match (own.kind, &filter.value) {
        (_, types::Value::Null) => Cell::Null,
        (ColumnKind::Bool, types::Value::Bool(value)) => Cell::Bool(*value),
        (ColumnKind::S64, types::Value::S64(value)) => Cell::S64(*value),
        (ColumnKind::F64, types::Value::F64(value)) if value.is_finite() => Cell::F64(*value),
        (ColumnKind::Text, types::Value::Text(text))
        | (ColumnKind::Json, types::Value::Json(text)) => Cell::Text(Cow::Borrowed(text)),
        (ColumnKind::Timestamp, types::Value::Timestamp(micros)) if is_instant(*micros) => {
            Cell::Timestamp(*micros)
        }
        (kind, _) => {
            return Err(format!(
                "column `{name}`: the value of the filter is not of type {}",
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
    Ok(LookupFilter {
        column,
        comparison,
        value,
    })
}

fn value_of((cell, kind): (Cell<'static>, &ColumnKind)) -> types::Value {
    match (cell, kind) {
        (Cell::Null, _) => types::Value::Null,
        (Cell::Bool(value), _) => types::Value::Bool(value),
        (Cell::S64(value), _) => types::Value::S64(value),
        (Cell::F64(value), _) => types::Value::F64(value),
        (Cell::Text(text), ColumnKind::Json) => types::Value::Json(text.into_owned()),
        (Cell::Text(text), _) => types::Value::Text(text.into_owned()),
        (Cell::Timestamp(micros), _) => types::Value::Timestamp(micros),
    }
}
