//! The key of a provider: where it comes from, and how it stays out of everything else.
//!
//! It comes from the environment or from a file that only its owner can read, never from the config
//! file, which is shown around.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use session_pipeline_host::model::KEY_VARIABLES;

use crate::config::{LlmConfig, Provider};

/// Longer than any key: a mistaken path shall not fill the memory.
const KEY_BYTES_MAX: u64 = 16 << 10;

/// A key. It prints as nothing, is never serialised, and only goes into a request's header.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key of this text; `None` where no header can carry it.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_sendable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_sendable.then(|| Self(text.to_owned()))
    }

    /// The text itself: for the header, and to look for it where it must not be.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// Why a key can't be used; never with anything of its text.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The variable holds none.
    #[error(
        "{name} in the environment is no key; give it the provider's key, in one line without spaces, or leave it unset"
    )]
    Variable {
        /// The variable in backticks, or words for one that the configuration names.
        name: String,
    },
    /// The configuration names a variable that is not there.
    #[error(
        "`llm.api_key_env` names a variable that is not in the environment; give the name of a variable that holds the key, never the key itself"
    )]
    NoVariable,
    /// The file can't be read.
    #[error(
        "the file that `llm.api_key_file` names can't be read; give the path of a file that holds the key, never the key itself, and check its permissions"
    )]
    Unreadable {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others can read the file.
    #[error(
        "the file that `llm.api_key_file` names can be read by others than its owner; run `chmod 600` on it"
    )]
    Open,
    /// The file holds none.
    #[error(
        "the file that `llm.api_key_file` names holds no key; put the provider's key alone into it, in one line without spaces"
    )]
    File,
}

/// What was found where keys are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// The provider's key.
    pub key: Option<ApiKey>,
}

impl Secrets {
    /// Looks the key up: the file or variable that the configuration names, else the variables
    /// that everybody uses. The latter are no concern of a provider that is no Anthropic one, since
    /// a key is shown to nobody but whom it is for.
    ///
    /// # Errors
    /// When what is there can't be a key, or what is named is not there.
    pub fn look_up(
        config: &LlmConfig,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, KeyError> {
        let read = |name: &str, value: OsString| {
            let key = value.to_str().and_then(ApiKey::new);
            key.ok_or_else(|| KeyError::Variable {
                name: name.to_owned(),
            })
        };
        let key = if let Some(path) = &config.api_key_file {
            Some(of_file(path)?)
        } else if let Some(name) = &config.api_key_env {
            let value = environment(name).ok_or(KeyError::NoVariable)?;
            Some(read("the variable that `llm.api_key_env` names", value)?)
        } else {
            let everybodys: &[&str] = match config.provider {
                None | Some(Provider::Anthropic) => &KEY_VARIABLES,
                Some(Provider::OpenAiCompat) => &["LLM_API_KEY"],
            };
            let mut found = everybodys
                .iter()
                .filter_map(|name| Some((*name, environment(name)?)));
            found
                .next()
                .map(|(name, value)| read(&format!("`{name}`"), value))
                .transpose()?
        };
        Ok(Self { key })
    }
}

fn of_file(path: &Path) -> Result<ApiKey, KeyError> {
    let unreadable = |source| KeyError::Unreadable { source };
    let file = session_pipeline_host::regular::open(path).map_err(unreadable)?;
    // Of the file that is open, which nobody can put another in the place of.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::Open);
    }
    let mut text = String::new();
    file.take(KEY_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    ApiKey::new(&text).ok_or(KeyError::File)
}
