//! A circuit breaker. After repeated failures of a provider, requests are paused, then one probe is
//! sent.
//!
//! A pure state machine: the caller passes the time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Failures in a row that open the breaker.
const FAILURES_MAX: u32 = 5;
/// Duration of the first pause. It doubles after each failed probe.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// Admits or rejects requests.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<BreakerState>);

#[derive(Clone, Copy, Debug)]
enum BreakerState {
    /// All requests are admitted. Counts failures in a row.
    Closed(u32),
    /// No request is admitted until `until`. `pause` is the length of the pause.
    Open { until: Duration, pause: Duration },
    /// One probe is in progress. Its result closes or reopens the breaker.
    Probing { pause: Duration },
}

impl Default for BreakerState {
    fn default() -> Self {
        Self::Closed(0)
    }
}

/// Permission for one request. Dropping it without a result does not count as a failure.
#[derive(Debug)]
#[must_use = "report the result of the request"]
pub struct ProbePermit<'a> {
    breaker: &'a Breaker,
    is_settled: bool,
}

impl Breaker {
    /// Admits one request at this time.
    ///
    /// # Errors
    /// If the breaker is open: the remaining pause.
    pub fn admit(&self, now: Duration) -> Result<ProbePermit<'_>, Duration> {
        let mut state = self.state();
        match *state {
            BreakerState::Closed(_) => {}
            BreakerState::Open { until, pause } if now >= until => {
                *state = BreakerState::Probing { pause }
            }
            BreakerState::Open { until, .. } => return Err(until.saturating_sub(now)),
            BreakerState::Probing { pause } => return Err(pause),
        }
        Ok(ProbePermit {
            breaker: self,
            is_settled: false,
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, BreakerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProbePermit<'_> {
    /// Reports an answer of the provider, including an error answer.
    pub fn answered(mut self) {
        self.is_settled = true;
        *self.breaker.state() = BreakerState::Closed(0);
    }

    /// Reports a failure of the provider.
    pub fn failed(mut self, now: Duration) {
        self.is_settled = true;
        let mut state = self.breaker.state();
        let pause = match *state {
            BreakerState::Closed(failures) if failures + 1 < FAILURES_MAX => {
                *state = BreakerState::Closed(failures + 1);
                return;
            }
            BreakerState::Closed(_) => FIRST_PAUSE,
            BreakerState::Probing { pause } => (pause * 2).min(LONGEST_PAUSE),
            // The request was sent before the breaker opened.
            BreakerState::Open { .. } => return,
        };
        let until = now.saturating_add(pause);
        *state = BreakerState::Open { until, pause };
    }
}

impl Drop for ProbePermit<'_> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let mut state = self.breaker.state();
        if let BreakerState::Probing { pause } = *state {
            // Lets the next request probe immediately.
            *state = BreakerState::Open {
                until: Duration::ZERO,
                pause,
            };
        }
    }
}
