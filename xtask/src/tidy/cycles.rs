//! Finds import cycles between the top-level modules of a crate.
//!
//! Cargo rejects cycles between crates, but not inside a crate. Modules in a cycle can only be
//! understood and moved together.
//!
//! This is a heuristic, not a compiler. It reads paths that begin with `crate::`, or that leave the
//! module with `super::`, and resolves the re-exports of the crate root. It ignores comments and
//! tests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::TextFiles;
use crate::check::Finding;

const CRATES: [&str; 7] = [
    "runtime/redaction/src/",
    "runtime/host/src/",
    "runtime/store/src/",
    "runtime/pipeline/src/",
    "api/src/",
    "api/push/src/",
    "tests/harness/",
];

/// From a module to the modules that it imports, each with the path of a file with such an import.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

pub(super) fn findings(texts: &TextFiles) -> Vec<Finding> {
    let of_crate = |folder: &str| {
        let cycles = cycles(&imports(folder, texts));
        cycles
            .into_iter()
            .map(|steps| finding(folder, &steps))
            .collect::<Vec<_>>()
    };
    CRATES.into_iter().flat_map(of_crate).collect()
}

/// Each step is a module and the file in which it imports the next one.
fn finding(folder: &str, steps: &[(String, String)]) -> Finding {
    let names: Vec<&str> = steps.iter().map(|(name, _)| name.as_str()).collect();
    let files: Vec<&str> = steps.iter().map(|(_, file)| file.as_str()).collect();
    Finding {
        place: folder.to_owned(),
        reason: format!(
            "modules import each other in a cycle: {} → {} (in {})",
            names.join(" → "),
            names.first().unwrap_or(&""),
            files.join(", ")
        ),
        help: "move what both sides need into a module that imports neither".to_owned(),
    }
}

fn imports(folder: &str, texts: &TextFiles) -> Imports {
    let files: Vec<(Vec<&str>, &str, String)> = texts
        .iter()
        .filter_map(|(path, text)| {
            let module = path.strip_prefix(folder)?.strip_suffix(".rs")?;
            let module: Vec<&str> = module.split('/').collect();
            let is_test = module.contains(&"tests");
            (!is_test).then(|| (module, path.as_str(), code(text)))
        })
        .collect();
    let is_root = |module: &[&str]| matches!(module, ["lib" | "main"]);
    let modules: BTreeSet<&str> = files.iter().map(|(module, _, _)| module[0]).collect();
    // Resolve the re-exports of the crate root to their modules.
    let mut exported = BTreeMap::new();
    for (_, _, code) in files.iter().filter(|(module, _, _)| is_root(module)) {
        for statement in code.split("pub use ").skip(1) {
            let tree = statement.split(';').next().unwrap_or_default();
            let tree = tree.strip_prefix("self::").unwrap_or(tree);
            let module = tree.split("::").next().unwrap_or_default().trim();
            for name in tree.split(|c: char| !is_name(c)).skip(1) {
                exported.insert(name.to_owned(), module.to_owned());
            }
        }
    }
    let mut imports = Imports::new();
    for (module, path, code) in files.iter().filter(|(module, _, _)| !is_root(module)) {
        let mut prefixes = vec!["crate::".to_owned()];
        prefixes.push("super::".repeat(module.len()));
        for name in prefixes
            .iter()
            .flat_map(|prefix| imported_names(code, prefix))
        {
            let target = exported.get(name).map_or(name, String::as_str);
            if target != module[0] && modules.contains(target) {
                let of_module = imports.entry(module[0].to_owned()).or_default();
                of_module
                    .entry(target.to_owned())
                    .or_insert_with(|| (*path).to_owned());
            }
        }
    }
    imports
}

/// The text without comments, up to the first test module.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| match line.find("//") {
        // Ignore the slashes of a URL.
        Some(at) if !line[..at].ends_with(':') => &line[..at],
        _ => line,
    });
    let code = lines.collect::<Vec<_>>().join("\n");
    let tests = code.match_indices("#[cfg(test)]").find(|(at, found)| {
        let next = code[at + found.len()..].trim_start();
        next.starts_with("mod ") && !next.lines().next().unwrap_or_default().ends_with(';')
    });
    match tests {
        Some((at, _)) => code[..at].to_owned(),
        None => code,
    }
}

/// The first name after each occurrence of `prefix`, or the first names of a group in braces.
fn imported_names<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let is_inside_path = code[..at].ends_with(|c| is_name(c) || c == ':');
        if is_inside_path {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.extend(name(rest));
            continue;
        };
        let mut depth = 1;
        let mut is_first = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => is_first = true,
                c if is_first && is_name(c) => {
                    names.extend(name(&group[at..]));
                    is_first = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

fn name(text: &str) -> Option<&str> {
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// For each module in a cycle, a shortest cycle through it. Modules of an earlier cycle are
/// skipped.
fn cycles(imports: &Imports) -> Vec<Vec<(String, String)>> {
    let mut cycles: Vec<Vec<(String, String)>> = Vec::new();
    for start in imports.keys() {
        let is_known = cycles.iter().flatten().any(|(name, _)| name == start);
        if !is_known {
            cycles.extend(cycle_through(imports, start));
        }
    }
    cycles
}

fn cycle_through(imports: &Imports, start: &str) -> Option<Vec<(String, String)>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(module) = queue.pop_front() {
        for target in imports.get(module).into_iter().flat_map(BTreeMap::keys) {
            if came_from.contains_key(target.as_str()) {
                continue;
            }
            came_from.insert(target, module);
            queue.push_back(target);
        }
    }
    let mut steps = Vec::new();
    let mut target = start;
    loop {
        let module = *came_from.get(target)?;
        steps.push((module.to_owned(), imports[module][target].clone()));
        if module == start {
            steps.reverse();
            return Some(steps);
        }
        target = module;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reasons of the findings in these files of a crate.
    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let texts = files.iter().map(|&(path, text)| {
            let path = format!("runtime/host/src/{path}");
            (path, text.to_owned())
        });
        let findings = findings(&texts.collect());
        findings.into_iter().map(|finding| finding.reason).collect()
    }

    #[test]
    fn imports_in_one_direction_are_allowed() {
        let files = [
            ("lib.rs", "pub mod a;\npub mod b;\n"),
            ("a.rs", "use crate::b::B;\n"),
            ("b.rs", "use std::fs;\nuse crate::b::inner::C;\n"),
            ("b/inner.rs", "use super::B;\nuse crate::b::D;\n"),
        ];
        assert_eq!(check(&files), [""; 0]);
    }

    #[test]
    fn a_cycle_is_found_with_its_files() {
        let files = [
            ("a.rs", "use crate::{\n    c, b::{self, B},\n};\n"),
            ("b/inner.rs", "fn f() { super::super::c::g(); }\n"),
            ("c.rs", "fn g() { crate::a::h(); }\n"),
        ];
        let found = check(&files);
        // One cycle per module: a and c are in the short one, and b is only in the longer one.
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("a → c → a (in runtime/host/src/a.rs, runtime/host/src/c.rs)"),
            "{found:?}"
        );
        assert!(found[1].contains("b → c → a → b"), "{found:?}");
    }

    #[test]
    fn a_reexport_of_the_root_belongs_to_its_module() {
        let files = [
            ("lib.rs", "pub use b::{B, C};\n"),
            ("a.rs", "use crate::B;\n"),
            ("b.rs", "use crate::a::A;\n"),
        ];
        assert_eq!(check(&files).len(), 1);
    }

    #[test]
    fn imports_in_comments_and_tests_are_ignored() {
        let files = [
            (
                "a.rs",
                "// crate::b\n/// See [`crate::b::B`].\nfn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n",
            ),
            ("a/tests.rs", "use crate::b::B;\n"),
            ("b.rs", "use crate::a::f;\n#[cfg(test)]\nmod tests;\n"),
        ];
        assert_eq!(check(&files), [""; 0]);
    }
}
