//! The end of a leg.
//!
//! A line `session.shutdown` has the tokens per model. Those that the requests lack become one more
//! row per model, which cannot be attributed to a request. Some versions report the tokens of the
//! leg, others those of all legs of the session, with or without compactions. The output, which the
//! requests have as well, shows which.

use crate::activity::copilot::CopilotReader;
use crate::activity::copilot::leg::{Figures, Leg, ModelSums, add};
use crate::activity::counts::CountReader;
use crate::activity::driver::{Items, Reader};
use crate::activity::{Item, Request, Unrecorded};
use crate::json::{Json, Text};

/// A line `session.shutdown`.
struct Shutdown {
    id: String,
    models: Vec<(String, Figures)>,
    is_incomplete: bool,
}

impl CopilotReader {
    /// Ends a leg. Without the line that reports its tokens, those of its requests are a lower
    /// bound.
    pub(super) fn end_leg(&mut self, line: Option<(Json<'_>, Text<'_>)>, items: &mut Items<'_>) {
        let mut leg = std::mem::take(&mut self.leg);
        let shutdown = line.map(|(data, id)| Shutdown::read(data, id));
        let only_model = shutdown.as_ref().and_then(Shutdown::only_model);
        leg.resolve_all(only_model);
        self.emit_rows(&leg, shutdown.is_some(), items);
        match &shutdown {
            Some(shutdown) => {
                if shutdown.is_incomplete {
                    items.note_damage();
                }
                self.emit_rest(&leg, shutdown, items);
            }
            None if leg.has_answers => {
                items.emit(self.origin(), &Item::Unrecorded(Unrecorded::OpenSession));
            }
            None => {}
        }
        for sums in [leg.sums(false), leg.sums(true)] {
            for (model, figures) in sums {
                add(&mut self.earlier, &model, figures);
            }
        }
    }

    fn emit_rows(&self, leg: &Leg, is_shut_down: bool, items: &mut Items<'_>) {
        for row in &leg.rows {
            let mut origin = self.origin_of(leg.agent(row));
            origin.time = row.time;
            let request = Request {
                message_id: &row.message_id,
                request_id: self.session_id.as_deref().unwrap_or_default(),
                model: leg.model(row).map(Text::plain),
                provider: None,
                speed: None,
                effort: leg.effort(row).map(Text::plain),
                stop_reason: None,
                tokens: row.figures.tokens(),
                count: 1,
                // A compaction has all its tokens.
                is_final: (is_shut_down || row.is_compaction) && !row.is_incomplete,
            };
            items.emit_from(row.line, origin, &Item::Request(request));
        }
    }

    /// Emits the tokens that a leg's requests lack.
    fn emit_rest(&mut self, leg: &Leg, shutdown: &Shutdown, items: &mut Items<'_>) {
        let requests = self.included(leg, shutdown);
        let reported_output = shutdown.output();
        let known_output = output_of(&requests);
        if reported_output < known_output {
            let name = Text::plain("session.shutdown/outputTokens");
            items.emit(self.origin(), &Item::Unknown(name));
        }
        // A model can have another name here than in its messages, whose output would then count
        // twice.
        let mut output_left = reported_output.saturating_sub(known_output).max(0);
        for (model, reported) in &shutdown.models {
            let known = requests.get(model).copied().unwrap_or_default();
            let mut rest = reported.beyond(known);
            rest.output = rest.output.min(output_left);
            output_left -= rest.output;
            if rest == Figures::default() {
                continue;
            }
            let request = Request {
                message_id: &format!("shutdown:{}:{model}", shutdown.id),
                request_id: self.session_id.as_deref().unwrap_or_default(),
                model: Some(Text::plain(model)),
                provider: None,
                speed: None,
                effort: None,
                stop_reason: None,
                tokens: rest.tokens(),
                count: 0,
                is_final: !shutdown.is_incomplete,
            };
            items.emit(self.origin(), &Item::Request(request));
            add(&mut self.earlier, model, rest);
        }
    }

    /// The tokens of the requests that a shutdown includes: of all alternatives, the one whose
    /// output is nearest.
    fn included(&self, leg: &Leg, shutdown: &Shutdown) -> ModelSums {
        let requests = leg.sums(false);
        let with_compactions = joined(&requests, &leg.sums(true));
        let alternatives = [
            joined(&self.earlier, &requests),
            joined(&self.earlier, &with_compactions),
            with_compactions,
        ];
        let reported = shutdown.output();
        let distance = |sums: &ModelSums| output_of(sums).abs_diff(reported);
        let mut best = requests;
        for sums in alternatives {
            if distance(&sums) < distance(&best) {
                best = sums;
            }
        }
        best
    }
}

impl Shutdown {
    fn read(data: Json<'_>, id: Text<'_>) -> Self {
        let mut counts = CountReader::default();
        let mut models = Vec::new();
        let metrics = data.field("modelMetrics");
        for (model, metrics) in metrics.iter().flat_map(Json::entries) {
            if let Some(usage) = metrics.field("usage").filter(Json::is_object) {
                models.push((model, read_figures(&mut counts, usage)));
            }
        }
        Self {
            id: id.decode().into_owned(),
            models,
            is_incomplete: counts.is_incomplete,
        }
    }

    /// The model, if there is only one.
    fn only_model(&self) -> Option<&str> {
        match &*self.models {
            [(model, _)] => Some(model),
            _ => None,
        }
    }

    fn output(&self) -> i64 {
        let outputs = self.models.iter().map(|(_, figures)| figures.output);
        outputs.fold(0, i64::saturating_add)
    }
}

/// The input includes the cache, and the output includes thinking.
fn read_figures(counts: &mut CountReader, usage: Json<'_>) -> Figures {
    let fields = usage.fields([
        "inputTokens",
        "cacheReadTokens",
        "cacheWriteTokens",
        "outputTokens",
        "reasoningTokens",
    ]);
    let [input, cache_read, cache_written, output, thinking] =
        fields.map(|field| counts.read_total(field));
    let cached = cache_read.saturating_add(cache_written);
    Figures {
        input: input.saturating_sub(cached).max(0),
        cache_read,
        cache_written,
        output,
        thinking,
    }
}

fn output_of(sums: &ModelSums) -> i64 {
    let outputs = sums.values().map(|figures| figures.output);
    outputs.fold(0, i64::saturating_add)
}

fn joined(one: &ModelSums, other: &ModelSums) -> ModelSums {
    let mut sums = one.clone();
    for (model, figures) in other {
        add(&mut sums, model, *figures);
    }
    sums
}
