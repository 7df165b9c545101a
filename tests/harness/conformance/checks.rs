//! Whether a law holds for one session.

use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::processor::{Execution, SessionOutput};

use super::laws::LawInput;
use crate::rows::difference;
use crate::subject::{Invocation, Subject};

/// Why nobody can say that a law holds.
#[derive(Debug)]
pub(super) enum LawFailure {
    /// It does not: why.
    Law(String),
    /// The machine is in the way.
    Host(Fault),
    /// The session wants a language model, and here is none.
    Unanswered,
}

/// Portions in which lines are handed out: one by one, a few, and as in a run.
const CHUNKS: [usize; 2] = [1, 700];
/// Where chance begins, besides where it does in a run.
const CHANCES: [[u8; 32]; 2] = [[1; 32], [254; 32]];

pub(super) fn describes_itself(subject: &Subject, _: &LawInput) -> Result<(), LawFailure> {
    for chance in CHANCES {
        let again = subject.processor().describe(chance);
        match again {
            Ok(again) if again == *subject.manifest() => {}
            Ok(again) => {
                let said = |manifest| serde_json::to_string(manifest).unwrap_or_default();
                let (first, again) = (said(subject.manifest()), said(&again));
                return broken(format!("it said {first}, and then {again}"));
            }
            Err(fault) if fault.kind == FaultKind::Host => return Err(LawFailure::Host(fault)),
            Err(fault) => return broken(format!("once it did, and then not: {fault}")),
        }
    }
    Ok(())
}

pub(super) fn does_not_fail(subject: &Subject, trial: &LawInput) -> Result<(), LawFailure> {
    for session in &trial.sessions {
        match outcome(subject.process(session, &Invocation::default()))? {
            Err(fault) if !is_of_another_law(&fault) => {
                return broken(format!("it failed: {fault}"));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn gives_the_same_rows(subject: &Subject, trial: &LawInput) -> Result<(), LawFailure> {
    let mut others = vec![Invocation::default()];
    others.extend(CHANCES.map(|chance| Invocation {
        randomness: Some(chance),
        ..Invocation::default()
    }));
    compare_with(subject, trial, &others, |_| String::new())
}

pub(super) fn heeds_no_chunks(subject: &Subject, trial: &LawInput) -> Result<(), LawFailure> {
    let others = CHUNKS.map(|bytes| Invocation {
        chunk_bytes_max: Some(bytes),
        ..Invocation::default()
    });
    compare_with(subject, trial, &others, |other| {
        let bytes = other.chunk_bytes_max.unwrap_or_default();
        format!(" (with lines in portions of {bytes} bytes)")
    })
}

pub(super) fn stays_within_memory(subject: &Subject, trial: &LawInput) -> Result<(), LawFailure> {
    fails_not_by(subject, trial, FaultKind::MemoryLimit)
}

pub(super) fn keeps_to_its_tables(subject: &Subject, trial: &LawInput) -> Result<(), LawFailure> {
    fails_not_by(subject, trial, FaultKind::BadRecord)
}

pub(super) fn counts_once(subject: &Subject, trial: &LawInput) -> Result<(), LawFailure> {
    let mut memory = super::growth::GrowingTables::new(subject);
    for session in &trial.sessions {
        let first = memory.process(session)?;
        let shared = memory.shared();
        let second = memory.process(session)?;
        same(subject, &first, &second, "the second time")?;
        if let Some(table) = memory.difference(&shared) {
            return broken(format!(
                "the shared table `{table}` is another one after the second time"
            ));
        }
    }
    Ok(())
}

fn fails_not_by(subject: &Subject, trial: &LawInput, kind: FaultKind) -> Result<(), LawFailure> {
    for session in &trial.sessions {
        match outcome(subject.process(session, &Invocation::default()))? {
            Err(fault) if fault.kind == kind => return broken(fault.detail),
            _ => {}
        }
    }
    Ok(())
}

fn compare_with(
    subject: &Subject,
    trial: &LawInput,
    others: &[Invocation],
    how: impl Fn(&Invocation) -> String,
) -> Result<(), LawFailure> {
    for session in &trial.sessions {
        let usual = outcome(subject.process(session, &Invocation::default()))?;
        for other in others {
            let unusual = outcome(subject.process(session, other))?;
            let how = how(other);
            same(subject, &usual, &unusual, &format!("the next time{how}"))?;
            if let (Ok(usual), Ok(unusual)) = (&usual, &unusual)
                && usual.items != unusual.items
            {
                let (usual, unusual) = (usual.items, unusual.items);
                return broken(format!("it counted {usual} items, and then {unusual}{how}"));
            }
        }
    }
    Ok(())
}

/// Whether two outcomes are the same, as far as the rows of the session go.
pub(super) fn same(
    subject: &Subject,
    one: &Result<SessionOutput, Fault>,
    other: &Result<SessionOutput, Fault>,
    when: &str,
) -> Result<(), LawFailure> {
    match (one, other) {
        (Ok(one), Ok(other)) => match difference(subject.manifest(), one, other) {
            Some(difference) => broken(format!("{difference} {when}")),
            None => Ok(()),
        },
        (Err(one), Err(other)) if one.kind == other.kind => Ok(()),
        (Err(one), Err(other)) => broken(format!("it failed ({one}), and {when} so: {other}")),
        (Ok(_), Err(fault)) => broken(format!("it gave rows, and {when} it failed: {fault}")),
        (Err(fault), Ok(_)) => broken(format!(
            "it gave rows {when} only; before, it failed: {fault}"
        )),
    }
}

/// What came of a session, where it is the component's own doing.
pub(super) fn outcome(execution: Execution) -> Result<Result<SessionOutput, Fault>, LawFailure> {
    match execution.outcome {
        Err(fault) if fault.kind == FaultKind::Host => Err(LawFailure::Host(fault)),
        Err(fault) if fault.kind == FaultKind::Llm => Err(LawFailure::Unanswered),
        outcome => Ok(outcome),
    }
}

/// A law of its own says that this must not happen.
fn is_of_another_law(fault: &Fault) -> bool {
    matches!(
        fault.kind,
        FaultKind::MemoryLimit | FaultKind::BadRecord | FaultKind::TooLarge
    )
}

pub(super) fn broken<T>(why: impl Into<String>) -> Result<T, LawFailure> {
    Err(LawFailure::Law(why.into()))
}
