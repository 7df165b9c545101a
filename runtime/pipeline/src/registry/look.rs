//! A look at the folder of processors: what changed is read, compiled, asked what it is, and takes
//! over where nothing speaks against it.
//!
//! Only one look is at work at a time, and it may take as long as a compiler does. Whoever asks for
//! names meanwhile gets the [`Plan`] of the look before.
//!
//! A file takes over only when it was the same before it was read and after it had described
//! itself: one that is still being copied is not, or can't be compiled, and the component before it
//! goes on. It is looked at again as soon as the file system says that it changed.
//!
//! `ask` is how a file comes to say what it holds, `takeover` how what it holds begins to run.

mod ask;
mod takeover;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::sandbox::Engines;
use session_pipeline_store::Component;
use session_pipeline_store::{Store, StoreError};

use crate::config::Config;
use crate::registry::Registry;
use crate::registry::folder::{self, Found, Stamp};
use crate::registry::kept;
use crate::registry::make::{Compiling, Workshop};
use crate::registry::plan::{Holds, KnownFile, Plan, Refused, Running};

/// The folder as this process knows it.
#[derive(Debug, Default)]
pub(super) struct Folder {
    memory: Mutex<Memory>,
    plan: RwLock<Arc<Plan>>,
}

/// What looks before have learnt.
#[derive(Debug, Default)]
struct Memory {
    /// What the files held, by name.
    files: BTreeMap<String, Seen>,
    /// The components that were asked, by digest.
    asked: HashMap<String, Asked>,
    /// What can't be used, by digest and whose limits and settings held, with the reasons.
    unusable: HashMap<(String, String), String>,
    /// The last good component of each file, once the database was asked.
    last_good: Option<BTreeMap<String, Component>>,
}

/// A file as it was when it was last read.
#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    /// Whether the stamp can be trusted to change with the file.
    is_quiet: bool,
    contents: Contents,
    /// Why the last attempt to use it failed that may go better the next time.
    trouble: Option<String>,
}

#[derive(Clone, Debug)]
enum Contents {
    /// Bytes of this digest.
    Digest(String),
    /// It was not read, for this reason.
    Refused(String),
}

/// A component that described itself.
#[derive(Debug)]
struct Asked {
    component: Component,
    /// Whether it is kept in the data dir, known to the database, and its tables are there.
    is_kept: bool,
}

/// How far a look goes.
#[derive(Clone, Copy)]
enum Depth<'a> {
    /// Nothing is compiled, made or written.
    Notice,
    /// All files, or one, are asked what they are; what takes over is kept unless the workshop
    /// works aside.
    Ask(Workshop<'a>, Option<&'a str>),
}

/// One look.
#[derive(Clone, Copy)]
struct Look<'a> {
    registry: &'a Registry,
    config: &'a Config,
    store: Option<&'a Store>,
    now: UtcMicros,
    depth: Depth<'a>,
}

impl Folder {
    pub(super) fn plan(&self) -> Arc<Plan> {
        let plan = self.plan.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&plan)
    }

    /// Begins a look; `None` where another one is at work and nobody is to wait for it.
    fn enter(&self, waits: bool) -> Option<MutexGuard<'_, Memory>> {
        if waits {
            return Some(self.memory.lock().unwrap_or_else(PoisonError::into_inner));
        }
        match self.memory.try_lock() {
            Ok(memory) => Some(memory),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn publish(&self, plan: Plan) {
        let plan = Arc::new(plan);
        let before = {
            let mut current = self.plan.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::clone(&plan))
        };
        takeover::tell(&before, &plan);
    }
}

impl Registry {
    /// Looks at the folder without compiling or writing anything: new files are not known by name
    /// yet. Where another look is at work, its results will do.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn notice(
        &self,
        config: &Config,
        store: Option<&Store>,
        now: UtcMicros,
    ) -> Result<(), StoreError> {
        let Some(mut memory) = self.folder.enter(false) else {
            return Ok(());
        };
        let look = Look {
            registry: self,
            config,
            store,
            now,
            depth: Depth::Notice,
        };
        look.go(&mut memory)
    }

    /// Looks at the folder, compiles what is new, keeps it, and lets it take over. May take as long
    /// as the compiler's limits allow for every new file; `waits` says whether to wait for a look
    /// that is at work already.
    ///
    /// # Errors
    /// When the database refuses. A file that can't be used is no error.
    pub fn look(
        &self,
        config: &Config,
        engines: &Engines,
        store: &Store,
        now: UtcMicros,
        waits: bool,
    ) -> Result<(), StoreError> {
        let Some(mut memory) = self.folder.enter(waits) else {
            return Ok(());
        };
        let workshop = Workshop {
            config,
            engines,
            compiling: Compiling::Beside,
        };
        let look = Look {
            registry: self,
            config,
            store: Some(store),
            now,
            depth: Depth::Ask(workshop, None),
        };
        look.go(&mut memory)
    }

    /// As [`Registry::look`], but nothing is kept: new files are compiled in `scratch`.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn look_aside(
        &self,
        config: &Config,
        engines: &Engines,
        store: Option<&Store>,
        scratch: &Path,
        now: UtcMicros,
    ) -> Result<(), StoreError> {
        let Some(mut memory) = self.folder.enter(false) else {
            return Ok(());
        };
        let workshop = Workshop {
            config,
            engines,
            compiling: Compiling::In(scratch),
        };
        let look = Look {
            registry: self,
            config,
            store,
            now,
            depth: Depth::Ask(workshop, None),
        };
        look.go(&mut memory)
    }

    /// Looks at the folder before a run of this processor, and asks no more files than it takes to
    /// find it: the run of one must not wait for the compiler of another.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn look_for(
        &self,
        name: &str,
        config: &Config,
        engines: &Engines,
        store: &Store,
        now: UtcMicros,
    ) -> Result<(), StoreError> {
        if self.is_taken(name) {
            return Ok(());
        }
        // What runs already can run once more as it is.
        let is_known = self.plan().running.contains_key(name);
        let Some(mut memory) = self.folder.enter(!is_known) else {
            return Ok(());
        };
        let look = Look {
            registry: self,
            config,
            store: Some(store),
            now,
            depth: Depth::Notice,
        };
        look.go(&mut memory)?;
        let plan = self.plan();
        let only = match plan.running.get(name) {
            Some(running) if memory.is_settled(&plan, running) => return Ok(()),
            Some(running) => Some(running.file.as_str()),
            None if plan.unexamined.is_empty() => return Ok(()),
            None => None,
        };
        let workshop = Workshop {
            config,
            engines,
            compiling: Compiling::Beside,
        };
        let look = Look {
            depth: Depth::Ask(workshop, only),
            ..look
        };
        look.go(&mut memory)
    }
}

impl Memory {
    fn last_good(&self, file: &str) -> Option<&Component> {
        self.last_good.as_ref()?.get(file)
    }

    /// Whether nothing is to be learnt or recorded of the file behind a processor.
    fn is_settled(&self, plan: &Plan, running: &Running) -> bool {
        !plan.unexamined.contains(&running.file)
            && self.last_good(&running.file) == Some(&running.component)
    }

    /// Forgets what no file holds any more.
    fn tidy(&mut self) {
        let digests: HashSet<&str> = self
            .files
            .values()
            .filter_map(|seen| match &seen.contents {
                Contents::Digest(digest) => Some(digest.as_str()),
                Contents::Refused(_) => None,
            })
            .collect();
        self.asked
            .retain(|digest, _| digests.contains(digest.as_str()));
        self.unusable
            .retain(|(digest, _), _| digests.contains(digest.as_str()));
    }
}

impl<'a> Look<'a> {
    fn go(&self, memory: &mut Memory) -> Result<(), StoreError> {
        if let (None, Some(store)) = (&memory.last_good, self.store) {
            memory.last_good = Some(store.component_files()?);
        }
        let mut made = HashMap::new();
        let mut plan = match folder::list(&self.config.processors_dir()) {
            Ok(found) => {
                memory
                    .files
                    .retain(|file, _| found.iter().any(|found| found.file == *file));
                memory.tidy();
                self.forget_gone(memory, &found)?;
                let mut files = Vec::new();
                for found in found {
                    files.push(KnownFile {
                        holds: self.holds(memory, &found, &mut made)?,
                        last_good: self.last_good(memory, &found.file),
                        file: found.file,
                    });
                }
                self.plan(memory, files, &mut made)?
            }
            Err(error) => self.plan_blindly(memory, &error)?,
        };
        plan.refused.sort_by(|a, b| a.file.cmp(&b.file));
        self.registry.folder.publish(plan);
        Ok(())
    }

    /// Where what takes over is kept, and of which files; `None`: this look writes nothing.
    fn keeper(&self) -> Option<(&'a Store, Workshop<'a>, Option<&'a str>)> {
        match (self.depth, self.store) {
            (Depth::Ask(workshop, only), Some(store))
                if matches!(workshop.compiling, Compiling::Beside) =>
            {
                Some((store, workshop, only))
            }
            _ => None,
        }
    }

    /// Whoever takes a file away takes its processor away; its rows stay.
    fn forget_gone(&self, memory: &mut Memory, found: &[Found]) -> Result<(), StoreError> {
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
            store.forget_component_file(file.clone(), self.now)?;
            last_good.remove(&file);
        }
        Ok(())
    }

    /// The last good component of a file, as long as it is kept.
    fn last_good(&self, memory: &Memory, file: &str) -> Option<Component> {
        let component = memory.last_good(file)?;
        kept::has_component(self.config, &component.digest).then(|| component.clone())
    }

    /// Where the folder can't be listed, nothing was taken away: what ran goes on.
    fn plan_blindly(&self, memory: &Memory, error: &io::Error) -> Result<Plan, StoreError> {
        let reason =
            format!("the folder of processors can't be read ({error}); check its permissions");
        let known = memory.last_good.iter().flatten();
        let files: Vec<KnownFile> = known
            .map(|(file, _)| KnownFile {
                file: file.clone(),
                holds: Holds::Unusable(reason.clone()),
                last_good: self.last_good(memory, file),
            })
            .collect();
        let mut plan = self.decide(&files)?;
        if plan.refused.is_empty() {
            plan.refused.push(Refused {
                file: "processors".to_owned(),
                reason,
                instead: None,
            });
        }
        Ok(plan)
    }
}
