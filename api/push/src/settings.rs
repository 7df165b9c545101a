//! What `setup` stores: the server, the token, and what to send.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::state::{create_private_folder, write_private};

const SETTINGS: &str = "settings.json";
const TOKEN: &str = "token";
const SETUP: &str = "setup.json";
/// A token has about 50 characters.
const TOKEN_BYTES_MAX: usize = 1000;

/// The folders of this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// The home directory of the user.
    pub home: PathBuf,
    /// The folder of the settings and the token.
    pub config: PathBuf,
    /// The folder of what was sent, and of the log.
    pub state: PathBuf,
}

impl Folders {
    /// The folders for these variables, by the rules of the XDG specification.
    ///
    /// # Errors
    /// There is no home directory.
    pub fn new(
        home: Option<PathBuf>,
        config: Option<PathBuf>,
        state: Option<PathBuf>,
    ) -> Result<Self, String> {
        let home = home
            .filter(|home| home.is_absolute())
            .ok_or("the variable HOME is not an absolute path; set it to your home directory")?;
        // The specification requires to ignore relative paths.
        let base = |folder: Option<PathBuf>, default: &str| {
            let folder = folder.filter(|folder| folder.is_absolute());
            let folder = folder.unwrap_or_else(|| home.join(default));
            folder.join("session-pipeline-push")
        };
        Ok(Self {
            config: base(config, ".config"),
            state: base(state, ".local/state"),
            home,
        })
    }

    /// The folder with what was sent to a server with a token. Another token can belong to another
    /// user, who has other files on the server.
    pub fn state_of(&self, url: &str, token: &str) -> PathBuf {
        let digest = Sha256::new()
            .chain_update(url)
            .chain_update([0])
            .chain_update(token)
            .finalize();
        let name: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.state.join(name)
    }

    /// The log of runs that a hook started.
    pub fn log(&self) -> PathBuf {
        self.state.join("log")
    }
}

/// The settings of all runs that have no flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The URL of the server.
    pub to: String,
    /// The folders with sessions, as on the command line. Empty: those of all known agents.
    pub roots: Vec<String>,
    /// Patterns of files that stay on this machine.
    pub exclude: Vec<String>,
    /// Whether secrets are removed.
    pub redact: bool,
    /// Maximum number of bytes per second. `None`: the default.
    pub rate: Option<u64>,
    /// A file with the certificate authorities to trust, instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// Whether the connection can be unencrypted.
    pub allow_http: bool,
}

/// What `setup` changed, so that `remove` can undo it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupRecord {
    /// The settings file of the agent.
    pub file: PathBuf,
    /// The command of the hooks.
    pub command: String,
    /// The file before the change. `None`: it did not exist.
    pub before: Option<String>,
    /// The file after the change.
    pub after: String,
}

/// Reads the settings. `None` if there are none.
///
/// # Errors
/// The file cannot be read or is damaged.
pub fn read_settings(folders: &Folders) -> Result<Option<Settings>, String> {
    read_json(
        &folders.config.join(SETTINGS),
        "run `session-pipeline-push setup` again",
    )
}

/// Stores the settings and the token.
///
/// # Errors
/// The disk fails.
pub fn write_settings(folders: &Folders, settings: &Settings, token: &str) -> io::Result<()> {
    create_private_folder(&folders.config)?;
    write_private(&folders.config.join(TOKEN), token.as_bytes())?;
    let text = serde_json::to_vec_pretty(settings)?;
    write_private(&folders.config.join(SETTINGS), &text)
}

/// Removes the settings and the token.
///
/// # Errors
/// The disk fails.
pub fn remove_settings(folders: &Folders) -> io::Result<()> {
    for name in [TOKEN, SETTINGS, SETUP] {
        match fs::remove_file(folders.config.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // Not empty if the user has put something there.
    let _ = fs::remove_dir(&folders.config);
    Ok(())
}

/// Reads what `setup` changed. `None` if it changed nothing.
///
/// # Errors
/// The file cannot be read or is damaged.
pub fn read_setup(folders: &Folders) -> Result<Option<SetupRecord>, String> {
    read_json(
        &folders.config.join(SETUP),
        "remove the hooks with the command `session-pipeline-push` from the settings of the agent by hand",
    )
}

/// Stores what `setup` changes, before it changes it.
///
/// # Errors
/// The disk fails.
pub fn write_setup(folders: &Folders, record: &SetupRecord) -> io::Result<()> {
    create_private_folder(&folders.config)?;
    write_private(&folders.config.join(SETUP), &serde_json::to_vec(record)?)
}

fn read_json<T: serde::de::DeserializeOwned>(
    path: &Path,
    remedy: &str,
) -> Result<Option<T>, String> {
    let shown = path.display().to_string();
    let shown = shown.escape_debug();
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| format!("`{shown}` is damaged ({error}); {remedy}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!(
            "cannot read `{shown}`: {error}; check its permissions"
        )),
    }
}

/// Reads the stored token, or one in a file. `None` if the file does not exist.
///
/// # Errors
/// Others can read the file, it cannot be read, or its content cannot be a token.
pub fn read_token(folders: &Folders, file: Option<&Path>) -> Result<Option<String>, String> {
    use std::os::unix::fs::PermissionsExt as _;
    let stored = folders.config.join(TOKEN);
    let path = file.unwrap_or(&stored);
    let shown = path.display().to_string();
    let shown = shown.escape_debug();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => {
            return Ok(None);
        }
        Err(error) => return Err(format!("cannot read the token in `{shown}`: {error}")),
    };
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        return Err(format!(
            "others can read the token in `{shown}`; run `chmod 600` on it, and revoke the token if it was exposed"
        ));
    }
    check_token(&text).map(Some)
}

/// Checks a token that a user entered.
///
/// # Errors
/// It cannot be a token. The error does not contain it.
pub fn check_token(text: &str) -> Result<String, String> {
    let token = text.trim();
    let is_token = !token.is_empty()
        && token.len() <= TOKEN_BYTES_MAX
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    match is_token {
        true => Ok(token.to_owned()),
        false => Err(
            "invalid token: use the text that `session-pipeline token create` printed".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folders(dir: &Path) -> Folders {
        Folders::new(Some(dir.to_owned()), None, Some("relative".into())).unwrap()
    }

    #[test]
    fn the_token_is_readable_only_by_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let folders = folders(dir.path());
        assert_eq!(read_token(&folders, None), Ok(None));
        let settings = Settings {
            to: "https://x".to_owned(),
            redact: true,
            ..Settings::default()
        };
        write_settings(&folders, &settings, "sp_x").unwrap();
        let path = dir.path().join(".config/session-pipeline-push/token");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(read_token(&folders, None), Ok(Some("sp_x".to_owned())));
        assert_eq!(read_settings(&folders), Ok(Some(settings)));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = read_token(&folders, None).unwrap_err();
        assert!(
            error.contains("chmod 600") && !error.contains("sp_x"),
            "{error}"
        );
        remove_settings(&folders).unwrap();
        assert!(!folders.config.exists());
    }

    #[test]
    fn each_server_and_token_has_its_own_state() {
        let folders = folders(Path::new("/home/ada"));
        assert!(folders.state.starts_with("/home/ada/.local/state"));
        let one = folders.state_of("https://a", "t");
        assert_ne!(one, folders.state_of("https://a", "u"));
        assert_ne!(one, folders.state_of("https://b", "t"));
        assert!(Folders::new(None, None, None).is_err());
    }

    #[test]
    fn an_error_does_not_contain_the_token() {
        for bad in ["", " ", "sp_a b", "sp_ü", &"x".repeat(1001)] {
            let error = check_token(bad).unwrap_err();
            assert!(bad.trim().is_empty() || !error.contains(bad), "{error}");
        }
        assert_eq!(check_token("sp_x\n"), Ok("sp_x".to_owned()));
    }
}
