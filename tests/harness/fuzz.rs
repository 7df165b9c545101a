//! Mutation fuzzing: mutates valid inputs and checks a property of each.
//!
//! A normal test run checks a few hundred inputs. `cargo xtask soak fuzz --seconds 30` runs each
//! target for 30 seconds.

use std::fmt;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use crate::strategies::{cases, seed};
use crate::tally::counted;

/// The environment variable with the number of seconds to run each target.
pub const FUZZ_SECONDS: &str = "SESSION_PIPELINE_FUZZ_SECONDS";
/// The number of inputs per seed.
const BATCH: u32 = 512;
/// Fuzz targets are fast, so they check this many times the usual number of cases.
const CASES_FACTOR: u32 = 8;

/// Checks a property of generated inputs. `file` is the `file!()` of the target. Inputs that
/// violate the property are saved in `proptest-regressions` and checked first in later runs.
///
/// # Panics
/// An input violates the property. The message has the smallest such input that was found.
#[expect(
    clippy::disallowed_methods,
    reason = "the developer chooses the duration; the inputs of a seed do not depend on it"
)]
pub fn fuzz<S>(
    file: &'static str,
    inputs: &S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) where
    S: Strategy,
    S::Value: fmt::Debug,
{
    let time = std::env::var(FUZZ_SECONDS).ok();
    let Some(seconds) = time.and_then(|seconds| seconds.parse().ok()) else {
        let config = counted(cases() * CASES_FACTOR);
        return check_batch(file, config, inputs, &property);
    };
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut seed = seed().unwrap_or_default();
    while Instant::now() < until {
        let config = Config {
            rng_seed: RngSeed::Fixed(seed),
            ..counted(BATCH)
        };
        check_batch(file, config, inputs, &property);
        seed = seed.wrapping_add(1);
    }
}

fn check_batch<S: Strategy>(
    file: &'static str,
    config: Config,
    inputs: &S,
    property: &impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let mut runner = TestRunner::new(Config {
        source_file: Some(file),
        ..config
    });
    if let Err(error) = runner.run(inputs, property) {
        panic!("{error}");
    }
}

/// A mutation at one position of an input.
#[derive(Clone, Debug)]
enum Mutation {
    /// Replaces a byte.
    ReplaceByte(u8),
    /// Flips one bit.
    FlipBit(u8),
    /// Inserts bytes.
    Insert(Vec<u8>),
    /// Deletes this many bytes.
    Delete(usize),
    /// Duplicates this many bytes.
    Duplicate(usize),
    /// Replaces the rest with the bytes of another valid input from the same position.
    Splice(Index),
    /// Deletes the rest.
    Truncate,
}

impl Mutation {
    fn apply(self, at: usize, bytes: &mut Vec<u8>, valid: &[Vec<u8>]) {
        let end_of = |length: usize| (at + length).min(bytes.len());
        match self {
            Self::ReplaceByte(byte) => {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            Self::FlipBit(bit) => {
                if let Some(place) = bytes.get_mut(at) {
                    *place ^= 1 << (bit % 8);
                }
            }
            Self::Insert(more) => {
                bytes.splice(at..at, more);
            }
            Self::Delete(length) => {
                bytes.drain(at..end_of(length));
            }
            Self::Duplicate(length) => {
                let piece = bytes[at..end_of(length)].to_vec();
                bytes.splice(at..at, piece);
            }
            Self::Splice(other) => {
                let other = other.get(valid);
                bytes.truncate(at);
                bytes.extend(other.get(at..).unwrap_or_default());
            }
            Self::Truncate => bytes.truncate(at),
        }
    }
}

/// Valid inputs with up to five mutations each. Some inputs are unchanged. `words` are the tokens
/// of the grammar.
pub fn mutated(
    valid: Vec<Vec<u8>>,
    words: &[&'static str],
) -> impl Strategy<Value = Vec<u8>> + use<> {
    let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    let mutation = prop_oneof![
        any::<u8>().prop_map(Mutation::ReplaceByte),
        any::<u8>().prop_map(Mutation::FlipBit),
        prop::sample::select(words).prop_map(Mutation::Insert),
        vec(any::<u8>(), 1..4).prop_map(Mutation::Insert),
        any::<char>().prop_map(|c| Mutation::Insert(c.to_string().into_bytes())),
        (1..12_usize).prop_map(Mutation::Delete),
        (1..40_usize).prop_map(Mutation::Duplicate),
        any::<Index>().prop_map(Mutation::Splice),
        Just(Mutation::Truncate),
    ];
    let mutations = vec((any::<Index>(), mutation), 0..6);
    (any::<Index>(), mutations).prop_map(move |(first, mutations)| {
        let mut bytes = first.get(&valid).clone();
        for (position, mutation) in mutations {
            mutation.apply(position.index(bytes.len() + 1), &mut bytes, &valid);
        }
        bytes
    })
}

/// Like [`mutated`], for texts. The results are valid UTF-8.
pub fn mutated_text(
    valid: &[&str],
    words: &[&'static str],
) -> impl Strategy<Value = String> + use<> {
    let valid = valid.iter().map(|text| text.as_bytes().to_vec()).collect();
    mutated(valid, words).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
