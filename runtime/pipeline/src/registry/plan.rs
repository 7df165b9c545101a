//! Which files of the folder of processors run, which are refused, and what goes on instead: a pure
//! plan over what is known of each file.
//!
//! A file is never named after what it holds: only the component says what processor it is. So a
//! broken file stands for the processor that it held last.

use std::collections::BTreeMap;
use std::fmt;

use session_pipeline_store::Component;

/// What a file holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// A component that can be used.
    Component(Component),
    /// Something else; with the reason.
    Unusable(String),
    /// Nobody has looked yet.
    Unexamined,
}

/// One file, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownFile {
    /// Its name.
    pub file: String,
    /// What it holds now.
    pub holds: Holds,
    /// What it held when it last could be used.
    pub last_good: Option<Component>,
}

/// The rules of the house.
pub struct Rules<'a> {
    /// Whether a name belongs to the program.
    pub is_taken: &'a dyn Fn(&str) -> bool,
    /// The highest version of a processor that ran here.
    pub highest_version: &'a dyn Fn(&str) -> Option<u32>,
    /// Whether the operator lets a processor go back to a lower version.
    pub may_go_back: &'a dyn Fn(&str) -> bool,
}

/// A processor that a file stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The file.
    pub file: String,
    /// The component.
    pub component: Component,
    /// Whether the file holds it no more, and it goes on as the last good one.
    pub is_instead: bool,
}

/// A file that does not run as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The file, fit for a terminal.
    pub file: String,
    /// Why.
    pub reason: String,
    /// The component that goes on instead.
    pub instead: Option<Component>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is refused: {}", self.file, self.reason)?;
        match &self.instead {
            Some(Component { name, version, .. }) => {
                write!(
                    f,
                    "; version {version} of `{name}`, which it held before, goes on"
                )
            }
            None => Ok(()),
        }
    }
}

/// What comes of the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The processors, by name.
    pub running: BTreeMap<String, Running>,
    /// The files that are refused, in the order of their names.
    pub refused: Vec<Refused>,
    /// The files that nobody has looked at yet, in the order of their names.
    pub unexamined: Vec<String>,
}

impl Plan {
    /// Decides. The files come in the order of their names, and of two that say the same name the
    /// first one has it.
    pub fn of(files: &[KnownFile], rules: &Rules<'_>) -> Self {
        let mut plan = Self::default();
        let mut left_over = Vec::new();
        for known in files {
            let refusal = match &known.holds {
                Holds::Component(component) => match plan.objection(component, known, rules) {
                    None => {
                        let running = Running {
                            file: known.file.clone(),
                            component: component.clone(),
                            is_instead: false,
                        };
                        plan.running.insert(component.name.clone(), running);
                        continue;
                    }
                    Some(reason) => Some(reason),
                },
                Holds::Unusable(reason) => Some(reason.clone()),
                Holds::Unexamined => None,
            };
            left_over.push((known, refusal));
        }
        // Only now, since a good file goes before the memory of another one.
        for (known, refusal) in left_over {
            let instead = plan.keep_last_good(known, rules);
            match refusal {
                Some(reason) => plan.refused.push(Refused {
                    file: session_pipeline_host::fault::printable(&known.file),
                    reason,
                    instead,
                }),
                None => plan.unexamined.push(known.file.clone()),
            }
        }
        plan
    }

    /// Why a component may not run that can.
    fn objection(
        &self,
        component: &Component,
        known: &KnownFile,
        rules: &Rules<'_>,
    ) -> Option<String> {
        let Component { name, version, .. } = component;
        if (rules.is_taken)(name) {
            return Some(format!(
                "it calls itself `{name}`, which is a processor of the program; give it another name"
            ));
        }
        if let Some(first) = self.running.get(name) {
            return Some(format!(
                "it calls itself `{name}`, as `{}` does, which comes first; take one of the two away",
                session_pipeline_host::fault::printable(&first.file)
            ));
        }
        // What runs already was asked for when it began to.
        let is_at_work = |last_good: &Component| last_good.digest == component.digest;
        if known.last_good.as_ref().is_some_and(is_at_work) || (rules.may_go_back)(name) {
            return None;
        }
        let highest = (rules.highest_version)(name).filter(|highest| highest > version)?;
        Some(lower_version(name, *version, highest))
    }

    fn keep_last_good(&mut self, known: &KnownFile, rules: &Rules<'_>) -> Option<Component> {
        let component = known.last_good.clone()?;
        if self.running.contains_key(&component.name) || (rules.is_taken)(&component.name) {
            return None;
        }
        let running = Running {
            file: known.file.clone(),
            component: component.clone(),
            is_instead: true,
        };
        self.running.insert(component.name.clone(), running);
        Some(component)
    }
}

/// What to say of a component that is older than one that ran here.
pub(super) fn lower_version(name: &str, version: u32, highest: u32) -> String {
    format!(
        "its version {version} is lower than {highest}, which ran here before; use the newer component, \
         or set `allow_lower_version = true` in `[processors.{name}]`"
    )
}
