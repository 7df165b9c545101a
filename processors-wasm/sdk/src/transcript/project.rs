//! The project that a directory belongs to.
//!
//! A worktree belongs to its repository. The name of a drive is not case-sensitive.

/// Folders of worktrees. The project is the path before them, if a name follows.
const WORKTREES: &[&str] = &[
    "/.claude/worktrees",
    "/.git/worktrees",
    "/.worktrees",
    ".worktrees",
    "-worktrees",
];

/// The project of a directory, by its path alone: the repository for a worktree, without separators
/// at the end, and with the drive in upper case.
///
/// ```
/// use session_pipeline_processor::transcript::project::project_of;
///
/// assert_eq!(project_of("/w/shop/.claude/worktrees/fix-1"), "/w/shop");
/// ```
pub fn project_of(directory: &str) -> String {
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
pub fn without_end(path: &str) -> &str {
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
}
