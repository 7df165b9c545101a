//! Data quality: why figures are lower bounds, what is in no figure, and how far they differ from
//! the agent's own totals.

use maud::{Markup, html};
use session_pipeline_pipeline::report::QualityReport;

use super::filters::Filters;
use super::format::{count, counted, dollars, percent, plain, short_count, time};
use super::frame::{OwnFilters, Reader, agent_name, empty, filter_form};
use super::transcript::session_href;

/// `request`: the request to the API that returned the report.
pub(super) fn page(
    report: &QualityReport,
    request: &str,
    filters: &Filters,
    reader: &Reader,
) -> Markup {
    let versions = &report.versions;
    let messages: i64 = versions.iter().map(|version| version.messages).sum();
    let open: i64 = versions.iter().map(|version| version.open_messages).sum();
    let unpriced: i64 = versions
        .iter()
        .map(|version| version.unpriced_messages)
        .sum();
    html! {
        div {
            h1 { "Data quality" }
            p .lead { "How exact the figures of the period are. A total is a lower bound if anything below is missing from it. Messages count on their own day, and files on the day of their last line." }
        }
        (filter_form("/quality", filters, reader.filters().without_model(), &OwnFilters::default()))
        dl .cards aria-label="Summary" {
            (card("Without a final count", &percent(open, messages), &format!("{} of {}", count(open), counted(messages, "message", "messages"))))
            (card("Without a price", &percent(unpriced, messages), &format!("{}, {}", counted(unpriced, "message", "messages"), counted(report.unpriced_models.len() as i64, "model", "models"))))
            (card("Runs without a transcript", &count(report.unrecorded_runs), &format!("{} tokens in no figure", short_count(report.unrecorded_tokens))))
            (card("Unreadable lines", &count(report.lines.bad_lines + report.lines.skipped_lines), &format!("of {} lines in {}", short_count(report.lines.lines), counted(report.lines.files, "file", "files"))))
            (card("Unknown lines", &count(report.lines.unknown_lines), &format!("of {}", counted(report.unknown_kinds.len() as i64, "type", "types"))))
        }
        p .links { a href=(format!("/data{request}")) { "JSON" } }
        section .panel aria-labelledby="prices" {
            h2 #prices { "Models without a price" }
            @if report.unpriced_models.is_empty() { (empty("Every message has a price.")) } @else {
                p { "Add their prices to the price file, or run " code { "session-pipeline prices update" } ". All figures follow at once, including those of the past." }
                (table("Models without a price", &["Model"], &["Messages", "Tokens", "Sessions"], &["First", "Last"],
                    report.unpriced_models.iter().map(|model| Row {
                        texts: vec![html! { (model.model.as_deref().map_or_else(|| "(no model)".to_owned(), plain)) }],
                        numbers: vec![count(model.messages), short_count(model.tokens), count(model.sessions)],
                        times: vec![time(model.first_seen.as_deref()), time(model.last_seen.as_deref())],
                    })))
            }
        }
        section .panel aria-labelledby="versions" {
            h2 #versions { "By version of the agent" }
            @if versions.is_empty() { (empty("No messages in this period.")) } @else {
                p { "Some versions of an agent do not write the final output count of a response, so its output and cost are lower bounds. Versions without a problem are not listed." }
                (table("Messages by version of the agent", &["Agent", "Version"], &["Messages", "Without final count", "Without price", "Sessions"], &[],
                    versions.iter().filter(|version| version.open_messages + version.unpriced_messages > 0).map(|version| Row {
                        texts: vec![html! { (plain(agent_name(&version.agent))) }, html! { (version.agent_version.as_deref().map_or_else(|| "not recorded".to_owned(), plain)) }],
                        numbers: vec![
                            count(version.messages),
                            format!("{} ({})", count(version.open_messages), percent(version.open_messages, version.messages)),
                            count(version.unpriced_messages),
                            count(version.sessions),
                        ],
                        times: vec![],
                    })))
            }
        }
        section .panel aria-labelledby="unrecorded" {
            h2 #unrecorded { "Tokens that agents do not record" }
            @if report.unrecorded_requests.is_empty() { (empty("No agent left out tokens that it reports.")) } @else {
                p { "The tokens of these requests are in no transcript, so every total that includes their session is a lower bound." }
                (table("Tokens that agents do not record", &["Agent", "Reason"], &["Requests", "Files"], &[],
                    report.unrecorded_requests.iter().map(|reason| Row {
                        texts: vec![html! { (plain(agent_name(&reason.agent))) }, html! { code { (plain(&reason.reason)) } }],
                        numbers: vec![count(reason.requests), count(reason.files)],
                        times: vec![],
                    })))
            }
        }
        section .panel aria-labelledby="kinds" {
            h2 #kinds { "Unknown line types" }
            @if report.unknown_kinds.is_empty() { (empty("Every line has a known type.")) } @else {
                p { "A newer agent writes them. What they contain is in no figure. Update Session Pipeline, or report the type." }
                (table("Unknown line types", &["Type"], &["Lines", "Sessions"], &["Since", "Last", "Agent version"],
                    report.unknown_kinds.iter().map(|kind| Row {
                        texts: vec![html! { code { (plain(&kind.kind)) } }],
                        numbers: vec![count(kind.lines), count(kind.sessions)],
                        times: vec![time(kind.first_seen.as_deref()), time(kind.last_seen.as_deref()),
                            html! { (kind.agent_version.as_deref().map_or_else(|| "–".to_owned(), plain)) }],
                    })))
            }
        }
        section .panel aria-labelledby="lines" {
            h2 #lines { "Unreadable lines" }
            p { (counted(report.lines.files, "file", "files")) " with " (counted(report.lines.lines, "line", "lines")) ". Not valid JSON: "
                (count(report.lines.bad_lines)) ". Too long: " (count(report.lines.skipped_lines)) ". Files that end within a line: "
                (count(report.lines.incomplete_files)) "." }
            @if !report.unread.is_empty() {
                (table("Sessions with unreadable lines", &["Session"], &["Not JSON", "Too long"], &[],
                    report.unread.iter().map(|unread| Row {
                        texts: vec![session(Some(&unread.session), unread.title.as_deref(), &unread.session)],
                        numbers: vec![count(unread.bad_lines), count(unread.skipped_lines)],
                        times: vec![],
                    })))
            }
        }
        section .panel aria-labelledby="drift" {
            h2 #drift { "Difference to the agent's own totals" }
            @if report.sessions_with_agent_totals == 0 {
                (empty("No transcript contains a total of the agent. Versions since 2.1.248 write one into interactive sessions."))
            } @else {
                p { "Sessions with a total of the agent: " (count(report.sessions_with_agent_totals as i64)) ". "
                    @if report.drift.is_empty() { "All of them equal ours." }
                    @else { "The agent counts requests that are in no transcript, such as those for titles, so its figure is usually a little higher. The largest differences:" } }
                @if !report.drift.is_empty() {
                    (table("Sessions that differ", &["Session"], &["Our cost", "Agent's cost", "Difference", "Our output", "Agent's output"], &[],
                        report.drift.iter().map(|drift| {
                            let ours = drift.cost_usd.map(|cost| cost.dollars());
                            let agent = drift.agent_cost_usd.dollars();
                            Row {
                                texts: vec![session(drift.session.as_deref(), drift.title.as_deref(), &drift.session_id)],
                                numbers: vec![
                                    ours.map_or_else(|| "no price".to_owned(), dollars),
                                    dollars(agent),
                                    dollars(agent - ours.unwrap_or(0.0)),
                                    count(drift.output_tokens),
                                    count(drift.agent_output_tokens),
                                ],
                                times: vec![],
                            }
                        })))
                }
            }
        }
        p .links { a href=(filters.link("/operations", &[])) { "Operations" } }
    }
}

fn card(name: &str, value: &str, note: &str) -> Markup {
    html! { div .card { dt { (name) } dd { div .value { (value) } div .change { (note) } } } }
}

fn session(key: Option<&str>, title: Option<&str>, id: &str) -> Markup {
    let name = title.filter(|title| !title.trim().is_empty()).unwrap_or(id);
    html! { @match key { Some(key) => a href=(session_href(key)) { (plain(name)) }, None => (plain(name)) } }
}

struct Row {
    texts: Vec<Markup>,
    numbers: Vec<String>,
    times: Vec<Markup>,
}

fn table(
    caption: &str,
    texts: &[&str],
    numbers: &[&str],
    times: &[&str],
    rows: impl Iterator<Item = Row>,
) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label=(caption) {
            table .stack {
                caption .visually-hidden { (caption) }
                thead { tr {
                    @for head in texts { th scope="col" { (head) } }
                    @for head in numbers { th scope="col" .number { (head) } }
                    @for head in times { th scope="col" { (head) } }
                } }
                tbody { @for row in rows { tr {
                    @for text in &row.texts { th scope="row" .wide { (text) } }
                    @for (head, number) in numbers.iter().zip(&row.numbers) { td .number data-label=(head) { (number) } }
                    @for (head, time) in times.iter().zip(&row.times) { td data-label=(head) { (time) } }
                } } }
            }
        }
    }
}
