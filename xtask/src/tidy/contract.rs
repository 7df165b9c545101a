//! Checks that `docs/contract.md` contains the complete text of every file of the contract, each in
//! its own code block.

use super::TextFiles;
use crate::check::Finding;

const PAGE: &str = "docs/contract.md";
const CONTRACT: &str = "runtime/wit/";

/// Returns a finding for each file whose text is not on the page.
pub(super) fn findings(texts: &TextFiles) -> Vec<Finding> {
    let page = texts.get(PAGE).map(String::as_str).unwrap_or_default();
    let files = texts.iter().filter(|(path, _)| path.starts_with(CONTRACT));
    let differing = files.filter(|(_, text)| !page.contains(&format!("```wit\n{text}```\n")));
    differing
        .map(|(path, _)| Finding {
            place: PAGE.to_owned(),
            reason: format!("the page does not contain the current text of `{path}`"),
            help: "copy the whole file to a block that starts with ```wit".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_with_an_outdated_contract_is_found() {
        let reasons = |page: &str| -> Vec<String> {
            let texts = [
                (PAGE, page),
                ("runtime/wit/log.wit", "interface log {}\n"),
                ("runtime/src/run.rs", "//! x\n"),
            ];
            let texts = texts.map(|(path, text)| (path.to_owned(), text.to_owned()));
            let findings = findings(&texts.into_iter().collect());
            findings.into_iter().map(|finding| finding.reason).collect()
        };
        assert!(reasons("# C\n\n```wit\ninterface log {}\n```\n").is_empty());
        let expected = ["the page does not contain the current text of `runtime/wit/log.wit`"];
        assert_eq!(reasons("# C\n\n```wit\ninterface logs {}\n```\n"), expected);
        assert_eq!(reasons(""), expected);
    }
}
