//! What long runs count, in the words of the tests themselves: kills survived, cases tried.
//!
//! `cargo xtask soak` names a file in [`TALLY`], sums it and prints the sums.
//! Without it nothing is written.

use std::fs::OpenOptions;
use std::io::Write as _;

use proptest::test_runner::{Config, ResultCache, ResultCacheKey, TestCaseResult};

/// The variable that names the file; each line of it is a number and what was counted.
pub const TALLY: &str = "SESSION_PIPELINE_TALLY";

/// Adds to what is counted.
#[expect(
    clippy::disallowed_methods,
    reason = "where counts go is the developer's affair; no test depends on it"
)]
pub fn tally(what: &str, count: u64) {
    let Some(path) = std::env::var_os(TALLY) else {
        return;
    };
    // One write a line, so that tests beside each other do not mix theirs.
    let written = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{count} {what}\n").as_bytes()));
    if let Err(error) = written {
        panic!("{TALLY}: `{}`: {error}", path.display());
    }
}

/// The configuration of a property that is tried with this many cases, each of which is counted
/// when it was really tried.
///
/// ```
/// use proptest::prelude::*;
/// use session_pipeline_harness::{cases, counted};
///
/// proptest! {
///     #![proptest_config(counted(cases()))]
///     fn invariant_sums_commute(a: u32, b: u32) {
///         prop_assert_eq!(u64::from(a) + u64::from(b), u64::from(b) + u64::from(a));
///     }
/// }
/// invariant_sums_commute();
/// ```
pub fn counted(cases: u32) -> Config {
    Config {
        result_cache: || Box::new(CountedCases(0)),
        ..Config::with_cases(cases)
    }
}

/// Remembers no result: proptest shows each to its cache, and here they are counted.
struct CountedCases(u64);

impl ResultCache for CountedCases {
    fn key(&self, _: &ResultCacheKey<'_>) -> u64 {
        0
    }

    fn put(&mut self, _: u64, result: &TestCaseResult) {
        self.0 += u64::from(result.is_ok());
    }

    fn get(&self, _: u64) -> Option<&TestCaseResult> {
        None
    }
}

impl Drop for CountedCases {
    fn drop(&mut self) {
        tally("cases", self.0);
    }
}
