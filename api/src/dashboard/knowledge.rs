//! Knowledge to review: items with their evidence, and the decisions on them.

use maud::{Markup, html};
use serde::Deserialize;
use session_pipeline_pipeline::knowledge::SuggestedResolution;

use super::filters::address;
use super::format::{counted, plain, time};
use super::frame::{Reader, empty};
use super::parts::pager;
use super::session::multiline;
use super::transcript::session_href;
use crate::body::knowledge::{KnowledgeBody, KnowledgeDetailsBody, KnowledgeItemBody};

/// What the address of the list contains.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KnowledgeListQuery {
    status: Option<String>,
    domain: Option<String>,
    text: Option<String>,
    project: Option<String>,
    score_min: Option<String>,
    cursor: Option<String>,
    tz: Option<String>,
}

const STATUSES: [(&str, &str); 4] = [
    ("pending", "To review"),
    ("approved", "Approved"),
    ("rejected", "Rejected"),
    ("all", "All"),
];

impl KnowledgeListQuery {
    /// The query in the fields of a form. The other fields are ignored.
    pub(super) fn of_form(fields: &[(String, String)]) -> Self {
        let value = |name: &str| {
            let found = fields.iter().find(|(field, _)| field == name);
            found.map(|(_, value)| value.clone())
        };
        Self {
            status: value("status"),
            domain: value("domain"),
            text: value("text"),
            project: value("project"),
            score_min: value("score_min"),
            cursor: None,
            tz: value("tz"),
        }
    }

    /// The address of the first page of the list.
    pub(super) fn address(&self) -> String {
        self.link(&[])
    }

    fn status(&self) -> &str {
        self.status
            .as_deref()
            .filter(|status| !status.is_empty())
            .unwrap_or("pending")
    }

    fn own(&self) -> Vec<(&'static str, &str)> {
        [
            ("domain", &self.domain),
            ("text", &self.text),
            ("project", &self.project),
            ("score_min", &self.score_min),
            ("tz", &self.tz),
        ]
        .into_iter()
        .filter_map(|(name, value)| {
            Some((name, value.as_deref().filter(|value| !value.is_empty())?))
        })
        .collect()
    }

    /// The request to the API.
    pub(super) fn request(&self) -> String {
        let mut parameters = self.own();
        parameters.retain(|(name, _)| *name != "tz");
        if self.status() != "all" {
            parameters.push(("status", self.status()));
        }
        parameters.push(("limit", "25"));
        parameters.extend(self.cursor.as_deref().map(|cursor| ("cursor", cursor)));
        address("/api/knowledge", &parameters)
    }

    fn link(&self, changes: &[(&'static str, &str)]) -> String {
        let mut parameters = self.own();
        parameters.push(("status", self.status()));
        parameters.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        parameters.extend_from_slice(changes);
        address("/knowledge", &parameters)
    }
}

pub(super) fn page(list: &KnowledgeBody, query: &KnowledgeListQuery, reader: &Reader) -> Markup {
    let next = list
        .next
        .as_deref()
        .map(|next| query.link(&[("cursor", next)]));
    let first = query.cursor.as_ref().map(|_| query.link(&[]));
    let can_decide = reader.role == "admin";
    html! {
        h1 { "Knowledge" }
        p .lead { "What users corrected, confirmed and defined, with the words that show it. The items with the highest score come first, and similar items follow each other. "
            @if can_decide { "Keys: " kbd { "j" } " next, " kbd { "k" } " previous, " kbd { "a" } " approve, " kbd { "r" } " reject, " kbd { "e" } " evidence, " kbd { "x" } " select." }
        }
        form .filters method="get" action="/knowledge" data-filters role="search" aria-label="Filters" {
            label { "Status" select name="status" { @for (value, name) in STATUSES {
                option value=(value) selected[query.status() == value] { (name) }
            } } }
            label .grow { "Domain" input name="domain" value=(query.domain.as_deref().unwrap_or_default()) autocomplete="off"; }
            label .grow { "Project" input name="project" value=(query.project.as_deref().unwrap_or_default()) autocomplete="off"; }
            label .grow { "Text" input type="search" name="text" value=(query.text.as_deref().unwrap_or_default()) autocomplete="off"; }
            @if let Some(zone) = &query.tz { input type="hidden" name="tz" value=(zone); }
            @if let Some(score) = &query.score_min { input type="hidden" name="score_min" value=(score); }
            button .primary { "Apply" }
        }
        @if list.items.is_empty() {
            section .panel { (empty(match query.status() {
                "pending" => "Nothing to review. Items appear here when the processor “verification” finds what users correct, confirm or define.",
                _ => "No item matches. Choose another status, or remove a filter.",
            })) }
        } @else {
            @if can_decide { (selection(query, reader)) }
            ol .items data-keys="yes" aria-label="Items" { @for entry in &list.items { (item(entry, reader)) } }
            (pager(first.as_deref(), next.as_deref()))
        }
        @if list.below > 0 {
            p .sub { (counted(list.below as i64, "pending item has", "pending items have")) " a score below " (list.score_min) ". "
                a href=(query.link(&[("score_min", "0")])) { "Show all scores" }
            }
        }
    }
}

/// The form that the checkboxes of the items belong to.
const SELECTION: &str = "selection";

/// Decides about all selected items.
fn selection(query: &KnowledgeListQuery, reader: &Reader) -> Markup {
    html! {
        form .selection #(SELECTION) method="post" action="/knowledge/decisions" data-selection="yes" aria-label="Selected items" {
            (super::csrf::field(&reader.csrf))
            input type="hidden" name="status" value=(query.status());
            @for (name, value) in query.own() { input type="hidden" name=(name) value=(value); }
            label { input type="checkbox" data-all="yes"; " All on this page" }
            span data-chosen="yes" role="status" { "Select items to decide several at once." }
            button name="decision" value="approve" { "Approve selected" }
            button name="decision" value="reject" { "Reject selected" }
        }
    }
}

/// One item of the list.
pub(super) fn item(item: &KnowledgeItemBody, reader: &Reader) -> Markup {
    let path = format!("/knowledge/{}", crate::percent::encode(&item.id));
    html! {
        li .item data-item="yes" tabindex="0" aria-label=(plain(&item.title)) {
            div .head {
                h2 {
                    @if reader.role == "admin" {
                        input type="checkbox" form=(SELECTION) name="id" value=(item.id) data-key="x" aria-label=(format!("Select: {}", plain(&item.title)));
                        " "
                    }
                    (plain(&item.title))
                }
                p .links {
                    span class=(status_class(&item.status)) { (plain(&item.status)) }
                    @if let Some(domain) = &item.domain { span .tag { (plain(domain)) } }
                    @if let Some(claim) = &item.claim { span .tag { (plain(claim)) } }
                    @if item.similar_to.is_some() { span .tag { "similar to the item above" } }
                    @if item.contradictions > 0 { span .tag .warning { (counted(item.contradictions as i64, "contradiction", "contradictions")) } }
                }
            }
            p { (plain(&item.content)) }
            p .links {
                span { "By " (plain(&item.source_user)) ", " (time(Some(&item.created_at))) }
                span { (counted(item.evidence_count as i64, "quote", "quotes")) " from " (counted(item.users as i64, "user", "users")) }
                span { "Score " (item.score) }
                @if let Some(project) = &item.project { span { (plain(project)) } }
                @if let Some(reason) = &item.reason { span { "Reason: " (plain(reason)) } }
            }
            @if reader.role == "admin" {
                div .actions {
                    @for (decision, label, key, status) in [("approve", "Approve", "a", "approved"), ("reject", "Reject", "r", "rejected")] {
                        @if item.status != status {
                            button hx-post=(format!("{path}/{decision}")) hx-target="closest li" hx-swap="outerHTML" data-key=(key)
                                aria-label=(format!("{label}: {}", plain(&item.title))) { (label) }
                        }
                    }
                }
            }
            // Below the buttons, which stay where they are when it is unfolded and when it has loaded.
            details .evidence {
                summary data-key="e" hx-get=(path) hx-trigger="click once" hx-target="next .quotes" hx-swap="innerHTML" { "Evidence" }
                div .quotes { p .empty { "Loading…" } }
            }
        }
    }
}

/// What the model suggests to do about a contradiction.
fn suggested(suggestion: &SuggestedResolution) -> Markup {
    let action = match suggestion.action.as_str() {
        "keep_this" => "Keep this item",
        "keep_other" => "Keep the other item",
        "merge" => "Merge both items",
        _ => "Keep both items",
    };
    html! {
        span .sub {
            "Suggested: " (action)
            @if let Some(merged) = &suggestion.merged_content { ": " (plain(merged)) }
            @if let Some(reason) = &suggestion.justification { " (" (plain(reason)) ")" }
        }
    }
}

fn status_class(status: &str) -> &'static str {
    match status {
        "approved" => "tag ok",
        "rejected" => "tag error",
        _ => "tag",
    }
}

/// The evidence of an item, with links to the lines of the transcripts.
pub(super) fn evidence(details: &KnowledgeDetailsBody, reader: &Reader) -> Markup {
    html! {
        @for evidence in &details.evidence {
            figure {
                @if let Some(said) = &evidence.assistant_quote { p .sub { "The assistant: " (multiline(said)) } }
                blockquote { (multiline(&evidence.quote)) }
                figcaption .links {
                    span { (plain(&evidence.user)) }
                    span { (time(Some(evidence.said_at.as_ref().unwrap_or(&evidence.recorded_at)))) }
                    @if let Some(branch) = &evidence.branch { span { "Branch " (plain(branch)) } }
                    span { (plain(&evidence.detection_type)) " (" (plain(&evidence.detector)) ")" }
                    @if reader.role == "admin" {
                        a href=(format!("{}?after={}#L{}", session_href(&evidence.session), evidence.line.saturating_sub(1).max(0), evidence.line)) { "Open the transcript at line " (evidence.line) }
                    }
                }
            }
        }
        @if !details.related.is_empty() {
            h3 { "Related items" }
            ul { @for relation in &details.related { li {
                strong { (match relation.kind.as_str() { "contradiction" => "Contradicts", "likely_duplicate" => "Similar to", other => other }) } " "
                a href=(address("/knowledge", &[("status", "all"), ("text", relation.title.as_str())])) { (plain(&relation.title)) }
                @if let Some(measure) = &relation.measure { " (" (plain(measure)) ")" }
                span .sub { (plain(&relation.content)) }
                @if let Some(explanation) = &relation.explanation { span .sub { (plain(explanation)) } }
                @if let Some(suggestion) = &relation.suggestion { (suggested(suggestion)) }
            } } }
        }
    }
}
