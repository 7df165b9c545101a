//! Opens the dashboard in the browser of the desktop, if there is one.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The programs that open a URL, in the order in which they are tried.
const OPENERS: &[&str] = if cfg!(target_os = "macos") {
    &["open"]
} else {
    &["xdg-open", "wslview"]
};
/// One of them is set in a graphical session. Without one, `xdg-open` can start a browser in this
/// terminal.
const DISPLAYS: [&str; 2] = ["DISPLAY", "WAYLAND_DISPLAY"];

/// Opens a URL. Returns whether a program for it was started. It does not wait for that program, and
/// an error of it is not reported: the user has the URL.
pub(super) fn open(url: &str, environment: impl Fn(&str) -> Option<OsString>) -> bool {
    let Some(program) = opener(environment) else {
        return false;
    };
    let child = Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return false;
    };
    // Some browsers run until they are closed.
    std::thread::spawn(move || child.wait());
    true
}

/// The path of the program that opens URLs, or `None` if there is no graphical session or no such
/// program.
fn opener(environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let is_set = |name| environment(name).is_some_and(|value| !value.is_empty());
    if !cfg!(target_os = "macos") && !DISPLAYS.into_iter().any(is_set) {
        return None;
    }
    let folders = environment("PATH")?;
    let mut folders = std::env::split_paths(&folders);
    // An empty or relative folder would run a program of the current directory.
    folders.find_map(|folder| {
        let mut paths = OPENERS.iter().map(|name| folder.join(name));
        paths.find(|path| path.is_absolute() && path.is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_opens_only_in_a_graphical_session_and_from_an_absolute_folder() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(OPENERS.first().unwrap());
        std::fs::write(&program, "").unwrap();
        let folder = folder.path().as_os_str().to_owned();
        let found = |display: &'static str, path: OsString| {
            opener(move |name| match name {
                "DISPLAY" => Some(display.into()),
                "PATH" => Some(path.clone()),
                _ => None,
            })
        };
        assert_eq!(found(":0", folder.clone()), Some(program));
        if !cfg!(target_os = "macos") {
            assert_eq!(found("", folder), None);
        }
        assert_eq!(found(":0", ".:".into()), None);
    }
}
