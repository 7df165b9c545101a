//! Coordinates a run: hands out candidates in order within the caps, limits concurrent sessions,
//! and bounds the outcomes that wait for a commit.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use session_pipeline_host::sandbox::WorkerSlot;

/// Observes the progress of a run.
pub trait Progress: Sync {
    /// Called after the scan, with the number of candidates and their size in bytes.
    fn planned(&self, sessions: u64, bytes: u64);
    /// Called after each candidate, with its size in bytes.
    fn advanced(&self, bytes: u64);
}

/// Ignores progress.
impl Progress for () {
    fn planned(&self, _: u64, _: u64) {}
    fn advanced(&self, _: u64) {}
}

/// Hands out candidates in order.
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
    in_progress: u64,
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

    /// The next candidate. If the candidates in progress could reach the cap, it waits for them: an
    /// unchanged one does not count as an attempt and frees its place. The first candidate is
    /// handed out even if the time is up, so that every run makes progress.
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
                Some(max) if state.attempts + state.in_progress >= max => {
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
                    state.in_progress += 1;
                    return Some(index);
                }
            }
        }
    }

    /// Reports that a candidate is done.
    pub(super) fn done(&self, was_attempt: bool) {
        let mut state = self.state();
        state.in_progress -= 1;
        state.attempts += u64::from(was_attempt);
        self.changed.notify_all();
    }

    /// Takes back a candidate and all later ones, as if they had not been handed out. Their workers
    /// must return them as well.
    pub(super) fn take_back(&self, candidate: usize) {
        let mut state = self.state();
        state.next = state.next.min(candidate);
        state.in_progress -= 1;
        state.is_stopped = true;
        self.changed.notify_all();
    }

    /// Whether a candidate before this one was taken back.
    pub(super) fn has_taken_back(&self, candidate: usize) -> bool {
        self.state().next <= candidate
    }

    /// Stops handing out candidates.
    pub(super) fn stop(&self) {
        self.state().is_stopped = true;
        self.changed.notify_all();
    }

    /// The number of candidates handed out, and whether more can follow.
    pub(super) fn handed_out(&self) -> (usize, bool) {
        let state = self.state();
        (
            state.next,
            !state.is_stopped && state.next < self.candidates,
        )
    }
}

/// Maximum number of sessions of all processors that wait for a language model without a permit.
/// Each one occupies a guest instance.
const ASIDE_MAX: usize = 16;

/// Permits for sessions that run at the same time, one per worker in the process, handed out in
/// FIFO order.
pub(super) struct Permits {
    queue: Mutex<PermitQueue>,
    changed: Condvar,
    permits: usize,
}

struct PermitQueue {
    free: usize,
    /// Sessions that wait for a language model and have lent their permits.
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

    /// Maximum number of sessions in progress: those with a permit, and those that wait for a
    /// model.
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

/// Lends the caller's permit to others during a wait. If too many sessions wait already, the caller
/// keeps its permit, because the number of guest instances is limited.
impl WorkerSlot for Permits {
    fn release_while(&self, wait: &mut dyn FnMut()) {
        let mut queue = self.queue();
        if queue.aside >= ASIDE_MAX {
            drop(queue);
            return wait();
        }
        queue.aside += 1;
        drop(queue);
        self.release();
        let _restore = Reacquire(self);
        wait();
    }
}

/// Acquires the permit again on drop, including after a panic.
struct Reacquire<'a>(&'a Permits);

impl Drop for Reacquire<'_> {
    fn drop(&mut self) {
        let permits = self.0;
        permits.acquire(permits.queue());
        permits.queue().aside -= 1;
    }
}

/// A permit to run a session. Returned on drop.
pub(super) struct Permit<'a> {
    permits: &'a Permits,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.permits.release();
    }
}

/// Limits the bytes of outcomes that wait for a commit.
pub(super) struct DispatchQueue {
    state: Mutex<BacklogState>,
    changed: Condvar,
    bytes_max: u64,
}

#[derive(Default)]
struct BacklogState {
    bytes: u64,
    is_closed: bool,
}

impl DispatchQueue {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            bytes_max,
        }
    }

    fn state(&self) -> MutexGuard<'_, BacklogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the bytes fit. An outcome larger than the limit waits until it is alone.
    pub(super) fn enter(&self, bytes: u64) {
        let is_full = |state: &mut BacklogState| {
            !state.is_closed
                && state.bytes > 0
                && state.bytes.saturating_add(bytes) > self.bytes_max
        };
        let mut state = self
            .changed
            .wait_while(self.state(), is_full)
            .unwrap_or_else(PoisonError::into_inner);
        state.bytes = state.bytes.saturating_add(bytes);
    }

    pub(super) fn leave(&self, bytes: u64) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(bytes);
        self.changed.notify_all();
    }

    /// Stops all waits, because nothing is committed anymore.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }
}

// An integration test would need a processor for each waiting session.
#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::{ASIDE_MAX, Permits};
    use session_pipeline_host::sandbox::WorkerSlot;

    /// Nests this many sessions, each of which takes the only permit and waits for the next one.
    /// Returns the numbers of free permits and waiting sessions at the innermost one.
    fn wait_in_turn(permits: &Permits, deep: usize) -> (usize, usize) {
        let _permit = permits.take();
        let mut bottom = (0, 0);
        permits.release_while(&mut || {
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
    fn waiting_sessions_lend_their_permits_up_to_a_limit() {
        let permits = Permits::new(1);
        assert_eq!(wait_in_turn(&permits, ASIDE_MAX), (1, ASIDE_MAX));
        // One more waiting session keeps its permit.
        assert_eq!(wait_in_turn(&permits, ASIDE_MAX + 1), (0, ASIDE_MAX));
        let queue = permits.queue();
        assert_eq!((queue.free, queue.aside), (1, 0), "the state is restored");
    }

    #[test]
    #[expect(clippy::panic, reason = "the test covers a panic")]
    fn a_permit_is_reacquired_after_a_panic_during_a_wait() {
        let permits = Permits::new(1);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _permit = permits.take();
            permits.release_while(&mut || panic!("a model that panics"));
        }));
        assert!(panicked.is_err());
        let queue = permits.queue();
        assert_eq!((queue.free, queue.aside), (1, 0));
    }
}
