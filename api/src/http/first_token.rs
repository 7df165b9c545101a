//! The first token: so that whoever starts a new service can come in.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use session_pipeline_pipeline::token::TokenError;
use session_pipeline_store::{Actor, NewToken, Role, StoreError};

use super::ServiceState;

impl ServiceState {
    /// Where the first admin token lies.
    pub fn admin_token_path(&self) -> PathBuf {
        self.config().state_dir().join("admin-token")
    }

    /// Makes an admin token where nobody has any, and writes it where only the owner of the data
    /// dir reads it. Gives whether it did.
    ///
    /// # Errors
    /// When the database or the disk refuses.
    pub fn make_first_token(&self) -> Result<bool, TokenError> {
        let (Some(keyring), Some(store)) = (&self.keyring, self.store()) else {
            return Ok(false);
        };
        if !keyring.is_empty() {
            return Ok(false);
        }
        let new = NewToken {
            role: Role::Admin,
            email: None,
            label: Some("the first one, in state/admin-token".to_owned()),
            expires_at: None,
        };
        let now = self.clock().now();
        let path = self.admin_token_path();
        let tell = |text: &str| {
            let write = || -> std::io::Result<()> {
                // Such a file is nobody else's to read, from its first moment on.
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
        keyring.create_with_preview(store, &new, randomness, Actor::cli(), now, tell)?;
        Ok(true)
    }
}
