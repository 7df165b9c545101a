//! Checks the tables in `tests/PARITY.md`, `tests/FAULTS.md` and `ARCHITECTURE.md`: each rule and
//! each case must name a test or a reason why it has none, and each named test must exist.

use super::TextFiles;
use crate::check::Finding;

const PARITY: &str = "tests/PARITY.md";
const FAULTS: &str = "tests/FAULTS.md";
const ARCHITECTURE: &str = "ARCHITECTURE.md";

pub(super) fn findings(texts: &TextFiles) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in [PARITY, FAULTS, ARCHITECTURE] {
        let text = texts.get(document).map(String::as_str).unwrap_or_default();
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(tests_cell) = tests_cell(line) {
                findings.extend(check_row(texts, document, number, tests_cell));
            }
        }
    }
    findings
}

/// The second cell of a table row, which names the tests. `None` for header rows.
fn tests_cell(line: &str) -> Option<&str> {
    let mut cells = line.strip_prefix('|')?.strip_suffix('|')?.split('|');
    let (_, tests_cell) = (cells.next()?, cells.next()?.trim());
    let is_separator = !tests_cell.is_empty() && tests_cell.chars().all(|c| "-: ".contains(c));
    let is_header = tests_cell == "Tests" || is_separator;
    (!is_header).then_some(tests_cell)
}

fn check_row(texts: &TextFiles, document: &str, number: usize, tests_cell: &str) -> Vec<Finding> {
    let finding = |reason: String, help: &str| Finding {
        place: format!("{document}:{number}"),
        reason,
        help: help.to_owned(),
    };
    let tests: Vec<&str> = tests_cell.split('`').skip(1).step_by(2).collect();
    let reasons: &[&str] = match document {
        FAULTS => &["No test: ", "Open"],
        PARITY => &["Different: ", "Out of scope: "],
        // Every invariant has a test.
        _ => &[],
    };
    let has_reason = reasons.iter().any(|reason| tests_cell.starts_with(reason));
    if tests.is_empty() && !has_reason {
        let reason = "the rule names neither a test nor a reason".to_owned();
        return vec![finding(
            reason,
            "name a test, or give the reason why there is none",
        )];
    }
    let missing = tests.into_iter().filter(|test| !test_exists(texts, test));
    let reason = |test| format!("there is no test `{test}` in tests/suite");
    missing
        .map(|test| finding(reason(test), "write the name as `module::function`"))
        .collect()
}

fn test_exists(texts: &TextFiles, test: &str) -> bool {
    let Some((module, function)) = test.rsplit_once("::") else {
        return false;
    };
    let path = format!("tests/suite/{}.rs", module.replace("::", "/"));
    let Some(text) = texts.get(&path) else {
        return false;
    };
    // In property tests, `fn` and the name can be on separate lines.
    text.split("#[test]").skip(1).any(|rest| {
        let name = rest.trim_start().strip_prefix("fn").unwrap_or_default();
        let rest = name.trim_start().strip_prefix(function);
        rest.is_some_and(|rest| rest.starts_with('('))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places of the findings in a document. The suite has two tests.
    fn check(path: &str, document: &str) -> Vec<String> {
        let suite = "//! x\n#[test]\nfn it_runs() {}\nproptest! {\n    #[test]\n    fn\n    invariant_it_runs(\n";
        let texts = [(path, document), ("tests/suite/run/twice.rs", suite)];
        let texts: TextFiles = texts
            .map(|(path, text)| (path.into(), text.into()))
            .into_iter()
            .collect();
        findings(&texts)
            .into_iter()
            .map(|finding| finding.place)
            .collect()
    }

    #[test]
    fn a_rule_with_a_test_or_a_reason_passes() {
        let document = "# Parity\n\n| Rule | Tests |\n|---|---|\n\
            | one | `run::twice::it_runs`, `run::twice::invariant_it_runs` |\n\
            | two | Different: every line counts. |\n\
            | three | Out of scope: there is no such table. |\n";
        assert_eq!(check(PARITY, document), [""; 0]);
    }

    #[test]
    fn a_rule_without_test_and_reason_and_a_missing_test_are_found() {
        assert_eq!(check(PARITY, "| one | later |\n"), ["tests/PARITY.md:1"]);
        assert_eq!(check(PARITY, "| one | |\n"), ["tests/PARITY.md:1"]);
        for missing in ["run::it_runs", "run::twice::it_run", "it_runs"] {
            let document = format!("\n| one | `{missing}` |\n");
            assert_eq!(check(PARITY, &document), ["tests/PARITY.md:2"], "{missing}");
        }
    }

    #[test]
    fn an_invariant_needs_a_test() {
        let document = "| 1. one | `run::twice::it_runs`, and clippy |\n| 2. two | clippy |\n";
        assert_eq!(check(ARCHITECTURE, document), ["ARCHITECTURE.md:2"]);
    }

    #[test]
    fn a_case_without_a_test_needs_a_reason() {
        let document = "| 1: one | `run::twice::it_runs` |\n| 2: two | No test: it can not happen. |\n\
            | 3: three | Open: wants a disk that fails. |\n| 4: four | later |\n";
        assert_eq!(check(FAULTS, document), ["tests/FAULTS.md:4"]);
    }
}
