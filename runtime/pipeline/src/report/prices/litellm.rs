//! Reads LiteLLM's public price table, `model_prices_and_context_window.json`.
//!
//! The file comes from the network, so nothing in it is trusted. Numbers are converted from their
//! text, without floating point.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use session_pipeline_host::fault::printable;

/// Entries in the file that are not models.
const SAMPLE: &str = "sample_spec";
/// Far longer than any name in the file.
const NAME_BYTES_MAX: usize = 256;
/// Models that answer in conversations.
const MODES: [&str; 2] = ["chat", "responses"];
/// A billion tokens, in thousands.
const THRESHOLD_MAX: i64 = 1_000_000;
/// A million dollars per million tokens, in picodollars per token.
const AMOUNT_MAX: i64 = 1_000_000_000_000;
/// From dollars to picodollars: twelve decimals.
const PICO_DIGITS: i64 = 12;

/// A model with a price. Amounts are in picodollars per token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QuotedModel {
    /// The name in the file.
    pub name: String,
    pub provider: String,
    pub base: QuotedRates,
    /// The threshold of a long context, in tokens, and the rates above it.
    pub long: Option<(i64, QuotedRates)>,
}

/// The rates in the file. `None`: the file has no such rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QuotedRates {
    pub input: Option<i64>,
    pub output: Option<i64>,
    pub cache_read: Option<i64>,
    pub cache_write_5m: Option<i64>,
    pub cache_write_1h: Option<i64>,
}

/// The models with a price for input and output.
///
/// # Errors
/// A description of the first problem in the file, with what to do.
pub(super) fn read(text: &str) -> Result<Vec<QuotedModel>, String> {
    let models: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(|error| {
        format!("it is not a JSON object of models ({error}); name LiteLLM's `model_prices_and_context_window.json`")
    })?;
    let mut quoted = Vec::new();
    for (name, model) in &models {
        if name == SAMPLE {
            continue;
        }
        let shown = printable(&name.chars().take(NAME_BYTES_MAX).collect::<String>());
        if name.trim().is_empty()
            || name.len() > NAME_BYTES_MAX
            || name.chars().any(char::is_control)
        {
            return Err(format!(
                "the model name `{shown}` is empty, has control characters or is longer than {NAME_BYTES_MAX} bytes; use a table without it"
            ));
        }
        quoted.extend(
            quoted_model(name, model)
                .map_err(|reason| format!("model `{shown}`: {reason}; use a table without it"))?,
        );
    }
    if quoted.is_empty() {
        return Err("it has no chat model with a price; name LiteLLM's `model_prices_and_context_window.json`".to_owned());
    }
    Ok(quoted)
}

fn quoted_model(name: &str, model: &RawValue) -> Result<Option<QuotedModel>, String> {
    let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(model.get()) else {
        return Err("not a JSON object".to_owned());
    };
    let fields = ModelFields(&fields);
    if !fields
        .text("mode")?
        .is_some_and(|mode| MODES.contains(&mode.as_str()))
    {
        return Ok(None);
    }
    let base = fields.rates("")?;
    let long = match fields.threshold() {
        Some(thousands) => {
            let rates = fields.rates(&format!("_above_{thousands}k_tokens"))?;
            Some((thousands * 1000, rates))
        }
        None => None,
    };
    if base.input.is_none() || base.output.is_none() {
        return Ok(None);
    }
    Ok(Some(QuotedModel {
        name: name.to_owned(),
        provider: fields.text("litellm_provider")?.unwrap_or_default(),
        base,
        long,
    }))
}

/// The fields of a model, without the ones that are null.
struct ModelFields<'a>(&'a BTreeMap<String, &'a RawValue>);

impl ModelFields<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?.get();
        (value != "null").then_some(value)
    }

    fn text(&self, name: &str) -> Result<Option<String>, String> {
        let text = |value| {
            let text = String::deserialize(&mut serde_json::Deserializer::from_str(value));
            text.map_err(|_| format!("`{name}` is not a string"))
        };
        self.get(name).map(text).transpose()
    }

    /// The threshold of a long context, in thousands of tokens. If there are several, the lowest:
    /// a price file has one.
    fn threshold(&self) -> Option<i64> {
        let thresholds = self.0.keys().filter_map(|name| {
            let (_, threshold) = name.split_once("put_cost_per_token_above_")?;
            let thousands: i64 = threshold.strip_suffix("k_tokens")?.parse().ok()?;
            let is_set = self.get(name).is_some();
            (is_set && (1..=THRESHOLD_MAX).contains(&thousands)).then_some(thousands)
        });
        thresholds.min()
    }

    /// The rates under a condition, which is the end of their names.
    fn rates(&self, condition: &str) -> Result<QuotedRates, String> {
        let amount = |name: &str| {
            let name = format!("{name}{condition}");
            let amount = |value: &str| {
                picodollars(value).ok_or_else(|| {
                    let shown: String = value.chars().take(40).collect();
                    let shown = printable(&shown);
                    format!("`{name}` is `{shown}`, not a number of dollars from 0 to 1 per token")
                })
            };
            self.get(&name).map(amount).transpose()
        };
        Ok(QuotedRates {
            input: amount("input_cost_per_token")?,
            output: amount("output_cost_per_token")?,
            cache_read: amount("cache_read_input_token_cost")?,
            cache_write_5m: amount("cache_creation_input_token_cost")?,
            cache_write_1h: amount("cache_creation_input_token_cost_above_1hr")?,
        })
    }
}

/// Converts a JSON number of dollars to picodollars, rounded half up. Some prices in the file have
/// more digits because they were computed in floating point. `None` for other values, negative
/// numbers and numbers above one dollar.
pub(super) fn picodollars(number: &str) -> Option<i64> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (whole, decimals) = match mantissa.split_once('.') {
        Some((whole, decimals)) if !decimals.is_empty() => (whole, decimals),
        Some(_) => return None,
        None => (mantissa, ""),
    };
    let digits = [whole, decimals].concat();
    if whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals = i64::try_from(decimals.len()).ok()?;
    let digits = digits.trim_start_matches('0');
    // The number of digits before the point, in picodollars.
    let count = i64::try_from(digits.len()).ok()?;
    let before = count - decimals + i64::from(exponent) + PICO_DIGITS;
    if digits.is_empty() || before < 0 {
        return Some(0);
    }
    // More digits than the maximum has.
    if before > 13 {
        return None;
    }
    let before = usize::try_from(before).ok()?;
    let kept: String = digits
        .chars()
        .chain(std::iter::repeat('0'))
        .take(before)
        .collect();
    let amount = match kept.as_str() {
        "" => 0,
        kept => kept.parse::<i64>().ok()?,
    };
    let is_rounded_up = digits
        .as_bytes()
        .get(before)
        .is_some_and(|digit| *digit >= b'5');
    let amount = amount + i64::from(is_rounded_up);
    (amount <= AMOUNT_MAX).then_some(amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_converted_from_their_text() {
        for (number, expected) in [
            // $3 per million tokens are 3,000,000 picodollars per token.
            ("3e-06", 3_000_000),
            ("0.000003", 3_000_000),
            ("3E-6", 3_000_000),
            ("3.75e-06", 3_750_000),
            ("1.25e-7", 125_000),
            ("0", 0),
            ("0.0", 0),
            ("0e5", 0),
            ("1", 1_000_000_000_000),
            ("10e-1", 1_000_000_000_000),
            ("1e-12", 1),
            // Half a picodollar is rounded up, less is not.
            ("5e-13", 1),
            ("4.9e-13", 0),
            ("9e-14", 0),
            ("1e-999", 0),
            // Digits of floating point.
            ("1.5000000000000002e-06", 1_500_000),
            ("3.2999999999999996e-07", 330_000),
            ("0.00000032999999999999996", 330_000),
        ] {
            assert_eq!(picodollars(number), Some(expected), "{number}");
        }
        for invalid in [
            "-1",
            "-0.1",
            "NaN",
            "Infinity",
            "\"3e-06\"",
            "true",
            "[]",
            "{}",
            "",
            ".5",
            "5.",
            "1e",
            "1e99999999999",
            "1.1",
            "2",
            "1e5",
            "1e2147483647",
            "1.0000000000005",
            "0x10",
        ] {
            assert_eq!(picodollars(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn chat_models_with_a_price_are_read_and_others_are_not() {
        let text = r#"{
            "sample_spec": { "mode": "one of chat, embedding", "input_cost_per_token": "text" },
            "claude-x": { "mode": "chat", "litellm_provider": "anthropic", "max_tokens": "many",
                "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
                "cache_read_input_token_cost": 3e-07, "cache_creation_input_token_cost": 3.75e-06,
                "cache_creation_input_token_cost_above_1hr": 6e-06,
                "input_cost_per_token_above_200k_tokens": 6e-06,
                "output_cost_per_token_above_272k_tokens": 1, "input_cost_per_token_above_5k_tokens": null,
                "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05 },
            "codex": { "mode": "responses", "input_cost_per_token": 0, "output_cost_per_token": 1e-6,
                "cache_read_input_token_cost": null },
            "embedding": { "mode": "embedding", "input_cost_per_token": 1e-06, "output_cost_per_token": 0 },
            "free": { "mode": "chat", "litellm_provider": "x" },
            "unknown": { "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06 }
        }"#;
        let models = read(text).unwrap();
        let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
        assert_eq!(names, ["claude-x", "codex"]);
        let mut models = models.iter();
        let (claude, codex) = (models.next().unwrap(), models.next().unwrap());
        assert_eq!(claude.provider, "anthropic");
        assert_eq!(
            claude.base,
            QuotedRates {
                input: Some(3_000_000),
                output: Some(15_000_000),
                cache_read: Some(300_000),
                cache_write_5m: Some(3_750_000),
                cache_write_1h: Some(6_000_000),
            }
        );
        assert_eq!(
            claude.long,
            Some((
                200_000,
                QuotedRates {
                    input: Some(6_000_000),
                    cache_write_1h: Some(12_000_000),
                    ..QuotedRates::default()
                }
            ))
        );
        assert_eq!((codex.base.input, codex.base.cache_read), (Some(0), None));
    }

    #[test]
    fn a_table_with_a_wrong_value_is_rejected_with_its_place() {
        let model = |value: &str| {
            format!(
                r#"{{ "x": {{ "mode": "chat", "input_cost_per_token": {value}, "output_cost_per_token": 1 }} }}"#
            )
        };
        let long = "x".repeat(300);
        for (text, expected) in [
            ("[]".to_owned(), "it is not a JSON object of models"),
            ("{".to_owned(), "it is not a JSON object of models"),
            ("{}".to_owned(), "it has no chat model with a price"),
            (model("NaN"), "it is not a JSON object of models"),
            (
                model("-1e-06"),
                "model `x`: `input_cost_per_token` is `-1e-06`, not a number",
            ),
            (
                model("\"3e-06\""),
                "model `x`: `input_cost_per_token` is `\"3e-06\"`",
            ),
            (model("[1]"), "model `x`: `input_cost_per_token` is `[1]`"),
            (model("2"), "model `x`: `input_cost_per_token` is `2`"),
            (r#"{ "x": 3 }"#.to_owned(), "model `x`: not a JSON object"),
            (
                r#"{ "x": { "mode": 3 } }"#.to_owned(),
                "model `x`: `mode` is not a string",
            ),
            (r#"{ "a\u001bb": {} }"#.to_owned(), "has control characters"),
            (format!(r#"{{ "{long}": {{}} }}"#), "longer than 256 bytes"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains('\u{1b}'), "{error}");
        }
    }
}
