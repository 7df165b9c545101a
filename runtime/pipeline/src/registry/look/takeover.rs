//! Lets components take over: decides, stores and records.

use std::collections::HashMap;

use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_store::{Store, StoreError};

use crate::registry::loader::LoadedProcessor;
use crate::registry::look::examine::{ExaminationFailure, guess};
use crate::registry::look::{DescribedComponent, ExaminedFiles, FolderCheck};
use crate::registry::plan::{ComponentFile, FileContent, FolderPlan, PlanRules};
use crate::registry::record;

impl FolderCheck<'_> {
    /// Decides, and lets valid components take over. If a component turns out not to fit its
    /// tables, it is rejected and the decision is repeated without it.
    pub(super) fn plan(
        &self,
        memory: &mut ExaminedFiles,
        mut files: Vec<ComponentFile>,
        loaded: &mut HashMap<String, LoadedProcessor>,
    ) -> Result<FolderPlan, StoreError> {
        loop {
            let plan = self.decide(&files)?;
            let Some((file, holds)) = self.take_over(memory, &plan, loaded)? else {
                return Ok(plan);
            };
            let refused = files.iter_mut().find(|known| known.file == file);
            match refused {
                Some(known) => known.content = holds,
                None => return Ok(plan),
            }
        }
    }

    pub(super) fn decide(&self, files: &[ComponentFile]) -> Result<FolderPlan, StoreError> {
        let mut highest = HashMap::new();
        for known in files {
            if let (FileContent::Component(component), Some(store)) = (&known.content, self.store)
                && !highest.contains_key(&component.name)
            {
                let versions = store.component_versions(&component.name)?;
                highest.insert(component.name.clone(), versions.into_values().max());
            }
        }
        Ok(FolderPlan::decide(
            files,
            &PlanRules {
                is_taken: &|name| self.registry.is_taken(name),
                highest_version: &|name| highest.get(name).copied().flatten(),
                allows_lower_version: &|name| self.config.allows_lower_version(name),
            },
        ))
    }

    /// Stores components that take over and records their files. Returns the first file that can't
    /// take over, with its new state.
    fn take_over(
        &self,
        memory: &mut ExaminedFiles,
        plan: &FolderPlan,
        loaded: &mut HashMap<String, LoadedProcessor>,
    ) -> Result<Option<(String, FileContent)>, StoreError> {
        let Some((store, loader, only)) = self.keeper() else {
            return Ok(None);
        };
        for running in plan
            .running
            .values()
            .filter(|running| !running.is_last_good)
        {
            let (file, component) = (running.file.as_str(), &running.component);
            if only.is_some_and(|only| only != file) {
                continue;
            }
            let runs_already = memory.last_good(file) == Some(component);
            if runs_already && !memory.described.contains_key(&component.digest) {
                // It became unusable. Its runs report the error.
                continue;
            }
            let is_stored = |described: &DescribedComponent| described.is_stored;
            if !memory
                .described
                .get(&component.digest)
                .is_some_and(is_stored)
            {
                let new = match loaded.remove(&component.digest) {
                    Some(new) => Ok(new),
                    // An earlier check described it without storing it.
                    None => self.ask(&loader, memory, file, &component.digest, None)?,
                };
                let stored = match new {
                    Ok(new) => self.keep(store, &new)?,
                    Err(objection) => Err(objection),
                };
                match stored {
                    Ok(()) => {}
                    Err(ExaminationFailure::Changing) => {
                        return Ok(Some((file.to_owned(), FileContent::Unexamined)));
                    }
                    Err(ExaminationFailure::Fault(fault)) => {
                        let (digest, guess) = (component.digest.clone(), guess(memory, file));
                        let holds = memory.reject(file, digest, guess, &fault);
                        return Ok(Some((file.to_owned(), holds)));
                    }
                }
                if let Some(described) = memory.described.get_mut(&component.digest) {
                    described.is_stored = true;
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

    /// Creates the tables of a component and stores it.
    fn keep(
        &self,
        store: &Store,
        loaded: &LoadedProcessor,
    ) -> Result<Result<(), ExaminationFailure>, StoreError> {
        match store.register_tables(loaded.processor.manifest()) {
            Ok(()) => {}
            Err(error @ StoreError::TableShape { .. }) => {
                let fault = Fault::new(FaultKind::Component, error.to_string());
                return Ok(Err(fault.into()));
            }
            Err(error) => return Err(error),
        }
        if let Err(fault) = loaded.keep(self.config) {
            return Ok(Err(fault.into()));
        }
        record(loaded, store, self.now)?;
        Ok(Ok(()))
    }
}

/// Logs changes. Health and listings report rejected files.
pub(super) fn log_changes(before: &FolderPlan, after: &FolderPlan) {
    for (name, running) in &after.running {
        if before.running.get(name) != Some(running) && !running.is_last_good {
            let (file, version) = (&running.file, running.component.version);
            tracing::info!(processor = name, file, version, "component took over");
        }
    }
    for name in before.running.keys() {
        if !after.running.contains_key(name) {
            tracing::info!(processor = name, "component file was removed");
        }
    }
    for refused in &after.rejected {
        if !before.rejected.contains(refused) {
            let instead = refused.active_component.as_ref();
            let instead =
                instead.map(|component| format!("{} {}", component.name, component.version));
            tracing::info!(
                file = refused.file,
                reason = refused.reason,
                instead,
                "component file was rejected"
            );
        }
    }
}
