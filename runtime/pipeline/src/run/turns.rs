//! The order in which the sessions of a serial processor are committed, while several of them are
//! processed at the same time.

use std::sync::{Condvar, Mutex, PoisonError};

/// Hands out turns in the order of candidates.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<TurnState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct TurnState {
    next: usize,
    is_closed: bool,
    /// Whether a candidate failed after the run was told to stop.
    has_stopped: bool,
}

/// The turn of one candidate. All earlier candidates are settled, and later ones wait until it is
/// dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for the turn of a candidate. `None`: the turns were closed.
    pub(super) fn wait_for(&self, candidate: usize) -> Option<Turn<'_>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self
            .changed
            .wait_while(state, |state| !state.is_closed && state.next != candidate)
            .unwrap_or_else(PoisonError::into_inner);
        (!state.is_closed).then(|| Turn(self))
    }

    /// Ends all waits. From now on, no candidate has a turn.
    pub(super) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_closed = true;
        drop(state);
        self.changed.notify_all();
    }
}

impl Turn<'_> {
    /// Notes that the candidate failed after the run was told to stop. Returns whether an earlier
    /// candidate did.
    pub(super) fn is_after_stop(&self) -> bool {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut state.has_stopped, true)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let turns = self.0;
        let mut state = turns.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.next += 1;
        drop(state);
        turns.changed.notify_all();
    }
}
