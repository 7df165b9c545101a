//! Calls a processor's `describe` and converts the result into a manifest.

use std::panic::resume_unwind;
use std::sync::Arc;

use crate::fault::{Fault, FaultKind, printable};
use crate::limits::Limits;
use crate::manifest::{ColumnKind, ColumnSpec, Manifest, ManifestError, Order, TableSpec};
use crate::sandbox::contract::AnyProcessorPre;
use crate::sandbox::contract::exports::session_pipeline::processor::guest::Manifest as GuestManifest;
use crate::sandbox::contract::session_pipeline::processor::types;
use crate::sandbox::{
    Engine, FileAccess, HostState, confine_if_possible, fault_of, fuel_left, run_to_end,
};

/// The stack of this thread. The guest has its own.
const THREAD_STACK_BYTES: usize = 1 << 20;

/// Calls `describe` in a new instance with this random seed. Returns the validated manifest and the
/// fuel used.
///
/// Runs on a separate, confined thread. The caller's thread cannot be confined because it has other
/// work to do.
pub(super) fn describe(
    engine: &Engine,
    limits: &Arc<Limits>,
    pre: &AnyProcessorPre<HostState>,
    settings: &Vec<(String, String)>,
    randomness: [u8; 32],
) -> Result<(Manifest, u64), Fault> {
    let work = || {
        confine_if_possible(FileAccess::default());
        call(engine, limits, pre, settings, randomness)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("describe".to_owned())
            .stack_size(THREAD_STACK_BYTES)
            .spawn_scoped(scope, work);
        let thread = thread.map_err(|error| {
            let detail = format!("cannot start a thread to call `describe`: {error}");
            Fault::new(FaultKind::Host, detail)
        })?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn call(
    engine: &Engine,
    limits: &Arc<Limits>,
    pre: &AnyProcessorPre<HostState>,
    settings: &Vec<(String, String)>,
    randomness: [u8; 32],
) -> Result<(Manifest, u64), Fault> {
    let mut store = HostState::store(engine, limits, randomness, 0, None).map_err(|error| {
        Fault::new(
            FaultKind::Host,
            format!("cannot create an instance: {error:#}"),
        )
    })?;
    let deadline = store.data().deadline;
    let call = async {
        let instance = pre.instantiate_async(&mut store).await?;
        let guest = instance.session_pipeline_processor_guest();
        guest.call_describe(&mut store, settings).await
    };
    let described = run_to_end(deadline, call)
        .and_then(|result| result.map_err(|error| fault_of(&store, &error)));
    match described {
        Ok(Ok(manifest)) => {
            let manifest = manifest_of(manifest).and_then(Manifest::check);
            let manifest = manifest.map_err(|error| {
                let detail = format!("the manifest is invalid: {error}");
                Fault::new(FaultKind::Component, detail)
            })?;
            let fuel_left = fuel_left(&mut store).unwrap_or(0);
            Ok((manifest, limits.fuel(0).saturating_sub(fuel_left)))
        }
        Ok(Err(reason)) => Err(Fault::new(
            FaultKind::Component,
            format!("`describe` failed: {reason}"),
        )),
        Err(fault) => Err(Fault::new(
            FaultKind::Component,
            format!("`describe` failed: {fault}"),
        )),
    }
}

/// Prefix of the `extra` key that asks to keep the superseded rows of a table. The rest of the key
/// is the table. The value lists the columns that identify a row, separated by commas.
const KEEP_SUPERSEDED: &str = "keep-superseded:";

/// The `extra` key that asks the host to remove secrets from rows.
const REDACT_SECRETS: &str = "redact-secrets";

fn manifest_of(manifest: GuestManifest) -> Result<Manifest, ManifestError> {
    let kind = |kind| match kind {
        types::Kind::Bool => ColumnKind::Bool,
        types::Kind::S64 => ColumnKind::S64,
        types::Kind::F64 => ColumnKind::F64,
        types::Kind::Text => ColumnKind::Text,
        types::Kind::Timestamp => ColumnKind::Timestamp,
        types::Kind::Json => ColumnKind::Json,
    };
    let table = |table: types::Table| TableSpec {
        name: table.name,
        shared_key: match table.ownership {
            types::Ownership::Session => None,
            types::Ownership::Shared(key) => Some(key),
        },
        columns: table
            .columns
            .into_iter()
            .map(|column| ColumnSpec {
                name: column.name,
                kind: kind(column.kind),
            })
            .collect(),
        identity: Vec::new(),
    };
    let mut tables: Vec<TableSpec> = manifest.tables.into_iter().map(table).collect();
    // Ignore unknown keys. A newer version of the contract can define them.
    for (name, value) in &manifest.extra {
        let Some(wanted) = name.strip_prefix(KEEP_SUPERSEDED) else {
            continue;
        };
        let table = tables.iter_mut().find(|table| table.name == wanted);
        let Some(table) = table.filter(|_| !value.is_empty()) else {
            return Err(ManifestError::Superseded {
                table: printable(wanted),
                reason: "the table does not exist, or the value names no column".to_owned(),
            });
        };
        table.identity = value.split(',').map(str::to_owned).collect();
    }
    Ok(Manifest {
        name: manifest.name,
        version: manifest.version,
        description: manifest.description,
        cadence_seconds: manifest.cadence_seconds,
        order: match manifest.order {
            types::Order::Independent => Order::Independent,
            types::Order::Serial => Order::Serial,
        },
        uses_llm: manifest.uses_llm,
        redacts_secrets: manifest
            .extra
            .iter()
            .any(|(name, value)| name == REDACT_SECRETS && value == "true"),
        tables,
    })
}
