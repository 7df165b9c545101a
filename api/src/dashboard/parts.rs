//! Parts of pages: charts with the table behind them, ranked lists, and the links to data.

use maud::{Markup, html};

use super::filters::Filters;
use super::format::{cost, count, counted, dollars, plain};
use super::frame::{OwnFilters, Reader, filter_form};
use crate::body::usage::UsageTotalsBody;

/// The values of a chart, row by row.
pub(super) struct ChartRow {
    pub(super) label: String,
    /// The page that a click on the row opens.
    pub(super) link: Option<String>,
    pub(super) values: Vec<f64>,
}

/// A series of a chart.
pub(super) struct ChartSeries {
    pub(super) name: String,
    /// The number of its color, which repeat after [`COLORS`]. `None`: gray.
    pub(super) color: Option<usize>,
}

/// The number of colors of series.
const COLORS: usize = 12;

/// A chart of stacked bars. The page's script draws it from the table, which everybody can read.
pub(super) fn bar_chart(
    title: &str,
    first: &str,
    series: &[ChartSeries],
    rows: &[ChartRow],
) -> Markup {
    html! {
        figure data-chart="bars" data-unit="$" {
            div .canvas { canvas role="img" aria-label=(format!("{title}. The table below has the same figures.")) {} }
            details {
                summary { "Show as a table" }
                div .scroll tabindex="0" role="region" aria-label=(title) {
                    table {
                        caption { (title) }
                        thead { tr {
                            th scope="col" { (first) }
                            @for one in series {
                                th scope="col" .number data-color=[one.color.map(|color| color % COLORS + 1)] { (plain(&one.name)) }
                            }
                        } }
                        tbody { @for row in rows { tr {
                            th scope="row" {
                                @match &row.link { Some(link) => a href=(link) { (row.label) }, None => (row.label) }
                            }
                            @for value in &row.values { td .number data-value=(value) { (dollars(*value)) } }
                        } } }
                    }
                }
            }
        }
    }
}

/// A row of a ranked list.
pub(super) struct Ranked {
    pub(super) name: Markup,
    /// A second line.
    pub(super) note: Option<String>,
    pub(super) cost: Option<f64>,
    pub(super) is_lower_bound: bool,
}

/// A list with the largest cost first, and each row's share of the total as a bar.
pub(super) fn ranked(head: &str, rows: &[Ranked], total: f64) -> Markup {
    html! {
        div .scroll {
            table {
                thead { tr {
                    th scope="col" { (head) }
                    th scope="col" .number { "Cost" }
                } }
                tbody { @for row in rows {
                    @let share = share(row.cost, total);
                    tr {
                        th scope="row" .wide {
                            (row.name)
                            @if let Some(note) = &row.note { span .sub { (plain(note)) } }
                        }
                        td .number {
                            (cost(row.cost, row.is_lower_bound))
                            span .share {
                                svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" {
                                    rect width=(format!("{share:.1}")) height="4" {}
                                }
                                (format!("{share:.1} %"))
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn share(cost: Option<f64>, total: f64) -> f64 {
    match cost {
        Some(cost) if total > 0.0 => (cost * 100.0 / total).clamp(0.0, 100.0),
        _ => 0.0,
    }
}

/// A part of a page that is loaded on its own, so that the page opens at once.
pub(super) fn lazy(path: &str) -> Markup {
    html! {
        div hx-get=(path) hx-trigger="load" hx-swap="outerHTML" {
            p .empty { "Loading…" }
            noscript { a href=(path) { "Show" } }
        }
    }
}

/// Why a page is empty, as the API says it.
pub(super) fn notices(notices: &[String]) -> Markup {
    html! { @for text in notices { p .notice .warning { (sentence(text)) } } }
}

/// A text of the API as a sentence.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|first| first.to_ascii_uppercase());
    let end = if text.ends_with(['.', '?']) { "" } else { "." };
    plain(&format!(
        "{}{}{end}",
        first.map(String::from).unwrap_or_default(),
        rest.as_str()
    ))
}

/// A page with one part of another page, such as the causes.
pub(super) struct PartPage<'a> {
    pub(super) title: &'a str,
    /// Its address, without filters.
    pub(super) path: &'a str,
    /// The address and the name of the page with all parts.
    pub(super) whole: (&'a str, &'a str),
    pub(super) part: &'a Markup,
    /// Why the part is empty.
    pub(super) notices: &'a [String],
}

impl PartPage<'_> {
    pub(super) fn render(&self, filters: &Filters, reader: &Reader) -> Markup {
        let (whole, name) = self.whole;
        html! {
            div {
                p .links { a href=(filters.link(whole, &[])) { (name) } }
                h1 { (self.title) }
            }
            (filter_form(self.path, filters, reader.filters(), &OwnFilters::default()))
            (notices(self.notices))
            section .panel aria-label=(self.title) { (self.part) }
        }
    }
}

/// Why the figures are lower bounds, in one sentence per reason.
pub(super) fn reasons(totals: &UsageTotalsBody) -> Vec<String> {
    let mut reasons = Vec::new();
    if totals.unpriced_messages > 0 {
        let models = totals.unknown_models.len() as i64;
        let of = match models {
            0 => "no model".to_owned(),
            models => counted(models, "model without a price", "models without a price"),
        };
        reasons.push(format!(
            "{of} ({})",
            counted(totals.unpriced_messages, "message", "messages")
        ));
    }
    if totals.open_messages > 0 {
        reasons.push(counted(
            totals.open_messages,
            "message without a final count",
            "messages without a final count",
        ));
    }
    if totals.unrecorded_runs > 0 {
        reasons.push(counted(
            totals.unrecorded_runs,
            "sub-agent run without a transcript",
            "sub-agent runs without a transcript",
        ));
    }
    if totals.unrecorded_requests > 0 {
        reasons.push(counted(
            totals.unrecorded_requests,
            "request that the agent did not record",
            "requests that the agent did not record",
        ));
    }
    reasons
}

/// Links to the data of a part as JSON.
pub(super) fn data_links(json: &str) -> Markup {
    html! { p .links { a href=(json) { "JSON" } a href=(format!("{json}{}format=csv", if json.contains('?') { "&" } else { "?" })) { "CSV" } } }
}

/// A link to the rows that a part omits.
pub(super) fn more(omitted: u64, href: &str) -> Markup {
    html! {
        @if omitted > 0 {
            p .links { a href=(href) { (count(i64::try_from(omitted).unwrap_or(i64::MAX))) " more" } }
        }
    }
}

/// The next page of a list.
pub(super) fn pager(first: Option<&str>, next: Option<&str>) -> Markup {
    html! {
        @if first.is_some() || next.is_some() {
            nav .pages aria-label="Pages of the list" {
                span { @if let Some(first) = first { a .button href=(first) { "First page" } } }
                span { @if let Some(next) = next { a .button rel="next" href=(next) { "Next page" } } }
            }
        }
    }
}
