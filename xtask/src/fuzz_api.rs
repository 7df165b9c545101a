//! `cargo xtask fuzz-api`: uses schemathesis to check a running service against its OpenAPI
//! description.

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

/// Requests per operation and kind in `cargo xtask test`. They take a few seconds.
const CASES_QUICK: u32 = 10;
/// The seed is fixed, so that a new failure is caused by the change under test.
const SEED: u32 = 1;
/// Much longer than a normal start.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// Send generated requests to every route, and check the responses against the OpenAPI description
///
/// A status of 500 or above is a finding, and so is a response that the description does not allow.
/// Needs schemathesis (`pip install schemathesis`).
#[derive(clap::Args)]
pub struct Args {
    /// Requests per operation and kind
    #[arg(long, default_value_t = 100)]
    cases: u32,
    /// Seed of the generated requests
    #[arg(long, default_value_t = SEED)]
    seed: u32,
    /// Arguments for `schemathesis run`
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let schemathesis =
        schemathesis().context("schemathesis is not installed; run `pip install schemathesis`")?;
    prerequisites::ensure(workspace)?;
    ensure!(workspace.build()?, "the build failed");
    let is_ok = fuzz(workspace, &schemathesis, args)?;
    Ok(ExitCode::from(u8::from(!is_ok)))
}

/// Runs few requests as a stage of `test`, which has already built the program. Skipped if
/// schemathesis is not installed.
pub fn quick(workspace: &Workspace) -> Result<StageResult> {
    let Some(schemathesis) = schemathesis() else {
        eprintln!("skipped: schemathesis is not installed; run `pip install schemathesis`");
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
        // The description cannot state which processors and users exist.
        .args(["--checks=all", "--exclude-checks=positive_data_acceptance"])
        // This route would revoke the token of the fuzzer.
        .arg("--exclude-path=/api/admin/tokens/{id}")
        .arg(format!("--max-examples={}", args.cases))
        .arg(format!("--seed={}", args.seed))
        .arg("--no-color")
        .args(&args.args);
    let is_ok = status(command)?.success();
    let exited_cleanly = service.stop()?;
    ensure!(exited_cleanly, "the service did not exit cleanly");
    Ok(is_ok)
}

/// The program, running as a service with the example sessions.
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
        let output = program(&user).stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let token = text
            .split_once("\"token\":")
            .and_then(|(_, rest)| rest.split('"').nth(1))
            .with_context(|| format!("no token was created: {text}"))?
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
        // The lock file contains the process id, and the address once the service is ready.
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

    /// Sends SIGTERM. Returns whether the service exited successfully.
    fn stop(mut self) -> Result<bool> {
        let mut kill = Command::new("kill");
        kill.arg(self.child.id().to_string());
        status(kill)?;
        Ok(self.child.wait()?.success())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Has an effect only if an error occurred before `stop`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create `{}`", to.display()))?;
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
