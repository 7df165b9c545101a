//! Checks the folder of processors: reads, compiles and describes changed files, and lets them take
//! over if they are valid.
//!
//! Only one check runs at a time, and it can take as long as the compiler. Callers who need names
//! meanwhile get the [`FolderPlan`] of the previous check.
//!
//! A file takes over only if it did not change between the first read and the description of its
//! component. A file that is still being copied fails this test or does not compile, and the
//! previous component stays in use. The file is examined again when its metadata changes.
//!
//! `examine` finds out what a file contains. `takeover` makes a component the one that runs.

mod examine;
mod takeover;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::{LoadedComponent, Store, StoreError};

use crate::config::Config;
use crate::registry::folder::{self, FolderEntry, Stamp};
use crate::registry::loader::{Access, Loader};
use crate::registry::plan::{
    ActiveProcessor, ComponentFile, FileContent, FolderPlan, RejectedFile,
};
use crate::registry::{Registry, component_store};

/// The folder, as far as this process knows it.
#[derive(Debug, Default)]
pub(super) struct ProcessorsFolder {
    memory: Mutex<ExaminedFiles>,
    plan: RwLock<Arc<FolderPlan>>,
}

/// Results of earlier checks.
#[derive(Debug, Default)]
struct ExaminedFiles {
    /// The contents of files, by name.
    files: BTreeMap<String, FileRead>,
    /// Components that described themselves, by digest.
    described: HashMap<String, DescribedComponent>,
    /// Why components can't be used, by digest and by the processor whose limits and settings
    /// applied.
    unusable: HashMap<(String, String), String>,
    /// The last working component of each file, after it was read from the database.
    last_good: Option<BTreeMap<String, LoadedComponent>>,
}

/// A file at its last read.
#[derive(Debug)]
struct FileRead {
    stamp: Stamp,
    /// Whether the file was unchanged long enough for the stamp to be trusted.
    is_quiet: bool,
    contents: Contents,
    /// Why the last attempt to use it failed, if a retry could succeed.
    last_error: Option<String>,
}

#[derive(Clone, Debug)]
enum Contents {
    /// A regular file with this digest.
    Digest(String),
    /// Not read, for this reason.
    Rejected(String),
}

/// A component that described itself.
#[derive(Debug)]
struct DescribedComponent {
    component: LoadedComponent,
    /// Whether it is stored, recorded in the database, and its tables exist.
    is_stored: bool,
}

/// How thorough a check is.
#[derive(Clone, Copy)]
enum CheckDepth<'a> {
    /// Compiles, loads and writes nothing.
    Notice,
    /// Describes the components of all files, or of one. Those that take over are stored, unless
    /// the check is read-only.
    Ask(Loader<'a>, Option<&'a str>),
}

/// What [`Registry::refresh`] does with new and changed files.
#[derive(Clone, Copy)]
pub enum Refresh<'a> {
    /// Compiles and writes nothing. The names of new files stay unknown.
    Notice(Option<&'a Store>),
    /// Describes all files. With full access, new components take over.
    All {
        /// How components are loaded.
        loader: Loader<'a>,
        /// Whether to wait for a check that is already running.
        waits: bool,
    },
    /// Describes only the files necessary to find this processor, so that its run does not wait
    /// while other components are compiled.
    Only(Loader<'a>, &'a str),
}

/// One check of the folder.
#[derive(Clone, Copy)]
struct FolderCheck<'a> {
    registry: &'a Registry,
    config: &'a Config,
    store: Option<&'a Store>,
    now: UtcMicros,
    depth: CheckDepth<'a>,
}

impl ProcessorsFolder {
    pub(super) fn plan(&self) -> Arc<FolderPlan> {
        let plan = self.plan.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&plan)
    }

    /// Locks the memory. `None` if another check is running and `waits` is false.
    fn enter(&self, waits: bool) -> Option<MutexGuard<'_, ExaminedFiles>> {
        if waits {
            return Some(self.memory.lock().unwrap_or_else(PoisonError::into_inner));
        }
        match self.memory.try_lock() {
            Ok(memory) => Some(memory),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn publish(&self, plan: FolderPlan) {
        let plan = Arc::new(plan);
        let before = {
            let mut current = self.plan.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::clone(&plan))
        };
        takeover::log_changes(&before, &plan);
    }
}

impl Registry {
    /// Checks the folder. A refresh that can compile takes as long as the compiler's limit for
    /// every new file. Returns immediately if another check is running, unless `refresh` waits.
    ///
    /// # Errors
    /// If the database fails. A file that can't be used is not an error.
    pub fn refresh(
        &self,
        config: &Config,
        now: UtcMicros,
        refresh: Refresh<'_>,
    ) -> Result<(), StoreError> {
        let (store, waits) = match refresh {
            Refresh::Notice(store) => (store, false),
            Refresh::All { loader, waits } => (loader.access.store(), waits),
            Refresh::Only(_, name) if self.is_taken(name) => return Ok(()),
            // A processor that already runs can run again without a check.
            Refresh::Only(loader, name) => {
                let is_known = self.plan().running.contains_key(name);
                (loader.access.store(), !is_known)
            }
        };
        let Some(mut memory) = self.folder.enter(waits) else {
            return Ok(());
        };
        let check = |memory: &mut ExaminedFiles, depth| {
            let check = FolderCheck {
                registry: self,
                config,
                store,
                now,
                depth,
            };
            check.run(memory)
        };
        let (loader, name) = match refresh {
            Refresh::Notice(_) => return check(&mut memory, CheckDepth::Notice),
            Refresh::All { loader, .. } => {
                return check(&mut memory, CheckDepth::Ask(loader, None));
            }
            Refresh::Only(loader, name) => (loader, name),
        };
        check(&mut memory, CheckDepth::Notice)?;
        let plan = self.plan();
        let only = match plan.running.get(name) {
            Some(running) if memory.is_settled(&plan, running) => return Ok(()),
            Some(running) => Some(running.file.as_str()),
            None if plan.unexamined.is_empty() => return Ok(()),
            None => None,
        };
        check(&mut memory, CheckDepth::Ask(loader, only))
    }
}

impl ExaminedFiles {
    fn last_good(&self, file: &str) -> Option<&LoadedComponent> {
        self.last_good.as_ref()?.get(file)
    }

    /// Whether the processor's file needs no further check or record.
    fn is_settled(&self, plan: &FolderPlan, running: &ActiveProcessor) -> bool {
        !plan.unexamined.contains(&running.file)
            && self.last_good(&running.file) == Some(&running.component)
    }

    /// Removes entries that no file has anymore.
    fn tidy(&mut self) {
        let digests: HashSet<&str> = self
            .files
            .values()
            .filter_map(|last_read| match &last_read.contents {
                Contents::Digest(digest) => Some(digest.as_str()),
                Contents::Rejected(_) => None,
            })
            .collect();
        self.described
            .retain(|digest, _| digests.contains(digest.as_str()));
        self.unusable
            .retain(|(digest, _), _| digests.contains(digest.as_str()));
    }
}

impl<'a> FolderCheck<'a> {
    fn run(&self, memory: &mut ExaminedFiles) -> Result<(), StoreError> {
        if let (None, Some(store)) = (&memory.last_good, self.store) {
            memory.last_good = Some(store.component_files()?);
        }
        let mut loaded = HashMap::new();
        let mut plan = match folder::list(&self.config.processors_dir()) {
            Ok(found) => {
                memory
                    .files
                    .retain(|file, _| found.iter().any(|found| found.file == *file));
                memory.tidy();
                self.forget_gone(memory, &found)?;
                let mut files = Vec::new();
                for found in found {
                    files.push(ComponentFile {
                        content: self.holds(memory, &found, &mut loaded)?,
                        last_good: self.last_good(memory, &found.file),
                        file: found.file,
                    });
                }
                self.plan(memory, files, &mut loaded)?
            }
            Err(error) => self.plan_blindly(memory, &error)?,
        };
        plan.rejected.sort_by(|a, b| a.file.cmp(&b.file));
        self.registry.folder.publish(plan);
        Ok(())
    }

    /// The store and workshop for components that take over, and the only file to consider. `None`:
    /// the check writes nothing.
    fn keeper(&self) -> Option<(&'a Store, Loader<'a>, Option<&'a str>)> {
        match self.depth {
            CheckDepth::Ask(loader, only) => match loader.access {
                Access::Full(store, _) => Some((store, loader, only)),
                Access::ReadOnly(..) | Access::Compiled(_) => None,
            },
            CheckDepth::Notice => None,
        }
    }

    /// Removing a file removes its processor. The rows remain.
    fn forget_gone(
        &self,
        memory: &mut ExaminedFiles,
        found: &[FolderEntry],
    ) -> Result<(), StoreError> {
        let (Some((store, _, None)), Some(last_good)) = (self.keeper(), &mut memory.last_good)
        else {
            return Ok(());
        };
        let is_gone = |file: &String| !found.iter().any(|found| found.file == *file);
        let gone: Vec<String> = last_good
            .keys()
            .filter(|file| is_gone(file))
            .cloned()
            .collect();
        for file in gone {
            store.remove_component_file(file.clone(), self.now)?;
            last_good.remove(&file);
        }
        Ok(())
    }

    /// The last working component of a file, if it is still stored.
    fn last_good(&self, memory: &ExaminedFiles, file: &str) -> Option<LoadedComponent> {
        let component = memory.last_good(file)?;
        component_store::has_component(self.config, &component.digest).then(|| component.clone())
    }

    /// The plan if the folder can't be listed: all processors stay in use.
    fn plan_blindly(
        &self,
        memory: &ExaminedFiles,
        error: &io::Error,
    ) -> Result<FolderPlan, StoreError> {
        let reason =
            format!("cannot read the folder of processors: {error}; check its permissions");
        let known = memory.last_good.iter().flatten();
        let files: Vec<ComponentFile> = known
            .map(|(file, _)| ComponentFile {
                file: file.clone(),
                content: FileContent::Unusable(reason.clone()),
                last_good: self.last_good(memory, file),
            })
            .collect();
        let mut plan = self.decide(&files)?;
        if plan.rejected.is_empty() {
            plan.rejected.push(RejectedFile {
                file: "processors".to_owned(),
                reason,
                active_component: None,
            });
        }
        Ok(plan)
    }
}
