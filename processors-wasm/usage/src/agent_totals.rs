//! The table `usage.agent_totals`: what the agent itself counted.
//!
//! Claude Code writes its totals repeatedly. They are cumulative, so the last ones count. They
//! include requests that are not in the transcript, such as those for titles. Other agents write
//! the cost of each request or of each run of the program, which is added here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_pipeline_processor::activity::ReportedUsage;
use session_pipeline_processor::transcript::Metadata;
use session_pipeline_processor::{Timestamp, rows};

use crate::Owner;
use crate::numbers::{count, milliseconds};
use crate::place::{KeptPlace, Place};
use crate::strings::{Span, Strings};

rows! {
    /// The totals of one model of a session.
    pub struct AgentTotalRow<'a> in "agent_totals" {
        /// `sessionId` of the line, or of the file, or the session key.
        session_id: &'a str,
        /// The user of the session.
        username: &'a str,
        /// The model.
        model: &'a str,
        /// Input tokens, without the cache.
        input_tokens: Option<i64>,
        /// Output tokens.
        output_tokens: Option<i64>,
        /// Thinking tokens, included in the output tokens.
        thinking_tokens: Option<i64>,
        /// Tokens read from the cache.
        cache_read_tokens: Option<i64>,
        /// Tokens written to the cache, with any lifetime.
        cache_creation_tokens: Option<i64>,
        /// Searches in the web.
        web_searches: Option<i64>,
        /// The cost of the model in US dollars, by the agent's prices.
        cost_usd: Option<f64>,
        /// The cost of the session, the same in all rows.
        total_cost_usd: Option<f64>,
        /// Whether the agent has no price for a model, the same in all rows.
        has_unknown_model_cost: Option<bool>,
        /// Lines that were added in the session, the same in all rows.
        lines_added: Option<i64>,
        /// Lines that were removed in the session, the same in all rows.
        lines_removed: Option<i64>,
        /// The time of all requests in milliseconds, the same in all rows.
        api_duration_ms: Option<i64>,
        /// The time of all tools in milliseconds, the same in all rows.
        tool_duration_ms: Option<i64>,
        /// The time of the last line before the totals that has one.
        occurred_at: Option<Timestamp>,
    }
}

/// The totals of a transcript.
#[derive(Default, Serialize, Deserialize)]
pub struct AgentTotals {
    last: Option<Totals>,
}

#[derive(Serialize, Deserialize)]
struct Totals {
    place: KeptPlace,
    /// By the name of the model.
    models: BTreeMap<String, ModelTotal>,
    cost: Option<f64>,
    has_unknown_model_cost: Option<bool>,
    lines_added: Option<i64>,
    lines_removed: Option<i64>,
    api_duration_ms: Option<i64>,
    tool_duration_ms: Option<i64>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct ModelTotal {
    input: Option<i64>,
    output: Option<i64>,
    thinking: Option<i64>,
    cache_read: Option<i64>,
    cache_creation: Option<i64>,
    web_searches: Option<i64>,
    cost: Option<f64>,
}

impl AgentTotals {
    /// Adds a line with totals, which replaces the earlier ones.
    pub fn add(&mut self, strings: &mut Strings, place: &Place<'_>, metadata: &Metadata<'_>) {
        let models = metadata.model_usage.iter().map(|(model, usage)| {
            let figure = |field: &str| count(usage.field(field));
            let total = ModelTotal {
                input: figure("inputTokens"),
                output: figure("outputTokens"),
                thinking: figure("thinkingTokens"),
                cache_read: figure("cacheReadInputTokens"),
                cache_creation: figure("cacheCreationInputTokens"),
                web_searches: figure("webSearchRequests"),
                cost: usage.field("costUSD").and_then(|cost| cost.f64()),
            };
            (model.clone(), total)
        });
        self.last = Some(Totals {
            place: place.keep(strings),
            models: models.collect(),
            cost: metadata.total_cost.and_then(|cost| cost.f64()),
            has_unknown_model_cost: metadata.has_unknown_model_cost,
            lines_added: count(metadata.lines_added),
            lines_removed: count(metadata.lines_removed),
            api_duration_ms: milliseconds(metadata.api_duration),
            tool_duration_ms: milliseconds(metadata.tool_duration),
        });
    }

    /// Adds what the agent counted and charged for one request.
    pub fn add_reported(
        &mut self,
        strings: &mut Strings,
        place: &Place<'_>,
        reported: &ReportedUsage<'_>,
    ) {
        let place = place.keep(strings);
        let totals = self.last.get_or_insert_with(|| Totals {
            place,
            models: BTreeMap::new(),
            cost: Some(0.0),
            has_unknown_model_cost: Some(false),
            lines_added: None,
            lines_removed: None,
            api_duration_ms: None,
            tool_duration_ms: None,
        });
        totals.place = place;
        let model = reported.model.map(|model| model.decode());
        let model = model.unwrap_or_default();
        let total = totals.models.entry(model.into_owned()).or_default();
        let add = |sum: &mut Option<i64>, count: Option<i64>| {
            if let Some(count) = count {
                *sum = Some(sum.unwrap_or(0).saturating_add(count));
            }
        };
        let tokens = &reported.tokens;
        add(&mut total.input, tokens.input);
        add(&mut total.output, tokens.output);
        add(&mut total.thinking, tokens.thinking);
        add(&mut total.cache_read, tokens.cache_read);
        add(&mut total.cache_creation, tokens.cache_creation);
        match reported.cost_usd {
            Some(cost) => {
                total.cost = Some(total.cost.unwrap_or(0.0) + cost);
                totals.cost = totals.cost.map(|sum| sum + cost);
            }
            None => totals.has_unknown_model_cost = Some(true),
        }
    }

    /// The lines that were added and removed, if the agent counted them.
    pub fn lines(&self) -> Option<(i64, i64)> {
        let last = self.last.as_ref()?;
        Some((last.lines_added?, last.lines_removed?))
    }

    /// The rows of the table, by the name of the model.
    pub fn rows<'a>(&'a self, owner: &'a Owner<'a>) -> impl Iterator<Item = AgentTotalRow<'a>> {
        let string = |span: Option<Span>| span.map(|span| owner.strings.get(span));
        let rows = self.last.iter().flat_map(|last| {
            let models = last.models.iter();
            models.map(move |(model, total)| (last, model, total))
        });
        rows.map(move |(last, model, total)| AgentTotalRow {
            session_id: string(last.place.session_id).unwrap_or(owner.session_id),
            username: owner.username,
            model,
            input_tokens: total.input,
            output_tokens: total.output,
            thinking_tokens: total.thinking,
            cache_read_tokens: total.cache_read,
            cache_creation_tokens: total.cache_creation,
            web_searches: total.web_searches,
            cost_usd: total.cost,
            total_cost_usd: last.cost,
            has_unknown_model_cost: last.has_unknown_model_cost,
            lines_added: last.lines_added,
            lines_removed: last.lines_removed,
            api_duration_ms: last.api_duration_ms,
            tool_duration_ms: last.tool_duration_ms,
            occurred_at: last.place.occurred_at.or(owner.first_time),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::AgentTotalRow;
    use crate::sessions::SessionRow;
    use crate::testing::check;

    #[test]
    fn the_last_totals_count_by_model() {
        let first = r#"{"type":"cost-state","sessionId":"s","totalCostUSD":0.5,"modelUsage":{"gone":{"inputTokens":1}}}"#;
        let last = r#"{"type":"cost-state","sessionId":"s","totalCostUSD":1.25,"totalAPIDuration":7914.6,"totalToolDuration":20106,"totalLinesAdded":12,"totalLinesRemoved":3,"hasUnknownModelCost":true,"modelUsage":{"small":{"inputTokens":"x","outputTokens":5},"large":{"inputTokens":4,"outputTokens":6,"thinkingTokens":2,"cacheReadInputTokens":40,"cacheCreationInputTokens":400,"webSearchRequests":1,"costUSD":1.125}}}"#;
        let user =
            r#"{"type":"user","timestamp":"1970-01-01T00:00:02Z","message":{"content":"go"}}"#;
        let columns = "session_id model input_tokens output_tokens thinking_tokens \
                       cache_read_tokens cache_creation_tokens web_searches cost_usd \
                       total_cost_usd has_unknown_model_cost lines_added lines_removed \
                       api_duration_ms tool_duration_ms occurred_at";
        let key = "ada/s.jsonl";
        check::<AgentTotalRow<'_>>(
            key,
            &[first, user, last],
            columns,
            &[
                "s large 4 6 2 40 400 1 1.125 1.25 true 12 3 7915 20106 2000000",
                "s small - 5 - - - - - 1.25 true 12 3 7915 20106 2000000",
            ],
        );
        let lines = "lines_added lines_removed";
        check::<SessionRow<'_>>(key, &[user, last], lines, &["12 3"]);
        // A patch is more precise.
        let edit = r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"t","name":"Edit"}]}}"#;
        let patch = r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t"}]},"toolUseResult":{"structuredPatch":[{"lines":["+a"]}]}}"#;
        check::<SessionRow<'_>>(key, &[edit, patch, patch, last], lines, &["1 0"]);
        for damaged in ["7", r#"{"a":7}"#, "null"] {
            let line = format!(r#"{{"type":"cost-state","modelUsage":{damaged}}}"#);
            let expected: &[&str] = if damaged.contains('a') { &["a -"] } else { &[] };
            check::<AgentTotalRow<'_>>(key, &[&line], "model input_tokens", expected);
        }
    }
}
