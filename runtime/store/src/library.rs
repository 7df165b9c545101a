//! Checks the version of DuckDB, which can be a shared library that was replaced after the build.

use std::ffi::CStr;

use crate::error::StoreError;

/// The version of DuckDB that this program was written and tested for. It relies on behavior that
/// other versions do not promise: see `checkpoint.rs` and `docs/decisions.md`.
pub(crate) const DUCKDB_VERSION: &str = "v1.5.6";

/// Compares the version of the library. Call it before DuckDB opens a file, because another version
/// can change the file.
///
/// # Errors
/// DuckDB has another version.
pub(crate) fn check_version() -> Result<(), StoreError> {
    compare(&version())
}

/// The version of the library. A query needs a database, and creating one in memory took a tenth of
/// the CPU time of a short command.
fn version() -> String {
    #[expect(
        unsafe_code,
        reason = "the crate has no other way to ask the library without a database"
    )]
    // SAFETY: the function has no arguments, and returns a constant of the library, which ends with
    // a zero byte and is never freed.
    let version = unsafe { CStr::from_ptr(duckdb::ffi::duckdb_library_version()) };
    version.to_string_lossy().into_owned()
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
    fn the_library_reports_the_version_that_a_database_reports() {
        let connection = duckdb::Connection::open_in_memory().unwrap();
        assert_eq!(version(), connection.version().unwrap());
    }

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
