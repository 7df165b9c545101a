//! The price table: the shipped prices, overridden by the operator's file.
//!
//! It is read for every report and never stored with the tokens, so a change applies to all
//! history. docs/prices.md explains the format. `prices.toml` contains the shipped prices.

mod decimal;
mod entry;
mod fetch;
mod file;
mod listing;
mod litellm;
mod names;
mod section;
mod update;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::regular;

use crate::config::Config;

use entry::{Amounts, Entry, Factors, in_effect, is_name, rates_of};
use file::{AMOUNTS, as_compared, read};

pub use decimal::Decimal;
pub(super) use entry::PriceRate;
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

/// The day of a time, in UTC.
fn day_of(now: UtcMicros) -> Date {
    let now = Timestamp::from_microsecond(now.0);
    now.map_or(Date::MAX, |now| Offset::UTC.to_datetime(now).date())
}
