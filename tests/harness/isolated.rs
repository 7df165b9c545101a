//! Runs a test in its own process. Tests of process-wide resources, such as limits, threads and
//! open descriptors, need this.

use std::process::Command;

/// The environment variable with the name of the test that a child process runs.
const ISOLATED_TEST: &str = "SESSION_PIPELINE_TEST_ALONE";

/// Returns `true` in a process that runs only `test`.
///
/// In any other process, it starts a child that runs only `test`, waits for the child, and returns
/// `false`. The caller then returns, because the child has run the test.
///
/// ```no_run
/// use session_pipeline_harness::isolated;
///
/// fn the_process_has_one_thread() {
///     if !isolated::run_in_child("limits::the_process_has_one_thread") {
///         return;
///     }
///     // Limits that are set here do not affect other tests.
/// }
/// ```
///
/// # Panics
/// The test fails in the child.
#[expect(
    clippy::disallowed_methods,
    reason = "only the parent process sets this variable, to tell its child which test to run"
)]
pub fn run_in_child(test: &str) -> bool {
    if std::env::var(ISOLATED_TEST).is_ok_and(|isolated| isolated == test) {
        return true;
    }
    let program = std::env::current_exe().expect("the path of the test program is available");
    let output = Command::new(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ISOLATED_TEST, test)
        .output()
        .expect("the test program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "`{test}` failed in the child process: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    // Forward the counts that the child printed.
    println!("{text}");
    false
}
