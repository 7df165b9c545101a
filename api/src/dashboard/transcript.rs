//! Renders transcripts. Every text in them is untrusted.
//!
//! All texts are escaped by maud, except for the Markdown of responses, which `markdown` sanitizes.
//! The markup has no inline script or style. htmx loads more entries and whole texts.

mod figures;
mod links;
mod markdown;
mod parts;

use std::collections::{BTreeMap, HashMap};

use maud::{Markup, html};
use session_pipeline_pipeline::transcript::{
    EntryPart, ResponseTokens, SubAgentReference, TranscriptEntry,
};

use crate::body::transcript::{MarkedLinesBody, TranscriptBody, TranscriptMarksBody};

pub use links::session_href;
pub use parts::part;

use links::Links;

/// Types of folded lines that a summary lists.
const NAMES_MAX: usize = 4;

/// Renders the entries of a page, and the button for the next page.
///
/// A nested transcript is inside the page of another one, such as that of a sub-agent. Its anchors
/// differ from those of the outer one.
pub fn entries(page: &TranscriptBody, is_nested: bool) -> Markup {
    let view = View {
        links: Links::new(&page.session, is_nested),
        shown_tokens: last_lines_of_responses(&page.entries),
    };
    html! {
        @for item in items(&page.entries) {
            (view.item(&item))
        }
        @if let Some(after) = page.next {
            @let href = view.links.entries(after);
            div.load-more hx-get=(href) hx-trigger="revealed" hx-swap="outerHTML" {
                button type="button" hx-get=(href) hx-target="closest .load-more" hx-swap="outerHTML" {
                    "Load more"
                }
                " "
                span.load-more-position {
                    (figures::count(after)) " of " (figures::count(page.lines)) " lines"
                }
            }
        }
        @else if page.entries.is_empty() {
            p.no-entries { "This transcript has no more lines." }
        }
    }
}

/// What a reader jumps to.
struct JumpKind<'m> {
    /// The end of the class.
    class: &'static str,
    label: &'static str,
    one: &'static str,
    /// The key that jumps to the next one. With Shift, it jumps to the previous one.
    key: char,
    marked: &'m MarkedLinesBody,
}

/// Renders the navigation to prompts, errors, compactions and sub-agents. `data-lines` has the
/// lines of each kind, separated by spaces, for a script that jumps to the next or the previous one.
/// `after`: the line before the first one on the page. Without the script, the links lead to the
/// marks next to it.
pub fn marks(marks: &TranscriptMarksBody, after: u64) -> Markup {
    let links = Links::new(&marks.session, false);
    let kind = |class, label, one, key, marked| JumpKind {
        class,
        label,
        one,
        key,
        marked,
    };
    let kinds = [
        kind("prompt", "Prompts", "prompt", 'p', &marks.prompts),
        kind("error", "Errors", "error", 'e', &marks.errors),
        kind(
            "compaction",
            "Compactions",
            "compaction",
            'c',
            &marks.compactions,
        ),
        kind(
            "sub-agent",
            "Sub-agents",
            "sub-agent",
            's',
            &marks.sub_agents,
        ),
    ];
    html! {
        nav.transcript-marks aria-label="Jump in the transcript" {
            @for kind in &kinds { (jump(&links, kind, after)) }
            p.jump-keys {
                "Keys: "
                @for kind in kinds.iter().filter(|kind| kind.marked.total > 0) {
                    kbd { (kind.key) } " next " (kind.one) ", "
                }
                "with " kbd { "Shift" } " the previous one."
            }
        }
    }
}

fn jump(links: &Links, kind: &JumpKind<'_>, after: u64) -> Markup {
    let JumpKind {
        class,
        label,
        one,
        key,
        marked,
    } = kind;
    let lines: Vec<String> = marked.lines.iter().map(u64::to_string).collect();
    let next = marked.lines.iter().find(|line| **line > after);
    let next = next.or(marked.lines.first());
    let previous = marked.lines.iter().rev().find(|line| **line <= after);
    let previous = previous.or(marked.lines.last());
    html! {
        @if let (Some(next), Some(previous)) = (next, previous) {
            span.jumps data-lines=(lines.join(" ")) {
                a.jump.jump-back href=(links.page_at(*previous)) data-jump="previous" data-key=(key.to_ascii_uppercase())
                    aria-label={ "Previous " (one) } title={ "Previous " (one) " (Shift+" (key) ")" } { "‹" }
                a class={ "jump jump-" (class) } href=(links.page_at(*next)) data-jump="next" data-key=(key)
                    title={ "Next " (one) " (" (key) ")" }
                {
                    (label) " " span.jump-count { (figures::count(marked.total)) }
                }
                @if marked.total > marked.lines.len() as u64 {
                    span.jump-limit { "only the first " (figures::count(marked.lines.len() as u64)) " can be jumped to" }
                }
            }
        } @else {
            span class={ "jump jump-" (class) " jump-none" } {
                (label) " " span.jump-count { "0" }
            }
        }
    }
}

/// What is rendered at one place of a page.
enum Item<'e> {
    /// An entry, with the entries of the sub-agents that it started.
    Entry(&'e TranscriptEntry, Vec<SubAgentLines<'e>>),
    /// Lines without anything to read.
    Folded(Vec<&'e TranscriptEntry>),
    /// Entries of a sub-agent that was started on another page, or that nothing started.
    SubAgent(SubAgentLines<'e>),
}

/// Entries of one sub-agent.
struct SubAgentLines<'e> {
    agent: &'e SubAgentReference,
    entries: Vec<&'e TranscriptEntry>,
}

/// Nests the entries of sub-agents where they were started, and folds lines without text.
fn items(entries: &[TranscriptEntry]) -> Vec<Item<'_>> {
    let mut items: Vec<Item<'_>> = Vec::new();
    let mut places: HashMap<u64, usize> = HashMap::new();
    for entry in entries {
        if let Some(agent) = &entry.sub_agent {
            let place = agent.call_line.and_then(|line| places.get(&line));
            let place = place.and_then(|place| items.get_mut(*place));
            match place {
                Some(Item::Entry(_, agents)) => nest(agents, agent, entry),
                _ => match items.last_mut() {
                    Some(Item::SubAgent(lines)) if lines.agent == agent => {
                        lines.entries.push(entry);
                    }
                    _ => items.push(Item::SubAgent(SubAgentLines {
                        agent,
                        entries: vec![entry],
                    })),
                },
            }
        } else if is_folded(entry) {
            match items.last_mut() {
                Some(Item::Folded(lines)) => lines.push(entry),
                _ => items.push(Item::Folded(vec![entry])),
            }
        } else {
            places.insert(entry.line, items.len());
            items.push(Item::Entry(entry, Vec::new()));
        }
    }
    items
}

fn nest<'e>(
    agents: &mut Vec<SubAgentLines<'e>>,
    agent: &'e SubAgentReference,
    entry: &'e TranscriptEntry,
) {
    match agents.iter_mut().find(|lines| lines.agent == agent) {
        Some(lines) => lines.entries.push(entry),
        None => agents.push(SubAgentLines {
            agent,
            entries: vec![entry],
        }),
    }
}

/// Whether an entry has only metadata, or no text.
fn is_folded(entry: &TranscriptEntry) -> bool {
    let mut parts = entry.parts.iter();
    parts.all(|part| match part {
        EntryPart::Other { .. } | EntryPart::ToolResult { text: None, .. } => true,
        EntryPart::Response { text } => text.text.trim().is_empty() && !text.is_truncated,
        _ => false,
    })
}

/// Whether an entry only has results that their calls show.
fn is_joined_result(entry: &TranscriptEntry) -> bool {
    let mut parts = entry.parts.iter();
    !entry.parts.is_empty()
        && parts.all(|part| matches!(part, EntryPart::ToolResult { text: None, .. }))
}

/// The last entry of each response. Only this one shows the tokens, which are of all of them.
fn last_lines_of_responses(entries: &[TranscriptEntry]) -> HashMap<&str, u64> {
    let ids = entries.iter().filter_map(|entry| {
        let id = entry.response.as_ref()?.id.as_deref()?;
        Some((id, entry.line))
    });
    ids.collect()
}

struct View<'p> {
    links: Links,
    shown_tokens: HashMap<&'p str, u64>,
}

impl View<'_> {
    fn item(&self, item: &Item<'_>) -> Markup {
        match item {
            Item::Entry(entry, agents) => self.entry(entry, agents),
            Item::Folded(entries) if entries.iter().all(|entry| is_joined_result(entry)) => {
                html! {
                    @for entry in entries { (self.entry(entry, &[])) }
                }
            }
            Item::Folded(entries) => self.folded(entries),
            Item::SubAgent(lines) => self.sub_agent(lines),
        }
    }

    fn entry(&self, entry: &TranscriptEntry, agents: &[SubAgentLines<'_>]) -> Markup {
        let (class, name) = kind(entry);
        let line = figures::count(entry.line);
        html! {
            @if is_joined_result(entry) {
                div.result-line id=(self.links.anchor(entry.line)) {
                    (self.line_link(entry.line)) " "
                    @for part in &entry.parts {
                        (parts::entry_part(&self.links, part))
                    }
                }
            } @else {
                article class={ "entry entry-" (class) } id=(self.links.anchor(entry.line))
                    aria-label={ (name) ", line " (line) }
                {
                    header.entry-head {
                        span.entry-kind { (name) }
                        (self.response(entry))
                        @if let Some(time) = &entry.time { (figures::time(time)) }
                        (self.line_link(entry.line))
                    }
                    @for part in &entry.parts {
                        (parts::entry_part(&self.links, part))
                    }
                    @if entry.has_more_parts {
                        p.more-parts { "This line has more parts, which are not shown." }
                    }
                    @for lines in agents {
                        (self.sub_agent(lines))
                    }
                }
            }
        }
    }

    fn line_link(&self, line: u64) -> Markup {
        html! {
            a.entry-line href={ "#" (self.links.anchor(line)) } aria-label={ "Line " (line) } {
                (figures::count(line))
            }
        }
    }

    fn response(&self, entry: &TranscriptEntry) -> Markup {
        let Some(response) = &entry.response else {
            return Markup::default();
        };
        let is_last = response
            .id
            .as_deref()
            .is_none_or(|id| self.shown_tokens.get(id) == Some(&entry.line));
        html! {
            @if let Some(model) = &response.model {
                span.entry-model { (model) }
            }
            @if let Some(tokens) = response.tokens.filter(|_| is_last) {
                span.entry-tokens { (tokens_text(tokens)) }
            }
        }
    }

    fn folded(&self, entries: &[&TranscriptEntry]) -> Markup {
        html! {
            details.folded-lines {
                summary {
                    (figures::lines(entries.len())) " folded"
                    @let names = folded_names(entries);
                    @if !names.is_empty() {
                        ": " span.folded-names { (names) }
                    }
                }
                @for entry in entries {
                    (self.entry(entry, &[]))
                }
            }
        }
    }

    fn sub_agent(&self, lines: &SubAgentLines<'_>) -> Markup {
        html! {
            details.sub-agent-lines {
                summary {
                    span.sub-agent-label { "Sub-agent" }
                    @if let Some(id) = &lines.agent.agent_id {
                        " " code.sub-agent-id { (id) }
                    }
                    ": " (figures::lines(lines.entries.len()))
                    @if let Some(line) = lines.agent.call_line {
                        ", started in line " (figures::count(line))
                    }
                }
                @for entry in &lines.entries {
                    (self.entry(entry, &[]))
                }
            }
        }
    }
}

/// The class and the name of an entry: those of its first part that says more than others.
fn kind(entry: &TranscriptEntry) -> (&'static str, &'static str) {
    let kinds = entry.parts.iter().map(parts::kind);
    let best = kinds.min_by_key(|kind| kind.rank);
    match best {
        Some(kind) if entry.sub_agent.is_some() && kind.class == "prompt" => ("task", "Task"),
        Some(kind) => (kind.class, kind.name),
        None => ("blank", "Blank line"),
    }
}

/// The types of folded lines, most frequent first.
fn folded_names(entries: &[&TranscriptEntry]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let parts = entries.iter().flat_map(|entry| &entry.parts);
    for part in parts {
        let name = match part {
            EntryPart::Other { name, .. } => name,
            EntryPart::ToolResult { .. } => "tool result",
            _ => continue,
        };
        *counts.entry(name).or_default() += 1;
    }
    let mut names: Vec<(&str, usize)> = counts.into_iter().collect();
    names.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let has_more = names.len() > NAMES_MAX;
    names.truncate(NAMES_MAX);
    let mut text: Vec<&str> = names.into_iter().map(|(name, _)| name).collect();
    if has_more {
        text.push("…");
    }
    text.join(", ")
}

fn tokens_text(tokens: ResponseTokens) -> String {
    let input = tokens.input.saturating_add(tokens.cache_write);
    let cached = tokens.cache_read;
    format!(
        "{} in, {} cached, {} out",
        figures::count(input),
        figures::count(cached),
        figures::count(tokens.output)
    )
}
