//! Lists prices: which price each model in use has on a day, and how old the prices are.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_host::day::Day;
use session_pipeline_store::{Store, StoreError};

use super::{Amounts, Decimal, Entry, ONE, PriceTable, as_compared, day_of, is_name, names};
use crate::report::{ReportFilter, ReportGrouping, read};

/// Messages that the agent wrote itself. They cost nothing.
const SYNTHETIC: &str = "<synthetic>";

/// How an entry matches a model's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum PriceMatch {
    /// The id is that of the entry.
    Id,
    /// The id is an alias of the entry.
    Alias,
    /// The id is the name of a family, such as `opus`.
    Family,
    /// The id is another spelling of the entry's name: with a date, a provider or a region, or as
    /// gateways write it.
    Spelling,
}

/// The file that an entry is in, and who wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum PriceOrigin {
    /// The table that ships with the program.
    Shipped,
    /// The operator's file, written by a person.
    Operator,
    /// The operator's file, written by `prices update`.
    Update,
}

/// The prices of models on a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PriceList {
    /// The day, in UTC.
    pub day: String,
    /// The newest day on which any price was checked or updated.
    pub checked: Option<String>,
    /// The models, by id.
    pub models: Vec<ModelPrice>,
}

/// A model and its price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ModelPrice {
    /// The id in transcripts, or that of the entry in a list of all prices.
    pub model: String,
    /// All tokens of the model's messages. Absent in a list of all prices.
    pub tokens: Option<i64>,
    /// The number of its messages without a price on their days. Absent in a list of all prices.
    pub unpriced_messages: Option<i64>,
    /// The price. `None`: it has none on this day.
    pub price: Option<ListedPrice>,
}

/// The price of a model. Amounts are US dollars per million tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ListedPrice {
    /// The id in the price table that the model's id resolves to.
    pub id: String,
    /// How it was found.
    pub matched_by: PriceMatch,
    /// Where the entry is.
    pub origin: PriceOrigin,
    /// Input.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub input: Decimal,
    /// Output.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub output: Decimal,
    /// Input read from the cache.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub cache_read: Decimal,
    /// Input written to the cache for five minutes.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub cache_write_5m: Decimal,
    /// Input written to the cache for an hour.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub cache_write_1h: Decimal,
    /// The rates of requests with a long context, if they differ.
    pub long_context: Option<LongContextPrice>,
    /// The factor of fast mode.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub fast: Decimal,
    /// The factor of ids with a region.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub regional: Decimal,
    /// Whether the model's id has a region, so that the factor applies.
    pub is_regional: bool,
    /// The factor of inference in the United States.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub us_inference: Decimal,
    /// The factor of batches.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub batch: Decimal,
    /// US dollars per thousand web searches.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub web_search: Decimal,
    /// The first day of these rates.
    pub from: String,
    /// The last day of these rates.
    pub until: Option<String>,
    /// The note on the source.
    pub source: Option<String>,
    /// The day on which the entry was checked.
    pub checked: Option<String>,
    /// The vendor of the model, if the entry names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// The rates of requests with more input tokens than a threshold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LongContextPrice {
    /// The threshold.
    pub above: i64,
    /// Input.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub input: Decimal,
    /// Output.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub output: Decimal,
    /// Input read from the cache.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub cache_read: Decimal,
    /// Input written to the cache for five minutes.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub cache_write_5m: Decimal,
    /// Input written to the cache for an hour.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub cache_write_1h: Decimal,
}

/// The age of the prices, and what they lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceAge {
    /// The newest day on which any price was checked or updated.
    pub checked: Date,
    /// The models in use without a price today.
    pub unpriced: Vec<String>,
}

/// The prices in effect on a day: of all models, or of those in the database. By default, today.
///
/// # Errors
/// If the database can't be read.
pub fn list_prices(
    store: Option<&Store>,
    prices: &PriceTable,
    day: Option<Day>,
    is_all: bool,
    clock: &Arc<dyn Clock>,
) -> Result<PriceList, StoreError> {
    let day = day.map_or_else(|| day_of(clock.now()), Day::date);
    let models = if is_all {
        prices.all_on(day)
    } else {
        let by = ReportGrouping::Model;
        let report =
            store.map(|store| read::usage(store, prices, by, ReportFilter::default(), clock));
        let rows = report.transpose()?.flatten().map(|report| report.rows);
        let rows = rows.unwrap_or_default().into_iter();
        let model = |row: crate::report::ReportRow| {
            let model = row.key.filter(|model| model != SYNTHETIC)?;
            let totals = row.totals;
            let tokens = [
                totals.output_tokens,
                totals.cache_read_tokens,
                totals.cache_creation_tokens,
            ];
            let tokens = tokens
                .into_iter()
                .fold(totals.input_tokens, i64::saturating_add);
            Some(ModelPrice {
                price: prices.of_model(&model, day),
                model,
                tokens: Some(tokens),
                unpriced_messages: Some(totals.unpriced_messages),
            })
        };
        rows.filter_map(model).collect()
    };
    Ok(PriceList {
        day: day.to_string(),
        checked: prices.checked().map(|day| day.to_string()),
        models,
    })
}

/// The ids of models in the database.
///
/// # Errors
/// If the database can't be read.
pub fn models_in_use(store: &Store) -> Result<Vec<String>, StoreError> {
    let models = || -> duckdb::Result<Vec<String>> {
        let connection = store
            .reader()
            .map_err(|error| duckdb::Error::ToSqlConversionFailure(Box::new(error)))?;
        let has_table: bool = connection.query_row(
            "SELECT count(*) > 0 FROM duckdb_tables() WHERE schema_name = 'usage' AND table_name = 'messages'",
            [],
            |row| row.get(0),
        )?;
        if !has_table {
            return Ok(Vec::new());
        }
        let mut statement = connection.prepare(
            "SELECT DISTINCT model FROM usage.messages WHERE model IS NOT NULL AND model <> ? ORDER BY model",
        )?;
        let models = statement.query_map([SYNTHETIC], |row| row.get(0))?;
        models.collect()
    };
    models().map_err(StoreError::database("list the models in use"))
}

impl PriceTable {
    /// The newest day on which any price was checked or updated.
    pub fn checked(&self) -> Option<Date> {
        let entries = self.entries.iter();
        let checked = entries.filter_map(|entry| entry.declaration.checked);
        checked.chain(self.updated).max()
    }

    /// The age of the prices, if they are older than this number of days.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn age_above(
        &self,
        days: i32,
        now: UtcMicros,
        store: &Store,
    ) -> Result<Option<PriceAge>, StoreError> {
        let (today, checked) = (day_of(now), self.checked());
        let Some(checked) = checked else {
            return Ok(None);
        };
        if (today - checked).get_days() <= days {
            return Ok(None);
        }
        let mut unpriced = models_in_use(store)?;
        unpriced.retain(|model| self.entry_of(model, today).is_none());
        Ok(Some(PriceAge { checked, unpriced }))
    }

    fn of_model(&self, model: &str, day: Date) -> Option<ListedPrice> {
        let entry = self.entry_of(model, day)?;
        let id = as_compared(model);
        let is_regional = is_name(&entry.id) && names::is_regional(&id);
        let matched_by = match entry.id == id {
            true => entry.match_by,
            false => PriceMatch::Spelling,
        };
        Some(listed(entry, matched_by, is_regional))
    }

    /// The entry that a model's id resolves to on a day, by the rules of the view `usage.rates`.
    pub(super) fn entry_of(&self, model: &str, day: Date) -> Option<&Entry> {
        let id = self.resolved(model)?;
        self.on(&id, day)
    }

    /// The id in the table that a model's id resolves to on any day. An exact id takes precedence
    /// over a name, even on days without a price.
    pub(super) fn resolved(&self, model: &str) -> Option<String> {
        let id = as_compared(model);
        let has = |id: &str| self.entries.iter().any(|entry| entry.id == id);
        if !is_name(&id) && has(&id) {
            return Some(id);
        }
        let mut names = names::spellings(&id).into_iter();
        names.find(|name| is_name(name) && has(name))
    }

    pub(super) fn on(&self, id: &str, day: Date) -> Option<&Entry> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.id == id && entry.covers(day))
    }

    fn all_on(&self, day: Date) -> Vec<ModelPrice> {
        let entries = self.entries.iter().filter(|entry| entry.covers(day));
        let by_id: BTreeMap<&str, &Entry> =
            entries.map(|entry| (entry.id.as_str(), entry)).collect();
        let listed = |(id, entry): (&str, &Entry)| ModelPrice {
            model: id.to_owned(),
            tokens: None,
            unpriced_messages: None,
            price: Some(listed(entry, entry.match_by, false)),
        };
        by_id.into_iter().map(listed).collect()
    }
}

fn listed(entry: &Entry, matched_by: PriceMatch, is_regional: bool) -> ListedPrice {
    let Amounts {
        input,
        output,
        cache_read,
        cache_write_5m,
        cache_write_1h,
    } = entry.amounts;
    let declaration = &entry.declaration;
    let long = |(above, amounts): (i64, Amounts)| LongContextPrice {
        above,
        input: Decimal::of(amounts.input),
        output: Decimal::of(amounts.output),
        cache_read: Decimal::of(amounts.cache_read),
        cache_write_5m: Decimal::of(amounts.cache_write_5m),
        cache_write_1h: Decimal::of(amounts.cache_write_1h),
    };
    ListedPrice {
        id: entry.id.clone(),
        matched_by,
        origin: declaration.origin,
        input: Decimal::of(input),
        output: Decimal::of(output),
        cache_read: Decimal::of(cache_read),
        cache_write_5m: Decimal::of(cache_write_5m),
        cache_write_1h: Decimal::of(cache_write_1h),
        long_context: entry.long.map(long),
        fast: Decimal::of(entry.factors.fast),
        regional: Decimal::of(entry.factors.regional),
        is_regional,
        us_inference: Decimal::of(entry.factors.us),
        batch: Decimal::of(entry.factors.batch),
        web_search: searches_per_thousand(entry.web_search),
        // The first price of a model also applies to earlier days.
        from: entry.from.max(declaration.from).to_string(),
        until: entry.before.map(|before| last_day(before).to_string()),
        source: declaration.source.clone(),
        checked: declaration.checked.map(|day| day.to_string()),
        provider: declaration.provider.clone(),
    }
}

/// The last day before another one.
pub(super) fn last_day(before: Date) -> Date {
    before.yesterday().unwrap_or(Date::MIN)
}

/// Dollars per thousand searches, from picodollars per search.
pub(super) fn searches_per_thousand(per_search: i64) -> Decimal {
    Decimal::of(per_search / (ONE / 1000))
}
