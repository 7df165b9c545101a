//! The hash of a session's content.

mod pair;

use std::fmt;

use md5::block_api::compress;
use serde::{Deserialize, Serialize};

use self::pair::{BLOCK_BYTES, Block, State, compress_pair};

/// The MD5 of a session's bytes. The database stores it in lowercase hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContentHash(pub [u8; 16]);

impl ContentHash {
    /// Parses 32 hexadecimal digits. Returns `None` for any other text.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        let (pairs, []) = hex.as_bytes().as_chunks::<2>() else {
            return None;
        };
        if pairs.len() != bytes.len() {
            return None;
        }
        // Runs once per known session, so it decodes the digits directly instead of parsing
        // integers.
        let digit = |byte: u8| char::from(byte).to_digit(16);
        for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Computes a [`ContentHash`] from bytes that arrive in parts. Two hashers can be updated together
/// in little more than the time of one.
#[derive(Clone, Debug)]
pub struct Hasher {
    state: State,
    /// Number of bytes so far.
    bytes: u64,
    /// The last bytes, which do not fill a block yet.
    rest: Vec<u8>,
}

impl Default for Hasher {
    fn default() -> Self {
        Self {
            state: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476],
            bytes: 0,
            rest: Vec::new(),
        }
    }
}

impl Hasher {
    /// Number of bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Everything that a hasher needs to continue behind these bytes.
    pub fn state(&self) -> Vec<u8> {
        let mut state = self.bytes.to_le_bytes().to_vec();
        for word in self.state {
            state.extend_from_slice(&word.to_le_bytes());
        }
        state.extend_from_slice(&self.rest);
        state
    }

    /// The hasher with this state. `None` if the state is damaged.
    pub fn from_state(state: &[u8]) -> Option<Self> {
        let (bytes, state) = state.split_first_chunk()?;
        let (words, rest) = state.split_first_chunk::<16>()?;
        let bytes = u64::from_le_bytes(*bytes);
        let mut state = State::default();
        for (word, bytes) in state.iter_mut().zip(words.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let is_rest = bytes % BLOCK_BYTES as u64 == rest.len() as u64;
        is_rest.then(|| Self {
            state,
            bytes,
            rest: rest.to_vec(),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let bytes = self.fill_rest(bytes);
        let (blocks, rest) = bytes.as_chunks();
        compress(&mut self.state, blocks);
        self.rest.extend_from_slice(rest);
    }

    /// Adds bytes to two hashers, as [`Hasher::update`] does.
    pub fn update_pair(&mut self, bytes: &[u8], other: &mut Self, others: &[u8]) {
        let bytes = self.fill_rest(bytes);
        let others = other.fill_rest(others);
        let (blocks, rest) = bytes.as_chunks();
        let (other_blocks, other_rest) = others.as_chunks();
        let both = blocks.len().min(other_blocks.len());
        let (paired, blocks): (&[Block], _) = blocks.split_at(both);
        let (other_paired, other_blocks): (&[Block], _) = other_blocks.split_at(both);
        compress_pair(&mut self.state, paired, &mut other.state, other_paired);
        compress(&mut self.state, blocks);
        compress(&mut other.state, other_blocks);
        self.rest.extend_from_slice(rest);
        other.rest.extend_from_slice(other_rest);
    }

    /// Counts the bytes and completes the block that was begun. Returns the bytes after it.
    fn fill_rest<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        self.bytes = self.bytes.wrapping_add(bytes.len() as u64);
        if self.rest.is_empty() {
            return bytes;
        }
        let missing = BLOCK_BYTES.saturating_sub(self.rest.len());
        let (head, bytes) = bytes.split_at(missing.min(bytes.len()));
        self.rest.extend_from_slice(head);
        if let Some(block) = self.rest.as_array() {
            compress(&mut self.state, &[*block]);
            self.rest.clear();
        }
        bytes
    }

    /// The hash of all bytes so far.
    pub fn finish(&self) -> ContentHash {
        let mut padded = self.rest.clone();
        padded.push(0x80);
        // The length in bits takes the last eight bytes of a block.
        let with_length = (padded.len() + 8).next_multiple_of(BLOCK_BYTES);
        padded.resize(with_length - 8, 0);
        padded.extend_from_slice(&self.bytes.wrapping_mul(8).to_le_bytes());
        let mut state = self.state;
        compress(&mut state, padded.as_chunks().0);
        let mut hash = [0; 16];
        for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(state) {
            *bytes = word.to_le_bytes();
        }
        ContentHash(hash)
    }
}
