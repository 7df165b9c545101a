//! The data directory of a demo.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use session_pipeline_harness::demo::DemoOptions;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;
use tempfile::TempDir;

use crate::cli::table::count_of;
use crate::cli::{CommandFailure, hint};

/// The file that marks a data directory as a demo.
const MARKER: &str = "demo.json";

/// A data directory, with what was generated into it.
#[derive(Debug)]
pub(super) struct DemoFolder {
    path: PathBuf,
    /// `None`: it is not removed at the end.
    temporary: Option<TempDir>,
    marker: DemoMarker,
}

/// The content of [`MARKER`].
#[derive(Debug, Serialize, Deserialize)]
struct DemoMarker {
    seed: u64,
    session_count: u64,
    end: UtcMicros,
    /// Whether everything was generated and processed.
    is_complete: bool,
    #[serde(default)]
    tokens: DemoTokens,
}

/// The tokens to sign in with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct DemoTokens {
    /// Of an admin.
    pub(super) admin: String,
    /// Of an analyst.
    pub(super) analyst: String,
    /// Of a member.
    pub(super) member: String,
}

/// The beginning of the hour. A demo that is generated twice in an hour has the same sessions.
pub(super) fn hour_of(time: UtcMicros) -> UtcMicros {
    const HOUR: i64 = 3_600_000_000;
    UtcMicros(time.0.div_euclid(HOUR) * HOUR)
}

impl DemoFolder {
    /// Opens the directory, or creates it. Without a path, it is temporary. A directory with a demo
    /// keeps the options with which it was created. `are_options_given` is whether the user set any.
    ///
    /// # Errors
    /// The directory has other files, or a demo with other options than the given ones. Or it
    /// cannot be read or written.
    pub(super) fn open(
        path: Option<&Path>,
        is_kept: bool,
        options: &DemoOptions,
        are_options_given: bool,
    ) -> Result<Self, CommandFailure> {
        let marker = DemoMarker {
            seed: options.seed,
            session_count: options.sessions,
            end: options.end,
            is_complete: false,
            tokens: DemoTokens::default(),
        };
        let Some(path) = path else {
            return Self::temporary(marker, is_kept);
        };
        let cannot = |doing: &str, error: &io::Error| {
            let path = printable(&path.display().to_string());
            CommandFailure::could_not_run(format!("cannot {doing} `{path}`: {error}"))
        };
        fs::create_dir_all(path).map_err(|error| cannot("create the directory", &error))?;
        let mut entries =
            fs::read_dir(path).map_err(|error| cannot("list the directory", &error))?;
        let folder = match (fs::read(path.join(MARKER)), entries.next()) {
            (Ok(text), _) => Self {
                marker: existing(path, &text, options, are_options_given)?,
                path: path.to_owned(),
                temporary: None,
            },
            (Err(_), None) => Self {
                marker,
                path: path.to_owned(),
                temporary: None,
            },
            (Err(_), Some(_)) => {
                return Err(CommandFailure::usage_error(format!(
                    "`{}` has files that are not of a demo; choose an empty directory, or omit --data-dir for a temporary one",
                    printable(&path.display().to_string())
                )));
            }
        };
        folder.save()?;
        Ok(folder)
    }

    fn temporary(marker: DemoMarker, is_kept: bool) -> Result<Self, CommandFailure> {
        let created = tempfile::Builder::new()
            .prefix("session-pipeline-demo-")
            .tempdir();
        let folder = created.map_err(|error| {
            CommandFailure::could_not_run(format!("cannot create a temporary directory: {error}"))
        })?;
        let folder = match is_kept {
            true => Self {
                path: folder.keep(),
                temporary: None,
                marker,
            },
            false => Self {
                path: folder.path().to_owned(),
                temporary: Some(folder),
                marker,
            },
        };
        folder.save()?;
        Ok(folder)
    }

    /// Removes the directory if it is temporary.
    pub(super) fn close(self) {
        let Some(folder) = self.temporary else {
            return;
        };
        if let Err(error) = folder.close() {
            hint(&format!(
                "cannot remove `{}`: {error}; remove it yourself",
                printable(&self.path.display().to_string())
            ));
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the directory remains after the end.
    pub(super) fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// Whether everything was generated and processed.
    pub(super) fn is_complete(&self) -> bool {
        self.marker.is_complete
    }

    /// What to generate.
    pub(super) fn options(&self) -> DemoOptions {
        DemoOptions {
            seed: self.marker.seed,
            sessions: self.marker.session_count,
            end: self.marker.end,
            ..DemoOptions::default()
        }
    }

    pub(super) fn tokens(&self) -> &DemoTokens {
        &self.marker.tokens
    }

    /// Saves the tokens, also where other commands look for that of an admin.
    pub(super) fn set_tokens(&mut self, tokens: DemoTokens) -> Result<(), CommandFailure> {
        let path = self.path.join("state").join("admin-token");
        write_private(&path, &format!("{}\n", tokens.admin))?;
        self.marker.tokens = tokens;
        self.save()
    }

    /// Records that everything was generated and processed.
    pub(super) fn complete(&mut self) -> Result<(), CommandFailure> {
        self.marker.is_complete = true;
        self.save()
    }

    fn save(&self) -> Result<(), CommandFailure> {
        let text = serde_json::to_string_pretty(&self.marker)
            .map_err(|error| CommandFailure::could_not_run(error.to_string()))?;
        write_private(&self.path.join(MARKER), &text)
    }
}

/// The marker of an existing demo.
fn existing(
    path: &Path,
    text: &[u8],
    options: &DemoOptions,
    are_options_given: bool,
) -> Result<DemoMarker, CommandFailure> {
    let path = printable(&path.display().to_string());
    let marker: DemoMarker = serde_json::from_slice(text).map_err(|error| {
        CommandFailure::usage_error(format!(
            "cannot read `{MARKER}` in `{path}`: {error}; choose another directory"
        ))
    })?;
    let is_same = (marker.seed, marker.session_count) == (options.seed, options.sessions);
    match are_options_given && !is_same {
        true => Err(CommandFailure::usage_error(format!(
            "`{path}` has a demo with seed {} and {}; omit --seed and --session-count to serve it, or choose another directory",
            marker.seed,
            count_of(marker.session_count, "session", "sessions")
        ))),
        false => Ok(marker),
    }
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> Result<(), CommandFailure> {
    let write = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(path)?.write_all(text.as_bytes())
    };
    write().map_err(|error: io::Error| {
        let path = printable(&path.display().to_string());
        CommandFailure::could_not_run(format!("cannot write `{path}`: {error}"))
    })
}
