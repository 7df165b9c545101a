//! The tokens of requests.
//!
//! A `token_count` has the tokens of the latest request and the totals of the thread. Codex writes
//! it again whenever anything in it changes, so most are repeats. After a compaction or a rollback,
//! the tokens of the latest request are all 0. Totals start over when an old version resumes.
//!
//! From version 0.151, a `token_usage_record` has the tokens of one response. It describes the same
//! request as the `token_count` with equal tokens next to it. One without such a neighbor is the
//! request of a compaction.

use crate::activity::codex::{CodexReader, set, text};
use crate::activity::counts::{CountReader, stable_hash};
use crate::activity::driver::{Items, Reader};
use crate::activity::{Item, Request, SessionFacts, Tokens};
use crate::json::{Json, Text};

/// Tokens of a request or a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Figures {
    /// Includes `cached` and `written`.
    input: i64,
    cached: i64,
    written: i64,
    /// Includes `reasoning`.
    output: i64,
    reasoning: i64,
    total: i64,
}

/// The token counts so far.
#[derive(Default)]
pub(super) struct TokenCounts {
    /// The totals of the latest `token_count`.
    totals: Option<Figures>,
    /// The tokens of the latest request that no record described.
    latest: Option<Figures>,
    /// A record that no `token_count` described so far.
    pending: Option<Record>,
}

/// A `token_usage_record`.
struct Record {
    figures: Figures,
    is_final: bool,
    response_id: String,
    turn: String,
}

impl Figures {
    /// Reads the tokens of a request, or the totals of a thread.
    fn read(counts: &mut CountReader, usage: Json<'_>, is_total: bool) -> Self {
        let fields = usage.fields([
            "input_tokens",
            "cached_input_tokens",
            "cache_write_input_tokens",
            "output_tokens",
            "reasoning_output_tokens",
            "total_tokens",
        ]);
        let [input, cached, written, output, reasoning, total] = fields.map(|field| {
            if is_total {
                counts.read_total(field)
            } else {
                counts.read(field)
            }
        });
        Self {
            input,
            cached,
            written,
            output,
            reasoning,
            total,
        }
    }

    fn numbers(self) -> [i64; 6] {
        [
            self.input,
            self.cached,
            self.written,
            self.output,
            self.reasoning,
            self.total,
        ]
    }

    /// Whether no token was used. The total is an estimate then.
    fn is_zero(self) -> bool {
        self.numbers()[..5] == [0; 5]
    }

    /// How much the totals grew. If they fell, the thread was resumed and they started over.
    fn since(self, before: Option<Self>) -> Self {
        let before = before.unwrap_or_default();
        let grown = |now: i64, before: i64| now.checked_sub(before).filter(|grown| *grown >= 0);
        let difference = || {
            Some(Self {
                input: grown(self.input, before.input)?,
                cached: grown(self.cached, before.cached)?,
                written: grown(self.written, before.written)?,
                output: grown(self.output, before.output)?,
                reasoning: grown(self.reasoning, before.reasoning)?,
                // Sometimes an estimate, which can fall.
                total: grown(self.total, before.total).unwrap_or(0),
            })
        };
        difference().unwrap_or(self)
    }

    fn tokens(self) -> Tokens {
        let outside = self.input.saturating_sub(self.cached);
        Tokens {
            input: Some(outside.saturating_sub(self.written).max(0)),
            output: Some(self.output),
            cache_read: Some(self.cached),
            cache_creation: Some(self.written),
            thinking: Some(self.reasoning),
            ..Tokens::default()
        }
    }
}

impl CodexReader {
    pub(super) fn read_token_count(&mut self, event: Json<'_>, items: &mut Items<'_>) {
        let [info, limits] = event.fields(["info", "rate_limits"]);
        self.read_plan(limits, items);
        let Some(info) = info.filter(|info| info.is_object()) else {
            return;
        };
        let [total, last] = info.fields(["total_token_usage", "last_token_usage"]);
        let is_object = |usage: &Json<'_>| usage.is_object();
        let (mut counts, mut total_counts) = (CountReader::default(), CountReader::default());
        let total = total.filter(is_object);
        let total = total.map(|total| Figures::read(&mut total_counts, total, true));
        let last = last.filter(is_object);
        let last = last.map(|last| Figures::read(&mut counts, last, false));
        if counts.is_incomplete || total_counts.is_incomplete {
            items.note_damage();
        }
        let before = self.tokens.totals;
        if let Some(total) = total {
            if before == Some(total) {
                return;
            }
            self.tokens.totals = Some(total);
        }
        let grown = || total.map(|total| total.since(before));
        let is_final = !counts.is_incomplete && (last.is_some() || !total_counts.is_incomplete);
        let Some(figures) = last.or_else(grown).filter(|figures| !figures.is_zero()) else {
            return;
        };
        let is_recorded = match self.tokens.pending.take() {
            Some(record) if record.figures == figures => true,
            Some(record) => {
                self.emit_record(&record, items);
                false
            }
            None => false,
        };
        self.tokens.latest = Some(figures).filter(|_| !is_recorded);
        let numbers = [total.unwrap_or_default().numbers(), figures.numbers()].concat();
        let message_id = format!("codex:{:016x}", stable_hash(&numbers));
        let turn = self.thread.turn_or_thread();
        self.emit_request(&message_id, turn, figures, is_final, items);
    }

    pub(super) fn read_usage_record(&mut self, record: Json<'_>, items: &mut Items<'_>) {
        let [response, turn, usage] = record.fields(["response_id", "turn_id", "usage"]);
        let Some(usage) = usage.filter(|usage| usage.is_object()) else {
            return;
        };
        let mut counts = CountReader::default();
        let figures = Figures::read(&mut counts, usage, false);
        if counts.is_incomplete {
            items.note_damage();
        }
        if figures.is_zero()
            || self
                .tokens
                .latest
                .take_if(|latest| *latest == figures)
                .is_some()
        {
            return;
        }
        let hashed = || format!("codex:{:016x}", stable_hash(&figures.numbers()));
        let record = Record {
            figures,
            is_final: !counts.is_incomplete,
            response_id: text(response).map_or_else(hashed, |id| id.decode().into_owned()),
            turn: text(turn).map_or_else(
                || self.thread.turn_or_thread().to_owned(),
                |turn| turn.decode().into_owned(),
            ),
        };
        if let Some(earlier) = self.tokens.pending.replace(record) {
            self.emit_record(&earlier, items);
        }
    }

    fn emit_record(&self, record: &Record, items: &mut Items<'_>) {
        self.emit_request(
            &record.response_id,
            &record.turn,
            record.figures,
            record.is_final,
            items,
        );
    }

    fn emit_request(
        &self,
        message_id: &str,
        request_id: &str,
        figures: Figures,
        is_final: bool,
        items: &mut Items<'_>,
    ) {
        let request = Request {
            message_id,
            request_id,
            model: self.model.as_deref().map(Text::plain),
            provider: self.thread.provider(),
            speed: self.is_fast.then_some(Text::plain("fast")),
            effort: self.effort.as_deref().map(Text::plain),
            stop_reason: None,
            tokens: figures.tokens(),
            count: 1,
            is_final,
        };
        items.emit(self.origin(), &Item::Request(request));
    }

    fn read_plan(&mut self, limits: Option<Json<'_>>, items: &mut Items<'_>) {
        let Some(plan) = limits.and_then(|limits| text(limits.field("plan_type"))) else {
            return;
        };
        if self.plan.as_deref().is_some_and(|known| plan == known) {
            return;
        }
        set(&mut self.plan, Some(plan));
        let facts = SessionFacts {
            plan: Some(plan),
            ..SessionFacts::default()
        };
        items.emit(self.origin(), &Item::Session(facts));
    }
}
