//! What `tests/PARITY.md`, `tests/FAULTS.md` and the invariants of `ARCHITECTURE.md` claim: every rule
//! and every case has a test or a reason why not, and every test exists.

use super::TextFiles;
use crate::check::Finding;

const PARITY: &str = "tests/PARITY.md";
const FAULTS: &str = "tests/FAULTS.md";
const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// What is wrong with the tables, by the lines of their documents.
pub(super) fn findings(texts: &TextFiles) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in [PARITY, FAULTS, ARCHITECTURE] {
        let text = texts.get(document).map(String::as_str).unwrap_or_default();
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(holders) = holders(line) {
                findings.extend(judge(texts, document, number, holders));
            }
        }
    }
    findings
}

/// The second cell of a row of a table, which names what holds the rule; none for heads.
fn holders(line: &str) -> Option<&str> {
    let mut cells = line.strip_prefix('|')?.strip_suffix('|')?.split('|');
    let (_, holders) = (cells.next()?, cells.next()?.trim());
    let is_rule_of_dashes = !holders.is_empty() && holders.chars().all(|c| "-: ".contains(c));
    let is_head = holders == "Tests" || is_rule_of_dashes;
    (!is_head).then_some(holders)
}

fn judge(texts: &TextFiles, document: &str, number: usize, holders: &str) -> Vec<Finding> {
    let finding = |reason: String, remedy: &str| Finding {
        place: format!("{document}:{number}"),
        reason,
        remedy: remedy.to_owned(),
    };
    let tests: Vec<&str> = holders.split('`').skip(1).step_by(2).collect();
    let reasons: &[&str] = match document {
        FAULTS => &["No test: ", "Open"],
        PARITY => &["Different: ", "Out of scope: "],
        // Every invariant has a test.
        _ => &[],
    };
    let is_decided = reasons.iter().any(|reason| holders.starts_with(reason));
    if tests.is_empty() && !is_decided {
        let reason = "the rule names neither a test nor a reason".to_owned();
        return vec![finding(reason, "name its test, or say why there is none")];
    }
    let absent = tests.into_iter().filter(|test| !is_there(texts, test));
    let reason = |test| format!("there is no test `{test}` in tests/suite");
    absent
        .map(|test| finding(reason(test), "give its name as `module::function`"))
        .collect()
}

fn is_there(texts: &TextFiles, test: &str) -> bool {
    let Some((module, function)) = test.rsplit_once("::") else {
        return false;
    };
    let path = format!("tests/suite/{}.rs", module.replace("::", "/"));
    let Some(text) = texts.get(&path) else {
        return false;
    };
    // Between the attribute and the name stands `fn`, in properties now and then on its own line.
    text.split("#[test]").skip(1).any(|rest| {
        let name = rest.trim_start().strip_prefix("fn").unwrap_or_default();
        let rest = name.trim_start().strip_prefix(function);
        rest.is_some_and(|rest| rest.starts_with('('))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a document that are found, beside a suite of one test.
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
    fn a_rule_with_neither_and_a_test_that_is_not_there_are_found() {
        assert_eq!(check(PARITY, "| one | later |\n"), ["tests/PARITY.md:1"]);
        assert_eq!(check(PARITY, "| one | |\n"), ["tests/PARITY.md:1"]);
        for absent in ["run::it_runs", "run::twice::it_run", "it_runs"] {
            let document = format!("\n| one | `{absent}` |\n");
            assert_eq!(check(PARITY, &document), ["tests/PARITY.md:2"], "{absent}");
        }
    }

    #[test]
    fn an_invariant_needs_a_test() {
        let document = "| 1. one | `run::twice::it_runs`, and clippy |\n| 2. two | clippy |\n";
        assert_eq!(check(ARCHITECTURE, document), ["ARCHITECTURE.md:2"]);
    }

    #[test]
    fn a_case_without_a_test_says_why() {
        let document = "| 1: one | `run::twice::it_runs` |\n| 2: two | No test: it can not happen. |\n\
            | 3: three | Open: wants a disk that fails. |\n| 4: four | later |\n";
        assert_eq!(check(FAULTS, document), ["tests/FAULTS.md:4"]);
    }
}
