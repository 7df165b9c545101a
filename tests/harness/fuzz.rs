//! Inputs that nobody thought of: good ones with something done to them, and a law that is held
//! against each.
//!
//! In an ordinary test some hundreds are tried; `cargo xtask soak fuzz --seconds 30` tries them for a given time.

use std::fmt;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use crate::strategies::{cases, seed};
use crate::tally::counted;

/// The variable that says for how many seconds each target is tried.
pub const FUZZ_SECONDS: &str = "SESSION_PIPELINE_FUZZ_SECONDS";
/// Inputs of one seed; the next ones have the next seed.
const BATCH: u32 = 512;
const CASES_FACTOR: u32 = 8;

/// Holds a law against inputs. `file` is the target's `file!()`: what broke the law once is kept
/// beside it, below `proptest-regressions`, and tried first from then on.
///
/// # Panics
/// With the smallest input found that breaks the law.
#[expect(
    clippy::disallowed_methods,
    reason = "how long to search is the developer's affair; what is found does not depend on it"
)]
pub fn fuzz<S>(file: &'static str, inputs: &S, law: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S: Strategy,
    S::Value: fmt::Debug,
{
    let time = std::env::var(FUZZ_SECONDS).ok();
    let Some(seconds) = time.and_then(|seconds| seconds.parse().ok()) else {
        let config = counted(cases() * CASES_FACTOR);
        return hold(file, config, inputs, &law);
    };
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut seed = seed().unwrap_or_default();
    while Instant::now() < until {
        let config = Config {
            rng_seed: RngSeed::Fixed(seed),
            ..counted(BATCH)
        };
        hold(file, config, inputs, &law);
        seed = seed.wrapping_add(1);
    }
}

fn hold<S: Strategy>(
    file: &'static str,
    config: Config,
    inputs: &S,
    law: &impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let mut runner = TestRunner::new(Config {
        source_file: Some(file),
        ..config
    });
    if let Err(error) = runner.run(inputs, law) {
        panic!("{error}");
    }
}

/// What is done to an input at one place.
#[derive(Clone, Debug)]
enum Damage {
    /// A byte becomes another.
    Byte(u8),
    /// One bit becomes the other.
    Bit(u8),
    /// Something is put in.
    Put(Vec<u8>),
    /// Some bytes are lost.
    Lose(usize),
    /// Some bytes stand there twice.
    Double(usize),
    /// From here on it is another input, from its same place on.
    Become(Index),
    /// Nothing follows.
    Cut,
}

impl Damage {
    fn apply(self, at: usize, bytes: &mut Vec<u8>, good: &[Vec<u8>]) {
        let end_of = |length: usize| (at + length).min(bytes.len());
        match self {
            Self::Byte(byte) => {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            Self::Bit(bit) => {
                if let Some(place) = bytes.get_mut(at) {
                    *place ^= 1 << (bit % 8);
                }
            }
            Self::Put(more) => {
                bytes.splice(at..at, more);
            }
            Self::Lose(length) => {
                bytes.drain(at..end_of(length));
            }
            Self::Double(length) => {
                let piece = bytes[at..end_of(length)].to_vec();
                bytes.splice(at..at, piece);
            }
            Self::Become(other) => {
                let other = other.get(good);
                bytes.truncate(at);
                bytes.extend(other.get(at..).unwrap_or_default());
            }
            Self::Cut => bytes.truncate(at),
        }
    }
}

/// Good inputs that something was done to, a few times over; some are left as they were. `words`
/// are what means something in their grammar.
pub fn damaged(
    good: Vec<Vec<u8>>,
    words: &[&'static str],
) -> impl Strategy<Value = Vec<u8>> + use<> {
    let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    let damage = prop_oneof![
        any::<u8>().prop_map(Damage::Byte),
        any::<u8>().prop_map(Damage::Bit),
        prop::sample::select(words).prop_map(Damage::Put),
        vec(any::<u8>(), 1..4).prop_map(Damage::Put),
        any::<char>().prop_map(|c| Damage::Put(c.to_string().into_bytes())),
        (1..12_usize).prop_map(Damage::Lose),
        (1..40_usize).prop_map(Damage::Double),
        any::<Index>().prop_map(Damage::Become),
        Just(Damage::Cut),
    ];
    let damages = vec((any::<Index>(), damage), 0..6);
    (any::<Index>(), damages).prop_map(move |(first, damages)| {
        let mut bytes = first.get(&good).clone();
        for (place, damage) in damages {
            damage.apply(place.index(bytes.len() + 1), &mut bytes, &good);
        }
        bytes
    })
}

/// As [`damaged`], but of texts, which stay texts.
pub fn damaged_text(
    good: &[&str],
    words: &[&'static str],
) -> impl Strategy<Value = String> + use<> {
    let good = good.iter().map(|text| text.as_bytes().to_vec()).collect();
    damaged(good, words).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
