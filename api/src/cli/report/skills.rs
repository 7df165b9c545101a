//! `report skills`.

use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::csv::{self, CsvCell};
use session_pipeline_pipeline::report::{SkillKind, SkillUse, SkillsReport};

use super::ReportOutput;
use crate::cli::table::{number, table};
use crate::cli::{CommandFailure, Exit, hint};

/// Maximum number of users in a cell.
const USERS_SHOWN: usize = 3;

/// Prints the report.
pub(super) fn print(output: &ReportOutput<'_>, text: &str) -> Result<Exit, CommandFailure> {
    let Some(report) = output.print_document(text, comma_separated)? else {
        return Ok(Exit::Done);
    };
    let mut table = table(&[
        "kind",
        "name",
        "uses",
        "errors",
        "sessions",
        "users",
        "first used",
        "last used",
    ])
    .with_shortened(&["name", "users"]);
    for row in &report.rows {
        table.add_row(cells(row));
    }
    crate::cli::print(&table.render())?;
    hint(&format!(
        "as of {}: every session committed before that time is included",
        report.as_of
    ));
    super::omitted(report.omitted_rows);
    Ok(Exit::Done)
}

fn cells(row: &SkillUse) -> Vec<String> {
    let name = printable(&row.name);
    let name = match &row.plugin {
        Some(plugin) if !row.name.starts_with(&format!("{plugin}:")) => {
            format!("{name} ({})", printable(plugin))
        }
        _ => name,
    };
    let shown: Vec<String> = row
        .users
        .iter()
        .take(USERS_SHOWN)
        .map(|user| printable(user))
        .collect();
    let more = row.user_count.saturating_sub(shown.len() as i64);
    let users = match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    };
    let day = |time: &Option<String>| {
        let day = time.as_deref().and_then(|time| time.get(..10));
        day.unwrap_or_default().to_owned()
    };
    vec![
        kind(row.kind).to_owned(),
        name,
        number(row.uses),
        number(row.errors),
        number(row.sessions),
        users,
        day(&row.first_used),
        day(&row.last_used),
    ]
}

fn kind(kind: SkillKind) -> &'static str {
    match kind {
        SkillKind::Skill => "skill",
        SkillKind::Command => "command",
        SkillKind::Agent => "agent",
    }
}

fn comma_separated(report: &SkillsReport) -> String {
    let mut out = String::new();
    let header = [
        "kind",
        "name",
        "plugin",
        "uses",
        "errors",
        "sessions",
        "user_count",
        "users",
        "first_used",
        "last_used",
    ];
    csv::line(&mut out, header.map(CsvCell::Text));
    for row in &report.rows {
        let counts = [row.uses, row.errors, row.sessions, row.user_count].map(|n| n.to_string());
        let counts = counts.iter().map(|count| CsvCell::Number(count));
        let users = row.users.join(" ");
        let texts = [
            kind(row.kind),
            &row.name,
            row.plugin.as_deref().unwrap_or_default(),
        ];
        let times = [&row.first_used, &row.last_used];
        let times = times.map(|time| CsvCell::Text(time.as_deref().unwrap_or_default()));
        let cells = texts.map(CsvCell::Text).into_iter().chain(counts);
        csv::line(&mut out, cells.chain([CsvCell::Text(&users)]).chain(times));
    }
    out
}
