//! The folders in which coding agents store their sessions.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// An agent whose sessions are sent by default.
#[derive(Debug)]
struct Agent {
    /// The name of the folder on the server.
    name: &'static str,
    /// The folder of the sessions, below the home directory.
    folder: &'static str,
    /// A variable that moves the first component of the folder.
    variable: Option<&'static str>,
}

/// All known agents. A line is enough for a further one.
const AGENTS: &[Agent] = &[Agent {
    name: "claude",
    folder: ".claude/projects",
    variable: Some("CLAUDE_CONFIG_DIR"),
}];

/// A folder with sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The name of the folder on the server.
    pub name: String,
    /// The local folder.
    pub folder: PathBuf,
}

/// The folders of all known agents. They need not exist.
pub fn default_roots(home: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Vec<Root> {
    let roots = AGENTS.iter().map(|agent| {
        let moved = agent
            .variable
            .and_then(&variable)
            .filter(|folder| !folder.is_empty());
        let folder = match (moved, agent.folder.split_once('/')) {
            (Some(moved), Some((_, rest))) => PathBuf::from(moved).join(rest),
            _ => home.join(agent.folder),
        };
        Root {
            name: agent.name.to_owned(),
            folder,
        }
    });
    roots.collect()
}

/// Parses `NAME=FOLDER`, or a folder whose last component is its name. The folder of an agent has
/// the name of the agent.
///
/// # Errors
/// The name is not valid for a folder on the server.
pub fn parse_root(text: &str) -> Result<Root, String> {
    let named = text
        .split_once('=')
        .filter(|(name, _)| !name.contains('/') && !name.is_empty());
    let (name, folder) = match named {
        Some((name, folder)) => (name.to_owned(), PathBuf::from(folder)),
        None => {
            let folder = PathBuf::from(text);
            let agent = AGENTS.iter().find(|agent| folder.ends_with(agent.folder));
            let last = folder.file_name().map(|name| name.to_string_lossy());
            let name = agent.map(|agent| agent.name.to_owned());
            let name = name.or_else(|| last.map(|last| last.into_owned()));
            (name.unwrap_or_default(), folder)
        }
    };
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_name =
        (1..=200).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_allowed);
    if !is_name || folder.as_os_str().is_empty() {
        return Err(format!(
            "`{}` has no valid name for the server; use `NAME=FOLDER` with a name of A-Z a-z 0-9 . _ - without a leading dot",
            text.escape_debug()
        ));
    }
    Ok(Root { name, folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_moves_the_folder_of_an_agent() {
        let home = Path::new("/home/ada");
        let root = |folder: &str| {
            vec![Root {
                name: "claude".to_owned(),
                folder: folder.into(),
            }]
        };
        assert_eq!(
            default_roots(home, |_| None),
            root("/home/ada/.claude/projects")
        );
        assert_eq!(
            default_roots(home, |_| Some("".into())),
            root("/home/ada/.claude/projects")
        );
        let moved = |name: &str| (name == "CLAUDE_CONFIG_DIR").then(|| "/srv/claude".into());
        assert_eq!(default_roots(home, moved), root("/srv/claude/projects"));
    }

    #[test]
    fn a_root_is_a_folder_with_a_name() {
        let parse = |text| parse_root(text).map(|root| (root.name, root.folder));
        let root = |name: &str, folder: &str| Ok((name.to_owned(), PathBuf::from(folder)));
        assert_eq!(parse("a=/srv/x"), root("a", "/srv/x"));
        assert_eq!(parse("/srv/codex"), root("codex", "/srv/codex"));
        assert_eq!(
            parse("/home/ada/.claude/projects/"),
            root("claude", "/home/ada/.claude/projects/")
        );
        assert_eq!(parse("/srv/a=b/c"), root("c", "/srv/a=b/c"));
        for bad in ["", "/", "=x", "a b=/srv", ".x=/srv", "a="] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
