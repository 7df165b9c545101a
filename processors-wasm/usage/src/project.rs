//! Determines the project of a session: the directory in which it began.
//!
//! A worktree belongs to its repository. The name of a drive is not case-sensitive.

use session_pipeline_processor::json::Json;

use crate::strings::{Span, Strings};

/// Folders of worktrees. The project is the path before them, if a name follows.
const WORKTREES: &[&str] = &[
    "/.claude/worktrees",
    "/.git/worktrees",
    "/.worktrees",
    ".worktrees",
    "-worktrees",
];

/// More worktrees than a session enters.
const WORKTREES_MAX: usize = 100;

/// The worktrees that a session entered.
#[derive(Default)]
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

/// The project that a directory belongs to, by its path alone.
fn project_of(directory: &str) -> String {
    let mut directory = without_end(directory).to_owned();
    let mut start = directory.chars();
    if let (Some(drive @ 'a'..='z'), Some(':')) = (start.next(), start.next()) {
        let drive = drive.to_ascii_uppercase().to_string();
        directory.replace_range(..1, &drive);
    }
    let end = repository_end(&directory).unwrap_or(directory.len());
    directory.truncate(end);
    directory
}

/// The path without separators at the end, but not empty.
fn without_end(path: &str) -> &str {
    let trimmed = path.trim_end_matches(['/', '\\']);
    let first = path.chars().next().map_or(0, char::len_utf8);
    &path[..trimmed.len().max(first)]
}

/// The end of the repository in the path of a worktree.
fn repository_end(path: &str) -> Option<usize> {
    let slashes = path.replace('\\', "/");
    let is_worktree = |at: &usize| {
        let rest = &slashes[*at..];
        WORKTREES.iter().any(|folder| {
            let behind = rest.strip_prefix(folder);
            behind.is_some_and(|behind| behind.starts_with('/'))
        })
    };
    let starts = slashes.char_indices().skip(1).map(|(at, _)| at);
    starts.into_iter().find(is_worktree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worktree_belongs_to_its_repository() {
        for (directory, expected) in [
            ("/w/shop", "/w/shop"),
            ("/w/shop/", "/w/shop"),
            ("/", "/"),
            ("///", "/"),
            ("", ""),
            (r"c:\w\shop\", r"C:\w\shop"),
            ("d:/w/shop", "D:/w/shop"),
            ("/w/shop/.claude/worktrees/fix-1", "/w/shop"),
            ("/w/shop/.claude/worktrees/fix-1/web", "/w/shop"),
            (r"c:\w\shop\.claude\worktrees\fix-1", r"C:\w\shop"),
            ("/w/shop/.git/worktrees/fix-1", "/w/shop"),
            ("/w/shop/.worktrees/fix-1", "/w/shop"),
            ("/w/shop.worktrees/fix-1", "/w/shop"),
            ("/w/shop-worktrees/fix-1", "/w/shop"),
            ("/w/shop-worktrees", "/w/shop-worktrees"),
            ("/w/shop/.claude/worktrees/", "/w/shop/.claude/worktrees"),
            (
                "/w/shop/.claude/worktrees-of-mine/a",
                "/w/shop/.claude/worktrees-of-mine/a",
            ),
            ("/.worktrees/a", "/"),
            ("é/.worktrees/a", "é"),
        ] {
            assert_eq!(project_of(directory), expected, "{directory}");
        }
    }

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
