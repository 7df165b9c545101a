//! The validation of manifests.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::fuzz::{fuzz, mutated_text};
use session_pipeline_host::manifest::{ColumnKind, ColumnSpec, Manifest, Order, TableSpec};

/// Mostly valid names, and names that are reserved by the database or the host.
fn name() -> impl Strategy<Value = String> {
    let long = "a".repeat(63);
    let valid = [
        "usage",
        "words",
        "a-b",
        "a_b",
        "session_seq",
        "rowid",
        "main",
        "pg-catalog",
        "temp",
        &long,
    ];
    let words = ["-", "_", "A", "é", "\0", "\"", ";", " ", ".", "/", "0"];
    prop_oneof![
        3 => prop::sample::select(vec!["usage", "words", "lines", "found"]).prop_map(ToOwned::to_owned),
        2 => mutated_text(&valid, &words),
    ]
}

fn column() -> impl Strategy<Value = ColumnSpec> {
    let kinds = vec![
        ColumnKind::Bool,
        ColumnKind::S64,
        ColumnKind::F64,
        ColumnKind::Text,
        ColumnKind::Text,
        ColumnKind::Timestamp,
        ColumnKind::Json,
    ];
    (name(), prop::sample::select(kinds)).prop_map(|(name, kind)| ColumnSpec { name, kind })
}

fn table() -> impl Strategy<Value = TableSpec> {
    let count = prop_oneof![8 => 0..4_usize, 1 => 99..102_usize];
    let columns = count.prop_flat_map(|count| vec(column(), count));
    (
        name(),
        columns,
        prop::option::weighted(0.4, name()),
        any::<bool>(),
    )
        .prop_map(|(name, mut columns, shared_key, are_numbered)| {
            if are_numbered {
                // Unique names, so that a table with many columns can be valid.
                for (number, column) in columns.iter_mut().enumerate() {
                    column.name = format!("c{number}");
                }
            }
            TableSpec {
                name,
                shared_key,
                columns,
                identity: Vec::new(),
            }
        })
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let order = prop_oneof![Just(Order::Independent), Just(Order::Serial)];
    let count = prop_oneof![12 => 0..4_usize, 1 => 31..34_usize];
    let tables = count.prop_flat_map(|count| vec(table(), count));
    (
        name(),
        any::<u32>(),
        any::<String>(),
        0..3_u32,
        order,
        any::<bool>(),
        tables,
    )
        .prop_map(
            |(name, version, description, cadence_seconds, order, uses_llm, tables)| Manifest {
                name,
                version,
                description,
                cadence_seconds,
                order,
                uses_llm,
                redacts_secrets: uses_llm,
                tables,
            },
        )
}

/// An independent implementation of the rules for manifests.
fn is_allowed(manifest: &Manifest) -> bool {
    let is_name = |name: &str, mark: u8| {
        matches!(name.as_bytes(), [b'a'..=b'z', rest @ ..] if rest.len() < 63
            && rest.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9') || *byte == mark))
    };
    let are_distinct =
        |names: Vec<&str>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    let host_columns = [
        "rowid",
        "session_seq",
        "session_file",
        "recorded_at",
        "created_at",
        "updated_at",
    ];
    let is_column = |column: &ColumnSpec| {
        is_name(&column.name, b'_') && !host_columns.contains(&column.name.as_str())
    };
    let is_table = |table: &TableSpec| {
        let has_key = |key: &String| {
            let columns = table.columns.iter();
            manifest.order == Order::Serial
                && columns
                    .filter(|column| column.name == *key)
                    .any(|column| column.kind == ColumnKind::Text)
        };
        is_name(&table.name, b'_')
            && (1..=100).contains(&table.columns.len())
            && table.columns.iter().all(is_column)
            && are_distinct(
                table
                    .columns
                    .iter()
                    .map(|column| column.name.as_str())
                    .collect(),
            )
            && table.shared_key.as_ref().is_none_or(has_key)
    };
    is_name(&manifest.name, b'-')
        && !["main", "temp", "system", "pg-catalog"].contains(&manifest.name.as_str())
        && manifest.cadence_seconds > 0
        && manifest.tables.len() <= 32
        && manifest.tables.iter().all(is_table)
        && are_distinct(
            manifest
                .tables
                .iter()
                .map(|table| table.name.as_str())
                .collect(),
        )
}

#[test]
fn invariant_a_manifest_is_accepted_if_and_only_if_it_follows_the_rules() {
    fuzz(file!(), &manifest(), |manifest| {
        match manifest.clone().check() {
            Ok(checked) => {
                prop_assert!(is_allowed(&manifest), "an invalid manifest was accepted");
                prop_assert!(checked.description.chars().count() <= 1000);
                prop_assert!(!checked.description.contains(char::is_control));
                prop_assert_eq!(
                    checked.clone().check(),
                    Ok(checked),
                    "a second check changes nothing"
                );
            }
            Err(error) => {
                prop_assert!(
                    !is_allowed(&manifest),
                    "a valid manifest was rejected: {error}"
                );
                prop_assert!(!error.to_string().contains(char::is_control), "{error:?}");
            }
        }
        Ok(())
    });
}
