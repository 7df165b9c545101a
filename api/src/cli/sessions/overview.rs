//! What people recognize a session by, as a row of a table, a row of CSV, and as facts.

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::{is_unsafe_for_terminal, printable};
use session_pipeline_pipeline::csv::{self, CsvCell};
use session_pipeline_pipeline::listing::overview::last_part;
use session_pipeline_store::money::Usd;

use super::{none, to_seconds};
use crate::body::session::{SessionBody, SessionDetailsBody, SubagentRunBody};
use crate::cli::report::{at_least, dollars};
use crate::cli::table::{count_of, number, plural};

/// Longer titles are cut off in a table.
const TITLE_CHARS_MAX: usize = 60;
/// Longer names are cut off in a table.
const NAME_CHARS_MAX: usize = 30;
/// Runs of sub-agents that are shown.
const RUNS_SHOWN: usize = 20;

pub(super) const HEADER: [&str; 8] = [
    "title", "project", "user", "agent", "age", "cost", "messages", "state",
];
pub(super) const TEXT_COLUMNS: [&str; 5] = ["title", "project", "user", "agent", "key"];

const FIELDS: [&str; 13] = [
    "key",
    "title",
    "project",
    "user",
    "last_activity_at",
    "cost_usd",
    "cost_is_lower_bound",
    "messages",
    "state",
    "is_automated",
    "is_subagent",
    "session_id",
    "agent",
];

/// A row of the table, for [`HEADER`].
pub(super) fn cells(session: &SessionBody, now: UtcMicros) -> [String; 8] {
    let summary = &session.summary;
    let title = match &summary.title {
        Some(title) => shortened(title, TITLE_CHARS_MAX),
        // Without a title, the file identifies the session.
        None => {
            let name = last_part(&session.key);
            let name = name
                .strip_suffix(".jsonl")
                .or_else(|| name.strip_suffix(".json"))
                .unwrap_or(name);
            format!("({})", shortened(name, TITLE_CHARS_MAX - 2))
        }
    };
    let project = summary.project.as_deref();
    let user = summary.user_email.as_deref().unwrap_or(&session.user);
    let at = summary.last_activity_at.as_deref();
    let at = at.and_then(|at| at.parse::<UtcMicros>().ok());
    [
        title,
        project.map_or_else(none, |path| shortened(last_part(path), NAME_CHARS_MAX)),
        shortened(user, NAME_CHARS_MAX),
        summary
            .agent
            .as_deref()
            .map_or_else(none, |agent| shortened(agent, NAME_CHARS_MAX)),
        at.map_or_else(none, |at| age(now, at)),
        cost(session.cost_usd, summary.cost_is_lower_bound).unwrap_or_else(none),
        summary.messages.map_or_else(none, number),
        states(session).join(", "),
    ]
}

pub(super) fn csv_header() -> String {
    let mut out = String::new();
    csv::line(&mut out, FIELDS.map(CsvCell::Text));
    out
}

pub(super) fn csv_row(out: &mut String, session: &SessionBody) {
    let summary = &session.summary;
    let flag = |flag: Option<bool>| flag.map(|flag| flag.to_string()).unwrap_or_default();
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let cost = session.cost_usd.map(|cost| cost.to_string());
    let states = states(session).join(" ");
    csv::line(
        out,
        [
            CsvCell::Text(&session.key),
            CsvCell::Text(summary.title.as_deref().unwrap_or_default()),
            CsvCell::Text(summary.project.as_deref().unwrap_or_default()),
            CsvCell::Text(summary.user_email.as_deref().unwrap_or(&session.user)),
            CsvCell::Text(summary.last_activity_at.as_deref().unwrap_or_default()),
            CsvCell::Number(cost.as_deref().unwrap_or_default()),
            CsvCell::Text(&flag(summary.cost_is_lower_bound)),
            CsvCell::Number(&number(summary.messages)),
            CsvCell::Text(&states),
            CsvCell::Text(&flag(summary.is_automated)),
            CsvCell::Text(&flag(Some(summary.is_subagent))),
            CsvCell::Text(summary.session_id.as_deref().unwrap_or_default()),
            CsvCell::Text(summary.agent.as_deref().unwrap_or_default()),
        ],
    );
}

/// The distinct states of a session with its processors, most urgent first.
fn states(session: &SessionBody) -> Vec<&'static str> {
    let mut states: Vec<_> = session.processors.iter().map(|known| known.state).collect();
    states.sort_unstable_by(|one, two| two.cmp(one));
    states.dedup();
    states.into_iter().map(|state| state.as_str()).collect()
}

/// `?`: no model has a price. `None`: not known.
fn cost(cost: Option<Usd>, is_lower_bound: Option<bool>) -> Option<String> {
    let is_lower_bound = is_lower_bound?;
    Some(cost.map_or_else(
        || "?".to_owned(),
        |cost| at_least(dollars(cost), is_lower_bound),
    ))
}

/// The time since an instant in its largest unit: `5 min`, `3 h`, `12 d`.
fn age(now: UtcMicros, at: UtcMicros) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let seconds = now.0.saturating_sub(at.0) / 1_000_000;
    match seconds {
        ..MINUTE => "now".to_owned(),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => format!("{} h", seconds / HOUR),
        _ => format!("{} d", number(seconds / DAY)),
    }
}

/// Untrusted text on one line, with at most this many characters.
fn shortened(text: &str, chars_max: usize) -> String {
    let mut out = String::new();
    let mut count = 0;
    for c in text.chars() {
        let escaped = match is_unsafe_for_terminal(c) {
            true => c.escape_default().to_string(),
            false => c.to_string(),
        };
        count += escaped.chars().count();
        if count > chars_max {
            // Makes room for the ellipsis.
            while out.chars().count() >= chars_max {
                out.pop();
            }
            out.push('…');
            break;
        }
        out.push_str(&escaped);
    }
    out
}

/// The facts about one session, in the order in which people look for them.
pub(super) fn facts(shown: &SessionDetailsBody) -> Vec<(&'static str, Option<String>)> {
    let (summary, background) = (&shown.summary, &shown.background);
    let text = |text: &Option<String>| text.as_deref().map(printable);
    let instant = |at: &Option<String>| at.as_deref().map(to_seconds);
    let list = |texts: &[String]| {
        let texts: Vec<String> = texts.iter().map(|text| printable(text)).collect();
        Some(texts.join(", ")).filter(|texts| !texts.is_empty())
    };
    let cost = cost(shown.cost_usd, summary.cost_is_lower_bound);
    let automated = summary.is_automated.map(|is_automated| match is_automated {
        true => "yes: programs began all turns".to_owned(),
        false => "no: a person began a turn".to_owned(),
    });
    let lines = match (background.lines_added, background.lines_removed) {
        (None, None) => None,
        (added, removed) => Some(format!(
            "{} added, {} removed",
            number(added.unwrap_or(0)),
            number(removed.unwrap_or(0))
        )),
    };
    vec![
        ("title", text(&summary.title)),
        ("project", text(&summary.project)),
        ("branch", text(&summary.branch)),
        ("pull requests", list(&background.pull_requests)),
        ("session id", text(&summary.session_id)),
        ("started", instant(&summary.started_at)),
        ("last activity", instant(&summary.last_activity_at)),
        ("messages", summary.messages.map(number)),
        ("cost", cost),
        ("tokens", tokens(shown)),
        ("lines", lines),
        ("compactions", background.compactions.map(number)),
        ("API errors", api_errors(shown)),
        ("queued prompts", background.queued_prompts.map(number)),
        ("automated", automated),
        ("entry point", text(&summary.entrypoint)),
        ("agent", text(&summary.agent)),
        ("agent version", text(&background.agent_version)),
        ("plan", text(&background.plan)),
        ("parent session", text(&background.parent_session)),
        ("forks", list(&background.forks)),
        ("sub-agents", unrecorded(shown)),
        ("not recorded", unrecorded_reasons(shown)),
    ]
}

fn tokens(shown: &SessionDetailsBody) -> Option<String> {
    let background = &shown.background;
    let output = at_least(
        number(background.output_tokens?),
        background.output_is_lower_bound.unwrap_or(false),
    );
    Some(format!(
        "{} input, {output} output, {} cache read, {} cache write",
        number(background.input_tokens?),
        number(background.cache_read_tokens?),
        number(background.cache_creation_tokens?),
    ))
}

fn api_errors(shown: &SessionDetailsBody) -> Option<String> {
    let background = &shown.background;
    let count = number(background.api_errors?);
    let classes = background.api_errors_by_class.iter();
    let classes: Vec<String> = classes
        .map(|(class, count)| format!("{} {}", number(*count), printable(class)))
        .collect();
    Some(match classes.is_empty() {
        true => count,
        false => format!("{count}: {}", classes.join(", ")),
    })
}

fn unrecorded(shown: &SessionDetailsBody) -> Option<String> {
    let runs = shown.background.unrecorded_runs?;
    let runs = count_of(runs.unsigned_abs(), "run", "runs");
    Some(format!(
        "{runs} without a transcript, so the cost is a lower bound"
    ))
}

fn unrecorded_reasons(shown: &SessionDetailsBody) -> Option<String> {
    let reasons = shown.background.unrecorded_reasons.iter();
    let reasons: Vec<String> = reasons
        .map(|(reason, count)| format!("{} {}", number(*count), printable(reason)))
        .collect();
    (!reasons.is_empty()).then(|| {
        format!(
            "{}; the tokens of these requests are in no count",
            reasons.join(", ")
        )
    })
}

/// The runs of sub-agents, one per line. Empty if there are none.
pub(super) fn subagent_runs(shown: &SessionDetailsBody) -> String {
    let background = &shown.background;
    let runs = &background.subagent_runs;
    if runs.is_empty() {
        return String::new();
    }
    let mut lines = vec!["sub-agent runs".to_owned()];
    lines.extend(runs.iter().take(RUNS_SHOWN).map(subagent_run));
    let further = runs.len().saturating_sub(RUNS_SHOWN) as u64;
    let further = further.saturating_add(background.omitted_subagent_runs.unwrap_or(0));
    if further > 0 {
        lines.push(format!("  and {}", count_of(further, "other", "others")));
    }
    lines.join("\n")
}

fn subagent_run(run: &SubagentRunBody) -> String {
    let name = run.agent_type.as_deref();
    let mut text = format!("  {}", name.map_or_else(|| "unknown".to_owned(), printable));
    if let Some(tokens) = run.total_tokens {
        text.push_str(&format!(
            "  {} {}",
            number(tokens),
            plural(tokens, "token", "tokens")
        ));
    }
    if let Some(milliseconds) = run.duration_ms {
        text.push_str(&format!("  {:.1} s", milliseconds as f64 / 1000.0));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_one_unit_and_is_never_negative() {
        let age_of = |seconds: i64| age(UtcMicros(seconds * 1_000_000), UtcMicros(0));
        let ages = [-5, 59, 60, 3_599, 3_600, 86_399, 86_400, 86_400 * 1_200].map(age_of);
        let expected = [
            "now", "now", "1 min", "59 min", "1 h", "23 h", "1 d", "1 200 d",
        ];
        assert_eq!(ages, expected);
        assert_eq!(
            age(UtcMicros(i64::MAX), UtcMicros(i64::MIN)),
            "106 751 991 d"
        );
    }

    #[test]
    fn a_shortened_text_is_one_line_of_limited_length_without_control_characters() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("longer", 5), "long…");
        assert_eq!(shortened("a\nb", 10), "a\\nb");
        for text in ["\u{1b}[2J\u{202e}".repeat(50), "é".repeat(100)] {
            let short = shortened(&text, 20);
            assert!(short.ends_with('…') && (18..=20).contains(&short.chars().count()));
            assert!(!short.contains(is_unsafe_for_terminal));
        }
    }
}
