//! A test in a process of its own: for what is of the whole process, its limits and what it holds.

use std::process::Command;

/// Tells the child which test it is there for.
const ALONE: &str = "SESSION_PIPELINE_TEST_ALONE";

/// Whether this process runs that test and nothing else.
///
/// Where it does not, it starts a child that does, waits for it, and gives false: the test is over.
///
/// ```no_run
/// use session_pipeline_harness::alone;
///
/// fn nothing_else_has_threads_here() {
///     if !alone::in_child("room::nothing_else_has_threads_here") {
///         return;
///     }
///     // Limits set here are nobody else's.
/// }
/// ```
///
/// # Panics
/// When the child does not succeed.
#[expect(
    clippy::disallowed_methods,
    reason = "a child of ours is told by its parent, and nobody else, what it is there for"
)]
pub fn in_child(test: &str) -> bool {
    if std::env::var(ALONE).is_ok_and(|alone| alone == test) {
        return true;
    }
    let program = std::env::current_exe().expect("a test knows its program");
    let output = Command::new(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ALONE, test)
        .output()
        .expect("the program can be started again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "`{test}` in a child: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    // What it counted.
    println!("{text}");
    false
}
