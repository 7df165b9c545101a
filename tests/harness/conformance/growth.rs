//! Laws about what comes after what, and about how much of it there is.

use std::sync::Arc;

use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::processor::SessionOutput;
use session_pipeline_host::shared::MemoryRows;

use super::checks::{LawFailure, broken, outcome, same};
use super::laws::LawInput;
use crate::subject::{Invocation, Subject};

/// Bytes that a session is brought to before it is multiplied: enough that what grows with the
/// square of the lines outweighs what grows with them.
const UNIT_BYTES: usize = 8 << 10;
/// How often the short session and the long one hold it.
const FEW: usize = 4;
const MANY: usize = 16;
/// So many times the fuel may four times the session burn: linear growth with half as much again.
const TIMES_MAX: u64 = 6;
/// Fuel that does not count: memory that is asked for in steps.
const SLACK: u64 = 200_000;

/// A component, and the shared tables that it has filled so far.
pub(super) struct GrowingTables<'s> {
    subject: &'s Subject,
    shared: MemoryRows,
}

impl<'s> GrowingTables<'s> {
    pub(super) fn new(subject: &'s Subject) -> Self {
        Self {
            subject,
            shared: MemoryRows::default(),
        }
    }

    /// Processes a session; what it upserted is committed, unless it failed.
    pub(super) fn process(
        &mut self,
        session: &[u8],
    ) -> Result<Result<SessionOutput, Fault>, LawFailure> {
        let circumstances = Invocation {
            shared: Some(Arc::new(self.shared.clone())),
            ..Invocation::default()
        };
        let outcome = outcome(self.subject.process(session, &circumstances))?;
        if let Ok(completed) = &outcome {
            self.shared
                .commit(self.subject.manifest(), &completed.tables);
        }
        Ok(outcome)
    }

    pub(super) fn shared(&self) -> MemoryRows {
        self.shared.clone()
    }

    /// The shared table that is another one now.
    pub(super) fn difference(&self, before: &MemoryRows) -> Option<&'s str> {
        let tables = self.subject.manifest().tables.iter();
        let mut names = tables.map(|table| table.name.as_str());
        names.find(|name| !self.shared.rows(name).eq(before.rows(name)))
    }
}

pub(super) fn grows(subject: &Subject, trial: &LawInput) -> Result<(), LawFailure> {
    let Some((last, before)) = trial.sessions.split_last() else {
        return Ok(());
    };
    let fresh = GrowingTables::new(subject).process(last)?;
    let mut memory = GrowingTables::new(subject);
    for moment in before {
        // What a moment gives, or that it fails, is past by the next one.
        let _ = memory.process(moment)?;
    }
    let grown = memory.process(last)?;
    let lengths: Vec<String> = before
        .iter()
        .map(|moment| moment.len().to_string())
        .collect();
    let lengths = lengths.join(", then ");
    same(
        subject,
        &fresh,
        &grown,
        &format!("where it was processed at {lengths} bytes before"),
    )
}

pub(super) fn heeds_no_order(subject: &Subject, trial: &LawInput) -> Result<(), LawFailure> {
    let [one, other] = trial.sessions.as_slice() else {
        return Ok(());
    };
    for (first, second) in [(one, other), (other, one)] {
        let alone = GrowingTables::new(subject).process(second)?;
        let mut memory = GrowingTables::new(subject);
        let _ = memory.process(first)?;
        let after = memory.process(second)?;
        same(subject, &alone, &after, "after the other session")?;
    }
    Ok(())
}

pub(super) fn burns_in_proportion(subject: &Subject, trial: &LawInput) -> Result<(), LawFailure> {
    for session in &trial.sessions {
        let unit = unit(session);
        if unit.is_empty() {
            continue;
        }
        let burned = |times: usize| -> Result<Option<u64>, LawFailure> {
            let execution = subject.process(&unit.repeat(times), &Invocation::default());
            let fuel = execution.cost.fuel;
            match outcome(execution)? {
                Err(fault) if matches!(fault.kind, FaultKind::OutOfFuel | FaultKind::Deadline) => {
                    let bytes = unit.len() * times;
                    broken(format!("with {bytes} bytes, {fault}"))
                }
                // Why it fails is the affair of another law.
                Err(_) => Ok(None),
                Ok(_) => Ok(Some(fuel)),
            }
        };
        let (Some(none), Some(few), Some(many)) = (burned(0)?, burned(FEW)?, burned(MANY)?) else {
            continue;
        };
        let (few, many) = (few.saturating_sub(none), many.saturating_sub(none));
        if many > few.saturating_mul(TIMES_MAX).saturating_add(SLACK) {
            let bytes = unit.len();
            return broken(format!(
                "{FEW} times {bytes} bytes burned {few} units of fuel, and {MANY} times as many {many}"
            ));
        }
    }
    Ok(())
}

/// A session said again and again, until it is long.
pub(super) fn long(session: &[u8]) -> Vec<u8> {
    unit(session).repeat(MANY)
}

/// So much of a session, in whole lines, as may well be multiplied.
pub(super) fn beginning(session: &[u8]) -> &[u8] {
    let most = session.get(..4 * UNIT_BYTES).unwrap_or(session);
    match most.iter().rposition(|byte| *byte == b'\n') {
        Some(newline) if most.len() < session.len() => most.get(..=newline).unwrap_or_default(),
        _ => most,
    }
}

/// A session said as often as it takes to be of some length, in whole lines.
fn unit(session: &[u8]) -> Vec<u8> {
    let mut once = session.to_vec();
    if once.is_empty() {
        return once;
    }
    if !once.ends_with(b"\n") {
        once.push(b'\n');
    }
    once.repeat(UNIT_BYTES.div_ceil(once.len()))
}
