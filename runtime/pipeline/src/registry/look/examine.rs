//! Examines the content of a file: reads, compiles and describes it.

use std::borrow::Cow;
use std::collections::HashMap;

use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::inspect;
use session_pipeline_host::sandbox::sha256_hex;
use session_pipeline_store::{LoadedComponent, StoreError};

use crate::registry::folder::{self, FolderEntry, ReadResult};
use crate::registry::loader::{LoadedProcessor, Loader};
use crate::registry::look::{
    CheckDepth, Contents, DescribedComponent, ExaminedFiles, FileRead, FolderCheck,
};
use crate::registry::plan::FileContent;
use crate::registry::ungranted;

/// Why a file can't be used.
pub(super) enum ExaminationFailure {
    /// It changed during the check.
    Changing,
    /// The component is invalid, or an error of this machine occurred.
    Fault(Fault),
}

impl From<Fault> for ExaminationFailure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl FolderCheck<'_> {
    /// The content of a file, as far as this check goes.
    pub(super) fn holds(
        &self,
        memory: &mut ExaminedFiles,
        found: &FolderEntry,
        loaded: &mut HashMap<String, LoadedProcessor>,
    ) -> Result<FileContent, StoreError> {
        let file = found.file.as_str();
        let guess = guess(memory, file);
        let (contents, bytes) = match self.read(memory, found, &guess) {
            Ok(read) => read,
            Err(holds) => return Ok(holds),
        };
        let digest = match contents {
            Contents::Digest(digest) => digest,
            Contents::Rejected(reason) => return Ok(FileContent::Unusable(reason)),
        };
        let loader = match &self.depth {
            CheckDepth::Ask(loader, only) if only.is_none_or(|only| only == file) => Some(loader),
            CheckDepth::Ask(..) | CheckDepth::Notice => None,
        };
        if let Some(described) = memory.described.get(&digest) {
            let last_error = memory
                .files
                .get(file)
                .and_then(|last_read| last_read.last_error.clone());
            return Ok(match last_error {
                // It could not be stored, and this check does not try again.
                Some(reason) if !described.is_stored && loader.is_none() => {
                    FileContent::Unusable(reason)
                }
                _ => FileContent::Component(described.component.clone()),
            });
        }
        // A running component can become unusable, for example if the operator revokes a
        // permission. No older component replaces it: it stays, and its runs report the error.
        let runs_already = memory.last_good(file).cloned();
        let runs_already = runs_already.filter(|component| component.digest == digest);
        if let Some(reason) = memory.unusable.get(&(digest.clone(), guess.clone())) {
            let refused = FileContent::Unusable(reason.clone());
            return Ok(runs_already.map_or(refused, FileContent::Component));
        }
        let Some(loader) = loader else {
            return self.recall(memory, file, digest);
        };
        match self.ask(loader, memory, file, &digest, bytes)? {
            Ok(new) => {
                let component = component_of(&new);
                let described = DescribedComponent {
                    component: component.clone(),
                    is_stored: false,
                };
                memory.described.insert(digest.clone(), described);
                loaded.insert(digest, new);
                Ok(FileContent::Component(component))
            }
            Err(ExaminationFailure::Changing) => Ok(FileContent::Unexamined),
            Err(ExaminationFailure::Fault(fault)) => {
                let refused = memory.reject(file, digest, guess, &fault);
                Ok(runs_already.map_or(refused, FileContent::Component))
            }
        }
    }

    /// Reads a file, unless it is unchanged. The bytes are returned if they were read now.
    fn read(
        &self,
        memory: &mut ExaminedFiles,
        found: &FolderEntry,
        guess: &str,
    ) -> Result<(Contents, Option<Vec<u8>>), FileContent> {
        let file = found.file.as_str();
        let stamp = match &found.stamp {
            Ok(stamp) => *stamp,
            Err(reason) => return Err(FileContent::Unusable(reason.clone())),
        };
        if let Some(last_read) = memory.files.get(file)
            && last_read.stamp == stamp
            && last_read.is_quiet
        {
            return Ok((last_read.contents.clone(), None));
        }
        let bytes_max = self.config.limits_of(guess).component_bytes_max;
        let (stamp, contents, bytes) =
            match folder::read(&self.config.processors_dir(), file, bytes_max) {
                ReadResult::Read(stamp, bytes) => match inspect::check_header(&bytes) {
                    Ok(()) => (stamp, Contents::Digest(sha256_hex(&bytes)), Some(bytes)),
                    Err(fault) => (stamp, Contents::Rejected(fault.detail), None),
                },
                ReadResult::Rejected(stamp, reason) => (stamp, Contents::Rejected(reason), None),
                ReadResult::Failed(reason) => {
                    memory.files.remove(file);
                    return Err(FileContent::Unusable(reason));
                }
                ReadResult::Changing => {
                    memory.files.remove(file);
                    return Err(FileContent::Unexamined);
                }
            };
        let last_read = FileRead {
            stamp,
            is_quiet: stamp.is_quiet(self.now, self.config.quiet_window),
            contents: contents.clone(),
            last_error: None,
        };
        memory.files.insert(file.to_owned(), last_read);
        Ok((contents, bytes))
    }

    /// The component as recorded in the database, without describing it again.
    fn recall(
        &self,
        memory: &ExaminedFiles,
        file: &str,
        digest: String,
    ) -> Result<FileContent, StoreError> {
        let known = match self.store {
            Some(store) => store.component(&digest)?,
            None => None,
        };
        if let Some(known) = known {
            return Ok(FileContent::Component(LoadedComponent {
                name: known.processor_name,
                version: known.version,
                digest,
            }));
        }
        let last_error = memory
            .files
            .get(file)
            .and_then(|last_read| last_read.last_error.clone());
        Ok(last_error.map_or(FileContent::Unexamined, FileContent::Unusable))
    }

    /// Compiles a file and describes its component: first with the limits and settings of the
    /// processor that the file contained last or is named after, then with those of its own name.
    pub(super) fn ask(
        &self,
        loader: &Loader<'_>,
        memory: &ExaminedFiles,
        file: &str,
        digest: &str,
        bytes: Option<Vec<u8>>,
    ) -> Result<Result<LoadedProcessor, ExaminationFailure>, StoreError> {
        let known = match self.store {
            Some(store) => store.component(digest)?,
            None => None,
        };
        let guess = guess(memory, file);
        let stamp = memory.files.get(file).map(|last_read| last_read.stamp);
        let attempt = || -> Result<LoadedProcessor, ExaminationFailure> {
            let bytes = match bytes {
                Some(bytes) => bytes,
                None => self.read_again(file, &guess, digest)?,
            };
            let make = |name: &str| {
                loader.load(name, self.config, digest, known.as_ref(), || {
                    Ok(Cow::Borrowed(&bytes))
                })
            };
            let mut loaded = make(&guess)?;
            let name = loaded.processor.manifest().name.clone();
            let under = |name: &str| (self.config.limits_of(name), self.config.settings_of(name));
            if under(&name) != under(&guess) {
                loaded = make(&name)?;
                let says = &loaded.processor.manifest().name;
                if *says != name {
                    let detail = format!(
                        "it reports the name `{name}`, but with the settings of `{name}` it reports `{says}`"
                    );
                    return Err(Fault::new(FaultKind::Component, detail).into());
                }
            }
            if let Some(detail) = ungranted(&loaded.processor, self.config, false) {
                return Err(Fault::new(FaultKind::Component, detail).into());
            }
            // Only a file that did not change during the check was complete when it was read.
            match folder::stamp(&self.config.processors_dir(), file) == stamp {
                true => Ok(loaded),
                false => Err(ExaminationFailure::Changing),
            }
        };
        Ok(attempt())
    }

    /// Reads a file again. Its digest must be unchanged.
    fn read_again(
        &self,
        file: &str,
        guess: &str,
        digest: &str,
    ) -> Result<Vec<u8>, ExaminationFailure> {
        let bytes_max = self.config.limits_of(guess).component_bytes_max;
        match folder::read(&self.config.processors_dir(), file, bytes_max) {
            ReadResult::Read(_, bytes) if sha256_hex(&bytes) == digest => Ok(bytes),
            ReadResult::Failed(reason) => Err(Fault::new(FaultKind::Host, reason).into()),
            ReadResult::Read(..) | ReadResult::Rejected(..) | ReadResult::Changing => {
                Err(ExaminationFailure::Changing)
            }
        }
    }
}

impl ExaminedFiles {
    /// Remembers why a file can't be used: permanently for invalid components, else until the file
    /// changes.
    pub(super) fn reject(
        &mut self,
        file: &str,
        digest: String,
        guess: String,
        fault: &Fault,
    ) -> FileContent {
        let reason = fault.detail.clone();
        if fault.kind == FaultKind::Component {
            self.described.remove(&digest);
            self.unusable.insert((digest, guess), reason.clone());
        } else if let Some(last_read) = self.files.get_mut(file) {
            last_read.last_error = Some(reason.clone());
        }
        FileContent::Unusable(reason)
    }
}

/// The processor whose limits and settings apply before the component was described: the one that
/// the file contained last, or is named after.
pub(super) fn guess(memory: &ExaminedFiles, file: &str) -> String {
    match memory.last_good(file) {
        Some(component) => component.name.clone(),
        None => file.strip_suffix(".wasm").unwrap_or(file).to_owned(),
    }
}

fn component_of(loaded: &LoadedProcessor) -> LoadedComponent {
    let manifest = loaded.processor.manifest();
    LoadedComponent {
        name: manifest.name.clone(),
        version: manifest.version,
        digest: loaded.processor.digest().to_owned(),
    }
}
