//! What `tests/PARITY.md`, `tests/FAULTS.md` and the invariants of `ARCHITECTURE.md` claim: every rule
//! and every case has a test or a reason why not, and every test is there.

use super::Texts;
use crate::check::Finding;

const PARITY: &str = "tests/PARITY.md";
const FAULTS: &str = "tests/FAULTS.md";
const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// What is wrong with the tables, by the lines of their documents.
pub(super) fn findings(texts: &Texts) -> Vec<Finding> {
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
    let is_head = holders == "Held by" || is_rule_of_dashes;
    (!is_head).then_some(holders)
}

fn judge(texts: &Texts, document: &str, number: usize, holders: &str) -> Vec<Finding> {
    let finding = |reason: String, remedy: &str| Finding {
        place: format!("{document}:{number}"),
        reason,
        remedy: remedy.to_owned(),
    };
    let tests: Vec<&str> = holders.split('`').skip(1).step_by(2).collect();
    let is_decided = match document {
        FAULTS => holders.starts_with("No test: ") || holders.starts_with("Open"),
        // An invariant is held, or it is none.
        ARCHITECTURE => false,
        _ => holders
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| is_decision(word) || word == "ARCHITECTURE"),
    };
    if tests.is_empty() && !is_decided {
        let reason = "the rule names neither a test nor a decision".to_owned();
        return vec![finding(reason, "name what holds it, or what overrides it")];
    }
    let absent = tests.into_iter().filter(|test| !is_there(texts, test));
    let reason = |test| format!("there is no test `{test}` in tests/suite");
    absent
        .map(|test| finding(reason(test), "give its name as `module::function`"))
        .collect()
}

/// `A19`: a decision of BEHAVIOUR.md, Part A.
fn is_decision(word: &str) -> bool {
    let number = word.strip_prefix('A').unwrap_or_default();
    !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
}

fn is_there(texts: &Texts, test: &str) -> bool {
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
        let texts: Texts = texts
            .map(|(path, text)| (path.into(), text.into()))
            .into_iter()
            .collect();
        findings(&texts)
            .into_iter()
            .map(|finding| finding.place)
            .collect()
    }

    #[test]
    fn a_rule_with_a_test_or_a_decision_is_held() {
        let document = "# Parity\n\n| Rule | Held by |\n|---|---|\n\
            | one | `run::twice::it_runs`, `run::twice::invariant_it_runs` |\n\
            | two | decided otherwise: A19 |\n\
            | three | by types: ARCHITECTURE §4 |\n";
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
    fn an_invariant_is_held_by_a_test_and_by_no_promise() {
        let document = "| 1. one | `run::twice::it_runs`, and clippy |\n| 2. two | clippy, A19 |\n";
        assert_eq!(check(ARCHITECTURE, document), ["ARCHITECTURE.md:2"]);
    }

    #[test]
    fn a_case_without_a_test_says_why() {
        let document = "| 1: one | `run::twice::it_runs` |\n| 2: two | No test: it can not happen. |\n\
            | 3: three | Open: wants a disk that fails. |\n| 4: four | A19 |\n";
        assert_eq!(check(FAULTS, document), ["tests/FAULTS.md:4"]);
    }
}
