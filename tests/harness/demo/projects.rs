//! The projects that the team works on, with the words, files, commands and rules of each.
//!
//! Texts have slots such as `{symbol}`, which [`Scene`](super::scene::Scene) fills.

mod billing;
mod data;
mod docs;
mod infra;
mod mobile;
mod shop;

/// The largest number of projects.
pub const PROJECTS_MAX: usize = PROJECTS.len();

/// All projects, in the order of the preferences of people.
pub(super) const PROJECTS: [&Project; 6] = [
    &billing::BILLING,
    &shop::SHOP,
    &data::DATA,
    &infra::INFRA,
    &mobile::MOBILE,
    &docs::DOCS,
];

/// A repository.
#[derive(Debug)]
pub(super) struct Project {
    /// The folder.
    pub(super) name: &'static str,
    /// `owner/name` on the host.
    pub(super) repository: &'static str,
    /// How many sessions it has.
    pub(super) weight: u64,
    /// The beginning of the ids of its tickets.
    pub(super) tickets: &'static str,
    /// The name of its language in fences of code.
    pub(super) language: &'static str,
    /// Parts of the product.
    pub(super) components: &'static [&'static str],
    /// Things that the product is about, in the singular.
    pub(super) entities: &'static [&'static str],
    /// Source files.
    pub(super) files: &'static [&'static str],
    /// Functions.
    pub(super) symbols: &'static [&'static str],
    /// What people ask for.
    pub(super) tasks: &'static [Task],
    /// Lines of its source files.
    pub(super) code: &'static [&'static str],
    /// Changes: lines before and after.
    pub(super) edits: &'static [(&'static str, &'static str)],
    /// The command for tests, its output, and the output of a failure.
    pub(super) test: Check,
    /// The command for the linter or the compiler.
    pub(super) lint: Check,
    /// Corrections, definitions and confirmations by its people.
    pub(super) rules: &'static [&'static str],
}

/// A task for the agent.
#[derive(Debug)]
pub(super) struct Task {
    /// The title that the agent gives the session.
    pub(super) title: &'static str,
    /// The first prompt.
    pub(super) prompt: &'static str,
    /// The beginning of the branch.
    pub(super) branch: &'static str,
}

/// A command that checks the code.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) command: &'static str,
    pub(super) passed: &'static str,
    pub(super) failed: &'static str,
}

/// A task, for the lists of the projects.
const fn task(title: &'static str, branch: &'static str, prompt: &'static str) -> Task {
    Task {
        title,
        prompt,
        branch,
    }
}
