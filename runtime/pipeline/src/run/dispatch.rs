//! Who does what when: candidates handed out in order under the caps, permits for workers, and a
//! bound on what waits for the writer.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use session_pipeline_host::sandbox::Aside;

/// Someone who watches a run.
pub trait Progress: Sync {
    /// The scan is done: so many candidates, of so many bytes.
    fn planned(&self, sessions: u64, bytes: u64);
    /// One candidate is dealt with.
    fn advanced(&self, bytes: u64);
}

/// Nobody watches.
impl Progress for () {
    fn planned(&self, _: u64, _: u64) {}
    fn advanced(&self, _: u64) {}
}

/// Hands out candidates by their place in the order.
pub(super) struct Dispatch {
    state: Mutex<DispatchState>,
    changed: Condvar,
    attempts_max: Option<u64>,
    candidates: usize,
}

#[derive(Default)]
struct DispatchState {
    next: usize,
    attempts: u64,
    in_hand: u64,
    is_stopped: bool,
}

impl Dispatch {
    pub(super) fn new(candidates: usize, attempts_max: Option<u64>) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            attempts_max,
            candidates,
        }
    }

    fn state(&self) -> MutexGuard<'_, DispatchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next candidate. Where a cap is near it waits for those in hand: one that turns out to be
    /// unchanged costs no attempt, and its place goes to the next. The first candidate is handed
    /// out even if the time is up, so that every run makes progress.
    pub(super) fn next(
        &self,
        must_stop: impl Fn() -> bool,
        is_time_up: impl Fn() -> bool,
    ) -> Option<usize> {
        let mut state = self.state();
        loop {
            if state.is_stopped || state.next >= self.candidates {
                return None;
            }
            match self.attempts_max {
                Some(max) if state.attempts >= max => state.is_stopped = true,
                Some(max) if state.attempts + state.in_hand >= max => {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                _ if must_stop() => state.is_stopped = true,
                _ if is_time_up() && state.next > 0 => state.is_stopped = true,
                _ => {
                    let index = state.next;
                    state.next += 1;
                    state.in_hand += 1;
                    return Some(index);
                }
            }
        }
    }

    /// A candidate is no longer in hand.
    pub(super) fn done(&self, was_attempt: bool) {
        let mut state = self.state();
        state.in_hand -= 1;
        state.attempts += u64::from(was_attempt);
        self.changed.notify_all();
    }

    /// No further candidate is handed out.
    pub(super) fn stop(&self) {
        self.state().is_stopped = true;
        self.changed.notify_all();
    }

    /// How many were handed out, and whether more may follow.
    pub(super) fn handed_out(&self) -> (usize, bool) {
        let state = self.state();
        (
            state.next,
            !state.is_stopped && state.next < self.candidates,
        )
    }
}

/// Sessions beside those at work that may wait for a language model, of all processors together:
/// each keeps an instance.
const ASIDE_MAX: usize = 16;

/// As many permits as workers for the whole process, given out in the order of asking.
pub(super) struct Permits {
    queue: Mutex<PermitQueue>,
    changed: Condvar,
    permits: usize,
}

struct PermitQueue {
    free: usize,
    /// Sessions that wait for a language model, their permits in use by others.
    aside: usize,
    next_ticket: u64,
    now_serving: u64,
}

impl Permits {
    pub(super) fn new(permits: usize) -> Self {
        let permits = permits.max(1);
        let queue = PermitQueue {
            free: permits,
            aside: 0,
            next_ticket: 0,
            now_serving: 0,
        };
        Self {
            queue: Mutex::new(queue),
            changed: Condvar::new(),
            permits,
        }
    }

    /// How many sessions can be under way at once: those at work, and those that wait.
    pub(super) fn sessions_max(&self) -> usize {
        self.permits.saturating_add(ASIDE_MAX)
    }

    fn queue(&self) -> MutexGuard<'_, PermitQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self) -> Permit<'_> {
        self.acquire(self.queue());
        Permit { permits: self }
    }

    fn acquire(&self, mut queue: MutexGuard<'_, PermitQueue>) {
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        while queue.now_serving != ticket || queue.free == 0 {
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.now_serving += 1;
        queue.free -= 1;
        drop(queue);
        self.changed.notify_all();
    }

    fn release(&self) {
        self.queue().free += 1;
        self.changed.notify_all();
    }
}

/// For whoever holds a permit. Where too many wait already it is kept: every session under way has
/// an instance, and there is room for so many.
impl Aside for Permits {
    fn aside(&self, wait: &mut dyn FnMut()) {
        let mut queue = self.queue();
        if queue.aside >= ASIDE_MAX {
            drop(queue);
            return wait();
        }
        queue.aside += 1;
        drop(queue);
        self.release();
        let _back = BackToWork(self);
        wait();
    }
}

/// Takes the permit again on every way out, a panic included.
struct BackToWork<'a>(&'a Permits);

impl Drop for BackToWork<'_> {
    fn drop(&mut self) {
        let permits = self.0;
        permits.acquire(permits.queue());
        permits.queue().aside -= 1;
    }
}

/// The right to use a core; given back when dropped.
pub(super) struct Permit<'a> {
    permits: &'a Permits,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.permits.release();
    }
}

/// A bound on the bytes of outcomes that wait to be committed.
pub(super) struct Backlog {
    held: Mutex<Held>,
    changed: Condvar,
    bytes_max: u64,
}

#[derive(Default)]
struct Held {
    bytes: u64,
    is_closed: bool,
}

impl Backlog {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            held: Mutex::default(),
            changed: Condvar::new(),
            bytes_max,
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room. What is larger than the whole bound goes alone.
    pub(super) fn enter(&self, bytes: u64) {
        let is_full = |held: &mut Held| {
            !held.is_closed && held.bytes > 0 && held.bytes.saturating_add(bytes) > self.bytes_max
        };
        let mut held = self
            .changed
            .wait_while(self.held(), is_full)
            .unwrap_or_else(PoisonError::into_inner);
        held.bytes = held.bytes.saturating_add(bytes);
    }

    pub(super) fn leave(&self, bytes: u64) {
        let mut held = self.held();
        held.bytes = held.bytes.saturating_sub(bytes);
        self.changed.notify_all();
    }

    /// Nothing is committed any more, so nobody waits for room.
    pub(super) fn close(&self) {
        self.held().is_closed = true;
        self.changed.notify_all();
    }
}

// How many wait at once can't be arranged from outside without as many processors.
#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::{ASIDE_MAX, Permits};
    use session_pipeline_host::sandbox::Aside;

    /// Takes the only permit and waits, while another does the same, so many deep; gives what is
    /// free and who waits at the bottom.
    fn wait_in_turn(permits: &Permits, deep: usize) -> (usize, usize) {
        let _permit = permits.take();
        let mut bottom = (0, 0);
        permits.aside(&mut || {
            bottom = match deep {
                1 => {
                    let queue = permits.queue();
                    (queue.free, queue.aside)
                }
                deep => wait_in_turn(permits, deep - 1),
            };
        });
        bottom
    }

    #[test]
    fn a_permit_goes_to_others_as_long_as_there_is_room_for_those_who_wait() {
        let permits = Permits::new(1);
        assert_eq!(wait_in_turn(&permits, ASIDE_MAX), (1, ASIDE_MAX));
        // One more finds no room, and keeps its permit.
        assert_eq!(wait_in_turn(&permits, ASIDE_MAX + 1), (0, ASIDE_MAX));
        let queue = permits.queue();
        assert_eq!((queue.free, queue.aside), (1, 0), "all is as before");
    }

    #[test]
    #[expect(clippy::panic, reason = "it is what the test is about")]
    fn a_permit_is_taken_again_by_whoever_panics_while_it_waits() {
        let permits = Permits::new(1);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _permit = permits.take();
            permits.aside(&mut || panic!("a model that panics"));
        }));
        assert!(panicked.is_err());
        let queue = permits.queue();
        assert_eq!((queue.free, queue.aside), (1, 0));
    }
}
