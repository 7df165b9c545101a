//! Examines the content of a file: reads, compiles and describes it.

use std::borrow::Cow;
use std::collections::HashMap;

use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::inspect;
use session_pipeline_host::sandbox::sha256_hex;
use session_pipeline_store::Component;
use session_pipeline_store::StoreError;

use crate::registry::folder::{self, Found, Reading};
use crate::registry::look::{Asked, Contents, Depth, Look, Memory, Seen};
use crate::registry::make::{Made, Workshop};
use crate::registry::plan::Holds;
use crate::registry::ungranted;

/// Why a file can't be used.
pub(super) enum Objection {
    /// It changed during the check.
    Changing,
    /// The component is invalid, or an error of this machine occurred.
    Fault(Fault),
}

impl From<Fault> for Objection {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Look<'_> {
    /// The content of a file, as far as this check goes.
    pub(super) fn holds(
        &self,
        memory: &mut Memory,
        found: &Found,
        made: &mut HashMap<String, Made>,
    ) -> Result<Holds, StoreError> {
        let file = found.file.as_str();
        let guess = guess(memory, file);
        let (contents, bytes) = match self.read(memory, found, &guess) {
            Ok(read) => read,
            Err(holds) => return Ok(holds),
        };
        let digest = match contents {
            Contents::Digest(digest) => digest,
            Contents::Refused(reason) => return Ok(Holds::Unusable(reason)),
        };
        let workshop = match &self.depth {
            Depth::Ask(workshop, only) if only.is_none_or(|only| only == file) => Some(workshop),
            Depth::Ask(..) | Depth::Notice => None,
        };
        if let Some(asked) = memory.asked.get(&digest) {
            let trouble = memory.files.get(file).and_then(|seen| seen.trouble.clone());
            return Ok(match trouble {
                // It could not be stored, and this check does not try again.
                Some(reason) if !asked.is_kept && workshop.is_none() => Holds::Unusable(reason),
                _ => Holds::Component(asked.component.clone()),
            });
        }
        // A running component can become unusable, for example if the operator revokes a
        // permission. No older component replaces it: it stays, and its runs report the error.
        let runs_already = memory.last_good(file).cloned();
        let runs_already = runs_already.filter(|component| component.digest == digest);
        if let Some(reason) = memory.unusable.get(&(digest.clone(), guess.clone())) {
            let refused = Holds::Unusable(reason.clone());
            return Ok(runs_already.map_or(refused, Holds::Component));
        }
        let Some(workshop) = workshop else {
            return self.recall(memory, file, digest);
        };
        match self.ask(workshop, memory, file, &digest, bytes)? {
            Ok(new) => {
                let component = component_of(&new);
                let asked = Asked {
                    component: component.clone(),
                    is_kept: false,
                };
                memory.asked.insert(digest.clone(), asked);
                made.insert(digest, new);
                Ok(Holds::Component(component))
            }
            Err(Objection::Changing) => Ok(Holds::Unexamined),
            Err(Objection::Fault(fault)) => {
                let refused = memory.object(file, digest, guess, &fault);
                Ok(runs_already.map_or(refused, Holds::Component))
            }
        }
    }

    /// Reads a file, unless it is unchanged. The bytes are returned if they were read now.
    fn read(
        &self,
        memory: &mut Memory,
        found: &Found,
        guess: &str,
    ) -> Result<(Contents, Option<Vec<u8>>), Holds> {
        let file = found.file.as_str();
        let stamp = match &found.stamp {
            Ok(stamp) => *stamp,
            Err(reason) => return Err(Holds::Unusable(reason.clone())),
        };
        if let Some(seen) = memory.files.get(file)
            && seen.stamp == stamp
            && seen.is_quiet
        {
            return Ok((seen.contents.clone(), None));
        }
        let bytes_max = self.config.limits_of(guess).component_bytes_max;
        let (stamp, contents, bytes) =
            match folder::read(&self.config.processors_dir(), file, bytes_max) {
                Reading::Read(stamp, bytes) => match inspect::recognise(&bytes) {
                    Ok(()) => (stamp, Contents::Digest(sha256_hex(&bytes)), Some(bytes)),
                    Err(fault) => (stamp, Contents::Refused(fault.detail), None),
                },
                Reading::Refused(stamp, reason) => (stamp, Contents::Refused(reason), None),
                Reading::Failed(reason) => {
                    memory.files.remove(file);
                    return Err(Holds::Unusable(reason));
                }
                Reading::Changing => {
                    memory.files.remove(file);
                    return Err(Holds::Unexamined);
                }
            };
        let seen = Seen {
            stamp,
            is_quiet: stamp.is_quiet(self.now, self.config.quiet_window),
            contents: contents.clone(),
            trouble: None,
        };
        memory.files.insert(file.to_owned(), seen);
        Ok((contents, bytes))
    }

    /// The component as recorded in the database, without describing it again.
    fn recall(&self, memory: &Memory, file: &str, digest: String) -> Result<Holds, StoreError> {
        let known = match self.store {
            Some(store) => store.component(&digest)?,
            None => None,
        };
        if let Some(known) = known {
            return Ok(Holds::Component(Component {
                name: known.processor_name,
                version: known.version,
                digest,
            }));
        }
        let trouble = memory.files.get(file).and_then(|seen| seen.trouble.clone());
        Ok(trouble.map_or(Holds::Unexamined, Holds::Unusable))
    }

    /// Compiles a file and describes its component: first with the limits and settings of the
    /// processor that the file contained last or is named after, then with those of its own name.
    pub(super) fn ask(
        &self,
        workshop: &Workshop<'_>,
        memory: &Memory,
        file: &str,
        digest: &str,
        bytes: Option<Vec<u8>>,
    ) -> Result<Result<Made, Objection>, StoreError> {
        let known = match self.store {
            Some(store) => store.component(digest)?,
            None => None,
        };
        let guess = guess(memory, file);
        let stamp = memory.files.get(file).map(|seen| seen.stamp);
        let attempt = || -> Result<Made, Objection> {
            let bytes = match bytes {
                Some(bytes) => bytes,
                None => self.read_again(file, &guess, digest)?,
            };
            let make = |name: &str| {
                workshop.make(name, digest, known.as_ref(), || Ok(Cow::Borrowed(&bytes)))
            };
            let mut made = make(&guess)?;
            let name = made.processor.manifest().name.clone();
            let under = |name: &str| (self.config.limits_of(name), self.config.settings_of(name));
            if under(&name) != under(&guess) {
                made = make(&name)?;
                let says = &made.processor.manifest().name;
                if *says != name {
                    let detail = format!(
                        "it reports the name `{name}`, but with the settings of `{name}` it reports `{says}`"
                    );
                    return Err(Fault::new(FaultKind::Component, detail).into());
                }
            }
            if let Some(detail) = ungranted(&made.processor, self.config, false) {
                return Err(Fault::new(FaultKind::Component, detail).into());
            }
            // Only a file that did not change during the check was complete when it was read.
            match folder::stamp(&self.config.processors_dir(), file) == stamp {
                true => Ok(made),
                false => Err(Objection::Changing),
            }
        };
        Ok(attempt())
    }

    /// Reads a file again. Its digest must be unchanged.
    fn read_again(&self, file: &str, guess: &str, digest: &str) -> Result<Vec<u8>, Objection> {
        let bytes_max = self.config.limits_of(guess).component_bytes_max;
        match folder::read(&self.config.processors_dir(), file, bytes_max) {
            Reading::Read(_, bytes) if sha256_hex(&bytes) == digest => Ok(bytes),
            Reading::Failed(reason) => Err(Fault::new(FaultKind::Host, reason).into()),
            Reading::Read(..) | Reading::Refused(..) | Reading::Changing => {
                Err(Objection::Changing)
            }
        }
    }
}

impl Memory {
    /// Remembers why a file can't be used: permanently for invalid components, else until the file
    /// changes.
    pub(super) fn object(
        &mut self,
        file: &str,
        digest: String,
        guess: String,
        fault: &Fault,
    ) -> Holds {
        let reason = fault.detail.clone();
        if fault.kind == FaultKind::Component {
            self.asked.remove(&digest);
            self.unusable.insert((digest, guess), reason.clone());
        } else if let Some(seen) = self.files.get_mut(file) {
            seen.trouble = Some(reason.clone());
        }
        Holds::Unusable(reason)
    }
}

/// The processor whose limits and settings apply before the component was described: the one that
/// the file contained last, or is named after.
pub(super) fn guess(memory: &Memory, file: &str) -> String {
    match memory.last_good(file) {
        Some(component) => component.name.clone(),
        None => file.strip_suffix(".wasm").unwrap_or(file).to_owned(),
    }
}

fn component_of(made: &Made) -> Component {
    let manifest = made.processor.manifest();
    Component {
        name: manifest.name.clone(),
        version: manifest.version,
        digest: made.processor.digest().to_owned(),
    }
}
