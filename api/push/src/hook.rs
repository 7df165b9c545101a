//! The hook that an agent calls. It starts a detached run of this program and returns at once. It
//! prints nothing and never fails, whatever happens.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;

use crate::context::{Context, Environment, folders, token};
use crate::push::{now, selection};
use crate::roots::Root;
use crate::settings::{Folders, read_settings};
use crate::state::{create_private_folder, update_status};

/// How long to wait for the description of the event.
const EVENT_TIME_MAX: Duration = Duration::from_millis(500);
const EVENT_BYTES_MAX: u64 = 1 << 20;
/// The log of detached runs starts again at this size.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// The description of an event. All fields are for the diagnosis only, because every run sends
/// everything that is new.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    session_id: String,
    transcript_path: String,
    cwd: String,
    hook_event_name: String,
}

/// Starts a run.
pub fn run(environment: Environment<'_>) {
    let event = read_event();
    let Ok(folders) = folders(environment) else {
        return;
    };
    let started = start(&folders);
    let note = started
        .err()
        .or_else(|| diagnose(&folders, environment, event.as_ref()));
    let _ = create_private_folder(&folders.state);
    update_status(&folders.state, |status| {
        status.hooked_at = now();
        status.hook_note = note;
    });
}

/// Reads the description of the event. The agent might not close its end.
fn read_event() -> Option<Event> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = std::io::stdin()
            .take(EVENT_BYTES_MAX)
            .read_to_end(&mut text);
        let _ = sender.send(read.map(|_| text));
    });
    let text = receiver.recv_timeout(EVENT_TIME_MAX).ok()?.ok()?;
    serde_json::from_slice(&text).ok()
}

/// Starts this program without a connection to the agent.
fn start(folders: &Folders) -> Result<(), String> {
    let program =
        std::env::current_exe().map_err(|error| format!("cannot find the program: {error}"))?;
    let log = log(folders).map_or_else(|_| Stdio::null(), Stdio::from);
    Command::new(program)
        .args(["--once", "--from-hook"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map(|_| ())
        .map_err(|error| format!("cannot start the program: {error}"))
}

fn log(folders: &Folders) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    create_private_folder(&folders.state)?;
    let path = folders.log();
    let is_long = std::fs::metadata(&path).is_ok_and(|log| log.len() > LOG_BYTES_MAX);
    if is_long {
        let _ = std::fs::remove_file(&path);
    }
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Why the session of the event will not be sent.
fn diagnose(
    folders: &Folders,
    environment: Environment<'_>,
    event: Option<&Event>,
) -> Option<String> {
    let context = Context {
        folders: folders.clone(),
        environment,
    };
    let settings = match read_settings(folders) {
        Ok(Some(settings)) => settings,
        Ok(None) => return Some("nothing is set up".to_owned()),
        Err(error) => return Some(error),
    };
    match token(&context, None) {
        Ok(Some(_)) => {}
        Ok(None) => return Some("there is no token".to_owned()),
        Err(error) => return Some(error),
    }
    let event = event?;
    let selection = selection(&context, &settings).ok()?;
    let transcript = Path::new(&event.transcript_path);
    let is_below = |root: &Root| transcript.starts_with(&root.folder);
    let is_sent = transcript.as_os_str().is_empty() || selection.roots.iter().any(is_below);
    (!is_sent).then(|| {
        format!(
            "the transcript `{}` of session `{}` ({} in `{}`) is in none of the folders that are sent; add its folder with `--root`",
            event.transcript_path.escape_debug(),
            event.session_id.escape_debug(),
            event.hook_event_name.escape_debug(),
            event.cwd.escape_debug(),
        )
    })
}
