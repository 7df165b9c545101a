//! Randomly generated components. The host rejects or runs them, and never panics or hangs.
//!
//! There are two kinds. Mutated components are valid components with flipped, overwritten, removed
//! or duplicated bytes, and nearly all are rejected. Random guests are valid handwritten guests
//! that pass random pointers, lengths and discriminants to the host.

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
use super::raw::RawGuest;
use super::small;

/// The number of components by result.
#[derive(Debug, Default)]
pub struct ComponentStats {
    components: u32,
    loaded: u32,
    failed: u32,
}

/// A mutation of the bytes of a component.
#[derive(Clone, Debug)]
enum ByteMutation {
    Flip(Index, u8),
    Overwrite(Index, u8),
    Truncate(Index),
    Remove(Index, usize),
    Duplicate(Index, usize),
}

impl ByteMutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let position = |index: &Index, bytes: &[u8]| index.index(bytes.len().max(1));
        match self {
            _ if bytes.is_empty() => {}
            Self::Flip(index, bit) => {
                let at = position(index, bytes);
                bytes[at] ^= 1 << bit;
            }
            Self::Overwrite(index, byte) => {
                let at = position(index, bytes);
                bytes[at] = *byte;
            }
            Self::Truncate(index) => bytes.truncate(position(index, bytes)),
            Self::Remove(index, length) => {
                let at = position(index, bytes);
                let end = (at + length).min(bytes.len());
                bytes.drain(at..end);
            }
            Self::Duplicate(index, length) => {
                let at = position(index, bytes);
                let end = (at + length).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

fn byte_mutation() -> impl Strategy<Value = ByteMutation> {
    prop_oneof![
        6 => (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| ByteMutation::Flip(at, bit)),
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| ByteMutation::Overwrite(at, byte)),
        1 => any::<Index>().prop_map(ByteMutation::Truncate),
        1 => (any::<Index>(), 1_usize..64).prop_map(|(at, len)| ByteMutation::Remove(at, len)),
        1 => (any::<Index>(), 1_usize..64).prop_map(|(at, len)| ByteMutation::Duplicate(at, len)),
    ]
}

/// A valid component with a few mutations.
pub fn mutated_component() -> impl Strategy<Value = Vec<u8>> {
    let handwritten = RawGuest::new("faulty-raw").component().1;
    let from_toolchain = faulty("well_behaved").unwrap();
    let valid = prop_oneof![15 => Just(handwritten), 1 => Just(from_toolchain)];
    (valid, vec(byte_mutation(), 1..4)).prop_map(|(valid, mutations)| {
        let mut bytes = valid.to_vec();
        for mutation in &mutations {
            mutation.apply(&mut bytes);
        }
        bytes
    })
}

/// A number in place of an address, a length or a discriminant.
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

/// An action of a guest, in the WebAssembly text format.
fn step() -> impl Strategy<Value = String> {
    let numbers = || (number(), number(), number(), number());
    prop_oneof![
        4 => numbers().prop_map(|(a, b, c, d)| format!(
            "(call $insert (i32.const {a}) (i32.const {b}) (i32.const {c}) (i32.const {d}))"
        )),
        // Insert into an existing table, so that the host reads the rows.
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

/// A valid guest with random actions.
pub fn random_guest() -> impl Strategy<Value = Vec<u8>> {
    // Mostly small numbers: discriminants, lengths and nearby addresses.
    let words = vec(
        prop_oneof![3 => 0..8_u32, 2 => 512..600_u32, 1 => any::<u32>()],
        0..24,
    );
    (vec(step(), 1..5), words).prop_map(|(steps, words)| {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        let data: String = bytes.map(|byte| format!("\\{byte:02x}")).collect();
        let raw = RawGuest {
            misbehave: steps.concat(),
            fields: format!(r#"(data (i32.const 512) "lines\00\00\00{data}")"#),
            ..RawGuest::new("faulty-raw")
        };
        raw.component().1.to_vec()
    })
}

/// Limits that are sufficient for a well-behaved guest, and keep the cases short.
fn tiny() -> Limits {
    Limits {
        fuel_base: 1_000_000,
        memory_bytes_max: 8 << 20,
        cpu_base: Duration::from_secs(1),
        ..small()
    }
}

/// Loads a component and processes two sessions.
pub fn run_component(component: &[u8], stats: &mut ComponentStats) -> Result<(), TestCaseError> {
    stats.components += 1;
    let guest = match Guest::try_compile(&Compiler::InProcess, component, &tiny()) {
        Ok(guest) => guest,
        Err(fault) => {
            prop_assert_eq!(fault.kind, FaultKind::Component, "{}", fault);
            return Ok(());
        }
    };
    stats.loaded += 1;
    for session in ["short", "a session above the quiet ones"] {
        let execution = guest.process(session);
        prop_assert!(execution.hash.is_some(), "the session is read to the end");
        if let Err(fault) = execution.outcome {
            prop_assert_ne!(fault.kind, FaultKind::Host, "{}", fault);
            stats.failed += 1;
        }
    }
    Ok(())
}

fn check(strategy: &impl Strategy<Value = Vec<u8>>, cases: u32) -> ComponentStats {
    let mut runner = TestRunner::new(ProptestConfig {
        source_file: Some(file!()),
        ..counted(cases)
    });
    let stats = std::cell::RefCell::new(ComponentStats::default());
    runner
        .run(strategy, |component| {
            run_component(&component, &mut stats.borrow_mut())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let stats = stats.into_inner();
    println!("{stats:?}");
    stats
}

#[test]
fn invariant_a_mutated_component_is_rejected_or_runs_within_its_limits() {
    check(&mutated_component(), cases() * 4);
}

#[test]
fn invariant_invalid_arguments_of_a_guest_fail_only_its_session() {
    let stats = check(&random_guest(), cases() * 4);
    assert_eq!(stats.loaded, stats.components, "all random guests load");
}

#[test]
fn invariant_the_child_compiler_and_the_in_process_compiler_report_the_same_faults() {
    let mut runner = TestRunner::new(ProptestConfig {
        source_file: Some(file!()),
        ..counted(cases().div_ceil(4))
    });
    let child = child_compiler();
    runner
        .run(&mutated_component(), |component| {
            let in_process = Guest::try_compile(&Compiler::InProcess, &component, &small());
            let in_child = Guest::try_compile(&child, &component, &small());
            let fault = |result: Result<Guest, _>| result.err().map(|fault| format!("{fault}"));
            prop_assert_eq!(fault(in_process), fault(in_child));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}
