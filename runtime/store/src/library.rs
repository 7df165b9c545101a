//! Checks the version of DuckDB, which can be a shared library that was replaced after the build.

use std::sync::OnceLock;

use crate::error::StoreError;

/// The version of DuckDB that this program was written and tested for. It relies on behavior that
/// other versions do not promise: see `checkpoint.rs` and `docs/decisions.md`.
pub(crate) const DUCKDB_VERSION: &str = "v1.5.6";

/// Compares the version that DuckDB reports. Call it before DuckDB opens a file, because another
/// version can change the file.
///
/// # Errors
/// DuckDB has another version, or `report` failed.
pub(crate) fn check_version(
    report: impl FnOnce() -> duckdb::Result<String>,
) -> Result<(), StoreError> {
    // The library of a process does not change. This saves the milliseconds of a further database.
    static VERSION: OnceLock<String> = OnceLock::new();
    let version = match VERSION.get() {
        Some(version) => version,
        None => {
            let found = report().map_err(StoreError::database("start DuckDB"))?;
            VERSION.get_or_init(|| found)
        }
    };
    compare(version)
}

fn compare(found: &str) -> Result<(), StoreError> {
    if found == DUCKDB_VERSION {
        return Ok(());
    }
    Err(StoreError::OtherDuckDb {
        found: found.to_owned(),
        expected: DUCKDB_VERSION,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_of_the_library_is_rejected_with_both_versions() {
        assert!(compare(DUCKDB_VERSION).is_ok());
        let error = compare("v1.4.0").unwrap_err().to_string();
        assert_eq!(
            error,
            "the DuckDB library has version `v1.4.0`, and this program needs `v1.5.6`; install the library of that version, or put the one from the program's package next to the program"
        );
    }
}
