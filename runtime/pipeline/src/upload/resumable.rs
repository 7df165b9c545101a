//! Uploads that continue where an earlier one ended, so that a session that grows is sent only
//! once.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::kill_point::kill_point;
use sha2::{Digest as _, Sha256};

use super::digest::FileDigest;
use super::place::{FileVersion, Place, has_other_names};
use super::quota::Share;
use super::redacted::RedactionCheck;
use super::{UploadError, UploadPath, Uploads, accepts_uploads, append, create_folder, is_name};
use crate::config::Config;

/// A part without a line end is stored only from this size: readers skip longer lines anyway.
pub const LONG_LINE_BYTES: u64 = 16 << 20;

/// What is stored of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Size in bytes.
    pub size: u64,
    /// The hash of the bytes. `None`: it was not computed, because the file is large.
    pub sha256: Option<FileDigest>,
}

/// The place of the received bytes in their file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadPart {
    /// The number of bytes before them. 0: the bytes replace the file.
    pub offset: u64,
    /// The hash of the bytes before them. Required unless the offset is 0.
    pub prefix: Option<FileDigest>,
    /// Whether they end the file as it is now. If not, only their whole lines are stored.
    pub is_complete: bool,
}

/// What an upload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadChange {
    /// The file is new.
    Created,
    /// The file was replaced.
    Replaced,
    /// The file has grown.
    Appended,
    /// There was nothing to store.
    Unchanged,
}

/// The result of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishedUpload {
    /// The size of the file, in bytes.
    pub size: u64,
    /// The hash of the file.
    pub sha256: FileDigest,
    /// What the upload did.
    pub change: UploadChange,
}

/// What a server has of a file. Hashes the file only if that costs at most `hash_bytes_left`, which
/// is then reduced by its size.
///
/// # Errors
/// Uploads are disabled, something else is in place of the file or a folder, or the disk fails.
pub fn stored(
    config: &Config,
    uploads: &Uploads,
    user_id: &str,
    path: &UploadPath,
    hash_bytes_left: &mut u64,
) -> Result<Option<StoredFile>, UploadError> {
    check_user(config, user_id)?;
    let key = key(user_id, path);
    let Some(place) = Place::find(&config.sessions_root.join(user_id), path)? else {
        return Ok(None);
    };
    complete_append(&place, uploads, &key)?;
    let Some(file) = place.open_file()? else {
        return Ok(None);
    };
    let version = FileVersion::of_file(&file).map_err(UploadError::Io)?;
    let known = uploads.digests.known(&key, version);
    let state = match known {
        None if version.size <= *hash_bytes_left => {
            *hash_bytes_left -= version.size;
            let state = uploads.digests.state(&key, &file, version);
            Some(state.map_err(|error| UploadError::of(error, path.as_str()))?)
        }
        known => known,
    };
    Ok(Some(StoredFile {
        size: version.size,
        sha256: state.as_ref().map(FileDigest::of),
    }))
}

fn check_user(config: &Config, user_id: &str) -> Result<(), UploadError> {
    if !accepts_uploads(config) {
        return Err(UploadError::ForeignRoot);
    }
    // The program creates ids that are valid names, but the table can be edited.
    match is_name(user_id) {
        true => Ok(()),
        false => Err(UploadError::Name(user_id.to_owned())),
    }
}

/// Completes an append that failed in such a way that it could not be undone.
fn complete_append(place: &Place, uploads: &Uploads, key: &str) -> Result<(), UploadError> {
    // An append in progress has a record, too.
    let _guard = uploads.locks.lock(key);
    append::complete(place.folder(), place.name()).map_err(|error| UploadError::of(error, key))
}

fn key(user_id: &str, path: &UploadPath) -> String {
    format!("{user_id}/{path}")
}

/// Checks a file against what a client believes that it contains.
struct Target {
    file: Option<(File, FileVersion)>,
    key: String,
}

impl Target {
    fn open(place: &Place, key: &str) -> Result<Self, UploadError> {
        let file = match place.open_file()? {
            Some(file) => {
                let version = FileVersion::of_file(&file).map_err(UploadError::Io)?;
                Some((file, version))
            }
            None => None,
        };
        Ok(Self {
            file,
            key: key.to_owned(),
        })
    }

    fn version(&self) -> Option<FileVersion> {
        self.file.as_ref().map(|(_, version)| *version)
    }

    /// The state of the hash after all bytes.
    fn state(&self, uploads: &Uploads) -> Result<Sha256, UploadError> {
        let Some((file, version)) = &self.file else {
            return Ok(Sha256::new());
        };
        let state = uploads.digests.state(&self.key, file, *version);
        state.map_err(|error| UploadError::of(error, &self.key))
    }

    fn mismatch(&self, uploads: &Uploads, path: &UploadPath) -> Result<UploadError, UploadError> {
        let stored = match &self.file {
            Some((_, version)) => StoredFile {
                size: version.size,
                sha256: Some(FileDigest::of(&self.state(uploads)?)),
            },
            None => StoredFile {
                size: 0,
                sha256: Some(FileDigest::of(&Sha256::new())),
            },
        };
        Ok(UploadError::Mismatch {
            path: path.to_string(),
            stored,
        })
    }
}

/// An upload in progress. Its bytes are discarded on drop unless it was finished.
#[derive(Debug)]
pub struct ResumableUpload {
    place: Place,
    path: UploadPath,
    key: String,
    part: UploadPart,
    /// The file when the upload began. `None`: there was none.
    version: Option<FileVersion>,
    staged: Option<(File, String)>,
    /// The number of received bytes, and how many of them are whole lines.
    received: u64,
    whole_lines: u64,
    /// The hash of the file with all received bytes, and with those of whole lines.
    state: Sha256,
    whole_lines_state: Sha256,
    check: Option<RedactionCheck>,
    share: Share,
}

/// Starts an upload.
///
/// # Errors
/// The stored file does not have the offset as its size or differs from the prefix, the quota or
/// the disk is full, uploads are disabled, or the disk fails.
pub fn resume(
    config: &Config,
    uploads: &Uploads,
    user_id: &str,
    path: &UploadPath,
    part: UploadPart,
    now: UtcMicros,
) -> Result<ResumableUpload, UploadError> {
    check_user(config, user_id)?;
    let user_folder = create_folder(&config.sessions_root, user_id)?;
    let key = key(user_id, path);
    let appends = part.offset > 0;
    let place = match appends {
        // Without a folder, there is nothing to append to, and nothing is created.
        true => Place::find(&user_folder, path)?,
        false => Some(Place::create(&user_folder, path)?),
    };
    let absent = Target {
        file: None,
        key: key.clone(),
    };
    let Some(place) = place else {
        return Err(absent.mismatch(uploads, path)?);
    };
    complete_append(&place, uploads, &key)?;
    let target = Target::open(&place, &key)?;
    let state = match appends {
        true => {
            let size = target.version().map_or(0, |version| version.size);
            let state = target.state(uploads)?;
            if size != part.offset || part.prefix != Some(FileDigest::of(&state)) {
                return Err(target.mismatch(uploads, path)?);
            }
            state
        }
        false => Sha256::new(),
    };
    let check = config
        .upload
        .require_redacted
        .then(|| RedactionCheck::new(path.is_session()));
    if check.is_some() && appends {
        check_line_start(&target, path, part.offset)?;
    }
    let replaces = match appends {
        true => Some(0),
        false => target.version().map(|version| version.size),
    };
    let quotas = &uploads.quotas;
    let share = quotas.share(&config.service, &user_folder, replaces, now)?;
    let staged = place.stage()?;
    Ok(ResumableUpload {
        version: target.version(),
        path: path.clone(),
        staged: Some(staged),
        received: 0,
        whole_lines: 0,
        whole_lines_state: state.clone(),
        place,
        key,
        part,
        state,
        check,
        share,
    })
}

/// Without this check, a secret could be sent in two parts.
fn check_line_start(target: &Target, path: &UploadPath, offset: u64) -> Result<(), UploadError> {
    let mut last = [0];
    if let (Some((file, _)), Some(at)) = (&target.file, offset.checked_sub(1)) {
        file.read_exact_at(&mut last, at).map_err(UploadError::Io)?;
    }
    match path.is_session() && last == *b"\n" {
        true => Ok(()),
        false => Err(UploadError::WithinLine),
    }
}

impl ResumableUpload {
    /// The path of the file.
    pub fn path(&self) -> &UploadPath {
        &self.path
    }

    /// The number of bytes received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// The quota or the disk is full, the disk fails, or a line is too long to be checked for
    /// secrets.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        self.share.add(bytes.len() as u64)?;
        if let Some(check) = &mut self.check {
            check.write(bytes)?;
        }
        if let Some((file, _)) = &mut self.staged {
            file.write_all(bytes).map_err(UploadError::Io)?;
        }
        let lines = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let (lines, rest) = bytes.split_at_checked(lines).unwrap_or((bytes, b""));
        if !lines.is_empty() {
            self.state.update(lines);
            self.whole_lines_state = self.state.clone();
            self.whole_lines = self.received + lines.len() as u64;
        }
        self.state.update(rest);
        self.received += bytes.len() as u64;
        Ok(())
    }

    /// Adds the bytes to the file durably.
    ///
    /// # Errors
    /// Another upload changed the file meanwhile, the bytes contain secrets and the server accepts
    /// only redacted ones, or the disk fails. Nothing is stored.
    pub fn finish(mut self, uploads: &Uploads) -> Result<FinishedUpload, UploadError> {
        let stores_rest =
            self.part.is_complete || (self.whole_lines == 0 && self.received >= LONG_LINE_BYTES);
        if let Some(check) = self.check.take() {
            if stores_rest && check.is_within_line() {
                return Err(UploadError::OpenLine);
            }
            check.finish(stores_rest)?;
        }
        if !stores_rest {
            let dropped = self.received - self.whole_lines;
            self.share.release(dropped);
            self.state = self.whole_lines_state.clone();
            self.received = self.whole_lines;
        }
        let _guard = uploads.locks.lock(&self.key);
        let target = Target::open(&self.place, &self.key)?;
        if target.version() != self.version {
            return Err(target.mismatch(uploads, &self.path)?);
        }
        let (staged, staged_name) = self.staged.take().ok_or(UploadError::Removed)?;
        let result = self.store(&target, staged, &staged_name, uploads);
        if result.is_err() {
            self.place.remove(&staged_name);
        }
        result
    }

    fn store(
        &mut self,
        target: &Target,
        staged: File,
        staged_name: &str,
        uploads: &Uploads,
    ) -> Result<FinishedUpload, UploadError> {
        let is_empty = self.received == 0 && !self.part.is_complete;
        let change = match (&target.file, self.part.offset) {
            _ if is_empty => UploadChange::Unchanged,
            (_, 1..) if self.received == 0 => UploadChange::Unchanged,
            (Some(_), 1..) => UploadChange::Appended,
            (None, _) => UploadChange::Created,
            (Some(_), 0) => UploadChange::Replaced,
        };
        let failed = |error: io::Error| UploadError::of(error, self.path.as_str());
        if change != UploadChange::Unchanged {
            staged.set_len(self.received).map_err(failed)?;
        }
        let mut copy = None;
        if let (UploadChange::Appended, Some((file, _))) = (change, &target.file)
            && has_other_names(file).map_err(failed)?
        {
            self.place.remove(staged_name);
            copy = Some(append::copied(&self.place, file, &staged)?);
        }
        let file = match (change, &target.file) {
            (UploadChange::Unchanged, _) => {
                self.place.remove(staged_name);
                let state = target.state(uploads)?;
                return Ok(FinishedUpload {
                    size: target.version().map_or(0, |version| version.size),
                    sha256: FileDigest::of(&state),
                    change,
                });
            }
            (UploadChange::Appended, Some((file, version))) if copy.is_none() => {
                let staged = (&staged, self.received);
                append::append(&self.place, file, version.size, staged, staged_name)?;
                file
            }
            _ => {
                let (staged, staged_name) = match &copy {
                    Some((staged, name)) => (staged, name.as_str()),
                    None => (&staged, staged_name),
                };
                staged.sync_all().map_err(failed)?;
                kill_point("upload staged");
                self.place.put(staged_name)?;
                kill_point("upload renamed");
                self.place.sync()?;
                staged
            }
        };
        self.share.keep();
        let version = FileVersion::of_file(file).map_err(UploadError::Io)?;
        uploads
            .digests
            .insert(&self.key, version, self.state.clone());
        Ok(FinishedUpload {
            size: version.size,
            sha256: FileDigest::of(&self.state),
            change,
        })
    }
}

impl Drop for ResumableUpload {
    fn drop(&mut self) {
        if let Some((_, name)) = self.staged.take() {
            self.place.remove(&name);
        }
    }
}
