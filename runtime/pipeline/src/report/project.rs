//! What a project is in reports, lists and filters.
//!
//! Sessions record the path of the repository or folder in which they began. People clone the same
//! repository to different paths, so a project is identified by its *name*: the last part of the
//! path. All paths with the same name are one row of a report. Two repositories can have the same
//! name, so reports also count the paths of a row, and can list paths instead of names.
//!
//! A filter selects a name, a whole path, or the last parts of a path. The name of a row therefore
//! always selects the sessions of that row.

use duckdb::types::Value;

const SEPARATORS: [char; 2] = ['/', '\\'];

/// The name of a project: the last part of its path, on any system.
pub fn project_name(path: &str) -> &str {
    let trimmed = path.trim_end_matches(SEPARATORS);
    match trimmed.rsplit(SEPARATORS).next() {
        None | Some("") => path,
        Some(name) => name,
    }
}

/// SQL for the path of the project of a row with the columns `project` and `cwd`: the repository that a
/// folder belongs to, derived from its path. Folders of worktrees
/// (`.claude/worktrees`, `.git/worktrees`, `.worktrees`, and next to the repository
/// `<repository>.worktrees` and `<repository>-worktrees`) belong to the repository. Drive letters
/// are case-insensitive.
///
/// Rows of current versions of `usage` contain the project.
pub(crate) const PATH: &str = r"coalesce(project, regexp_replace(
    regexp_replace(
        CASE WHEN regexp_matches(cwd, '^[a-z]:') THEN upper(left(cwd, 1)) || substr(cwd, 2) ELSE cwd END,
        '(.)[/\\]+$', '\1'
    ),
    '^(.+?)(?:[/\\]\.claude[/\\]worktrees|[/\\]\.git[/\\]worktrees|[/\\]\.worktrees|\.worktrees|-worktrees)[/\\].*$', '\1'
))";

/// SQL for [`project_name`] of a path.
pub(crate) fn name_of(path: &str) -> String {
    format!(
        r"coalesce(nullif(split_part(replace(rtrim({path}, '/\'), '\', '/'), '/', -1), ''), {path})"
    )
}

/// SQL for the columns that conditions need, over the columns `project` and `cwd`.
pub(crate) fn columns() -> String {
    format!("{PATH} AS project, {} AS project_name", name_of(PATH))
}

/// Which projects a filter selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProjectSelector {
    /// All paths with this name.
    Name(String),
    /// This whole path.
    Path(String),
    /// All paths that end with these parts.
    LastParts(String),
}

impl ProjectSelector {
    /// Parses the value of a filter. Separators at its end do not matter.
    pub(crate) fn parse(text: &str) -> Self {
        let trimmed = text.trim_end_matches(SEPARATORS);
        let text = if trimmed.is_empty() { text } else { trimmed };
        let has_drive = is_drive(text);
        if text.starts_with(SEPARATORS) || has_drive {
            let mut path = text.to_owned();
            // `usage` stores the letters of drives in upper case.
            if has_drive && let Some(letter) = path.get_mut(..1) {
                letter.make_ascii_uppercase();
            }
            Self::Path(path)
        } else if text.contains(SEPARATORS) {
            Self::LastParts(text.to_owned())
        } else {
            Self::Name(text.to_owned())
        }
    }

    /// Whether the project with this path is selected.
    pub(crate) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Name(name) => project_name(path) == name,
            Self::Path(wanted) => path == wanted,
            Self::LastParts(parts) => {
                path == parts
                    || path
                        .strip_suffix(parts.as_str())
                        .is_some_and(|before| before.ends_with(SEPARATORS))
            }
        }
    }

    /// SQL for whether the project of a row is selected, with its parameters. The row has the path
    /// in the column `project`, and its name in `project_name`.
    pub(crate) fn condition(&self) -> (&'static str, Vec<Value>) {
        let (sql, count, text) = match self {
            Self::Name(name) => ("project_name = ?", 1, name),
            Self::Path(path) => ("project = ?", 1, path),
            Self::LastParts(parts) => (
                r"(project = ? OR ends_with(project, '/' || ?) OR ends_with(project, '\' || ?))",
                3,
                parts,
            ),
        };
        (sql, vec![Value::Text(text.clone()); count])
    }
}

/// Whether a path begins with the letter of a drive.
fn is_drive(path: &str) -> bool {
    matches!(path.as_bytes(), [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic())
        || matches!(path.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_last_part_of_a_path_of_any_system() {
        for (path, name) in [
            ("/home/ada/app", "app"),
            ("/home/ada/app/", "app"),
            (r"C:\src\app", "app"),
            (r"C:\src\app\", "app"),
            ("C:", "C:"),
            ("app", "app"),
            ("/", "/"),
            ("//", "//"),
            ("", ""),
            ("/home/ada/näm e", "näm e"),
        ] {
            assert_eq!(project_name(path), name, "{path:?}");
        }
    }

    #[test]
    fn a_name_a_whole_path_and_last_parts_select_different_projects() {
        let app = "/home/ada/code/app";
        for (text, is_selected) in [
            ("app", true),
            ("app/", true),
            ("code/app", true),
            (app, true),
            ("/home/ada/code/app//", true),
            ("/code/app", false),
            ("/app", false),
            ("ode/app", false),
            ("pp", false),
            ("code", false),
            ("App", false),
            ("", false),
        ] {
            assert_eq!(
                ProjectSelector::parse(text).matches(app),
                is_selected,
                "{text:?}"
            );
        }
        let windows = r"C:\src\app";
        for text in ["app", r"src\app", r"c:\src\app", r"C:\src\app\"] {
            assert!(ProjectSelector::parse(text).matches(windows), "{text:?}");
        }
        assert!(ProjectSelector::parse("/").matches("/"));
    }
}
