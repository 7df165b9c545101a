//! The price table: the shipped prices, overridden by the operator's file.
//!
//! It is read for every report and never stored with the tokens, so a change applies to all
//! history. docs/prices.md explains the format. `prices.toml` contains the shipped prices.

mod decimal;
mod fetch;
mod listing;
mod litellm;
mod names;
mod section;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;
use session_pipeline_host::regular;
use session_pipeline_store::money::millionths;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::Config;

pub use decimal::Decimal;
pub use fetch::{PriceFetchError, PriceSource, fetch_prices};
pub use listing::{
    ListedPrice, LongContextPrice, ModelPrice, PriceAge, PriceList, PriceMatch, PriceOrigin,
    list_prices, models_in_use,
};
pub use update::{PriceChange, PriceScope, PriceUpdate, PriceUpdateError, PriceUpdateReport};

const SHIPPED: &str = include_str!("prices.toml");

/// Far more than any price list needs. A wrong path must not fill the memory.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The fixed-point representation of 1: rates and multipliers are in millionths.
const ONE: i64 = 1_000_000;

/// The factor for requests of a batch, unless an entry names another.
const BATCH: i64 = ONE / 2;

/// Dollars per thousand web searches, unless an entry names another price.
const WEB_SEARCH: i64 = 10 * ONE;

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

/// The effective prices: the operator's where they exist, else the shipped ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceTable {
    /// The path of the operator's file. It might not exist.
    pub file: PathBuf,
    pub(super) rates: Vec<PriceRate>,
    entries: Vec<Entry>,
    /// The day of the last `prices update`.
    updated: Option<Date>,
}

/// Why the operator's price file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PriceTableError {
    /// The file can't be read.
    #[error("cannot read price file `{path}`; check that it exists and is readable", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        #[source]
        source: std::io::Error,
    },
    /// The file is not valid TOML.
    #[error("price file `{path}` is not valid TOML at line {line}: {reason}", path = .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The parser's message.
        reason: String,
    },
    /// An entry is invalid.
    #[error("price file `{path}`, {entry}: {reason}", path = .path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The entry with its line.
        entry: String,
        /// What is wrong, and how to fix it.
        reason: String,
    },
}

/// Picodollars per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amounts {
    pub input: i64,
    pub output: i64,
    pub cache_read: i64,
    pub cache_write_5m: i64,
    pub cache_write_1h: i64,
}

/// The price of tokens under certain conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PriceRate {
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

impl PriceTable {
    /// The effective prices for a configuration.
    ///
    /// # Errors
    /// If the operator's file can't be used, or is configured but does not exist.
    pub fn load(config: &Config) -> Result<Self, PriceTableError> {
        let file = Self::file_of(config);
        match regular::read_to_string(&file, FILE_BYTES_MAX) {
            Ok(text) => Self::over_shipped(file, &text),
            // The default file is optional.
            Err(error)
                if config.prices_file.is_none() && error.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(Self::shipped(file))
            }
            Err(source) => Err(PriceTableError::Unreadable { path: file, source }),
        }
    }

    /// Where the operator's own file is, or would be.
    pub fn file_of(config: &Config) -> PathBuf {
        let by_default = config.data_dir.join("prices.toml");
        config.prices_file.clone().unwrap_or(by_default)
    }

    /// The shipped prices, with the path where the operator's file would be.
    pub fn shipped(file: PathBuf) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "the shipped table is part of the program, and a test reads it"
        )]
        let entries = read(Path::new("prices.toml"), SHIPPED, |_| PriceOrigin::Shipped)
            .expect("the shipped price table is valid");
        Self::of(file, in_effect(&entries, &[]), None)
    }

    fn of(file: PathBuf, entries: Vec<Entry>, updated: Option<Date>) -> Self {
        Self {
            file,
            rates: rates_of(&entries),
            entries,
            updated,
        }
    }

    /// The shipped prices, overridden by the operator's entries.
    fn over_shipped(file: PathBuf, text: &str) -> Result<Self, PriceTableError> {
        let section = section::Section::find(&file, text)?;
        let origin = |at: usize| match section.range().contains(&at) {
            true => PriceOrigin::Update,
            false => PriceOrigin::Operator,
        };
        let operators = read(&file, text, origin)?;
        let shipped = read(&file, SHIPPED, |_| PriceOrigin::Shipped)?;
        let entries = in_effect(&shipped, &operators);
        Ok(Self::of(file, entries, section.updated()))
    }
}

/// An entry of a price file for one id, on days on which all its rates stay the same.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    id: String,
    match_by: PriceMatch,
    declaration: Arc<Declaration>,
    from: Date,
    before: Option<Date>,
    amounts: Amounts,
    long: Option<(i64, Amounts)>,
    factors: Factors,
    /// Picodollars per web search.
    web_search: i64,
}

/// The parts of an entry that are the same for all its ids and days.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Declaration {
    origin: PriceOrigin,
    from: Date,
    before: Option<Date>,
    /// The factor of fast mode, and the day after its last one.
    fast: Option<(i64, Option<Date>)>,
    /// The rates of a long context, and the day after their last one.
    long: Option<((i64, Amounts), Option<Date>)>,
    source: Option<String>,
    provider: Option<String>,
    checked: Option<Date>,
}

/// What multiplies all rates of an entry under a condition, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Factors {
    fast: i64,
    regional: i64,
    us: i64,
    batch: i64,
}

impl Entry {
    fn covers(&self, day: Date) -> bool {
        self.from <= day && self.before.is_none_or(|before| day < before)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let begins_before_end =
            |one: &Self, two: &Self| two.before.is_none_or(|end| one.from < end);
        self.id == other.id && begins_before_end(self, other) && begins_before_end(other, self)
    }

    /// The entry limited to the days from `from` and before `before`. `None` if no day is left.
    fn within(self, from: Date, before: Option<Date>) -> Option<Self> {
        let from = self.from.max(from);
        let before = self.before.into_iter().chain(before).min();
        before.is_none_or(|before| from < before).then_some(Self {
            from,
            before,
            ..self
        })
    }

    /// The entry without the days of another one.
    fn without(self, other: &Self) -> Vec<Self> {
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
    fn rates(&self) -> Result<Vec<PriceRate>, String> {
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
    fn times_rounded(self, millionths: i64) -> Self {
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
    fn times(self, millionths: i64) -> Option<Self> {
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

/// The day of a time, in UTC.
fn day_of(now: UtcMicros) -> Date {
    let now = Timestamp::from_microsecond(now.0);
    now.map_or(Date::MAX, |now| Offset::UTC.to_datetime(now).date())
}

/// Whether an id stands for all forms of a model: a Claude model without a date, a provider prefix
/// or a provider's version. Other ids are matched exactly.
fn is_name(id: &str) -> bool {
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
fn in_effect(shipped: &[Entry], operators: &[Entry]) -> Vec<Entry> {
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

fn rates_of(entries: &[Entry]) -> Vec<PriceRate> {
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

/// The entries of a file, one for each model and alias. `origin` returns the origin of the entry at
/// a byte of the text.
fn read(
    path: &Path,
    text: &str,
    origin: impl Fn(usize) -> PriceOrigin,
) -> Result<Vec<Entry>, PriceTableError> {
    // A generated file can have thousands of entries.
    let line_ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let line_of = |at: usize| line_ends.partition_point(|end| *end < at) + 1;
    let document = DeTable::parse(text).map_err(|error| PriceTableError::Syntax {
        path: path.to_owned(),
        line: line_of(error.span().map_or(0, |span| span.start)),
        reason: error.message().trim().replace('\n', ", "),
    })?;
    let refused = |entry: String, reason: String| PriceTableError::Entry {
        path: path.to_owned(),
        entry,
        reason,
    };
    let mut entries: BTreeMap<String, Vec<(Entry, String)>> = BTreeMap::new();
    let mut families: Vec<(Family, String)> = Vec::new();
    let add = |entries: &mut BTreeMap<String, Vec<_>>, entry: Entry, place: &str| {
        let same_id = entries.entry(entry.id.clone()).or_default();
        if let Some((_, other)) = same_id
            .iter()
            .find(|(other, _): &&(Entry, String)| other.overlaps(&entry))
        {
            let reason = format!(
                "its days for `{}` overlap with {other}; end one the day before the other starts",
                printable(&entry.id)
            );
            return Err(refused(place.to_owned(), reason));
        }
        same_id.push((entry, place.to_owned()));
        Ok(())
    };
    for (name, value) in document.get_ref() {
        let line = line_of(name.span().start);
        let DeValue::Array(prices) = value.get_ref() else {
            return Err(not_a_price(&refused, line, name.get_ref()));
        };
        if name.get_ref() != "price" {
            return Err(not_a_price(&refused, line, name.get_ref()));
        }
        for (number, price) in prices.iter().enumerate() {
            let mut place = format!(
                "entry {} at line {}",
                number + 1,
                line_of(price.span().start)
            );
            let origin = origin(price.span().start);
            let DeValue::Table(price) = price.get_ref() else {
                let reason = "not a table; start it with `[[price]]`".to_owned();
                return Err(refused(place, reason));
            };
            if let Some(model) = price
                .get("model")
                .and_then(|model| model.get_ref().as_str())
            {
                place = format!("{place} (`{}`)", printable(model));
            }
            let (own, family) =
                entries_of(price, origin).map_err(|reason| refused(place.clone(), reason))?;
            for entry in own {
                add(&mut entries, entry, &place)?;
            }
            families.extend(family.map(|family| (family, place)));
        }
    }
    for (family, place) in &families {
        // An entry of a family ends when the agent starts to resolve the name to the next model.
        let next = families
            .iter()
            .filter(|(other, _)| other.name == family.name && other.from > family.from)
            .map(|(other, _)| other.from)
            .min();
        for entry in family.prices.iter().cloned() {
            if let Some(entry) = entry.within(family.from, next) {
                add(&mut entries, entry, place)?;
            }
        }
    }
    let entries = entries.into_values().flatten();
    Ok(entries.map(|(entry, _)| entry).collect())
}

fn not_a_price(
    refused: &impl Fn(String, String) -> PriceTableError,
    line: usize,
    name: &str,
) -> PriceTableError {
    refused(
        format!("line {line}"),
        format!(
            "unknown key `{}`; a price file contains entries that start with `[[price]]`",
            printable(name)
        ),
    )
}

/// A model that an unversioned name such as `opus` refers to, from a certain day on.
struct Family {
    name: String,
    /// The day on which the agent started to resolve the name to this model.
    from: Date,
    /// The model's prices, with the name as id.
    prices: Vec<Entry>,
}

const FIELDS: [&str; 19] = [
    "model",
    "aliases",
    "family",
    "from",
    "until",
    "input",
    "output",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "long_context",
    "fast",
    "regional",
    "us_inference",
    "batch",
    "web_search",
    "source",
    "provider",
    "checked",
];

fn entries_of(
    price: &DeTable<'_>,
    origin: PriceOrigin,
) -> Result<(Vec<Entry>, Option<Family>), String> {
    known_fields(price, &FIELDS)?;
    let from =
        date(price, "from")?.ok_or("`from` is missing; write the first day, like 2026-01-31")?;
    let before = day_after_last(price, from)?;
    let (checked, source) = (date(price, "checked")?, text(price, "source")?);
    let provider = text(price, "provider")?;
    let long = match price.get("long_context").map(Spanned::get_ref) {
        None => None,
        Some(DeValue::Table(long)) => {
            let within = |reason| format!("`long_context`: {reason}");
            let mut fields = vec!["above", "until"];
            fields.extend(AMOUNTS);
            known_fields(long, &fields).map_err(within)?;
            let above = match long.get("above").map(Spanned::get_ref) {
                Some(DeValue::Integer(above)) if above.radix() == 10 => plain(above.as_str())
                    .parse()
                    .ok()
                    .filter(|above| *above >= 0),
                _ => None,
            };
            let above = above.ok_or(
                "`long_context`: `above` is not a number of tokens; write it like `above = 200_000`",
            )?;
            let amounts = amounts(long).map_err(within)?;
            let before = day_after_last(long, from).map_err(within)?;
            Some(((above, amounts), before))
        }
        Some(_) => {
            return Err(
                "`long_context` is not a table; write `{ above = 200_000, input = … }`".to_owned(),
            );
        }
    };
    let fast = fast(price, from)?;
    let whole = Entry {
        id: String::new(),
        match_by: PriceMatch::Alias,
        declaration: Arc::new(Declaration {
            origin,
            from,
            before,
            fast,
            long,
            source,
            provider,
            checked,
        }),
        from,
        before,
        amounts: amounts(price)?,
        long: None,
        factors: Factors {
            // A model without a fast mode never has this multiplier in its usage.
            fast: ONE,
            regional: number(price, "regional")?.unwrap_or(ONE),
            us: number(price, "us_inference")?.unwrap_or(ONE),
            batch: number(price, "batch")?.unwrap_or(BATCH),
        },
        // From dollars per thousand searches.
        web_search: number(price, "web_search")?.unwrap_or(WEB_SEARCH) * 1000,
    };
    // A new period starts where the long context or the fast mode ends.
    let ends = [long.and_then(|(_, end)| end), fast.and_then(|(_, end)| end)];
    let ends: BTreeSet<Date> = ends.into_iter().flatten().collect();
    let starts = std::iter::once(from).chain(ends.iter().copied());
    let next_starts = ends.iter().copied().map(Some).chain([None]);
    let periods: Vec<Entry> = starts
        .zip(next_starts)
        .filter_map(|(start, next)| whole.clone().within(start, next))
        .map(|period| {
            let holds = |end: Option<Date>| end.is_none_or(|end| period.from < end);
            Entry {
                long: long.filter(|(_, end)| holds(*end)).map(|(long, _)| long),
                factors: Factors {
                    fast: fast
                        .filter(|(_, end)| holds(*end))
                        .map_or(ONE, |(times, _)| times),
                    ..period.factors
                },
                ..period
            }
        })
        .collect();
    let model = text(price, "model")?.ok_or("`model` is missing; write the model's id")?;
    let mut ids = vec![model.clone()];
    match price.get("aliases").map(Spanned::get_ref) {
        None => {}
        Some(DeValue::Array(aliases)) => {
            for alias in aliases.iter() {
                let alias = alias.get_ref().as_str();
                ids.push(
                    alias
                        .ok_or("`aliases` contains a value that is not a string; write `[\"…\"]`")?
                        .to_owned(),
                );
            }
        }
        Some(_) => return Err("`aliases` is not a list of strings; write `[\"…\"]`".to_owned()),
    }
    let mut entries = Vec::new();
    for id in ids
        .iter()
        .map(|id| as_compared(id))
        .collect::<BTreeSet<_>>()
    {
        if id.is_empty() {
            return Err("a model id is empty; write the id as in transcripts".to_owned());
        }
        for period in &periods {
            let entry = Entry {
                id: id.clone(),
                match_by: match id == as_compared(&model) {
                    true => PriceMatch::Id,
                    false => PriceMatch::Alias,
                },
                ..period.clone()
            };
            entry.rates()?;
            entries.push(entry);
        }
    }
    let family = family(price, from)?.map(|(name, from)| {
        let named = |period: Entry| Entry {
            id: name.clone(),
            match_by: PriceMatch::Family,
            ..period
        };
        Family {
            prices: periods.into_iter().map(named).collect(),
            name,
            from,
        }
    });
    Ok((entries, family))
}

/// The day after the last day in `until`, if it is set.
fn day_after_last(table: &DeTable<'_>, from: Date) -> Result<Option<Date>, String> {
    let before = date(table, "until")?.map(|last| {
        // The maximum date has no next day, and no message can have a later date.
        last.tomorrow().unwrap_or(Date::MAX)
    });
    if before.is_some_and(|before| before <= from) {
        return Err("`until` is before `from`; swap them".to_owned());
    }
    Ok(before)
}

/// The multiplier in `fast`, and the day after its last one. Either `fast = 6`, or a table with
/// `times` and `until`.
fn fast(price: &DeTable<'_>, from: Date) -> Result<Option<(i64, Option<Date>)>, String> {
    let Some(DeValue::Table(fast)) = price.get("fast").map(Spanned::get_ref) else {
        return Ok(number(price, "fast")?.map(|times| (times, None)));
    };
    let within = |reason| format!("`fast`: {reason}");
    known_fields(fast, &["times", "until"]).map_err(within)?;
    let times = number(fast, "times")
        .map_err(within)?
        .ok_or("`fast`: `times` is missing; write `fast = { times = 2, until = 2026-12-31 }`")?;
    Ok(Some((times, day_after_last(fast, from).map_err(within)?)))
}

/// The family of a model, and the day from which its name refers to this model.
fn family(price: &DeTable<'_>, from: Date) -> Result<Option<(String, Date)>, String> {
    let (name, since) = match price.get("family").map(Spanned::get_ref) {
        Some(DeValue::Table(family)) => {
            let within = |reason| format!("`family`: {reason}");
            known_fields(family, &["name", "from"]).map_err(within)?;
            let since = date(family, "from").map_err(within)?;
            (text(family, "name").map_err(within)?, since)
        }
        None => return Ok(None),
        Some(_) => (text(price, "family")?, None),
    };
    let name = name.as_deref().map(as_compared).unwrap_or_default();
    if name.is_empty() {
        return Err("`family` has no name; write it like `family = \"opus\"`".to_owned());
    }
    Ok(Some((name, since.unwrap_or(from))))
}

/// Normalizes an id for comparisons. The suffix for the large context window is removed.
fn as_compared(id: &str) -> String {
    let id = id.trim().to_lowercase();
    id.strip_suffix("[1m]")
        .map_or(id.clone(), ToOwned::to_owned)
}

const AMOUNTS: [&str; 5] = [
    "input",
    "output",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
];

fn amounts(table: &DeTable<'_>) -> Result<Amounts, String> {
    let amount = |name: &str| {
        number(table, name)?.ok_or_else(|| {
            format!("`{name}` is missing; write US dollars per million tokens, or 0 if it is free")
        })
    };
    let [input, output, cache_read, cache_write_5m, cache_write_1h] = AMOUNTS;
    Ok(Amounts {
        input: amount(input)?,
        output: amount(output)?,
        cache_read: amount(cache_read)?,
        cache_write_5m: amount(cache_write_5m)?,
        cache_write_1h: amount(cache_write_1h)?,
    })
}

fn known_fields(table: &DeTable<'_>, known: &[&str]) -> Result<(), String> {
    let unknown = table
        .keys()
        .find(|name| !known.contains(&name.get_ref().as_ref()));
    match unknown {
        Some(name) => Err(format!(
            "unknown field `{}`; known fields: {}",
            printable(name.get_ref()),
            known.join(", ")
        )),
        None => Ok(()),
    }
}

/// Parses a number from its text, without floating point, because prices are exact.
fn number(table: &DeTable<'_>, name: &str) -> Result<Option<i64>, String> {
    let written = match table.get(name).map(Spanned::get_ref) {
        None => return Ok(None),
        Some(DeValue::Integer(number)) if number.radix() == 10 => number.as_str(),
        Some(DeValue::Float(number)) => number.as_str(),
        Some(DeValue::String(number)) => number.as_ref(),
        Some(_) => "",
    };
    let read = millionths(plain(written).trim_start_matches('+'));
    let reason = || {
        format!(
            "`{name}` is not a number from 0 to 1000000 with at most six decimals; write it like 0.25"
        )
    };
    read.map(Some).ok_or_else(reason)
}

fn plain(number: &str) -> String {
    number.replace('_', "")
}

fn text(table: &DeTable<'_>, name: &str) -> Result<Option<String>, String> {
    match table.get(name).map(Spanned::get_ref) {
        None => Ok(None),
        Some(DeValue::String(text)) => Ok(Some(text.to_string())),
        Some(_) => Err(format!("`{name}` is not a string; put it in quotes")),
    }
}

fn date(table: &DeTable<'_>, name: &str) -> Result<Option<Date>, String> {
    let Some(value) = table.get(name) else {
        return Ok(None);
    };
    let written = match value.get_ref() {
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::String(text) => text.to_string(),
        _ => String::new(),
    };
    session_pipeline_host::day::parse(&written)
        .map(Some)
        .ok_or_else(|| format!("`{name}` is not a date; write it like 2026-01-31"))
}
