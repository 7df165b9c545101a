//! Decides which files in the folder of processors run, which are rejected, and which earlier
//! components stay in use. A pure function of the state of each file.
//!
//! Only the component determines the name of a processor, not the name of the file. A broken file
//! therefore represents the processor that it last contained.

use std::collections::BTreeMap;
use std::fmt;

use session_pipeline_store::LoadedComponent;

/// The content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// A usable component.
    Component(LoadedComponent),
    /// Something else, with the reason.
    Unusable(String),
    /// Not examined yet.
    Unexamined,
}

/// A file and its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentFile {
    /// The file name.
    pub file: String,
    /// Its current content.
    pub content: FileContent,
    /// The last usable component in it.
    pub last_good: Option<LoadedComponent>,
}

/// Facts for the decision.
pub struct PlanRules<'a> {
    /// Whether the name belongs to a shipped processor.
    pub is_taken: &'a dyn Fn(&str) -> bool,
    /// The highest version of a processor that ran here.
    pub highest_version: &'a dyn Fn(&str) -> Option<u32>,
    /// Whether the operator permits a lower version.
    pub allows_lower_version: &'a dyn Fn(&str) -> bool,
}

/// A processor from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveProcessor {
    /// The file.
    pub file: String,
    /// The component.
    pub component: LoadedComponent,
    /// Whether it is the last working component, which the file no longer contains.
    pub is_last_good: bool,
}

/// A file that does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedFile {
    /// The file name, escaped for a terminal.
    pub file: String,
    /// The reason, with what to do.
    pub reason: String,
    /// The earlier component that stays in use.
    pub active_component: Option<LoadedComponent>,
}

impl fmt::Display for RejectedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` was rejected: {}", self.file, self.reason)?;
        match &self.active_component {
            Some(LoadedComponent { name, version, .. }) => {
                write!(f, "; version {version} of `{name}` stays in use")
            }
            None => Ok(()),
        }
    }
}

/// The decision about the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderPlan {
    /// The processors that run, by name.
    pub running: BTreeMap<String, ActiveProcessor>,
    /// The rejected files, sorted by name.
    pub rejected: Vec<RejectedFile>,
    /// The files that were not examined yet, sorted by name.
    pub unexamined: Vec<String>,
}

impl FolderPlan {
    /// Decides. The files must be sorted by name. Of two files with the same processor name, the
    /// first one runs.
    pub fn decide(files: &[ComponentFile], rules: &PlanRules<'_>) -> Self {
        let mut plan = Self::default();
        let mut left_over = Vec::new();
        for known in files {
            let refusal = match &known.content {
                FileContent::Component(component) => {
                    match plan.objection(component, known, rules) {
                        None => {
                            let running = ActiveProcessor {
                                file: known.file.clone(),
                                component: component.clone(),
                                is_last_good: false,
                            };
                            plan.running.insert(component.name.clone(), running);
                            continue;
                        }
                        Some(reason) => Some(reason),
                    }
                }
                FileContent::Unusable(reason) => Some(reason.clone()),
                FileContent::Unexamined => None,
            };
            left_over.push((known, refusal));
        }
        // A usable file takes precedence over the earlier component of another one.
        for (known, refusal) in left_over {
            let instead = plan.keep_last_good(known, rules);
            match refusal {
                Some(reason) => plan.rejected.push(RejectedFile {
                    file: session_pipeline_host::fault::printable(&known.file),
                    reason,
                    active_component: instead,
                }),
                None => plan.unexamined.push(known.file.clone()),
            }
        }
        plan
    }

    /// Why a usable component must not run, if there is a reason.
    fn objection(
        &self,
        component: &LoadedComponent,
        known: &ComponentFile,
        rules: &PlanRules<'_>,
    ) -> Option<String> {
        let LoadedComponent { name, version, .. } = component;
        if (rules.is_taken)(name) {
            return Some(format!(
                "its name `{name}` belongs to a processor of the program; rename the processor"
            ));
        }
        if let Some(first) = self.running.get(name) {
            return Some(format!(
                "its name `{name}` is also used by `{}`, which takes precedence; remove one of the two files",
                session_pipeline_host::fault::printable(&first.file)
            ));
        }
        // The version was checked when the component took over.
        let runs_already = |last_good: &LoadedComponent| last_good.digest == component.digest;
        if known.last_good.as_ref().is_some_and(runs_already) || (rules.allows_lower_version)(name)
        {
            return None;
        }
        let highest = (rules.highest_version)(name).filter(|highest| highest > version)?;
        Some(lower_version(name, *version, highest))
    }

    fn keep_last_good(
        &mut self,
        known: &ComponentFile,
        rules: &PlanRules<'_>,
    ) -> Option<LoadedComponent> {
        let component = known.last_good.clone()?;
        if self.running.contains_key(&component.name) || (rules.is_taken)(&component.name) {
            return None;
        }
        let running = ActiveProcessor {
            file: known.file.clone(),
            component: component.clone(),
            is_last_good: true,
        };
        self.running.insert(component.name.clone(), running);
        Some(component)
    }
}

/// The reason for rejecting a component older than one that ran here.
pub(super) fn lower_version(name: &str, version: u32, highest: u32) -> String {
    format!(
        "version {version} is lower than version {highest}, which ran here before; use the newer component, \
         or set `allow_lower_version = true` in `[processors.{name}]`"
    )
}
