//! The end of a leg.
//!
//! A line `session.shutdown` has the tokens per model. Those that the requests lack become one more
//! row per model, which cannot be attributed to a request. Some versions report the tokens of the
//! leg, others those of all legs of the session, with or without compactions. The output, which the
//! requests have as well, shows which.

use crate::activity::copilot::CopilotReader;
use crate::activity::copilot::leg::{Figures, Leg, ModelSums};
use crate::activity::counts::CountReader;
use crate::activity::driver::{Items, Reader};
use crate::activity::{Item, Request, Unrecorded};
use crate::json::{Json, Text};

/// A shutdown that reports less output than its messages have, as the name of an unknown kind.
const LOW_OUTPUT: &str = "session.shutdown/outputTokens";

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
        for of_compactions in [false, true] {
            self.earlier.add_all(&leg.sums(of_compactions));
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
        let (requests, compactions) = (leg.sums(false), leg.sums(true));
        let included = included(&requests, &compactions, &self.earlier, shutdown.output());
        let known_output = output_of(&included);
        if shutdown.output() < known_output {
            items.emit(self.origin(), &Item::Unknown(Text::plain(LOW_OUTPUT)));
        }
        // A model can have another name here than in its messages, whose output would then count
        // twice.
        let mut output_left = shutdown.output().saturating_sub(known_output).max(0);
        let mut rests = ModelSums::default();
        for (model, reported) in &shutdown.models {
            let known = included.iter().map(|sums| sums.get(model));
            let mut rest = known.fold(*reported, Figures::beyond);
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
            rests.add(model, rest);
        }
        self.earlier.add_all(&rests);
    }
}

/// The sums that a shutdown includes: of all alternatives, the one whose output is nearest.
fn included<'a>(
    requests: &'a ModelSums,
    compactions: &'a ModelSums,
    earlier: &'a ModelSums,
    reported_output: i64,
) -> Vec<&'a ModelSums> {
    let alternatives = [
        vec![requests],
        vec![earlier, requests],
        vec![earlier, requests, compactions],
        vec![requests, compactions],
    ];
    let distance = |sums: &Vec<&ModelSums>| output_of(sums).abs_diff(reported_output);
    // Of equal distances, the first.
    let nearest = alternatives.into_iter().min_by_key(distance);
    nearest.unwrap_or_default()
}

fn output_of(sums: &[&ModelSums]) -> i64 {
    let outputs = sums.iter().map(|sums| sums.output);
    outputs.fold(0, i64::saturating_add)
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
