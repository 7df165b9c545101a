//! Names that a report must not contain, because only transcripts of other users have them.

use duckdb::types::Value;

use crate::report::{ReportScope, UsageReport};

/// SQL for whether a column has one of some values, with its parameters.
pub(super) fn is_one_of(column: &str, values: &[String]) -> (String, Vec<Value>) {
    if values.is_empty() {
        return ("false".to_owned(), Vec::new());
    }
    let places = vec!["?"; values.len()].join(", ");
    let values = values.iter().cloned().map(Value::Text).collect();
    (format!("{column} IN ({places})"), values)
}

/// SQL for whether the session whose key is in a column can be named, with its parameters.
pub(in crate::report) fn condition(
    session_file: &str,
    scope: &ReportScope,
) -> (String, Vec<Value>) {
    match scope.named() {
        None => ("true".to_owned(), Vec::new()),
        Some(directories) => is_one_of(&format!("split_part({session_file}, '/', 1)"), directories),
    }
}

/// SQL for the model of a row of a rollup in a report on the team. Models without a price have no
/// name there: it can be private, for example that of a model on a user's machine. A name in the
/// caller's own transcripts is no exception, because a caller could upload a name to find out who
/// else uses it. What precedes the name of a Claude model, for example the host of a gateway, can be
/// private as well, so it is removed.
pub(super) const TEAM_MODEL: &str = r"CASE WHEN model = '<synthetic>' THEN model
    WHEN model IN (SELECT model FROM usage.message_rollups WHERE cost_usd > 0)
        THEN coalesce(nullif(regexp_extract(model, '(?s)^.*[/.](claude-.*)$', 1), ''), model) END";

/// Removes the names of models without a price from a report on the team.
pub(super) fn remove_unpriced_models(report: &mut UsageReport, scope: &ReportScope) {
    if matches!(scope, ReportScope::Team(_)) {
        let rows = report.rows.iter_mut().map(|row| &mut row.totals);
        for totals in rows.chain([&mut report.totals]) {
            totals.unknown_models.clear();
        }
    }
}
