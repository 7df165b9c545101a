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

impl Agent {
    const fn new(name: &'static str, folder: &'static str, variable: Option<&'static str>) -> Self {
        Self {
            name,
            folder,
            variable,
        }
    }
}

/// All known agents. A line is enough for a further one.
const AGENTS: [Agent; 9] = [
    Agent::new("claude", ".claude/projects", Some("CLAUDE_CONFIG_DIR")),
    Agent::new("codex", ".codex/sessions", Some("CODEX_HOME")),
    Agent::new(
        "codex-archived",
        ".codex/archived_sessions",
        Some("CODEX_HOME"),
    ),
    Agent::new("copilot", ".copilot/session-state", Some("COPILOT_HOME")),
    Agent::new("gemini", ".gemini/tmp", None),
    Agent::new("kimi", ".kimi/sessions", None),
    Agent::new("omp", ".omp/agent/sessions", None),
    Agent::new("pi", ".pi/agent/sessions", None),
    Agent::new("qwen", ".qwen/projects", None),
];

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
        let folder = |name: &str, roots: Vec<Root>| {
            let root = roots.into_iter().find(|root| root.name == name).unwrap();
            root.folder.display().to_string()
        };
        let claude = |roots| folder("claude", roots);
        assert_eq!(
            claude(default_roots(home, |_| None)),
            "/home/ada/.claude/projects"
        );
        assert_eq!(
            claude(default_roots(home, |_| Some("".into()))),
            "/home/ada/.claude/projects"
        );
        let moved = |name: &str| {
            let folders = [
                ("CLAUDE_CONFIG_DIR", "/srv/claude"),
                ("CODEX_HOME", "/srv/codex"),
            ];
            let folder = folders.into_iter().find(|(known, _)| *known == name);
            folder.map(|(_, folder)| folder.into())
        };
        assert_eq!(claude(default_roots(home, moved)), "/srv/claude/projects");
        let archived = folder("codex-archived", default_roots(home, moved));
        assert_eq!(archived, "/srv/codex/archived_sessions");
        let pi = folder("pi", default_roots(home, moved));
        assert_eq!(pi, "/home/ada/.pi/agent/sessions");
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
