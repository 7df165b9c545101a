//! A circuit breaker: a provider that keeps failing is left alone for a while, then asked once.
//!
//! A pure state machine; whoever asks says what time it is.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// So many failures in a row open it.
const FAILURES_MAX: u32 = 5;
/// It is open for so long at first, and for twice as long after each probe that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// Lets requests through, or not.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Clone, Copy, Debug)]
enum State {
    /// All may go; so many failed in a row.
    Closed(u32),
    /// Nobody may go until then; the pause was so long.
    Open { until: Duration, pause: Duration },
    /// One is under way, and decides.
    Probing { pause: Duration },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed(0)
    }
}

/// The right to ask once. Whoever drops it without a word has learned nothing.
#[derive(Debug)]
#[must_use = "how the request went decides about the next ones"]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    is_settled: bool,
}

impl Breaker {
    /// Lets one request through at this time.
    ///
    /// # Errors
    /// How long to leave the provider alone.
    pub fn admit(&self, now: Duration) -> Result<Permit<'_>, Duration> {
        let mut state = self.state();
        match *state {
            State::Closed(_) => {}
            State::Open { until, pause } if now >= until => *state = State::Probing { pause },
            State::Open { until, .. } => return Err(until.saturating_sub(now)),
            State::Probing { pause } => return Err(pause),
        }
        Ok(Permit {
            breaker: self,
            is_settled: false,
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// The provider answered, whatever it said.
    pub fn answered(mut self) {
        self.is_settled = true;
        *self.breaker.state() = State::Closed(0);
    }

    /// The provider failed.
    pub fn failed(mut self, now: Duration) {
        self.is_settled = true;
        let mut state = self.breaker.state();
        let pause = match *state {
            State::Closed(failures) if failures + 1 < FAILURES_MAX => {
                *state = State::Closed(failures + 1);
                return;
            }
            State::Closed(_) => FIRST_PAUSE,
            State::Probing { pause } => (pause * 2).min(LONGEST_PAUSE),
            // Sent before it opened; it is open already.
            State::Open { .. } => return,
        };
        let until = now.saturating_add(pause);
        *state = State::Open { until, pause };
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let mut state = self.breaker.state();
        if let State::Probing { pause } = *state {
            // The next one may probe at once.
            *state = State::Open {
                until: Duration::ZERO,
                pause,
            };
        }
    }
}
