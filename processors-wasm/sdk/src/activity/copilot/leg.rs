//! The requests of a leg: a run of the program, from its start or resume to its end.
//!
//! The model of a message can be known only from the results of its calls, and whether its tokens
//! are complete only at the end of the leg. Therefore, requests are emitted at the end of their
//! leg, and this module stores them in a compact form until then.

use std::collections::BTreeMap;

use crate::Timestamp;
use crate::activity::Tokens;
use crate::activity::counts::text_hash;

/// Tokens without overlap, except that `output` includes `thinking`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) input: i64,
    pub(super) cache_read: i64,
    pub(super) cache_written: i64,
    pub(super) output: i64,
    pub(super) thinking: i64,
}

/// The tokens of each model.
#[derive(Default)]
pub(super) struct ModelSums {
    models: BTreeMap<String, Figures>,
    /// The output of all models.
    pub(super) output: i64,
}

/// The requests of a leg so far.
#[derive(Default)]
pub(super) struct Leg {
    /// Whether a model answered, with or without tokens.
    pub(super) has_answers: bool,
    pub(super) rows: Vec<Row>,
    names: Names,
    /// Rows by the hashes of their ids.
    by_id: BTreeMap<u64, usize>,
    /// Rows without a model by the hashes of the ids of their calls.
    by_call: BTreeMap<u64, usize>,
}

/// A request.
pub(super) struct Row {
    pub(super) message_id: String,
    /// The 1-based number of the line.
    pub(super) line: u64,
    pub(super) time: Option<Timestamp>,
    pub(super) figures: Figures,
    pub(super) is_incomplete: bool,
    pub(super) is_compaction: bool,
    agent: Option<Name>,
    model: Option<Name>,
    selected_model: Option<Name>,
    effort: Option<Name>,
}

/// A request, borrowed from the line.
pub(super) struct NewRow<'a> {
    pub(super) message_id: &'a str,
    pub(super) line: u64,
    pub(super) time: Option<Timestamp>,
    /// The sub-agent.
    pub(super) agent: Option<&'a str>,
    /// The model, if the line has it.
    pub(super) model: Option<&'a str>,
    /// The model that the user selected.
    pub(super) selected_model: Option<&'a str>,
    pub(super) effort: Option<&'a str>,
    pub(super) figures: Figures,
    /// Whether a count could not be read.
    pub(super) is_incomplete: bool,
    pub(super) is_compaction: bool,
}

/// The number of a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name(usize);

/// Names that occur in many rows.
#[derive(Default)]
struct Names {
    texts: Vec<String>,
    numbers: BTreeMap<String, Name>,
}

impl Leg {
    /// Adds a request. A further message of the same request with tokens completes it. `calls` are
    /// the ids of its calls.
    pub(super) fn add(&mut self, new: &NewRow<'_>, calls: &[String]) {
        let names = &mut self.names;
        let row = Row {
            message_id: new.message_id.to_owned(),
            line: new.line,
            time: new.time,
            figures: new.figures,
            is_incomplete: new.is_incomplete,
            is_compaction: new.is_compaction,
            agent: names.add(new.agent),
            model: names.add(new.model),
            selected_model: names.add(new.selected_model),
            effort: names.add(new.effort),
        };
        let next = self.rows.len();
        let at = *self.by_id.entry(text_hash(new.message_id)).or_insert(next);
        let has_model = match self.rows.get_mut(at) {
            Some(known) => {
                if row.figures.output > known.figures.output {
                    known.figures = row.figures;
                    known.is_incomplete = row.is_incomplete;
                }
                known.model = known.model.or(row.model);
                known.model.is_some()
            }
            None => {
                let has_model = row.model.is_some();
                self.rows.push(row);
                has_model
            }
        };
        if !has_model {
            let calls = calls.iter().map(|call| (text_hash(call), at));
            self.by_call.extend(calls);
        }
    }

    /// Sets the model of the request that made a call, if it is unknown.
    pub(super) fn resolve(&mut self, call: &str, model: &str) {
        let at = self.by_call.remove(&text_hash(call));
        if let Some(row) = at.and_then(|at| self.rows.get_mut(at))
            && row.model.is_none()
        {
            row.model = self.names.add(Some(model));
        }
    }

    /// Sets the models that are still unknown: that of the nearest request of the same agent, or
    /// the model that the user selected, or `other`.
    pub(super) fn resolve_all(&mut self, other: Option<&str>) {
        let other = self.names.add(other);
        let mut nearest = vec![None::<(usize, Name)>; self.rows.len()];
        let mut visit =
            |known: &mut BTreeMap<Option<Name>, (usize, Name)>, at: usize, row: &Row| {
                if let Some(model) = row.model {
                    known.insert(row.agent, (at, model));
                } else if let (Some(&(from, model)), Some(best)) =
                    (known.get(&row.agent), nearest.get_mut(at))
                {
                    let distance = from.abs_diff(at);
                    if best.is_none_or(|(best, _)| distance < best) {
                        *best = Some((distance, model));
                    }
                }
            };
        let mut known = BTreeMap::new();
        for (at, row) in self.rows.iter().enumerate() {
            visit(&mut known, at, row);
        }
        known.clear();
        for (at, row) in self.rows.iter().enumerate().rev() {
            visit(&mut known, at, row);
        }
        for (row, nearest) in self.rows.iter_mut().zip(nearest) {
            let nearest = nearest.map(|(_, model)| model);
            let model = row.model.or(nearest).or(row.selected_model);
            row.model = model.or(other);
        }
    }

    /// The tokens by model, of compactions or of all other requests.
    pub(super) fn sums(&self, of_compactions: bool) -> ModelSums {
        let mut sums = ModelSums::default();
        let rows = self.rows.iter();
        for row in rows.filter(|row| row.is_compaction == of_compactions) {
            let model = self.model(row).unwrap_or_default();
            sums.add(model, row.figures);
        }
        sums
    }

    pub(super) fn model(&self, row: &Row) -> Option<&str> {
        self.names.get(row.model)
    }

    pub(super) fn agent(&self, row: &Row) -> Option<&str> {
        self.names.get(row.agent)
    }

    pub(super) fn effort(&self, row: &Row) -> Option<&str> {
        self.names.get(row.effort)
    }
}

impl ModelSums {
    pub(super) fn add(&mut self, model: &str, figures: Figures) {
        self.output = self.output.saturating_add(figures.output);
        match self.models.get_mut(model) {
            Some(sum) => *sum = sum.plus(figures),
            None => drop(self.models.insert(model.to_owned(), figures)),
        }
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (model, figures) in &other.models {
            self.add(model, *figures);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.models.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Figures)> {
        let models = self.models.iter();
        models.map(|(model, figures)| (model.as_str(), *figures))
    }

    pub(super) fn get(&self, model: &str) -> Figures {
        self.models.get(model).copied().unwrap_or_default()
    }
}

impl Names {
    fn add(&mut self, text: Option<&str>) -> Option<Name> {
        let text = text?;
        if let Some(name) = self.numbers.get(text) {
            return Some(*name);
        }
        let name = Name(self.texts.len());
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), name);
        Some(name)
    }

    fn get(&self, name: Option<Name>) -> Option<&str> {
        self.texts.get(name?.0).map(String::as_str)
    }
}

impl Figures {
    fn plus(self, other: Self) -> Self {
        self.with(other, i64::saturating_add)
    }

    /// The part that exceeds other tokens, per count.
    pub(super) fn beyond(self, other: Self) -> Self {
        self.with(other, |one, other| one.saturating_sub(other).max(0))
    }

    fn with(self, other: Self, combine: impl Fn(i64, i64) -> i64) -> Self {
        Self {
            input: combine(self.input, other.input),
            cache_read: combine(self.cache_read, other.cache_read),
            cache_written: combine(self.cache_written, other.cache_written),
            output: combine(self.output, other.output),
            thinking: combine(self.thinking, other.thinking),
        }
    }

    /// The counts of a request. A message alone says nothing about its input.
    pub(super) fn tokens(self) -> Tokens {
        Tokens {
            input: Some(self.input),
            output: Some(self.output),
            cache_read: Some(self.cache_read),
            cache_creation: Some(self.cache_written),
            thinking: Some(self.thinking).filter(|thinking| *thinking > 0),
            ..Tokens::default()
        }
    }
}
