//! The end of a leg.
//!
//! A line `session.shutdown` has the tokens per model. Those that the requests lack become one more
//! row per model, which cannot be attributed to a request. Some versions report the tokens of the
//! leg, others those of all legs of the session, with or without compactions. The output, which the
//! requests have as well, shows which.
//!
//! The line also has what was charged, in units of 10⁻⁹ AI credits. A line `session.usage_checkpoint`
//! has what was charged so far, which remains the best figure of a leg without an end.

use std::collections::BTreeMap;

use crate::activity::copilot::CopilotReader;
use crate::activity::copilot::leg::{Figures, Leg, ModelSums};
use crate::activity::counts::CountReader;
use crate::activity::driver::{Items, Reader};
use crate::activity::{Item, ReportedUsage, Request, Unrecorded};
use crate::json::{Json, Text};

/// A shutdown that reports less output than its messages have, as the name of an unknown kind.
const LOW_OUTPUT: &str = "session.shutdown/outputTokens";

/// The price of 10⁻⁹ AI credits in US dollars. A credit costs one cent.
const NANO_CREDIT_USD: f64 = 1e-11;

/// A line `session.shutdown`.
struct Shutdown {
    id: String,
    models: Vec<(String, Figures)>,
    /// What was charged for each of the models, in 10⁻⁹ credits, if the version reports it.
    charges: Vec<Option<i64>>,
    is_incomplete: bool,
}

/// What earlier legs reported.
#[derive(Default)]
pub(super) struct EarlierReports {
    figures: ModelSums,
    /// By model, in 10⁻⁹ credits.
    charges: BTreeMap<String, i64>,
}

impl EarlierReports {
    fn add(&mut self, model: &str, figures: Figures, charge: Option<i64>) {
        self.figures.add(model, figures);
        if let Some(charge) = charge {
            let sum = self.charges.entry(model.to_owned()).or_default();
            *sum = sum.saturating_add(charge);
        }
    }

    fn charge(&self) -> i64 {
        self.charges.values().copied().fold(0, i64::saturating_add)
    }
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
        match &shutdown {
            Some(_) => self.checkpoint = None,
            None => self.emit_open(&leg, items),
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
        let (included, is_running) =
            included(&requests, &compactions, &self.earlier, shutdown.output());
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
        self.emit_reported(shutdown, is_running, items);
    }

    /// Emits what a shutdown reports of each model, without what earlier ones reported if its
    /// figures include them.
    fn emit_reported(&mut self, shutdown: &Shutdown, is_running: bool, items: &mut Items<'_>) {
        for ((model, figures), charge) in shutdown.models.iter().zip(&shutdown.charges) {
            let mut figures = *figures;
            let mut charge = *charge;
            if is_running {
                figures = figures.beyond(self.reported.figures.get(model));
                let before = self.reported.charges.get(model).copied().unwrap_or(0);
                charge = charge.map(|charge| charge.saturating_sub(before).max(0));
            }
            let reported = ReportedUsage {
                model: Some(Text::plain(model)),
                tokens: figures.tokens(),
                cost_usd: charge.map(dollars),
            };
            items.emit(self.origin(), &Item::Reported(reported));
            self.reported.add(model, figures, charge);
        }
    }

    /// Emits what a leg without a shutdown has of the agent's own figures: the output of its
    /// messages, and what was charged by its latest checkpoint. A checkpoint includes earlier legs,
    /// and does not attribute the charge to several models.
    fn emit_open(&mut self, leg: &Leg, items: &mut Items<'_>) {
        let before = self.reported.charge();
        let charge = self.checkpoint.take().map(|total| match total >= before {
            true => total - before,
            false => total,
        });
        let mut sums = leg.sums(false);
        sums.add_all(&leg.sums(true));
        let charge = charge.filter(|_| sums.len() == 1);
        for (model, figures) in sums.iter() {
            let reported = ReportedUsage {
                model: Some(Text::plain(model)),
                tokens: figures.tokens(),
                cost_usd: charge.map(dollars),
            };
            items.emit(self.origin(), &Item::Reported(reported));
            self.reported.add(model, figures, charge);
        }
    }
}

/// The sums that a shutdown includes, of all alternatives the one whose output is nearest, and
/// whether they are those of all legs so far.
fn included<'a>(
    requests: &'a ModelSums,
    compactions: &'a ModelSums,
    earlier: &'a ModelSums,
    reported_output: i64,
) -> (Vec<&'a ModelSums>, bool) {
    let alternatives = [
        (vec![requests], false),
        (vec![earlier, requests], true),
        (vec![earlier, requests, compactions], true),
        (vec![requests, compactions], false),
    ];
    let distance = |(sums, _): &(Vec<&ModelSums>, bool)| output_of(sums).abs_diff(reported_output);
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
        let (mut models, mut charges) = (Vec::new(), Vec::new());
        let metrics = data.field("modelMetrics");
        for (model, metrics) in metrics.iter().flat_map(Json::entries) {
            let [usage, charged] = metrics.fields(["usage", "totalNanoAiu"]);
            if let Some(usage) = usage.filter(Json::is_object) {
                models.push((model, read_figures(&mut counts, usage)));
                charges.push(read_charge(charged));
            }
        }
        // The sum is that of the only model.
        if let [charge @ None] = &mut charges[..] {
            *charge = read_charge(data.field("totalNanoAiu"));
        }
        Self {
            id: id.decode().into_owned(),
            models,
            charges,
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

/// An amount in 10⁻⁹ AI credits. `None` if there is none or it is not valid.
pub(super) fn read_charge(amount: Option<Json<'_>>) -> Option<i64> {
    amount?.s64().filter(|amount| *amount >= 0)
}

fn dollars(nano_credits: i64) -> f64 {
    nano_credits as f64 * NANO_CREDIT_USD
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
