//! Creates the first admin token when a new service starts.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use session_pipeline_pipeline::token::TokenError;
use session_pipeline_store::{Actor, NewToken, Role, StoreError};

use super::ServiceState;

impl ServiceState {
    /// The path of the file with the first admin token.
    pub fn admin_token_path(&self) -> PathBuf {
        self.config().state_dir().join("admin-token")
    }

    /// Creates an admin token if there are no tokens, and writes it to a file that only the owner
    /// of the data directory can read. Returns whether it created one.
    ///
    /// # Errors
    /// The database or the file cannot be written.
    pub fn create_first_token(&self) -> Result<bool, TokenError> {
        let (Some(keyring), Some(store)) = (&self.keyring, self.store()) else {
            return Ok(false);
        };
        if !keyring.is_empty() {
            return Ok(false);
        }
        let new = NewToken {
            role: Role::Admin,
            email: None,
            label: Some("first token, in state/admin-token".to_owned()),
            expires_at: None,
        };
        let now = self.clock().now();
        let path = self.admin_token_path();
        let save = |text: &str| {
            let write = || -> std::io::Result<()> {
                // A temporary file is readable only by its owner from the moment it is created.
                let folder = path.parent().unwrap_or(&path);
                let mut file = tempfile::NamedTempFile::new_in(folder)?;
                writeln!(file, "{text}")?;
                file.as_file().sync_all()?;
                file.persist(&path)?;
                fs::File::open(folder)?.sync_all()
            };
            let path = path.clone();
            write().map_err(|source| StoreError::Io { path, source })
        };
        let randomness = self.randomness.as_ref();
        keyring.create_with_preview(store, &new, randomness, Actor::cli(), now, save)?;
        Ok(true)
    }
}
