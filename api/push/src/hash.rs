//! SHA-256 hashes whose state can be stored, so that what was sent is not hashed again.

use std::fmt::Write as _;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::digest::common::hazmat::{SerializableState as _, SerializedState};
use sha2::{Digest as _, Sha256};

/// A hash as 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hex(pub String);

impl Hex {
    /// The hash after all bytes so far.
    pub fn of(state: &Sha256) -> Self {
        Self(hex(&state.clone().finalize()))
    }
}

/// The state of a hash.
#[derive(Clone, Debug, Default)]
pub struct HashState(pub Sha256);

impl PartialEq for HashState {
    fn eq(&self, other: &Self) -> bool {
        self.0.serialize() == other.0.serialize()
    }
}

impl Eq for HashState {}

impl Serialize for HashState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0.serialize()))
    }
}

impl<'de> Deserialize<'de> for HashState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let invalid = || de::Error::custom("invalid state of a hash");
        let bytes = unhex(&text).ok_or_else(invalid)?;
        let state = SerializedState::<Sha256>::try_from(bytes.as_slice()).map_err(|_| invalid())?;
        Sha256::deserialize(&state).map(Self).map_err(|_| invalid())
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // A string accepts every write.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs
        .iter()
        .map(|&[high, low]| u8::try_from(digit(high)? << 4 | digit(low)?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_survives_a_round_trip_and_continues() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in [0, 1, 63, 64, 65, 200] {
            let mut state = HashState::default();
            state.0.update(&bytes[..length]);
            let json = serde_json::to_string(&state).unwrap();
            let mut read: HashState = serde_json::from_str(&json).unwrap();
            assert_eq!(read, state);
            read.0.update(&bytes[length..]);
            assert_eq!(Hex::of(&read.0), Hex::of(&Sha256::new_with_prefix(&bytes)));
        }
        for bad in ["\"\"", "\"zz\"", "\"00\"", "1"] {
            assert!(serde_json::from_str::<HashState>(bad).is_err(), "{bad}");
        }
    }
}
