//! Components that chance wrote: the host refuses them or runs them, and neither panics nor hangs.
//!
//! Two kinds. Good ones in which bytes were flipped, cut out, doubled and swapped: nearly all are
//! refused, each at another place. And guests written by hand that load well, and then hand the
//! host numbers of chance where pointers, lengths and cases should be.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use session_pipeline_bundle::faulty;
use session_pipeline_harness::{Guest, cases, counted};
use session_pipeline_host::fault::FaultKind;
use session_pipeline_host::limits::{Compiler, Limits};

use super::components::child_compiler;
use super::raw::Raw;
use super::small;

/// How many components, and what became of them.
#[derive(Debug, Default)]
pub struct Tried {
    components: u32,
    loaded: u32,
    failed: u32,
}

/// One wound of a component.
#[derive(Clone, Debug)]
enum Wound {
    Flip(Index, u8),
    Overwrite(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Double(Index, usize),
}

impl Wound {
    fn inflict(&self, bytes: &mut Vec<u8>) {
        let place = |index: &Index, bytes: &[u8]| index.index(bytes.len().max(1));
        match self {
            _ if bytes.is_empty() => {}
            Self::Flip(index, bit) => {
                let at = place(index, bytes);
                bytes[at] ^= 1 << bit;
            }
            Self::Overwrite(index, byte) => {
                let at = place(index, bytes);
                bytes[at] = *byte;
            }
            Self::Cut(index) => bytes.truncate(place(index, bytes)),
            Self::Remove(index, length) => {
                let at = place(index, bytes);
                let end = (at + length).min(bytes.len());
                bytes.drain(at..end);
            }
            Self::Double(index, length) => {
                let at = place(index, bytes);
                let end = (at + length).min(bytes.len());
                let doubled = bytes[at..end].to_vec();
                bytes.splice(at..at, doubled);
            }
        }
    }
}

fn wound() -> impl Strategy<Value = Wound> {
    prop_oneof![
        6 => (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Wound::Flip(at, bit)),
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Wound::Overwrite(at, byte)),
        1 => any::<Index>().prop_map(Wound::Cut),
        1 => (any::<Index>(), 1_usize..64).prop_map(|(at, length)| Wound::Remove(at, length)),
        1 => (any::<Index>(), 1_usize..64).prop_map(|(at, length)| Wound::Double(at, length)),
    ]
}

/// A good component with a few wounds.
pub fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let by_hand = Raw::new("faulty-raw").component().1;
    let by_toolchain = faulty("well_behaved").unwrap();
    let good = prop_oneof![15 => Just(by_hand), 1 => Just(by_toolchain)];
    (good, vec(wound(), 1..4)).prop_map(|(good, wounds)| {
        let mut bytes = good.to_vec();
        for wound in &wounds {
            wound.inflict(&mut bytes);
        }
        bytes
    })
}

/// A number where an address, a length or a case should be.
fn number() -> impl Strategy<Value = i32> {
    prop_oneof![
        4 => 0..16_i32,
        4 => (128..150_i32).prop_map(|word| word * 4),
        2 => 1024..1200_i32,
        2 => 65_536..66_000_i32,
        2 => (-16..16_i32).prop_map(|off| 4 * 65_536 + off),
        1 => Just(-1),
        1 => Just(i32::MAX),
        1 => any::<i32>(),
    ]
}

/// Something that a guest does, as text of WebAssembly.
fn step() -> impl Strategy<Value = String> {
    let numbers = || (number(), number(), number(), number());
    prop_oneof![
        4 => numbers().prop_map(|(a, b, c, d)| format!(
            "(call $insert (i32.const {a}) (i32.const {b}) (i32.const {c}) (i32.const {d}))"
        )),
        // Into the table that there is, so that it comes to the rows.
        4 => number().prop_map(|rows| format!(
            "(call $insert (i32.const 512) (i32.const 5) (i32.const {rows}) (i32.const 1))"
        )),
        2 => numbers().prop_map(|(level, at, length, _)| format!(
            "(call $log (i32.const {level}) (i32.const {at}) (i32.const {length}))"
        )),
        2 => numbers().prop_map(|(most, at, _, _)| format!(
            "(call $read-lines (i32.const {most}) (i32.const {at}))"
        )),
        3 => numbers().prop_map(|(at, word, _, _)| format!(
            "(i32.store (i32.const {at}) (i32.const {word}))"
        )),
        1 => numbers().prop_map(|(to, from, length, _)| format!(
            "(memory.copy (i32.const {to}) (i32.const {from}) (i32.const {length}))"
        )),
        1 => number().prop_map(|pages| format!("(drop (memory.grow (i32.const {pages})))")),
        1 => number().prop_map(|at| format!("(return (i32.const {at}))")),
        1 => Just("(global.set $top (i32.const -64))".to_owned()),
        1 => Just("(loop $again (br $again))".to_owned()),
    ]
}

/// A guest that loads, and does as chance wants.
pub fn misled() -> impl Strategy<Value = Vec<u8>> {
    // Small words: cases, lengths, and addresses of what lies near.
    let words = vec(
        prop_oneof![3 => 0..8_u32, 2 => 512..600_u32, 1 => any::<u32>()],
        0..24,
    );
    (vec(step(), 1..5), words).prop_map(|(steps, words)| {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        let data: String = bytes.map(|byte| format!("\\{byte:02x}")).collect();
        let raw = Raw {
            misbehave: steps.concat(),
            fields: format!(r#"(data (i32.const 512) "lines\00\00\00{data}")"#),
            ..Raw::new("faulty-raw")
        };
        raw.component().1.to_vec()
    })
}

/// Less than any guest here needs to do harm, and enough to behave well.
fn tiny() -> Limits {
    Limits {
        fuel_base: 1_000_000,
        memory_bytes_max: 8 << 20,
        cpu_base: Duration::from_secs(1),
        ..small()
    }
}

/// Loads a component and gives it two sessions.
pub fn try_out(component: &[u8], tried: &mut Tried) -> Result<(), TestCaseError> {
    tried.components += 1;
    let guest = match Guest::try_compile(&Compiler::InProcess, component, &tiny()) {
        Ok(guest) => guest,
        Err(fault) => {
            prop_assert_eq!(fault.kind, FaultKind::Component, "{}", fault);
            return Ok(());
        }
    };
    tried.loaded += 1;
    for session in ["short", "a session above the quiet ones"] {
        let execution = guest.process(session);
        prop_assert!(execution.hash.is_some(), "the session was read to its end");
        if let Err(fault) = execution.outcome {
            prop_assert_ne!(fault.kind, FaultKind::Host, "{}", fault);
            tried.failed += 1;
        }
    }
    Ok(())
}

fn check(strategy: &impl Strategy<Value = Vec<u8>>, cases: u32) -> Tried {
    let mut runner = TestRunner::new(ProptestConfig {
        source_file: Some(file!()),
        ..counted(cases)
    });
    let tried = std::cell::RefCell::new(Tried::default());
    runner
        .run(strategy, |component| {
            try_out(&component, &mut tried.borrow_mut())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let tried = tried.into_inner();
    println!("{tried:?}");
    tried
}

#[test]
fn invariant_a_damaged_component_is_refused_or_runs_within_its_limits() {
    check(&mutated(), cases() * 4);
}

#[test]
fn invariant_whatever_a_guest_hands_over_costs_its_session_and_nothing_else() {
    let tried = check(&misled(), cases() * 4);
    assert_eq!(
        tried.loaded, tried.components,
        "each of them is a processor"
    );
}

#[test]
fn invariant_a_child_refuses_what_we_would_refuse() {
    let mut runner = TestRunner::new(ProptestConfig {
        source_file: Some(file!()),
        ..counted(cases().div_ceil(4))
    });
    let in_child = child_compiler();
    runner
        .run(&mutated(), |component| {
            let here = Guest::try_compile(&Compiler::InProcess, &component, &small());
            let there = Guest::try_compile(&in_child, &component, &small());
            let word = |result: Result<Guest, _>| result.err().map(|fault| format!("{fault}"));
            prop_assert_eq!(word(here), word(there));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}
