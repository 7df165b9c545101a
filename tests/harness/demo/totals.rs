//! What the agent itself counts: the tokens and the cost of each model, and the changed lines.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::context::TokenUse;
use super::models::Model;

/// The price of a search in the web, in millionths of a dollar.
const SEARCH_COST: u64 = 10_000;

/// The sums over the responses of one model.
#[derive(Clone, Debug, Default)]
struct ModelTotal {
    tokens: TokenUse,
    searches: u64,
    /// In millionths of a dollar.
    cost: u64,
}

/// The sums over a session and its sub-agents.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    models: BTreeMap<&'static str, ModelTotal>,
    has_unknown_model: bool,
    pub(super) lines_added: u64,
    pub(super) lines_removed: u64,
    pub(super) api_seconds: u64,
    pub(super) tool_seconds: u64,
}

impl Totals {
    /// Adds a search in the web by this model.
    pub(super) fn add_search(&mut self, model: &Model) {
        let total = self.models.entry(model.id).or_default();
        total.searches += 1;
        total.cost += SEARCH_COST;
    }

    /// Adds a response.
    pub(super) fn add(&mut self, model: &Model, tokens: &TokenUse) {
        let total = self.models.entry(model.id).or_default();
        total.tokens.add(tokens);
        let Some([input, output, read, write_5m, write_1h]) = model.rates else {
            self.has_unknown_model = true;
            return;
        };
        let classes = [
            tokens.input * input,
            tokens.output * output,
            tokens.cache_read * read,
            tokens.written_5m * write_5m,
            tokens.written_1h * write_1h,
        ];
        total.cost += classes.iter().sum::<u64>() / 1_000;
    }

    /// Adds the responses of a sub-agent.
    pub(super) fn absorb(&mut self, other: &Self) {
        for (model, other) in &other.models {
            let total = self.models.entry(model).or_default();
            total.tokens.add(&other.tokens);
            total.searches += other.searches;
            total.cost += other.cost;
        }
        self.has_unknown_model |= other.has_unknown_model;
    }

    /// The entry of the transcript. `drift` is the share of requests that are in no transcript, per
    /// mille.
    pub(super) fn entry(&self, session_id: &str, drift: u64) -> Value {
        let more = |value: u64| value + value * drift / 1_000;
        let mut models = Map::new();
        let mut total = 0;
        for (
            model,
            ModelTotal {
                tokens,
                searches,
                cost,
            },
        ) in &self.models
        {
            total += more(*cost);
            let usage = json!({
                "inputTokens": more(tokens.input),
                "outputTokens": more(tokens.output),
                "cacheReadInputTokens": more(tokens.cache_read),
                "cacheCreationInputTokens": more(tokens.written_5m + tokens.written_1h),
                "webSearchRequests": searches,
                "costUSD": dollars(more(*cost)),
            });
            models.insert((*model).to_owned(), usage);
        }
        json!({
            "type": "cost-state",
            "sessionId": session_id,
            "totalCostUSD": dollars(total),
            "totalAPIDuration": self.api_seconds * 1_000,
            "totalToolDuration": self.tool_seconds * 1_000,
            "totalLinesAdded": self.lines_added,
            "totalLinesRemoved": self.lines_removed,
            "hasUnknownModelCost": self.has_unknown_model,
            "modelUsage": models,
        })
    }
}

/// Millionths of a dollar as dollars.
fn dollars(millionths: u64) -> f64 {
    millionths as f64 / 1_000_000.0
}
