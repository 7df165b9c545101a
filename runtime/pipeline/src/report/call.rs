//! The cost of one of the pipeline's own requests to a language model, from the same price table as
//! reports.

use jiff::Timestamp;
use jiff::tz::Offset;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::money::Usd;

use crate::report::prices::{PriceRate, PriceTable};

impl PriceTable {
    /// The cost of these tokens at this time. `None` if the model has no price.
    pub fn cost_of_call(&self, model: &str, at: UtcMicros, input: u64, output: u64) -> Option<Usd> {
        let at = Timestamp::from_microsecond(at.0).ok()?;
        let day = Offset::UTC.to_datetime(at).date();
        let holds = |rate: &&PriceRate| {
            let context = i64::try_from(input).unwrap_or(i64::MAX);
            !rate.is_fast
                && !rate.is_regional
                && !rate.is_us
                && !rate.is_batch
                && rate.from <= day
                && rate.before.is_none_or(|before| day < before)
                && context > rate.context_above
                && rate.context_upto.is_none_or(|upto| context <= upto)
        };
        let id = model.trim().to_lowercase();
        let named = |is_exact: bool, name: &str| {
            let mut rates = self.rates.iter().filter(holds);
            rates.find(|rate| rate.is_exact == is_exact && rate.model == name)
        };
        let rate = named(true, &id).or_else(|| named(false, without_date(&id)))?;
        let cost = |tokens: u64, amount: i64| i128::from(tokens).checked_mul(i128::from(amount));
        let input = cost(input, rate.amounts.input)?;
        let output = cost(output, rate.amounts.output)?;
        Some(Usd {
            pico_dollars: input.checked_add(output)?,
        })
    }
}

/// The name of a model: its id without the date.
fn without_date(id: &str) -> &str {
    match id.rsplit_once('-') {
        Some((name, "latest")) => name,
        Some((name, date)) if date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => id,
    }
}
