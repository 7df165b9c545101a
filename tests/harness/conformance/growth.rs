//! Checks of the laws about growth, order and resource use.

use std::sync::Arc;

use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::processor::SessionOutput;
use session_pipeline_host::shared::MemoryRows;

use super::checks::{LawFailure, check_same, outcome, violation};
use super::laws::LawInput;
use crate::subject::{Invocation, Subject};

/// The minimum size of a unit, in bytes. A unit is a session that is repeated. At this size, a cost
/// that is quadratic in the number of lines exceeds the linear cost.
const UNIT_BYTES: usize = 8 << 10;
/// The number of units in the short session.
const FEW: usize = 4;
/// The number of units in the long session.
const MANY: usize = 16;
/// The maximum ratio of the fuel of the long session to the fuel of the short session. The ratio of
/// their sizes is 4, so the limit allows 50% more than linear growth.
const TIMES_MAX: u64 = 6;
/// Fuel that is ignored, because memory grows in steps.
const SLACK: u64 = 200_000;

/// A component and the current rows of its shared tables.
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

    /// Processes a session and commits its upserts if it succeeded.
    pub(super) fn process(
        &mut self,
        session: &[u8],
    ) -> Result<Result<SessionOutput, Fault>, LawFailure> {
        let invocation = Invocation {
            shared: Some(Arc::new(self.shared.clone())),
            ..Invocation::default()
        };
        let outcome = outcome(self.subject.process(session, &invocation))?;
        if let Ok(completed) = &outcome {
            self.shared
                .commit(self.subject.manifest(), &completed.tables);
        }
        Ok(outcome)
    }

    pub(super) fn shared(&self) -> MemoryRows {
        self.shared.clone()
    }

    /// The first shared table whose rows are not the same as in `before`.
    pub(super) fn difference(&self, before: &MemoryRows) -> Option<&'s str> {
        let tables = self.subject.manifest().tables.iter();
        let mut names = tables.map(|table| table.name.as_str());
        names.find(|name| !self.shared.rows(name).eq(before.rows(name)))
    }
}

pub(super) fn is_incremental(subject: &Subject, input: &LawInput) -> Result<(), LawFailure> {
    let Some((last, before)) = input.sessions.split_last() else {
        return Ok(());
    };
    let fresh = GrowingTables::new(subject).process(last)?;
    let mut tables = GrowingTables::new(subject);
    for version in before {
        // The next version replaces this outcome, even if it is a fault.
        let _ = tables.process(version)?;
    }
    let grown = tables.process(last)?;
    let lengths: Vec<String> = before
        .iter()
        .map(|version| version.len().to_string())
        .collect();
    let lengths = lengths.join(", then ");
    check_same(
        subject,
        &fresh,
        &grown,
        &format!("where it was processed at {lengths} bytes before"),
    )
}

pub(super) fn ignores_order(subject: &Subject, input: &LawInput) -> Result<(), LawFailure> {
    let [one, other] = input.sessions.as_slice() else {
        return Ok(());
    };
    for (first, second) in [(one, other), (other, one)] {
        let alone = GrowingTables::new(subject).process(second)?;
        let mut tables = GrowingTables::new(subject);
        let _ = tables.process(first)?;
        let after = tables.process(second)?;
        check_same(subject, &alone, &after, "after the other session")?;
    }
    Ok(())
}

pub(super) fn uses_linear_fuel(subject: &Subject, input: &LawInput) -> Result<(), LawFailure> {
    for session in &input.sessions {
        let unit = unit(session);
        if unit.is_empty() {
            continue;
        }
        let fuel_used = |times: usize| -> Result<Option<u64>, LawFailure> {
            let execution = subject.process(&unit.repeat(times), &Invocation::default());
            let fuel = execution.cost.fuel;
            match outcome(execution)? {
                Err(fault) if matches!(fault.kind, FaultKind::OutOfFuel | FaultKind::Deadline) => {
                    let bytes = unit.len() * times;
                    violation(format!("with {bytes} bytes, {fault}"))
                }
                // Other laws cover other faults.
                Err(_) => Ok(None),
                Ok(_) => Ok(Some(fuel)),
            }
        };
        let (Some(none), Some(few), Some(many)) =
            (fuel_used(0)?, fuel_used(FEW)?, fuel_used(MANY)?)
        else {
            continue;
        };
        let (few, many) = (few.saturating_sub(none), many.saturating_sub(none));
        if many > few.saturating_mul(TIMES_MAX).saturating_add(SLACK) {
            let bytes = unit.len();
            return violation(format!(
                "{FEW} times {bytes} bytes burned {few} units of fuel, and {MANY} times as many {many}"
            ));
        }
    }
    Ok(())
}

/// Repeats a session until it is long.
pub(super) fn long(session: &[u8]) -> Vec<u8> {
    unit(session).repeat(MANY)
}

/// The first lines of a session, up to four units, so that the repeated session is not too long.
pub(super) fn beginning(session: &[u8]) -> &[u8] {
    let most = session.get(..4 * UNIT_BYTES).unwrap_or(session);
    match most.iter().rposition(|byte| *byte == b'\n') {
        Some(newline) if most.len() < session.len() => most.get(..=newline).unwrap_or_default(),
        _ => most,
    }
}

/// Repeats the lines of a session until it has at least [`UNIT_BYTES`].
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
