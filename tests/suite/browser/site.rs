//! A dashboard with the sessions of a small team, served to a browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use session_pipeline::http::HttpLimits;
use session_pipeline_harness::demo::{self, DemoOptions};
use session_pipeline_harness::{DataDir, TestPipeline, Transcript};
use session_pipeline_host::clock::{Clock as _, UtcMicros};
use session_pipeline_host::limits::Limits;
use session_pipeline_pipeline::config::Config;
use session_pipeline_store::retry::FAILURES_MAX;

use super::Chromium;
use crate::guests::{prepared_folder, usage, verification};
use crate::http::TestServer;

/// A session with more rows than the configuration allows, so it is in quarantine.
pub const QUARANTINED: &str = "grace/too-long.jsonl";
/// A session with a failed tool call in line [`FAILED_LINE`], which is not on its first screen.
pub const FAILED: &str = "ada/failed.jsonl";
pub const FAILED_LINE: u64 = 82;
/// The address of the user in whose folder [`FAILED`] is.
pub const MEMBER: &str = "ada@example.com";

const ROWS_MAX: u64 = 1_500;

/// A served data directory, and a browser.
pub struct Site {
    pub browser: Chromium,
    pub server: TestServer,
    /// Removed after the server has stopped.
    pub dir: DataDir,
}

impl Site {
    /// Serves the sessions of a small team. Both processors have processed them.
    pub fn start() -> Self {
        static PREPARED: LazyLock<PathBuf> = LazyLock::new(|| prepared_folder("browser", prepare));
        let dir = DataDir::with_state_in(&PREPARED.join("state"));
        fs::remove_dir(dir.sessions_root()).unwrap();
        copy(&PREPARED.join("user_sessions"), dir.path());
        Self::serve(dir)
    }

    /// Serves a data directory.
    pub fn serve(dir: DataDir) -> Self {
        let components = [usage(), verification()];
        let limits = HttpLimits::default();
        let server = TestServer::start_with(&dir, config(&dir), limits, &components);
        Self {
            browser: Chromium::start(),
            server,
            dir,
        }
    }

    /// Signs in as the admin, and opens a page.
    pub fn open_as_admin(&self, path: &str) {
        let admin = self.server.admin.clone();
        self.open_as(&admin, path);
    }

    /// Signs in with a token, and opens a page.
    pub fn open_as(&self, token: &str, path: &str) {
        self.open("/sign-in");
        self.sign_in(token);
        self.browser
            .wait_until("document.querySelector('.who') !== null");
        if path != "/" {
            self.open(path);
        }
    }

    /// Fills in and sends the form of the sign-in page.
    pub fn sign_in(&self, token: &str) {
        self.browser.type_into("#token", token);
        self.browser.click("main form button");
    }

    /// Opens a page, with the path of a link on a page.
    pub fn open(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.server.url));
    }

    /// The address of the browser without the host.
    pub fn path(&self) -> String {
        let url = self.browser.url();
        let path = url.strip_prefix(&self.server.url);
        path.unwrap_or_else(|| panic!("{url} is another site"))
            .to_owned()
    }

    /// The path of the page of a session.
    pub fn session(key: &str) -> String {
        format!("/sessions/{key}")
    }
}

fn config(dir: &DataDir) -> Config {
    let mut config = dir.config();
    let limits = Limits {
        rows_max: ROWS_MAX,
        ..config.limits.clone()
    };
    let own = config.processors.entry("usage".to_owned()).or_default();
    own.limits = Some(limits);
    config
}

/// Writes and processes the sessions, and copies them and the state to a folder.
fn prepare(folder: &Path) {
    let dir = DataDir::new();
    let now = dir.clock().now();
    write_sessions(&dir, now);
    let pipeline = TestPipeline::open_with(&dir, config(&dir), &[usage(), verification()]);
    for _ in 0..=FAILURES_MAX {
        pipeline.run("usage");
    }
    pipeline.run("verification");
    drop(pipeline);
    fs::create_dir_all(folder).unwrap();
    dir.copy_state_to(&folder.join("state"));
    copy(&dir.sessions_root(), folder);
}

fn write_sessions(dir: &DataDir, now: UtcMicros) {
    let options = DemoOptions {
        users: 5,
        projects: 3,
        days: 20,
        end: now.minus(Duration::from_secs(3_600)),
        sessions: 40,
        ..DemoOptions::default()
    };
    demo::write(dir.path(), &options, &mut |_| true).unwrap();

    let start = now.minus(Duration::from_secs(2 * 86_400));
    let mut session = Transcript::new("failed")
        .at(start)
        .user("Fix the build of the importer");
    for _ in 0..40 {
        session = session
            .assistant(|m| m.tokens(10, 5).text("Reading on."))
            .user("Go on");
    }
    // The call is in line 82.
    let session = session
        .assistant(|m| m.tokens(10, 5).tool("Bash"))
        .tool_result(Err("exit code 1: no such target"))
        .assistant(|m| m.tokens(10, 5).text("The build still fails."))
        .user("No, churn is counted per month from MRR.")
        .user("We never store card numbers ourselves.");
    dir.write(FAILED, session);

    let mut session = Transcript::new("too-long")
        .at(start)
        .user("Watch the build");
    for _ in 0..ROWS_MAX {
        session = session.assistant(|m| m.tokens(1, 1).tool("Bash"));
    }
    dir.write(QUARANTINED, session);
}

/// Copies a folder into another one. The times of the files are those of the originals, because
/// sessions with other times would be read again.
fn copy(folder: &Path, into: &Path) {
    let copied = Command::new("cp").arg("-a").arg(folder).arg(into).status();
    assert!(copied.unwrap().success());
}
