//! `docs/contract.md` shows the contract as it is: every file of it, whole, as a block of its own.

use super::TextFiles;
use crate::check::Finding;

const PAGE: &str = "docs/contract.md";
const CONTRACT: &str = "runtime/wit/";

/// The files that the page does not show as they are.
pub(super) fn findings(texts: &TextFiles) -> Vec<Finding> {
    let page = texts.get(PAGE).map(String::as_str).unwrap_or_default();
    let files = texts.iter().filter(|(path, _)| path.starts_with(CONTRACT));
    let differing = files.filter(|(_, text)| !page.contains(&format!("```wit\n{text}```\n")));
    differing
        .map(|(path, _)| Finding {
            place: PAGE.to_owned(),
            reason: format!("it does not show `{path}` as it is"),
            remedy: "put the file's whole text into a block that begins with ```wit".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_shows_the_contract_as_it_was_is_found() {
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
        let expected = ["it does not show `runtime/wit/log.wit` as it is"];
        assert_eq!(reasons("# C\n\n```wit\ninterface logs {}\n```\n"), expected);
        assert_eq!(reasons(""), expected);
    }
}
