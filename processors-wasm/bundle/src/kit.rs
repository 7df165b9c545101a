//! What an author starts with: a project that builds and tests, out of the program alone.
//!
//! The files are those of `templates`, the SDK and the contract, put together by the build
//! script. This room says which of them make a project; whoever writes them checks the name.

use std::fmt;

/// All files by where they come from: `rust/…`, `js/…`, `python/…`, `sdk/…`, `wit/…`.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/kit.rs"));

/// What a processor can be written in, of what there is a template for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust, with the SDK.
    Rust,
    /// JavaScript, with componentize-js.
    JavaScript,
    /// Python, with componentize-py.
    Python,
}

/// One file of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectFile {
    /// Its path in the project, with `/`.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// What makes a component of a project: run in its folder, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Comes first, once; most need nothing.
    pub prepare: Option<&'static str>,
    /// Builds the component.
    pub build: &'static str,
    /// Runs the tests.
    pub test: &'static str,
    /// Where the component is then.
    pub component: String,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rust, Self::JavaScript, Self::Python];

    fn folder(self) -> &'static str {
        match self {
            Self::Rust => "rust/",
            Self::JavaScript => "js/",
            Self::Python => "python/",
        }
    }

    /// The files of a project for a processor of that name.
    pub fn project(self, name: &str) -> Vec<ProjectFile> {
        let filled = |text: &str| {
            text.replace("{{name}}", name)
                .replace("{{crate}}", &crate_name(name))
        };
        let of = |(path, text): &(&str, &str)| {
            let is_shared =
                path.starts_with("wit/") || (self == Self::Rust && path.starts_with("sdk/"));
            let (path, text) = match path.strip_prefix(self.folder()) {
                Some(own) => (own, filled(text)),
                None if is_shared => (*path, (*text).to_owned()),
                None => return None,
            };
            Some(ProjectFile {
                path: path.to_owned(),
                text,
            })
        };
        FILES.iter().filter_map(of).collect()
    }

    /// What makes a component of such a project.
    pub fn steps(self, name: &str) -> Steps {
        let (prepare, build, test) = match self {
            Self::Rust => (
                None,
                "cargo build --release --target wasm32-wasip2",
                "cargo test",
            ),
            Self::JavaScript => (Some("npm install"), "npm run build", "npm test"),
            Self::Python => (None, "python3 build.py", "python3 -m unittest"),
        };
        let component = match self {
            Self::Rust => format!("target/wasm32-wasip2/release/{}.wasm", crate_name(name)),
            Self::JavaScript | Self::Python => format!("dist/{name}.wasm"),
        };
        Steps {
            prepare,
            build,
            test,
            component,
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Rust => "Rust",
            Self::JavaScript => "JavaScript",
            Self::Python => "Python",
        })
    }
}

/// The name as cargo writes it where hyphens may not stand.
fn crate_name(name: &str) -> String {
    name.replace('-', "_")
}
