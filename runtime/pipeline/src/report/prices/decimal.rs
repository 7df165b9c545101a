//! Exact decimal numbers of the price table: prices and factors.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use session_pipeline_store::money::Usd;

/// A number with at most six decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal {
    /// The number in millionths.
    pub millionths: i64,
}

impl Decimal {
    pub(super) const fn of(millionths: i64) -> Self {
        Self { millionths }
    }

    pub(super) fn whole(number: i64) -> Self {
        Self::of(number.saturating_mul(super::ONE))
    }

    fn usd(self) -> Usd {
        Usd {
            pico_dollars: i128::from(self.millionths) * i128::from(super::ONE),
        }
    }
}

/// All digits, without trailing zeros.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usd().fmt(f)
    }
}

/// Serializes as a JSON number with all digits, without converting to a float.
impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.usd().serialize(serializer)
    }
}

/// Deserializes a JSON number with all digits. Works only for JSON text.
impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pico_dollars = Usd::deserialize(deserializer)?.pico_dollars;
        let millionths = i64::try_from(pico_dollars / i128::from(super::ONE));
        millionths.map(Self::of).map_err(serde::de::Error::custom)
    }
}
