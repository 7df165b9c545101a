//! How what a file holds begins to run: decided, kept, and written down.

use std::collections::HashMap;

use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_store::{Store, StoreError};

use crate::registry::look::ask::{Objection, guess};
use crate::registry::look::{Asked, Look, Memory};
use crate::registry::make::Made;
use crate::registry::plan::{Holds, KnownFile, Plan, Rules};
use crate::registry::record;

impl Look<'_> {
    /// Decides, and lets take over what may; what then turns out not to fit its tables is refused,
    /// and it is decided again without it.
    pub(super) fn plan(
        &self,
        memory: &mut Memory,
        mut files: Vec<KnownFile>,
        made: &mut HashMap<String, Made>,
    ) -> Result<Plan, StoreError> {
        loop {
            let plan = self.decide(&files)?;
            let Some((file, holds)) = self.take_over(memory, &plan, made)? else {
                return Ok(plan);
            };
            let refused = files.iter_mut().find(|known| known.file == file);
            match refused {
                Some(known) => known.holds = holds,
                None => return Ok(plan),
            }
        }
    }

    pub(super) fn decide(&self, files: &[KnownFile]) -> Result<Plan, StoreError> {
        let mut highest = HashMap::new();
        for known in files {
            if let (Holds::Component(component), Some(store)) = (&known.holds, self.store)
                && !highest.contains_key(&component.name)
            {
                let versions = store.component_versions(&component.name)?;
                highest.insert(component.name.clone(), versions.into_values().max());
            }
        }
        Ok(Plan::of(
            files,
            &Rules {
                is_taken: &|name| self.registry.is_taken(name),
                highest_version: &|name| highest.get(name).copied().flatten(),
                may_go_back: &|name| self.config.may_go_back(name),
            },
        ))
    }

    /// Keeps what begins to run, and writes down which file it came from. Gives a file that can't
    /// take over after all, with what it holds then.
    fn take_over(
        &self,
        memory: &mut Memory,
        plan: &Plan,
        made: &mut HashMap<String, Made>,
    ) -> Result<Option<(String, Holds)>, StoreError> {
        let Some((store, workshop, only)) = self.keeper() else {
            return Ok(None);
        };
        for running in plan.running.values().filter(|running| !running.is_instead) {
            let (file, component) = (running.file.as_str(), &running.component);
            if only.is_some_and(|only| only != file) {
                continue;
            }
            let runs_already = memory.last_good(file) == Some(component);
            if runs_already && !memory.asked.contains_key(&component.digest) {
                // It can't be used any more, and whoever runs it is told.
                continue;
            }
            let is_kept = |asked: &Asked| asked.is_kept;
            if !memory.asked.get(&component.digest).is_some_and(is_kept) {
                let new = match made.remove(&component.digest) {
                    Some(new) => Ok(new),
                    // An earlier look asked it, and kept nothing.
                    None => self.ask(&workshop, memory, file, &component.digest, None)?,
                };
                let kept = match new {
                    Ok(new) => self.keep(store, &new)?,
                    Err(objection) => Err(objection),
                };
                match kept {
                    Ok(()) => {}
                    Err(Objection::Changing) => {
                        return Ok(Some((file.to_owned(), Holds::Unexamined)));
                    }
                    Err(Objection::Fault(fault)) => {
                        let (digest, guess) = (component.digest.clone(), guess(memory, file));
                        let holds = memory.object(file, digest, guess, &fault);
                        return Ok(Some((file.to_owned(), holds)));
                    }
                }
                if let Some(asked) = memory.asked.get_mut(&component.digest) {
                    asked.is_kept = true;
                }
            }
            if memory.last_good(file) != Some(component) {
                let digest = component.digest.clone();
                store.record_component_file(file.to_owned(), digest, self.now)?;
                let last_good = memory.last_good.get_or_insert_default();
                last_good.insert(file.to_owned(), component.clone());
            }
        }
        Ok(None)
    }

    /// Keeps a component, and makes its tables.
    fn keep(&self, store: &Store, made: &Made) -> Result<Result<(), Objection>, StoreError> {
        match store.register_tables(made.processor.manifest()) {
            Ok(()) => {}
            Err(error @ StoreError::TableShape { .. }) => {
                let fault = Fault::new(FaultKind::Component, error.to_string());
                return Ok(Err(fault.into()));
            }
            Err(error) => return Err(error),
        }
        if let Err(fault) = made.keep(self.config) {
            return Ok(Err(fault.into()));
        }
        record(made, store, self.now)?;
        Ok(Ok(()))
    }
}

/// Logs what changed. What is refused is told by health and listings, to whoever asks there.
pub(super) fn tell(before: &Plan, after: &Plan) {
    for (name, running) in &after.running {
        if before.running.get(name) != Some(running) && !running.is_instead {
            let (file, version) = (&running.file, running.component.version);
            tracing::info!(processor = name, file, version, "a component takes over");
        }
    }
    for name in before.running.keys() {
        if !after.running.contains_key(name) {
            tracing::info!(processor = name, "its file was taken away");
        }
    }
    for refused in &after.refused {
        if !before.refused.contains(refused) {
            let instead = refused.instead.as_ref();
            let instead =
                instead.map(|component| format!("{} {}", component.name, component.version));
            tracing::info!(
                file = refused.file,
                reason = refused.reason,
                instead,
                "a file is refused"
            );
        }
    }
}
