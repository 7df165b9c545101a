//! Reports what is set up, when data was last sent, and what is pending.

use std::process::ExitCode;

use serde::Serialize;

use crate::context::{Context, Failure, token};
use crate::settings::{Settings, read_settings, read_setup};
use crate::state::{Status, status};
use crate::sync::Selection;
use crate::{hooks, push, terminal, walk};

/// The result of a check.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    is_ok: bool,
    detail: String,
}

/// Prints the report. The exit code is 1 if something is wrong.
///
/// # Errors
/// The report cannot be written.
pub fn run(context: &Context<'_>, json: bool) -> Result<ExitCode, Failure> {
    let checks = checks(context);
    let is_ok = checks.iter().all(|check| check.is_ok);
    if json {
        let text = serde_json::to_string_pretty(&checks)
            .map_err(|error| Failure::CouldNotRun(error.to_string()))?;
        terminal::print(&format!("{text}\n"));
    } else {
        for check in &checks {
            let mark = if check.is_ok { "ok   " } else { "error" };
            terminal::print(&format!("{mark}  {:8}  {}\n", check.name, check.detail));
        }
    }
    Ok(ExitCode::from(u8::from(!is_ok)))
}

fn checks(context: &Context<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut add = |name, result: Result<String, String>| {
        let is_ok = result.is_ok();
        let (Ok(detail) | Err(detail)) = result;
        checks.push(Check {
            name,
            is_ok,
            detail,
        });
    };
    let settings = match read_settings(&context.folders) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            add(
                "setup",
                Err("nothing is set up; run `session-pipeline-push setup --to URL`".to_owned()),
            );
            return checks;
        }
        Err(error) => {
            add("setup", Err(error));
            return checks;
        }
    };
    let redacts = if settings.redact {
        "without secrets"
    } else {
        "unchanged"
    };
    add(
        "setup",
        Ok(format!("sessions are sent {redacts} to {}", settings.to)),
    );
    add("hooks", hooks_state(context));
    let token = token(context, None).and_then(|token| {
        token.ok_or_else(|| "there is no token; run `session-pipeline-push setup`".to_owned())
    });
    match &token {
        Ok(token) => add("server", server_state(&settings, token)),
        Err(error) => add("token", Err(error.clone())),
    }
    let hook = status(&context.folders.state);
    add("hook", hook_state(&hook));
    match push::selection(context, &settings) {
        Ok(selection) => add("folders", folders_state(&selection)),
        Err(error) => add("folders", Err(error)),
    }
    if let Ok(token) = &token {
        let url = settings.to.trim_end_matches('/');
        let status = status(&context.folders.state_of(url, token));
        add("sent", sent_state(&status));
        add("pending", pending_state(context, &settings, token, &status));
        if !status.unwanted.is_empty() {
            add(
                "unwanted",
                Err(format!(
                    "the server does not accept {}",
                    status.unwanted.join("; ")
                )),
            );
        }
    }
    checks
}

fn hooks_state(context: &Context<'_>) -> Result<String, String> {
    let record = read_setup(&context.folders)?
        .ok_or("there are no hooks; run `session-pipeline-push setup`")?;
    let file = record.file.display().to_string();
    let file = file.escape_debug();
    let text = std::fs::read_to_string(&record.file)
        .map_err(|error| format!("cannot read `{file}`: {error}; run `setup` again"))?;
    match hooks::has_hooks(&text, &record.command) {
        Ok(true) => Ok(format!("`{file}` has the hooks")),
        Ok(false) => Err(format!("the hooks in `{file}` are gone; run `setup` again")),
        Err(error) => Err(format!("`{file}`: {error}")),
    }
}

fn server_state(settings: &Settings, token: &str) -> Result<String, String> {
    let mut server = push::server(settings, token)?;
    match server.manifest(&[]) {
        Ok(_) => Ok("the server answers and accepts the token".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn hook_state(status: &Status) -> Result<String, String> {
    match (&status.hook_note, status.hooked_at) {
        (Some(note), at) => Err(format!("the last call, {}: {note}", ago(at))),
        (None, 0) => Ok("no agent has called the hook yet".to_owned()),
        (None, at) => Ok(format!("an agent called the hook {}", ago(at))),
    }
}

fn folders_state(selection: &Selection) -> Result<String, String> {
    let found = walk::walk(&selection.roots, &selection.exclude);
    let names = selection.roots.iter().map(|root| {
        let folder = root.folder.display().to_string();
        format!("`{}` as `{}`", folder.escape_debug(), root.name)
    });
    let names: Vec<String> = names.collect();
    let text = format!("{} files in {}", found.files.len(), names.join(", "));
    match found.skipped.is_empty() {
        true => Ok(text),
        false => Err(format!("{text}; skipped: {}", found.skipped.join("; "))),
    }
}

fn sent_state(status: &Status) -> Result<String, String> {
    match (&status.error, status.attempted_at) {
        (_, 0) => Ok("nothing was sent yet".to_owned()),
        (None, _) => Ok(format!("everything was sent {}", ago(status.succeeded_at))),
        (Some(error), at) => {
            let last = match status.succeeded_at {
                0 => "never".to_owned(),
                at => ago(at),
            };
            Err(format!(
                "the last attempt, {}, failed: {error}; everything was last sent {last}",
                ago(at)
            ))
        }
    }
}

fn pending_state(
    context: &Context<'_>,
    settings: &Settings,
    token: &str,
    status: &Status,
) -> Result<String, String> {
    let pending = push::pending(context, settings, token)?;
    let size = bytesize::ByteSize(pending.pending_bytes);
    let size = size.display().iec();
    match (pending.pending_files, &status.error) {
        (0, _) => Ok("nothing".to_owned()),
        (files, None) => Ok(format!(
            "{files} files with {size} of new bytes, for the next turn"
        )),
        (files, Some(error)) => Err(format!("{files} files with {size} of new bytes: {error}")),
    }
}

/// A time in the past, in words.
fn ago(at: u64) -> String {
    match push::now().saturating_sub(at) {
        0..60 => "just now".to_owned(),
        seconds @ 60..7200 => format!("{} min ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}
