//! Named points at which a test kills the program, as `kill -9` does. Packaged programs are built
//! without debug assertions and contain no points.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The variable with a point and a file, as `POINT:FILE`. The program is killed when it reaches the
/// point, and first writes its name to the file.
pub const VARIABLE: &str = "SESSION_PIPELINE_PUSH_KILL_POINT";

/// All points.
pub const POINTS: [&str; 8] = [
    "state locked",
    "manifest received",
    "part sent",
    "record half written",
    "record written",
    "before rename",
    "after rename",
    "status updated",
];

static PLAN: OnceLock<(String, PathBuf)> = OnceLock::new();

/// Installs the plan in the value of the variable, if there is one.
pub fn install(value: Option<OsString>) {
    let plan = value.filter(|_| cfg!(debug_assertions));
    let plan = plan.and_then(|text| text.into_string().ok());
    if let Some((point, file)) = plan.as_deref().and_then(|text| text.split_once(':')) {
        PLAN.get_or_init(|| (point.to_owned(), PathBuf::from(file)));
    }
}

/// Marks that the program has reached this point.
pub fn kill_point(point: &'static str) {
    debug_assert!(POINTS.contains(&point), "`{point}` is not a known point");
    if cfg!(debug_assertions)
        && let Some((_, file)) = PLAN.get().filter(|(wanted, _)| wanted == point)
    {
        // Ignore errors. A test that misses the name fails.
        let opened = OpenOptions::new().append(true).create(true).open(file);
        let _ = opened.and_then(|mut file| file.write_all(point.as_bytes()));
        let own = rustix::process::getpid();
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
