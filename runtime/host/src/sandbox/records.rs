//! Implements the contract's `records` interface, through which a guest stores and finds rows.
//!
//! `insert` and `upsert` do not use the generated bindings. They copy rows from guest memory
//! directly into columns. The generated binding would allocate a `String` per text first, which
//! cost a tenth of the run time of a session. The module `lookup` finds rows.

mod lookup;

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, WasmStr};

use crate::fault::FaultKind;
use crate::manifest::{ColumnKind, TableSpec};
use crate::rows::{ColumnValues, TableRows};
use crate::sandbox::contract::session_pipeline::processor::{records, types};
use crate::sandbox::host::HostState;
use crate::shared::KEY_BYTES_MAX;

/// Maximum nesting of a JSON value. serde_json has the same limit for its `Value`.
const JSON_DEPTH_MAX: usize = 128;
/// The first and last microsecond of the years 1 to 9999.
const FIRST_INSTANT: i64 = -62_135_596_800_000_000;
const LAST_INSTANT: i64 = 253_402_300_799_999_999;

/// The contract's `value`. Texts are still in guest memory.
#[derive(ComponentType, Lift)]
#[component(variant)]
enum EmittedValue {
    #[component(name = "null")]
    Null,
    #[component(name = "bool")]
    Bool(bool),
    #[component(name = "s64")]
    S64(i64),
    #[component(name = "f64")]
    F64(f64),
    #[component(name = "text")]
    Text(WasmStr),
    #[component(name = "timestamp")]
    Timestamp(i64),
    #[component(name = "json")]
    Json(WasmStr),
}

/// Fuel per recorded row.
const FUEL_PER_ROW: u64 = 20;
/// Fuel per recorded byte, which is checked and copied twice.
const FUEL_PER_BYTE: u64 = 2;

impl records::Host for HostState {
    /// Shadowed by [`link`], like `upsert` and `lookup`.
    fn insert(&mut self, _: String, _: Vec<types::Row>) -> wasmtime::Result<()> {
        Err(wasmtime::format_err!("the generated `insert` was linked"))
    }

    fn upsert(&mut self, _: String, _: Vec<types::Row>) -> wasmtime::Result<()> {
        Err(wasmtime::format_err!("the generated `upsert` was linked"))
    }

    fn lookup(
        &mut self,
        _: String,
        _: Vec<records::Filter>,
        _: Option<String>,
        _: bool,
        _: u32,
    ) -> wasmtime::Result<Vec<types::Row>> {
        Err(wasmtime::format_err!("the generated `lookup` was linked"))
    }
}

/// Replaces the generated functions with the ones in this module.
pub(crate) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut records = linker.instance("session-pipeline:processor/records@1.1.0")?;
    records.func_wrap(
        "insert",
        |store, (table, rows): (WasmStr, Vec<Vec<EmittedValue>>)| {
            record(store, RecordsCall::Insert, &table, &rows)
        },
    )?;
    records.func_wrap(
        "upsert",
        |store, (table, rows): (WasmStr, Vec<Vec<EmittedValue>>)| {
            record(store, RecordsCall::Upsert, &table, &rows)
        },
    )?;
    lookup::link(&mut records)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The function for each kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecordsCall {
    Insert,
    Upsert,
}

impl RecordsCall {
    fn name(self) -> &'static str {
        match self {
            Self::Insert => "records.insert",
            Self::Upsert => "records.upsert",
        }
    }

    /// The reason why this function cannot be used on a table.
    fn rejection(self, spec: &TableSpec) -> Option<String> {
        match (self, &spec.shared_key) {
            (Self::Insert, Some(_)) => {
                Some(format!("the table `{}` is shared; use `upsert`", spec.name))
            }
            (Self::Upsert, None) => Some(format!(
                "the rows of the table `{}` belong to their session; use `insert`",
                spec.name
            )),
            _ => None,
        }
    }
}

fn record(
    mut store: StoreContextMut<'_, HostState>,
    call: RecordsCall,
    table: &WasmStr,
    rows: &[Vec<EmittedValue>],
) -> wasmtime::Result<()> {
    let table = table.to_str(&store)?.into_owned();
    let state = store.data_mut();
    let rows_max = state.limits.rows_max;
    let recorded = state.rows_recorded.saturating_add(rows.len() as u64);
    if recorded > rows_max {
        return Err(state.fail(
            FaultKind::OutputLimit,
            &format!("the session recorded more than {rows_max} rows"),
        ));
    }
    let grant = state.granted(call.name())?;
    let Some(index) = grant.tables.iter().position(|spec| spec.name == table) else {
        return Err(state.fail(FaultKind::BadRecord, &undeclared(&table)));
    };
    let tables = Arc::clone(&grant.tables);
    let (Some(spec), Some(slot)) = (tables.get(index), grant.rows.get_mut(index)) else {
        return Err(wasmtime::format_err!(
            "internal error: the table has no rows"
        ));
    };
    // Taken out while they grow: the texts borrow the store, which holds them.
    let mut taken = std::mem::take(slot);
    let pushed = match call.rejection(spec) {
        Some(reason) => Err((FaultKind::BadRecord, reason)),
        None => push_rows(&store, spec, &mut taken, rows),
    };
    let state = store.data_mut();
    if let Some(slot) = state.granted(call.name())?.rows.get_mut(index) {
        *slot = taken;
    }
    let bytes = pushed.map_err(|(kind, detail)| state.fail(kind, &detail))?;
    let new_bytes = bytes.saturating_sub(state.bytes_recorded);
    let fuel = new_bytes.saturating_mul(FUEL_PER_BYTE);
    state.owe(fuel.saturating_add((rows.len() as u64).saturating_mul(FUEL_PER_ROW)));
    (state.rows_recorded, state.bytes_recorded) = (recorded, bytes);
    Ok(())
}

fn undeclared(table: &str) -> String {
    format!("unknown table `{table}`; declare it in the manifest")
}

/// Appends rows to their columns. Returns the total number of bytes that the session has recorded.
fn push_rows(
    store: &StoreContextMut<'_, HostState>,
    spec: &TableSpec,
    table_rows: &mut TableRows,
    rows: &[Vec<EmittedValue>],
) -> Result<u64, (FaultKind, String)> {
    let state = store.data();
    let (bytes_max, one_max) = (state.limits.row_bytes_max, state.limits.one_row_bytes_max);
    let name = &spec.name;
    let mut bytes = state.bytes_recorded;
    for row in rows {
        let row_bytes = push_row(store, spec, table_rows, row)
            .map_err(|reason| (FaultKind::BadRecord, format!("table `{name}`: {reason}")))?;
        if row_bytes > one_max {
            let detail =
                format!("a row of table `{name}` has {row_bytes} bytes; the limit is {one_max}");
            return Err((FaultKind::BadRecord, detail));
        }
        bytes = bytes.saturating_add(row_bytes);
        if bytes > bytes_max {
            let detail = format!("the session recorded more than {bytes_max} bytes");
            return Err((FaultKind::OutputLimit, detail));
        }
    }
    Ok(bytes)
}

/// Appends a row to its columns. Returns its size in bytes.
fn push_row(
    store: &StoreContextMut<'_, HostState>,
    spec: &TableSpec,
    table_rows: &mut TableRows,
    row: &[EmittedValue],
) -> Result<u64, String> {
    if row.len() != spec.columns.len() {
        return Err(format!(
            "the row has {} values but the table has {} columns",
            row.len(),
            spec.columns.len()
        ));
    }
    if let Some(key) = &spec.shared_key {
        check_key(store, spec, key, row)?;
    }
    let mut bytes = 0;
    for ((column, values), value) in spec.columns.iter().zip(&mut table_rows.columns).zip(row) {
        bytes += push_value(store, column.kind, values, value)
            .map_err(|reason| format!("column `{}`: {reason}", column.name))?;
    }
    table_rows.rows += 1;
    Ok(bytes)
}

/// Checks that the key is present and fits into the index of its table. The column check verifies
/// that it is text.
fn check_key(
    store: &StoreContextMut<'_, HostState>,
    spec: &TableSpec,
    key: &str,
    row: &[EmittedValue],
) -> Result<(), String> {
    let place = spec.columns.iter().position(|column| column.name == key);
    let problem = match place.and_then(|place| row.get(place)) {
        Some(EmittedValue::Null) => "is null".to_owned(),
        Some(EmittedValue::Text(text)) => {
            let bytes = text.to_str(store).map_err(|error| error.to_string())?.len();
            match bytes {
                0 => "is empty".to_owned(),
                bytes if bytes > KEY_BYTES_MAX => {
                    format!("has {bytes} bytes; the limit is {KEY_BYTES_MAX}")
                }
                _ => return Ok(()),
            }
        }
        _ => return Ok(()),
    };
    Err(format!("the key `{key}` {problem}"))
}

fn push_value(
    store: &StoreContextMut<'_, HostState>,
    kind: ColumnKind,
    values: &mut ColumnValues,
    value: &EmittedValue,
) -> Result<u64, String> {
    let text_of = |text: &WasmStr| text.to_str(store).map_err(|error| error.to_string());
    match (kind, values, value) {
        (_, values, EmittedValue::Null) => values.push_null(),
        (ColumnKind::Bool, ColumnValues::Bool(values), EmittedValue::Bool(value)) => {
            values.push(Some(*value))
        }
        (ColumnKind::S64, ColumnValues::S64(values), EmittedValue::S64(value)) => {
            values.push(Some(*value))
        }
        (ColumnKind::F64, ColumnValues::F64(values), EmittedValue::F64(value)) => {
            if !value.is_finite() {
                return Err("the number is not finite".to_owned());
            }
            values.push(Some(*value));
        }
        (ColumnKind::Text, ColumnValues::Text(values), EmittedValue::Text(text)) => {
            let text = text_of(text)?;
            values.push(Some(&text));
            return Ok(text.len() as u64 + 8);
        }
        (ColumnKind::Json, ColumnValues::Text(values), EmittedValue::Json(text)) => {
            let text = text_of(text)?;
            if json_depth(&text) > JSON_DEPTH_MAX {
                return Err(format!(
                    "the JSON has more than {JSON_DEPTH_MAX} levels of nesting"
                ));
            }
            serde_json::from_str::<serde::de::IgnoredAny>(&text)
                .map_err(|error| format!("invalid JSON: {error}"))?;
            values.push(Some(&text));
            return Ok(text.len() as u64 + 8);
        }
        (
            ColumnKind::Timestamp,
            ColumnValues::Timestamp(values),
            EmittedValue::Timestamp(micros),
        ) => {
            if !is_instant(*micros) {
                return Err(format!(
                    "the timestamp {micros} is outside of the years 1 to 9999"
                ));
            }
            values.push(Some(*micros));
        }
        _ => return Err(format!("the value is not of type {}", kind.name())),
    }
    Ok(8)
}

fn is_instant(micros: i64) -> bool {
    (FIRST_INSTANT..=LAST_INSTANT).contains(&micros)
}

/// The nesting depth of brackets outside of strings. `IgnoredAny` does not limit it.
fn json_depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut is_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            b'[' | b'{' if !is_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !is_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
