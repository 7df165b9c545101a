//! Entries of price files, and the rates that follow from them.

use std::sync::Arc;

use jiff::civil::Date;

use super::{ONE, PriceMatch, PriceOrigin};

/// Every combination of four conditions.
const CONDITIONS: [[bool; 4]; 16] = {
    let mut all = [[false; 4]; 16];
    let mut number = 0;
    while number < 16 {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            all[number] = [
                number & 1 != 0,
                number & 2 != 0,
                number & 4 != 0,
                number & 8 != 0,
            ];
        }
        number += 1;
    }
    all
};

/// Picodollars per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) struct Amounts {
    pub input: i64,
    pub output: i64,
    pub cache_read: i64,
    pub cache_write_5m: i64,
    pub cache_write_1h: i64,
}

/// The price of tokens under certain conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::report) struct PriceRate {
    /// The name of a model in all its forms, or exactly one id if `is_exact`.
    pub model: String,
    pub is_exact: bool,
    /// Whether it applies to ids with a region.
    pub is_regional: bool,
    /// Whether it applies to requests whose inference ran in the United States on request.
    pub is_us: bool,
    pub is_batch: bool,
    pub is_fast: bool,
    /// The first day.
    pub from: Date,
    /// The day after the last one. `None`: no end.
    pub before: Option<Date>,
    /// Applies to requests with more input tokens than this, including cached ones.
    pub context_above: i64,
    /// Applies up to this number of input tokens. `None`: no limit.
    pub context_upto: Option<i64>,
    pub amounts: Amounts,
    /// Picodollars per web search.
    pub web_search: i64,
}

/// An entry of a price file for one id, on days on which all its rates stay the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::report::prices) struct Entry {
    pub(in crate::report::prices) id: String,
    pub(in crate::report::prices) match_by: PriceMatch,
    pub(in crate::report::prices) declaration: Arc<Declaration>,
    pub(in crate::report::prices) from: Date,
    pub(in crate::report::prices) before: Option<Date>,
    pub(in crate::report::prices) amounts: Amounts,
    pub(in crate::report::prices) long: Option<(i64, Amounts)>,
    pub(in crate::report::prices) factors: Factors,
    /// Picodollars per web search.
    pub(in crate::report::prices) web_search: i64,
}

/// The parts of an entry that are the same for all its ids and days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::report::prices) struct Declaration {
    pub(in crate::report::prices) origin: PriceOrigin,
    pub(in crate::report::prices) from: Date,
    pub(in crate::report::prices) before: Option<Date>,
    /// The factor of fast mode, and the day after its last one.
    pub(in crate::report::prices) fast: Option<(i64, Option<Date>)>,
    /// The rates of a long context, and the day after their last one.
    pub(in crate::report::prices) long: Option<((i64, Amounts), Option<Date>)>,
    pub(in crate::report::prices) source: Option<String>,
    pub(in crate::report::prices) provider: Option<String>,
    pub(in crate::report::prices) checked: Option<Date>,
}

/// What multiplies all rates of an entry under a condition, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report::prices) struct Factors {
    pub(in crate::report::prices) fast: i64,
    pub(in crate::report::prices) regional: i64,
    pub(in crate::report::prices) us: i64,
    pub(in crate::report::prices) batch: i64,
}

impl Entry {
    pub(in crate::report::prices) fn covers(&self, day: Date) -> bool {
        self.from <= day && self.before.is_none_or(|before| day < before)
    }

    pub(in crate::report::prices) fn overlaps(&self, other: &Self) -> bool {
        let begins_before_end =
            |one: &Self, two: &Self| two.before.is_none_or(|end| one.from < end);
        self.id == other.id && begins_before_end(self, other) && begins_before_end(other, self)
    }

    /// The entry limited to the days from `from` and before `before`. `None` if no day is left.
    pub(in crate::report::prices) fn within(
        self,
        from: Date,
        before: Option<Date>,
    ) -> Option<Self> {
        let from = self.from.max(from);
        let before = self.before.into_iter().chain(before).min();
        before.is_none_or(|before| from < before).then_some(Self {
            from,
            before,
            ..self
        })
    }

    /// The entry without the days of another one.
    pub(in crate::report::prices) fn without(self, other: &Self) -> Vec<Self> {
        if !self.overlaps(other) {
            return vec![self];
        }
        let mut rest = Vec::new();
        if self.from < other.from {
            rest.push(Self {
                before: Some(other.from),
                ..self.clone()
            });
        }
        if let Some(end) = other.before
            && self.before.is_none_or(|before| end < before)
        {
            rest.push(Self { from: end, ..self });
        }
        rest
    }

    /// The rates for every combination of context, speed, region, place of inference and batch.
    pub(in crate::report::prices) fn rates(&self) -> Result<Vec<PriceRate>, String> {
        let is_exact = !is_name(&self.id);
        let threshold = self.long.map(|(above, _)| above);
        let mut contexts = vec![(-1, threshold, self.amounts)];
        contexts.extend(self.long.map(|(above, amounts)| (above, None, amounts)));
        let mut rates = Vec::new();
        for (context_above, context_upto, amounts) in contexts {
            for [is_fast, is_regional, is_us, is_batch] in CONDITIONS {
                if is_exact && is_regional {
                    continue;
                }
                let factors = [
                    (is_fast, self.factors.fast),
                    (is_regional, self.factors.regional),
                    // A region in the id already fixes the place.
                    (is_us && !is_regional, self.factors.us),
                ];
                let mut factors = factors.iter().filter(|(applies, _)| *applies);
                let amounts =
                    factors.try_fold(amounts, |amounts, (_, factor)| amounts.times(*factor));
                let batch = if is_batch { self.factors.batch } else { ONE };
                let amounts = amounts.map(|amounts| amounts.times_rounded(batch));
                rates.push(PriceRate {
                    model: self.id.clone(),
                    is_exact,
                    is_regional,
                    is_us,
                    is_batch,
                    is_fast,
                    from: self.from,
                    before: self.before,
                    context_above,
                    context_upto,
                    amounts: amounts.ok_or(
                        "the rates multiplied by `fast`, `regional` and `us_inference` have more than six decimals; use fewer",
                    )?,
                    web_search: self.web_search,
                });
            }
        }
        Ok(rates)
    }
}

impl Amounts {
    /// Multiplies all rates and rounds up to whole picodollars. For the factor of batches, which
    /// applies to every entry: half of an odd rate must not make an operator's file invalid.
    pub(in crate::report::prices) fn times_rounded(self, millionths: i64) -> Self {
        let times = |amount: i64| {
            let product = i128::from(amount) * i128::from(millionths);
            let rounded = (product + i128::from(ONE) - 1) / i128::from(ONE);
            i64::try_from(rounded).unwrap_or(i64::MAX)
        };
        Self {
            input: times(self.input),
            output: times(self.output),
            cache_read: times(self.cache_read),
            cache_write_5m: times(self.cache_write_5m),
            cache_write_1h: times(self.cache_write_1h),
        }
    }

    /// Multiplies all rates. `None` if a product is not a whole number of picodollars.
    pub(in crate::report::prices) fn times(self, millionths: i64) -> Option<Self> {
        let times = |amount: i64| {
            let product = i128::from(amount) * i128::from(millionths);
            let whole = product % i128::from(ONE) == 0;
            whole.then(|| i64::try_from(product / i128::from(ONE)).ok())?
        };
        Some(Self {
            input: times(self.input)?,
            output: times(self.output)?,
            cache_read: times(self.cache_read)?,
            cache_write_5m: times(self.cache_write_5m)?,
            cache_write_1h: times(self.cache_write_1h)?,
        })
    }
}

/// Whether an id stands for all forms of a model: a Claude model without a date, a provider prefix
/// or a provider's version. Other ids are matched exactly.
pub(in crate::report::prices) fn is_name(id: &str) -> bool {
    let is_plain = id
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let last = id.rsplit('-').next().unwrap_or_default();
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_dated = last.len() == 8 && is_digits(last);
    let is_versioned = last.strip_prefix('v').is_some_and(is_digits);
    id.starts_with("claude-") && is_plain && !is_dated && !is_versioned && last != "latest"
}

/// The effective entries: the operator's on the days that they cover, else the shipped ones.
pub(in crate::report::prices) fn in_effect(shipped: &[Entry], operators: &[Entry]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = operators.to_vec();
    for entry in shipped {
        let is_first = |other: &Entry| other.id != entry.id || entry.from <= other.from;
        // A date before the model existed comes from a wrong clock. The model's first price
        // applies.
        let from = if shipped.iter().all(is_first) {
            Date::constant(1, 1, 1)
        } else {
            entry.from
        };
        let mut rest = vec![Entry {
            from,
            ..entry.clone()
        }];
        for operators in operators {
            rest = rest
                .into_iter()
                .flat_map(|entry| entry.without(operators))
                .collect();
        }
        entries.extend(rest);
    }
    entries
}

pub(in crate::report::prices) fn rates_of(entries: &[Entry]) -> Vec<PriceRate> {
    // Entries with invalid rates were rejected when the file was read.
    let mut rates: Vec<PriceRate> = entries
        .iter()
        .flat_map(|entry| entry.rates().unwrap_or_default())
        .collect();
    rates.sort_by(|one, two| {
        (
            &one.model,
            one.from,
            one.is_fast,
            one.is_regional,
            one.is_us,
            one.is_batch,
            one.context_above,
        )
            .cmp(&(
                &two.model,
                two.from,
                two.is_fast,
                two.is_regional,
                two.is_us,
                two.is_batch,
                two.context_above,
            ))
    });
    rates
}
