//! Reports over what `usage` keeps: every message once over all files, however often it was copied.
//!
//! Tokens are facts and prices a table: cost is worked out here, and again when prices change. The
//! rule that tells copies apart stands in `views`, the price table in `prices`, and what is kept so
//! that a report need not count everything again in `rollups`.

pub mod activity;
mod call;
pub mod export;
mod prices;
mod read;
mod rollups;
mod views;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::day::Day;
use session_pipeline_store::money::Usd;

pub use prices::{Prices, PricesError};
pub use read::{tools, usage};
pub(crate) use views::register;

/// What a row of a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Days, in UTC.
    Day,
    /// Months, in UTC.
    Month,
    /// Sessions, by their id: what is new in each.
    Session,
    /// Users.
    User,
    /// Models, as the transcripts name them.
    Model,
    /// Repositories, or the folders that agents worked in.
    Project,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Day,
        Self::Month,
        Self::Session,
        Self::User,
        Self::Model,
        Self::Project,
    ];

    /// The name of a row's key.
    pub fn key(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Session => "session",
            Self::User => "user",
            Self::Model => "model",
            Self::Project => "project",
        }
    }
}

/// The days that a report is about, in UTC: a message belongs to the day of its first appearance.
///
/// With either bound, what bears no time is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Days {
    /// The first one.
    pub since: Option<Day>,
    /// The last one.
    pub until: Option<Day>,
}

/// A report names so many models without a price, and not all that transcripts make up.
pub const UNKNOWN_MODELS_MAX: usize = 100;

/// Sums over messages, each counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Input that was neither read from nor written to the cache.
    pub input_tokens: i64,
    /// Output.
    pub output_tokens: i64,
    /// Input read from the cache.
    pub cache_read_tokens: i64,
    /// Input written to the cache, for five minutes and for one hour.
    pub cache_creation_tokens: i64,
    /// Cost in US dollars of what has a price; `None` where nothing has.
    pub cost_usd: Option<Usd>,
    /// Whether the cost leaves something out: what has no price, or output that was never counted.
    pub cost_is_lower_bound: bool,
    /// Whether some message's final output count was never written.
    pub output_is_lower_bound: bool,
    /// Models without a price, at that time and speed: the first [`UNKNOWN_MODELS_MAX`] of them.
    pub unknown_models: Vec<String>,
    /// Messages.
    pub messages: i64,
    /// Distinct session ids.
    pub sessions: i64,
}

/// How often a tool was called, each call counted once, and how calls failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// Calls.
    pub calls: i64,
    /// Calls that failed.
    pub errors: i64,
    /// Of these: the tool refused.
    pub tool_errors: i64,
    /// A command ended with a code other than zero.
    pub exit_codes: i64,
    /// A person said no.
    pub rejected: i64,
    /// Another call of the same message failed.
    pub siblings_failed: i64,
    /// Distinct session ids.
    pub sessions: i64,
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<Figures = Totals> {
    /// What it is about; `None` where the transcript does not tell.
    pub key: Option<String>,
    /// Its sums.
    pub totals: Figures,
}

/// A report: its JSON is the body of `report usage --json` (ARCHITECTURE.md §7), in which each row
/// bears its key under the key's own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report<Figures = Totals> {
    /// The name of a row's key.
    pub key: &'static str,
    /// Every session that was committed before this time is included.
    pub as_of: UtcMicros,
    /// The sums over all messages of these days, whatever the rows are about.
    pub totals: Totals,
    /// Its rows, in order of their keys.
    pub rows: Vec<Row<Figures>>,
}

impl<Figures> Report<Figures> {
    /// A report of nothing.
    pub fn empty(key: &'static str, as_of: UtcMicros) -> Self {
        let cost_usd = Some(Usd::default());
        let totals = Totals {
            cost_usd,
            ..Totals::default()
        };
        Self {
            key,
            as_of,
            totals,
            rows: Vec::new(),
        }
    }
}

impl<Figures: DeserializeOwned> Report<Figures> {
    /// Reads a report from its JSON, without losing a digit of it.
    ///
    /// # Errors
    /// When the text is no report whose rows are about `key`.
    pub fn read(key: &'static str, text: &str) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Raw {
            as_of: String,
            totals: Box<RawValue>,
            rows: Vec<Box<RawValue>>,
        }
        let raw: Raw = serde_json::from_str(text)?;
        let row = |raw: Box<RawValue>| -> serde_json::Result<Row<Figures>> {
            let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(raw.get())?;
            let name = fields.get(key).map(|raw| serde_json::from_str(raw.get()));
            Ok(Row {
                key: name.transpose()?.flatten(),
                totals: serde_json::from_str(raw.get())?,
            })
        };
        Ok(Self {
            key,
            as_of: raw.as_of.parse().map_err(serde::de::Error::custom)?,
            totals: serde_json::from_str(raw.totals.get())?,
            rows: raw.rows.into_iter().map(row).collect::<Result<_, _>>()?,
        })
    }
}

impl<Figures: Serialize> Serialize for Report<Figures> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Keyed<'a, Figures> {
            #[serde(flatten)]
            key: BTreeMap<&'static str, Option<&'a str>>,
            #[serde(flatten)]
            figures: &'a Figures,
        }
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| Keyed {
                key: std::iter::once((self.key, row.key.as_deref())).collect(),
                figures: &row.totals,
            })
            .collect();
        let mut report = serializer.serialize_struct("Report", 3)?;
        report.serialize_field("as_of", &self.as_of.to_string())?;
        report.serialize_field("totals", &self.totals)?;
        report.serialize_field("rows", &rows)?;
        report.end()
    }
}
