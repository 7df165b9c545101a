//! Updates the operator's price file from LiteLLM's table.
//!
//! Only entries in the section of earlier updates are replaced. Days that a person priced stay as
//! they are. A price that changed gets a new entry from today, so history keeps its prices.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;
use session_pipeline_host::regular;

use super::listing::{last_day, searches_per_thousand};
use super::litellm::{self, QuotedModel, QuotedRates};
use super::section::{Section, section};
use super::{
    AMOUNTS, Amounts, BATCH, Decimal, Entry, FILE_BYTES_MAX, Factors, ONE, PriceOrigin, PriceTable,
    PriceTableError, SHIPPED, WEB_SEARCH, as_compared, day_of, in_effect, is_name, names, read,
};
use crate::config::Config;

/// The provider whose prices belong to the names of Claude models. Others resell them.
const CLAUDE_PROVIDER: &str = "anthropic";
/// The first day of the first price of a model, so that it also applies to earlier messages.
const FIRST_DAY: Date = Date::constant(1970, 1, 1);
/// Mode of a new price file. Other users of this machine can read it, like the config file.
const MODE: u32 = 0o644;

/// One update at a time, because each reads and replaces the file.
static UPDATE: Mutex<()> = Mutex::new(());

/// The models of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PriceScope {
    /// These models, by their ids in transcripts.
    InUse(Vec<String>),
    /// All models of the table.
    All,
}

/// An update of the operator's price file.
#[derive(Clone, Debug)]
pub struct PriceUpdate<'a> {
    /// The text of LiteLLM's table.
    pub table: &'a str,
    /// Where it comes from.
    pub source: &'a str,
    /// The current time. Its day is the first one of prices that changed.
    pub now: UtcMicros,
    /// The models.
    pub scope: PriceScope,
    /// Whether to only report the changes.
    pub is_dry_run: bool,
}

/// The result of an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PriceUpdateReport {
    /// The operator's price file.
    pub file: String,
    /// Whether the file was replaced.
    pub is_written: bool,
    /// The changed prices, by model.
    pub changes: Vec<PriceChange>,
    /// Models with another price in the table, whose price stays because a person wrote it.
    pub kept: Vec<String>,
    /// Models in use without a price that the table does not contain either.
    pub unknown: Vec<String>,
}

/// A changed price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PriceChange {
    /// The id in the price file.
    pub model: String,
    /// The field in the price file, such as `input` or `long_context.input`.
    pub field: String,
    /// The price until now. `None`: there was none.
    #[cfg_attr(feature = "schema", schema(value_type = Option<f64>))]
    pub old: Option<Decimal>,
    /// The price from now on. `None`: there is none.
    #[cfg_attr(feature = "schema", schema(value_type = Option<f64>))]
    pub new: Option<Decimal>,
}

/// Why prices can't be updated. The file is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum PriceUpdateError {
    /// The table is not valid.
    #[error("price table `{source_name}` is not usable: {reason}")]
    Table {
        /// Where it comes from.
        source_name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The operator's file is not usable before or after the update.
    #[error(transparent)]
    File(#[from] PriceTableError),
    /// The file can't be replaced.
    #[error("cannot write price file `{path}`; check its folder and its permissions", path = .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        #[source]
        source: io::Error,
    },
    /// The file would be larger than the program reads.
    #[error("price file `{path}` would be larger than {FILE_BYTES_MAX} bytes; update only models in use", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

impl PriceUpdate<'_> {
    /// Applies the update to the operator's file.
    ///
    /// # Errors
    /// If the table or the file is not usable, or the file can't be replaced. Nothing is changed.
    pub fn apply(&self, config: &Config) -> Result<PriceUpdateReport, PriceUpdateError> {
        let _turn = UPDATE.lock().unwrap_or_else(PoisonError::into_inner);
        let models = litellm::read(self.table).map_err(|reason| PriceUpdateError::Table {
            source_name: printable(self.source),
            reason,
        })?;
        let file = PriceTable::file_of(config);
        let text = match regular::read_to_string(&file, FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(error)
                if config.prices_file.is_none() && error.kind() == io::ErrorKind::NotFound =>
            {
                String::new()
            }
            Err(source) => return Err(PriceTableError::Unreadable { path: file, source }.into()),
        };
        let (updated, mut report) = self.updated(&file, &text, &models)?;
        if self.is_dry_run || updated == text {
            return Ok(report);
        }
        if updated.len() as u64 > FILE_BYTES_MAX {
            return Err(PriceUpdateError::TooLarge { path: file });
        }
        // A file that the next report can't use must not be written.
        PriceTable::over_shipped(file.clone(), &updated)?;
        replace(&file, &updated).map_err(|source| PriceUpdateError::Unwritable {
            path: file.clone(),
            source,
        })?;
        report.is_written = true;
        Ok(report)
    }

    fn today(&self) -> Date {
        day_of(self.now)
    }

    /// The text of the file after the update.
    fn updated(
        &self,
        file: &Path,
        text: &str,
        models: &[QuotedModel],
    ) -> Result<(String, PriceUpdateReport), PriceUpdateError> {
        let found = Section::find(file, text)?;
        let persons = read(file, &found.others(), |_| PriceOrigin::Operator)?;
        let shipped = read(file, SHIPPED, |_| PriceOrigin::Shipped)?;
        let generated = read(file, &found.alone(), |_| PriceOrigin::Update)?;
        let mut generated = without_days_of(generated_prices(&generated), &persons);
        let entries = read(file, &rendered(&generated), |_| PriceOrigin::Update)?;
        let operators = [persons.clone(), entries].concat();
        let table = PriceTable::of(file.to_owned(), in_effect(&shipped, &operators), None);
        let shipped = PriceTable::of(file.to_owned(), in_effect(&shipped, &persons), None);
        let mut report = PriceUpdateReport {
            file: file.display().to_string(),
            is_written: false,
            changes: Vec::new(),
            kept: Vec::new(),
            unknown: Vec::new(),
        };
        for (id, model) in self.targets(models, &table, &mut report.unknown) {
            let old = table.on(&id, self.today());
            let new = quoted_price(&id, model, old);
            let changes = changes(&id, old.map(ModelRates::of), Some(new));
            if changes.is_empty() {
                continue;
            }
            if old.is_some_and(|old| old.declaration.origin == PriceOrigin::Operator) {
                report.kept.push(id);
                continue;
            }
            report.changes.extend(changes);
            end_yesterday(&mut generated, &id, self.today());
            let is_shipped = shipped.on(&id, self.today()).map(ModelRates::of) == Some(new);
            if !is_shipped {
                generated.push(self.generated(&id, new, old, &table));
            }
        }
        generated.sort_by(|one, other| (&one.id, one.from).cmp(&(&other.id, other.from)));
        let section = section(self.today(), &one_line(self.source), &rendered(&generated));
        Ok((found.replaced(&section), report))
    }

    /// The ids of the price file that the update is about, each with its model in the table.
    fn targets<'a>(
        &self,
        models: &'a [QuotedModel],
        table: &PriceTable,
        unknown: &mut Vec<String>,
    ) -> BTreeMap<String, &'a QuotedModel> {
        let mut by_id: BTreeMap<String, &QuotedModel> = BTreeMap::new();
        let mut by_name: BTreeMap<String, &QuotedModel> = BTreeMap::new();
        for model in models {
            let id = as_compared(&model.name);
            let name = names::spellings(&id).into_iter().next();
            if let Some(name) = name.filter(|_| model.provider == CLAUDE_PROVIDER) {
                // The model without a date is the one whose price is maintained.
                if id == name || !by_name.contains_key(&name) {
                    by_name.insert(name, model);
                }
            }
            by_id.insert(id, model);
        }
        let PriceScope::InUse(in_use) = &self.scope else {
            // Other providers resell Claude models, whose price follows from the name.
            let others = by_id.into_iter();
            let others = others.filter(|(id, _)| names::spellings(id).is_empty());
            return others.chain(by_name).collect();
        };
        let mut targets = BTreeMap::new();
        for model in in_use {
            let id = as_compared(model);
            let is_exact = |name: &String| !is_name(name);
            if let Some(known) = table.resolved(model) {
                let quoted = match is_exact(&known) {
                    true => by_id.get(&known),
                    false => by_name.get(&known),
                };
                if let Some(quoted) = quoted {
                    targets.insert(known, *quoted);
                    continue;
                }
            } else {
                let mut names = names::spellings(&id).into_iter();
                let name = names.find(|name| is_name(name) && by_name.contains_key(name));
                let quoted = match &name {
                    Some(name) => by_name.get(name),
                    None => by_id.get(&id),
                };
                if let Some(quoted) = quoted {
                    targets.insert(name.unwrap_or(id), *quoted);
                    continue;
                }
            }
            if table.entry_of(model, self.today()).is_none() {
                unknown.push(model.clone());
            }
        }
        targets
    }

    /// The new entry of a model.
    fn generated(
        &self,
        id: &str,
        rates: ModelRates,
        old: Option<&Entry>,
        table: &PriceTable,
    ) -> GeneratedPrice {
        let entries = || table.entries.iter().filter(|entry| entry.id == id);
        // Another price that starts later stays.
        let later = entries().map(|entry| entry.from);
        let later = later.filter(|from| *from > self.today());
        let declaration = old.map(|old| &old.declaration);
        let before = declaration.and_then(|declaration| declaration.before);
        let long_end = old
            .filter(|old| old.long.is_some())
            .and_then(|old| old.declaration.long?.1);
        // A fast mode or long context that ends later splits an entry, and is not another price.
        let is_same = |from: &Date| {
            declaration.is_some_and(|declaration| {
                let fast_end = declaration.fast.and_then(|(_, end)| end);
                Some(*from) == fast_end || Some(*from) == long_end
            })
        };
        let later = later.filter(|from| !is_same(from)).min();
        GeneratedPrice {
            id: id.to_owned(),
            from: match entries().next() {
                Some(_) => self.today(),
                None => FIRST_DAY,
            },
            before: before.into_iter().chain(later).min(),
            amounts: rates.amounts,
            long: rates.long.map(|long| (long, long_end)),
            fast: declaration
                .and_then(|declaration| declaration.fast)
                .filter(|(_, end)| end.is_none_or(|end| self.today() < end)),
            factors: old.map_or(DEFAULT_FACTORS, |old| old.factors),
            web_search: old.map_or(WEB_SEARCH * 1000, |old| old.web_search),
            source: format!("LiteLLM, {}", one_line(self.source)),
            checked: Some(self.today()),
        }
    }
}

const DEFAULT_FACTORS: Factors = Factors {
    fast: ONE,
    regional: ONE,
    us: ONE,
    batch: BATCH,
};

/// The rates of a model that LiteLLM's table has too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ModelRates {
    amounts: Amounts,
    long: Option<(i64, Amounts)>,
}

impl ModelRates {
    fn of(entry: &Entry) -> Self {
        Self {
            amounts: entry.amounts,
            long: entry.long,
        }
    }
}

/// The rates of a model in the table. Rates that are not in the table stay the same, or follow from
/// the others.
fn quoted_price(id: &str, model: &QuotedModel, old: Option<&Entry>) -> ModelRates {
    let old = old.map(ModelRates::of);
    let amounts = completed(id, model.base, old.map(|old| old.amounts));
    let old_long = old.and_then(|old| old.long);
    let long = model.long.map(|(threshold, above)| {
        let old = old_long.filter(|(above, _)| *above == threshold);
        let old = old.map(|(_, amounts)| amounts);
        // Without a rate above the threshold, the rate below it applies.
        let or_below =
            |above: Option<i64>, below: Option<i64>| above.or(below.filter(|_| old.is_none()));
        let QuotedModel { base, .. } = model;
        let quoted = QuotedRates {
            input: or_below(above.input, base.input),
            output: or_below(above.output, base.output),
            cache_read: or_below(above.cache_read, base.cache_read),
            cache_write_5m: or_below(above.cache_write_5m, base.cache_write_5m),
            cache_write_1h: or_below(above.cache_write_1h, base.cache_write_1h),
        };
        (threshold, completed(id, quoted, old))
    });
    ModelRates {
        amounts,
        long: long.or(old_long),
    }
}

/// Rates without gaps. Without a price for the cache, its tokens cost as much as input. An hour in
/// the cache costs twice the input for Claude models, and as much as five minutes for others.
fn completed(id: &str, quoted: QuotedRates, old: Option<Amounts>) -> Amounts {
    let rate =
        |quoted: Option<i64>, old: Option<i64>, default: i64| quoted.or(old).unwrap_or(default);
    let input = rate(quoted.input, old.map(|old| old.input), 0);
    let cache_write_5m = rate(
        quoted.cache_write_5m,
        old.map(|old| old.cache_write_5m),
        input,
    );
    let hour = if is_name(id) {
        input.saturating_mul(2)
    } else {
        cache_write_5m
    };
    Amounts {
        input,
        output: rate(quoted.output, old.map(|old| old.output), 0),
        cache_read: rate(quoted.cache_read, old.map(|old| old.cache_read), input),
        cache_write_5m,
        cache_write_1h: rate(
            quoted.cache_write_1h,
            old.map(|old| old.cache_write_1h),
            hour,
        ),
    }
}

fn changes(id: &str, old: Option<ModelRates>, new: Option<ModelRates>) -> Vec<PriceChange> {
    let mut changes = Vec::new();
    let mut add = |field: String, old: Option<Decimal>, new: Option<Decimal>| {
        if old != new {
            changes.push(PriceChange {
                model: id.to_owned(),
                field,
                old,
                new,
            });
        }
    };
    let amounts = |rates: Option<ModelRates>| rates.map(|rates| rates.amounts);
    let long = |rates: Option<ModelRates>| rates.and_then(|rates| rates.long);
    let above = |rates| long(rates).map(|(above, _)| Decimal::whole(above));
    for (field, amount) in AMOUNTS.into_iter().zip(Amounts::EACH) {
        let of = |rates| amounts(rates).map(|amounts| Decimal::of(amount(&amounts)));
        add(field.to_owned(), of(old), of(new));
    }
    add("long_context.above".to_owned(), above(old), above(new));
    for (field, amount) in AMOUNTS.into_iter().zip(Amounts::EACH) {
        let of = |rates| long(rates).map(|(_, amounts)| Decimal::of(amount(&amounts)));
        add(format!("long_context.{field}"), of(old), of(new));
    }
    changes
}

impl Amounts {
    /// The amounts, in the order of [`AMOUNTS`].
    const EACH: [fn(&Self) -> i64; 5] = [
        |amounts| amounts.input,
        |amounts| amounts.output,
        |amounts| amounts.cache_read,
        |amounts| amounts.cache_write_5m,
        |amounts| amounts.cache_write_1h,
    ];
}

/// An entry of the section.
#[derive(Clone, Debug, PartialEq, Eq)]
struct GeneratedPrice {
    id: String,
    from: Date,
    before: Option<Date>,
    amounts: Amounts,
    long: Option<((i64, Amounts), Option<Date>)>,
    fast: Option<(i64, Option<Date>)>,
    factors: Factors,
    web_search: i64,
    source: String,
    checked: Option<Date>,
}

/// The entries of the section, without the periods into which they were split.
fn generated_prices(entries: &[Entry]) -> Vec<GeneratedPrice> {
    let whole = entries
        .iter()
        .filter(|entry| entry.from == entry.declaration.from);
    whole
        .map(|entry| {
            let declaration = &entry.declaration;
            GeneratedPrice {
                id: entry.id.clone(),
                from: declaration.from,
                before: declaration.before,
                amounts: entry.amounts,
                long: declaration.long,
                fast: declaration.fast,
                factors: entry.factors,
                web_search: entry.web_search,
                source: declaration.source.clone().unwrap_or_default(),
                checked: declaration.checked,
            }
        })
        .collect()
}

/// Generated prices on the days that no person priced. A person can add a price for the same model
/// between two updates.
fn without_days_of(generated: Vec<GeneratedPrice>, persons: &[Entry]) -> Vec<GeneratedPrice> {
    let mut rest = generated;
    for person in persons {
        rest = rest
            .into_iter()
            .flat_map(|price| {
                let ends_before =
                    |end: Option<Date>, start: Date| end.is_some_and(|end| end <= start);
                if price.id != person.id
                    || ends_before(price.before, person.from)
                    || ends_before(person.before, price.from)
                {
                    return vec![price];
                }
                let earlier = (price.from < person.from).then(|| GeneratedPrice {
                    before: Some(person.from),
                    ..price.clone()
                });
                let later = person
                    .before
                    .filter(|end| price.before.is_none_or(|before| *end < before));
                let later = later.map(|from| GeneratedPrice {
                    from,
                    ..price.clone()
                });
                earlier.into_iter().chain(later).collect()
            })
            .collect();
    }
    rest
}

/// Ends the current generated entry of a model, or removes one that begins today.
fn end_yesterday(generated: &mut Vec<GeneratedPrice>, id: &str, today: Date) {
    let is_current = |price: &GeneratedPrice| {
        price.id == id && price.from <= today && price.before.is_none_or(|before| today < before)
    };
    generated.retain(|price| !(is_current(price) && price.from == today));
    for price in generated.iter_mut().filter(|price| is_current(price)) {
        price.before = Some(today);
    }
}

fn rendered(prices: &[GeneratedPrice]) -> String {
    prices.iter().map(GeneratedPrice::rendered).collect()
}

impl GeneratedPrice {
    /// The entry in the format of the price file.
    fn rendered(&self) -> String {
        let mut lines = String::from("\n[[price]]\n");
        // Writing to a string can't fail.
        let mut line = |name: &str, value: String| {
            let _ = writeln!(lines, "{name} = {value}");
        };
        line("model", quoted(&self.id));
        line("from", self.from.to_string());
        if let Some(before) = self.before {
            line("until", last_day(before).to_string());
        }
        for (name, amount) in AMOUNTS.into_iter().zip(Amounts::EACH) {
            line(name, Decimal::of(amount(&self.amounts)).to_string());
        }
        let until = |end: Option<Date>| {
            // An end before the entry begins has no effect, and is not allowed in the file.
            let end = end.filter(|end| *end > self.from);
            end.map(|end| format!(", until = {}", last_day(end)))
                .unwrap_or_default()
        };
        let is_over = |end: Option<Date>| end.is_some_and(|end| end <= self.from);
        if let Some(((above, amounts), end)) = self.long.filter(|(_, end)| !is_over(*end)) {
            let amounts = AMOUNTS
                .into_iter()
                .zip(Amounts::EACH)
                .map(|(name, amount)| format!(", {name} = {}", Decimal::of(amount(&amounts))))
                .collect::<String>();
            line(
                "long_context",
                format!("{{ above = {above}{}{amounts} }}", until(end)),
            );
        }
        match self.fast.filter(|(_, end)| !is_over(*end)) {
            Some((times, None)) => line("fast", Decimal::of(times).to_string()),
            Some((times, end)) => {
                let times = Decimal::of(times);
                line("fast", format!("{{ times = {times}{} }}", until(end)));
            }
            None => {}
        }
        for (name, factor, default) in [
            ("regional", self.factors.regional, ONE),
            ("us_inference", self.factors.us, ONE),
            ("batch", self.factors.batch, BATCH),
        ] {
            if factor != default {
                line(name, Decimal::of(factor).to_string());
            }
        }
        if self.web_search != WEB_SEARCH * 1000 {
            line(
                "web_search",
                searches_per_thousand(self.web_search).to_string(),
            );
        }
        line("source", quoted(&self.source));
        if let Some(checked) = self.checked {
            line("checked", checked.to_string());
        }
        lines
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// A text for a comment of one line.
fn one_line(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .collect()
}

/// Replaces a file by a new one with the same owner and permissions, at once. A link to the file
/// stays a link.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(".prices-")
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    let old = match fs::metadata(&path) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(old) = &old {
        let new = file.as_file().metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            std::os::unix::fs::fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
        }
    }
    let mode = old.map_or(MODE, |old| old.permissions().mode() & 0o7777);
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}
