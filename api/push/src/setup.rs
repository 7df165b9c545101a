//! Adds hooks to the settings of an agent, and removes them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use similar::TextDiff;

use crate::context::{Context, Failure, token};
use crate::settings::{
    self, Settings, SetupRecord, read_settings, read_setup, write_settings, write_setup,
};
use crate::{hooks, push, terminal};

/// Settings files of agents are smaller by far.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Stores the settings and the token, and adds the hooks.
///
/// # Errors
/// The settings are invalid, the server rejects the token, or a file cannot be changed.
pub fn setup(
    context: &Context<'_>,
    mut settings: Settings,
    file: Option<PathBuf>,
    is_confirmed: bool,
) -> Result<ExitCode, Failure> {
    let folders = &context.folders;
    if settings.to.is_empty() {
        settings.to = read_settings(folders)?.unwrap_or_default().to;
    }
    if let Some(path) = &settings.ca_file {
        settings.ca_file = Some(std::path::absolute(path).map_err(|error| error.to_string())?);
    }
    push::selection(context, &settings)?;
    settings.roots = absolute_roots(&settings.roots)?;
    let token = match token(context, None)? {
        Some(token) => token,
        None => {
            let typed = terminal::secret("Token for the server: ");
            let typed = typed.map_err(|error| format!("cannot read the token: {error}"))?;
            settings::check_token(&typed)?
        }
    };
    let mut server = push::server(&settings, &token)?;
    // A wrong token is found now, and not by a hook whose output is not shown.
    server
        .manifest(&[])
        .map_err(|error| Failure::CouldNotRun(error.to_string()))?;
    let command = command()?;
    let earlier = read_setup(folders)?;
    let file = file
        .or_else(|| earlier.as_ref().map(|earlier| earlier.file.clone()))
        .unwrap_or_else(|| agent_folder(context).join("settings.json"));
    let file = std::path::absolute(&file).map_err(|error| error.to_string())?;
    let shown = file.display().to_string();
    let shown = shown.escape_debug().to_string();
    let invalid = |error: hooks::HookError| Failure::Usage(format!("`{shown}`: {error}"));
    let current = read(&file)?;
    // The hooks of an earlier setup with another program or file are replaced.
    let base = match &earlier {
        Some(earlier) if earlier.file == file => current
            .as_deref()
            .map(|text| undo(text, earlier))
            .transpose()
            .map_err(invalid)?
            .flatten(),
        Some(earlier) => {
            return Err(Failure::Usage(format!(
                "the hooks are in `{}`; run `session-pipeline-push remove` first",
                earlier.file.display()
            )));
        }
        None => current.clone(),
    };
    let after = hooks::add(base.as_deref().unwrap_or_default(), &command).map_err(invalid)?;
    let before = current.as_deref().unwrap_or_default();
    if before == after {
        terminal::print(&format!("`{shown}` has the hooks already\n"));
    } else {
        terminal::print(&diff(before, &after, &shown));
        if !is_confirmed && !terminal::confirm(&format!("Change `{shown}`?")) {
            return Err(Failure::CouldNotRun(
                "nothing was changed; confirm the change, or use `--yes`".to_owned(),
            ));
        }
    }
    let record = SetupRecord {
        file: file.clone(),
        command,
        before: base,
        after: after.clone(),
    };
    // First, so that `remove` works even if this program is interrupted now.
    let stored =
        write_setup(folders, &record).and_then(|()| write_settings(folders, &settings, &token));
    stored.map_err(|error| {
        Failure::CouldNotRun(format!(
            "cannot write to `{}`: {error}",
            folders.config.display()
        ))
    })?;
    if before != after {
        write(&file, &after)?;
    }
    terminal::print(&format!(
        "Sessions are sent to {} after each turn. `session-pipeline-push doctor` reports how it goes.\n",
        settings.to
    ));
    Ok(ExitCode::SUCCESS)
}

/// Removes the hooks, the settings and the token.
///
/// # Errors
/// A file cannot be changed.
pub fn remove(context: &Context<'_>, is_confirmed: bool) -> Result<ExitCode, Failure> {
    let folders = &context.folders;
    if let Some(record) = read_setup(folders)? {
        let shown = record.file.display().to_string();
        let shown = shown.escape_debug().to_string();
        if let Some(current) = read(&record.file)? {
            let after = undo(&current, &record)
                .map_err(|error| Failure::Usage(format!("`{shown}`: {error}")))?;
            if after.as_ref() != Some(&current) {
                let text = after.as_deref().unwrap_or_default();
                terminal::print(&diff(&current, text, &shown));
                if !is_confirmed && !terminal::confirm(&format!("Change `{shown}`?")) {
                    return Err(Failure::CouldNotRun(
                        "nothing was changed; confirm the change, or use `--yes`".to_owned(),
                    ));
                }
                match &after {
                    Some(after) => write(&record.file, after)?,
                    None => fs::remove_file(&record.file).map_err(|error| {
                        Failure::CouldNotRun(format!("cannot remove `{shown}`: {error}"))
                    })?,
                }
            }
        }
    }
    settings::remove_settings(folders).map_err(|error| {
        Failure::CouldNotRun(format!(
            "cannot remove the files in `{}`: {error}",
            folders.config.display()
        ))
    })?;
    terminal::print("Nothing is sent any more. Sessions that were sent stay on the server.\n");
    Ok(ExitCode::SUCCESS)
}

/// The file without the hooks of a setup. `None`: the setup created the file, and it has not changed
/// since.
fn undo(current: &str, record: &SetupRecord) -> Result<Option<String>, hooks::HookError> {
    if current == record.after {
        return Ok(record.before.clone());
    }
    let before = record.before.as_deref().unwrap_or_default();
    hooks::remove(current, &record.command, before).map(Some)
}

/// The command of the hooks. A shell runs it.
fn command() -> Result<String, String> {
    let program = std::env::current_exe()
        .map_err(|error| format!("cannot find the path of this program: {error}"))?;
    let program = program
        .to_str()
        .ok_or("the path of this program is not UTF-8; move the program")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let quoted = match program.chars().all(is_plain) {
        true => program.to_owned(),
        false => format!("'{}'", program.replace('\'', r"'\''")),
    };
    Ok(format!("{quoted} hook"))
}

fn agent_folder(context: &Context<'_>) -> PathBuf {
    let moved = (context.environment)("CLAUDE_CONFIG_DIR").filter(|folder| !folder.is_empty());
    moved.map_or_else(|| context.folders.home.join(".claude"), PathBuf::from)
}

/// The roots with absolute folders, because hooks run elsewhere.
fn absolute_roots(roots: &[String]) -> Result<Vec<String>, String> {
    let absolute = |root: &String| {
        let root = crate::roots::parse_root(root)?;
        let folder = std::path::absolute(&root.folder).map_err(|error| error.to_string())?;
        let folder = folder.to_str().ok_or("the path of a root is not UTF-8")?;
        Ok(format!("{}={folder}", root.name))
    };
    roots.iter().map(absolute).collect()
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    let shown = path.display().to_string();
    let failed = |reason: String| {
        Failure::CouldNotRun(format!("cannot read `{}`: {reason}", shown.escape_debug()))
    };
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(failed("it is not a file".to_owned())),
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            return Err(failed("it is larger than 4 MiB".to_owned()));
        }
        _ => {}
    }
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Replaces a file. A link to it stays, and so do its permissions.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let replace = || -> io::Result<()> {
        let permissions = fs::metadata(&target).map(|metadata| metadata.permissions());
        let folder = target.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        let new = folder.join(format!(".settings.json.{}.new", std::process::id()));
        fs::write(&new, text)?;
        let mode = permissions.map_or(0o600, |permissions| permissions.mode());
        fs::set_permissions(&new, fs::Permissions::from_mode(mode & 0o7777))
            .and_then(|()| fs::File::open(&new)?.sync_all())
            .and_then(|()| fs::rename(&new, &target))
            .inspect_err(|_| {
                let _ = fs::remove_file(&new);
            })
    };
    replace().map_err(|error| {
        Failure::CouldNotRun(format!("cannot write `{}`: {error}", path.display()))
    })
}

fn diff(before: &str, after: &str, name: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    let text = diff.unified_diff().header(name, name).to_string();
    // Settings can contain anything, and a terminal must only show it.
    text.chars()
        .map(|c| match c.is_control() && c != '\n' && c != '\t' {
            true => '\u{fffd}',
            false => c,
        })
        .collect()
}
