//! `cargo xtask fuzz-api`: a running service held against its own description, by schemathesis.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::stages::StageResult;
use crate::workspace::{Workspace, status};
use crate::{prerequisites, run};

/// Requests of one kind to one operation, in the course of all tests: some seconds.
const CASES_QUICK: u32 = 10;
/// The same requests each time, so that a failure is one of the change at hand.
const SEED: u32 = 1;
/// Far longer than a start takes.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// Send made-up requests to every route, and hold the answers against the description.
///
/// A status of 500 and above, or an answer that the description does not know, is a finding.
/// Needs schemathesis (`pip install schemathesis`).
#[derive(clap::Args)]
pub struct Args {
    /// Requests of one kind to one operation
    #[arg(long, default_value_t = 100)]
    cases: u32,
    /// Makes the same requests again
    #[arg(long, default_value_t = SEED)]
    seed: u32,
    /// Passed on to `schemathesis run`
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let schemathesis = schemathesis()
        .context("schemathesis is not installed; `pip install schemathesis` does that")?;
    prerequisites::ensure(workspace)?;
    ensure!(workspace.build()?, "the build failed");
    let is_ok = fuzz(workspace, &schemathesis, args)?;
    Ok(ExitCode::from(u8::from(!is_ok)))
}

/// The same as a stage of all tests, which have built the program already; without schemathesis it
/// is skipped.
pub fn quick(workspace: &Workspace) -> Result<StageResult> {
    let Some(schemathesis) = schemathesis() else {
        eprintln!("skipped: schemathesis is not installed; `pip install schemathesis` does that");
        return Ok(StageResult::skipped());
    };
    let args = Args {
        cases: CASES_QUICK,
        seed: SEED,
        args: Vec::new(),
    };
    fuzz(workspace, &schemathesis, &args).map(StageResult::of)
}

fn schemathesis() -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join("schemathesis"))
        .find(|path| path.is_file())
}

fn fuzz(workspace: &Workspace, schemathesis: &Path, args: &Args) -> Result<bool> {
    let data_dir = workspace.target_dir.join("xtask/fuzz-api");
    if data_dir.exists() {
        fs::remove_dir_all(&data_dir)
            .with_context(|| format!("cannot empty `{}`", data_dir.display()))?;
    }
    let service = Service::start(workspace, &data_dir)?;
    let mut command = Command::new(schemathesis);
    command
        .current_dir(&data_dir)
        .arg("run")
        .arg(format!("{}/api/openapi.json", service.url))
        .arg(format!("--header=Authorization: Bearer {}", service.token))
        // Which processors and users there are, no description can say.
        .args(["--checks=all", "--exclude-checks=positive_data_acceptance"])
        // It would take the token back that it was let in with.
        .arg("--exclude-path=/api/admin/tokens/{id}")
        .arg(format!("--max-examples={}", args.cases))
        .arg(format!("--seed={}", args.seed))
        .arg("--no-color")
        .args(&args.args);
    let is_ok = status(command)?.success();
    let is_well = service.stop()?;
    ensure!(is_well, "the service did not end as it should");
    Ok(is_ok)
}

/// The program as a service over the example sessions.
struct Service {
    child: Child,
    url: String,
    token: String,
}

impl Service {
    fn start(workspace: &Workspace, data_dir: &Path) -> Result<Self> {
        copy(
            &workspace.root.join(run::EXAMPLE_SESSIONS),
            &data_dir.join("user_sessions"),
        )?;
        let program = |args: &[&str]| {
            let mut command = workspace.program_on(data_dir);
            command.args(args);
            command
        };
        let user = [
            "token",
            "create",
            "--role",
            "admin",
            "--user",
            "fuzz@example.com",
            "--json",
        ];
        let made = program(&user).stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8_lossy(&made.stdout).into_owned();
        let token = text
            .split_once("\"token\":")
            .and_then(|(_, rest)| rest.split('"').nth(1))
            .with_context(|| format!("no token was made: {text}"))?
            .to_owned();
        let processed = status(program(&["run", "usage"]))?;
        ensure!(
            processed.success(),
            "the example sessions were not processed"
        );

        let mut child = program(&["serve", "--listen", "127.0.0.1:0", "--no-scheduler"])
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start the service")?;
        // The lock file holds the process, and the address once it answers.
        let lock = data_dir.join("state/lock");
        let started = Instant::now();
        loop {
            let text = fs::read_to_string(&lock).unwrap_or_default();
            if let Some(url) = text.lines().nth(1).filter(|url| !url.is_empty()) {
                let url = url.to_owned();
                return Ok(Self { child, url, token });
            }
            let is_over = child.try_wait()?.is_some() || started.elapsed() > START_TIME_MAX;
            if is_over {
                let _ = child.kill();
                let _ = child.wait();
                anyhow::bail!("the service did not start");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end; gives whether it ended well.
    fn stop(mut self) -> Result<bool> {
        let mut kill = Command::new("kill");
        kill.arg(self.child.id().to_string());
        status(kill)?;
        Ok(self.child.wait()?.success())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Only where something failed before it was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make `{}`", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read `{}`", from.display()))? {
        let entry = entry?;
        let name: &OsStr = &entry.file_name();
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(name))?;
        } else {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}
