//! Approved knowledge as a Markdown file, for people and as context for agents.

use std::collections::BTreeMap;

use session_pipeline_host::fault::printable_lines;
use session_pipeline_store::Store;

use super::{Evidence, KnowledgeError, KnowledgeFilter, KnowledgeItemDetails, list, show};

/// Maximum number of items in a file.
const ITEMS_MAX: u32 = 10_000;
/// Maximum number of links to evidence per item. The latest come first.
const LINKS_MAX: usize = 3;
/// The heading of items without a project or a domain.
const OTHER: &str = "Other";

/// What to export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportFilter {
    /// Only items of this project.
    pub project: Option<String>,
    /// Only items of this domain.
    pub domain: Option<String>,
    /// The address of the dashboard, without a slash at its end. `None`: links are relative to it.
    pub base_url: Option<String>,
}

/// The approved items in Markdown, grouped by project and domain. The same items produce the same
/// text, so that versions of a file can be compared.
///
/// # Errors
/// If the database can't be read.
pub fn markdown(store: Option<&Store>, filter: &ExportFilter) -> Result<String, KnowledgeError> {
    let wanted = KnowledgeFilter {
        status: Some("approved".to_owned()),
        domain: filter.domain.clone(),
        project: filter.project.clone(),
        limit: ITEMS_MAX,
        ..KnowledgeFilter::default()
    };
    let mut groups: BTreeMap<(String, String), Vec<KnowledgeItemDetails>> = BTreeMap::new();
    for item in list(store, &wanted)? {
        let other = || OTHER.to_owned();
        let project = item.project.clone().unwrap_or_else(other);
        let domain = item.domain.clone().unwrap_or_else(other);
        let details = show(store, &item.id)?;
        groups.entry((project, domain)).or_default().push(details);
    }
    let mut text = String::from(
        "# Knowledge\n\nStatements that users made in their sessions and that a person approved.\n",
    );
    let mut last_project = None;
    for ((project, domain), mut items) in groups {
        if last_project.as_ref() != Some(&project) {
            text.push_str(&format!("\n## {}\n", escaped(&project)));
            last_project = Some(project);
        }
        text.push_str(&format!("\n### {}\n\n", escaped(&domain)));
        items.sort_by(|a, b| (&a.item.title, &a.item.id).cmp(&(&b.item.title, &b.item.id)));
        for details in &items {
            text.push_str(&entry(
                details,
                filter.base_url.as_deref().unwrap_or_default(),
            ));
        }
    }
    Ok(text)
}

/// One item: its statement, and links to its evidence.
fn entry(details: &KnowledgeItemDetails, base_url: &str) -> String {
    let item = &details.item;
    let mut evidence: Vec<&Evidence> = details.evidence.iter().collect();
    evidence.sort_by_key(|evidence| std::cmp::Reverse(evidence.said_at));
    let links: Vec<String> = evidence
        .iter()
        .take(LINKS_MAX)
        .map(|evidence| link(evidence, base_url))
        .collect();
    let mut entry = format!("- **{}**: {}", escaped(&item.title), escaped(&item.content));
    if !links.is_empty() {
        entry.push_str(&format!(" ({})", links.join(", ")));
    }
    entry.push('\n');
    entry
}

/// A link to the line of a quote in its transcript.
fn link(evidence: &Evidence, base_url: &str) -> String {
    let day = evidence.said_at.map(|at| at.to_string());
    let day = day.as_ref().and_then(|at| at.get(..10));
    let name = match day {
        Some(day) => format!("{}, {day}", evidence.user),
        None => evidence.user.clone(),
    };
    let line = evidence.line;
    let before = line.saturating_sub(1).max(0);
    format!(
        "[{}]({base_url}/sessions/{}?after={before}#L{line})",
        escaped(&name),
        encoded(&evidence.session)
    )
}

/// A text on one line, in which no character formats.
fn escaped(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut escaped = String::with_capacity(line.len());
    for letter in printable_lines(&line).chars() {
        if "\\`*_[]<>#|~".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// A key in the path of a URL.
fn encoded(key: &str) -> String {
    let mut path = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                path.push(char::from(byte));
            }
            byte => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_format_or_break_their_line() {
        assert_eq!(escaped("a\n# b"), r"a \# b");
        assert_eq!(
            escaped("[x](javascript:y) `z` <b>"),
            r"\[x\](javascript:y) \`z\` \<b\>"
        );
        assert_eq!(encoded("ada/é ).jsonl"), "ada/%C3%A9%20%29.jsonl");
    }
}
