//! A clock that goes only where a test sends it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use session_pipeline_host::clock::{Clock, UtcMicros};

/// Where test clocks start: 2100-01-01T00:00:00Z.
///
/// A file's ctime is the machine's real time and can't be forged, so the clock stands far behind
/// every real time.
pub const START: UtcMicros = UtcMicros(4_102_444_800_000_000);

/// A clock that stands still until it is moved.
///
/// ```
/// use std::time::Duration;
/// use session_pipeline_harness::TestClock;
/// use session_pipeline_host::clock::Clock;
///
/// let clock = TestClock::default();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().to_string(), "2100-01-01T00:01:00Z");
/// assert_eq!(clock.monotonic(), Duration::from_secs(60));
/// ```
#[derive(Debug)]
pub struct TestClock {
    now_micros: AtomicI64,
    monotonic_nanos: AtomicU64,
    nanos_per_look: AtomicU64,
}

impl Default for TestClock {
    fn default() -> Self {
        Self::at(START)
    }
}

impl TestClock {
    /// A clock that shows this time of day.
    pub fn at(now: UtcMicros) -> Self {
        Self {
            now_micros: AtomicI64::new(now.0),
            monotonic_nanos: AtomicU64::new(0),
            nanos_per_look: AtomicU64::new(0),
        }
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().plus(duration));
        self.monotonic_nanos
            .fetch_add(nanos(duration), Ordering::SeqCst);
    }

    /// Sets the time of day, as an administrator would: the monotonic clock does not notice.
    pub fn set(&self, now: UtcMicros) {
        self.now_micros.store(now.0, Ordering::SeqCst);
    }

    /// From now on every look at the monotonic clock moves it on by so much: the way to use up a
    /// time budget without waiting. The first look shows the time as it was.
    pub fn advance_at_each_look(&self, duration: Duration) {
        self.nanos_per_look.store(nanos(duration), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UtcMicros {
        UtcMicros(self.now_micros.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        let step = self.nanos_per_look.load(Ordering::SeqCst);
        Duration::from_nanos(self.monotonic_nanos.fetch_add(step, Ordering::SeqCst))
    }
}

/// A clock that goes with tokio's time: for tests that pause it, so that hours pass at once.
#[derive(Debug)]
pub struct PausedClock {
    started: tokio::time::Instant,
    set_off_by_micros: AtomicI64,
}

impl PausedClock {
    /// A clock that shows [`START`] now.
    ///
    /// # Panics
    /// Outside of a runtime whose time is paused: then a test would wait for real.
    pub async fn start() -> Self {
        let started = tokio::time::Instant::now();
        tokio::time::advance(Duration::ZERO).await;
        Self {
            started,
            set_off_by_micros: AtomicI64::new(0),
        }
    }

    /// Sets the time of day on or back, as an administrator would: the monotonic clock does not
    /// notice.
    pub fn jump_micros(&self, by: i64) {
        self.set_off_by_micros.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for PausedClock {
    fn now(&self) -> UtcMicros {
        let now = START.plus(self.started.elapsed());
        UtcMicros(now.0 + self.set_off_by_micros.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a test lasts less than 500 years")
}
