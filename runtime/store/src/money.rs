//! Amounts of money as integers in pico-dollars, so that sums are exact.
//!
//! A price of one dollar per million tokens is a million pico-dollars per token. Prices with up to
//! six decimals are therefore integers, and so is every cost.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Pico-dollars per dollar.
const PICO: i128 = 1_000_000_000_000;

/// An amount in US dollars, exact to the pico-dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usd {
    /// The amount in pico-dollars.
    pub pico_dollars: i128,
}

impl Usd {
    /// The amount in dollars, rounded to a float.
    pub fn dollars(self) -> f64 {
        self.pico_dollars as f64 / PICO as f64
    }

    /// Dollars and cents, rounded half up.
    pub fn cents(self) -> (i128, i128) {
        let cents = (self.pico_dollars + PICO / 200).div_euclid(PICO / 100);
        (cents.div_euclid(100), cents.rem_euclid(100))
    }
}

/// The exact decimal number, without trailing zeros.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.pico_dollars < 0 { "-" } else { "" };
        let absolute = self.pico_dollars.unsigned_abs();
        let (dollars, rest) = (
            absolute / PICO.unsigned_abs(),
            absolute % PICO.unsigned_abs(),
        );
        if rest == 0 {
            return write!(f, "{sign}{dollars}");
        }
        let decimals = format!("{rest:012}");
        write!(f, "{sign}{dollars}.{}", decimals.trim_end_matches('0'))
    }
}

/// Serializes as a JSON number with all digits, without converting to a float.
impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::value::RawValue::from_string(self.to_string())
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

/// Deserializes a JSON number with all digits. Works only for JSON text, where the number is
/// unchanged.
impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        let parsed = exact(number.get());
        parsed.ok_or_else(|| serde::de::Error::custom("not an amount in dollars"))
    }
}

fn exact(text: &str) -> Option<Usd> {
    let absolute = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = absolute.split_once('.').unwrap_or((absolute, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(decimals) || decimals.len() > 12 {
        return None;
    }
    let whole = whole.parse::<i128>().ok()?.checked_mul(PICO)?;
    let rest: i128 = format!("{decimals:0<12}").parse().ok()?;
    let pico_dollars = whole.checked_add(rest)?;
    Some(Usd {
        pico_dollars: if absolute == text {
            pico_dollars
        } else {
            -pico_dollars
        },
    })
}

/// Parses a decimal number with up to six decimals as an integer in millionths. This converts a
/// price per million tokens to pico-dollars per token. `None` for any other text, negative numbers,
/// and numbers above a million.
pub fn millionths(text: &str) -> Option<i64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(decimals) || text.ends_with('.') {
        return None;
    }
    let decimals = decimals.trim_end_matches('0');
    if decimals.len() > 6 {
        return None;
    }
    let millionths: i64 = format!("{whole}{decimals:0<6}").parse().ok()?;
    (millionths <= 1_000_000_000_000).then_some(millionths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_with_all_their_digits_and_no_more() {
        let written = |pico_dollars| Usd { pico_dollars }.to_string();
        assert_eq!(written(0), "0");
        assert_eq!(written(3 * PICO), "3");
        assert_eq!(written(1), "0.000000000001");
        assert_eq!(written(12_345_600_000_000), "12.3456");
        assert_eq!(
            written(123_456_789_012_345_678_901_234_567),
            "123456789012345.678901234567"
        );
        assert_eq!(written(-PICO / 2), "-0.5");
    }

    #[test]
    fn amounts_are_rounded_to_cents_for_people() {
        let cents = |pico_dollars| Usd { pico_dollars }.cents();
        assert_eq!(cents(PICO / 200), (0, 1));
        assert_eq!(cents(PICO / 200 - 1), (0, 0));
        assert_eq!(cents(1_995 * PICO / 1000), (2, 0));
    }

    #[test]
    fn amounts_are_json_numbers() {
        let usd = Usd {
            pico_dollars: 1_500_000_000_001,
        };
        assert_eq!(serde_json::to_string(&usd).unwrap(), "1.500000000001");
    }

    #[test]
    fn prices_are_read_digit_by_digit() {
        assert_eq!(millionths("3"), Some(3_000_000));
        assert_eq!(millionths("0.30"), Some(300_000));
        assert_eq!(millionths("0.000001"), Some(1));
        assert_eq!(millionths("6.2500000"), Some(6_250_000));
        for invalid in [
            "",
            ".",
            "3.",
            ".5",
            "-1",
            "1e3",
            "0.0000001",
            "inf",
            "1000001",
        ] {
            assert_eq!(millionths(invalid), None, "{invalid}");
        }
    }
}
