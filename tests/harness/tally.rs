//! Counters of long test runs, for example of kills and cases. Tests name their counters.
//!
//! `cargo xtask soak` sets [`TALLY`] to the path of a file, and prints the sum of each counter at
//! the end. If the variable is not set, nothing is written.

use std::fs::OpenOptions;
use std::io::Write as _;

use proptest::test_runner::{Config, ResultCache, ResultCacheKey, TestCaseResult};

/// The environment variable with the path of the file. Each line has a number and the name of a
/// counter.
pub const TALLY: &str = "SESSION_PIPELINE_TALLY";

/// Adds to a counter.
///
/// # Panics
/// The file cannot be written.
#[expect(
    clippy::disallowed_methods,
    reason = "the developer chooses the file; no test result depends on it"
)]
pub fn tally(counter: &str, count: u64) {
    let Some(path) = std::env::var_os(TALLY) else {
        return;
    };
    // Each line is one write, so the lines of parallel tests do not mix.
    let written = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{count} {counter}\n").as_bytes()));
    if let Err(error) = written {
        panic!("cannot write `{}` ({TALLY}): {error}", path.display());
    }
}

/// The configuration of a property with this many cases. Successful cases are added to the counter
/// `cases`. Rejected cases are not.
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

/// Counts the successful cases. Proptest passes each result to its cache, and this cache stores
/// none.
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
