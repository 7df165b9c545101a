//! The checks of the laws, each for one input.

use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::processor::{Execution, SessionOutput};

use super::laws::LawInput;
use crate::rows::difference;
use crate::subject::{Invocation, Subject};

/// The reason why a check did not succeed.
#[derive(Debug)]
pub(super) enum LawFailure {
    /// The component violates the law. Contains the explanation.
    Law(String),
    /// A failure of this machine.
    Host(Fault),
    /// The session needs a language model, and none is available.
    Unanswered,
}

/// Maximum sizes of a chunk of lines, in bytes, in addition to the size that runs use.
const CHUNKS: [usize; 2] = [1, 700];
/// Random seeds, in addition to the seed that runs use.
const RANDOM_SEEDS: [[u8; 32]; 2] = [[1; 32], [254; 32]];

pub(super) fn describes_itself(subject: &Subject, _: &LawInput) -> Result<(), LawFailure> {
    for seed in RANDOM_SEEDS {
        let again = subject.processor().describe(seed);
        match again {
            Ok(again) if again == *subject.manifest() => {}
            Ok(again) => {
                let json = |manifest| serde_json::to_string(manifest).unwrap_or_default();
                let (first, again) = (json(subject.manifest()), json(&again));
                return violation(format!("it said {first}, and then {again}"));
            }
            Err(fault) if fault.kind == FaultKind::Host => return Err(LawFailure::Host(fault)),
            Err(fault) => return violation(format!("once it did, and then not: {fault}")),
        }
    }
    Ok(())
}

pub(super) fn does_not_fail(subject: &Subject, input: &LawInput) -> Result<(), LawFailure> {
    for session in &input.sessions {
        match outcome(subject.process(session, &Invocation::default()))? {
            Err(fault) if !has_its_own_law(&fault) => {
                return violation(format!("it failed: {fault}"));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn is_deterministic(subject: &Subject, input: &LawInput) -> Result<(), LawFailure> {
    let mut others = vec![Invocation::default()];
    others.extend(RANDOM_SEEDS.map(|seed| Invocation {
        randomness: Some(seed),
        ..Invocation::default()
    }));
    compare_with(subject, input, &others, |_| String::new())
}

pub(super) fn ignores_chunk_sizes(subject: &Subject, input: &LawInput) -> Result<(), LawFailure> {
    let others = CHUNKS.map(|bytes| Invocation {
        chunk_bytes_max: Some(bytes),
        ..Invocation::default()
    });
    compare_with(subject, input, &others, |other| {
        let bytes = other.chunk_bytes_max.unwrap_or_default();
        format!(" (with lines in portions of {bytes} bytes)")
    })
}

pub(super) fn stays_within_memory(subject: &Subject, input: &LawInput) -> Result<(), LawFailure> {
    never_fails_with(subject, input, FaultKind::MemoryLimit)
}

pub(super) fn records_valid_rows(subject: &Subject, input: &LawInput) -> Result<(), LawFailure> {
    never_fails_with(subject, input, FaultKind::BadRecord)
}

pub(super) fn counts_once(subject: &Subject, input: &LawInput) -> Result<(), LawFailure> {
    let mut tables = super::growth::GrowingTables::new(subject);
    for session in &input.sessions {
        let first = tables.process(session)?;
        let shared = tables.shared();
        let second = tables.process(session)?;
        check_same(subject, &first, &second, "the second time")?;
        if let Some(table) = tables.difference(&shared) {
            return violation(format!(
                "the shared table `{table}` is another one after the second time"
            ));
        }
    }
    Ok(())
}

fn never_fails_with(
    subject: &Subject,
    input: &LawInput,
    kind: FaultKind,
) -> Result<(), LawFailure> {
    for session in &input.sessions {
        match outcome(subject.process(session, &Invocation::default()))? {
            Err(fault) if fault.kind == kind => return violation(fault.detail),
            _ => {}
        }
    }
    Ok(())
}

fn compare_with(
    subject: &Subject,
    input: &LawInput,
    others: &[Invocation],
    how: impl Fn(&Invocation) -> String,
) -> Result<(), LawFailure> {
    for session in &input.sessions {
        let default = outcome(subject.process(session, &Invocation::default()))?;
        for invocation in others {
            let other = outcome(subject.process(session, invocation))?;
            let how = how(invocation);
            check_same(subject, &default, &other, &format!("the next time{how}"))?;
            if let (Ok(default), Ok(other)) = (&default, &other)
                && default.items != other.items
            {
                let (default, other) = (default.items, other.items);
                return violation(format!("it counted {default} items, and then {other}{how}"));
            }
        }
    }
    Ok(())
}

/// Compares two outcomes. Ignores the rows of shared tables. `when` describes the second outcome.
pub(super) fn check_same(
    subject: &Subject,
    one: &Result<SessionOutput, Fault>,
    other: &Result<SessionOutput, Fault>,
    when: &str,
) -> Result<(), LawFailure> {
    match (one, other) {
        (Ok(one), Ok(other)) => match difference(subject.manifest(), one, other) {
            Some(difference) => violation(format!("{difference} {when}")),
            None => Ok(()),
        },
        (Err(one), Err(other)) if one.kind == other.kind => Ok(()),
        (Err(one), Err(other)) => violation(format!("it failed ({one}), and {when} so: {other}")),
        (Ok(_), Err(fault)) => violation(format!("it gave rows, and {when} it failed: {fault}")),
        (Err(fault), Ok(_)) => violation(format!(
            "it gave rows {when} only; before, it failed: {fault}"
        )),
    }
}

/// Returns the outcome of an execution. Failures that the component did not cause are errors.
pub(super) fn outcome(execution: Execution) -> Result<Result<SessionOutput, Fault>, LawFailure> {
    match execution.outcome {
        Err(fault) if fault.kind == FaultKind::Host => Err(LawFailure::Host(fault)),
        Err(fault) if fault.kind == FaultKind::Llm => Err(LawFailure::Unanswered),
        outcome => Ok(outcome),
    }
}

/// Whether another law covers this fault.
fn has_its_own_law(fault: &Fault) -> bool {
    matches!(
        fault.kind,
        FaultKind::MemoryLimit | FaultKind::BadRecord | FaultKind::TooLarge
    )
}

pub(super) fn violation<T>(reason: impl Into<String>) -> Result<T, LawFailure> {
    Err(LawFailure::Law(reason.into()))
}
