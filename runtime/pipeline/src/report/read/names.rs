//! Names that a report must not contain, because only transcripts of other users have them.

use std::collections::BTreeSet;

use duckdb::types::Value;
use duckdb::{Connection, params_from_iter};
use session_pipeline_store::StoreError;

use crate::report::{ReportScope, UsageReport, UsageTotals};

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

/// SQL for the model of a row of a rollup in a report on the team, with its parameters. A model
/// without a price has a name only if it is used in these directories. Such names can be private,
/// for example that of a model on a user's machine.
pub(super) fn model(directories: &[String]) -> (String, Vec<Value>) {
    let (is_own, parameters) = is_one_of("directory", directories);
    let column = format!(
        "CASE WHEN model = '<synthetic>' OR model IN (SELECT model FROM usage.message_rollups WHERE cost_usd > 0)
            OR model IN (SELECT model FROM usage.message_rollups WHERE model IS NOT NULL AND {is_own})
        THEN model END"
    );
    (column, parameters)
}

/// Removes models without a price that only other users have from a report on the team.
pub(super) fn keep_own_models(
    connection: &Connection,
    report: &mut UsageReport,
    scope: &ReportScope,
) -> Result<(), StoreError> {
    let ReportScope::Team(directories) = scope else {
        return Ok(());
    };
    let rows = report.rows.iter_mut().map(|row| &mut row.totals);
    let totals: Vec<&mut UsageTotals> = rows.chain([&mut report.totals]).collect();
    let (is_own, parameters) = is_one_of("directory", directories);
    let sql = format!(
        "SELECT DISTINCT model FROM usage.message_rollups WHERE model IS NOT NULL AND {is_own}"
    );
    let models = || -> duckdb::Result<BTreeSet<String>> {
        let mut statement = connection.prepare(&sql)?;
        let models = statement.query_map(params_from_iter(&parameters), |row| row.get(0))?;
        models.collect()
    };
    let own = models().map_err(StoreError::database("run the report"))?;
    for totals in totals {
        totals.unknown_models.retain(|model| own.contains(model));
    }
    Ok(())
}
