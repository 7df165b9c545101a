//! Warns about old prices if models in use have none.

use session_pipeline_host::fault::{error_chain, printable};
use session_pipeline_store::Store;

use crate::health::{CheckFigures, CheckResult, CheckStatus, HealthReport};
use crate::report::{PriceAge, PriceTable};

/// Providers announce new models and prices every few weeks.
const PRICE_AGE_DAYS_MAX: i32 = 60;
/// Maximum number of models in a detail. The others are only counted.
const MODELS_NAMED_MAX: usize = 5;

impl HealthReport {
    /// Adds a warning if the prices were not checked for a long time, and models in use have none.
    #[must_use]
    pub fn with_prices(mut self, prices: &PriceTable, store: &Store) -> Self {
        let entry = match prices.age_above(PRICE_AGE_DAYS_MAX, self.at, store) {
            Ok(Some(age)) if !age.unpriced.is_empty() => outdated(&age),
            Ok(_) => return self,
            Err(error) => CheckResult::new(CheckStatus::Unknown, CheckFigures::None {})
                .detail(printable(&error_chain(&error))),
        };
        self.entries.insert("prices".to_owned(), entry);
        self
    }
}

fn outdated(age: &PriceAge) -> CheckResult {
    let named = age.unpriced.iter().take(MODELS_NAMED_MAX);
    let named: Vec<String> = named
        .map(|model| format!("`{}`", printable(model)))
        .collect();
    let more = match age.unpriced.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    CheckResult::new(CheckStatus::Warning, CheckFigures::None {})
        .detail(format!(
            "prices were last checked on {}, more than {PRICE_AGE_DAYS_MAX} days ago, and models in use have no price: {}{more}",
            age.checked,
            named.join(", ")
        ))
        .next("run `session-pipeline prices update`, or add the prices as described in docs/prices.md")
}
