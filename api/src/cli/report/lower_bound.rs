//! Explains why figures are lower bounds, by how much, and what to do about it.

use std::path::Path;

use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::report::UsageTotals;

use crate::cli::hint;
use crate::cli::table::{number, plural};

/// Maximum number of models without a price in the hint.
const UNKNOWN_MODELS_SHOWN: usize = 10;

/// Prints a hint for each reason.
pub(super) fn explain(totals: &UsageTotals, prices: &Path) {
    if totals.open_messages > 0 {
        hint(&format!(
            "≥ output: the transcripts have no final output count for {}, so their output and cost are lower bounds",
            messages(totals.open_messages)
        ));
    }
    if totals.unrecorded_runs > 0 {
        hint(&format!(
            "≥ cost: {} no transcript; at least {} used, which no count includes",
            count(
                totals.unrecorded_runs,
                "run of a sub-agent has",
                "runs of sub-agents have"
            ),
            count(
                totals.unrecorded_tokens,
                "more token was",
                "more tokens were"
            )
        ));
    }
    if totals.unrecorded_requests > 0 {
        hint(&format!(
            "≥ cost: {} not recorded by the agent, such as the request in progress when a turn was aborted",
            count(totals.unrecorded_requests, "request is", "requests are")
        ));
    }
    if totals.unpriced_messages == 0 {
        return;
    }
    if totals.unknown_models.is_empty() {
        hint(&format!(
            "≥ cost: {} without a model, which therefore has no price",
            messages(totals.unpriced_messages)
        ));
        return;
    }
    let shown = totals.unknown_models.iter().take(UNKNOWN_MODELS_SHOWN);
    let mut models: Vec<String> = shown.map(|model| printable(model)).collect();
    if models.len() < totals.unknown_models.len() {
        models.push("and others".to_owned());
    }
    hint(&format!(
        "≥ cost: no price is known for {} ({}); add prices to `{}` (see docs/prices.md)",
        models.join(", "),
        messages(totals.unpriced_messages),
        prices.display()
    ));
}

/// Explains the difference between the agent's own figures and ours in a report by session.
pub(super) fn explain_drift(totals: &UsageTotals) {
    if totals.agent_output_tokens.is_none() {
        return;
    }
    let reason = if totals.unrecorded_runs > 0 || totals.open_messages > 0 {
        "requests that are in no transcript, such as those for titles, and sub-agents whose final counts were never written"
    } else {
        "requests that are in no transcript, such as those for titles"
    };
    hint(&format!(
        "drift is the agent's own figure minus ours; the agent includes {reason}"
    ));
}

fn messages(messages: i64) -> String {
    count(messages, "message", "messages")
}

fn count(value: i64, one: &str, many: &str) -> String {
    format!("{} {}", number(value), plural(value, one, many))
}
