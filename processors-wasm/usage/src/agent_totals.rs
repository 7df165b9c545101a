//! The table `usage.agent_totals`: what the agent itself counted.
//!
//! The agent writes its totals repeatedly. They are cumulative, so the last ones count. They include
//! requests that are not in the transcript, such as those for titles.

use std::collections::BTreeMap;

use session_pipeline_processor::json::Json;
use session_pipeline_processor::transcript::Metadata;
use session_pipeline_processor::{Timestamp, rows};

use crate::Owner;
use crate::calls::count;
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

/// The last totals of a transcript.
#[derive(Default)]
pub struct AgentTotals {
    last: Option<Totals>,
}

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

#[derive(Clone, Copy)]
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
        // Whole numbers of milliseconds, which versions of the agent write with fractions.
        let duration = |json: Option<Json<'_>>| {
            let millis = json?.f64().filter(|millis| (0.0..1e15).contains(millis))?;
            Some(millis.round() as i64)
        };
        self.last = Some(Totals {
            place: place.keep(strings),
            models: models.collect(),
            cost: metadata.total_cost.and_then(|cost| cost.f64()),
            has_unknown_model_cost: metadata.has_unknown_model_cost,
            lines_added: count(metadata.lines_added),
            lines_removed: count(metadata.lines_removed),
            api_duration_ms: duration(metadata.api_duration),
            tool_duration_ms: duration(metadata.tool_duration),
        });
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
