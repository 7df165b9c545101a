//! The API key of a provider: where it is read, and how it stays secret.
//!
//! It comes from the environment or from a file that only its owner can read. It is never in the
//! config file, because people share config files.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use session_pipeline_host::model::KEY_VARIABLES;

use crate::config::{LlmConfig, Provider};

/// Longer than any key. A wrong path must not fill the memory.
const KEY_BYTES_MAX: u64 = 16 << 10;

/// A key. It is redacted in debug output, never serialized, and only sent in a request header.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Creates a key. `None` if a header can't contain it.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_sendable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_sendable.then(|| Self(text.to_owned()))
    }

    /// The key itself, for the header and for redaction.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// Why a key can't be used. Never contains any part of the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The variable contains no valid key.
    #[error(
        "{name} is not a valid key; set it to the provider's key, on one line without spaces, or unset it"
    )]
    Variable {
        /// The variable in backticks, or a description of one that the configuration names.
        name: String,
    },
    /// The configured variable is not set.
    #[error(
        "`llm.api_key_env` names an environment variable that is not set; use the name of a variable that contains the key, not the key itself"
    )]
    NoVariable,
    /// The file can't be read.
    #[error(
        "cannot read the file in `llm.api_key_file`; use the path of a file that contains the key, not the key itself, and check its permissions"
    )]
    Unreadable {
        /// The I/O error.
        #[source]
        source: io::Error,
    },
    /// Other users can access the file.
    #[error("other users can access the file in `llm.api_key_file`; run `chmod 600` on it")]
    Open,
    /// The file contains no valid key.
    #[error(
        "the file in `llm.api_key_file` contains no valid key; it must contain only the provider's key, on one line without spaces"
    )]
    File,
}

/// Secrets from the environment and key files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LlmSecrets {
    /// The provider's key.
    pub key: Option<ApiKey>,
}

impl LlmSecrets {
    /// Looks up the key: in the configured file or variable, else in the usual variables. Only
    /// Anthropic's provider reads Anthropic's variable, because a key must not be sent to another
    /// server.
    ///
    /// # Errors
    /// If the configured source does not exist, or does not contain a valid key.
    pub fn load(
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
            Some(read(
                "the environment variable in `llm.api_key_env`",
                value,
            )?)
        } else {
            let usual: &[&str] = match config.provider {
                None | Some(Provider::Anthropic) => &KEY_VARIABLES,
                Some(Provider::OpenAiCompat) => &["LLM_API_KEY"],
            };
            let mut found = usual
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
    // The mode of the open file, which cannot be swapped anymore.
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
