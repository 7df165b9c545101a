//! The frame of every page: head, navigation, filters and footer.

use clap::ValueEnum as _;
use maud::{DOCTYPE, Markup, html};

use super::assets::{APP_SCRIPT, APP_STYLE, CHART, HTMX, ICON, TRANSCRIPT_STYLE};
use super::filters::{Filters, Range};
use super::format::plain;
use crate::body::grouping::AgentParam;

/// A part of the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Sessions,
    Causes,
    Knowledge,
    Quality,
    Operations,
}

impl Section {
    const ALL: [Self; 6] = [
        Self::Overview,
        Self::Sessions,
        Self::Causes,
        Self::Knowledge,
        Self::Quality,
        Self::Operations,
    ];

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Sessions => "/sessions",
            Self::Causes => "/causes",
            Self::Knowledge => "/knowledge",
            Self::Quality => "/quality",
            Self::Operations => "/operations",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Sessions => "Sessions",
            Self::Causes => "Causes",
            Self::Knowledge => "Knowledge",
            Self::Quality => "Quality",
            Self::Operations => "Operations",
        }
    }
}

/// Who looks at a page.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    /// The e-mail address, or what the visitor signed in with.
    pub(super) name: String,
    /// `member`, `analyst` or `admin`.
    pub(super) role: &'static str,
    /// The token that changes must carry.
    pub(super) csrf: String,
    /// The pages that the role can open.
    pub(super) sections: Vec<Section>,
    /// Whether the visitor can sign out. Behind a proxy, the proxy does that.
    pub(super) can_sign_out: bool,
}

/// The filters that apply to a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShownFilters {
    user: bool,
    model: bool,
}

/// What a page adds to the filters of every page.
#[derive(Default)]
pub(super) struct OwnFilters<'a> {
    /// The fields of the form.
    pub(super) fields: Markup,
    /// The parameters of the page's own, which links keep.
    pub(super) parameters: Vec<(&'static str, &'a str)>,
    /// The parameters that are shown as filters to remove, with their labels.
    pub(super) labels: &'static [(&'static str, &'static str)],
}

impl ShownFilters {
    pub(super) fn without_model(self) -> Self {
        Self {
            model: false,
            ..self
        }
    }
}

impl Reader {
    /// The filters of pages. A member's pages are about one user.
    pub(super) fn filters(&self) -> ShownFilters {
        ShownFilters {
            user: self.role != "member",
            model: true,
        }
    }
}

impl Section {
    /// The pages of a role.
    pub(super) fn of_role(role: &str) -> Vec<Self> {
        let can_open = |section: &Self| match section {
            Self::Overview | Self::Sessions | Self::Causes => true,
            Self::Knowledge | Self::Quality => role != "member",
            Self::Operations => role == "admin",
        };
        Self::ALL.into_iter().filter(can_open).collect()
    }
}

/// The frame of a page.
pub(super) struct Frame<'a> {
    pub(super) title: &'a str,
    pub(super) section: Option<Section>,
    /// `None`: nobody is signed in.
    pub(super) reader: Option<&'a Reader>,
    /// The zone of days and times. `None`: the page has none.
    pub(super) filters: Option<&'a Filters>,
    pub(super) has_charts: bool,
}

impl Frame<'_> {
    /// The whole document.
    pub(super) fn render(&self, main: &Markup) -> Markup {
        let filters = self.filters;
        let zone = filters.map_or("UTC", |filters| filters.zone.as_str());
        let zoned = filters.is_none_or(|filters| filters.is_zoned);
        html! {
            (DOCTYPE)
            html lang="en" data-zone=(zone) data-zoned=(if zoned { "yes" } else { "no" }) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="htmx-config" content=r#"{"includeIndicatorStyles":false,"allowEval":false,"selfRequestsOnly":true,"historyCacheSize":0}"#;
                    @if let Some(reader) = self.reader { meta name="csrf" content=(reader.csrf); }
                    title { (plain(self.title)) " – Session Pipeline" }
                    link rel="icon" type="image/svg+xml" href=(ICON.url());
                    link rel="stylesheet" href=(APP_STYLE.url());
                    link rel="stylesheet" href=(TRANSCRIPT_STYLE.url());
                    script defer src=(HTMX.url()) {}
                    @if self.has_charts { script defer src=(CHART.url()) {} }
                    script defer src=(APP_SCRIPT.url()) {}
                }
                body {
                    a .skip href="#main" { "Skip to the content" }
                    @if let Some(reader) = self.reader { (self.header(reader)) }
                    main #main tabindex="-1" { (main) }
                    div #announcements .visually-hidden role="status" aria-live="polite" {}
                    @if self.reader.is_some() {
                        footer { p {
                            "Times are in the zone " (zone) ". Session Pipeline " (env!("CARGO_PKG_VERSION")) "."
                        } }
                    }
                }
            }
        }
    }

    fn header(&self, reader: &Reader) -> Markup {
        let link = |section: Section| match self.filters {
            Some(filters) => filters.link(section.path(), &[]),
            None => section.path().to_owned(),
        };
        html! {
            header .top {
                a .brand href="/" { "Session Pipeline" }
                nav aria-label="Pages" {
                    ul { @for section in &reader.sections {
                        li { a href=(link(*section)) aria-current=[(Some(*section) == self.section).then_some("page")] { (section.name()) } }
                    } }
                }
                div .who {
                    span { (plain(&reader.name)) " (" (reader.role) ")" }
                    @if reader.can_sign_out {
                        form method="post" action="/sign-out" {
                            (super::csrf::field(&reader.csrf))
                            button .plain { "Sign out" }
                        }
                    }
                }
            }
        }
    }
}

/// The form with the filters of a page, and the fields of the page's own.
pub(super) fn filter_form(
    path: &str,
    filters: &Filters,
    shown: ShownFilters,
    own: &OwnFilters<'_>,
) -> Markup {
    let text = |name: &str, label: &str, value: &Option<String>, hint: &str| {
        html! {
            label .grow { (label)
                input name=(name) value=(value.as_deref().unwrap_or_default()) placeholder=(hint) autocomplete="off";
            }
        }
    };
    html! {
        form .filters method="get" action=(path) data-filters role="search" aria-label="Filters" {
            label { "Period"
                select name="range" {
                    @for (range, short, name) in Range::ALL {
                        option value=(short) selected[range == filters.range] { (name) }
                    }
                }
            }
            label { "From" input type="date" name="since" value=[filters.since.filter(|_| filters.range == Range::Days)]; }
            label { "To" input type="date" name="until" value=[filters.until.filter(|_| filters.range == Range::Days)]; }
            @if shown.user { (text("user", "User", &filters.user, "E-mail or folder")) }
            (text("project", "Project", &filters.project, "Folder or its last part"))
            @if shown.model { (text("model", "Model", &filters.model, "Exact id")) }
            label { "Agent"
                select name="agent" {
                    option value="" { "Any" }
                    @for agent in AgentParam::value_variants() {
                        option value=(agent.name()) selected[filters.agent.as_deref() == Some(agent.name())] { (agent_name(agent.name())) }
                    }
                }
            }
            (own.fields)
            @if filters.is_zoned { input type="hidden" name="tz" value=(filters.zone); }
            button .primary { "Apply" }
        }
        @for error in &filters.errors { p .notice .warning { (error) } }
        (active(path, filters, shown, own))
    }
}

/// The labels of the filters of every page.
const LABELS: [(&str, &str); 4] = [
    ("user", "User"),
    ("project", "Project"),
    ("model", "Model"),
    ("agent", "Agent"),
];

/// The name of a filter for people.
fn label_of(name: &str, own: &[(&'static str, &'static str)]) -> &'static str {
    let mut labels = LABELS.iter().chain(own);
    labels
        .find(|(known, _)| *known == name)
        .map_or("Filter", |(_, label)| label)
}

/// The filters that name something, each with a link that removes it.
fn active(path: &str, filters: &Filters, shown: ShownFilters, own: &OwnFilters<'_>) -> Markup {
    let named = filters.named();
    let named = named
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .filter(|(name, _)| shown.model || *name != "model");
    let has_label = |name: &str| own.labels.iter().any(|(known, _)| *known == name);
    let owned = own.parameters.iter().copied();
    let set: Vec<_> = named
        .chain(owned.filter(|(name, _)| has_label(name)))
        .map(|(name, value)| (name, label_of(name, own.labels), value))
        .collect();
    // An empty value removes a filter.
    let without = |name: &'static str| {
        let mut changes = own.parameters.clone();
        changes.retain(|(known, _)| *known != name);
        changes.push((name, ""));
        filters.link(path, &changes)
    };
    html! {
        @if !set.is_empty() {
            ul .active-filters aria-label="Active filters" {
                @for (name, label, value) in set {
                    li { a href=(without(name)) title="Remove this filter" {
                        (label) ": " (if name == "agent" { agent_name(value).to_owned() } else { plain(value) }) " " span aria-hidden="true" { "×" } span .visually-hidden { "(remove)" }
                    } }
                }
            }
        }
    }
}

/// The name of a coding agent for people.
pub(super) fn agent_name(agent: &str) -> &str {
    match agent {
        "claude" => "Claude Code",
        "codex" => "Codex CLI",
        "copilot" => "GitHub Copilot CLI",
        "gemini" => "Gemini CLI",
        "kimi" => "Kimi CLI",
        "pi" => "pi",
        "qwen" => "Qwen Code",
        "unknown" => "Another program",
        other => other,
    }
}

/// A notice for an empty part of a page, with what to do next.
pub(super) fn empty(text: &str) -> Markup {
    html! { p .empty { (text) } }
}
