//! Determines the project of a session: the directory in which it began, or the repository of its
//! worktree.

use serde::{Deserialize, Serialize};
use session_pipeline_processor::json::Json;
use session_pipeline_processor::transcript::project::{project_of, without_end};

use crate::strings::{Span, Strings};

/// More worktrees than a session enters.
const WORKTREES_MAX: usize = 100;

/// The worktrees that a session entered.
#[derive(Default, Serialize, Deserialize)]
pub struct Worktrees {
    /// The worktree, and the directory from which the session entered it.
    entered: Vec<(Span, Span)>,
}

impl Worktrees {
    /// Adds the value of `worktreeSession`.
    pub fn add(&mut self, strings: &mut Strings, worktree: Json<'_>) {
        let mut text = |field: &str| strings.intern_text(worktree.field(field)?.text());
        let (Some(path), Some(original)) = (text("worktreePath"), text("originalCwd")) else {
            return;
        };
        let worktree = (path, original);
        if self.entered.len() < WORKTREES_MAX && !self.entered.contains(&worktree) {
            self.entered.push(worktree);
        }
    }

    /// The project of a session that began in this directory.
    pub fn project(&self, strings: &Strings, directory: &str) -> String {
        let is_in = |path: &str| {
            let rest = directory.strip_prefix(without_end(path));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '\\']))
        };
        let mut entered = self.entered.iter();
        let original = entered.find(|(path, _)| is_in(strings.get(*path)));
        project_of(original.map_or(directory, |(_, original)| strings.get(*original)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_says_which_directory_a_worktree_belongs_to() {
        let mut strings = Strings::default();
        let mut worktrees = Worktrees::default();
        for worktree in [
            r#"{"worktreePath":"/tmp/wt/fix/","originalCwd":"/w/shop"}"#,
            r#"{"worktreePath":"/tmp/other"}"#,
            "null",
            "7",
        ] {
            worktrees.add(&mut strings, Json::parse(worktree).unwrap());
        }
        for (directory, expected) in [
            ("/tmp/wt/fix", "/w/shop"),
            ("/tmp/wt/fix/web", "/w/shop"),
            ("/tmp/wt/fixture", "/tmp/wt/fixture"),
            ("/tmp/other", "/tmp/other"),
            ("/w/shop/web", "/w/shop/web"),
        ] {
            assert_eq!(worktrees.project(&strings, directory), expected);
        }
    }
}
